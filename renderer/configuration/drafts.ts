/** Configurations that are typed and not saved yet, by VM: they stay while the person looks at something else. */
import { create } from 'zustand';
import type { Draft } from './draft.ts';

export interface Unsaved {
  readonly draft: Draft;
  /** The configuration that it changes, as JSON; when that is another one by now, the draft is of no use. */
  readonly base: string;
}

export const useDrafts = create<Readonly<Record<string, Unsaved>>>()(() => ({}));

/** @param unsaved null when nothing differs from what is saved */
export function keepDraft(vm: string, unsaved: Unsaved | null): void {
  const { [vm]: before, ...others } = useDrafts.getState();
  if (unsaved) useDrafts.setState({ [vm]: unsaved });
  else if (before) useDrafts.setState(others, true);
}
