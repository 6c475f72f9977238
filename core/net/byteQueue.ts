/** Bytes in order, kept in one buffer that is used again and again: nothing is allocated for what flows through. */

const FIRST_BYTES = 4096;

export class ByteQueue {
  #data = new Uint8Array(0);
  #start = 0;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(bytes: Uint8Array): void {
    if (this.#length + bytes.length > this.#data.length) this.#grow(this.#length + bytes.length);
    const at = (this.#start + this.#length) & (this.#data.length - 1);
    const first = Math.min(bytes.length, this.#data.length - at);
    this.#data.set(bytes.subarray(0, first), at);
    if (first < bytes.length) this.#data.set(bytes.subarray(first), 0);
    this.#length += bytes.length;
  }

  /** Copies the bytes behind the first `from` ones, as many as `into` takes; they must be there. */
  copy(from: number, into: Uint8Array): void {
    const at = (this.#start + from) & (this.#data.length - 1);
    const first = Math.min(into.length, this.#data.length - at);
    into.set(this.#data.subarray(at, at + first), 0);
    if (first < into.length) into.set(this.#data.subarray(0, into.length - first), first);
  }

  drop(count: number): void {
    this.#start = (this.#start + count) & (this.#data.length - 1);
    this.#length -= count;
  }

  clear(): void {
    this.#data = new Uint8Array(0);
    this.#start = 0;
    this.#length = 0;
  }

  /** The size stays a power of two. */
  #grow(needed: number): void {
    const data = new Uint8Array(2 ** Math.ceil(Math.log2(Math.max(needed, FIRST_BYTES))));
    if (this.#length > 0) this.copy(0, data.subarray(0, this.#length));
    this.#data = data;
    this.#start = 0;
  }
}
