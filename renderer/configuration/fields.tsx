/** The fields that the create wizard and the configuration editor share. */
import { Plus, X } from 'lucide-react';
import type { ReactNode } from 'react';
import {
  CPUS_MAXIMUM, diskDefaults, driveBus, formatMemory, formatSize, formatTopology, MEMORY_MAXIMUM, MEMORY_MINIMUM, MIB, parseSize, parseTopology, topologiesOf,
} from '../../core/contract/index.ts';
import type { CpuTopology } from '../../core/contract/index.ts';
import { Button, IconButton } from '../controls/button.tsx';
import { Field, TextInput } from '../controls/field.tsx';
import { Select } from '../controls/select.tsx';
import type { Option } from '../controls/select.tsx';
import { useLibrary } from '../state/library.ts';
import type { BootDraft, Draft, Problems } from './draft.ts';
import { ImageField } from './image-field.tsx';
import { NewDisk } from './new-disk.tsx';
import { PathField } from './path-field.tsx';

export interface FieldsProps {
  readonly draft: Draft;
  readonly problems: Problems;
  readonly onChange: (change: Partial<Draft>) => void;
  readonly disabled?: boolean;
  /** Leaves out what explains. */
  readonly brief?: boolean;
}

/** Of the host's memory; the rest is its own system's. */
const ROOM_SHARE = 0.8;

const memorySteps: readonly number[] = [64, 128, 256, 512, 1024, 2048, 3072].map((mebibytes) => mebibytes * MIB);

export function NameField({ draft, problems, onChange, placeholder }: FieldsProps & { readonly placeholder?: string }): ReactNode {
  return (
    <Field label="Name" problem={problems['name']}>
      {(ties) => <TextInput {...ties} value={draft.name} maxLength={64} placeholder={placeholder} onText={(name) => onChange({ name })} />}
    </Field>
  );
}

export function MemoryField({ draft, problems, onChange, disabled = false, brief = false }: FieldsProps): ReactNode {
  const range = `${formatMemory(MEMORY_MINIMUM)} to ${formatMemory(MEMORY_MAXIMUM)}.`;
  const host = useLibrary((state) => state.host?.hostMemoryBytes);
  const wanted = parseSize(/^\d+$/.test(draft.memory.trim()) ? `${draft.memory}M` : draft.memory);
  const hint = host !== undefined && wanted !== null && wanted > host * ROOM_SHARE ? `${range} This host has ${formatSize(Math.floor(host / MIB) * MIB)} in all: a guest that uses this much may be ended by its system.` : brief ? range : `${range} The host gives only what the guest touches.`;
  return (
    <Field label="Memory" hint={hint} problem={problems['memoryBytes']}>
      {(ties) => (
        <>
          <TextInput {...ties} className="numeric" list="memory-sizes" value={draft.memory} onText={(memory) => onChange({ memory })} disabled={disabled} />
          <datalist id="memory-sizes">{memorySteps.map((bytes) => <option key={bytes} value={formatMemory(bytes)} />)}</datalist>
        </>
      )}
    </Field>
  );
}

export function ProcessorFields({ draft, problems, onChange, disabled = false, brief = false }: FieldsProps): ReactNode {
  const host = useLibrary((state) => state.host);
  const fallback = host?.cpuModels.find((model) => model.isDefault)?.name ?? '';
  const models: readonly Option[] = host?.cpuModels.map(({ name, description }) => ({ value: name, label: name, detail: description })) ?? [];
  return (
    <>
      <Field label="Processor model" problem={problems['cpuModel']}>
        {(ties) => <Select ties={ties} value={draft.cpuModel || fallback} options={models} disabled={disabled} onPick={(cpuModel) => onChange({ cpuModel })} />}
      </Field>
      <Field label="Processors" problem={problems['cpus']}>
        {(ties) => (
          <TextInput {...ties} className="numeric" type="number" min={1} max={host?.cpusMaximum ?? 1} value={draft.cpus} disabled={disabled}
            onText={(cpus) => onChange({ cpus, topology: null })} />
        )}
      </Field>
      {!brief && Number(draft.cpus) > 1 && <TopologyField {...{ draft, problems, onChange, disabled }} />}
    </>
  );
}

/** Sockets, cores and threads, of which there are only so many ways. */
function TopologyField({ draft, problems, onChange, disabled = false }: FieldsProps): ReactNode {
  const ways = topologiesOf(Math.min(Number(draft.cpus), CPUS_MAXIMUM));
  const words = ({ sockets, cores, threads }: CpuTopology): string => `${counted(sockets, 'socket')} × ${counted(cores, 'core')} × ${counted(threads, 'thread')}`;
  const options: readonly Option[] = [{ value: '', label: 'A core for each' }, ...ways.map((way) => ({ value: formatTopology(way), label: words(way) }))];
  return (
    <Field label="Arrangement" problem={problems['topology']}>
      {(ties) => (
        <Select ties={ties} value={draft.topology ? formatTopology(draft.topology) : ''} options={options} disabled={disabled}
          onPick={(value) => onChange({ topology: value === '' ? null : parseTopology(value) })} />
      )}
    </Field>
  );
}

function counted(count: number, thing: string): string {
  return `${count} ${thing}${count === 1 ? '' : 's'}`;
}

