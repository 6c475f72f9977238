/** Pages of a snapshot, read from its segments when they are asked for. */
import { CHUNK_BYTES, FRAME_CHUNKS, SegmentError, SegmentReader } from './segment.ts';
import type { PageMap } from './pageMap.ts';

/** Where the segments of a map lie: paths by id. */
export type SegmentPaths = ReadonlyMap<number, string>;

/** Segments by id, opened when they are first needed. */
export class SegmentReaders {
  readonly #paths: SegmentPaths;
  readonly #readers = new Map<number, SegmentReader>();

  constructor(paths: SegmentPaths) {
    this.#paths = paths;
  }

  /** @throws SegmentError */
  get(segment: number): SegmentReader {
    const known = this.#readers.get(segment);
    if (known) return known;
    const path = this.#paths.get(segment);
    if (path === undefined) throw new SegmentError(`The saved memory refers to segment ${segment}, which the library does not have.`);
    const reader = new SegmentReader(path);
    this.#readers.set(segment, reader);
    return reader;
  }

  close(): void {
    for (const reader of this.#readers.values()) reader.close();
    this.#readers.clear();
  }
}

export class PageSource {
  readonly map: PageMap;
  readonly #readers: SegmentReaders;
  /** The frame that was read last: pages that are asked for in order lie in it. */
  #last: { readonly segment: number; readonly first: number; readonly content: Uint8Array } | null = null;

  constructor(map: PageMap, paths: SegmentPaths) {
    this.map = map;
    this.#readers = new SegmentReaders(paths);
  }

  /** A copy of one page. @throws SegmentError */
  read(page: number): Uint8Array {
    const segment = this.map.segments[page] ?? 0;
    if (segment === 0) return new Uint8Array(CHUNK_BYTES);
    const position = this.map.positions[page] ?? 0;
    const first = position - (position % FRAME_CHUNKS);
    if (this.#last?.segment !== segment || this.#last.first !== first) this.#last = { segment, first, content: this.#readers.get(segment).readFrame(position) };
    const at = (position - first) * CHUNK_BYTES;
    return this.#last.content.slice(at, at + CHUNK_BYTES);
  }

  /**
   * Reads the frame that holds a page and hands out every page near it whose content lies in the same frame, the page itself among them.
   * Pages were packed in the order of their addresses, so neighbours come together.
   */
  readAround(page: number, take: (page: number, content: Uint8Array) => void): void {
    const { segments, positions, pages } = this.map;
    const segment = segments[page] ?? 0;
    if (segment === 0) return take(page, new Uint8Array(CHUNK_BYTES));
    const position = positions[page] ?? 0;
    const first = position - (position % FRAME_CHUNKS);
    const frame = this.#readers.get(segment).readFrame(position);
    const inFrame = (other: number): boolean => segments[other] === segment && (positions[other] ?? 0) >= first && (positions[other] ?? 0) < first + FRAME_CHUNKS;
    const from = Math.max(0, page - FRAME_CHUNKS * 2);
    const to = Math.min(pages - 1, page + FRAME_CHUNKS * 2);
    for (let other = from; other <= to; other += 1) {
      if (!inFrame(other)) continue;
      const at = ((positions[other] ?? 0) - first) * CHUNK_BYTES;
      take(other, frame.subarray(at, at + CHUNK_BYTES));
    }
  }

  close(): void {
    this.#last = null;
    this.#readers.close();
  }
}
