/** The snapshots of a VM in the order of their tree. */
import type { Snapshot } from '../../core/contract/index.ts';

export interface TreeRow {
  readonly snapshot: Snapshot;
  readonly depth: number;
  /** The last of its parent's children: its line ends here. */
  readonly last: boolean;
}

/** Parents before their children, siblings by age; a parent that is not there counts as none. */
export function inTree(snapshots: readonly Snapshot[]): readonly TreeRow[] {
  const known = new Set(snapshots.map(({ id }) => id));
  const childrenOf = (parent: string | null): readonly Snapshot[] => snapshots
    .filter(({ parentId }) => (parentId !== null && known.has(parentId) ? parentId : null) === parent)
    .toSorted((left, right) => left.createdAt - right.createdAt);
  const below = (parent: string | null, depth: number): readonly TreeRow[] => {
    const children = childrenOf(parent);
    return children.flatMap((snapshot, index) => [{ snapshot, depth, last: index === children.length - 1 }, ...below(snapshot.id, depth + 1)]);
  };
  return below(null, 0);
}

/** `Snapshot 3`: a name that is still free. */
export function freeName(snapshots: readonly Snapshot[]): string {
  const names = new Set(snapshots.map(({ name }) => name.toLowerCase()));
  for (let number = snapshots.length + 1; ; number += 1) if (!names.has(`snapshot ${number}`)) return `Snapshot ${number}`;
}
