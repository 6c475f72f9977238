/** Turns the counters that a VM process reports into rates. */
import type { MetricsEvent } from '../contract/streams.ts';
import type { FromVmProcess } from '../machine/messages.ts';

type Report = Extract<FromVmProcess, { type: 'metrics' }>;

/** A function of successive reports; the first one has no predecessor and so no rates. */
export function createMeter(now: () => number = Date.now): (report: Report) => MetricsEvent {
  let before: { readonly report: Report; readonly at: number } | null = null;
  return (report) => {
    const at = now();
    const seconds = before ? Math.max((at - before.at) / 1000, 0.001) : 0;
    const rate = (count: (of: Report) => number): number => (before ? Math.max(0, count(report) - count(before.report)) / seconds : 0);
    const sample: MetricsEvent = {
      at,
      cpuPercent: rate(({ cpuMicroseconds }) => cpuMicroseconds) / 10_000,
      instructions: report.instructions,
      instructionsPerSecond: rate(({ instructions }) => instructions),
      exits: report.exits,
      exitsPerSecond: rate(({ exits }) => Object.values(exits).reduce((sum, count) => sum + count, 0)),
      residentBytes: report.residentBytes,
      engine: report.engine,
    };
    before = { report, at };
    return sample;
  };
}
