/** What host and guest share: folders, sockets, memory. */
import { FolderPlus, X } from 'lucide-react';
import type { ReactNode } from 'react';
import { tagFor } from '../../core/contract/index.ts';
import type { ShareConfig } from '../../core/contract/index.ts';
import { Button, IconButton } from '../controls/button.tsx';
import { Field, TextInput } from '../controls/field.tsx';
import { Switch } from '../controls/switch.tsx';
import type { FieldsProps } from './fields.tsx';
import { PathField } from './path-field.tsx';

/** Folders of the host, each with the tag that the guest mounts it by; the tag follows the folder's name until somebody types another. */
export function ShareFields({ draft, problems, onChange, disabled = false }: FieldsProps): ReactNode {
  const set = (shares: readonly ShareConfig[]): void => onChange({ shares });
  const change = (index: number, part: Partial<ShareConfig>): void => set(draft.shares.map((old, at) => (at === index ? { ...old, ...part } : old)));
  const follow = ({ folder, tag }: ShareConfig, next: string): Partial<ShareConfig> => (tag === '' || tag === tagFor(folder) ? { tag: tagFor(next) } : {});
  return (
    <>
      {draft.shares.map((share, index) => (
        <div className="field" key={index} role="group" aria-label={`Shared folder ${index + 1}`}>
          <PathField folder label={`Folder ${index + 1}`} value={share.folder} placeholder="/home/me/shared" problem={problems[`shares.${index}.folder`]} disabled={disabled}
            onPath={(folder) => change(index, { folder, ...follow(share, folder) })}>
            <IconButton icon={X} label={`Remove folder ${index + 1}`} disabled={disabled} onClick={() => set(draft.shares.filter((_one, at) => at !== index))} />
          </PathField>
          <Field label="Tag" problem={problems[`shares.${index}.tag`] ?? problems['shares']} hint={`In the guest: mount -t 9p -o trans=virtio,version=9p2000.L ${share.tag || 'TAG'} /mnt`}>
            {(ties) => <TextInput {...ties} className="mono" value={share.tag} maxLength={31} disabled={disabled} onText={(tag) => change(index, { tag })} />}
          </Field>
          <label className="switch-row">
            <Switch label={`Folder ${index + 1} may be written`} on={share.writable} disabled={disabled} onTurn={(writable) => change(index, { writable })} />
            The guest may change what is in it
          </label>
        </div>
      ))}
      <div><Button icon={FolderPlus} disabled={disabled} onClick={() => set([...draft.shares, { folder: '', tag: '', writable: false }])}>Share a folder</Button></div>
    </>
  );
}

export function HostFields({ draft, problems, onChange, disabled = false }: FieldsProps): ReactNode {
  return (
    <>
      <label className="switch-row">
        <Switch label="Memory balloon" on={draft.balloon} disabled={disabled} onTurn={(balloon) => onChange({ balloon })} />
        Memory balloon: pages that the guest does not use go back to this host
      </label>
      <Field label="Sockets" optional problem={problems['vsock']}
        hint="A Unix socket for AF_VSOCK: programs here write CONNECT PORT to it; what the guest connects to on its host is looked for at the same name with _PORT.">
        {(ties) => <TextInput {...ties} className="mono" value={draft.vsock} placeholder="/run/user/1000/guest.sock" disabled={disabled} onText={(vsock) => onChange({ vsock })} />}
      </Field>
    </>
  );
}
