import { useId } from 'react';
import type { ReactNode } from 'react';

interface SparklineProps {
  /** Samples from old to new; the newest is drawn at the right edge. */
  readonly values: readonly number[];
  /** The value at the top edge; a larger sample raises it. */
  readonly top: number;
  readonly width: number;
  readonly height: number;
  readonly capacity: number;
  readonly label: string;
}

/** Points of the line in a box of the given size, right-aligned so that a short history grows from the right. */
export function sparkPoints(values: readonly number[], top: number, width: number, height: number, capacity: number): readonly (readonly [number, number])[] {
  const scale = Math.max(top, ...values, Number.MIN_VALUE);
  const step = width / Math.max(1, capacity - 1);
  return values.slice(-capacity).map((value, index, shown) => [
    width - (shown.length - 1 - index) * step,
    height - (Math.max(0, value) / scale) * height,
  ]);
}

/** A small chart of the recent past. */
export function Sparkline({ values, top, width, height, capacity, label }: SparklineProps): ReactNode {
  const title = useId();
  const points = sparkPoints(values, top, width, height, capacity);
  const line = points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(' ');
  const first = points[0];
  return (
    <svg className="sparkline" viewBox={`0 0 ${width} ${height}`} width={width} height={height} preserveAspectRatio="none" role="img" aria-labelledby={title}>
      <title id={title}>{label}</title>
      {first && points.length > 1 && (
        <>
          <polygon className="area" points={`${first[0].toFixed(1)},${height} ${line} ${width},${height}`} />
          <polyline className="line" points={line} />
        </>
      )}
    </svg>
  );
}
