/** Turns content into chunks: asks the library which of it there is, and writes the rest into segments. */
import type { SegmentFiles } from './files.ts';
import { CHUNK_BYTES, HASH_BYTES, hashChunk, SegmentWriter } from './segment.ts';
import type { FinishedSegment } from './segment.ts';

/** The library, as whoever saves sees it. */
export interface ChunkLibrary {
  /** Places of chunks by their hashes; segment 0 for those that are new. */
  lookup(hashes: Uint8Array<ArrayBuffer>): Promise<{ readonly segments: Uint32Array; readonly positions: Uint32Array }>;
  /** Records a finished segment and returns its id. */
  record(segment: FinishedSegment): Promise<number>;
  progress(done: number, total: number): void;
}

/** The snapshot was cancelled by whoever asked for it. */
export class CancelledError extends Error {}

/** What is told where each chunk lies: a map of memory, or of a disk. */
export interface Placed {
  place(number: number, segment: number, position: number): void;
}

export class ChunkWriter {
  readonly #folder: string;
  readonly #library: ChunkLibrary;
  readonly #files: SegmentFiles;
  /** New chunks of the segment that is being written, by hash; and what waits for its id. */
  readonly #fresh = new Map<string, number>();
  #waiting: { readonly map: Placed; readonly number: number; readonly position: number }[] = [];
  #segment: SegmentWriter | null = null;
  #writtenBytes = 0;

  constructor(folder: string, library: ChunkLibrary, files: SegmentFiles) {
    this.#folder = folder;
    this.#library = library;
    this.#files = files;
  }

  /** Bytes of new segments. */
  get writtenBytes(): number {
    return this.#writtenBytes;
  }

  /** Saves chunks that lie one behind another in `content`, and tells `map` where each lies by its number: at the latest after `end`. */
  async save(content: Uint8Array, numbers: readonly number[], map: Placed): Promise<void> {
    if (numbers.length === 0) return;
    const hashes = new Uint8Array(numbers.length * HASH_BYTES);
    const chunkAt = (index: number): Uint8Array => content.subarray(index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES);
    numbers.forEach((_, index) => hashes.set(hashChunk(chunkAt(index)), index * HASH_BYTES));
    const { segments, positions } = await this.#library.lookup(hashes);
    for (const [index, number] of numbers.entries()) {
      const known = segments[index] ?? 0;
      if (known !== 0) map.place(number, known, positions[index] ?? 0);
      else await this.#add(map, number, chunkAt(index), hashes.slice(index * HASH_BYTES, (index + 1) * HASH_BYTES));
    }
  }

  /** Finishes the last segment. */
  async end(): Promise<void> {
    if (!this.#segment) return;
    const finished = this.#segment.finish();
    this.#segment = null;
    this.#writtenBytes += finished.bytes;
    const id = await this.#library.record(finished);
    for (const { map, number, position } of this.#waiting) map.place(number, id, position);
    this.#waiting = [];
    this.#fresh.clear();
  }

  abandon(): void {
    this.#segment?.abandon();
  }

  async #add(map: Placed, number: number, chunk: Uint8Array, chunkHash: Uint8Array): Promise<void> {
    const key = Buffer.from(chunkHash).toString('latin1');
    let position = this.#fresh.get(key);
    if (position === undefined) {
      this.#segment ??= new SegmentWriter(this.#folder, this.#files);
      position = this.#segment.add(chunk, chunkHash);
      this.#fresh.set(key, position);
    }
    this.#waiting.push({ map, number, position });
    if (this.#segment?.isFull) await this.end();
  }
}
