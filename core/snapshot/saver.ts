/**
 * The saver: the thread of a VM process that turns pages of a running guest into chunks. It copies the pages that a snapshot needs, asks the
 * engine which of them the library has already, and writes the others into segments.
 */
import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import { HISTORY_CLEAN, HISTORY_PENDING, HISTORY_WRITTEN } from '../cpu/layout.ts';
import { diskFiles } from './files.ts';
import type { SegmentFiles } from './files.ts';
import type { GuestMemory } from './guestMemory.ts';
import { PageMap } from './pageMap.ts';
import { PreserveRing } from './preserve.ts';
import { CHUNK_BYTES, HASH_BYTES, hashChunk, SegmentWriter } from './segment.ts';
import type { FinishedSegment } from './segment.ts';

/** Pages between two questions to the engine: 8 MiB. */
const BATCH_PAGES = 2048;
const ZEROS = Buffer.alloc(CHUNK_BYTES);

/** What the I/O thread asks of the saver. */
export type ToSaver =
  | { readonly type: 'take'; readonly memory: GuestMemory; readonly pages: Uint32Array<ArrayBuffer>; readonly folder: string }
  /** Segment (0: unknown) and position of each hash asked for. */
  | { readonly type: 'places'; readonly segments: Uint32Array; readonly positions: Uint32Array }
  | { readonly type: 'recorded'; readonly segment: number }
  | { readonly type: 'cancel' }
  /** The machine went back to a snapshot: this is its map. */
  | { readonly type: 'base'; readonly map: Uint8Array };

export type FromSaver =
  | { readonly type: 'lookup'; readonly hashes: Uint8Array<ArrayBuffer> }
  | { readonly type: 'segment'; readonly segment: FinishedSegment }
  | { readonly type: 'progress'; readonly done: number; readonly total: number }
  | { readonly type: 'taken'; readonly map: Uint8Array<ArrayBuffer>; readonly writtenBytes: number }
  | { readonly type: 'failed'; readonly message: string; readonly cancelled: boolean };

/** What the thread is started with. */
export interface SaverStart {
  readonly saver: true;
  readonly ring: SharedArrayBuffer;
  readonly pages: number;
  /** The map that the machine was restored from; absent: nothing of the memory is in the library yet. */
  readonly base: Uint8Array | null;
}

/** The library, as the saver sees it. */
export interface ChunkLibrary {
  /** Places of chunks by their hashes; segment 0 for those that are new. */
  lookup(hashes: Uint8Array<ArrayBuffer>): Promise<{ readonly segments: Uint32Array; readonly positions: Uint32Array }>;
  /** Records a finished segment and returns its id. */
  record(segment: FinishedSegment): Promise<number>;
  progress(done: number, total: number): void;
}

/** The snapshot was cancelled by whoever asked for it. */
export class CancelledError extends Error {}

/** Where pages are during one `take`: the content of a batch, copied out of the guest. */
interface Batch {
  readonly content: Uint8Array;
  readonly pages: number[];
}

/** Takes snapshots of one machine, one after another; knows where every page of the last one lies. */
export class Saver {
  readonly #ring: PreserveRing;
  readonly #files: SegmentFiles;
  #map: PageMap;
  cancelled = false;

  constructor(ring: PreserveRing, map: PageMap, files: SegmentFiles = diskFiles) {
    this.#ring = ring;
    this.#map = map;
    this.#files = files;
  }

  /** The memory is that of another snapshot now. */
  goBack(map: PageMap): void {
    this.#map = map;
  }

  /** Where every page of the last snapshot lies. */
  get map(): PageMap {
    return this.#map;
  }

  /**
   * Copies `pages`, which are HISTORY_PENDING, and resolves with the map of the whole memory. When it fails the pages count as written, so
   * that the next snapshot takes them again.
   * @throws CancelledError, or what the disk or the library said
   */
  async take(memory: GuestMemory, pages: Uint32Array, folder: string, library: ChunkLibrary): Promise<{ readonly map: PageMap; readonly writtenBytes: number }> {
    this.cancelled = false;
    const task = new Take(this.#ring, this.#map.clone(), memory, pages, folder, library, this.#files);
    try {
      const result = await task.run(() => this.cancelled);
      this.#map = result.map;
      return result;
    } catch (error) {
      this.#ring.abandon();
      task.abandon();
      throw error;
    }
  }
}

class Take {
  readonly #ring: PreserveRing;
  readonly #map: PageMap;
  readonly #ram: Uint8Array;
  readonly #history: Uint8Array;
  readonly #pages: Uint32Array;
  readonly #folder: string;
  readonly #library: ChunkLibrary;
  readonly #files: SegmentFiles;
  readonly #batch: Batch = { content: new Uint8Array(BATCH_PAGES * CHUNK_BYTES), pages: [] };
  /** New chunks of the segment that is being written, by hash; and the pages that wait for its id. */
  readonly #fresh = new Map<string, number>();
  #waiting: { readonly page: number; readonly position: number }[] = [];
  #segment: SegmentWriter | null = null;
  #next = 0;
  #done = 0;
  #writtenBytes = 0;

  constructor(ring: PreserveRing, map: PageMap, memory: GuestMemory, pages: Uint32Array, folder: string, library: ChunkLibrary, files: SegmentFiles) {
    this.#ring = ring;
    this.#map = map;
    this.#ram = new Uint8Array(memory.buffer, memory.ram, memory.bytes);
    this.#history = new Uint8Array(memory.buffer, memory.history, memory.bytes / CHUNK_BYTES);
    this.#pages = pages;
    this.#folder = folder;
    this.#library = library;
    this.#files = files;
  }

