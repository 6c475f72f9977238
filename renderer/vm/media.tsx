/** What changes in a machine while it runs: the discs in its drives, and the memory that its guest does without. */
import { Disc } from 'lucide-react';
import { useEffect, useState } from 'react';
import type { ReactNode } from 'react';
import { asContractError, formatMemory, parseMemory } from '../../core/contract/index.ts';
import type { BalloonState, ErrorShape, Vm } from '../../core/contract/index.ts';
import { PathField } from '../configuration/path-field.tsx';
import { Button } from '../controls/button.tsx';
import { Callout } from '../controls/callout.tsx';
import { Field, TextInput } from '../controls/field.tsx';
import { engine } from '../engine/engine.ts';

export function RunningDevices({ vm }: { readonly vm: Vm }): ReactNode {
  const drives = vm.config.disks.flatMap(({ kind, path }, disk) => (kind === 'cdrom' ? [{ disk, path }] : []));
  if (drives.length === 0 && !vm.config.balloon) return null;
  return (
    <section className="card" aria-labelledby="running-devices-title">
      <header className="card-head"><h2 id="running-devices-title">Discs and memory</h2></header>
      <div className="card-body" style={{ display: 'grid', gap: 16 }}>
        {drives.map(({ disk, path }, index) => <DriveField key={disk} vm={vm} disk={disk} path={path} number={index + 1} />)}
        {vm.config.balloon && <BalloonField vm={vm} />}
      </div>
    </section>
  );
}

interface DriveFieldProps {
  readonly vm: Vm;
  readonly disk: number;
  readonly path: string;
  readonly number: number;
}

/** A drive's image: inserted, taken out; a guest that holds it is asked, and may be overruled. */
function DriveField({ vm, disk, path, number }: DriveFieldProps): ReactNode {
  const [typed, setTyped] = useState(path);
  const [error, setError] = useState<ErrorShape | null>(null);
  const [busy, setBusy] = useState(false);
  useEffect(() => setTyped(path), [path]);
  const put = async (next: string, force = false): Promise<void> => {
    setBusy(true);
    setError(null);
    try {
      await engine.call('vm.medium', { vm: vm.id, disk, path: next, force });
    } catch (thrown) {
      setError(asContractError(thrown).toShape());
    } finally {
      setBusy(false);
    }
  };
  return (
    <div role="group" aria-label={`CD-ROM drive ${number}`} style={{ display: 'grid', gap: 8 }}>
      <PathField label={`CD-ROM ${number}`} optional value={typed} placeholder="Empty" onPath={setTyped} />
      <div className="input-row">
        <Button icon={Disc} busy={busy} disabled={typed.trim() === '' || typed === path} onClick={() => void put(typed.trim())}>Insert</Button>
        <Button busy={busy} disabled={path === ''} onClick={() => void put('')}>Eject</Button>
      </div>
      {error && (
        <Callout kind="warning" title={error.message} hint={error.hint}
          actions={error.code === 'wrong-state' ? <Button look="danger" onClick={() => void put(typed === path ? '' : typed.trim(), true)}>Take it out all the same</Button> : undefined} />
      )}
    </div>
  );
}

const BALLOON_MS = 2000;

/** How much of its memory the guest is asked to do without, and does without. */
function BalloonField({ vm }: { readonly vm: Vm }): ReactNode {
  const [typed, setTyped] = useState('');
  const [state, setState] = useState<BalloonState | null>(null);
  const [problem, setProblem] = useState<ErrorShape | null>(null);
  const ask = async (bytes: number | null): Promise<void> => {
    try {
      setState(await engine.call('vm.balloon', { vm: vm.id, bytes }));
      if (bytes !== null) setProblem(null);
    } catch (thrown) {
      if (bytes !== null) setProblem(asContractError(thrown).toShape());
    }
  };
  useEffect(() => {
    void ask(null);
    const timer = setInterval(() => void ask(null), BALLOON_MS);
    return () => clearInterval(timer);
  }, [vm.id]);
  const apply = (): void => {
    try {
      void ask(typed.trim() === '' || typed.trim() === '0' ? 0 : parseMemory(typed));
    } catch (thrown) {
      setProblem(asContractError(thrown).toShape());
    }
  };
  const size = (bytes: number): string => (bytes === 0 ? 'nothing' : formatMemory(bytes));
  const hint = state ? `Asked for ${size(state.targetBytes)}; the guest does without ${size(state.inflatedBytes)}.` : 'Asking the guest.';
  return (
    <Field label="Memory that the guest does without" hint={hint} problem={problem ? { message: problem.message, hint: problem.hint } : undefined}>
      {(ties) => (
        <div className="input-row">
          <TextInput {...ties} className="numeric" value={typed} placeholder="128M" onText={setTyped} />
          <Button onClick={apply}>Ask for it</Button>
        </div>
      )}
    </Field>
  );
}
