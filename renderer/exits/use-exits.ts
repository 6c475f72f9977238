import { useEffect, useState } from 'react';
import { engine } from '../engine/engine.ts';
import { notifyError } from '../state/notices.ts';
import { addReport, emptyExits } from './model.ts';
import type { ExitsState } from './model.ts';

/** Has the machine's exits traced for as long as the view is there. While `held`, the picture stands still and the trace goes on. */
export function useExits(vm: string, held: boolean): ExitsState {
  const [state, setState] = useState(emptyExits);
  const [shown, setShown] = useState(emptyExits);
  useEffect(() => {
    setState(emptyExits);
    return engine.follow('exits', { vm, wanted: 'recent' }, {
      event: (event) => setState((before) => addReport(before, event)),
      end: (error) => { if (error) notifyError(error); },
    });
  }, [vm]);
  useEffect(() => { if (!held) setShown(state); }, [state, held]);
  return shown;
}
