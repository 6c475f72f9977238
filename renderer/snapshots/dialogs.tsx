/** Dialogs about snapshots. */
import { useState } from 'react';
import type { ReactNode } from 'react';
import { asContractError, snapshotName, vmName } from '../../core/contract/index.ts';
import type { Snapshot, Vm } from '../../core/contract/index.ts';
import { freeName as freeVmName } from '../configuration/draft.ts';
import { PathField } from '../configuration/path-field.tsx';
import { TransferProgress } from '../configuration/transfer-progress.tsx';
import { Button } from '../controls/button.tsx';
import { Dialog } from '../controls/dialog.tsx';
import { Field, TextInput } from '../controls/field.tsx';
import type { FieldProblem } from '../controls/field.tsx';
import { Switch } from '../controls/switch.tsx';
import { engine } from '../engine/engine.ts';
import { openDialog, select } from '../state/layout.ts';
import { isAlive, useLibrary } from '../state/library.ts';
import { notify } from '../state/notices.ts';
import { formatBytes } from '../state/format.ts';
import { Comparison } from './compare.tsx';
import { freeName } from './tree.ts';
import { useSnapshots } from './use-snapshots.ts';

export interface SnapshotDialog {
  readonly kind: 'restore' | 'compare' | 'clone' | 'edit' | 'remove' | 'export';
  readonly snapshot: Snapshot;
}

interface SnapshotDialogsProps {
  readonly vm: Vm;
  readonly dialog: SnapshotDialog;
  readonly snapshots: readonly Snapshot[];
  readonly close: () => void;
}

export function SnapshotDialogs({ vm, dialog: { kind, snapshot }, snapshots, close }: SnapshotDialogsProps): ReactNode {
  const ties = { vm: vm.id, snapshot: snapshot.id };
  const home = useLibrary((state) => state.host?.homeFolder ?? '');
  switch (kind) {
    case 'restore': return <RestoreDialog vm={vm} snapshot={snapshot} close={close} />;
    case 'compare': return <Comparison vm={vm} snapshot={snapshot} snapshots={snapshots} close={close} />;
    case 'remove':
      return (
        <TextDialog title={`Delete the snapshot “${snapshot.name}”?`} confirm="Delete" danger close={close}
          description={`Snapshots that went on from it stay and go on from its parent. ${snapshot.exclusiveBytes === 0 ? '' : `Frees ${formatBytes(snapshot.exclusiveBytes)}.`}`}
          act={() => engine.call('snapshot.remove', ties)} />
      );
    case 'clone':
      return (
        <TextDialog title={`Clone “${snapshot.name}”`} confirm="Clone" close={close} description="Makes a new machine that goes on from this snapshot. They share what is the same."
          option="Full: it needs no disk image of this machine"
          text={{ label: 'Name of the new machine', initial: `${vm.config.name} ${snapshot.name}`.slice(0, 64), check: (text) => vmName.safeParse(text).error?.issues[0]?.message }}
          act={async ({ text, option }) => select((await engine.call('snapshot.clone', { ...ties, name: text, full: option })).id)} />
      );
    case 'edit':
      return (
        <TextDialog title={`Change “${snapshot.name}”`} confirm="Save" close={close}
          text={{ label: 'Name', initial: snapshot.name, check: checkName }} notes={snapshot.notes}
          act={({ text, notes }) => engine.call('snapshot.edit', { ...ties, name: text, notes })} />
      );
    case 'export':
      return (
        <TextDialog title={`Export “${snapshot.name}”`} confirm="Export" close={close} description="Writes one file with everything of the snapshot, for another library."
          path={{ label: 'File', initial: `${home}/${fileName(snapshot.name)}.vpsnap` }}
          act={async ({ path }) => notify('info', `Exported “${snapshot.name}”`, `${path}, ${formatBytes((await engine.call('snapshot.export', { ...ties, path })).bytes)}`)} />
      );
  }
}

/** Asks for the name of a new snapshot; the guest goes on meanwhile. */
export function TakeSnapshotDialog({ vm }: { readonly vm: Vm }): ReactNode {
  const { snapshots } = useSnapshots(vm.id);
  if (!snapshots) return null;
  return (
    <TextDialog title={`Take a snapshot of “${vm.config.name}”`} confirm="Take snapshot" close={() => openDialog(null)}
      description={isAlive(vm) ? 'With its memory. The guest goes on while it is written.' : 'The machine is off: its configuration and its disks.'}
      text={{ label: 'Name', initial: freeName(snapshots), check: checkName }} notes=""
      act={({ text, notes }) => engine.call('snapshot.take', { vm: vm.id, name: text, notes })} />
  );
}

/** A copy of the machine as it is now. */
export function CloneDialog({ vm }: { readonly vm: Vm }): ReactNode {
  const taken = useLibrary((state) => state.vms).map(({ config }) => config.name);
  return (
    <TextDialog title={`Clone “${vm.config.name}”`} confirm="Clone" close={() => openDialog(null)} option="Full: it needs no disk image of this machine"
      description={isAlive(vm) ? 'Makes a new machine that goes on from what this one does now.' : 'Makes a new machine with this configuration and what is on these disks.'}
      text={{ label: 'Name of the new machine', initial: freeVmName(`${vm.config.name} copy`.slice(0, 60), taken), check: (text) => vmName.safeParse(text).error?.issues[0]?.message }}
      act={async ({ text, option }) => select((await engine.call('vm.clone', { vm: vm.id, name: text, full: option })).id)} />
  );
}

