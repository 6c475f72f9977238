import { describe, expect, it } from 'vitest';
import type { ExitRecord, ExitRow, ExitsEvent } from '../../core/contract/index.ts';
import { addReport, busiest, emptyExits, everything, formatNs, histogram, summed, timeline } from '../../renderer/exits/model.ts';
import { parseAddress } from '../../renderer/inspector/subjects.ts';

const row = (name: string, count: number, totalNs: number, level = 1): ExitRow => ({
  vcpu: 0, level, reason: 0, name, count, totalNs, minNs: 100, maxNs: 900, histogram: [],
});

const exit = (sequence: number): ExitRecord => ({
  sequence, at: sequence, ns: 1, vcpu: 0, level: 1, reason: 12, name: 'hlt', summary: '', rip: '0x0', qualification: '0x0', fields: [], vmcs: [], registers: [],
});

function report(elapsedMs: number, rows: readonly ExitRow[], recent: readonly ExitRecord[] = []): ExitsEvent {
  return { at: 1_000_000 + elapsedMs, elapsedMs, rows: [...rows], recent: [...recent], records: new Uint8Array(0), epochMs: 0, lost: 0 };
}

describe('the exit view', () => {
  it('shows what happened in the time that is looked at, not since the start', () => {
    let state = addReport(emptyExits, report(500, [row('hlt', 1000, 1e9)]));
    for (let i = 1; i <= 20; i++) state = addReport(state, report(500 + i * 500, [row('hlt', 1000 + i * 10, 1e9 + i * 100e6)]));
    const [hlt] = summed(state, 5, everything);
    expect(hlt).toMatchObject({ name: 'hlt', count: 100, perSecond: 20, meanNs: 10e6, minNs: 100, maxNs: 900 });
    expect(hlt?.share).toBeCloseTo(0.2);
  });

  it('puts what takes the most time first, and leaves out what did not happen', () => {
    const first = addReport(emptyExits, report(500, [row('cpuid', 5, 5000)]));
    const state = addReport(first, report(1000, [row('cpuid', 5, 5000), row('io-instruction', 50, 50_000), row('hlt', 2, 9e8)]));
    expect(summed(state, 0.4, everything).map(({ name }) => name)).toEqual(['hlt', 'io-instruction']);
  });

  it('filters by level', () => {
    const state = addReport(emptyExits, report(500, [row('cpuid', 5, 5000), row('vmcall', 7, 100, 2)]));
    expect(summed(state, 5, { ...everything, level: 2 }).map(({ name }) => name)).toEqual(['vmcall']);
    expect(busiest(state, 6, { ...everything, level: 1 })).toEqual(['cpuid']);
  });

  it('draws exits a second, a line for each reason', () => {
    const first = addReport(emptyExits, report(500, [row('hlt', 10, 0)]));
    const state = addReport(first, report(1000, [row('hlt', 40, 0), row('cpuid', 5, 0)]));
    expect(timeline(state, ['hlt', 'cpuid'], everything)).toEqual([[1000.5, 1001], [20, 60], [0, 10]]);
  });

  it('makes one interval of reports that come fast', () => {
    let state = addReport(emptyExits, report(500, [row('hlt', 10, 0)]));
    for (let i = 1; i <= 20; i++) state = addReport(state, report(500 + i * 40, [row('hlt', 10 + i, i * 100)]));
    expect(state.intervals.map(({ ms, rows }) => [ms, rows[0]?.count])).toEqual([[500, 10], [400, 10], [400, 10]]);
    expect(timeline(state, ['hlt'], everything)[1]).toEqual([20, 25, 25]);
  });

  it('begins anew when the trace does', () => {
    const first = addReport(emptyExits, report(60_000, [row('hlt', 1000, 0)], [exit(1)]));
    const state = addReport(first, report(500, [row('hlt', 3, 0)]));
    expect(state.intervals).toHaveLength(1);
    expect(state.recent).toEqual([]);
    expect(summed(state, 5, everything)[0]?.count).toBe(3);
  });

  it('lists the newest exits first', () => {
    const state = addReport(addReport(emptyExits, report(500, [], [exit(1), exit(2)])), report(1000, [], [exit(3)]));
    expect(state.recent.map(({ sequence }) => sequence)).toEqual([3, 2, 1]);
  });

  it('shows how long the exits for a reason take, from the shortest to the longest', () => {
    const state = addReport(emptyExits, report(500, [{ ...row('hlt', 6, 0), histogram: [0, 0, 4, 0, 2, 0] }, { ...row('hlt', 1, 0, 2), histogram: [0, 1] }]));
    expect(histogram(state, 'hlt', { ...everything, level: 1 })).toEqual([{ from: 4, count: 4 }, { from: 8, count: 0 }, { from: 16, count: 2 }]);
    expect(histogram(state, 'hlt', everything)[0]).toEqual({ from: 2, count: 1 });
    expect(histogram(state, 'cpuid', everything)).toEqual([]);
  });

  it('writes times with a unit', () => {
    expect([650, 4321, 54_321, 7_654_321, 2.5e9].map(formatNs)).toEqual(['650 ns', '4.3 µs', '54 µs', '7.7 ms', '2.5 s']);
  });
});

describe('addresses in the inspector', () => {
  it('are hexadecimal, however they are written', () => {
    expect(['FFFF888000000000', '0xffff_8880_0000_0000', ' 1000 '].map(parseAddress)).toEqual(['0xffff888000000000', '0xffff888000000000', '0x1000']);
    expect(['', 'rip', '0x', '123456789012345678'].map(parseAddress)).toEqual([null, null, null, null]);
  });
});
