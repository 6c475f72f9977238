import { useEffect, useState } from 'react';
import { asContractError } from '../../core/contract/index.ts';
import type { ContractError, Snapshot } from '../../core/contract/index.ts';
import { engine } from '../engine/engine.ts';
import { useLibrary } from '../state/library.ts';

export interface SnapshotList {
  /** Null until they are known. */
  readonly snapshots: readonly Snapshot[] | null;
  readonly error: ContractError | null;
}

/** The snapshots of a VM, kept up to date. */
export function useSnapshots(vmId: string): SnapshotList {
  const version = useLibrary((state) => state.snapshotsVersion[vmId] ?? 0);
  const connected = useLibrary((state) => state.connection.kind === 'connected');
  const [list, setList] = useState<SnapshotList>({ snapshots: null, error: null });
  useEffect(() => {
    if (!connected) return undefined;
    let current = true;
    engine.call('snapshot.list', { vm: vmId }).then(
      (snapshots) => { if (current) setList({ snapshots, error: null }); },
      (thrown: unknown) => { if (current) setList({ snapshots: null, error: asContractError(thrown) }); },
    );
    return () => void (current = false);
  }, [vmId, version, connected]);
  return list;
}
