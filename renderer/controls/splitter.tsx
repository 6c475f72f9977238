import { useRef, useState } from 'react';
import type { KeyboardEvent, PointerEvent, ReactNode } from 'react';

interface SplitterProps {
  readonly label: string;
  /** `vertical`: the line stands upright and moves sideways. */
  readonly orientation: 'vertical' | 'horizontal';
  readonly value: number;
  readonly minimum: number;
  readonly maximum: number;
  /** How far one key press moves it. */
  readonly step: number;
  /** Pixels that one unit of the value spans. */
  readonly unit: () => number;
  readonly onMove: (value: number) => void;
}

/** A line between two panes, dragged or moved with the arrow keys. */
export function Splitter({ label, orientation, value, minimum, maximum, step, unit, onMove }: SplitterProps): ReactNode {
  const start = useRef<{ readonly at: number; readonly value: number } | null>(null);
  const [dragging, setDragging] = useState(false);
  const clamp = (next: number): number => Math.min(maximum, Math.max(minimum, next));
  const place = (event: PointerEvent): number => (orientation === 'vertical' ? event.clientX : event.clientY);
  const press = (event: PointerEvent<HTMLDivElement>): void => {
    event.currentTarget.setPointerCapture(event.pointerId);
    start.current = { at: place(event), value };
    setDragging(true);
  };
  const drag = (event: PointerEvent): void => {
    if (start.current) onMove(clamp(start.current.value + (place(event) - start.current.at) / unit()));
  };
  const release = (): void => {
    start.current = null;
    setDragging(false);
  };
  const key = (event: KeyboardEvent): void => {
    const [less, more] = orientation === 'vertical' ? ['ArrowLeft', 'ArrowRight'] : ['ArrowUp', 'ArrowDown'];
    if (event.key !== less && event.key !== more) return;
    event.preventDefault();
    onMove(clamp(value + (event.key === more ? step : -step)));
  };
  return (
    <div className={`splitter ${orientation} ${dragging ? 'dragging' : ''}`} role="separator" tabIndex={0} aria-label={label} aria-orientation={orientation}
      aria-valuenow={Math.round(value)} aria-valuemin={minimum} aria-valuemax={maximum}
      onPointerDown={press} onPointerMove={drag} onPointerUp={release} onPointerCancel={release} onKeyDown={key} />
  );
}
