/** The map of a snapshot's memory: where the content of each page lies. Pages of zeros have no place. */
import { decodeRuns, encodeRuns, worstWords } from './runs.ts';
import type { Cell } from './runs.ts';

export class PageMap {
  /** Segment of each page; 0 for a page of zeros. Ids start at 1. */
  readonly segments: Uint32Array;
  /** Position of each page's chunk in its segment. */
  readonly positions: Uint32Array;
  /** What `references` has counted; null: something has changed since. */
  #references: ReadonlyMap<number, number> | null = null;

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
    this.#references = null;
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

  /** Whether all of some pages lie in the same places in both maps. */
  sameBlock(other: PageMap, page: number, count: number): boolean {
    const same = (one: Uint32Array, two: Uint32Array): boolean => wordsOf(one, page, count).equals(wordsOf(two, page, count));
    return this === other || (same(this.segments, other.segments) && same(this.positions, other.positions));
  }

  /** Ids of the segments that are used, with how many pages lie in each. */
  references(): ReadonlyMap<number, number> {
    return (this.#references ??= this.#count());
  }

  #count(): ReadonlyMap<number, number> {
    const counts = new Map<number, number>();
    const { segments, pages } = this;
    for (let page = 0, begun = 0; page < pages; page = begun) {
      const segment = segments[page] ?? 0;
      for (begun = page + 1; segments[begun] === segment;) begun += 1;
      if (segment !== 0) counts.set(segment, (counts.get(segment) ?? 0) + begun - page);
    }
    return counts;
  }

  encode(): Uint8Array<ArrayBuffer> {
    return encodeRuns(this.pages, this.cells());
  }

  /** @throws MapError when the bytes are no map of `pages` pages. */
  static decode(bytes: Uint8Array, pages: number): PageMap {
    const map = new PageMap(pages);
    decodeRuns(bytes, pages, 'memory', worstWords(pages), ({ place, count, segment, position }) => {
      map.segments.fill(segment, place, place + count);
      for (let i = 0; i < count; i += 1) map.positions[place + i] = position + i;
    });
    return map;
  }

  /** Pages that are not zeros, in order. */
  *cells(): Generator<Cell> {
    for (let place = 0; place < this.pages; place += 1) {
      const segment = this.segments[place] ?? 0;
      if (segment !== 0) yield { place, segment, position: this.positions[place] ?? 0 };
    }
  }
}

function wordsOf(words: Uint32Array, first: number, count: number): Buffer {
  return Buffer.from(words.buffer, words.byteOffset + first * 4, count * 4);
}
