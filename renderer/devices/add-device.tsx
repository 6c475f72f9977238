import { useState } from 'react';
import type { ReactNode } from 'react';
import { asContractError } from '../../core/contract/index.ts';
import { Button } from '../controls/button.tsx';
import { Dialog } from '../controls/dialog.tsx';
import { Field } from '../controls/field.tsx';
import type { FieldProblem } from '../controls/field.tsx';
import { engine } from '../engine/engine.ts';

/** Makes a serial port or pseudoterminal known that the host does not list by itself. */
export function AddDevice({ close }: { readonly close: () => void }): ReactNode {
  const [path, setPath] = useState('');
  const [problem, setProblem] = useState<FieldProblem | undefined>(undefined);
  const [busy, setBusy] = useState(false);
  const submit = (): void => {
    setBusy(true);
    engine.call('device.add', { kind: 'serial', path: path.trim() }).then(close, (thrown: unknown) => {
      const { message, hint } = asContractError(thrown);
      setProblem({ message, hint });
      setBusy(false);
    });
  };
  return (
    <Dialog title="Add serial port" description="Ports with hardware behind them are listed by themselves." onClose={close} onSubmit={submit}
      footer={<><Button onClick={close}>Cancel</Button><Button look="primary" type="submit" busy={busy} disabled={path.trim() === ''}>Add</Button></>}>
      <Field label="Device file" hint="A serial port or pseudoterminal of the host, such as /dev/ttyS1 or /dev/pts/3." problem={problem}>
        {(ties) => <input className="input mono" {...ties} value={path} onChange={(event) => setPath(event.target.value)} placeholder="/dev/pts/3" spellCheck={false} />}
      </Field>
    </Dialog>
  );
}
