/** Copies disks into new images: of another format, of another program, or from within an archive. */
import { rmSync } from 'node:fs';
import { setImmediate as yieldToOthers } from 'node:timers/promises';
import type { BlockDevice } from './blockDevice.ts';
import { createDisk } from './commands.ts';
import { badImage } from './errors.ts';
import { foreignFormats, openForeign, recogniseForeign } from './foreign/formats.ts';
import type { ForeignFormat } from './foreign/formats.ts';
import { imageFormats, openImage } from './open.ts';
import type { ImageFormat } from './open.ts';
import type { Qcow2Options } from './qcow2/create.ts';
import { Qcow2Image } from './qcow2/image.ts';
import { FileStorage } from './storage.ts';

const COPY_BYTES = 2 * 1024 * 1024;

export interface ConvertOptions {
  readonly from: ImageFormat | ForeignFormat | 'auto';
  readonly to: ImageFormat;
  /** Compresses clusters; for qcow2. */
  readonly compressed: boolean;
  readonly clusterBits?: number;
  readonly version?: 2 | 3;
  readonly compression?: Qcow2Options['compression'];
  readonly progress?: (done: number, total: number) => void;
}

/** An image of any program whose format is known, to read. */
async function openSource(path: string, wanted: ConvertOptions['from']): Promise<BlockDevice> {
  const storage = new FileStorage(path, true);
  try {
    const other = wanted === 'auto' ? await recogniseForeign(storage) : null;
    const format = foreignFormats.find((one) => one === (other?.format ?? wanted));
    if (other && !other.format) throw badImage(path, `is ${other.what}`, other.hint);
    if (format !== undefined) return await openForeign(storage, format);
  } catch (error) {
    await storage.close();
    throw error;
  }
  await storage.close();
  return openImage(path, { readOnly: true, format: imageFormats.find((one) => one === wanted) ?? 'auto' });
}

/** Copies a disk into a new image of another format, without its zeros and without its backing files. */
export async function convertDisk(source: string, target: string, options: ConvertOptions): Promise<void> {
  const from = await openSource(source, options.from);
  try {
    await copyDisk(from, target, options);
  } finally {
    await from.close();
  }
}

export type CopyOptions = Omit<ConvertOptions, 'from'>;

/** The same of a disk that is open. What goes wrong on the way, or is thrown by `progress`, leaves no file behind. */
export async function copyDisk(from: BlockDevice, target: string, options: CopyOptions): Promise<void> {
  await createDisk(target, { ...options, format: options.to, size: from.size });
  try {
    await (options.to === 'raw' ? copyRaw(from, target, options) : copyQcow2(from, target, options));
  } catch (error) {
    rmSync(target, { force: true });
    throw error;
  }
}

async function copyRaw(from: BlockDevice, target: string, options: CopyOptions): Promise<void> {
  const storage = new FileStorage(target, false);
  try {
    await eachPiece(from, COPY_BYTES, options, async (offset, bytes) => {
      for (const [start, end] of runsOfData(bytes)) await storage.write(offset + start, bytes.subarray(start, end));
    });
    await storage.sync();
  } finally {
    await storage.close();
  }
}

async function copyQcow2(from: BlockDevice, target: string, options: CopyOptions): Promise<void> {
  const image = await Qcow2Image.open(new FileStorage(target, false), null);
  try {
    const piece = options.compressed ? image.clusterBytes : COPY_BYTES;
    await eachPiece(from, piece, options, async (offset, bytes) => {
      if (!options.compressed) for (const [start, end] of runsOfData(bytes)) await image.write(offset + start, bytes.subarray(start, end));
      else if (!isZero(bytes)) await image.writeCompressed(offset, bytes);
    });
  } finally {
    await image.close();
  }
}

async function eachPiece(from: BlockDevice, length: number, { progress }: CopyOptions, take: (offset: number, bytes: Uint8Array) => Promise<void>): Promise<void> {
  const buffer = new Uint8Array(length);
  for (let offset = 0; offset < from.size; offset += length) {
    const bytes = buffer.subarray(0, Math.min(length, from.size - offset));
    // What is read and holds nothing may take no turn of the event loop at all.
    await yieldToOthers();
    await from.read(offset, bytes);
    await take(offset, bytes);
    progress?.(Math.min(offset + length, from.size), from.size);
  }
}

const HOLE_BYTES = 4096;
const ZEROS = new Uint8Array(COPY_BYTES);

function isZero(bytes: Uint8Array): boolean {
  return Buffer.compare(bytes, ZEROS.subarray(0, bytes.length)) === 0;
}

/** Beginnings and ends of what is not zero, in steps of 4 KiB. */
function* runsOfData(bytes: Uint8Array): Generator<readonly [number, number]> {
  let start = -1;
  for (let at = 0; at < bytes.length; at += HOLE_BYTES) {
    const empty = isZero(bytes.subarray(at, at + HOLE_BYTES));
    if (!empty && start < 0) start = at;
    if (!empty || start < 0) continue;
    yield [start, at];
    start = -1;
  }
  if (start >= 0) yield [start, bytes.length];
}
