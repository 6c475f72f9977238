/**
 * The saver: the thread of a VM process that turns pages of a running guest into chunks. It copies the pages that a snapshot needs, asks the
 * engine which of them the library has already, and writes the others into segments.
 */
import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import { HISTORY_CLEAN, HISTORY_PENDING, HISTORY_WRITTEN } from '../cpu/layout.ts';
import { unwritableBecause } from '../host/reasons.ts';
import { CancelledError, ChunkWriter } from './chunkWriter.ts';
import type { ChunkLibrary } from './chunkWriter.ts';
import { saveDisks } from './disk/saveDisks.ts';
import type { SavedDisk, WantedDisk } from './disk/saveDisks.ts';
import { diskFiles } from './files.ts';
import type { SegmentFiles } from './files.ts';
import type { GuestMemory } from './guestMemory.ts';
import { PageMap } from './pageMap.ts';
import { PreserveRing } from './preserve.ts';
import { CHUNK_BYTES } from './segment.ts';
import type { FinishedSegment } from './segment.ts';

/** Pages between two questions to the engine: 8 MiB. */
const BATCH_PAGES = 2048;
const ZEROS = Buffer.alloc(CHUNK_BYTES);

/** What the I/O thread asks of the saver. */
export type ToSaver =
  /** `memory` null: of disks only. `disks`: a message with them follows, when they are ready. */
  | { readonly type: 'take'; readonly memory: Wanted | null; readonly folder: string; readonly disks: boolean }
  | { readonly type: 'disks'; readonly disks: readonly WantedDisk[] }
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
  | { readonly type: 'taken'; readonly map: Uint8Array<ArrayBuffer>; readonly disks: readonly { readonly path: string; readonly map: Uint8Array<ArrayBuffer> }[]; readonly writtenBytes: number }
  | { readonly type: 'failed'; readonly message: string; readonly cancelled: boolean };

/** What the thread is started with. */
export interface SaverStart {
  readonly saver: true;
  readonly ring: SharedArrayBuffer;
  readonly pages: number;
  /** The map that the machine was restored from; absent: nothing of the memory is in the library yet. */
  readonly base: Uint8Array | null;
}

/** Memory of which a snapshot is to be made. */
export interface Wanted {
  readonly memory: GuestMemory;
  readonly pages: Uint32Array;
}

/** What was made. */
export interface Taken {
  readonly map: PageMap;
  readonly disks: readonly SavedDisk[];
  readonly writtenBytes: number;
}

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
   * Copies the pages, which are HISTORY_PENDING, then what was written to disks, and resolves with the maps of the whole. When it fails the
   * pages count as written, so that the next snapshot takes them again.
   * @param wanted null: there is no memory, only disks
   * @param disks awaited when the memory is copied
   * @throws CancelledError, or what the disk or the library said
   */
  async take(wanted: Wanted | null, folder: string, library: ChunkLibrary, disks: Promise<readonly WantedDisk[]> = Promise.resolve([])): Promise<Taken> {
    this.cancelled = false;
    const chunks = new ChunkWriter(folder, library, this.#files);
    const task = wanted && new Take(this.#ring, this.#map.clone(), wanted, library, chunks);
    try {
      const map = task ? await task.run(() => this.cancelled) : this.#map;
      const maps = await saveDisks(await disks, chunks, library, () => this.cancelled);
      await chunks.end();
      this.#map = map;
      return { map, disks: maps, writtenBytes: chunks.writtenBytes };
    } catch (error) {
      this.#ring.abandon();
      chunks.abandon();
      task?.abandon();
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
  readonly #library: ChunkLibrary;
  readonly #chunks: ChunkWriter;
  readonly #batch: Batch = { content: new Uint8Array(BATCH_PAGES * CHUNK_BYTES), pages: [] };
  #next = 0;
  #done = 0;

  constructor(ring: PreserveRing, map: PageMap, { memory, pages }: Wanted, library: ChunkLibrary, chunks: ChunkWriter) {
    this.#ring = ring;
    this.#map = map;
    this.#ram = new Uint8Array(memory.buffer, memory.ram, memory.bytes);
    this.#history = new Uint8Array(memory.buffer, memory.history, memory.bytes / CHUNK_BYTES);
    this.#pages = pages;
    this.#library = library;
    this.#chunks = chunks;
  }

  async run(cancelled: () => boolean): Promise<PageMap> {
    while (this.#done < this.#pages.length) {
      if (cancelled()) throw new CancelledError('The snapshot was cancelled.');
      this.#fillBatch();
      await this.#chunks.save(this.#batch.content, this.#batch.pages, this.#map);
      this.#library.progress(this.#done, this.#pages.length);
      // Messages (a cancellation among them) arrive between batches.
      await new Promise((resolve) => setImmediate(resolve));
    }
    return this.#map;
  }

  abandon(): void {
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
  let disks = expected<readonly WantedDisk[]>();
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
      case 'cancel':
        saver.cancelled = true;
        return disks.reject(new CancelledError('The snapshot was cancelled.'));
      case 'disks': return disks.resolve(message.disks);
      case 'take':
        disks = expected();
        if (!message.disks) disks.resolve([]);
        saver.take(message.memory, message.folder, library, disks.promise).then(
          (taken) => port.postMessage({
            type: 'taken', map: taken.map.encode(), disks: taken.disks.map(({ path, map }) => ({ path, map: map.encode() })), writtenBytes: taken.writtenBytes,
          }),
          (error: unknown) => port.postMessage({ type: 'failed', message: unwritableBecause(error), cancelled: error instanceof CancelledError }),
        );
    }
  });
}

/** What may never be asked for. */
function expected<T>(): PromiseWithResolvers<T> {
  const made = Promise.withResolvers<T>();
  made.promise.catch(() => undefined);
  return made;
}

function isSaverStart(data: unknown): data is SaverStart {
  return typeof data === 'object' && data !== null && 'saver' in data;
}
