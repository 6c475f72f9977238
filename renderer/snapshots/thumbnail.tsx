import { useEffect, useRef } from 'react';
import type { ReactNode } from 'react';
import type { Snapshot } from '../../core/contract/index.ts';
import { engine } from '../engine/engine.ts';
import { notifyError } from '../state/notices.ts';

/** What the display of a snapshot's machine showed. */
export function Thumbnail({ snapshot: { id, vmId } }: { readonly snapshot: Snapshot }): ReactNode {
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    let current = true;
    const draw = async (): Promise<void> => {
      const { png } = await engine.call('snapshot.picture', { vm: vmId, snapshot: id });
      const picture = png && await createImageBitmap(new Blob([png]));
      if (!picture || !current || !canvas.current) return;
      canvas.current.width = picture.width;
      canvas.current.height = picture.height;
      canvas.current.getContext('2d')?.drawImage(picture, 0, 0);
    };
    draw().catch(notifyError);
    return () => void (current = false);
  }, [id, vmId]);
  return <canvas ref={canvas} className="snapshot-picture" role="img" aria-label="What its display showed" />;
}
