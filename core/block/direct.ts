/**
 * Accesses of the core thread to an image that is the disk byte for byte: what the host has in its cache is moved between the file and the
 * guest's memory at once, without a copy and without a change of threads. What is slow, or fails, is left to the I/O thread.
 */
import { readvSync, writevSync } from 'node:fs';

/** The part of a disk that a file holds as it is. Descriptors belong to the process: both threads may use them. */
export interface DirectImage {
  readonly descriptor: number;
  /** Writes below this offset are looked at by the image's format. */
  readonly writableFrom: number;
}

/** An access that took longer, and a microsecond a KiB besides, waited for the disk or for room in the host's cache. */
const SLOW_MS = 1;
const SLOW_MS_PER_BYTE = 1e-6;
/** One slow access may be a thread that had to wait for a processor, which the other thread would do twice; so many in a row are the disk. */
const SLOW_IN_A_ROW = 2;
/** So many accesses after those go to the I/O thread, where they wait side by side while the guest goes on. */
const SLOW_COUNT = 32;
/** Longer accesses would hold the guest up. */
const BYTES_MAXIMUM = 4 * 1024 * 1024;
/** The most that the host takes in one call. */
const VIEWS_MAXIMUM = 1024;

export class DirectAccess {
  readonly #image: DirectImage;
  /** Accesses that still go to the I/O thread, because the disk was slow. */
  #slow = 0;
  #slowInARow = 0;

  constructor(image: DirectImage) {
    this.#image = image;
  }

  /** Whether an access is to be tried here. */
  takes(operation: 'read' | 'write', offset: number, length: number): boolean {
    if (length > BYTES_MAXIMUM || (operation === 'write' && offset < this.#image.writableFrom)) return false;
    if (this.#slow === 0) return true;
    this.#slow -= 1;
    return false;
  }

  /** Moves all of it; false: it is to be done again in full by the I/O thread, which finds out what is wrong. */
  move(operation: 'read' | 'write', offset: number, length: number, views: readonly Uint8Array[]): boolean {
    if (views.length > VIEWS_MAXIMUM) return false;
    const started = performance.now();
    try {
      const move = operation === 'read' ? readvSync : writevSync;
      return move(this.#image.descriptor, views, offset) === length;
    } catch {
      return false;
    } finally {
      this.#took(performance.now() - started, length);
    }
  }

  #took(milliseconds: number, length: number): void {
    this.#slowInARow = milliseconds > SLOW_MS + length * SLOW_MS_PER_BYTE ? this.#slowInARow + 1 : 0;
    if (this.#slowInARow < SLOW_IN_A_ROW) return;
    this.#slow = SLOW_COUNT;
    this.#slowInARow = 0;
  }
}
