/** What every disk is to its users: an array of bytes that is read, written, flushed and discarded, whatever file format lies behind it. */

import type { DirectImage } from './direct.ts';

/** Guests address disks in units of this. Sizes, offsets and lengths of a `BlockDevice` are multiples of it. */
export const SECTOR = 512;

/** Why an access failed, in words that device models translate to their own status codes. */
export type BlockFailure = 'range' | 'read-only' | 'corrupt' | 'full' | 'io';

/** An access failed. The message names the file; the guest gets its device's error status. */
export class BlockError extends Error {
  override readonly name = 'BlockError';
  readonly failure: BlockFailure;

  constructor(failure: BlockFailure, message: string) {
    super(message);
    this.failure = failure;
  }
}

/**
 * A disk. Accesses may overlap in time; those that touch the same bytes at once have either order. Every method rejects with `BlockError`.
 */
export interface BlockDevice {
  /** In bytes, a multiple of `SECTOR`. */
  readonly size: number;
  readonly readOnly: boolean;
  /** Where an image is the disk byte for byte. What is accessed there needs no method of this interface but `flush`. */
  readonly direct?: DirectImage | null;
  /** Fills `into` from `offset` on. */
  read(offset: number, into: Uint8Array): Promise<void>;
  /** The bytes may still be in a cache, the host's or the format's own, until the next `flush`. */
  write(offset: number, from: Uint8Array): Promise<void>;
  /** Every write that was answered before is on stable storage afterwards. */
  flush(): Promise<void>;
  /** The guest no longer needs these bytes: they read as before, or as zeros. */
  discard(offset: number, length: number): Promise<void>;
  /** The bytes read as zeros, without taking room where the format allows it. */
  zero(offset: number, length: number): Promise<void>;
  /** Flushes and gives files and locks back. */
  close(): Promise<void>;
  /** Flushes for good: nothing is written any more, also when it is closed, and others may read the files. */
  freeze?(): Promise<void>;
  /** What was prepared for this moment happens between the accesses before and after it (core/snapshot/disk/layeredDisk.ts). */
  switchLayer?(): Promise<void>;
}

/** @throws BlockError `range` unless the bytes lie within the device, on whole sectors */
export function checkRange(device: Pick<BlockDevice, 'size'>, offset: number, length: number): void {
  const fits = Number.isSafeInteger(offset) && offset >= 0 && length >= 0 && offset % SECTOR === 0 && length % SECTOR === 0 && offset + length <= device.size;
  if (!fits) throw new BlockError('range', `${length} bytes at ${offset} do not lie within a disk of ${device.size} bytes`);
}
