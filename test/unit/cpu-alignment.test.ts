import { describe, expect, it } from 'vitest';
import * as L from '../../core/cpu/layout.ts';
import { instantiate } from '../helpers/cpu-wasm.ts';
import { P, U, W, paging, privilege, takeFault } from '../helpers/page-tables.ts';

const LA = 0x40_5000n;
const CR0_AM = 1 << 18;
const EFLAGS_AC = 1 << 18;

function machine(level: number, am: boolean, ac: boolean) {
  const cpu = instantiate();
  const tables = paging(cpu, '4-level');
  tables.map(LA, 0x9000n, P | W | U);
  cpu.write32(L.CR0, (cpu.read32(L.CR0) & ~CR0_AM) | (am ? CR0_AM : 0));
  cpu.write32(L.EFLAGS, (cpu.read32(L.EFLAGS) & ~EFLAGS_AC) | (ac ? EFLAGS_AC : 0));
  privilege(cpu, level);
  return cpu;
}

/** @sdm 3A 6.15, interrupt 17 */
describe('the alignment check', () => {
  const sizes = [[2, 1n], [4, 2n], [8, 4n]] as const;

  it.each(sizes)('faults with #AC(0) on a misaligned reference of %i bytes by a program, and on no aligned one', (size, shift) => {
    const cpu = machine(3, true, true);
    for (const helper of ['slowRead', 'slowWrite', 'slowStore'] as const) {
      cpu.call(helper, LA, size);
      expect(takeFault(cpu)).toBeUndefined();
      cpu.call(helper, LA + shift, size);
      expect(takeFault(cpu)).toMatchObject({ vector: 17, error: 0 });
    }
  });

  it('looks at every reference: none is left to the look-aside tables', () => {
    const cpu = machine(3, true, true);
    cpu.call('readU32', LA);
    cpu.call('readU32', LA);
    cpu.call('readU32', LA + 1n);
    expect(takeFault(cpu)).toMatchObject({ vector: 17, error: 0 });
  });

  it.each([[0, true, true], [3, false, true], [3, true, false]] as const)('is off at CPL %i with AM %s and AC %s', (level, am, ac) => {
    const cpu = machine(level, am, ac);
    cpu.call('readU32', LA + 1n);
    expect(takeFault(cpu)).toBeUndefined();
  });

  it('begins when a program sets AC, whatever it touched before', () => {
    const cpu = machine(3, true, false);
    cpu.call('readU32', LA);
    cpu.call('writeFlags', BigInt(EFLAGS_AC), BigInt(EFLAGS_AC));
    cpu.call('readU32', LA + 2n);
    expect(takeFault(cpu)).toMatchObject({ vector: 17, error: 0 });
    cpu.call('writeFlags', 0n, BigInt(EFLAGS_AC));
    cpu.call('readU32', LA + 2n);
    expect(takeFault(cpu)).toBeUndefined();
  });

  it('gives way to a page fault', () => {
    const cpu = machine(3, true, true);
    cpu.call('readU32', LA + 0x1001n);
    expect(takeFault(cpu)?.vector).toBe(14);
  });

  it('holds for string instructions', () => {
    const cpu = machine(3, true, true);
    cpu.write64(L.GPR + 6 * 8, LA + 1n);
    cpu.write64(L.GPR + 7 * 8, LA + 0x100n);
    cpu.write64(L.GPR + 1 * 8, 8n);
    expect(cpu.call('movs', 4, 8, L.DS, 1)).toBe(1);
    expect(takeFault(cpu)).toMatchObject({ vector: 17, error: 0 });
    expect(cpu.read64(L.GPR + 1 * 8)).toBe(8n);
  });
});
