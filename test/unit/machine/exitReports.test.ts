import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { ExitsEvent } from '../../../core/contract/exits.ts';
import { ExitReports } from '../../../core/machine/exitReports.ts';
import type { Runner } from '../../../core/machine/runner.ts';

/** A runner whose machine leaves ten times between two questions. */
function scripted(): { readonly runner: Runner; readonly asked: string[] } {
  const asked: string[] = [];
  let next = 0;
  const ask = (kind: string, question: object): Promise<unknown> => {
    asked.push(`${kind} ${JSON.stringify(question)}`);
    if (kind === 'trace-exits') return Promise.resolve(null);
    next += 10;
    return Promise.resolve({ elapsedMs: next, rows: [], recent: [], records: new Uint8Array(256), epochMs: 0, next, lost: 0 });
  };
  return { runner: { ask } as unknown as Runner, asked };
}

describe('reports of VM exits', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it('come at their pace, each from where the one before ended, however often they are asked for', async () => {
    const { runner, asked } = scripted();
    const events: ExitsEvent[] = [];
    const reports = new ExitReports(runner, (event) => void events.push(event));
    reports.report('recent');
    reports.report('recent');
    await vi.advanceTimersByTimeAsync(1600);
    expect(asked.map((question) => /"since":\d+/.exec(question)?.[0] ?? question)).toEqual(['trace-exits {"on":true}', '"since":0', '"since":10', '"since":20']);
    expect(events.map(({ records }) => records.length)).toEqual([0, 0, 0]);
  });

  it('carry every exit where a recording wants them, and the trace goes on when that ends', async () => {
    const { runner, asked } = scripted();
    const events: ExitsEvent[] = [];
    const reports = new ExitReports(runner, (event) => void events.push(event));
    reports.report('all');
    await vi.advanceTimersByTimeAsync(50);
    expect(events[0]?.records).toHaveLength(256);
    reports.report('recent');
    reports.report(null);
    await vi.advanceTimersByTimeAsync(5000);
    expect(asked.filter((question) => question.startsWith('trace'))).toEqual(['trace-exits {"on":true}', 'trace-exits {"on":false}']);
    expect(events).toHaveLength(1);
  });
});
