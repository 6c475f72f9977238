/** What is done by way of a snapshot that does not stay: a machine is copied, or written to a file, as it is now. */
import type { Vm } from '../contract/vm.ts';
import type { Snapshots } from './snapshots.ts';

/** @throws ContractError; the snapshot is gone then as well */
export async function cloneVm(snapshots: Snapshots, vm: string, name: string, full: boolean): Promise<Vm> {
  return passing(snapshots, vm, (snapshot) => snapshots.clone(vm, snapshot, name, full));
}

/** Answers the length of the file. @throws ContractError */
export function exportVm(snapshots: Snapshots, vm: string, path: string): Promise<number> {
  return passing(snapshots, vm, (snapshot) => snapshots.exportTo(vm, snapshot, path));
}

async function passing<T>(snapshots: Snapshots, vm: string, use: (snapshot: string) => Promise<T>): Promise<T> {
  const { id } = await snapshots.take(vm, `Copy ${Date.now()}`, '');
  try {
    return await use(id);
  } finally {
    await snapshots.remove(vm, id);
  }
}
