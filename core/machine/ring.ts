/** A byte ring between two threads: one writes, one reads, in shared memory. */

const HEAD = 0;
const TAIL = 1;
const HEADER_BYTES = 8;

/** Bytes of shared memory that a ring of this capacity takes. */
export function ringBytes(capacity: number): number {
  return HEADER_BYTES + capacity;
}

/**
 * One producer, one consumer. The two words count bytes ever written and ever read, modulo 2^32, so that full and empty differ.
 * The capacity is a power of two and the buffer starts zeroed.
 */
export class Ring {
  readonly #words: Int32Array;
  readonly #data: Uint8Array;

  constructor(buffer: SharedArrayBuffer, offset: number, capacity: number) {
    if (capacity <= 0 || (capacity & (capacity - 1)) !== 0) throw new RangeError('the capacity of a ring is a power of two');
    this.#words = new Int32Array(buffer, offset, 2);
    this.#data = new Uint8Array(buffer, offset + HEADER_BYTES, capacity);
  }

  get capacity(): number {
    return this.#data.length;
  }

  /** Bytes ever written and ever read, modulo 2^32. */
  get written(): number {
    return Atomics.load(this.#words, HEAD);
  }

  get consumed(): number {
    return Atomics.load(this.#words, TAIL);
  }

  /** Bytes that wait to be read. */
  get length(): number {
    return (Atomics.load(this.#words, HEAD) - Atomics.load(this.#words, TAIL)) >>> 0;
  }

  /** Producer: copies as many bytes as fit and returns how many that were. */
  write(bytes: Uint8Array): number {
    const head = Atomics.load(this.#words, HEAD);
    const count = Math.min(bytes.length, this.capacity - this.length);
    const at = head & (this.capacity - 1);
    const first = Math.min(count, this.capacity - at);
    this.#data.set(bytes.subarray(0, first), at);
    this.#data.set(bytes.subarray(first, count), 0);
    // The store publishes the bytes: the reader sees them before it sees the new count.
    Atomics.store(this.#words, HEAD, (head + count) | 0);
    return count;
  }

  /** Consumer: a copy of up to `limit` waiting bytes, which stay in the ring until `drop`. */
  peek(limit = this.capacity): Uint8Array<ArrayBuffer> {
    const at = Atomics.load(this.#words, TAIL) & (this.capacity - 1);
    const count = Math.min(limit, this.length);
    const first = Math.min(count, this.capacity - at);
    const bytes = new Uint8Array(count);
    bytes.set(this.#data.subarray(at, at + first), 0);
    bytes.set(this.#data.subarray(0, count - first), first);
    return bytes;
  }

  /** Consumer: gives the room of `count` read bytes back and wakes a producer that waits for it. */
  drop(count: number): void {
    if (count === 0) return;
    Atomics.store(this.#words, TAIL, (Atomics.load(this.#words, TAIL) + Math.min(count, this.length)) | 0);
    Atomics.notify(this.#words, TAIL);
  }

  /** Consumer: takes up to `limit` bytes out. */
  read(limit = this.capacity): Uint8Array<ArrayBuffer> {
    const bytes = this.peek(limit);
    this.drop(bytes.length);
    return bytes;
  }

  /** Producer: sleeps until there is room, at most `milliseconds`. */
  waitForRoom(milliseconds: number): void {
    const tail = Atomics.load(this.#words, TAIL);
    if (this.length < this.capacity) return;
    Atomics.wait(this.#words, TAIL, tail, milliseconds);
  }
}
