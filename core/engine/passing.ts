/** What is done by way of a snapshot that does not stay: a machine is copied, or written to a file, as it is now. */
import type { Vm } from '../contract/vm.ts';
import type { Snapshots } from './snapshots.ts';
import type { Transfer } from './transfers.ts';

/** @throws ContractError; the snapshot is gone then as well */
export async function cloneVm(snapshots: Snapshots, vm: string, name: string, full: boolean): Promise<Vm> {
  return passing(snapshots, vm, (snapshot) => snapshots.clone(vm, snapshot, name, full));
}

/** Answers the length of the file. @throws ContractError */
export function exportVm(snapshots: Snapshots, vm: string, path: string, { signal, progress }: Transfer): Promise<number> {
  return passing(snapshots, vm, (snapshot) => snapshots.exportTo(vm, snapshot, path, progress), signal);
}

async function passing<T>(snapshots: Snapshots, vm: string, use: (snapshot: string) => Promise<T>, signal?: AbortSignal): Promise<T> {
  // Where there is nothing to give up yet, or no more, the use of the snapshot finds that it is cancelled.
  const cancel = (): void => void snapshots.cancel(vm).catch(() => undefined);
  signal?.addEventListener('abort', cancel);
  const { id } = await snapshots.take(vm, `Copy ${Date.now()}`, '').finally(() => signal?.removeEventListener('abort', cancel));
  try {
    return await use(id);
  } finally {
    await snapshots.remove(vm, id);
  }
}
