/** Disks: added, changed and removed, in the wizard and in the configuration editor. */
import { ArrowUp, Disc, HardDrive, X } from 'lucide-react';
import type { ReactNode } from 'react';
import { diskDefaults, driveBus } from '../../core/contract/index.ts';
import type { DiskConfig } from '../../core/contract/index.ts';
import { Button, IconButton } from '../controls/button.tsx';
import { Select } from '../controls/select.tsx';
import type { Option } from '../controls/select.tsx';
import { Switch } from '../controls/switch.tsx';
import type { FieldsProps } from './fields.tsx';
import { ImageField } from './image-field.tsx';
import { changed, earlier, without } from './lists.ts';
import { NewDisk } from './new-disk.tsx';

export const buses: readonly Option[] = [
  { value: 'virtio', label: 'Virtio', detail: 'The fastest; Linux and most systems of today have its driver.' },
  { value: 'nvme', label: 'NVMe', detail: 'A solid-state disk on PCI Express.' },
  { value: 'ahci', label: 'SATA', detail: 'What every installer knows.' },
  { value: 'scsi', label: 'Virtio SCSI', detail: 'Many disks and drives on one controller; Linux has its driver.' },
];
const formats: readonly Option[] = [
  { value: 'auto', label: 'Recognised' }, { value: 'raw', label: 'Raw' }, { value: 'qcow2', label: 'qcow2' },
];

/** In which turn firmware tries a disk. */
const turns = ['first', 'second', 'third', 'fourth', 'fifth', 'sixth', 'seventh', 'eighth'];

export function DiskFields({ draft, problems, onChange, disabled = false }: FieldsProps): ReactNode {
  const set = (disks: readonly DiskConfig[]): void => onChange({ disks });
  const add = (more: Partial<DiskConfig>): void => set([...draft.disks, { ...diskDefaults, path: '', ...more }]);
  return (
    <>
      {draft.disks.map((disk, index) => (
        <DiskField key={index} disk={disk} number={index + 1} problems={problems} disabled={disabled}
          onChange={(part) => set(changed(draft.disks, index, part))} onRemove={() => set(without(draft.disks, index))}
          {...(draft.boot.kind === 'firmware' && draft.disks.length > 1 ? { boots: index + 1, onEarlier: () => set(earlier(draft.disks, index)) } : {})} />
      ))}
      <div className="input-row">
        <Button icon={HardDrive} disabled={disabled} onClick={() => add({})}>Add a disk</Button>
        <NewDisk name={draft.name.trim() || 'disk'} beside={draft.disks.at(-1)?.path ?? ''} disabled={disabled} onMade={(path) => add({ path })} />
        <Button icon={Disc} disabled={disabled} onClick={() => add({ kind: 'cdrom', bus: driveBus, format: 'raw', readOnly: true })}>Add a CD-ROM drive</Button>
      </div>
    </>
  );
}

interface DiskFieldProps extends Pick<FieldsProps, 'problems'> {
  readonly disk: DiskConfig;
  readonly number: number;
  readonly disabled: boolean;
  readonly onChange: (part: Partial<DiskConfig>) => void;
  readonly onRemove: () => void;
  /** Its turn when firmware looks for a system. */
  readonly boots?: number;
  readonly onEarlier?: () => void;
}

function DiskField({ disk, number, problems, disabled, onChange, onRemove, boots, onEarlier }: DiskFieldProps): ReactNode {
  const drive = disk.kind === 'cdrom';
  const title = drive ? `CD-ROM ${number}` : `Disk ${number}`;
  return (
    <div className="field" role="group" aria-label={title}>
      <ImageField kind={disk.kind} label={title} value={disk.path} placeholder={drive ? '/home/me/installer.iso' : '/home/me/disk.qcow2'} disabled={disabled}
        problem={problems[`disks.${number - 1}.path`]} onPath={(path) => onChange({ path })} />
      <div className="input-row">
        {!drive && <Select label={`Bus of disk ${number}`} value={disk.bus} options={buses} disabled={disabled} onPick={(bus) => onChange({ bus: bus as DiskConfig['bus'] })} />}
        {!drive && <Select label={`Format of disk ${number}`} value={disk.format} options={formats} disabled={disabled} onPick={(format) => onChange({ format: format as DiskConfig['format'] })} />}
        {!drive && <label className="switch-row"><Switch label={`Disk ${number} is read-only`} on={disk.readOnly} disabled={disabled} onTurn={(readOnly) => onChange({ readOnly })} />Read-only</label>}
        <span className="spacer" />
        {boots !== undefined && <span className="note">Boots {turns[boots - 1] ?? `${boots}th`}</span>}
        {boots !== undefined && <IconButton icon={ArrowUp} label={`${title} boots earlier`} disabled={disabled || boots === 1} onClick={onEarlier} />}
        <IconButton icon={X} label={`Remove ${title}`} disabled={disabled} onClick={onRemove} />
      </div>
    </div>
  );
}
