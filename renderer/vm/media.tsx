/** What changes of a machine's devices beside its configuration: the sizes of its disks; while it runs, the discs in its drives and the memory that its guest does without. */
import { Disc } from 'lucide-react';
import { useEffect, useState } from 'react';
import type { ReactNode } from 'react';
import { ContractError, asContractError, formatMemory, parseMemory, parseSize } from '../../core/contract/index.ts';
import type { BalloonState, ErrorShape, Vm } from '../../core/contract/index.ts';
import { ImageField } from '../configuration/image-field.tsx';
import { Button } from '../controls/button.tsx';
import { Callout } from '../controls/callout.tsx';
import { Field, TextInput } from '../controls/field.tsx';
import { Select } from '../controls/select.tsx';
import { engine } from '../engine/engine.ts';
import { fileName } from '../state/format.ts';
import { isAlive } from '../state/library.ts';

export function DisksAndMemory({ vm }: { readonly vm: Vm }): ReactNode {
  const runs = isAlive(vm);
  const drives = vm.config.disks.flatMap(({ kind, path }, disk) => (kind === 'cdrom' && runs ? [{ disk, path }] : []));
  const disks = vm.config.disks.flatMap(({ kind, path, readOnly }, disk) => (kind === 'disk' && !readOnly ? [{ disk, path }] : []));
  const hasBalloon = runs && vm.config.balloon;
  if (drives.length + disks.length === 0 && !hasBalloon) return null;
  return (
    <section className="card" aria-labelledby="disks-title">
      <header className="card-head"><h2 id="disks-title">{hasBalloon ? 'Disks and memory' : 'Disks'}</h2></header>
      <div className="card-body" style={{ display: 'grid', gap: 16 }}>
        {drives.map(({ disk, path }, index) => <DriveField key={disk} vm={vm} disk={disk} path={path} number={index + 1} />)}
        {disks.length > 0 && <GrowField vm={vm} disks={disks} />}
        {hasBalloon && <BalloonField vm={vm} />}
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
  const held = error?.code === 'wrong-state' ? error : null;
  const type = (next: string): void => {
    setTyped(next);
    setError(null);
  };
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
      <ImageField kind="cdrom" label={`CD-ROM ${number}`} optional value={typed} placeholder="Empty" problem={held ? undefined : error ?? undefined} onPath={type} />
      <div className="input-row">
        <Button icon={Disc} busy={busy} disabled={typed.trim() === '' || typed === path} onClick={() => void put(typed.trim())}>Insert</Button>
        <Button busy={busy} disabled={path === ''} onClick={() => void put('')}>Eject</Button>
      </div>
      {held && (
        <Callout kind="warning" title={held.message} hint={held.hint}
          actions={<Button look="danger" onClick={() => void put(typed === path ? '' : typed.trim(), true)}>Take it out all the same</Button>} />
      )}
    </div>
  );
}

interface GrowFieldProps {
  readonly vm: Vm;
  readonly disks: readonly { readonly disk: number; readonly path: string }[];
}

/** Makes a disk larger; the guest's driver is told. */
function GrowField({ vm, disks }: GrowFieldProps): ReactNode {
  const [chosen, setChosen] = useState(disks[0]?.disk ?? 0);
  const [typed, setTyped] = useState('');
  const [answer, setAnswer] = useState<{ readonly done: string } | { readonly problem: ErrorShape } | null>(null);
  const [busy, setBusy] = useState(false);
  const grow = async (): Promise<void> => {
    setBusy(true);
    setAnswer(null);
    try {
      const bytes = parseSize(typed);
      if (bytes === null) throw new ContractError('bad-field', `"${typed}" is no size.`, 'Write a number with a unit, such as 40G.');
      await engine.call('vm.grow', { vm: vm.id, disk: chosen, bytes });
      setAnswer({ done: `It has ${typed.trim()} now${isAlive(vm) ? ', and the guest was told' : ''}.` });
      setTyped('');
    } catch (thrown) {
      setAnswer({ problem: asContractError(thrown).toShape() });
    } finally {
      setBusy(false);
    }
  };
  const problem = answer && 'problem' in answer ? { message: answer.problem.message, hint: answer.problem.hint } : undefined;
  return (
    <Field label="Make a disk larger" hint={answer && 'done' in answer ? answer.done : 'The new size; what is in the disk stays, and snapshots keep the size that they have. Partitions and file systems are the guest’s to extend.'} problem={problem}>
      {(ties) => (
        <div className="grow-row">
          <Select label="Disk to make larger" value={String(chosen)} options={disks.map(({ disk, path }) => ({ value: String(disk), label: fileName(path) }))} onPick={(value) => setChosen(Number(value))} />
          <TextInput {...ties} className="numeric" value={typed} placeholder="40G" onText={setTyped} />
          <Button busy={busy} disabled={typed.trim() === ''} onClick={() => void grow()}>Make it larger</Button>
        </div>
      )}
    </Field>
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
  const hint = state ? (state.targetBytes + state.inflatedBytes === 0 ? 'The guest has all of its memory.' : `Asked for ${size(state.targetBytes)}; the guest does without ${size(state.inflatedBytes)}.`) : 'Asking the guest.';
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
