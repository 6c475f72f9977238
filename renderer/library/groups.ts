/** How the library's list is arranged: machines without a group first, then each group where its first machine stands. */
import type { Vm } from '../../core/contract/index.ts';
import { useLayout } from '../state/layout.ts';
import { useLibrary } from '../state/library.ts';

export interface Group {
  /** Empty: of those without one. */
  readonly name: string;
  readonly vms: readonly Vm[];
}

export function arrange(vms: readonly Vm[]): readonly Group[] {
  const groups = Map.groupBy(vms, ({ config }) => config.group);
  const named = [...groups].filter(([name]) => name !== '').map(([name, own]) => ({ name, vms: own }));
  const loose = groups.get('');
  return loose ? [{ name: '', vms: loose }, ...named] : named;
}

/** The machines from top to bottom, without those of groups that are folded. */
export function inSight(groups: readonly Group[], folded: readonly string[]): readonly Vm[] {
  return groups.filter(({ name }) => !folded.includes(name)).flatMap(({ vms }) => vms);
}

/** The same of the whole library, as this window shows it. */
export function vmsInSight(): readonly Vm[] {
  return inSight(arrange(useLibrary.getState().vms), useLayout.getState().folded);
}

/** Names of the groups that there are, in their order. */
export function groupNames(vms: readonly Vm[]): readonly string[] {
  return arrange(vms).map(({ name }) => name).filter((name) => name !== '');
}
