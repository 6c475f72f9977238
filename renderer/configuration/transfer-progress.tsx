import type { ReactNode } from 'react';
import { Button } from '../controls/button.tsx';
import { engine } from '../engine/engine.ts';
import { useLibrary } from '../state/library.ts';
import { notifyError } from '../state/notices.ts';

interface TransferProgressProps {
  /** Of the file. */
  readonly path: string;
  readonly what: 'import' | 'export';
}

/** In the foot of a dialog while a file is imported or exported: how far it is, and the way out. */
export function TransferProgress({ path, what }: TransferProgressProps): ReactNode {
  const progress = useLibrary((state) => state.transfers[path]);
  const percent = progress ? Math.round((progress.done / progress.total) * 100) : 0;
  return (
    <>
      <div className="share" role="progressbar" aria-label={`Progress of the ${what}`} aria-valuenow={percent} aria-valuemin={0} aria-valuemax={100} style={{ flex: 1 }}><span style={{ width: `${percent}%` }} /></div>
      <span className="numeric" style={{ width: 44, textAlign: 'right' }}>{percent} %</span>
      <Button size="large" onClick={() => void engine.call('transfer.cancel', { path }).catch(notifyError)}>{`Cancel the ${what}`}</Button>
    </>
  );
}
