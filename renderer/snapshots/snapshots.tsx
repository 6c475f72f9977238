import { Camera, Monitor } from 'lucide-react';
import { useState } from 'react';
import type { KeyboardEvent, ReactNode } from 'react';
import { Button } from '../controls/button.tsx';
import { Callout } from '../controls/callout.tsx';
import type { Snapshot, Vm } from '../../core/contract/index.ts';
import { shortcutOf } from '../commands/commands.ts';
import { Empty } from '../controls/empty.tsx';
import { Tip } from '../controls/tooltip.tsx';
import { engine } from '../engine/engine.ts';
import { formatBytes, formatTime } from '../state/format.ts';
import { openDialog } from '../state/layout.ts';
import { useLibrary } from '../state/library.ts';
import { notifyError } from '../state/notices.ts';
import { SnapshotDetail } from './detail.tsx';
import { SnapshotDialogs } from './dialogs.tsx';
import type { SnapshotDialog } from './dialogs.tsx';
import { inTree } from './tree.ts';
import type { TreeRow } from './tree.ts';
import { useSnapshots } from './use-snapshots.ts';

const LINE_STEP = 20;

/** The snapshots of a VM: their tree, and what can be done with the one that is chosen. */
export function Snapshots({ vm }: { readonly vm: Vm }): ReactNode {
  const { snapshots, error } = useSnapshots(vm.id);
  const [chosen, setChosen] = useState<string | null>(null);
  const [dialog, setDialog] = useState<SnapshotDialog | null>(null);
  if (error) return <div className="page"><Callout kind="error" title={error.message} hint={error.hint} /></div>;
  if (!snapshots) return <div className="page" aria-busy />;
  const selected = snapshots.find(({ id }) => id === chosen) ?? snapshots.find(({ current }) => current) ?? snapshots.at(-1);
  return (
    <div className="snapshots">
      <Progress vm={vm} />
      {selected === undefined ? <NoSnapshots vm={vm} /> : (
        <div className="snapshots-body">
          <section className="snapshot-side" aria-label="Tree of snapshots">
            <header className="card-head">
              <h2>Snapshots</h2>
              <Tip text="Take a snapshot" shortcut={shortcutOf('take-snapshot')}>
                <Button icon={Camera} onClick={() => openDialog({ kind: 'take-snapshot', vm: vm.id })}>Take snapshot</Button>
              </Tip>
            </header>
            <Tree snapshots={snapshots} selected={selected} onSelect={setChosen} vm={vm} />
          </section>
          <SnapshotDetail vm={vm} snapshot={selected} open={setDialog} />
        </div>
      )}
      {dialog && <SnapshotDialogs vm={vm} dialog={dialog} snapshots={snapshots} close={() => setDialog(null)} />}
    </div>
  );
}

function NoSnapshots({ vm }: { readonly vm: Vm }): ReactNode {
  return (
    <Empty icon={Camera} title="No snapshots yet"
      text="A snapshot of a running machine holds its memory, its devices and its console. The guest goes on while it is taken, and can be put back to it at any time."
      action={<Button look="primary" size="large" icon={Camera} onClick={() => openDialog({ kind: 'take-snapshot', vm: vm.id })}>Take snapshot</Button>} />
  );
}

/** How far the snapshot is that is being taken. */
function Progress({ vm }: { readonly vm: Vm }): ReactNode {
  const progress = useLibrary((state) => state.progress[vm.id]);
  if (!progress) return null;
  const percent = Math.round((progress.done / progress.total) * 100);
  return (
    <div className="snapshot-progress" role="status">
      <span>Saving memory</span>
      <div className="share" role="progressbar" aria-label="Memory saved" aria-valuenow={percent} aria-valuemin={0} aria-valuemax={100}><span style={{ width: `${percent}%` }} /></div>
      <span className="numeric">{percent} %</span>
      <Button look="plain" onClick={() => void engine.call('snapshot.cancel', { vm: vm.id }).catch(notifyError)}>Cancel</Button>
    </div>
  );
}

interface TreeProps {
  readonly vm: Vm;
  readonly snapshots: readonly Snapshot[];
  readonly selected: Snapshot;
  readonly onSelect: (id: string) => void;
}

function Tree({ vm, snapshots, selected, onSelect }: TreeProps): ReactNode {
  const rows = inTree(snapshots);
  const move = (event: KeyboardEvent): void => {
    const by = event.key === 'ArrowDown' ? 1 : event.key === 'ArrowUp' ? -1 : 0;
    const next = rows[rows.findIndex(({ snapshot }) => snapshot.id === selected.id) + by];
    if (by === 0 || !next) return;
    event.preventDefault();
    onSelect(next.snapshot.id);
  };
  return (
    <div className="snapshot-tree" role="tree" aria-label="Snapshots" tabIndex={0} onKeyDown={move} aria-activedescendant={`snapshot-${selected.id}`}>
      {rows.map((row) => <TreeItem key={row.snapshot.id} row={row} vm={vm} selected={row.snapshot.id === selected.id} onSelect={onSelect} />)}
    </div>
  );
}

function TreeItem({ row: { snapshot, depth }, vm, selected, onSelect }: { readonly row: TreeRow; readonly vm: Vm; readonly selected: boolean; readonly onSelect: (id: string) => void }): ReactNode {
  const inset = depth * LINE_STEP;
  return (
    <>
      <div className="snapshot-row" id={`snapshot-${snapshot.id}`} role="treeitem" aria-level={depth + 1} aria-selected={selected} style={{ paddingLeft: 12 + inset }}
        onClick={() => onSelect(snapshot.id)}>
        <Camera size={14} aria-hidden />
        <span className="name">{snapshot.name}</span>
        <span className="detail numeric">{snapshot.power === 'off' ? 'off' : formatBytes(snapshot.usedBytes)}</span>
        <span className="when">{formatTime(snapshot.createdAt)}</span>
      </div>
      {snapshot.current && (
        <div className="snapshot-row here" role="none" style={{ paddingLeft: 12 + inset + LINE_STEP }}>
          <Monitor size={14} aria-hidden />
          <span className="name">Now</span>
          <span className="detail">{vm.state}</span>
        </div>
      )}
    </>
  );
}
