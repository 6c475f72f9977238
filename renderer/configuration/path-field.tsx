import { FolderOpen } from 'lucide-react';
import { useState } from 'react';
import type { ReactNode } from 'react';
import { Button } from '../controls/button.tsx';
import { Field, TextInput } from '../controls/field.tsx';
import type { FieldProblem } from '../controls/field.tsx';
import { shell } from '../engine/shell.ts';
import { FileChooser } from './file-chooser.tsx';

interface PathFieldProps {
  readonly label: string;
  readonly value: string;
  readonly onPath: (path: string) => void;
  readonly optional?: boolean;
  readonly hint?: ReactNode;
  readonly placeholder?: string;
  readonly problem?: FieldProblem | undefined;
  readonly disabled?: boolean;
  /** A folder is wanted. */
  readonly folder?: boolean;
  /** What stands behind the field in its row. */
  readonly children?: ReactNode;
}

/** A label in the middle of a sentence: abbreviations stay as they are. */
function withinSentence(label: string): string {
  return /^[A-Z][a-z]/.test(label) ? label.charAt(0).toLowerCase() + label.slice(1) : label;
}

/** A file or folder of the engine's host: typed, or chosen in the system's dialog or in our own. */
export function PathField({ label, value, onPath, optional = false, hint, placeholder, problem, disabled = false, folder = false, children }: PathFieldProps): ReactNode {
  const [choosing, setChoosing] = useState(false);
  const browse = (): void => {
    if (!shell) return setChoosing(true);
    void shell.chooseFile(label, folder).then((path) => { if (path !== null) onPath(path); });
  };
  return (
    <Field label={label} optional={optional} hint={hint} problem={problem}>
      {(ties) => (
        <>
          <div className="input-row">
            <TextInput {...ties} className="mono" value={value} onText={onPath} placeholder={placeholder} disabled={disabled} />
            <Button icon={FolderOpen} size="large" aria-label={`Browse for ${withinSentence(label)}`} onClick={browse} disabled={disabled}>Browse…</Button>
            {children}
          </div>
          {choosing && (
            <FileChooser title={`Choose ${withinSentence(label)}`} start={value} folders={folder} onClose={() => setChoosing(false)}
              onChoose={(path) => { setChoosing(false); onPath(path); }} />
          )}
        </>
      )}
    </Field>
  );
}
