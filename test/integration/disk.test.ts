/** Disk images against qemu-img, an independent reader and writer of the format. */
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, truncateSync, writeFileSync, writeSync, closeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkDisk, createDisk, describeDisk, growDisk } from '../../core/block/commands.ts';
import { convertDisk } from '../../core/block/convert.ts';
import { openImage } from '../../core/block/open.ts';

let folder: string;
let source: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'vanderpool-disk-'));
  source = join(folder, 'source.raw');
  const text = Buffer.from(Array.from({ length: 3_000_000 }, (_, index) => (index * index) >> 9));
  writeFileSync(source, text);
  truncateSync(source, 16 * 1024 * 1024);
  const file = openSync(source, 'r+');
  writeSync(file, crypto.getRandomValues(new Uint8Array(65536)), 0, 65536, 9_000_000);
  closeSync(file);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function qemuImg(...args: string[]): string {
  const { status, stdout, stderr, error } = spawnSync('qemu-img', args, { encoding: 'utf8', cwd: folder });
  if (error) throw new Error(`qemu-img is needed (Debian package qemu-utils): ${error.message}`);
  expect(status, `${args.join(' ')}: ${stdout}${stderr}`).toBe(0);
  return stdout;
}

function fresh(name: string): string {
  const path = join(folder, name);
  rmSync(path, { force: true });
  return path;
}

describe('images that we write', () => {
  const shapes = [
    { compressed: false }, { compressed: true }, { compressed: true, compression: 'zstd' as const }, { compressed: false, clusterBits: 9 },
    { compressed: false, version: 2 as const }, { compressed: true, clusterBits: 21 },
  ];
  it.each(shapes)('are without fault, and hold the same: %o', async shape => {
    const target = fresh('ours.qcow2');
    await convertDisk(source, target, { from: 'raw', to: 'qcow2', ...shape });
    qemuImg('check', target);
    qemuImg('compare', source, target);
  });

  it('stay so when they grow', async () => {
    const target = fresh('grown.qcow2');
    await convertDisk(source, target, { from: 'raw', to: 'qcow2', compressed: false });
    await growDisk(target, 2 ** 41);
    qemuImg('check', target);
    expect(qemuImg('info', target)).toContain('2 TiB');
    await expect(growDisk(target, 2 ** 30)).rejects.toMatchObject({ code: 'bad-field', field: 'size' });
  });
});

describe('images of others', () => {
  const options = [
    '', 'compat=0.10', 'cluster_size=512', 'refcount_bits=1', 'refcount_bits=64,cluster_size=4096', 'lazy_refcounts=on', 'preallocation=metadata',
    'compression_type=zstd',
  ];
  it.each(options)('are read, and written so that others can read them: %s', async option => {
    const image = fresh('theirs.qcow2');
    qemuImg('convert', '-O', 'qcow2', ...(option.includes('compression') ? ['-c'] : []), ...(option === '' ? [] : ['-o', option]), source, image);
    const disk = await openImage(image, { readOnly: false, format: 'qcow2' });
    const expected = readFileSync(source);
    const read = new Uint8Array(disk.size);
    await disk.read(0, read);
    expect(Buffer.compare(read, expected)).toBe(0);
    await disk.write(1_000_448, read.subarray(0, 100_352));
    read.copyWithin(1_000_448, 0, 100_352);
    await disk.zero(9_000_448, 20_480);
    read.fill(0, 9_000_448, 9_020_928);
    await disk.close();
    const raw = join(folder, 'model.raw');
    writeFileSync(raw, read);
    qemuImg('check', image);
    qemuImg('compare', image, raw);
    expect(await checkDisk(image, 'none')).toMatchObject({ corruptions: 0, leaks: 0 });
  });

  it('keep their internal snapshots', async () => {
    const image = fresh('snapshots.qcow2');
    qemuImg('convert', '-O', 'qcow2', source, image);
    qemuImg('snapshot', '-c', 'before', image);
    const disk = await openImage(image, { readOnly: false, format: 'qcow2' });
    await disk.write(0, new Uint8Array(1_000_448).fill(7));
    await disk.discard(8 * 1024 * 1024, 4 * 1024 * 1024);
    await disk.close();
    qemuImg('check', image);
    expect(await checkDisk(image, 'none')).toMatchObject({ corruptions: 0, leaks: 0 });
    qemuImg('snapshot', '-a', 'before', image);
    qemuImg('compare', image, source);
  });

  it('are mended as they should be', async () => {
    const image = fresh('broken.qcow2');
    qemuImg('convert', '-O', 'qcow2', source, image);
    const bytes = readFileSync(image);
    const block = Number(bytes.readBigUInt64BE(Number(bytes.readBigUInt64BE(48))));
    bytes.writeUInt16BE(0, block + 14);
    bytes.writeUInt16BE(5, block + 16);
    bytes.writeUInt16BE(1, block + 20_000);
    bytes[79] = 1;
    writeFileSync(image, bytes);
    expect(await checkDisk(image, 'none')).toMatchObject({ leaks: 1 });
    expect((await checkDisk(image, 'all')).repaired).toBe(2);
    qemuImg('check', image);
    qemuImg('compare', image, source);
  });
});

