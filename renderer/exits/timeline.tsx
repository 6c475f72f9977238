import { useEffect, useRef, useState } from 'react';
import type { ReactNode } from 'react';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { formatCount, withUnit } from '../state/format.ts';
import { exitName } from '../vm/exit-names.ts';

interface TimelineProps {
  /** Seconds since 1970, then one line of exits a second for each name. */
  readonly data: [number[], ...number[][]];
  readonly names: readonly string[];
  /** The one reason that is looked at, or null. */
  readonly chosen: string | null;
  readonly theme: string;
  readonly height: number;
}

const WINDOW_S = 120;
/** A short history is not squeezed into the right edge. */
const WINDOW_MINIMUM_S = 20;

/** The series' colours, by place. */
export function seriesColour(place: number): string {
  return `var(--series-${(place % 6) + 1})`;
}

function colourOf(element: Element, name: string): string {
  return getComputedStyle(element).getPropertyValue(name).trim();
}

/** Exits a second over the last two minutes, a line for each of the busiest reasons. */
export function Timeline({ data, names, chosen, theme, height }: TimelineProps): ReactNode {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const newest = useRef(data);
  newest.current = data;
  const [pointed, setPointed] = useState<Pointed | null>(null);
  const shape = `${names.join()} ${chosen ?? ''} ${theme}`;
  useEffect(() => {
    const element = box.current;
    if (!element) return undefined;
    const text = colourOf(element, '--text-faint');
    const line = colourOf(element, '--line');
    const axis = { stroke: text, grid: { stroke: line, width: 1 }, ticks: { show: false }, font: '11px Inter Variable, sans-serif' };
    const made = new uPlot({
      width: element.clientWidth, height, pxAlign: false, legend: { show: false }, padding: [6, 14, 0, 0],
      hooks: { setCursor: [({ cursor: { idx, left }, over }) => setPointed(idx === null || idx === undefined || left === undefined || left < 0 ? null : { at: idx, left: over.offsetLeft + left })] },
      cursor: { points: { size: 5 }, drag: { x: false, y: false } },
      scales: { x: { time: true, range: (_plot, low, high) => shownTime(low, high) }, y: { range: (_plot, _low, high) => [0, Math.max(high * 1.1, 10)] } },
      axes: [
        { ...axis, size: 22, space: 70, grid: { show: false }, values: (_plot, marks) => marks.map((at) => clock(at)) },
        { ...axis, size: 40, space: 32, values: (_plot, marks) => marks.map((rate) => short(rate)) },
      ],
      series: [{}, ...names.map((name, place) => {
        const colour = colourOf(element, `--series-${(place % 6) + 1}`);
        const faded = chosen !== null && chosen !== name;
        return { label: exitName(name), stroke: faded ? `${colour}44` : colour, width: faded ? 1 : 1.6, points: { show: false }, ...(faded ? {} : { fill: `${colour}12` }) };
      })],
    }, newest.current, element);
    plot.current = made;
    const resized = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height }));
    resized.observe(element);
    return () => {
      resized.disconnect();
      made.destroy();
      plot.current = null;
    };
    // The lines' data comes below; a plot is made anew when its lines or colours change.
  }, [shape, height]);
  useEffect(() => plot.current?.setData(data), [data]);
  return (
    <div className="timeline" style={{ height }}>
      <div ref={box} role="img" aria-label={`VM exits a second over the last two minutes: ${names.map(exitName).join(', ')}`} />
      {pointed && <Readout data={data} names={names} pointed={pointed} right={pointed.left > (box.current?.clientWidth ?? 0) / 2} />}
    </div>
  );
}

/** The window up to the newest interval; up to now while there is none. */
function shownTime(low: number, high: number): [number, number] {
  const end = high || Date.now() / 1000;
  return [end - Math.min(WINDOW_S, Math.max(WINDOW_MINIMUM_S, high - low)), end];
}

/** Where the pointer is: the place of an interval, and pixels from the left. */
interface Pointed {
  readonly at: number;
  readonly left: number;
}

interface ReadoutProps extends Pick<TimelineProps, 'data' | 'names'> {
  readonly pointed: Pointed;
  /** The pointer is in the right half: there is room on its left. */
  readonly right: boolean;
}

/** What happened in the interval under the pointer, most first. */
function Readout({ data: [times, ...lines], names, pointed: { at, left }, right }: ReadoutProps): ReactNode {
  const time = times[at];
  if (time === undefined) return null;
  const rates = names.map((name, place) => ({ name, place, rate: lines[place]?.[at] ?? 0 })).filter(({ rate }) => rate > 0).sort((one, other) => other.rate - one.rate);
  return (
    <div className={`timeline-readout ${right ? 'on-left' : ''}`} style={{ left }} aria-hidden>
      <span className="when numeric">{clock(time)}</span>
      {rates.length === 0 && <span className="when">No exits</span>}
      {rates.map(({ name, place, rate }) => (
        <span key={name} className="line"><span className="swatch" style={{ background: seriesColour(place) }} />{exitName(name)}<em className="numeric">{formatCount(rate)}/s</em></span>
      ))}
    </div>
  );
}

function short(rate: number): string {
  const { value, unit } = withUnit(rate);
  return `${value.replace(/\.0$/, '')}${unit}`;
}

function clock(at: number): string {
  return new Date(at * 1000).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false });
}
