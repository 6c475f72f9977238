/**
 * The map of a snapshot's memory: where the content of each page lies. Pages of zeros have no place.
 *
 * Encoded: zstd over u32 words: version, pages, number of segments, the segments' ids; then runs of pages that lie one behind another in a
 * segment: first page, count, index of the segment, first position.
 */
import { compress, decompress } from './compression.ts';

const VERSION = 1;
const WORDS_BEFORE = 3;
const RUN_WORDS = 4;

/** A map was refused. The message says what is wrong with it. */
export class PageMapError extends Error {
  override readonly name = 'PageMapError';
}

export class PageMap {
  /** Segment of each page; 0 for a page of zeros. Ids start at 1. */
  readonly segments: Uint32Array;
  /** Position of each page's chunk in its segment. */
  readonly positions: Uint32Array;

  constructor(pages: number) {
    this.segments = new Uint32Array(pages);
    this.positions = new Uint32Array(pages);
  }

  get pages(): number {
    return this.segments.length;
  }

  /** Pages that are not zeros. */
  get used(): number {
    return this.segments.reduce((sum, segment) => sum + (segment === 0 ? 0 : 1), 0);
  }

  place(page: number, segment: number, position: number): void {
    this.segments[page] = segment;
    this.positions[page] = position;
  }

  clone(): PageMap {
    const copy = new PageMap(this.pages);
    copy.segments.set(this.segments);
    copy.positions.set(this.positions);
    return copy;
  }

  /** Whether a page lies in the same place in both maps: then its content is the same. Elsewhere it may be the same by chance. */
  samePlace(other: PageMap, page: number): boolean {
    return this.segments[page] === other.segments[page] && (this.segments[page] === 0 || this.positions[page] === other.positions[page]);
  }

  /** Ids of the segments that are used, with how many pages lie in each. */
  references(): Map<number, number> {
    const counts = new Map<number, number>();
    for (const segment of this.segments) if (segment !== 0) counts.set(segment, (counts.get(segment) ?? 0) + 1);
    return counts;
  }

  encode(): Uint8Array<ArrayBuffer> {
    const ids = [...this.references().keys()];
    const indexes = new Map(ids.map((id, index) => [id, index]));
    const words = [VERSION, this.pages, ids.length, ...ids];
    for (let page = 0; page < this.pages;) {
      const segment = this.segments[page] ?? 0;
      const first = this.positions[page] ?? 0;
      let end = page + 1;
      if (segment !== 0) {
        while (end < this.pages && this.segments[end] === segment && this.positions[end] === first + end - page) end += 1;
        words.push(page, end - page, indexes.get(segment) ?? 0, first);
      }
      page = end;
    }
    return compress(new Uint8Array(Uint32Array.from(words).buffer));
  }

  /** @throws PageMapError when the bytes are no map of `pages` pages. */
  static decode(bytes: Uint8Array, pages: number): PageMap {
    let raw: Uint8Array<ArrayBuffer>;
    try {
      // At worst each page is a run, each in a segment of its own.
      raw = decompress(bytes, (WORDS_BEFORE + pages * (RUN_WORDS + 1)) * 4);
    } catch {
      throw new PageMapError('the map of the memory cannot be unpacked');
    }
    const words = new Uint32Array(raw.buffer, 0, Math.floor(raw.length / 4));
    const at = (index: number): number => words[index] ?? 0;
    if (at(0) !== VERSION) throw new PageMapError(`the map of the memory has version ${at(0)}, this program reads version ${VERSION}`);
    if (at(1) !== pages) throw new PageMapError(`the map of the memory is for ${at(1)} pages, and there are ${pages}`);
    const segmentCount = at(2);
    const runs = WORDS_BEFORE + segmentCount;
    if (runs > words.length || (words.length - runs) % RUN_WORDS !== 0) throw new PageMapError('the map of the memory is cut short');
    const map = new PageMap(pages);
    let next = 0;
    for (let run = runs; run < words.length; run += RUN_WORDS) {
      const [first, count, index, position] = [at(run), at(run + 1), at(run + 2), at(run + 3)];
      const segment = at(WORDS_BEFORE + index);
      if (first < next || count === 0 || first + count > pages || index >= segmentCount || segment === 0 || position + count > 2 ** 32) {
        throw new PageMapError('the map of the memory has an impossible run');
      }
      for (let i = 0; i < count; i += 1) map.place(first + i, segment, position + i);
      next = first + count;
    }
    return map;
  }
}
