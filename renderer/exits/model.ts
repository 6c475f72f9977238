/** What the exit view has been told, as pure functions: the newest exits, and what happened in each interval. */
import type { ExitRecord, ExitRow, ExitsEvent } from '../../core/contract/index.ts';

/** One reason of one vCPU and level in one interval. */
export interface IntervalRow {
  readonly key: string;
  readonly vcpu: number;
  readonly level: number;
  readonly name: string;
  readonly count: number;
  readonly totalNs: number;
}

export interface Interval {
  readonly at: number;
  readonly ms: number;
  readonly rows: readonly IntervalRow[];
}

export interface ExitsState {
  /** Oldest first. */
  readonly intervals: readonly Interval[];
  /** Newest first. */
  readonly recent: readonly ExitRecord[];
  /** Sums since tracing began, by key: minimum and maximum are of the whole trace. */
  readonly totals: Readonly<Record<string, ExitRow>>;
  readonly elapsedMs: number;
  /** Exits of the newest interval that are not in `recent`. */
  readonly lost: number;
}

/** What is shown; null: everything. */
export interface ExitFilter {
  readonly vcpu: number | null;
  readonly level: number | null;
  readonly reason: string | null;
}

/** A line of the table: a window of time summed up. */
export interface SummedRow {
  readonly key: string;
  readonly vcpu: number;
  readonly level: number;
  readonly name: string;
  readonly count: number;
  readonly perSecond: number;
  /** Share of the window's time between these exits and their entries, 0 to 1. */
  readonly share: number;
  readonly meanNs: number;
  readonly minNs: number;
  readonly maxNs: number;
}

export const emptyExits: ExitsState = { intervals: [], recent: [], totals: {}, elapsedMs: 0, lost: 0 };
export const everything: ExitFilter = { vcpu: null, level: null, reason: null };

/** Two minutes at two reports a second. */
export const INTERVALS = 240;
/** An interval of the timeline lasts at least so long. */
const INTERVAL_MS = 400;
const RECENT = 400;

export function rowKey({ vcpu, level, name }: { readonly vcpu: number; readonly level: number; readonly name: string }): string {
  return `${vcpu}/${level}/${name}`;
}

/** The state after one more report; a report of a fresh trace begins anew. */
export function addReport(state: ExitsState, event: ExitsEvent): ExitsState {
  const before = event.elapsedMs < state.elapsedMs ? emptyExits : state;
  const totals = Object.fromEntries(event.rows.map((row) => [rowKey(row), row]));
  const rows = event.rows.flatMap((row): IntervalRow[] => {
    const key = rowKey(row);
    const { count, totalNs } = before.totals[key] ?? { count: 0, totalNs: 0 };
    return row.count > count ? [{ key, vcpu: row.vcpu, level: row.level, name: row.name, count: row.count - count, totalNs: row.totalNs - totalNs }] : [];
  });
  return {
    intervals: joined(before.intervals, { at: event.at, ms: Math.max(1, event.elapsedMs - before.elapsedMs), rows }),
    recent: [...event.recent].reverse().concat(before.recent).slice(0, RECENT),
    totals, elapsedMs: event.elapsedMs, lost: event.lost,
  };
}

/** Reports come faster while somebody records: short intervals become one. */
function joined(intervals: readonly Interval[], next: Interval): Interval[] {
  const last = intervals.at(-1);
  if (!last || last.ms >= INTERVAL_MS) return [...intervals, next].slice(-INTERVALS);
  const rows = new Map(last.rows.map((row) => [row.key, row]));
  for (const row of next.rows) {
    const { count, totalNs } = rows.get(row.key) ?? { count: 0, totalNs: 0 };
    rows.set(row.key, { ...row, count: row.count + count, totalNs: row.totalNs + totalNs });
  }
  return [...intervals.slice(0, -1), { at: next.at, ms: last.ms + next.ms, rows: [...rows.values()] }];
}

export function passes(filter: ExitFilter, { vcpu, level, name }: { readonly vcpu: number; readonly level: number; readonly name: string }): boolean {
  return (filter.vcpu ?? vcpu) === vcpu && (filter.level ?? level) === level && (filter.reason ?? name) === name;
}

