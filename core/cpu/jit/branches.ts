/**
 * Which way conditional branches go. Small regions count how often some of their first blocks run; a large one that takes the place of some is made of what runs
 * most (discover.ts).
 */
import { REGION_COUNTERS, REGION_COUNTS, REGION_COUNTS_EACH } from '../layout.ts';
import type { Flow } from './flow.ts';

/**
 * A branch that a region counts: its offset from the first byte of the entry's page, and blocks by position in the flow, -1: not counted. These are where it leads
 * when it is taken and when not; its own as well where the region lacks one of the two.
 */
const FIELDS = 4;
/** Times that a branch has run, before they say anything. */
const TELLING = 64;
/** Branches that are remembered beyond their regions. */
const REMEMBERED_LIMIT = 20_000;

/** What one region counts of a branch. */
interface Place {
  readonly index: number;
  readonly from: number;
  readonly taken: number;
  readonly next: number;
}

/** The branches of a small region of which it can be told which way they go: FIELDS numbers each. */
export function countedBranches({ order, position }: Flow): readonly number[] {
  const counted = (key: number): number => {
    const at = position.get(key) ?? -1;
    return at < REGION_COUNTERS ? at : -1;
  };
  return order.slice(0, REGION_COUNTERS).flatMap(({ instructions, taken, next }, own) => {
    const { offset, decoded: { row } } = instructions.at(-1)!;
    const [there, on] = [counted(taken), counted(next)];
    if (!row.has.relative || row.has.ends || row.name === 'CALL' || (there < 0 && on < 0)) return [];
    return [offset, there < 0 || on < 0 ? own : -1, there, on];
  });
}

/** Positions of the blocks that are to be counted for them. */
export function countedBlocks(branches: readonly number[]): ReadonlySet<number> {
  return new Set(branches.filter((block, i) => i % FIELDS !== 0 && block >= 0));
}

export class BranchCounts {
  private readonly view: DataView;
  /** By the branch's address, as a block's (heat.ts). */
  private readonly places = new Map<number, Place[]>();
  private readonly remembered = new Map<number, number>();

  constructor(view: DataView) {
    this.view = view;
  }

  /** A region counts from now on. @param keyOf the name of the address at an offset. Returns the names of its branches. */
  add(index: number, branches: ArrayLike<number>, keyOf: (offset: number) => number): readonly number[] {
    const keys: number[] = [];
    for (let i = 0; i < branches.length; i += FIELDS) {
      const key = keyOf(branches[i]!);
      const place = { index, from: branches[i + 1]!, taken: branches[i + 2]!, next: branches[i + 3]! };
      const places = this.places.get(key);
      if (places) places.push(place);
      else this.places.set(key, [place]);
      keys.push(key);
    }
    return keys;
  }

  /** A region is gone; what it has found out stays known. */
  remove(index: number, keys: readonly number[]): void {
    for (const key of keys) {
      const odds = this.odds(key);
      if (odds !== null) {
        if (this.remembered.size >= REMEMBERED_LIMIT) this.remembered.clear();
        this.remembered.set(key, odds);
      }
      const places = (this.places.get(key) ?? []).filter(place => place.index !== index);
      if (places.length > 0) this.places.set(key, places);
      else this.places.delete(key);
    }
  }

  clear(): void {
    this.places.clear();
    this.remembered.clear();
  }

  /** How large the share of the times is in which a branch is taken, by the region that has seen it most; null where that is not known. */
  odds(key: number): number | null {
    let most = TELLING - 1;
    let odds: number | null = null;
    for (const place of this.places.get(key) ?? []) {
      const [from, taken, next] = [place.from, place.taken, place.next].map(block => (block < 0 ? 0 : this.count(place.index, block))) as [number, number, number];
      const runs = place.from < 0 ? taken + next : from;
      if (runs <= most) continue;
      most = runs;
      // Blocks have other predecessors, too.
      odds = place.next < 0 ? Math.min(1, taken / runs) : place.taken < 0 ? Math.max(0, 1 - next / runs) : taken / runs;
    }
    return odds ?? this.remembered.get(key) ?? null;
  }

  private count(index: number, position: number): number {
    return this.view.getUint32(REGION_COUNTS + index * REGION_COUNTS_EACH + position * 4, true);
  }
}
