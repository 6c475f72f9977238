/** Network interfaces and their port forwards: added, changed and removed, in the wizard and in the configuration editor. */
import { Network, Plus, X } from 'lucide-react';
import type { ReactNode } from 'react';
import { networkDefaults, unrepeatableNetwork } from '../../core/contract/index.ts';
import type { NetworkConfig, PortForward } from '../../core/contract/index.ts';
import { Button, IconButton } from '../controls/button.tsx';
import { Field, TextInput } from '../controls/field.tsx';
import { Select } from '../controls/select.tsx';
import type { Option } from '../controls/select.tsx';
import { Switch } from '../controls/switch.tsx';
import type { FieldsProps } from './fields.tsx';
import { changed, without } from './lists.ts';
import { PathField } from './path-field.tsx';

export const models: readonly Option[] = [
  { value: 'virtio', label: 'Virtio', detail: 'The fastest; Linux and most systems of today have its driver.' },
  { value: 'e1000e', label: 'Intel 82574L', detail: 'e1000e: what most systems know without a driver of their own.' },
];

export const attachments: readonly Option[] = [
  { value: 'user', label: 'This host’s network', detail: 'Behind address translation; the guest gets its address by DHCP.' },
  { value: 'switch', label: 'Switch', detail: 'Machines on the switch of the same name reach each other, and nobody else.' },
  { value: 'none', label: 'Nothing' },
];

const bootPlaces: readonly Option[] = [
  { value: 'off', label: 'Firmware does not boot from it' },
  { value: 'first', label: 'Boots before the disks' },
  { value: 'last', label: 'Boots after the disks' },
];

interface NetworkFieldsProps extends FieldsProps {
  /** Plugs a cable of the running machine in or pulls it; absent while it does not run. */
  readonly onLink?: (network: number, up: boolean) => Promise<void>;
}

export function NetworkFields({ draft, problems, onChange, disabled = false, onLink }: NetworkFieldsProps): ReactNode {
  const set = (networks: readonly NetworkConfig[]): void => onChange({ networks });
  return (
    <>
      {draft.networks.map((network, index) => (
        <NetworkField key={index} network={network} number={index + 1} hasFirmware={draft.boot.kind === 'firmware'} problems={problems} disabled={disabled}
          onLink={(up) => (onLink ? void onLink(index, up) : set(changed(draft.networks, index, { linkUp: up })))} linkDisabled={disabled && !onLink}
          onChange={(part) => set(changed(draft.networks, index, part))} onRemove={() => set(without(draft.networks, index))} />
      ))}
      {draft.clock === 'instructions' && draft.networks.length > 0 && <p className="note">{unrepeatableNetwork}</p>}
      <div><Button icon={Network} disabled={disabled} onClick={() => set([...draft.networks, networkDefaults])}>Add a network interface</Button></div>
    </>
  );
}

interface NetworkFieldProps extends Pick<FieldsProps, 'problems'> {
  readonly network: NetworkConfig;
  readonly number: number;
  /** Firmware may boot from the network. */
  readonly hasFirmware: boolean;
  readonly disabled: boolean;
  readonly linkDisabled: boolean;
  readonly onLink: (up: boolean) => void;
  readonly onChange: (part: Partial<NetworkConfig>) => void;
  readonly onRemove: () => void;
}

