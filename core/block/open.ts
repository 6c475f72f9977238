/** Opens a disk image of any format with everything below it, locked. */
import { realpathSync } from 'node:fs';
import { dirname, isAbsolute, join, sep } from 'node:path';
import { unreadableBecause } from '../host/reasons.ts';
import type { BlockDevice } from './blockDevice.ts';
import { badImage } from './errors.ts';
import { recogniseForeign } from './foreign/formats.ts';
import { lockImage } from './lock.ts';
import type { ImageLock } from './lock.ts';
import { makeWritable } from './qcow2/check.ts';
import { QCOW2_MAGIC, readHeader } from './qcow2/header.ts';
import type { Qcow2Header } from './qcow2/header.ts';
import { Qcow2Image } from './qcow2/image.ts';
import { RawImage } from './raw.ts';
import { FileStorage } from './storage.ts';
import type { ImageStorage } from './storage.ts';

export const imageFormats = ['raw', 'qcow2'] as const;
export type ImageFormat = (typeof imageFormats)[number];

export interface OpenOptions {
  readonly readOnly: boolean;
  /** `auto` looks at the first bytes. */
  readonly format: ImageFormat | 'auto';
}

const BACKING_DEPTH_MAXIMUM = 16;

/** @throws ContractError `file-unreadable`, `image-in-use`, `bad-image` */
export async function openImage(path: string, options: OpenOptions): Promise<BlockDevice> {
  return open(path, options, 0);
}

async function open(path: string, { readOnly, format }: OpenOptions, depth: number): Promise<BlockDevice> {
  const { storage, lock } = openLocked(path, readOnly);
  try {
    const recognised = format === 'auto' ? await recogniseOwn(storage) : format;
    const device = recognised === 'raw' ? new RawImage(storage, { guessed: format === 'auto' }) : await openQcow2(storage, depth);
    return withLock(device, lock);
  } catch (error) {
    lock.release();
    await storage.close();
    throw error;
  }
}

/** Bytes of the disk that an image holds; the image may be in use. @throws ContractError `file-unreadable`, `bad-image` */
export async function imageSize(path: string, format: OpenOptions['format']): Promise<number> {
  const storage = new FileStorage(path, true);
  try {
    const recognised = format === 'auto' ? await recognise(storage) : format;
    return recognised === 'raw' ? new RawImage(storage).size : (await readHeader(storage)).size;
  } finally {
    await storage.close();
  }
}

/** A file and its lock; for commands that work on the file itself. */
export function openLocked(path: string, readOnly: boolean): { readonly storage: FileStorage; readonly lock: ImageLock } {
  const storage = new FileStorage(path, readOnly);
  try {
    return { storage, lock: lockImage(path, storage.identity, readOnly ? 'shared' : 'exclusive') };
  } catch (error) {
    void storage.close();
    throw error;
  }
}

/** What the first bytes say: everything that is not qcow2 is raw. */
export async function recognise(storage: ImageStorage): Promise<ImageFormat> {
  const magic = new Uint8Array(4);
  await storage.read(0, magic);
  return new DataView(magic.buffer).getUint32(0) === QCOW2_MAGIC ? 'qcow2' : 'raw';
}

/** The same of an image that a guest is to have, which may be of no other program. @throws ContractError `bad-image` */
async function recogniseOwn(storage: ImageStorage): Promise<ImageFormat> {
  const other = await recogniseForeign(storage);
  if (other?.format) throw badImage(storage.path, `is ${other.what}, which is not written to here`, other.hint);
  return recognise(storage);
}

async function openQcow2(storage: ImageStorage, depth: number): Promise<BlockDevice> {
  if (!storage.readOnly) await makeWritable(storage);
  const header = await readHeader(storage);
  return Qcow2Image.open(storage, await openBacking(storage.path, header, depth));
}

async function openBacking(path: string, { backingFile, backingFormat }: Qcow2Header, depth: number): Promise<BlockDevice | null> {
  if (backingFile === null) return null;
  if (depth >= BACKING_DEPTH_MAXIMUM) throw badImage(path, `has more than ${BACKING_DEPTH_MAXIMUM} images below it`, 'Convert it to an image of its own.');
  const format = imageFormats.find(known => known === backingFormat);
  if (format === undefined) {
    const said = backingFormat === null ? 'does not say which format its backing file has' : `has a backing file of format "${backingFormat}"`;
    throw badImage(path, said, 'Name raw or qcow2 as the backing format when the image is made: a guess could be steered by a guest.');
  }
  return open(confinedBacking(path, backingFile), { readOnly: true, format }, depth + 1);
}

/**
 * Where a backing file lies. An image may come from anybody, and its guest reads whatever the header names: it must lie in the image's
 * own folder or below, links resolved.
 */
function confinedBacking(path: string, name: string): string {
  const colon = /^(\w+):/.exec(name);
  if (colon !== null && colon[1]?.length !== 1) throw badImage(path, `has the backing file "${name}", which is no file of this machine`, 'Use a file.');
  try {
    const folder = realpathSync(dirname(path));
    const resolved = realpathSync(isAbsolute(name) ? name : join(dirname(realpathSync(path)), name));
    if (resolved.startsWith(folder.endsWith(sep) ? folder : folder + sep)) return resolved;
  } catch (error) {
    throw badImage(path, `has the backing file "${name}", which cannot be opened: ${unreadableBecause(error)}`, 'Put it beside the image.');
  }
  throw badImage(path, `has the backing file "${name}", which lies outside the image's folder`, 'Put the backing file beside the image, or convert the image to one of its own.');
}

/** The device, which gives its lock back when it is closed. */
function withLock(device: BlockDevice, lock: ImageLock): BlockDevice {
  return {
    size: device.size, readOnly: device.readOnly, direct: device.direct ?? null,
    read: (offset, into) => device.read(offset, into),
    write: (offset, from) => device.write(offset, from),
    flush: () => device.flush(),
    discard: (offset, length) => device.discard(offset, length),
    zero: (offset, length) => device.zero(offset, length),
    close: () => device.close().finally(() => lock.release()),
    freeze: async () => {
      // The first flush releases clusters, the second writes that down.
      await device.flush();
      await device.flush();
      if (!device.readOnly) lock.share();
    },
  };
}
