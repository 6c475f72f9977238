/** Files of a disk, for comparisons: names, sizes and places. A disk's content is its guest's: nothing of it is believed. */
import { readExt4 } from './ext4.ts';
import { readFat } from './fat.ts';
import { FileSystemError, readView } from './readDisk.ts';
import type { FoundFile, ReadDisk } from './readDisk.ts';

const SECTOR = 512;

/** Files by path; those of a partition begin with its number. Null when there is no file system that is known, or one is damaged. */
export async function listFiles(disk: ReadDisk): Promise<Map<string, FoundFile> | null> {
  const whole = await readFileSystem(disk, 0, disk.size);
  if (whole) return whole;
  const all = new Map<string, FoundFile>();
  let known = false;
  for (const { number, offset, bytes } of await partitionsOf(disk)) {
    const files = await readFileSystem(disk, offset, bytes);
    if (!files) continue;
    known = true;
    for (const [path, file] of files) all.set(`${number}:${path}`, file);
  }
  return known ? all : null;
}

async function readFileSystem(disk: ReadDisk, start: number, size: number): Promise<Map<string, FoundFile> | null> {
  const part: ReadDisk = {
    size,
    read: async (offset, into) => {
      if (!Number.isSafeInteger(offset) || offset < 0 || offset + into.length > size) throw new FileSystemError('something lies beyond the end');
      await readBytes(disk, start + offset, into);
    },
  };
  try {
    const files = (await readExt4(part)) ?? (await readFat(part));
    if (!files || start === 0) return files;
    return new Map([...files].map(([path, file]) => [path, { ...file, extents: file.extents.map(({ offset, bytes }) => ({ offset: offset + start, bytes })) }]));
  } catch (error) {
    if (error instanceof FileSystemError || error instanceof RangeError) return null;
    throw error;
  }
}

/** Disks are read by sectors. */
async function readBytes(disk: ReadDisk, offset: number, into: Uint8Array): Promise<void> {
  const first = Math.floor(offset / SECTOR) * SECTOR;
  const end = Math.ceil((offset + into.length) / SECTOR) * SECTOR;
  if (first === offset && end === offset + into.length) return disk.read(offset, into);
  const sectors = new Uint8Array(Math.min(end, disk.size) - first);
  await disk.read(first, sectors);
  into.set(sectors.subarray(offset - first, offset - first + into.length));
}

interface Partition {
  readonly number: number;
  readonly offset: number;
  readonly bytes: number;
}

const GPT_ENTRIES_MAXIMUM = 128;

/** Of a GUID partition table or the four of a master boot record. @uefi 5.3 */
async function partitionsOf(disk: ReadDisk): Promise<Partition[]> {
  if (disk.size < 2 * SECTOR) return [];
  const view = await readView(disk, 0, 2 * SECTOR);
  if (view.getUint16(510, true) !== 0xaa55) return [];
  const fits = ({ offset, bytes }: Partition): boolean => bytes > 0 && offset > 0 && offset + bytes <= disk.size;
  if (Buffer.from(view.buffer, SECTOR, 8).toString('latin1') === 'EFI PART') return (await gptPartitions(disk, view)).filter(fits);
  return [0, 1, 2, 3].map((index) => {
    const at = 446 + index * 16;
    return { number: index + 1, offset: view.getUint32(at + 8, true) * SECTOR, bytes: view.getUint32(at + 12, true) * SECTOR };
  }).filter(fits);
}

async function gptPartitions(disk: ReadDisk, header: DataView): Promise<Partition[]> {
  const at = Number(header.getBigUint64(SECTOR + 72, true)) * SECTOR;
  const count = Math.min(header.getUint32(SECTOR + 80, true), GPT_ENTRIES_MAXIMUM);
  const bytes = header.getUint32(SECTOR + 84, true);
  if (bytes < 128 || bytes > 4096 || at + count * bytes > disk.size) return [];
  const view = await readView(disk, at, Math.ceil((count * bytes) / SECTOR) * SECTOR);
  return Array.from({ length: count }, (_, index) => {
    const first = Number(view.getBigUint64(index * bytes + 32, true));
    const last = Number(view.getBigUint64(index * bytes + 40, true));
    return { number: index + 1, offset: first * SECTOR, bytes: first === 0 ? 0 : (last - first + 1) * SECTOR };
  });
}
