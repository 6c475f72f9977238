import { Cpu, HardDrive, PackageOpen, SquareTerminal } from 'lucide-react';
import type { LucideIcon } from 'lucide-react';
import { useId, useState } from 'react';
import type { KeyboardEvent, ReactNode } from 'react';
import { asContractError, networkDefaults } from '../../core/contract/index.ts';
import type { ErrorShape, Vm, VmConfig } from '../../core/contract/index.ts';
import { fieldProblem, freeName, nameForKernel, nameForMedium, newDraft, readDraft } from '../configuration/draft.ts';
import type { BootDraft, Draft, Problems } from '../configuration/draft.ts';
import { BootMediumField, FirmwareFields, ImageFields, MemoryField, NameField, ProcessorFields } from '../configuration/fields.tsx';
import { TransferProgress } from '../configuration/transfer-progress.tsx';
import { useRecognised } from '../configuration/use-recognised.ts';
import { Button } from '../controls/button.tsx';
import { Callout } from '../controls/callout.tsx';
import { Dialog } from '../controls/dialog.tsx';
import { engine } from '../engine/engine.ts';
import { openDialog, select } from '../state/layout.ts';
import { useLibrary } from '../state/library.ts';
import { startVm } from '../vm/actions.ts';
import { ApplianceField, isSnapshot, useAppliance } from './appliance.tsx';

type SourceKind = BootDraft['kind'] | 'appliance';

interface Source {
  readonly kind: SourceKind;
  readonly icon: LucideIcon;
  readonly title: string;
  readonly detail: string;
}

const sources: readonly Source[] = [
  { kind: 'monitor', icon: SquareTerminal, title: 'Built-in monitor', detail: 'A small guest with a prompt of its own: inventory, memory test, VM exits. Needs no file.' },
  { kind: 'firmware', icon: HardDrive, title: 'ISO or disk image', detail: 'Started by a BIOS or UEFI, with a display, as a PC does it.' },
  { kind: 'image', icon: Cpu, title: 'Kernel and initrd', detail: 'A Linux bzImage or a multiboot image from this host, with an optional RAM disk.' },
  { kind: 'appliance', icon: PackageOpen, title: 'Import', detail: 'A machine that another program exported (OVA, OVF), its disk (VMDK, VDI), or an exported snapshot.' },
];

/** Creates a VM on one page: what it runs, and the rest filled in sensibly. */
export function CreateWizard(): ReactNode {
  const taken = useLibrary((state) => state.vms).map((vm) => vm.config.name);
  const [draft, setDraft] = useState<Draft>(() => newDraft(''));
  const [tried, setTried] = useState(false);
  const [refused, setRefused] = useState<Problems>({});
  const [error, setError] = useState<ErrorShape | null>(null);
  const [busy, setBusy] = useState<'create' | 'start' | null>(null);
  const recognised = useRecognised(draft);
  const [appliance, setAppliance] = useState<string | null>(null);
  const path = appliance?.trim() ?? '';
  const described = useAppliance(path);

  const suggested = freeName(appliance === null ? suggestedName(draft) : (described.name ?? (path === '' ? 'Imported' : nameForMedium(path.replace(/\.\w+$/, '')))), taken);
  const named: Draft = { ...draft, name: draft.name.trim() === '' ? suggested : draft.name };
  const read = readDraft(named);
  const problems: Problems = { ...(tried ? read.problems : {}), ...recognised.problems, ...refused };
  const change = (part: Partial<Draft>): void => {
    setDraft((old) => ({ ...old, ...part }));
    setRefused({});
    setError(null);
  };
  const create = async (start: boolean): Promise<void> => {
    setTried(true);
    if (!read.config || busy || (appliance !== null && path === '')) return;
    setBusy(start ? 'start' : 'create');
    try {
      const unusable = start && appliance === null ? await unusableDisks(read.config) : {};
      if (Object.keys(unusable).length > 0) {
        setRefused(unusable);
        return setBusy(null);
      }
      const vm = await (appliance === null ? engine.call('vm.create', { config: read.config }) : importFile(path, read.config.name));
      select(vm.id);
      openDialog(null);
      if (start) void startVm(vm);
    } catch (thrown) {
      const contractError = asContractError(thrown);
      const atField = fieldProblem(contractError);
      if (atField) setRefused(atField);
      else if (contractError.code !== 'cancelled') setError(contractError.toShape());
      setBusy(null);
    }
  };
  const fields = { draft, problems, onChange: change };
  const importing = busy !== null && appliance !== null;
  const pick = (kind: SourceKind): void => {
    setAppliance(kind === 'appliance' ? appliance ?? '' : null);
    if (kind !== 'appliance') change({ boot: { ...draft.boot, kind }, ...defaultsOf(kind) });
  };
  const refusedPath = appliance !== null ? refused['path'] : undefined;
  return (
    <Dialog title="New virtual machine" description="Choose what it runs. Everything else has a default and can change later." wide
      onClose={() => { if (!importing) openDialog(null); }} onSubmit={() => void create(true)}
      footer={importing ? <TransferProgress path={path} what="import" /> : <>
        <Button look="plain" size="large" onClick={() => openDialog(null)}>Cancel</Button>
        <Button size="large" busy={busy === 'create'} disabled={busy !== null} onClick={() => void create(false)}>Create</Button>
        <Button look="primary" size="large" type="submit" busy={busy === 'start'} disabled={busy !== null}>Create and start</Button>
      </>}>
      {error && <Callout kind="error" title={error.message} hint={error.hint} />}
      <Sources value={appliance === null ? draft.boot.kind : 'appliance'} disabled={importing} onPick={pick} />
      {appliance !== null && <ApplianceField path={appliance} described={refusedPath ? { problem: refusedPath } : described} disabled={importing} onPath={(text) => { setAppliance(text); setRefused({}); setError(null); }} />}
      {appliance === null && draft.boot.kind === 'firmware' && <><BootMediumField {...fields} name={suggested} /><FirmwareFields {...fields} /></>}
      {appliance === null && draft.boot.kind === 'image' && <ImageFields {...fields} recognised={recognised.description} />}
      <NameField {...fields} placeholder={suggested} />
      {appliance === null && <div className="columns three"><MemoryField {...fields} brief /><ProcessorFields {...fields} brief /></div>}
    </Dialog>
  );
}

