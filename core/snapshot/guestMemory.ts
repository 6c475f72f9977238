/** What of a machine's memory its process's other threads see: RAM, and a byte of history for each of its pages (core/cpu/layout.ts). */
import { HISTORY_WRITTEN } from '../cpu/layout.ts';
import { CHUNK_BYTES } from './segment.ts';

export interface GuestMemory {
  readonly buffer: SharedArrayBuffer;
  /** Offset of guest-physical address 0, and bytes of RAM. */
  readonly ram: number;
  readonly bytes: number;
  /** Offset of the history of page 0. */
  readonly history: number;
}

/** Nothing of the memory is in the library: the next snapshot takes all of it. The core only ever turns bytes into WRITTEN, so this races with nobody. */
export function forgetHistory({ buffer, bytes, history }: GuestMemory): void {
  const pages = new Uint8Array(buffer, history, bytes / CHUNK_BYTES);
  for (let page = 0; page < pages.length; page += 1) Atomics.store(pages, page, HISTORY_WRITTEN);
}

/** The core's word at the moment of a snapshot. */
export interface SnapshotPoint {
  readonly memory: GuestMemory;
  /** States of all components by name; plain data. */
  readonly state: Readonly<Record<string, unknown>>;
  /** Pages that the last snapshot does not have: HISTORY_PENDING now. */
  readonly pages: Uint32Array<ArrayBuffer>;
}
