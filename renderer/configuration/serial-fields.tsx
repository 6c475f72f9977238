/** The four serial ports: what each is connected with, what the guest sees it as, and what it is called. */
import type { ReactNode } from 'react';
import type { SerialLine, SerialPortConfig } from '../../core/contract/index.ts';
import { Field, TextInput } from '../controls/field.tsx';
import { Select } from '../controls/select.tsx';
import type { Option } from '../controls/select.tsx';
import type { FieldsProps } from './fields.tsx';
import { changed } from './lists.ts';
import { PathField } from './path-field.tsx';

const devices: readonly Option[] = [
  { value: 'uart', label: 'UART', detail: '16550A: what every system knows.' }, { value: 'virtio', label: 'Virtio', detail: 'A port of a virtio console: hvc0 in Linux.' },
];

type Connection = SerialLine['kind'] | 'none' | 'console';

const connections: readonly (Option & { readonly value: Connection })[] = [
  { value: 'none', label: 'Nothing', detail: 'The port is there, and what is sent to it is lost.' },
  { value: 'console', label: 'Terminal', detail: 'A tab of this window.' },
  { value: 'tcp-server', label: 'TCP server', detail: 'Programs of this host connect to a port of 127.0.0.1. A tab besides.' },
  { value: 'tcp-client', label: 'TCP client', detail: 'Connects to a port of 127.0.0.1 where a program listens. A tab besides.' },
  { value: 'pty', label: 'Pseudoterminal', detail: 'For screen, minicom and the like, by a link of your choice. A tab besides.' },
  { value: 'file', label: 'File', detail: 'What the guest sends is appended. A tab besides.' },
];

/** What a port is connected with before a person has said where. */
const fresh: { readonly [K in SerialLine['kind']]: (port: number) => SerialLine } = {
  'tcp-server': (port) => ({ kind: 'tcp-server', port: 4000 + port }),
  'tcp-client': (port) => ({ kind: 'tcp-client', port: 4000 + port }),
  pty: () => ({ kind: 'pty', path: '' }),
  file: () => ({ kind: 'file', path: '' }),
};

export function SerialFields({ draft, problems, onChange, disabled = false }: FieldsProps): ReactNode {
  return (
    <>
      {draft.serial.map((port, index) => (
        <PortField key={index} port={port} index={index} problems={problems} disabled={disabled} onChange={(part) => onChange({ serial: changed(draft.serial, index, part) })} />
      ))}
    </>
  );
}

interface PortFieldProps extends Pick<FieldsProps, 'problems'> {
  readonly port: SerialPortConfig;
  readonly index: number;
  readonly disabled: boolean;
  readonly onChange: (part: Partial<SerialPortConfig>) => void;
}

function PortField({ port, index, problems, disabled, onChange }: PortFieldProps): ReactNode {
  const name = `COM${index + 1}`;
  const { line } = port;
  const connect = (connection: string): void => {
    const kind = connections.find(({ value }) => value === connection)?.value ?? 'none';
    if (kind === 'none' || kind === 'console') onChange({ attach: kind, line: undefined });
    else onChange({ attach: 'console', line: fresh[kind](index) });
  };
  return (
    <div className="field" role="group" aria-label={name}>
      <div className="port-row">
        <span className="mono">{name}</span>
        <Select label={`Connection of ${name}`} value={line?.kind ?? port.attach} disabled={disabled} options={connections} onPick={connect} />
        <Select label={`Device of ${name}`} value={port.device ?? 'uart'} disabled={disabled} options={devices}
          onPick={(device) => onChange({ device: device === 'virtio' ? 'virtio' : undefined })} />
        <TextInput aria-label={`Name of ${name}`} value={port.label} maxLength={40} disabled={disabled || port.attach === 'none'} onText={(label) => onChange({ label })} />
      </div>
      {line !== undefined && <div className="port-line"><LineField line={line} name={name} index={index} problems={problems} disabled={disabled} onLine={(next) => onChange({ line: next })} /></div>}
    </div>
  );
}

interface LineFieldProps extends Pick<FieldsProps, 'problems'> {
  readonly line: SerialLine;
  readonly name: string;
  readonly index: number;
  readonly disabled: boolean;
  readonly onLine: (line: SerialLine) => void;
}

/** Where the other end of a port is. */
function LineField({ line, name, index, problems, disabled, onLine }: LineFieldProps): ReactNode {
  const problem = (field: string) => problems[`serial.${index}.line.${field}`];
  if ('port' in line) {
    return (
      <Field label={`${name}: port of 127.0.0.1`} problem={problem('port')}>
        {(ties) => (
          <TextInput {...ties} className="numeric" inputMode="numeric" value={Number.isNaN(line.port) ? '' : String(line.port)} disabled={disabled}
            onText={(text) => onLine({ ...line, port: /^\d{1,6}$/.test(text.trim()) ? Number(text) : Number.NaN })} />
        )}
      </Field>
    );
  }
  const terminal = line.kind === 'pty';
  return (
    <PathField label={`${name}: ${terminal ? 'link to the terminal' : 'file'}`} value={line.path} placeholder={terminal ? '/home/me/com2' : '/home/me/com2.log'}
      problem={problem('path')} disabled={disabled} onPath={(path) => onLine({ ...line, path })} />
  );
}