/** A machine that is to start at once needs its disks now. */
async function unusableDisks({ disks }: VmConfig): Promise<Problems> {
  const answers = await Promise.all(disks.map(({ path, kind }, index) => engine.call('disk.describe', { path, kind }).then(() => [], (thrown: unknown) => [[`disks.${index}.path`, asContractError(thrown)] as const])));
  return Object.fromEntries(answers.flat());
}

function importFile(path: string, name: string): Promise<Vm> {
  return isSnapshot(path) ? engine.call('snapshot.import', { path, name }) : engine.call('appliance.import', { path, name });
}

/** A PC that starts from a medium is looked at on its screen, and wants the network. */
function defaultsOf(kind: BootDraft['kind']): Partial<Draft> {
  return kind === 'firmware' ? { display: 'vga', networks: [networkDefaults] } : { display: 'none', networks: [], disks: [] };
}

function suggestedName({ boot, disks }: Draft): string {
  if (boot.kind === 'firmware') return nameForMedium(disks.at(-1)?.path ?? '');
  return boot.kind === 'monitor' ? 'Monitor' : nameForKernel(boot.kernel);
}

interface SourcesProps {
  readonly value: SourceKind;
  readonly disabled: boolean;
  readonly onPick: (kind: SourceKind) => void;
}

function Sources({ value, disabled, onPick }: SourcesProps): ReactNode {
  const note = useId();
  const key = (event: KeyboardEvent<HTMLDivElement>): void => {
    if (disabled || !event.key.startsWith('Arrow')) return;
    event.preventDefault();
    const step = event.key === 'ArrowLeft' || event.key === 'ArrowUp' ? sources.length - 1 : 1;
    const next = sources[(sources.findIndex((source) => source.kind === value) + step) % sources.length];
    if (!next) return;
    onPick(next.kind);
    event.currentTarget.querySelector<HTMLElement>(`[data-kind="${next.kind}"]`)?.focus();
  };
  return (
    <div className="sources">
      <div className="choices" role="radiogroup" aria-label="What it runs" aria-describedby={note} onKeyDown={key}>
        {sources.map(({ kind, icon: Icon, title }) => (
          <button type="button" className="choice" role="radio" key={kind} data-kind={kind} aria-checked={kind === value} tabIndex={kind === value ? 0 : -1} disabled={disabled}
            onClick={() => onPick(kind)}>
            <Icon size={17} aria-hidden />
            {title}
          </button>
        ))}
      </div>
      <p className="field-hint" id={note}>{sources.find(({ kind }) => kind === value)?.detail}</p>
    </div>
  );
}
