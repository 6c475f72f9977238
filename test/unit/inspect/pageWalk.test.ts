import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as L from '../../../core/cpu/layout.ts';
import { walkLinear } from '../../../core/inspect/pageWalk.ts';
import { SECONDARY_EPT } from '../../../core/vmx/control-bits.ts';
import { EPT_POINTER, EXIT_REASON_FIELD } from '../../../core/vmx/fields.ts';
import { fieldOffset } from '../../../core/vmx/vmcs.ts';
import { instantiate } from '../../helpers/cpu-wasm.ts';
import type { CpuWasm } from '../../helpers/cpu-wasm.ts';
import { A, D, G, P, PS, U, W, XD, paging, takeFault } from '../../helpers/page-tables.ts';
import type { Mode } from '../../helpers/page-tables.ts';

const LA = 0x40_5123n;

describe('a walk for people', () => {
  it('names every level, the bits of each entry, and what they allow together', () => {
    const cpu = instantiate();
    const tables = paging(cpu, '4-level');
    tables.map(LA & ~0xfffn, 0x20_3000n, P | W | U | A | D | G, { upper: P | W | A });
    const walk = walkLinear(cpu, LA);
    expect(walk.mode).toBe('4-level paging');
    expect(walk.steps.map(({ level }) => level)).toEqual(['PML4E', 'PDPTE', 'PDE', 'PTE']);
    expect(walk.steps.at(-1)).toEqual({ level: 'PTE', at: tables.entryAt(LA, 1), entry: 0x20_3000n | P | W | U | A | D | G, bits: ['P', 'R/W', 'U/S', 'A', 'D', 'G'] });
    expect(walk).toMatchObject({ physical: 0x20_3123n, pageBytes: 4096, writable: true, user: false, executable: true, fault: '' });
  });

  it('stops at a large page', () => {
    const cpu = instantiate();
    paging(cpu, '4-level').map(0x40_0000n, 0x60_0000n, P | W | PS, { level: 2 });
    expect(walkLinear(cpu, LA)).toMatchObject({ physical: 0x60_5123n, pageBytes: 0x20_0000 });
  });

  it('says which entry ends it', () => {
    const cpu = instantiate();
    const tables = paging(cpu, '4-level');
    tables.map(LA & ~0xfffn, 0x20_3000n, W);
    expect(walkLinear(cpu, LA)).toMatchObject({ physical: null, fault: 'the PTE is not present: #PF' });
    tables.set(LA, 1, 0x20_3000n | P | XD);
    expect(walkLinear(cpu, LA).fault).toContain('reserved bits');
  });

  it('changes no entry: the accessed flags stay clear', () => {
    const cpu = instantiate();
    const tables = paging(cpu, '4-level');
    tables.map(LA & ~0xfffn, 0x20_3000n, P | W);
    walkLinear(cpu, LA);
    expect(tables.get(LA, 1) & (A | D)).toBe(0n);
  });

  it("agrees with the processor's own walk about any entries, in every mode", () => {
    const entry = fc.tuple(fc.integer({ min: 0, max: 0xfff }), fc.integer({ min: 0, max: 63 }), fc.boolean(), fc.boolean())
      .map(([low, high, odd, present]) => BigInt(low & ~1) | (present ? P : 0n) | (odd ? 1n << BigInt(high) : 0n));
    fc.assert(fc.property(fc.constantFrom<Mode>('none', '32-bit', 'PAE', '4-level', '5-level'), entry, fc.integer({ min: 1, max: 3 }), (mode, bits, level) => {
      const cpu = instantiate();
      const tables = paging(cpu, mode);
      if (mode !== 'none') {
        tables.map(LA & ~0xfffn, 0x20_3000n, P | W | U);
        const leaf = Math.min(level, mode === '32-bit' || mode === 'PAE' ? 2 : 3);
        tables.set(LA, leaf, mode === '32-bit' ? (tables.get(LA, leaf) & ~0xfffn) | (bits & 0xfffn) : (tables.get(LA, leaf) & ~0xfffn) | bits);
      }
      const seen = walkLinear(cpu, LA).physical;
      cpu.write32(L.CPL, 0);
      const own = cpu.call('sysReadU8', LA);
      const fault = takeFault(cpu);
      expect(seen === null, `${mode} level ${level} entry ${bits.toString(16)}`).toBe(fault !== undefined);
      expect(own).toBeDefined();
    }), { numRuns: 400 });
  });

  describe('of a nested guest', () => {
    const TABLES = 0x30_0000;
    /** One 2 MiB EPT page for each address of the guest, to the same address plus the distance; the entry of that with `LA`'s data is `leaf`. */
    const withEpt = (leaf = 0xb7n): CpuWasm => {
      const cpu = instantiate();
      paging(cpu, '4-level').map(LA & ~0xfffn, 0x20_3000n, P | W | U);
      cpu.write32(L.NON_ROOT, 1);
      cpu.write32(L.ACTIVE_SECONDARY, SECONDARY_EPT);
      cpu.write64(L.VMCS + fieldOffset(EPT_POINTER), BigInt(TABLES | 0x1e));
      cpu.write64(L.RAM_BASE + TABLES, BigInt(TABLES + 0x1007));
      cpu.write64(L.RAM_BASE + TABLES + 0x1000, BigInt(TABLES + 0x2007));
      for (let i = 0; i < 8; i++) cpu.write64(L.RAM_BASE + TABLES + 0x2000 + i * 8, BigInt(i * 0x20_0000) | (i === 1 ? leaf : 0xb7n));
      return cpu;
    };

    it('goes through EPT for each entry and for the page', () => {
      const walk = walkLinear(withEpt(), LA);
      const ept = ['EPT PML4E', 'EPT PDPTE', 'EPT PDE'];
      expect(walk.steps.map(({ level }) => level)).toEqual(['PML4E', 'PDPTE', 'PDE', 'PTE', 'guest-physical'].flatMap(level => (level === 'guest-physical' ? [level, ...ept] : [...ept, level])));
      expect(walk).toMatchObject({ mode: '4-level paging, EPT', physical: 0x20_3123n, pageBytes: 4096, writable: true, fault: '' });
    });

    it('says what EPT refuses, as the processor does', () => {
      for (const [leaf, said] of [[0n, 'the EPT PDE is not present: EPT violation'], [0xb2n, 'the EPT PDE cannot be: EPT misconfiguration'], [0x9fn, 'the EPT PDE cannot be: EPT misconfiguration']] as const) {
        const cpu = withEpt(leaf);
        expect(walkLinear(cpu, LA)).toMatchObject({ physical: null, fault: said });
        cpu.call('sysReadU8', LA);
        expect(cpu.read32(L.VMCS + fieldOffset(EXIT_REASON_FIELD))).toBe(said.endsWith('violation') ? 48 : 49);
      }
    });

    it('shows what EPT takes from the rights', () => {
      expect(walkLinear(withEpt(0xb1n), LA)).toMatchObject({ physical: 0x20_3123n, writable: false, executable: false });
    });
  });
});
