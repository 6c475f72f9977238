/**
 * Maps as they are kept: zstd over u32 words: version, places that are mapped from, number of segments, the segments' ids; then runs of
 * places that lie one behind another in a segment: first place, count, index of the segment, first position.
 */
import { compress, decompress } from './compression.ts';

const VERSION = 1;
const WORDS_BEFORE = 3;
const RUN_WORDS = 4;

/** A map was refused. The message says what is wrong with it. */
export class MapError extends Error {
  override readonly name = 'MapError';
}

/** Where one place lies. */
export interface Cell {
  readonly place: number;
  readonly segment: number;
  readonly position: number;
}

/** @param cells in the order of their places */
export function encodeRuns(places: number, cells: Iterable<Cell>): Uint8Array<ArrayBuffer> {
  const indexes = new Map<number, number>();
  const runs: number[] = [];
  let end: Cell = { place: -1, segment: 0, position: 0 };
  for (const cell of cells) {
    const { place, segment, position } = cell;
    if (place === end.place && segment === end.segment && position === end.position) runs[runs.length - 3] = (runs[runs.length - 3] ?? 0) + 1;
    else {
      const index = indexes.get(segment) ?? indexes.size;
      indexes.set(segment, index);
      runs.push(place, 1, index, position);
    }
    end = { place: place + 1, segment, position: position + 1 };
  }
  return compress(new Uint8Array(Uint32Array.from([VERSION, places, indexes.size, ...indexes.keys()].concat(runs)).buffer));
}

/** Places one behind another that lie so in a segment; the first of them. */
export interface Run extends Cell {
  readonly count: number;
}

/**
 * @param what the map is of, for messages
 * @param maximum of words that a map of so many places can have
 * @throws MapError when the bytes are no map of `places` places
 */
export function decodeRuns(bytes: Uint8Array, places: number, what: string, maximum: number, take: (run: Run) => void): void {
  let raw: Uint8Array<ArrayBuffer>;
  try {
    raw = decompress(bytes, maximum * 4);
  } catch {
    throw new MapError(`the map of the ${what} cannot be unpacked`);
  }
  const words = new Uint32Array(raw.buffer, 0, Math.floor(raw.length / 4));
  const at = (index: number): number => words[index] ?? 0;
  if (at(0) !== VERSION) throw new MapError(`the map of the ${what} has version ${at(0)}, this program reads version ${VERSION}`);
  if (at(1) !== places) throw new MapError(`the map of the ${what} is for ${at(1)} pages, and there are ${places}`);
  const segments = at(2);
  const runs = WORDS_BEFORE + segments;
  if (runs > words.length || (words.length - runs) % RUN_WORDS !== 0) throw new MapError(`the map of the ${what} is cut short`);
  let next = 0;
  for (let run = runs; run < words.length; run += RUN_WORDS) {
    const [first, count, index, position] = [at(run), at(run + 1), at(run + 2), at(run + 3)];
    const segment = at(WORDS_BEFORE + index);
    if (first < next || count === 0 || first + count > places || index >= segments || segment === 0 || position + count > 2 ** 32) {
      throw new MapError(`the map of the ${what} has an impossible run`);
    }
    take({ place: first, count, segment, position });
    next = first + count;
  }
}

/** Words of a map at worst: each place a run, each in a segment of its own. */
export function worstWords(places: number): number {
  return WORDS_BEFORE + places * (RUN_WORDS + 1);
}
