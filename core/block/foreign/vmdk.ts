/** VMware's disk images in one file: sparse, and stream-optimized with compressed grains as appliances have them. */
import { inflate } from 'node:zlib';
import { promisify } from 'node:util';
import type { BlockDevice } from '../blockDevice.ts';
import { SECTOR } from '../blockDevice.ts';
import type { ImageStorage } from '../storage.ts';
import { badForeign, readOnlyDevice } from './readOnly.ts';

/** `KDMV`. */
export const MAGIC = 0x564d_444b;
export const flags = { zeroGrains: 1 << 2, compressed: 1 << 16, markers: 1 << 17 } as const;
export const DEFLATE = 1;
/** The directory's place stands in the footer, which is written last. */
export const directoryAtEnd = 0xffff_ffff_ffff_ffffn;
const GRAIN_BYTES_MAXIMUM = 16 << 20;
const TABLE_ENTRIES_MAXIMUM = 1 << 16;
const TABLES_MAXIMUM = 1 << 20;
/** A table entry that says zeros, where the header says that there are such. */
const ZERO_GRAIN = 1;
export const MARKER_BYTES = 12;
/** Pieces that a copy from front to back asks for again and again. */
const TABLES_KEPT = 4;

interface Header {
  readonly size: number;
  readonly grainBytes: number;
  readonly tableEntries: number;
  readonly directoryAt: number;
  readonly compressed: boolean;
  readonly zeroGrains: boolean;
}

const inflated = promisify(inflate) as (bytes: Uint8Array, options: { readonly maxOutputLength: number }) => Promise<Uint8Array>;

/** @throws ContractError `bad-image` */
export async function openVmdk(storage: ImageStorage): Promise<BlockDevice> {
  const header = await readHeader(storage);
  const { size, grainBytes, tableEntries, directoryAt } = header;
  const tables = Math.ceil(size / grainBytes / tableEntries);
  if (tables > TABLES_MAXIMUM || directoryAt + tables * 4 > storage.length) throw badForeign(storage, 'is cut off, or names a directory that is not in it');
  const directory = await words(storage, directoryAt, tables);
  const kept = new Map<number, Uint32Array>();
  const tableAt = async (index: number): Promise<Uint32Array | null> => {
    const at = (directory[index] ?? 0) * SECTOR;
    if (at === 0) return null;
    const known = kept.get(index) ?? await words(storage, at, tableEntries);
    kept.delete(index);
    kept.set(index, known);
    for (const oldest of kept.keys()) if (kept.size > TABLES_KEPT) kept.delete(oldest);
    return known;
  };
  let last: { readonly grain: number; readonly bytes: Uint8Array } | null = null;
  return readOnlyDevice(storage, size, grainBytes, async (offset, into) => {
    const grain = Math.floor(offset / grainBytes);
    const entry = (await tableAt(Math.floor(grain / tableEntries)))?.[grain % tableEntries] ?? 0;
    if (entry === 0 || (entry === ZERO_GRAIN && header.zeroGrains)) return void into.fill(0);
    const within = offset % grainBytes;
    const at = entry * SECTOR;
    if (!header.compressed) {
      if (at + within + into.length > storage.length) throw badForeign(storage, `is cut off: the part at ${offset} of its disk lies beyond the end of the file`);
      return storage.read(at + within, into);
    }
    if (last?.grain !== grain) last = { grain, bytes: await readCompressed(storage, header, at) };
    into.set(last.bytes.subarray(within, within + into.length));
  });
}

/** A grain with its marker before it: where it belongs, and how long it is compressed. */
async function readCompressed(storage: ImageStorage, { grainBytes }: Header, at: number): Promise<Uint8Array> {
  const marker = new Uint8Array(MARKER_BYTES);
  await storage.read(at, marker);
  const length = new DataView(marker.buffer).getUint32(8, true);
  if (length === 0 || length > grainBytes * 2 + SECTOR || at + MARKER_BYTES + length > storage.length) throw badForeign(storage, `is cut off or damaged at ${at}`);
  const packed = new Uint8Array(length);
  await storage.read(at + MARKER_BYTES, packed);
  const bytes = await inflated(packed, { maxOutputLength: grainBytes }).catch(() => null);
  if (bytes === null) throw badForeign(storage, `is damaged at ${at}: what lies there cannot be unpacked`);
  // The last grain of a disk may be short.
  if (bytes.length === grainBytes) return bytes;
  const whole = new Uint8Array(grainBytes);
  whole.set(bytes);
  return whole;
}

async function readHeader(storage: ImageStorage): Promise<Header> {
  const first = await headerAt(storage, 0);
  // Footer and end-of-stream marker are the last two sectors.
  const header = first.getBigUint64(56, true) === directoryAtEnd ? await headerAt(storage, storage.length - 2 * SECTOR) : first;
  const version = header.getUint32(4, true);
  const set = header.getUint32(8, true);
  const [capacity, grain, directory] = [12, 20, 56].map((at) => Number(header.getBigUint64(at, true) * BigInt(SECTOR))) as [number, number, number];
  const tableEntries = header.getUint32(44, true);
  const compressed = (set & flags.compressed) !== 0;
  if (header.getUint32(0, true) !== MAGIC) throw badForeign(storage, 'has no footer: it is cut off');
  if (version < 1 || version > 3) throw badForeign(storage, `is a VMDK image of version ${version}; 1 to 3 are supported`);
  if (compressed && header.getUint16(77, true) !== DEFLATE) throw badForeign(storage, 'is compressed in a way that is not known');
  if (grain < 8 * SECTOR || grain > GRAIN_BYTES_MAXIMUM || !Number.isInteger(Math.log2(grain))) throw badForeign(storage, 'has grains of a size that cannot be');
  if (capacity === 0 || !Number.isSafeInteger(capacity) || tableEntries === 0 || tableEntries > TABLE_ENTRIES_MAXIMUM || !Number.isSafeInteger(directory)) throw badForeign(storage, 'has a header that cannot be');
  return { size: capacity, grainBytes: grain, tableEntries, directoryAt: directory, compressed, zeroGrains: (set & flags.zeroGrains) !== 0 };
}

async function headerAt(storage: ImageStorage, at: number): Promise<DataView> {
  if (at < 0) throw badForeign(storage, 'is cut off');
  const bytes = new Uint8Array(SECTOR);
  await storage.read(at, bytes);
  return new DataView(bytes.buffer);
}

async function words(storage: ImageStorage, at: number, count: number): Promise<Uint32Array> {
  const bytes = new Uint8Array(count * 4);
  await storage.read(at, bytes);
  const view = new DataView(bytes.buffer);
  return Uint32Array.from({ length: count }, (_, index) => view.getUint32(index * 4, true));
}
