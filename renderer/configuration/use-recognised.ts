import { useEffect, useState } from 'react';
import { asContractError } from '../../core/contract/index.ts';
import { engine } from '../engine/engine.ts';
import { fieldProblem, newDraft, readDraft } from './draft.ts';
import type { Draft, Problems } from './draft.ts';

const SETTLE_MS = 350;

export interface Recognised {
  /** What the engine found in the boot files. */
  readonly description: string | null;
  readonly problems: Problems;
}

const nothing: Recognised = { description: null, problems: {} };

/** Asks the engine about the boot files once typing pauses, so that a wrong file is named before anything is created. */
export function useRecognised(draft: Draft): Recognised {
  const [recognised, setRecognised] = useState<Recognised>(nothing);
  const { boot, memory } = draft;
  const key = JSON.stringify([boot, memory]);
  useEffect(() => {
    setRecognised(nothing);
    if (boot.kind !== 'image' || boot.kernel.trim() === '') return;
    let current = true;
    const timer = setTimeout(() => {
      // What is wrong elsewhere in the form is said there.
      const files = { ...newDraft('x'), boot };
      const config = readDraft({ ...files, memory }).config ?? readDraft(files).config;
      if (!config) return;
      engine.call('boot.check', { boot: config.boot, memoryBytes: config.memoryBytes }).then(
        ({ description }) => { if (current) setRecognised({ description, problems: {} }); },
        (thrown: unknown) => {
          const error = asContractError(thrown);
          const problems = fieldProblem(error) ?? { 'boot.kernel': error };
          if (current) setRecognised({ description: null, problems });
        },
      );
    }, SETTLE_MS);
    return () => {
      current = false;
      clearTimeout(timer);
    };
  }, [key]);
  return recognised;
}
