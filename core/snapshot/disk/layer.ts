/** Layers: files of the library that take what a VM writes to a disk whose image, or content so far, belongs to snapshots. */
import { closeSync, openSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { BlockError } from '../../block/blockDevice.ts';
import type { BlockDevice } from '../../block/blockDevice.ts';
import { createQcow2, qcow2Defaults } from '../../block/qcow2/create.ts';
import { Qcow2Image } from '../../block/qcow2/image.ts';
import { FileStorage } from '../../block/storage.ts';
import type { ImageStorage } from '../../block/storage.ts';
import { ContractError } from '../../contract/errors.ts';
import { unwritableBecause } from '../../host/reasons.ts';
import { diskFiles } from '../files.ts';

/** 16 KiB: a first write copies that much from below, and tables stay small for disks of terabytes. */
const CLUSTER_BITS = 14;

/** What a layer reads where it has nothing. It can be exchanged for something of the same content, and belongs to whoever made it. */
export class Below implements BlockDevice {
  readonly readOnly = true;
  readonly size: number;
  target: Pick<BlockDevice, 'size' | 'read'>;

  constructor(size: number, target: Pick<BlockDevice, 'size' | 'read'>) {
    this.size = size;
    this.target = target;
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    const covered = Math.max(0, Math.min(into.length, this.target.size - offset));
    if (covered > 0) await this.target.read(offset, into.subarray(0, covered));
    into.fill(0, covered);
  }

  write(): Promise<never> {
    return Promise.reject(new BlockError('read-only', 'what lies below a layer does not change'));
  }

  discard(): Promise<never> {
    return this.write();
  }

  zero(): Promise<never> {
    return this.write();
  }

  async flush(): Promise<void> {}
  async close(): Promise<void> {}
}

/** A layer that is open. */
export interface Layer {
  readonly path: string;
  readonly image: Qcow2Image;
  readonly below: Below;
}

/** How layers reach the disk; tests put a failing one there. */
export type OpenStorage = (path: string, readOnly: boolean) => ImageStorage;

const openFile: OpenStorage = (path, readOnly) => new FileStorage(path, readOnly);

/** Makes an empty layer; it is on the disk, name and all, when this is done. @throws ContractError `file-unreadable`: the file is gone again then */
export async function createLayer(path: string, size: number, open: OpenStorage = openFile): Promise<void> {
  try {
    closeSync(openSync(path, 'wx', 0o600));
    const storage = open(path, false);
    try {
      await createQcow2(storage, { ...qcow2Defaults, size, clusterBits: CLUSTER_BITS });
    } finally {
      await storage.close();
    }
    diskFiles.syncFolder(dirname(path));
  } catch (error) {
    rmSync(path, { force: true });
    if (error instanceof ContractError) throw error;
    throw new ContractError('file-unreadable', `The file "${path}", which is to take what the VM writes from now on, cannot be made: ${unwritableBecause(error)}.`, 'Check the space and the permissions of the disk that holds the library.');
  }
}

/** @throws ContractError when it is damaged or not there */
export async function openLayer(path: string, below: Below, readOnly: boolean, open: OpenStorage = openFile): Promise<Layer> {
  const storage = open(path, readOnly);
  try {
    return { path, below, image: await Qcow2Image.open(storage, below) };
  } catch (error) {
    await storage.close();
    throw error;
  }
}
