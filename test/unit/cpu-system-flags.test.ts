import { describe, expect, it } from 'vitest';
import * as L from '../../core/cpu/layout.ts';
import { Bench, FAULTED, OK, SYNC } from '../helpers/cpu-tables.ts';

const IF = 0x200;
const TF = 0x100;
const VIF = 0x8_0000;
const VIP = 0x10_0000;

describe('the lazy status flags', () => {
  it('hold every combination of the six', () => {
    const { cpu } = new Bench();
    for (let i = 0; i < 64; i++) {
      const flags = (i & 1) | ((i & 2) << 1) | ((i & 4) << 2) | ((i & 8) << 3) | ((i & 16) << 3) | ((i & 32) << 6) | 2;
      cpu.call('writeFlags', BigInt(flags), 0x8d5n);
      expect(cpu.callBig('readFlags')).toBe(BigInt(flags));
    }
  });

  it('are derived from a result and its operands', () => {
    const bench = new Bench();
    // 0x7f + 1 in 8 bits: SF, OF, AF.
    bench.cpu.write64(L.F_RES, 0xffff_ffff_ffff_ff80n);
    bench.cpu.write64(L.F_CX, 0xffff_ffff_ffff_ff80n);
    bench.cpu.write64(L.F_CY, 0x7fn);
    bench.cpu.write32(L.F_AUX, L.AUX_DERIVED | (56 << L.AUX_SHORT));
    bench.cpu.write32(L.F_PARITY, 0);
    expect(bench.flags).toBe(0x892);
  });

  it('keep what a mask leaves out', () => {
    const bench = new Bench();
    bench.flags = 0x8d7;
    bench.cpu.call('writeFlags', 0n, 0x40n);
    expect(bench.flags).toBe(0x897);
    bench.cpu.call('setZF', 1);
    expect(bench.flags).toBe(0x8d7);
  });
});

describe('POPF and PUSHF', () => {
  const rows: readonly [string, { cpl: number; iopl: number; size: number; before: number; image: number; after: number }][] = [
    ['all but VM, VIF and VIP at privilege 0', { cpl: 0, iopl: 0, size: 4, before: 2, image: 0x3f_ffff, after: 0x24_7fd7 }],
    ['the low half with 16-bit operands', { cpl: 0, iopl: 0, size: 2, before: 0x20_0002, image: 0x3f_ffff, after: 0x20_7fd7 }],
    ['neither IF nor IOPL above IOPL', { cpl: 3, iopl: 0, size: 4, before: 2, image: 0x3200, after: 2 }],
    ['IF but not IOPL at IOPL', { cpl: 3, iopl: 3, size: 4, before: 0x3002, image: 0x200, after: 0x3202 }],
  ];
  for (const [name, row] of rows) {
    it(`load ${name}`, () => {
      const bench = new Bench();
      bench.setProgram(row.cpl);
      bench.flags = row.before | (row.iopl << 12);
      bench.cpu.call('popFlags', BigInt(row.image), row.size);
      expect(bench.flags).toBe(row.after);
    });
  }

  it('go through the outer loop when an interrupt is waited for, TF or AC changes', () => {
    const bench = new Bench();
    expect(bench.cpu.call('popFlags', 0x202n, 8)).toBe(OK);
    bench.flags = 2;
    bench.cpu.write32(L.INTERRUPT_WINDOW, 1);
    expect(bench.cpu.call('popFlags', 0x202n, 8)).toBe(SYNC);
    bench.cpu.write32(L.INTERRUPT_WINDOW, 0);
    expect(bench.cpu.call('popFlags', 0x302n, 8)).toBe(SYNC);
    bench.flags = 2;
    expect(bench.cpu.call('popFlags', 0x4_0002n, 8)).toBe(SYNC);
  });

  it('need IOPL 3 in virtual-8086 mode', () => {
    const bench = new Bench();
    bench.setVirtual(2);
    expect([bench.cpu.call('popFlags', 2n, 2), bench.fault()]).toEqual([FAULTED, '13(0x0)']);
    bench.cpu.callBig('pushFlagsImage', 2);
    expect(bench.fault()).toBe('13(0x0)');
    bench.setVirtual(3);
    expect(bench.cpu.callBig('pushFlagsImage', 4)).toBe(0x3202n);
    expect(bench.cpu.call('popFlags', 0n, 4)).toBe(OK);
    expect(bench.cpu.read32(L.EFLAGS)).toBe(0x2_3002);
  });

  it('act on VIF with VME', () => {
    const bench = new Bench();
    bench.cpu.write64(L.CR4, 1n);
    bench.setVirtual(0);
    expect(bench.cpu.call('popFlags', BigInt(IF), 2)).toBe(OK);
    expect(bench.cpu.read32(L.EFLAGS) & (VIF | IF)).toBe(VIF | IF);
    expect(bench.cpu.callBig('pushFlagsImage', 2)).toBe(0x3202n | BigInt(VIF));
    bench.cpu.write32(L.EFLAGS, bench.cpu.read32(L.EFLAGS) | VIP);
    expect([bench.cpu.call('popFlags', BigInt(IF), 2), bench.fault()]).toEqual([FAULTED, '13(0x0)']);
    expect([bench.cpu.call('popFlags', BigInt(TF), 2), bench.fault()]).toEqual([FAULTED, '13(0x0)']);
    expect([bench.cpu.call('popFlags', 0n, 4), bench.fault()]).toEqual([FAULTED, '13(0x0)']);
  });
});

describe('CLI and STI', () => {
  const rows: readonly [string, number, number, number, string][] = [
    ['privilege 0', 0, 0, 0, 'IF'],
    ['privilege at IOPL', 3, 3, 0, 'IF'],
    ['privilege above IOPL', 3, 2, 0, 'fault'],
    ['privilege 3 with PVI', 3, 0, 2, 'VIF'],
    ['privilege 2 with PVI', 2, 0, 2, 'fault'],
  ];
  for (const [name, cpl, iopl, cr4, effect] of rows) {
    it(`at ${name}: ${effect}`, () => {
      const bench = new Bench();
      bench.setProgram(cpl);
      bench.cpu.write64(L.CR4, BigInt(cr4));
      bench.flags = 2 | (iopl << 12);
      const flag = effect === 'VIF' ? VIF : IF;
      const status = effect === 'fault' ? FAULTED : OK;
      expect(bench.cpu.call('sti')).toBe(status);
      expect(bench.fault()).toBe(effect === 'fault' ? '13(0x0)' : 'none');
      expect(bench.flags & (IF | VIF)).toBe(effect === 'fault' ? 0 : flag);
      bench.flags = 2 | (iopl << 12) | IF | VIF;
      expect(bench.cpu.call('cli')).toBe(status);
      expect(bench.fault()).toBe(effect === 'fault' ? '13(0x0)' : 'none');
      expect(bench.flags & (IF | VIF)).toBe(effect === 'fault' ? IF | VIF : (IF | VIF) & ~flag);
    });
  }

  it('refuses to set VIF while an interrupt is pending', () => {
    const bench = new Bench();
    bench.setProgram(3);
    bench.cpu.write64(L.CR4, 2n);
    bench.flags = 2 | VIP;
    expect([bench.cpu.call('sti'), bench.fault()]).toEqual([FAULTED, '13(0x0)']);
  });
});
