/** Makes an empty disk image on the engine's host, for a machine that is to be installed. */
import { HardDriveDownload } from 'lucide-react';
import { useState } from 'react';
import type { ReactNode } from 'react';
import { asContractError, parseSize } from '../../core/contract/index.ts';
import type { ErrorShape } from '../../core/contract/index.ts';
import { Button } from '../controls/button.tsx';
import { Callout } from '../controls/callout.tsx';
import { Dialog } from '../controls/dialog.tsx';
import { Field, TextInput } from '../controls/field.tsx';
import type { FieldProblem } from '../controls/field.tsx';
import { engine } from '../engine/engine.ts';
import { folderOf } from './file-chooser.tsx';

/** Grows as it is written to, up to this. */
const DEFAULT_SIZE = '20G';

interface NewDiskProps {
  /** What the image is called when nobody says otherwise, without an ending. */
  readonly name: string;
  /** A file that it lies beside; empty: in the person's own folder. */
  readonly beside: string;
  readonly disabled?: boolean;
  readonly onMade: (path: string) => void;
}

export function NewDisk({ name, beside, disabled = false, onMade }: NewDiskProps): ReactNode {
  const [path, setPath] = useState<string | null>(null);
  const open = async (): Promise<void> => {
    const folder = folderOf(beside) ?? (await engine.call('host.folder', { path: null }).then((found) => found.path, () => ''));
    setPath(`${folder.replace(/[/\\]$/, '')}/${name}.qcow2`);
  };
  return (
    <>
      <Button icon={HardDriveDownload} disabled={disabled} onClick={() => void open()}>New disk…</Button>
      {path !== null && <NewDiskDialog suggested={path} onClose={() => setPath(null)} onMade={(made) => { setPath(null); onMade(made); }} />}
    </>
  );
}

interface NewDiskDialogProps {
  readonly suggested: string;
  readonly onClose: () => void;
  readonly onMade: (path: string) => void;
}

function NewDiskDialog({ suggested, onClose, onMade }: NewDiskDialogProps): ReactNode {
  const [path, setPath] = useState(suggested);
  const [size, setSize] = useState(DEFAULT_SIZE);
  const [error, setError] = useState<ErrorShape | null>(null);
  const [busy, setBusy] = useState(false);
  const bytes = parseSize(size);
  const make = async (): Promise<void> => {
    if (bytes === null || busy) return;
    setBusy(true);
    setError(null);
    try {
      await engine.call('disk.create', { path: path.trim(), format: /\.(img|raw)$/i.test(path.trim()) ? 'raw' : 'qcow2', bytes });
      onMade(path.trim());
    } catch (thrown) {
      setError(asContractError(thrown).toShape());
      setBusy(false);
    }
  };
  /** What was refused was another answer. */
  const changing = (set: (text: string) => void) => (text: string): void => { setError(null); set(text); };
  const problemAt = (field: string): FieldProblem | undefined => (error?.field === field ? error : undefined);
  const sizeProblem = bytes === null ? { message: 'Write a number with a unit, such as 20G.' } : problemAt('bytes') ?? problemAt('size');
  return (
    <Dialog title="New disk" description="An empty image; it takes room on this host as the guest writes to it." onClose={onClose} onSubmit={() => void make()}
      footer={<>
        <Button look="plain" size="large" onClick={onClose}>Cancel</Button>
        <Button look="primary" size="large" type="submit" busy={busy} disabled={bytes === null || path.trim() === ''}>Create the disk</Button>
      </>}>
      {error && error.field !== 'path' && error.field !== 'bytes' && error.field !== 'size' && <Callout kind="error" title={error.message} hint={error.hint} />}
      <Field label="File" hint="qcow2, or raw when its name ends in .img or .raw." problem={problemAt('path')}>
        {(ties) => <TextInput {...ties} className="mono" value={path} onText={changing(setPath)} />}
      </Field>
      <Field label="Size" problem={sizeProblem}>
        {(ties) => <TextInput {...ties} className="numeric" value={size} onText={changing(setSize)} />}
      </Field>
    </Dialog>
  );
}