/** The machine as it is now in one file: for other programs where they could start it, else for another library. */
export function ExportDialog({ vm }: { readonly vm: Vm }): ReactNode {
  const home = useLibrary((state) => state.host?.homeFolder ?? '');
  const { name, firmware } = vm.config;
  const forOthers = !isAlive(vm) && vm.state !== 'suspended' && firmware !== '';
  const why = firmware === '' ? 'it starts a kernel of its own' : 'it is not shut down';
  return (
    <TextDialog title={`Export “${name}”`} confirm="Export" close={() => openDialog(null)}
      description={forOthers
        ? 'Named .ova, one file with its disks that VirtualBox, VMware and others import; discs in its drives stay behind. Named .vpsnap, for Vanderpool, with everything that belongs to it.'
        : `One file for another library of Vanderpool, with its disks${isAlive(vm) || vm.state === 'suspended' ? ' and its memory' : ''}. It cannot be an .ova for other programs: ${why}.`}
      path={{ label: 'File', initial: `${home}/${fileName(name)}.${forOthers ? 'ova' : 'vpsnap'}` }}
      act={async ({ path }) => notify('info', `Exported “${name}”`, `${path}, ${formatBytes((await engine.call('vm.export', { vm: vm.id, path })).bytes)}`)} />
  );
}

function fileName(name: string): string {
  return name.replaceAll(/[^\w.-]+/g, '-');
}

function checkName(text: string): string | undefined {
  return snapshotName.safeParse(text).error?.issues[0]?.message;
}

interface Answers {
  readonly text: string;
  readonly notes: string;
  readonly path: string;
  readonly option: boolean;
}

interface TextDialogProps {
  readonly title: string;
  readonly description?: string;
  readonly confirm: string;
  readonly danger?: boolean;
  /** A line of text to ask for; `check` says what is wrong with it. */
  readonly text?: { readonly label: string; readonly initial: string; readonly check: (text: string) => string | undefined };
  /** Notes to ask for, as they are now. */
  readonly notes?: string;
  readonly path?: { readonly label: string; readonly initial: string };
  /** Something that may be chosen, or not. */
  readonly option?: string;
  readonly close: () => void;
  readonly act: (answers: Answers) => Promise<unknown>;
}

/** A dialog with up to three fields that does one thing, and stays open with the reason when that is refused. */
function TextDialog({ title, description, confirm, danger = false, text, notes, path, option, close, act }: TextDialogProps): ReactNode {
  const [answers, setAnswers] = useState<Answers>({ text: text?.initial ?? '', notes: notes ?? '', path: path?.initial ?? '', option: false });
  const [problem, setProblem] = useState<FieldProblem | undefined>();
  const [busy, setBusy] = useState(false);
  const change = (part: Partial<Answers>): void => {
    setAnswers({ ...answers, ...part });
    setProblem(undefined);
  };
  const submit = async (): Promise<void> => {
    const wrong = text?.check(answers.text);
    if (wrong !== undefined) return setProblem({ message: wrong });
    if (busy) return;
    setBusy(true);
    try {
      await act({ ...answers, text: answers.text.trim() });
      close();
    } catch (thrown) {
      const error = asContractError(thrown);
      if (error.code !== 'cancelled') setProblem(error);
      setBusy(false);
    }
  };
  const exporting = busy && path !== undefined;
  return (
    <Dialog title={title} {...(description === undefined ? {} : { description })} onClose={() => { if (!exporting) close(); }} onSubmit={() => void submit()}
      footer={exporting ? <TransferProgress path={answers.path.trim()} what="export" /> : <>
        <Button look="plain" size="large" onClick={close}>Cancel</Button>
        <Button look={danger ? 'danger' : 'primary'} size="large" type="submit" busy={busy}>{confirm}</Button>
      </>}>
      {text && (
        <Field label={text.label} problem={problem}>
          {(ties) => <TextInput {...ties} maxLength={64} value={answers.text} onFocus={(event) => event.target.select()} onText={(value) => change({ text: value })} />}
        </Field>
      )}
      {notes !== undefined && (
        <Field label="Notes" optional>
          {(ties) => <TextInput {...ties} maxLength={10_000} value={answers.notes} onText={(value) => change({ notes: value })} />}
        </Field>
      )}
      {path && <PathField label={path.label} value={answers.path} disabled={busy} problem={problem} onPath={(value) => change({ path: value })} />}
      {option !== undefined && (
        <label className="switch-row"><Switch label={option} on={answers.option} onTurn={(on) => change({ option: on })} />{option}</label>
      )}
      {!text && !path && problem && <p className="field-error" role="alert">{problem.message} {problem.hint}</p>}
    </Dialog>
  );
}

function RestoreDialog({ vm, snapshot, close }: { readonly vm: Vm; readonly snapshot: Snapshot; readonly close: () => void }): ReactNode {
  const [problem, setProblem] = useState<FieldProblem | undefined>();
  const [busy, setBusy] = useState(false);
  const restore = async (paused: boolean): Promise<void> => {
    setBusy(true);
    try {
      await engine.call('snapshot.restore', { vm: vm.id, snapshot: snapshot.id, paused });
      close();
    } catch (thrown) {
      setProblem(asContractError(thrown));
      setBusy(false);
    }
  };
  const loses = isAlive(vm) || vm.state === 'suspended' ? 'What the machine does now is lost, unless you take a snapshot of it first.' : 'The machine takes its configuration back, too.';
  return (
    <Dialog alert title={`Restore “${snapshot.name}”?`} description={loses} onClose={close}
      footer={<>
        <Button look="plain" size="large" onClick={close}>Cancel</Button>
        {snapshot.power === 'running' && <Button size="large" disabled={busy} onClick={() => void restore(true)}>Restore paused</Button>}
        <Button look="primary" size="large" busy={busy} onClick={() => void restore(false)}>Restore</Button>
      </>}>
      {problem && <p className="field-error" role="alert">{problem.message} {problem.hint}</p>}
    </Dialog>
  );
}