/** Kernel, initrd and command line, with what the engine recognised in the files. */
export function ImageFields({ draft, problems, onChange, disabled = false, recognised }: FieldsProps & { readonly recognised: string | null }): ReactNode {
  const boot = (change: Partial<BootDraft>): void => onChange({ boot: { ...draft.boot, ...change } });
  return (
    <>
      <PathField label="Kernel" value={draft.boot.kernel} placeholder="/boot/vmlinuz" problem={problems['boot.kernel']} disabled={disabled}
        hint={recognised ?? 'A Linux bzImage or a multiboot image; which of the two is seen by itself.'} onPath={(kernel) => boot({ kernel })} />
      <PathField label="Initial RAM disk" optional value={draft.boot.initrd} placeholder="/boot/initrd.img" problem={problems['boot.initrd']} disabled={disabled}
        onPath={(initrd) => boot({ initrd })} />
      <Field label="Kernel command line" hint="console=ttyS0 brings Linux to the first serial console." problem={problems['boot.append']}>
        {(ties) => <TextInput {...ties} className="mono" value={draft.boot.append} disabled={disabled} onText={(append) => boot({ append })} />}
      </Field>
    </>
  );
}

/**
 * What the firmware starts: an ISO goes into a drive, everything else is a disk. It is the last that firmware tries: a system that was installed from it
 * on a new disk starts the next time. More of them, and how they are attached, is in the editor.
 */
export function BootMediumField({ draft, problems, onChange, disabled = false, name }: FieldsProps & { readonly name: string }): ReactNode {
  const medium = draft.disks.at(-1);
  const others = draft.disks.slice(0, -1);
  const set = (path: string): void => {
    const drive = /\.iso$/i.test(path.trim()) ? { kind: 'cdrom', bus: driveBus, readOnly: true, format: 'raw' } as const : {};
    onChange({ disks: path.trim() === '' ? others : [...others, { ...diskDefaults, ...drive, path: path.trim() }] });
  };
  return (
    <>
      <ImageField kind={medium?.kind ?? 'disk'} label="ISO or disk image" optional value={medium?.path ?? ''} placeholder="/home/me/debian.iso" problem={problems[`disks.${others.length}.path`]} disabled={disabled}
        hint="An ISO, or a raw or qcow2 image. Without one the firmware starts and finds nothing." onPath={set} />
      {medium?.kind === 'cdrom' && (
        <div className="input-row">
          <NewDisk name={name} beside={medium.path} disabled={disabled} onMade={(path) => onChange({ disks: [{ ...diskDefaults, path }, ...draft.disks] })} />
          <span className="note">{others.length === 0 ? 'To install on. Live systems need none.' : others.map(({ path }) => path).join(', ')}</span>
        </div>
      )}
    </>
  );
}

const firmwareOptions: readonly Option[] = [
  { value: 'bios', label: 'BIOS', detail: 'SeaBIOS, for systems that start from a boot sector.' },
  { value: 'uefi', label: 'UEFI', detail: 'OVMF; its variables are kept with the machine.' },
  { value: 'file', label: 'Image file', detail: 'Firmware of your own: what ends at the reset vector.' },
];

/** Which firmware starts the machine from its disks. */
export function FirmwareFields({ draft, problems, onChange, disabled = false }: FieldsProps): ReactNode {
  const { firmware } = draft.boot;
  const set = (next: string): void => onChange({ boot: { ...draft.boot, firmware: next } });
  const isFile = firmware !== 'bios' && firmware !== 'uefi';
  return (
    <>
      <Field label="Firmware" problem={isFile ? undefined : problems['firmware']}>
        {(ties) => <Select ties={ties} value={isFile ? 'file' : firmware} options={firmwareOptions} disabled={disabled} onPick={(value) => set(value === 'file' ? '' : value)} />}
      </Field>
      {isFile && <PathField label="Firmware image" value={firmware} placeholder="/usr/share/seabios/bios-256k.bin" problem={problems['firmware']} disabled={disabled} onPath={set} />}
    </>
  );
}

export function DisplayField({ draft, problems, onChange, disabled = false }: FieldsProps): ReactNode {
  return (
    <Field label="Display" problem={problems['display']}>
      {(ties) => (
        <Select ties={ties} value={draft.display} disabled={disabled} onPick={(display) => onChange({ display: display as Draft['display'] })}
          options={[
            { value: 'none', label: 'None', detail: 'The machine is used on its serial ports.' },
            { value: 'vga', label: 'VGA', detail: 'Text and graphics up to 2560 x 1600; a PS/2 keyboard and mouse.' },
            { value: 'virtio', label: 'Virtio', detail: 'A VGA whose size follows the window once the guest has its driver; virtio keyboard and tablet besides.' },
          ]} />
      )}
    </Field>
  );
}

/** Modules of a multiboot image. */
export function ModuleFields({ draft, problems, onChange, disabled = false }: FieldsProps): ReactNode {
  const { modules } = draft.boot;
  const set = (next: BootDraft['modules']): void => onChange({ boot: { ...draft.boot, modules: next } });
  const change = (index: number, part: Partial<BootDraft['modules'][number]>): void =>
    set(modules.map((module, at) => (at === index ? { ...module, ...part } : module)));
  return (
    <>
      {modules.map((module, index) => (
        <div className="field" key={index} role="group" aria-label={`Module ${index + 1}`}>
          <PathField label={`Module ${index + 1}`} value={module.path} problem={problems[`boot.modules.${index}.path`]} disabled={disabled}
            onPath={(path) => change(index, { path })} />
          <div className="input-row">
            <TextInput className="mono" aria-label={`Arguments of module ${index + 1}`} placeholder="arguments" value={module.commandLine} disabled={disabled}
              onText={(commandLine) => change(index, { commandLine })} />
            <IconButton icon={X} label={`Remove module ${index + 1}`} disabled={disabled} onClick={() => set(modules.filter((_one, at) => at !== index))} />
          </div>
        </div>
      ))}
      <div><Button icon={Plus} disabled={disabled} onClick={() => set([...modules, { path: '', commandLine: '' }])}>Add a multiboot module</Button></div>
    </>
  );
}
