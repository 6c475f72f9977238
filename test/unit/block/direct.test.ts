/** The core thread's own accesses to a raw image, beside those of the I/O thread. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { BlockFailure } from '../../../core/block/blockDevice.ts';
import type { DirectImage } from '../../../core/block/direct.ts';
import { DiskClient, DiskServer, createDiskBuffer } from '../../../core/block/link.ts';
import type { DiskOperation } from '../../../core/block/link.ts';
import { openImage } from '../../../core/block/open.ts';
import { diskTransfer } from '../../../core/devices/diskTransfer.ts';
import { DmaMemory } from '../../../core/platform/dma.ts';
import { memoryOf } from '../../../core/devices/segments.ts';

const SIZE = 1 << 20;

describe('a raw image that both threads use', () => {
  let folder: string;
  let path: string;
  const ram = new Uint8Array(new SharedArrayBuffer(1 << 20));
  const changed: number[] = [];
  const memory = memoryOf({ dma: new DmaMemory(ram, (address) => void changed.push(address)).port(() => 8) });

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'vanderpool-direct-'));
    path = join(folder, 'disk.raw');
    writeFileSync(path, new Uint8Array(SIZE).map((_, index) => index % 251));
    ram.fill(0);
    changed.length = 0;
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  /** Does one request; tells whether it was done before `submit` returned, and how it ended. */
  async function access(format: 'raw' | 'auto', operation: DiskOperation, offset: number, address: number, length: number, spoil?: Partial<DirectImage>, meanwhile = (): void => undefined) {
    const device = await openImage(path, { format, readOnly: false });
    const direct = device.direct ? { ...device.direct, ...spoil } : null;
    meanwhile();
    const buffer = createDiskBuffer();
    const server = new DiskServer(buffer, device, () => {});
    const client = new DiskClient(buffer, { size: device.size, readOnly: false, direct }, false);
    // Two pieces that touch, and one that does not.
    const data = diskTransfer(operation, memory, [{ address, length: 4096 }, { address: address + 4096, length: length - 8192 }, { address: address + 0x40000, length: 4096 }]);
    let failure: BlockFailure | null | undefined;
    client.submit({ operation, offset, length, transfer: data.transfer, views: data.views, done: (how) => void (failure = how) });
    const atOnce = failure !== undefined;
    while (failure === undefined) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      client.poll();
    }
    await server.stop();
    return { atOnce, failure, reached: data.reached };
  }

  it('is read into guest memory at once, and the processor is told of the pages', async () => {
    expect(await access('raw', 'read', 512, 0x1000, 16384)).toEqual({ atOnce: true, failure: null, reached: true });
    expect(ram.subarray(0x1000, 0x4000)).toEqual(new Uint8Array(12288).map((_, index) => (index + 512) % 251));
    expect(ram.subarray(0x41000, 0x42000)).toEqual(new Uint8Array(4096).map((_, index) => (index + 512 + 12288) % 251));
    expect(changed).toEqual([0x1000, 0x2000, 0x3000, 0x41000]);
  });

  it('is written from guest memory at once', async () => {
    ram.fill(7, 0x1000, 0x4000).fill(9, 0x41000, 0x42000);
    expect(await access('raw', 'write', 4096, 0x1000, 16384)).toEqual({ atOnce: true, failure: null, reached: true });
    const file = readFileSync(path);
    expect([file[4095], file[4096], file[16383], file[16384], file[20479], file[20480]]).toEqual([4095 % 251, 7, 7, 9, 9, 20480 % 251]);
  });

  it('has the first sector of an image whose format was guessed written by the I/O thread, which looks at it', async () => {
    expect(await access('auto', 'write', 512, 0x1000, 16384)).toMatchObject({ atOnce: true, failure: null });
    ram.set([0x51, 0x46, 0x49, 0xfb], 0x1000);
    expect(await access('auto', 'write', 0, 0x1000, 16384)).toMatchObject({ atOnce: false, failure: 'io' });
    expect(readFileSync(path)[0]).toBe(0);
  });

  it('leaves to the I/O thread what fails', async () => {
    expect(await access('raw', 'read', 512, 0x1000, 16384, { descriptor: 1_000_000 })).toEqual({ atOnce: false, failure: null, reached: true });
    expect(ram[0x1000]).toBe(512 % 251);
  });

  it('reads zeros where somebody has cut the file off meanwhile', async () => {
    expect(await access('raw', 'read', SIZE - 16384, 0x1000, 16384, {}, () => truncateSync(path, SIZE - 8192))).toEqual({ atOnce: false, failure: null, reached: true });
    expect([ram[0x2fff], ram[0x3000], ram[0x41000]]).toEqual([(SIZE - 8192 - 1) % 251, 0, 0]);
  });

  it('is not written any more when the host is out of room', async () => {
    // A file as long as this process may make one: the host answers as for a full disk.
    const script = `
      import { DirectAccess } from ${JSON.stringify(join(import.meta.dirname, '../../../core/block/direct.ts'))};
      import { openImage } from ${JSON.stringify(join(import.meta.dirname, '../../../core/block/open.ts'))};
      process.on('SIGXFSZ', () => {});
      const device = await openImage(process.argv[1], { format: 'raw', readOnly: false });
      const direct = new DirectAccess(device.direct);
      const views = [new Uint8Array(4096).fill(9)];
      console.log(direct.move('write', 0, 4096, views), direct.move('write', 1 << 19, 4096, views), await device.write(1 << 19, views[0]).catch((error) => error.failure));`;
    const { stdout, stderr } = spawnSync('sh', ['-c', 'ulimit -f 512; exec "$0" --input-type=module -e "$1" "$2"', process.execPath, script, path], { encoding: 'utf8' });
    expect(stdout.trim(), stderr).toBe('true false full');
  });

  it('leaves to the I/O thread what is not all memory, which says so', async () => {
    expect(await access('raw', 'read', 0, 0xe0000, 16384)).toEqual({ atOnce: false, failure: null, reached: false });
  });
});

describe.runIf(process.platform === 'linux')('a raw image on Linux', () => {
  it('gets holes where the guest discards, and where it writes zeros', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'vanderpool-holes-'));
    try {
      const path = join(folder, 'disk.raw');
      writeFileSync(path, new Uint8Array(SIZE).fill(7));
      const device = await openImage(path, { format: 'raw', readOnly: false });
      const before = statSync(path).blocks;
      await device.discard(0x10000, 0x40000);
      await device.zero(0x80000, 0x40000);
      expect([before - statSync(path).blocks, statSync(path).size]).toEqual([0x80000 / 512, SIZE]);
      await device.close();
      const file = readFileSync(path);
      expect([file[0xffff], file[0x10000], file[0x4ffff], file[0x50000], file[0x80000], file[0xc0000]]).toEqual([7, 0, 0, 7, 0, 7]);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