function NetworkField({ network, number, hasFirmware, problems, disabled, linkDisabled, onLink, onChange, onRemove }: NetworkFieldProps): ReactNode {
  const at = `networks.${number - 1}`;
  const forwards = (next: readonly PortForward[]): void => onChange({ forwards: [...next] });
  return (
    <div className="field device-fields" role="group" aria-label={`Network interface ${number}`}>
      <Field label={`Network interface ${number}`} hint={attachments.find(({ value }) => value === network.attach)?.detail}>
        {(ties) => (
          <div className="input-row">
            <Select ties={ties} label={`Network of interface ${number}`} value={network.attach} options={attachments} disabled={disabled} onPick={(attach) => onChange({ attach: attach as NetworkConfig['attach'] })} />
            <Switch label={`Cable of interface ${number} plugged in`} on={network.linkUp} disabled={linkDisabled} onTurn={onLink} />
            <span className="note">Connected</span>
            <IconButton icon={X} label={`Remove network interface ${number}`} disabled={disabled} onClick={onRemove} />
          </div>
        )}
      </Field>
      {network.attach === 'switch' && (
        <Field label="Switch" problem={problems[`${at}.switchName`]}>
          {(ties) => (
            <div className="input-row">
              <TextInput {...ties} aria-label={`Switch of interface ${number}`} placeholder="lab" value={network.switchName} disabled={disabled} onText={(name) => onChange({ switchName: name.toLowerCase() })} />
              <Switch label={`Addresses by DHCP on interface ${number}`} on={network.switchDhcp} disabled={disabled} onTurn={(switchDhcp) => onChange({ switchDhcp })} />
              <span className="note">Addresses by DHCP</span>
            </div>
          )}
        </Field>
      )}
      <div className="columns">
        <Field label="Model">
          {(ties) => <Select ties={ties} label={`Model of interface ${number}`} value={network.model} options={models} disabled={disabled} onPick={(model) => onChange({ model: model as NetworkConfig['model'] })} />}
        </Field>
        <Field label="MAC address" optional problem={problems[`${at}.mac`]}>
          {(ties) => <TextInput {...ties} className="mono" aria-label={`MAC address of interface ${number}`} placeholder="Chosen when empty" value={network.mac} disabled={disabled} onText={(mac) => onChange({ mac: mac.toLowerCase() })} />}
        </Field>
      </div>
      {hasFirmware && network.attach !== 'none' && <NetBootFields network={network} number={number} problems={problems} disabled={disabled} onChange={onChange} />}
      {network.attach === 'user' && (
        <label className="switch-row">
          <Switch label={`Interface ${number} reaches services of this host`} on={network.hostLoopback} disabled={disabled} onTurn={(hostLoopback) => onChange({ hostLoopback })} />
          The guest reaches services on this host’s loopback, through its gateway
        </label>
      )}
      <Field label="Capture" optional problem={problems[`${at}.capture`]} hint="Every frame goes into this file as well, for Wireshark.">
        {(ties) => <TextInput {...ties} className="mono" aria-label={`Capture file of interface ${number}`} placeholder="/home/me/network.pcap" value={network.capture ?? ''} disabled={disabled} onText={(path) => onChange({ capture: path.trim() === '' ? null : path })} />}
      </Field>
      {network.attach === 'user' && network.forwards.map((forward, index) => (
        <ForwardField key={index} forward={forward} name={`port forward ${index + 1} of interface ${number}`} disabled={disabled}
          problem={problems[`${at}.forwards.${index}.hostPort`]?.message ?? problems[`${at}.forwards.${index}.guestPort`]?.message ?? problems[`${at}.forwards.${index}.hostAddress`]?.message}
          onChange={(part) => forwards(changed(network.forwards, index, part))} onRemove={() => forwards(without(network.forwards, index))} />
      ))}
      {network.attach === 'user' && <div>
        <Button icon={Plus} disabled={disabled} onClick={() => forwards([...network.forwards, { protocol: 'tcp', hostAddress: '127.0.0.1', hostPort: 2222, guestPort: 22 }])}>
          Add a port forward
        </Button>
      </div>}
    </div>
  );
}

type NetBootFieldsProps = Pick<NetworkFieldProps, 'network' | 'number' | 'problems' | 'disabled' | 'onChange'>;

/** Whether firmware starts a system from an interface, and what it is told to fetch. */
function NetBootFields({ network, number, problems, disabled, onChange }: NetBootFieldsProps): ReactNode {
  const at = `networks.${number - 1}`;
  return (
    <>
      <Field label="Boot" problem={problems[`${at}.netBoot`]}>
        {(ties) => <Select ties={ties} label={`Boot order of interface ${number}`} value={network.netBoot} options={bootPlaces} disabled={disabled} onPick={(netBoot) => onChange({ netBoot: netBoot as NetworkConfig['netBoot'] })} />}
      </Field>
      {network.netBoot !== 'off' && network.attach === 'user' && (
        <PathField label={`Boot file of interface ${number}`} value={network.bootFile} placeholder="/srv/tftp/boot.ipxe" disabled={disabled} problem={problems[`${at}.bootFile`]}
          hint="Its folder is served by TFTP. Or an address, such as http://10.0.2.2/boot.ipxe." onPath={(bootFile) => onChange({ bootFile: bootFile.trim() })} />
      )}
    </>
  );
}

interface ForwardFieldProps {
  readonly forward: PortForward;
  readonly name: string;
  readonly problem: string | undefined;
  readonly disabled: boolean;
  readonly onChange: (part: Partial<PortForward>) => void;
  readonly onRemove: () => void;
}

/** Host address and port on the left, the guest's port on the right. */
function ForwardField({ forward, name, problem, disabled, onChange, onRemove }: ForwardFieldProps): ReactNode {
  const number = (text: string): number => (/^\d{1,5}$/.test(text.trim()) ? Number(text) : 0);
  return (
    <div role="group" aria-label={name}>
      <div className="input-row">
        <Select label={`Protocol of ${name}`} compact value={forward.protocol} disabled={disabled} onPick={(protocol) => onChange({ protocol: protocol as PortForward['protocol'] })}
          options={[{ value: 'tcp', label: 'TCP' }, { value: 'udp', label: 'UDP' }]} />
        <TextInput className="mono" aria-label={`Host address of ${name}`} value={forward.hostAddress} disabled={disabled} onText={(hostAddress) => onChange({ hostAddress: hostAddress.trim() })} />
        <TextInput className="numeric" aria-label={`Host port of ${name}`} value={forward.hostPort === 0 ? '' : String(forward.hostPort)} disabled={disabled} onText={(text) => onChange({ hostPort: number(text) })} />
        <span className="note">to</span>
        <TextInput className="numeric" aria-label={`Guest port of ${name}`} value={forward.guestPort === 0 ? '' : String(forward.guestPort)} disabled={disabled} onText={(text) => onChange({ guestPort: number(text) })} />
        <IconButton icon={X} label={`Remove ${name}`} disabled={disabled} onClick={onRemove} />
      </div>
      {problem !== undefined && <p className="field-error" role="alert">{problem}</p>}
    </div>
  );
}
