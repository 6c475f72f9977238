import { describe, expect, it } from 'vitest';
import { exitRecord, exitRow } from '../../../core/contract/exits.ts';
import type { ExitRecord } from '../../../core/contract/exits.ts';
import type { TracedExits } from '../../../core/machine/types.ts';
import { decodeQualification } from '../../../core/vmm/exitReasons.ts';
import { VMCS } from '../../../core/cpu/layout.ts';
import { decodeExits } from '../../../core/vmm/exitRecords.ts';
import { ExitTrace, RING_EXITS } from '../../../core/vmm/exitTrace.ts';
import * as F from '../../../core/vmx/fields.ts';
import { fieldOffset } from '../../../core/vmx/vmcs.ts';
import { Guest } from '../../helpers/guest-program.ts';
import { CODE, asm, image, runToEnd, smallMachine } from '../../helpers/small-guest.ts';

/** Runs code with a trace from the first instruction on. */
async function traced(code: readonly number[], jit: 'off' | 'always' = 'off'): Promise<TracedExits> {
  const guest = await smallMachine(image([...code, ...asm.exit]), { jit });
  guest.machine.answer('trace-exits', { on: true });
  await runToEnd(guest);
  return guest.machine.answer('exits', { since: 0, limit: RING_EXITS })!;
}

function registerOf(exit: ExitRecord | undefined, name: string): string | undefined {
  return exit?.registers.find((register) => register.name === name)?.value;
}

/** `code`, `count` times, 1 to 127. */
const repeat = (code: readonly number[], count: number): number[] => [...asm.ebx(count), ...code, 0x4b, 0x75, (-(code.length + 3)) & 0xff];

describe('the trace of VM exits', () => {
  it('is off until it is asked for', async () => {
    const guest = await smallMachine(image(asm.exit));
    await runToEnd(guest);
    expect(guest.machine.answer('exits', { since: 0, limit: 10 })).toBeNull();
  });

  it('counts exits by reason and measures the time until the next entry', async () => {
    const { rows } = await traced([...asm.cpuid, ...asm.cpuid, ...asm.out8(0x80, 1)]);
    for (const row of rows) expect(() => exitRow.parse(row)).not.toThrow();
    const cpuid = rows.find(({ name }) => name === 'cpuid');
    expect(cpuid).toMatchObject({ vcpu: 0, level: 1, reason: 10, count: 2 });
    expect(cpuid!.minNs).toBeGreaterThanOrEqual(0);
    expect(cpuid!.minNs).toBeLessThanOrEqual(cpuid!.maxNs);
    expect(cpuid!.minNs + cpuid!.maxNs).toBeCloseTo(cpuid!.totalNs, 3);
    expect(cpuid!.histogram.reduce((sum, count) => sum + count, 0)).toBe(2);
    // The write that ends the machine has no entry behind it.
    expect(rows.find(({ name }) => name === 'io-instruction')?.count).toBe(2);
  });

  it.each(['off', 'always'] as const)('keeps each exit with its qualification and registers, jit %s', async (jit) => {
    const { recent } = await traced([...repeat([...asm.ecx(0x1234), ...asm.loadEax(0xfec00000), ...asm.store(0xfed00010, 0)], 3), ...asm.out8(0x80, 0x55)], jit);
    for (const exit of recent) expect(() => exitRecord.parse(exit)).not.toThrow();
    const reads = recent.filter(({ summary }) => summary === 'read at 0xfec00000');
    expect(reads).toHaveLength(3);
    expect(reads.map((exit) => registerOf(exit, 'RBX'))).toEqual(['0x3', '0x2', '0x1']);
    expect(registerOf(reads[0], 'RCX')).toBe('0x1234');
    expect(reads[0]?.rip).toBe(`0x${(CODE + 10).toString(16)}`);
    expect(reads[0]?.vmcs).toContainEqual({ group: 'VM-exit information', name: 'Guest-physical address', value: '0xfec00000' });
    expect(recent.filter(({ summary }) => summary === 'write at 0xfed00010')).toHaveLength(3);
    const out = recent.find(({ summary }) => summary === 'OUT port 0x80, 1 byte');
    expect(registerOf(out, 'RAX')).toMatch(/55$/);
  });

  it("shows root mode's VMCS by the names of its fields, as each exit left it", async () => {
    const { recent } = await traced(repeat([...asm.cpuid, ...asm.out8(0x80, 0x55)], 3));
    const field = (exit: ExitRecord, name: string): string | undefined => exit.vmcs.find((candidate) => candidate.name === name)?.value;
    const kept = recent.slice(-6);
    expect(kept.map((exit) => [exit.name, field(exit, 'Exit reason')])).toEqual(expect.arrayContaining([['cpuid', '0xa'], ['io-instruction', '0x1e']]));
    for (const exit of kept) {
      expect(() => exitRecord.parse(exit)).not.toThrow();
      expect([field(exit, 'Guest RIP'), field(exit, 'Exit qualification')]).toEqual([exit.rip, exit.qualification]);
      expect(new Set(exit.vmcs.map(({ group }) => group))).toEqual(new Set(['VM-exit information', 'Guest state', 'Controls']));
    }
  });

  it('says which interrupt made the guest leave', async () => {
    const self = [...asm.lidt, ...asm.out8(0x21, 0xff), ...asm.sti, ...asm.store(0xfee000f0, 0x1ff), ...asm.store(0xfee00300, 0x40041), ...asm.spin];
    const guest = await smallMachine(image(self, { 0x41: asm.exit }));
    guest.machine.answer('trace-exits', { on: true });
    await runToEnd(guest);
    const interrupt = guest.machine.answer('exits', { since: 0, limit: RING_EXITS })!.recent.findLast(({ name }) => name === 'external-interrupt');
    expect(interrupt).toMatchObject({ level: 1, qualification: '0x0' });
    const value = (wanted: string): string | undefined => interrupt?.vmcs.find(({ name }) => name === wanted)?.value;
    expect([value('Exit reason'), value('VM-exit interruption information')]).toEqual(['0x1', '0x80000041']);
  });

  it('hands out what is new, and says how much the ring has lost', async () => {
    // 200 times 100 accesses: more than the ring holds.
    const inner = [...repeat(asm.loadEax(0xfec00000), 100)];
    const { next, lost, recent } = await traced([...asm.ecx(200), ...inner, 0x49, 0x75, (-(inner.length + 3)) & 0xff]);
    expect(next).toBeGreaterThan(20_000);
    expect(lost).toBe(next - RING_EXITS);
    const sequences = recent.map(({ sequence }) => sequence);
    expect(sequences).toEqual(sequences.map((_, i) => next - sequences.length + i));
  });
});

