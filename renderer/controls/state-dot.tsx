import type { ReactNode } from 'react';
import type { VmState } from '../../core/contract/index.ts';

export const stateNames: Readonly<Record<VmState, string>> = {
  stopped: 'Stopped', starting: 'Starting', running: 'Running', paused: 'Paused', stopping: 'Stopping', crashed: 'Crashed',
  suspended: 'Suspended',
};

/** The state as a coloured dot; the text beside it, or its label, says the same for those who see no colours. */
export function StateDot({ state, labelled = false }: { readonly state: VmState; readonly labelled?: boolean }): ReactNode {
  return <span className={`state-dot ${state}`} {...(labelled ? { role: 'img', 'aria-label': stateNames[state] } : { 'aria-hidden': true })} />;
}