/** The newest `seconds` in sum, the longest time first. */
export function summed(state: ExitsState, seconds: number, filter: ExitFilter): SummedRow[] {
  const end = state.intervals.at(-1)?.at ?? 0;
  const shown = state.intervals.filter(({ at }) => at > end - seconds * 1000);
  const ms = shown.reduce((sum, interval) => sum + interval.ms, 0) || 1;
  const sums = new Map<string, IntervalRow>();
  for (const row of shown.flatMap(({ rows }) => rows)) {
    if (!passes({ ...filter, reason: null }, row)) continue;
    const { count, totalNs } = sums.get(row.key) ?? { count: 0, totalNs: 0 };
    sums.set(row.key, { ...row, count: row.count + count, totalNs: row.totalNs + totalNs });
  }
  return [...sums.values()].map(({ key, vcpu, level, name, count, totalNs }): SummedRow => {
    const { minNs = 0, maxNs = 0 } = state.totals[key] ?? {};
    return { key, vcpu, level, name, count, perSecond: count / (ms / 1000), share: Math.min(1, Math.max(0, totalNs) / (ms * 1e6)), meanNs: Math.max(0, totalNs) / count, minNs, maxNs };
  }).sort((left, right) => right.share - left.share || right.count - left.count);
}

/** Exits a second by interval, for each reason: what the timeline draws. Times are seconds since 1970. */
export function timeline(state: ExitsState, names: readonly string[], filter: ExitFilter): [number[], ...number[][]] {
  const times = state.intervals.map(({ at }) => at / 1000);
  const lines = names.map((name) => state.intervals.map(({ ms, rows }) => {
    const count = rows.filter((row) => row.name === name && passes({ ...filter, reason: null }, row)).reduce((sum, row) => sum + row.count, 0);
    return count / (ms / 1000);
  }));
  return [times, ...lines];
}

/** The reasons with the most exits in the whole of what is kept, most first. */
export function busiest(state: ExitsState, count: number, filter: ExitFilter): string[] {
  const sums = new Map<string, number>();
  for (const row of state.intervals.flatMap(({ rows }) => rows)) {
    if (passes({ ...filter, reason: null }, row)) sums.set(row.name, (sums.get(row.name) ?? 0) + row.count);
  }
  return [...sums].sort(([, left], [, right]) => right - left).slice(0, count).map(([name]) => name);
}

export interface HistogramBar {
  /** Nanoseconds at the bar's left edge; the right edge is twice as far. */
  readonly from: number;
  readonly count: number;
}

/** How long the exits for a reason took, in powers of two, from the shortest that occurred to the longest; of the whole trace. */
export function histogram(state: ExitsState, reason: string, filter: ExitFilter): HistogramBar[] {
  const rows = Object.values(state.totals).filter((row) => passes({ ...filter, reason }, row));
  const length = Math.max(0, ...rows.map((row) => row.histogram.length));
  const counts = Array.from({ length }, (_, bucket) => rows.reduce((sum, row) => sum + (row.histogram[bucket] ?? 0), 0));
  const first = counts.findIndex((count) => count > 0);
  const last = counts.findLastIndex((count) => count > 0);
  return first < 0 ? [] : counts.slice(first, last + 1).map((count, i) => ({ from: 2 ** (first + i), count }));
}

/** Nanoseconds with three digits and a unit. */
export function formatNs(ns: number): string {
  if (ns < 1000) return `${ns.toFixed(0)} ns`;
  if (ns < 1e6) return `${(ns / 1e3).toFixed(ns < 1e4 ? 1 : 0)} µs`;
  return ns < 1e9 ? `${(ns / 1e6).toFixed(ns < 1e7 ? 1 : 0)} ms` : `${(ns / 1e9).toFixed(1)} s`;
}

/** `14:30:00.123`. */
export function timeOf(at: number): string {
  const date = new Date(at);
  return `${date.toLocaleTimeString([], { hour12: false })}.${String(Math.floor(at % 1000)).padStart(3, '0')}`;
}
