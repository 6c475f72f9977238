/** A file in memory, which can be made to fail, or to lose power. */
import { BlockError } from '../../core/block/blockDevice.ts';
import type { ImageStorage } from '../../core/block/storage.ts';

export class MemoryStorage implements ImageStorage {
  readonly path = 'memory.img';
  readOnly = false;
  /** What a reader sees now. */
  bytes: Uint8Array;
  /** Writes since the last sync, in order: a power failure may lose any of them. */
  unsynced: { readonly offset: number; readonly data: Uint8Array }[] = [];
  /** What is on stable storage. */
  stable: Uint8Array;
  /** Writes and syncs that may still happen; then everything fails. */
  budget = Number.POSITIVE_INFINITY;

  constructor(bytes: Uint8Array = new Uint8Array(0)) {
    this.bytes = bytes.slice();
    this.stable = bytes.slice();
  }

  get length(): number {
    return this.bytes.length;
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    into.fill(0);
    into.set(this.bytes.subarray(offset, offset + into.length));
  }

  async write(offset: number, from: Uint8Array): Promise<void> {
    this.#spend();
    this.unsynced.push({ offset, data: from.slice() });
    this.bytes = laid(this.bytes, offset, from);
  }

  async sync(): Promise<void> {
    this.#spend();
    this.stable = this.bytes.slice();
    this.unsynced = [];
  }

  async truncate(length: number): Promise<void> {
    this.#spend();
    const bytes = new Uint8Array(length);
    bytes.set(this.bytes.subarray(0, length));
    this.bytes = bytes;
  }

  async close(): Promise<void> {}

  /** What a power failure may leave: the stable bytes and those of the later writes that `kept` chooses. */
  afterPowerFailure(kept: (index: number) => boolean): Uint8Array {
    return this.unsynced.reduce<Uint8Array>((bytes, { offset, data }, index) => (kept(index) ? laid(bytes, offset, data) : bytes), this.stable.slice());
  }

  #spend(): void {
    if (this.budget <= 0) throw new BlockError('io', 'the power is out');
    this.budget -= 1;
  }
}

function laid(bytes: Uint8Array, offset: number, data: Uint8Array): Uint8Array {
  let result = bytes;
  if (offset + data.length > bytes.length) {
    result = new Uint8Array(offset + data.length);
    result.set(bytes);
  }
  result.set(data, offset);
  return result;
}
