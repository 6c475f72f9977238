/** Dialogs that ask before something is lost. */
import { useState } from 'react';
import type { ReactNode } from 'react';
import { asContractError, vmName, vmTags } from '../../core/contract/index.ts';
import type { Vm } from '../../core/contract/index.ts';
import { GroupField } from '../configuration/group-field.tsx';
import { readTags, sentence, writtenTags } from '../configuration/draft.ts';
import { TagsField } from '../configuration/tags-field.tsx';
import { Button } from '../controls/button.tsx';
import { Dialog } from '../controls/dialog.tsx';
import { Field, TextInput } from '../controls/field.tsx';
import type { FieldProblem } from '../controls/field.tsx';
import { engine } from '../engine/engine.ts';
import { changeVmLayout, openDialog } from '../state/layout.ts';
import { useLibrary } from '../state/library.ts';
import { forceStopVm, removeVm, resetVm, startVm, stopVm } from './actions.ts';

interface Question {
  readonly title: (name: string) => string;
  readonly text: string;
  readonly confirm: string;
  readonly danger: boolean;
  readonly act: (vm: Vm) => Promise<unknown>;
}

export const questions: Readonly<Record<'start-without' | 'stop' | 'force-stop' | 'reset' | 'remove', Question>> = {
  'start-without': {
    title: (name) => `Start “${name}” without some of its devices?`,
    text: 'They stay assigned, and are there again when it starts with them.',
    confirm: 'Start without', danger: false, act: (vm) => startVm(vm, true),
  },
  stop: {
    title: (name) => `Stop “${name}”?`,
    text: 'Presses the power button: a guest that listens to it shuts down by itself. One that does not, such as a kernel without ACPI, can be stopped by force.',
    confirm: 'Press the power button', danger: false, act: stopVm,
  },
  'force-stop': {
    title: (name) => `Force “${name}” to stop?`,
    text: 'Pulls the plug at once. What the guest has not written to its disks is lost.',
    confirm: 'Force stop', danger: true, act: forceStopVm,
  },
  reset: {
    title: (name) => `Reset “${name}”?`,
    text: 'Presses the reset button: the guest starts over at once. What it has not written to its disks is lost.',
    confirm: 'Reset', danger: true, act: resetVm,
  },
  remove: {
    title: (name) => `Delete “${name}”?`,
    text: 'Its configuration, its snapshots, its console history and its folder in the library go for good. Disk images, kernels and other files outside the library stay.',
    confirm: 'Delete', danger: true, act: removeVm,
  },
};

const givenUp = 'It is suspended: its saved memory is given up, and what the guest has not written to its disks is lost.';

export function AskDialog({ kind, vm }: { readonly kind: keyof typeof questions; readonly vm: Vm }): ReactNode {
  const question = questions[kind];
  const problem = useLibrary((state) => state.errors[vm.id]?.message);
  const text = kind === 'start-without' && problem !== undefined ? `${problem} ${question.text}` : kind === 'force-stop' && vm.state === 'suspended' ? givenUp : question.text;
  const close = (): void => openDialog(null);
  const act = (run: (vm: Vm) => Promise<unknown>): void => {
    close();
    void run(vm);
  };
  return (
    <Dialog alert title={question.title(vm.config.name)} description={text} onClose={close}
      footer={<>
        <Button look="plain" size="large" onClick={close}>Cancel</Button>
        {kind === 'start-without' && <Button size="large" onClick={() => { close(); changeVmLayout(vm.id, { tab: 'devices' }); }}>Show its devices</Button>}
        {kind === 'stop' && <Button size="large" onClick={() => act(forceStopVm)}>Force stop</Button>}
        <Button look={question.danger ? 'danger' : 'primary'} size="large" onClick={() => act(question.act)}>{question.confirm}</Button>
      </>} />
  );
}

export function RenameDialog({ vm }: { readonly vm: Vm }): ReactNode {
  const [name, setName] = useState(vm.config.name);
  const [problem, setProblem] = useState<FieldProblem | undefined>();
  const close = (): void => openDialog(null);
  const save = async (): Promise<void> => {
    const parsed = vmName.safeParse(name);
    if (!parsed.success) return setProblem({ message: parsed.error.issues[0]?.message ?? 'This name is not possible.' });
    try {
      if (parsed.data !== vm.config.name) await engine.call('vm.edit', { vm: vm.id, changes: { name: parsed.data } });
      close();
    } catch (thrown) {
      setProblem(asContractError(thrown));
    }
  };
  return (
    <Dialog title={`Rename “${vm.config.name}”`} onClose={close} onSubmit={() => void save()}
      footer={<>
        <Button look="plain" size="large" onClick={close}>Cancel</Button>
        <Button look="primary" size="large" type="submit">Rename</Button>
      </>}>
      <Field label="Name" problem={problem}>
        {(ties) => (
          <TextInput {...ties} maxLength={64} value={name} onFocus={(event) => event.target.select()}
            onText={(text) => { setName(text); setProblem(undefined); }} />
        )}
      </Field>
    </Dialog>
  );
}

export function GroupDialog({ vm }: { readonly vm: Vm }): ReactNode {
  const [group, setGroup] = useState(vm.config.group);
  const [tags, setTags] = useState(writtenTags(vm.config.tags));
  const [problems, setProblems] = useState<{ readonly group?: FieldProblem; readonly tags?: FieldProblem }>({});
  const close = (): void => openDialog(null);
  const save = (): void => {
    const wrong = vmTags.safeParse(readTags(tags)).error?.issues[0];
    if (wrong) return setProblems({ tags: { message: sentence(wrong.message) } });
    engine.call('vm.edit', { vm: vm.id, changes: { group, tags: readTags(tags) } }).then(close, (thrown: unknown) => setProblems({ group: asContractError(thrown) }));
  };
  return (
    <Dialog title={`Group and tags of “${vm.config.name}”`} description="Machines of a group stand together in the library; tags are for finding them." onClose={close} onSubmit={save}
      footer={<>
        <Button look="plain" size="large" onClick={close}>Cancel</Button>
        <Button look="primary" size="large" type="submit">Save</Button>
      </>}>
      <GroupField value={group} problem={problems.group} onPick={(name) => { setGroup(name); setProblems({}); }} />
      <TagsField value={tags} problem={problems.tags} onText={(text) => { setTags(text); setProblems({}); }} />
    </Dialog>
  );
}
