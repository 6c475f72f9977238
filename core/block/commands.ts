/** What people do with disk images: make, describe, check, resize, convert. */
import { closeSync, existsSync, openSync, rmSync, statSync } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import { ContractError } from '../contract/errors.ts';
import { formatSize } from '../contract/memory.ts';
import { unwritableBecause } from '../host/reasons.ts';
import { SECTOR } from './blockDevice.ts';
import { badImage } from './errors.ts';
import { openForeign, recogniseForeign } from './foreign/formats.ts';
import type { ForeignFormat } from './foreign/formats.ts';
import { openImage, openLocked, recognise } from './open.ts';
import type { ImageFormat } from './open.ts';
import { checkQcow2 } from './qcow2/check.ts';
import type { CheckReport, Repair } from './qcow2/check.ts';
import { createQcow2, growQcow2, qcow2Defaults } from './qcow2/create.ts';
import type { Qcow2Options } from './qcow2/create.ts';
import { incompatible, readHeader } from './qcow2/header.ts';
import { FileStorage } from './storage.ts';

export const DISK_MAXIMUM = 2 ** 46;

export interface CreateOptions extends Partial<Omit<Qcow2Options, 'size' | 'backing'>> {
  readonly format: ImageFormat;
  /** In bytes; null takes that of the backing image. */
  readonly size: number | null;
  readonly backing?: { readonly path: string; readonly format: ImageFormat };
}

/** @throws ContractError; the file is gone again then, unless it was there before */
export async function createDisk(path: string, options: CreateOptions): Promise<void> {
  const backing = options.backing && backingOf(path, options.backing);
  const size = options.size ?? (backing ? await sizeOf(resolve(dirname(path), backing.file), backing.format) : null);
  if (size === null) throw new ContractError('bad-field', 'A new disk needs a size.', 'Write it with a unit, such as 20G.', 'size');
  checkSize(size);
  await intoNewFile(path, async storage => {
    if (options.format === 'raw') {
      if (backing) throw new ContractError('bad-field', 'A raw image has no backing file.', 'Choose the format qcow2.', 'backing');
      await storage.truncate(size);
      return storage.sync();
    }
    const { version, clusterBits, compression, lazyRefcounts } = { ...qcow2Defaults, ...options };
    return createQcow2(storage, { size, version, clusterBits, compression, lazyRefcounts, backing: backing ?? null });
  });
}

/** The header names the backing file as it is seen from the image's folder, where it must be. */
function backingOf(path: string, { path: backingPath, format }: { readonly path: string; readonly format: ImageFormat }): { file: string; format: ImageFormat } {
  if (dirname(resolve(path)) !== dirname(resolve(backingPath))) {
    throw new ContractError('bad-field', 'The backing file must lie in the folder of the new image.', 'Put one of them beside the other.', 'backing');
  }
  return { file: basename(backingPath), format };
}

async function sizeOf(path: string, format: ImageFormat): Promise<number> {
  const device = await openImage(path, { readOnly: true, format });
  await device.close();
  return device.size;
}

function checkSize(size: number): void {
  if (Number.isInteger(size) && size > 0 && size <= DISK_MAXIMUM && size % SECTOR === 0) return;
  throw new ContractError('bad-field', `A disk cannot have ${size} bytes.`, `Choose a multiple of ${SECTOR} bytes, at most 64 T.`, 'size');
}

async function intoNewFile(path: string, fill: (storage: FileStorage) => Promise<void>): Promise<void> {
  if (existsSync(path)) throw new ContractError('bad-field', `There is a file "${path}" already.`, 'Choose another name, or remove the file.', 'path');
  try {
    closeSync(openSync(path, 'wx', 0o600));
  } catch (error) {
    throw new ContractError('file-unreadable', `"${path}" cannot be made: ${unwritableBecause(error)}.`, 'Choose a folder you may write to.');
  }
  const storage = new FileStorage(path, false);
  try {
    await fill(storage);
  } catch (error) {
    rmSync(path, { force: true });
    throw error;
  } finally {
    await storage.close().catch(() => undefined);
  }
}

export interface DiskInfo {
  readonly path: string;
  readonly format: ImageFormat | ForeignFormat;
  readonly size: number;
  /** Bytes of the host's disk that it takes. */
  readonly allocatedBytes: number;
  readonly qcow2: {
    readonly version: number; readonly clusterBytes: number; readonly compression: string; readonly backingFile: string | null;
    readonly backingFormat: string | null; readonly snapshots: number; readonly dirty: boolean; readonly corrupt: boolean;
  } | null;
}

export async function describeDisk(path: string): Promise<DiskInfo> {
  // Without a lock: looking does no harm, and people look at disks that are in use.
  const storage = new FileStorage(path, true);
  try {
    const allocatedBytes = statSync(path).blocks * 512;
    const other = await recogniseForeign(storage);
    if (other?.format) return { path, format: other.format, size: (await openForeign(storage, other.format)).size, allocatedBytes, qcow2: null };
    const format = await recognise(storage);
    if (format === 'raw') return { path, format, size: storage.length, allocatedBytes, qcow2: null };
    const header = await readHeader(storage);
    const { version, size, compression, backingFile, backingFormat, snapshots, incompatibleFeatures: bits } = header;
    return {
      path, format, size, allocatedBytes,
      qcow2: {
        version, clusterBytes: 2 ** header.clusterBits, compression, backingFile, backingFormat, snapshots,
        dirty: (bits & incompatible.dirty) !== 0, corrupt: (bits & incompatible.corrupt) !== 0,
      },
    };
  } finally {
    await storage.close();
  }
}

/** `qcow2, 20G, 1.5G on this host`. @throws ContractError when a guest cannot have it as its disk, or finds in it what nobody wants there */
export async function diskText(path: string): Promise<string> {
  const storage = new FileStorage(path, true);
  const other = await recogniseForeign(storage).finally(() => storage.close());
  if (other) throw badImage(path, `is ${other.what}`, other.hint);
  const { format, size, allocatedBytes } = await describeDisk(path);
  return `${format}, ${formatSize(size)}, ${formatSize(allocatedBytes)} on this host`;
}

export async function checkDisk(path: string, repair: Repair): Promise<CheckReport> {
  const { storage, lock } = openLocked(path, repair === 'none');
  try {
    if (await recognise(storage) === 'raw') throw badImage(path, 'is raw: it has no structure that could be checked', 'Check the file system in it from a guest.');
    return await checkQcow2(storage, repair);
  } finally {
    await storage.close();
    lock.release();
  }
}

/** @param format `auto` recognises it, which only a person who looks after the image may ask for @throws ContractError when the disk would become smaller */
export async function growDisk(path: string, size: number, format: ImageFormat | 'auto' = 'auto'): Promise<void> {
  checkSize(size);
  const { storage, lock } = openLocked(path, false);
  try {
    const known = format === 'auto' ? await recognise(storage) : format;
    const before = known === 'raw' ? storage.length : (await readHeader(storage)).size;
    if (size < before) {
      throw new ContractError('bad-field', `The disk "${path}" has ${formatSize(before)}; it can only grow.`, 'Make a smaller disk and copy what is needed from a guest.', 'size');
    }
    if (known === 'qcow2') return await growQcow2(storage, size);
    await storage.truncate(size);
    await storage.sync();
  } finally {
    await storage.close();
    lock.release();
  }
}