describe('backing files', () => {
  it('show through, and may lie beside the image only', async () => {
    copyFileSync(source, join(folder, 'base.raw'));
    const overlay = fresh('overlay.qcow2');
    await createDisk(overlay, { format: 'qcow2', size: null, backing: { path: join(folder, 'base.raw'), format: 'raw' } });
    qemuImg('compare', overlay, source);
    const inner = join(folder, 'inner');
    mkdirSync(inner, { recursive: true });
    for (const name of ['../base.raw', '/etc/passwd', 'nbd://host/disk', 'json:{"driver":"file"}']) {
      const hostile = join(inner, 'hostile.qcow2');
      rmSync(hostile, { force: true });
      qemuImg('create', '-q', '-u', '-f', 'qcow2', '-F', 'raw', '-b', name, hostile, '16M');
      await expect(openImage(hostile, { readOnly: true, format: 'auto' }), name).rejects.toMatchObject({ code: 'bad-image' });
    }
  });

  it('must have a format, and must not go round', async () => {
    const image = fresh('unnamed.qcow2');
    qemuImg('create', '-q', '-u', '-f', 'qcow2', '-o', 'backing_file=source.raw,backing_fmt=raw,compat=1.1', image, '16M');
    const bytes = readFileSync(image);
    const at = bytes.indexOf(Buffer.from([0xe2, 0x79, 0x2a, 0xca]));
    bytes.writeUInt32BE(0, at);
    writeFileSync(image, bytes);
    await expect(openImage(image, { readOnly: true, format: 'auto' })).rejects.toMatchObject({ code: 'bad-image' });
    const loop = fresh('loop.qcow2');
    qemuImg('create', '-q', '-u', '-f', 'qcow2', '-F', 'qcow2', '-b', 'loop.qcow2', loop, '16M');
    await expect(openImage(loop, { readOnly: true, format: 'auto' })).rejects.toMatchObject({ code: 'bad-image' });
  });
});

describe('locks', () => {
  it('let one writer in, or many readers', async () => {
    const image = fresh('locked.raw');
    await createDisk(image, { format: 'raw', size: 65536 });
    const writer = await openImage(image, { readOnly: false, format: 'raw' });
    await expect(openImage(image, { readOnly: true, format: 'raw' })).rejects.toMatchObject({ code: 'image-in-use' });
    await writer.close();
    const readers = await Promise.all([1, 2].map(() => openImage(image, { readOnly: true, format: 'raw' })));
    await expect(openImage(image, { readOnly: false, format: 'raw' })).rejects.toMatchObject({ code: 'image-in-use' });
    await Promise.all(readers.map(reader => reader.close()));
    await (await openImage(image, { readOnly: false, format: 'raw' })).close();
  });
});

describe('a raw image whose format was guessed', () => {
  it('cannot be made a qcow2 image by its guest', async () => {
    const image = fresh('guessed.raw');
    await createDisk(image, { format: 'raw', size: 65536 });
    const disk = await openImage(image, { readOnly: false, format: 'auto' });
    const sector = new Uint8Array(512);
    sector.set([0x51, 0x46, 0x49, 0xfb]);
    await expect(disk.write(0, sector)).rejects.toMatchObject({ failure: 'io' });
    await disk.write(512, sector);
    await disk.close();
    expect(await describeDisk(image)).toMatchObject({ format: 'raw', size: 65536 });
  });
});
