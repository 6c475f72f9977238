import { useEffect, useState } from 'react';
import type { ReactNode } from 'react';
import { asContractError } from '../../core/contract/index.ts';
import type { ContractError, DiskDifference, FieldDifference, Snapshot, SnapshotDifference, Vm } from '../../core/contract/index.ts';
import { Button } from '../controls/button.tsx';
import { Callout } from '../controls/callout.tsx';
import { Dialog } from '../controls/dialog.tsx';
import { Select } from '../controls/select.tsx';
import { engine } from '../engine/engine.ts';
import { PathField } from '../configuration/path-field.tsx';
import { formatBytes, formatTime } from '../state/format.ts';

/** Runs and fields beyond this are counted, not listed. */
const SHOWN = 500;
const NOW = '';
const SETTLE_MS = 400;

interface ComparisonProps {
  readonly vm: Vm;
  readonly snapshot: Snapshot;
  readonly snapshots: readonly Snapshot[];
  readonly close: () => void;
}

/** What differs from a snapshot to another one or to now: configuration, registers and devices, memory. */
export function Comparison({ vm, snapshot, snapshots, close }: ComparisonProps): ReactNode {
  const [other, setOther] = useState(NOW);
  const [path, setPath] = useState('');
  const symbols = useSettled(path);
  const [difference, setDifference] = useState<SnapshotDifference | null>(null);
  const [error, setError] = useState<ContractError | null>(null);
  useEffect(() => {
    let current = true;
    setDifference(null);
    setError(null);
    engine.call('snapshot.diff', { vm: vm.id, from: snapshot.id, to: other === NOW ? null : other, ...(symbols === '' ? {} : { symbols }) }).then(
      (found) => { if (current) setDifference(found); },
      (thrown: unknown) => { if (current) setError(asContractError(thrown)); },
    );
    return () => void (current = false);
  }, [vm.id, snapshot.id, other, symbols]);
  return (
    <Dialog wide title={`Changes since “${snapshot.name}”`} onClose={close} footer={<Button look="primary" size="large" onClick={close}>Close</Button>}>
      <div className="compare-with">
        <span>Compared with</span>
        <Select label="Compared with" value={other} onPick={setOther}
          options={[{ value: NOW, label: 'Now' }, ...snapshots.filter(({ id }) => id !== snapshot.id).map(({ id, name, createdAt }) => ({ value: id, label: name, detail: formatTime(createdAt) }))]} />
      </div>
      <PathField label="Symbols of its Linux" optional value={path} onPath={setPath} problem={error?.field === 'symbols' ? error : undefined}
        hint="System.map of its kernel, or a copy of its /proc/kallsyms: memory is then named by what of the kernel, which file or process lies there." />
      {error && error.field !== 'symbols' && <Callout kind="error" title={error.message} hint={error.hint} />}
      {!error && !difference && <p role="status">Comparing…</p>}
      {difference && <Differences difference={difference} />}
    </Dialog>
  );
}

/** A text as it is when nobody types on it. */
function useSettled(text: string): string {
  const [settled, setSettled] = useState(text);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(text.trim()), SETTLE_MS);
    return () => clearTimeout(timer);
  }, [text]);
  return settled;
}

function Differences({ difference: { configuration, state, memory, memoryBytes, disks } }: { readonly difference: SnapshotDifference }): ReactNode {
  const named = memory.some(({ owner }) => owner !== null);
  if (configuration.length + state.length + memory.length + disks.length === 0) return <p role="status">They are the same.</p>;
  return (
    <>
      <Fields title="Configuration" fields={configuration} />
      {disks.map((disk) => <Disk key={disk.path} disk={disk} />)}
      {memory.length > 0 && (
        <section aria-label="Memory">
          <h3>Memory: {formatBytes(memoryBytes)} in {memory.length} places</h3>
          <div className="compare-table">
            <table className="table">
              <thead><tr><th>Guest-physical address</th><th className="right">Size</th>{named && <th>What lies there</th>}</tr></thead>
              <tbody>
                {memory.slice(0, SHOWN).map(({ address, bytes, owner }) => (
                  <tr key={address}>
                    <td className="mono">0x{address.toString(16).padStart(9, '0')}</td><td className="right">{formatBytes(bytes)}</td>
                    {named && <td className="mono selectable">{owner ?? '-'}</td>}
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        </section>
      )}
      <Fields title="Registers and devices" fields={state} />
    </>
  );
}

function Disk({ disk: { path, bytes, clusters, files } }: { readonly disk: DiskDifference }): ReactNode {
  return (
    <section aria-label={`Disk ${path}`}>
      <h3>Disk {path}: {formatBytes(bytes)} in {clusters.length} places</h3>
      <div className="compare-table">
        <table className="table">
          {files ? (
            <>
              <thead><tr><th>File</th><th>Change</th><th className="right">Before</th><th className="right">After</th></tr></thead>
              <tbody>
                {files.slice(0, SHOWN).map((file) => (
                  <tr key={file.path}>
                    <td className="mono selectable">{file.path}</td><td>{file.change}</td>
                    <td className="right">{file.before === null ? '-' : formatBytes(file.before)}</td><td className="right">{file.after === null ? '-' : formatBytes(file.after)}</td>
                  </tr>
                ))}
              </tbody>
            </>
          ) : (
            <>
              <thead><tr><th>Offset</th><th className="right">Size</th></tr></thead>
              <tbody>
                {clusters.slice(0, SHOWN).map((run) => (
                  <tr key={run.offset}><td className="mono">0x{run.offset.toString(16).padStart(10, '0')}</td><td className="right">{formatBytes(run.bytes)}</td></tr>
                ))}
              </tbody>
            </>
          )}
        </table>
      </div>
    </section>
  );
}

function Fields({ title, fields }: { readonly title: string; readonly fields: readonly FieldDifference[] }): ReactNode {
  if (fields.length === 0) return null;
  return (
    <section aria-label={title}>
      <h3>{title}: {fields.length}</h3>
      <div className="compare-table">
        <table className="table">
          <thead><tr><th>Field</th><th>Before</th><th>After</th></tr></thead>
          <tbody>
            {fields.slice(0, SHOWN).map(({ field, before, after }) => (
              <tr key={field}><td>{field}</td><td className="mono selectable">{asShown(before)}</td><td className="mono selectable">{asShown(after)}</td></tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

/** Registers are saved in decimal and read in hexadecimal. */
function asShown(value: string | null): string {
  if (value === null) return '-';
  return /^\d{2,20}$/.test(value) ? `0x${BigInt(value).toString(16)}` : value;
}
