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
  const order: RegionBlock[] = [];
  const seen = new Set<number>();
  const successors = (block: RegionBlock): RegionBlock[] =>
    [block.taken, block.next, block.returns].map(key => blocks.get(key)).filter(next => next !== undefined);
  const visit = (block: RegionBlock): void => {
    seen.add(block.key);
    for (const next of successors(block)) if (!seen.has(next.key)) visit(next);
    order.push(block);
  };
  visit(blocks.get(entry)!);
  order.reverse();
  const position = new Map(order.map((block, i) => [block.key, i]));
  const predecessors: number[][] = order.map(() => []);
  order.forEach((block, i) => {
    for (const next of successors(block)) predecessors[position.get(next.key)!]!.push(i);
  });
  const dominator = dominators(predecessors);
  const dominates = (a: number, b: number): boolean => {
    let at = b;
    while (at > a) at = dominator[at]!;
    return at === a;
  };
  const edge = (from: number, to: number): 'forward' | 'back' | 'leave' => (to > from ? 'forward' : dominates(to, from) ? 'back' : 'leave');
  const isLoop = order.map((_, i) => predecessors[i]!.some(from => edge(from, i) === 'back'));
  const isMerge = order.map((_, i) => predecessors[i]!.filter(from => edge(from, i) === 'forward').length > 1);
  const merges: number[][] = order.map(() => []);
  for (let i = order.length - 1; i > 0; i--) if (isMerge[i]) merges[dominator[i]!]!.push(i);
  return { order, position, merges, dominator, isLoop, isMerge, edge };
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
