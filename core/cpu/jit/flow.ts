/**
 * Control flow of a region: reverse postorder, dominators, merge points and loop headers, as structured code needs them
 * (after N. Ramsey, "Beyond Relooper", ICFP 2022). An edge that would make the graph irreducible is reported as leaving.
 */
import type { RegionBlock } from './discover.ts';

export interface Flow {
  /** Blocks reachable from the entry in reverse postorder. */
  readonly order: readonly RegionBlock[];
  /** Position in `order` by key. */
  readonly position: ReadonlyMap<number, number>;
  /** Positions of the blocks that a block immediately dominates and that are merge points, the last in order first. */
  readonly merges: readonly (readonly number[])[];
  /** Immediate dominators; the entry's is itself. */
  readonly dominator: readonly number[];
  readonly isLoop: readonly boolean[];
  readonly isMerge: readonly boolean[];
  /** Whether the edge may be taken inside the region: 'forward', 'back' or 'leave'. */
  edge(from: number, to: number): 'forward' | 'back' | 'leave';
}

export function analyse(blocks: ReadonlyMap<number, RegionBlock>, entry: number): Flow {
  const order = reversePostorder(blocks, blocks.get(entry)!);
  const position = new Map<number, number>();
  order.forEach((block, i) => position.set(block.key, i));
  const predecessors = predecessorsOf(order, position);
  const dominator = dominators(predecessors);
  const edge = (from: number, to: number): 'forward' | 'back' | 'leave' => {
    if (to > from) return 'forward';
    let at = from;
    while (at > to) at = dominator[at]!;
    return at === to ? 'back' : 'leave';
  };
  const isLoop: boolean[] = [];
  const isMerge: boolean[] = [];
  const merges: number[][] = [];
  for (let i = 0; i < order.length; i++) {
    let forward = 0;
    let back = 0;
    for (const from of predecessors[i]!) {
      if (from < i) forward++;
      else if (edge(from, i) === 'back') back++;
    }
    isLoop.push(back > 0);
    isMerge.push(forward > 1);
    merges.push([]);
  }
  for (let i = order.length - 1; i > 0; i--) if (isMerge[i]) merges[dominator[i]!]!.push(i);
  return { order, position, merges, dominator, isLoop, isMerge, edge };
}

function reversePostorder(blocks: ReadonlyMap<number, RegionBlock>, entry: RegionBlock): readonly RegionBlock[] {
  const order: RegionBlock[] = [];
  const seen = new Set<RegionBlock>();
  const visit = (block: RegionBlock | undefined): void => {
    if (!block || seen.has(block)) return;
    seen.add(block);
    visit(blocks.get(block.taken));
    visit(blocks.get(block.next));
    visit(blocks.get(block.likely));
    order.push(block);
  };
  visit(entry);
  return order.reverse();
}

function predecessorsOf(order: readonly RegionBlock[], position: ReadonlyMap<number, number>): readonly (readonly number[])[] {
  const predecessors: number[][] = order.map(() => []);
  const lead = (from: number, key: number): void => {
    const to = position.get(key);
    if (to !== undefined) predecessors[to]!.push(from);
  };
  order.forEach(({ taken, next, likely }, i) => {
    lead(i, taken);
    lead(i, next);
    lead(i, likely);
  });
  return predecessors;
}

/** Immediate dominators by position (K. Cooper, T. Harvey, K. Kennedy: a simple, fast dominance algorithm). */
function dominators(predecessors: readonly (readonly number[])[]): number[] {
  const dominator: number[] = predecessors.map(() => -1);
  dominator[0] = 0;
  for (let changed = true; changed;) {
    changed = false;
    for (let i = 1; i < predecessors.length; i++) {
      let found = -1;
      for (const from of predecessors[i]!) {
        if (dominator[from]! < 0) continue;
        found = found < 0 ? from : intersect(dominator, from, found);
      }
      if (found !== dominator[i]) {
        dominator[i] = found;
        changed = true;
      }
    }
  }
  return dominator;
}

function intersect(dominator: readonly number[], left: number, right: number): number {
  let a = left;
  let b = right;
  while (a !== b) {
    while (a > b) a = dominator[a]!;
    while (b > a) b = dominator[b]!;
  }
  return a;
}
