import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, openSync, readSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { listFiles } from '../../core/fs/files.ts';
import type { ReadDisk } from '../../core/fs/readDisk.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'vanderpool-fs-'));
  mkdirSync(join(folder, 'tree/deep/er'), { recursive: true });
  writeFileSync(join(folder, 'tree/small'), 'small');
  writeFileSync(join(folder, 'tree/deep/a longer name than eight and three.text'), 'x'.repeat(70_000));
  writeFileSync(join(folder, 'tree/deep/er/empty'), '');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const expected = { '/small': 5, '/deep/a longer name than eight and three.text': 70_000, '/deep/er/empty': 0 };

function diskOf(path: string): ReadDisk {
  const handle = openSync(path, 'r');
  return { size: statSync(path).size, read: async (offset, into) => void readSync(handle, into, 0, into.length, offset) };
}

function made(name: string, bytes: number, tool: string, ...options: readonly string[]): string {
  const path = join(folder, name);
  writeFileSync(path, '');
  truncateSync(path, bytes);
  execFileSync(tool, [...options, path], { stdio: 'ignore' });
  return path;
}

const sizes = async (disk: ReadDisk): Promise<Record<string, number>> => Object.fromEntries([...(await listFiles(disk)) ?? []].filter(([path]) => !path.includes('lost+found')).map(([path, { bytes }]) => [path, bytes]));

const systems = [
  ['ext2', 1024], ['ext4', 1024], ['ext4', 4096],
] as const;

describe('files of a disk', () => {
  it.each(systems)('are found on %s with blocks of %i bytes, with their content', async (kind, block) => {
    const path = made(`${kind}-${block}`, 16 << 20, 'mke2fs', '-q', '-F', '-t', kind, '-b', String(block), '-d', join(folder, 'tree'));
    expect(await sizes(diskOf(path))).toEqual(expected);
    const [extent] = (await listFiles(diskOf(path)))?.get('/small')?.extents ?? [];
    const content = new Uint8Array(5);
    await diskOf(path).read(extent?.offset ?? 0, content);
    expect(Buffer.from(content).toString()).toBe('small');
  });

  it.each([['FAT12', 2880, ['-h', '2']], ['FAT16', 65536, ['-h', '16']], ['FAT32', 262144, ['-F', '-h', '16']]] as const)('are found on %s', async (kind, sectors, options) => {
    const path = join(folder, kind);
    execFileSync('mformat', ['-i', path, '-C', '-T', String(sectors), '-s', '18', ...options, '::']);
    execFileSync('mcopy', ['-i', path, '-s', join(folder, 'tree/small'), join(folder, 'tree/deep'), '::']);
    const found = await sizes(diskOf(path));
    expect(Object.fromEntries(Object.entries(found).map(([name, bytes]) => [name.replace('/SMALL', '/small').replace(/^\/DEEP/, '/deep').replace('/ER/EMPTY', '/er/empty'), bytes]))).toEqual(expected);
  });

  it('are found in partitions, by their numbers', async () => {
    const system = diskOf(made('part', 8 << 20, 'mke2fs', '-q', '-F', '-t', 'ext4', '-d', join(folder, 'tree')));
    const table = new Uint8Array(512);
    const view = new DataView(table.buffer);
    view.setUint32(446 + 16 + 8, 2048, true);
    view.setUint32(446 + 16 + 12, system.size / 512, true);
    view.setUint16(510, 0xaa55, true);
    const start = 2048 * 512;
    const disk: ReadDisk = {
      size: start + system.size,
      read: async (offset, into) => {
        if (offset >= start) return system.read(offset - start, into);
        into.fill(0);
        if (offset === 0) into.set(table.subarray(0, into.length));
      },
    };
    expect(Object.keys(await sizes(disk)).toSorted()).toEqual(Object.keys(expected).map((path) => `2:${path}`).toSorted());
  });

  it('are not invented: noise, and damaged file systems, are none or few, and end', async () => {
    const path = made('damaged', 4 << 20, 'mke2fs', '-q', '-F', '-t', 'ext4', '-d', join(folder, 'tree'));
    const whole = diskOf(path);
    let state = 1;
    for (let round = 0; round < 300; round += 1) {
      state = (state * 48271) % 2147483647;
      const target = state % 65536;
      const value = (state >> 8) & 0xff;
      const disk: ReadDisk = {
        size: whole.size,
        read: async (offset, into) => {
          await whole.read(offset, into);
          for (const at of [target, target * 7 % 65536, 1024 + (target % 300)]) if (at >= offset && at < offset + into.length) into[at - offset] = value;
        },
      };
      expect((await listFiles(disk))?.size ?? 0).toBeLessThan(1000);
    }
  });
});
