/** Scattered guest memory, as queues and descriptor tables describe it. */

/** False: there is no memory there, or the device may not reach it; nothing was transferred then. */
export interface GuestMemoryAccess {
  read(address: number, into: Uint8Array): boolean;
  write(address: number, from: Uint8Array): boolean;
  /** The memory itself, to be used at once; null where a part of it cannot be reached. `change`: it is about to be written. */
  views(address: number, length: number, change: boolean): Uint8Array[] | null;
}

/** Guest memory as a function reaches it at the moment: it may lose its right to be a bus master. */
export function memoryOf(fn: { readonly dma: GuestMemoryAccess }): GuestMemoryAccess {
  return {
    read: (address, into) => fn.dma.read(address, into),
    write: (address, from) => fn.dma.write(address, from),
    views: (address, length, change) => fn.dma.views(address, length, change),
  };
}

/** A run of guest-physical addresses. */
export interface Segment {
  readonly address: number;
  readonly length: number;
}

export function totalLength(segments: readonly Segment[]): number {
  return segments.reduce((sum, { length }) => sum + length, 0);
}

/** The bytes from `at` to `at + length` of scattered memory. */
export function slice(segments: readonly Segment[], at: number, length: number): Segment[] {
  const pieces: Segment[] = [];
  let start = at;
  let left = length;
  for (const segment of segments) {
    if (left === 0) break;
    if (start >= segment.length) {
      start -= segment.length;
      continue;
    }
    const piece = Math.min(left, segment.length - start);
    pieces.push({ address: segment.address + start, length: piece });
    left -= piece;
    start = 0;
  }
  return pieces;
}

/** Copies scattered guest memory, from `at` on, into `bytes`. False when a piece cannot be reached, or there is not so much of it. */
export function gather(memory: GuestMemoryAccess, segments: readonly Segment[], at: number, bytes: Uint8Array): boolean {
  return eachPiece(segments, at, bytes, (address, piece) => memory.read(address, piece));
}

/** Copies `bytes` into scattered guest memory, from `at` on. */
export function scatter(memory: GuestMemoryAccess, segments: readonly Segment[], at: number, bytes: Uint8Array): boolean {
  return eachPiece(segments, at, bytes, (address, piece) => memory.write(address, piece));
}

/** Scattered memory itself, to be used at once; null where a part of it cannot be reached. */
export function viewsOf(memory: GuestMemoryAccess, segments: readonly Segment[], change: boolean): Uint8Array[] | null {
  const all: Uint8Array[] = [];
  for (const { address, length } of segments) {
    const views = memory.views(address, length, change);
    if (views === null) return null;
    all.push(...views);
  }
  return all;
}

function eachPiece(segments: readonly Segment[], at: number, bytes: Uint8Array, move: (address: number, piece: Uint8Array) => boolean): boolean {
  let skip = at;
  let done = 0;
  for (const { address, length } of segments) {
    if (done === bytes.length) break;
    const size = Math.min(length - skip, bytes.length - done);
    if (size > 0) {
      if (!move(address + skip, size === bytes.length ? bytes : bytes.subarray(done, done + size))) return false;
      done += size;
    }
    skip = Math.max(0, skip - length);
  }
  return done === bytes.length;
}
