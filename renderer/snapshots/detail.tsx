import { Copy, FileOutput, GitCompareArrows, History, Pencil, Trash2 } from 'lucide-react';
import type { ReactNode } from 'react';
import type { Snapshot, Vm } from '../../core/contract/index.ts';
import { Button, IconButton } from '../controls/button.tsx';
import { formatBytes, formatTime } from '../state/format.ts';
import type { SnapshotDialog } from './dialogs.tsx';
import { Thumbnail } from './thumbnail.tsx';

const powers = { off: 'Off: its configuration and its disks', paused: 'Paused', running: 'Running' } as const;

interface DetailProps {
  readonly vm: Vm;
  readonly snapshot: Snapshot;
  readonly open: (dialog: SnapshotDialog) => void;
}

/** One snapshot: what its console showed, what it holds, what can be done with it. */
export function SnapshotDetail({ snapshot, open }: DetailProps): ReactNode {
  const { name, notes, screen } = snapshot;
  return (
    <section className="snapshot-detail" aria-label={`Snapshot ${name}`}>
      <header className="snapshot-head">
        <h2>{name}</h2>
        <span className="spacer" />
        <Button look="primary" icon={History} onClick={() => open({ kind: 'restore', snapshot })}>Restore…</Button>
        <Button icon={GitCompareArrows} onClick={() => open({ kind: 'compare', snapshot })}>Compare…</Button>
        <Button icon={Copy} onClick={() => open({ kind: 'clone', snapshot })}>Clone…</Button>
        <IconButton icon={FileOutput} label="Export…" onClick={() => open({ kind: 'export', snapshot })} />
        <IconButton icon={Pencil} label="Rename and notes…" onClick={() => open({ kind: 'edit', snapshot })} />
        <IconButton icon={Trash2} label="Delete snapshot…" onClick={() => open({ kind: 'remove', snapshot })} />
      </header>
      {snapshot.hasPicture && <Thumbnail vmId={snapshot.vmId} snapshotId={snapshot.id} />}
      <pre className="snapshot-screen selectable" aria-label="What its console showed">{screen === '' ? 'Its console showed nothing.' : screen}</pre>
      {notes !== '' && <p className="snapshot-notes selectable">{notes}</p>}
      <dl className="facts">
        <dt>Taken</dt><dd>{formatTime(snapshot.createdAt)}</dd>
        <dt>Machine was</dt><dd>{powers[snapshot.power]}</dd>
        <dt>Memory</dt><dd>{formatBytes(snapshot.usedBytes)} of {formatBytes(snapshot.memoryBytes)}</dd>
        <dt>Deleting frees</dt><dd>{snapshot.exclusiveBytes === 0 ? 'Nothing: others use the same memory' : formatBytes(snapshot.exclusiveBytes)}</dd>
        {snapshot.power === 'running' && <><dt>Guest stood still</dt><dd>{snapshot.pauseMilliseconds.toFixed(1)} ms</dd></>}
      </dl>
    </section>
  );
}
