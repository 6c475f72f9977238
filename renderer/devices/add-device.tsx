import { Cable, HardDrive, Network } from 'lucide-react';
import { useState } from 'react';
import type { ReactNode } from 'react';
import { asContractError } from '../../core/contract/index.ts';
import type { NamedKind } from '../../core/contract/index.ts';
import { Button } from '../controls/button.tsx';
import { Dialog } from '../controls/dialog.tsx';
import { Field } from '../controls/field.tsx';
import type { FieldProblem } from '../controls/field.tsx';
import { Segments } from '../controls/segments.tsx';
import { engine } from '../engine/engine.ts';

const hints: Readonly<Record<NamedKind, string>> = {
  serial: 'A serial port or pseudoterminal of the host, such as /dev/ttyS1 or /dev/pts/3. The guest gets a PCI UART.',
  nic: 'A Unix socket that carries Ethernet frames, such as that of passt. The guest gets a network card.',
  disk: 'A block device or an image file of the host. The guest gets an NVMe controller.',
};

const places: Readonly<Record<NamedKind, string>> = { serial: '/dev/pts/3', disk: '/home/me/data.raw', nic: '/tmp/passt.socket' };

/** Makes a resource known that the host does not list by itself. */
export function AddDevice({ close }: { readonly close: () => void }): ReactNode {
  const [kind, setKind] = useState<NamedKind>('serial');
  const [path, setPath] = useState('');
  const [problem, setProblem] = useState<FieldProblem | undefined>(undefined);
  const [busy, setBusy] = useState(false);
  const submit = (): void => {
    setBusy(true);
    engine.call('device.add', { kind, path: path.trim() }).then(close, (thrown: unknown) => {
      const { message, hint } = asContractError(thrown);
      setProblem({ message, hint });
      setBusy(false);
    });
  };
  return (
    <Dialog title="Add device" description="Serial ports with hardware behind them are listed by themselves." onClose={close} onSubmit={submit}
      footer={<><Button look="plain" size="large" onClick={close}>Cancel</Button><Button look="primary" size="large" type="submit" busy={busy} disabled={path.trim() === ''}>Add</Button></>}>
      <Segments label="Kind" value={kind} onPick={setKind} segments={[{ value: 'serial', label: 'Serial port', icon: Cable }, { value: 'disk', label: 'Disk', icon: HardDrive }, { value: 'nic', label: 'Network', icon: Network }]} />
      <Field label="File" hint={hints[kind]} problem={problem}>
        {(ties) => <input className="input mono" {...ties} value={path} onChange={(event) => setPath(event.target.value)} placeholder={places[kind]} spellCheck={false} />}
      </Field>
    </Dialog>
  );
}