  async run(cancelled: () => boolean): Promise<{ readonly map: PageMap; readonly writtenBytes: number }> {
    while (this.#done < this.#pages.length) {
      if (cancelled()) throw new CancelledError('The snapshot was cancelled.');
      this.#fillBatch();
      await this.#saveBatch();
      this.#library.progress(this.#done, this.#pages.length);
      // Messages (a cancellation among them) arrive between batches.
      await new Promise((resolve) => setImmediate(resolve));
    }
    await this.#endSegment();
    return { map: this.#map, writtenBytes: this.#writtenBytes };
  }

  abandon(): void {
    this.#segment?.abandon();
    // The core only ever turns bytes into WRITTEN, so this races with nobody.
    for (const page of this.#pages) Atomics.store(this.#history, page, HISTORY_WRITTEN);
  }

  /** Copies pages until the batch is full: first those that the core preserved, for it may wait for room. */
  #fillBatch(): void {
    const { content, pages } = this.#batch;
    pages.length = 0;
    while (pages.length < BATCH_PAGES && this.#done < this.#pages.length) {
      const into = content.subarray(pages.length * CHUNK_BYTES, (pages.length + 1) * CHUNK_BYTES);
      const preserved = this.#ring.take(into);
      const page = preserved ?? this.#copyNext(into);
      if (page === null) {
        if (this.#next < this.#pages.length) continue;
        return; // The core has claimed the rest and is about to put it into the ring.
      }
      this.#done += 1;
      if (ZEROS.equals(into)) this.#map.place(page, 0, 0);
      else pages.push(page);
    }
  }

  /** Copies the next page that nobody has claimed; null when the core was quicker, or all were looked at. */
  #copyNext(into: Uint8Array): number | null {
    if (this.#next >= this.#pages.length) return null;
    const page = this.#pages[this.#next] ?? 0;
    this.#next += 1;
    into.set(this.#ram.subarray(page * CHUNK_BYTES, (page + 1) * CHUNK_BYTES));
    return Atomics.compareExchange(this.#history, page, HISTORY_PENDING, HISTORY_CLEAN) === HISTORY_PENDING ? page : null;
  }

  async #saveBatch(): Promise<void> {
    const { content, pages } = this.#batch;
    if (pages.length === 0) return;
    const hashes = new Uint8Array(pages.length * HASH_BYTES);
    const chunkAt = (index: number): Uint8Array => content.subarray(index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES);
    pages.forEach((_, index) => hashes.set(hashChunk(chunkAt(index)), index * HASH_BYTES));
    const { segments, positions } = await this.#library.lookup(hashes);
    for (const [index, page] of pages.entries()) {
      const known = segments[index] ?? 0;
      if (known !== 0) this.#map.place(page, known, positions[index] ?? 0);
      else await this.#addChunk(page, chunkAt(index), hashes.slice(index * HASH_BYTES, (index + 1) * HASH_BYTES));
    }
  }

  async #addChunk(page: number, chunk: Uint8Array, chunkHash: Uint8Array): Promise<void> {
    const key = Buffer.from(chunkHash).toString('latin1');
    let position = this.#fresh.get(key);
    if (position === undefined) {
      this.#segment ??= new SegmentWriter(this.#folder, this.#files);
      position = this.#segment.add(chunk, chunkHash);
      this.#fresh.set(key, position);
    }
    this.#waiting.push({ page, position });
    if (this.#segment?.isFull) await this.#endSegment();
  }

  async #endSegment(): Promise<void> {
    if (!this.#segment) return;
    const finished = this.#segment.finish();
    this.#segment = null;
    this.#writtenBytes += finished.bytes;
    const id = await this.#library.record(finished);
    for (const { page, position } of this.#waiting) this.#map.place(page, id, position);
    this.#waiting = [];
    this.#fresh.clear();
  }
}

// ---- the thread ---------------------------------------------------------------------------------------------------------------

if (!isMainThread && isSaverStart(workerData) && parentPort) serve(workerData, parentPort);

interface Port {
  postMessage(message: FromSaver): void;
  on(event: 'message', listener: (message: ToSaver) => void): void;
}

function serve(start: SaverStart, port: Port): void {
  const saver = new Saver(new PreserveRing(start.ring), start.base ? PageMap.decode(start.base, start.pages) : new PageMap(start.pages));
  let places: ((message: Extract<ToSaver, { type: 'places' }>) => void) | null = null;
  let recorded: ((segment: number) => void) | null = null;
  const library: ChunkLibrary = {
    lookup: (hashes) => new Promise((resolve) => {
      places = resolve;
      port.postMessage({ type: 'lookup', hashes });
    }),
    record: (segment) => new Promise((resolve) => {
      recorded = resolve;
      port.postMessage({ type: 'segment', segment });
    }),
    progress: (done, total) => port.postMessage({ type: 'progress', done, total }),
  };
  port.on('message', (message) => {
    switch (message.type) {
      case 'places': return places?.(message);
      case 'recorded': return recorded?.(message.segment);
      case 'base': return saver.goBack(PageMap.decode(message.map, start.pages));
      case 'cancel': return void (saver.cancelled = true);
      case 'take':
        saver.take(message.memory, message.pages, message.folder, library).then(
          ({ map, writtenBytes }) => port.postMessage({ type: 'taken', map: map.encode(), writtenBytes }),
          (error: unknown) => port.postMessage({ type: 'failed', message: error instanceof Error ? error.message : String(error), cancelled: error instanceof CancelledError }),
        );
    }
  });
}

function isSaverStart(data: unknown): data is SaverStart {
  return typeof data === 'object' && data !== null && 'saver' in data;
}
