import { useEffect, useRef } from 'react';
import type { ReactNode } from 'react';
import { engine } from '../engine/engine.ts';
import { notifyError } from '../state/notices.ts';

interface ThumbnailProps {
  readonly vmId: string;
  /** Null: what a suspended machine goes on from. */
  readonly snapshotId: string | null;
}

/** What the display of a snapshot's machine showed; nothing where it had none. */
export function Thumbnail({ vmId, snapshotId }: ThumbnailProps): ReactNode {
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    let current = true;
    const draw = async (): Promise<void> => {
      const { png } = await engine.call('snapshot.picture', { vm: vmId, snapshot: snapshotId });
      const picture = png && await createImageBitmap(new Blob([png]));
      if (!picture || !current || !canvas.current) return;
      canvas.current.hidden = false;
      canvas.current.width = picture.width;
      canvas.current.height = picture.height;
      canvas.current.getContext('2d')?.drawImage(picture, 0, 0);
    };
    draw().catch(notifyError);
    return () => void (current = false);
  }, [snapshotId, vmId]);
  return <canvas ref={canvas} hidden className="snapshot-picture" role="img" aria-label="What its display showed" />;
}
