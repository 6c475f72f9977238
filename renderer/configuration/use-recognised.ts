import { asContractError } from '../../core/contract/index.ts';
import { engine } from '../engine/engine.ts';
import { fieldProblem, newDraft, readDraft } from './draft.ts';
import type { Draft, Problems } from './draft.ts';
import { useAnswer } from './use-answer.ts';

export interface Recognised {
  /** What the engine found in the boot files. */
  readonly description: string | null;
  readonly problems: Problems;
}

const nothing: Recognised = { description: null, problems: {} };

/** Asks the engine about the boot files once typing pauses, so that a wrong file is named before anything is created. */
export function useRecognised(draft: Draft): Recognised {
  const { boot, memory } = draft;
  return useAnswer(JSON.stringify([boot, memory]), nothing, () => {
    if (boot.kind !== 'image' || boot.kernel.trim() === '') return null;
    // What is wrong elsewhere in the form is said there.
    const files = { ...newDraft('x'), boot };
    const config = readDraft({ ...files, memory }).config ?? readDraft(files).config;
    if (!config) return null;
    return engine.call('boot.check', { boot: config.boot, memoryBytes: config.memoryBytes }).then(
      ({ description }) => ({ description, problems: {} }),
      (thrown: unknown) => {
        const error = asContractError(thrown);
        return { description: null, problems: fieldProblem(error) ?? { 'boot.kernel': error } };
      },
    );
  });
}
