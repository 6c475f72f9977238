/** The tags by which a machine is found, written one behind another. */
import type { ReactNode } from 'react';
import { differentTags } from '../../core/contract/index.ts';
import type { Vm } from '../../core/contract/index.ts';
import { Field, TextInput } from '../controls/field.tsx';
import type { FieldProblem } from '../controls/field.tsx';
import { useLibrary } from '../state/library.ts';
import { readTags, writtenTags } from './draft.ts';

interface TagsFieldProps {
  /** As they are typed: `readTags` makes tags of it. */
  readonly value: string;
  readonly problem: FieldProblem | undefined;
  readonly onText: (text: string) => void;
}

/** Those of other machines are offered, a click each. */
export function TagsField({ value, problem, onText }: TagsFieldProps): ReactNode {
  const vms = useLibrary((state) => state.vms);
  const own = new Set(readTags(value).map((tag) => tag.toLowerCase()));
  const others = tagsOf(vms).filter((tag) => !own.has(tag.toLowerCase()));
  return (
    <Field label="Tags" optional problem={problem} hint="Words with spaces or commas between them. Search the library for tag:NAME.">
      {(ties) => (
        <>
          <TextInput {...ties} value={value} maxLength={600} placeholder="web production" onText={onText} />
          {others.length > 0 && (
            <div className="tags offered" role="group" aria-label="Tags of other machines">
              {others.map((tag) => <button type="button" key={tag} className="tag" aria-label={`Add the tag ${tag}`} onClick={() => onText(writtenTags([...readTags(value), tag]))}>+ {tag}</button>)}
            </div>
          )}
        </>
      )}
    </Field>
  );
}

function tagsOf(vms: readonly Vm[]): readonly string[] {
  return differentTags(vms.flatMap(({ config }) => config.tags)).toSorted((left, right) => left.localeCompare(right));
}
