/**
 * Which way conditional branches go. Small regions count how often some of their first blocks run; a large one that takes the place of some is made of what runs
 * most (discover.ts).
 */
import { REGION_COUNTERS, REGION_COUNTS, REGION_COUNTS_EACH } from '../layout.ts';
import { Findings } from './findings.ts';
import type { Flow } from './flow.ts';

/**
 * A branch that a region counts: its offset from the first byte of the entry's page, and blocks by position in the flow, -1: not counted. These are where it leads
 * when it is taken and when not; its own as well where the region lacks one of the two.
 */
const FIELDS = 4;
/** Times that a branch has run, before they say anything. */
const TELLING = 64;

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
  private readonly findings = new Findings<Place, number>(places => this.judge(places));

  constructor(view: DataView) {
    this.view = view;
  }

  /** A region counts from now on. @param keyOf the name of the address at an offset. Returns the names of its branches. */
  add(index: number, branches: ArrayLike<number>, keyOf: (offset: number) => number): readonly number[] {
    const keys: number[] = [];
    for (let i = 0; i < branches.length; i += FIELDS) {
      const key = keyOf(branches[i]!);
      this.findings.add(key, { index, from: branches[i + 1]!, taken: branches[i + 2]!, next: branches[i + 3]! });
      keys.push(key);
    }
    return keys;
  }

  remove(index: number, keys: readonly number[]): void {
    this.findings.remove(index, keys);
  }

  clear(): void {
    this.findings.clear();
  }

  /** How large the share of the times is in which a branch is taken, by the region that has seen it most; null where that is not known. */
  odds(key: number): number | null {
    return this.findings.of(key);
  }

  private judge(places: readonly Place[]): number | null {
    let most = TELLING - 1;
    let odds: number | null = null;
    for (const place of places) {
      const [from, taken, next] = [place.from, place.taken, place.next].map(block => (block < 0 ? 0 : this.count(place.index, block))) as [number, number, number];
      const runs = place.from < 0 ? taken + next : from;
      if (runs <= most) continue;
      most = runs;
      // Blocks have other predecessors, too.
      odds = place.next < 0 ? Math.min(1, taken / runs) : place.taken < 0 ? Math.max(0, 1 - next / runs) : taken / runs;
    }
    return odds;
  }

  private count(index: number, position: number): number {
    return this.view.getUint32(REGION_COUNTS + index * REGION_COUNTS_EACH + position * 4, true);
  }
}
