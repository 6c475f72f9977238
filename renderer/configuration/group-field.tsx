/** The group that a machine stands with in the library: one of those that there are, or a new one. */
import { useId } from 'react';
import type { ReactNode } from 'react';
import { GROUP_LENGTH } from '../../core/contract/index.ts';
import { Field, TextInput } from '../controls/field.tsx';
import type { FieldProblem } from '../controls/field.tsx';
import { groupNames } from '../library/groups.ts';
import { useLibrary } from '../state/library.ts';

interface GroupFieldProps {
  readonly value: string;
  readonly problem: FieldProblem | undefined;
  readonly onPick: (group: string) => void;
}

export function GroupField({ value, problem, onPick }: GroupFieldProps): ReactNode {
  const names = groupNames(useLibrary((state) => state.vms));
  const list = useId();
  return (
    <Field label="Group" optional problem={problem} hint={names.length > 0 ? `There are ${names.join(', ')}; another name makes a new one.` : 'A name makes the group.'}>
      {(ties) => (
        <>
          <TextInput {...ties} list={list} value={value} maxLength={GROUP_LENGTH} onText={onPick} />
          <datalist id={list}>{names.map((name) => <option key={name} value={name} />)}</datalist>
        </>
      )}
    </Field>
  );
}
