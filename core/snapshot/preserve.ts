/**
 * Pages on their way from the core thread to the saver: those that the guest is about to write while the snapshot being taken still needs them.
 *
 * A page's byte of history says whose turn it is. The saver copies a page and then turns PENDING into CLEAN; the core, before a write, turns
 * PENDING into WRITTEN and puts a copy here. Only one of the two can succeed, and whoever fails drops its copy: neither ever waits for the
 * other, except the core when the ring is full.
 */
import { CHUNK_BYTES } from './segment.ts';

/** Pages the ring holds: 4 MiB, which the host gives only as far as it is used. */
const SLOTS = 1024;
const HEAD = 0;
const TAIL = 1;
const ABANDONED = 2;
const HEADER_BYTES = 64;
const NUMBERS_BYTES = SLOTS * 4;
/** The core looks whether the snapshot was given up as often as this. */
const WAIT_MS = 50;

export function createPreserveBuffer(): SharedArrayBuffer {
  return new SharedArrayBuffer(HEADER_BYTES + NUMBERS_BYTES + SLOTS * CHUNK_BYTES);
}

export class PreserveRing {
  readonly #words: Int32Array;
  readonly #numbers: Uint32Array;
  readonly #content: Uint8Array;

  constructor(buffer: SharedArrayBuffer) {
    this.#words = new Int32Array(buffer, 0, HEADER_BYTES / 4);
    this.#numbers = new Uint32Array(buffer, HEADER_BYTES, SLOTS);
    this.#content = new Uint8Array(buffer, HEADER_BYTES + NUMBERS_BYTES);
  }

  /** Before a snapshot begins: empty, and not given up. */
  open(): void {
    this.#words.fill(0);
  }

  /** Saver: nobody takes pages out any more; the core goes on without waiting. */
  abandon(): void {
    Atomics.store(this.#words, ABANDONED, 1);
    Atomics.notify(this.#words, TAIL);
  }

  /** Core: puts a copy of a page in, waiting for room. False when the snapshot was given up. */
  put(page: number, content: Uint8Array): boolean {
    const head = Atomics.load(this.#words, HEAD);
    for (;;) {
      if (Atomics.load(this.#words, ABANDONED) !== 0) return false;
      const tail = Atomics.load(this.#words, TAIL);
      if (head - tail < SLOTS) break;
      Atomics.wait(this.#words, TAIL, tail, WAIT_MS);
    }
    const slot = head % SLOTS;
    this.#numbers[slot] = page;
    this.#content.set(content, slot * CHUNK_BYTES);
    Atomics.store(this.#words, HEAD, head + 1);
    return true;
  }

  /** Saver: takes the oldest page out; null when there is none. `into` receives the content. */
  take(into: Uint8Array): number | null {
    const tail = Atomics.load(this.#words, TAIL);
    if (tail === Atomics.load(this.#words, HEAD)) return null;
    const slot = tail % SLOTS;
    into.set(this.#content.subarray(slot * CHUNK_BYTES, (slot + 1) * CHUNK_BYTES));
    const page = this.#numbers[slot] ?? 0;
    Atomics.store(this.#words, TAIL, tail + 1);
    Atomics.notify(this.#words, TAIL);
    return page;
  }
}