describe('exits of nested guests', () => {
  /** A processor whose current VMCS says that its guest has left. */
  function traceOf(times: number[]): { readonly guest: Guest; readonly trace: ExitTrace; left(reason: number): void } {
    const guest = new Guest('off');
    const trace = new ExitTrace(guest.cpu, () => times.shift() ?? 0);
    const set = (encoding: number, value: number): void => guest.cpu.view.setBigUint64(VMCS + fieldOffset(encoding), BigInt(value), true);
    return {
      guest, trace,
      left: (reason) => {
        set(F.EXIT_REASON_FIELD, reason);
        set(F.EXIT_QUALIFICATION_FIELD, 0x3f80008);
        set(F.EXIT_INSTRUCTION_LENGTH, 2);
        set(F.GUEST_CR3, 0x1234000);
        trace.nestedExit();
      },
    };
  }

  it('last until their hypervisor enters again, however often it leaves meanwhile itself', () => {
    const { trace, left } = traceOf([0, 10, 11, 12, 20]);
    left(30);
    trace.exit(10);
    trace.entry(1);
    trace.entry(2);
    const rows = trace.rows();
    expect(rows.map(({ name, level, totalNs }) => [name, level, totalNs])).toEqual([['cpuid', 1, 1e6], ['io-instruction', 2, 10e6]]);
  });

  it('show the VMCS by the names of its fields', () => {
    const { guest, trace, left } = traceOf([]);
    guest.set('rbx', 0x77);
    left(30);
    const [exit] = decodeExits(trace.take(0, 10).records, 0, (sequence) => trace.vmcs(sequence));
    expect(exit).toMatchObject({ level: 2, name: 'io-instruction', summary: 'IN port 0x3f8, 1 byte', qualification: '0x3f80008' });
    expect(registerOf(exit, 'RBX')).toBe('0x77');
    expect(exit?.vmcs).toContainEqual({ group: 'Guest state', name: 'Guest CR3', value: '0x1234000' });
    expect(exit?.vmcs).toContainEqual({ group: 'VM-exit information', name: 'VM-exit instruction length', value: '0x2' });
    expect(() => exitRecord.parse(exit)).not.toThrow();
  });

  it('keep the whole VMCS of the newest only', () => {
    const { trace, left } = traceOf([]);
    for (let i = 0; i < 20; i++) left(12);
    expect([trace.vmcs(3), trace.vmcs(4)].map((region) => region !== null)).toEqual([false, true]);
  });
});

describe('qualifications', () => {
  it('are fields with names', () => {
    const io = Object.fromEntries(decodeQualification(30, 0x03f8_0009n).map(({ name, value }) => [name, value]));
    expect(io).toMatchObject({ size: '2 bytes', direction: 'IN', string: 'no', port: '0x3f8' });
    const ept = Object.fromEntries(decodeQualification(48, 0x182n).map(({ name, value }) => [name, value]));
    expect(ept).toMatchObject({ read: 'no', write: 'yes', 'linear address valid': 'yes', part: 'access' });
    expect(decodeQualification(10, 0n)).toEqual([]);
  });
});
