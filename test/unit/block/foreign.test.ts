/** Images of other programs, made by qemu-img, and what is damaged or hostile in them. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { describeDisk } from '../../../core/block/commands.ts';
import { convertDisk } from '../../../core/block/convert.ts';
import { foreignFormats, openForeign, recogniseForeign } from '../../../core/block/foreign/formats.ts';
import { openImage } from '../../../core/block/open.ts';
import { FileStorage } from '../../../core/block/storage.ts';
import { refused } from '../../helpers/refusal.ts';

const SIZE = 5 * 2 ** 20 + 512 * 3;
let folder = '';
let content = Buffer.alloc(0);
const at = (name: string): string => join(folder, name);

/** Name of the file, format and options of qemu-img. */
const images: readonly (readonly [string, string, readonly string[]])[] = [
  ['sparse.vmdk', 'vmdk', []], ['stream.vmdk', 'vmdk', ['-o', 'subformat=streamOptimized']], ['dynamic.vdi', 'vdi', []], ['fixed.vdi', 'vdi', ['-o', 'static=on']],
];

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'vanderpool-foreign-'));
  content = Buffer.alloc(SIZE);
  for (let sector = 0; sector < 3000; sector += 7) content.write(`sector ${sector} `.repeat(30), sector * 512);
  content.fill(0xa5, SIZE - 700);
  writeFileSync(at('raw.img'), content);
  for (const [name, format, options] of images) execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', format, ...options, at('raw.img'), at(name)]);
});
afterAll(() => rmSync(folder, { recursive: true }));

describe.each(images)('%s', (name, format) => {
  it('is recognised, and converted byte for byte', async () => {
    const info = await describeDisk(at(name));
    expect(info.format).toBe(format);
    await convertDisk(at(name), at('out.img'), { from: 'auto', to: 'raw', compressed: false });
    const out = readFileSync(at('out.img'));
    rmSync(at('out.img'));
    // Formats round the size of the disk up.
    expect([out.length, out.length >= SIZE]).toEqual([info.size, true]);
    expect(out.subarray(0, SIZE).equals(content)).toBe(true);
    expect(out.subarray(SIZE).every((byte) => byte === 0)).toBe(true);
  });

  it('is no disk of a guest, which would find another program’s header in it', async () => {
    expect(await refused(openImage(at(name), { readOnly: false, format: 'auto' }))).toMatchObject({ code: 'bad-image', hint: expect.stringContaining('disk convert') });
    const raw = await openImage(at(name), { readOnly: true, format: 'raw' });
    await raw.close();
  });

  it('is refused where it is cut off, and leaves no half of a target', async () => {
    const bytes = readFileSync(at(name));
    rmSync(at('cut.out'), { force: true });
    writeFileSync(at('cut'), bytes);
    truncateSync(at('cut'), Math.floor(bytes.length * 0.49));
    expect(await refused(convertDisk(at('cut'), at('cut.out'), { from: 'auto', to: 'qcow2', compressed: false }))).toMatchObject({ code: 'bad-image' });
    expect(() => readFileSync(at('cut.out'))).toThrow();
  });
});

it('a stream names its directory in its footer', async () => {
  const bytes = readFileSync(at('stream.vmdk'));
  const header = Buffer.from(bytes.subarray(0, 512));
  bytes.fill(0xff, 56, 64);
  writeFileSync(at('footer.vmdk'), Buffer.concat([bytes, Buffer.alloc(512), header, Buffer.alloc(512)]));
  await convertDisk(at('footer.vmdk'), at('footer.img'), { from: 'vmdk', to: 'raw', compressed: false });
  expect(readFileSync(at('footer.img')).subarray(0, SIZE).equals(content)).toBe(true);
  writeFileSync(at('footer.vmdk'), bytes);
  expect(await refused(describeDisk(at('footer.vmdk')))).toMatchObject({ message: expect.stringContaining('has no footer: it is cut off') });
});

it('whatever a header says, the answer is a refusal or bytes, soon and within bounds', async () => {
  let seed = 20261122;
  const random = (below: number): number => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 0) % below;
  const outcomes = { refused: 0, read: 0 };
  for (let round = 0; round < 400; round++) {
    const [name = ''] = images[round % images.length] ?? [];
    const bytes = readFileSync(at(name)).subarray(0, 1 << 17);
    for (let change = 0; change <= random(6); change++) bytes.writeUInt32LE(random(4) === 0 ? 0xffff_ffff : random(2 ** 31), 4 + random(120) * 4);
    writeFileSync(at('hostile'), bytes);
    const storage = new FileStorage(at('hostile'), true);
    try {
      const format = foreignFormats.find((one) => name.endsWith(one)) ?? 'vmdk';
      const device = await openForeign(storage, format);
      await device.read(0, new Uint8Array(4096));
      await device.read(device.size - 512, new Uint8Array(512));
      outcomes.read += 1;
    } catch (error) {
      expect(error).toMatchObject({ code: 'bad-image' });
      outcomes.refused += 1;
    } finally {
      await storage.close();
    }
  }
  expect(outcomes.refused).toBeGreaterThan(50);
  expect(outcomes.read).toBeGreaterThan(5);
});

it('archives are told apart from disks', async () => {
  const storage = new FileStorage(at('raw.img'), true);
  expect(await recogniseForeign(storage)).toBeNull();
  await storage.close();
  writeFileSync(at('disk.xz'), Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0, 0, 0]));
  expect(await refused(convertDisk(at('disk.xz'), at('x.qcow2'), { from: 'auto', to: 'qcow2', compressed: false }))).toMatchObject({ message: expect.stringContaining('packed by xz') });
});
