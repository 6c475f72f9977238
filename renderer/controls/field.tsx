import { CircleAlert } from 'lucide-react';
import { useId } from 'react';
import type { ComponentProps, ReactNode } from 'react';

/** A problem with one field: what is wrong, and what to do. */
export interface FieldProblem {
  readonly message: string;
  readonly hint?: string;
}

interface FieldProps {
  readonly label: string;
  readonly optional?: boolean;
  readonly hint?: ReactNode;
  readonly problem?: FieldProblem | undefined;
  /** Draws the control with the ids that tie it to its label, its hint and its error. */
  readonly children: (ties: FieldTies) => ReactNode;
}

export interface FieldTies {
  readonly id: string;
  readonly 'aria-describedby': string | undefined;
  readonly 'aria-invalid': boolean | undefined;
}

/** A labelled control; its error stands right below it. */
export function Field({ label, optional = false, hint, problem, children }: FieldProps): ReactNode {
  const id = useId();
  const noteId = `${id}-note`;
  const described = problem !== undefined || hint !== undefined;
  return (
    <div className="field">
      <label className="field-label" htmlFor={id}>{label}{optional && <span className="optional">optional</span>}</label>
      {children({ id, 'aria-describedby': described ? noteId : undefined, 'aria-invalid': problem !== undefined || undefined })}
      {problem !== undefined
        ? <Problem id={noteId} problem={problem} />
        : hint !== undefined && <div className="field-hint" id={noteId}>{hint}</div>}
    </div>
  );
}

function Problem({ id, problem }: { readonly id: string; readonly problem: FieldProblem }): ReactNode {
  return (
    <div className="field-error" id={id} role="alert">
      <CircleAlert size={14} aria-hidden />
      <span>{problem.message}{problem.hint && <span className="hint"> {problem.hint}</span>}</span>
    </div>
  );
}

interface TextProps extends Omit<ComponentProps<'input'>, 'onChange' | 'value'> {
  readonly value: string;
  readonly onText: (text: string) => void;
}

export function TextInput({ onText, className = '', ...rest }: TextProps): ReactNode {
  return <input type="text" spellCheck={false} autoComplete="off" {...rest} className={`input ${className}`} onChange={(event) => onText(event.target.value)} />;
}
