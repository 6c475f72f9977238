import { describe, expect, it } from 'vitest';
import * as L from '../../core/cpu/layout.ts';
import {
  AX, Bench, CODE0, CODE3, DATA0, DATA3, DI, FAULTED, FREE, GDT, JUMP, LDT_SELECTOR, SP, STACK1, TSS, TSS2, TSS2_SELECTOR, TSS_SELECTOR,
} from '../helpers/cpu-tables.ts';

/** A 32-bit TSS at TSS2 for a task at privilege 0. */
function prepare(bench: Bench): void {
  bench.poke32(TSS2 + 0x20, 0x7000);
  bench.poke32(TSS2 + 0x24, 0x202);
  for (let i = 0; i < 8; i++) bench.poke32(TSS2 + 0x28 + i * 4, 0x1111_1111 * i);
  bench.poke32(TSS2 + 0x38, STACK1);
  [DATA0, CODE0, DATA0, DATA0, 0, 0].forEach((selector, i) => bench.poke32(TSS2 + 0x48 + i * 4, selector));
}

const busy = (bench: Bench, selector: number): boolean => (bench.peek32(GDT + selector + 4) & 0x200) !== 0;

describe('task switches', () => {
  it('save the old task, load the new one and move the busy bit on a jump', () => {
    const bench = new Bench();
    prepare(bench);
    bench.flags = 0x246;
    bench.setGpr(AX, 0xabcd);
    expect(bench.cpu.call('farJump', TSS2_SELECTOR, 0n, 4)).toBe(JUMP);
    expect([bench.rip, bench.gpr(SP), bench.gpr(DI), bench.flags]).toEqual([0x7000, BigInt(STACK1), 0x7777_7777n, 0x202]);
    expect([bench.selector(L.TR), bench.selector(L.CS), bench.selector(L.FS)]).toEqual([TSS2_SELECTOR, CODE0, 0]);
    const saved = [bench.peek32(TSS + 0x20), bench.peek32(TSS + 0x24), bench.peek32(TSS + 0x28), bench.peek16(TSS + 0x4c)];
    expect(saved).toEqual([0x1002, 0x246, 0xabcd, CODE0]);
    expect([busy(bench, TSS_SELECTOR), busy(bench, TSS2_SELECTOR)]).toEqual([false, true]);
    expect(bench.cpu.read64(L.CR0) & 8n).toBe(8n);
  });

  it('nest on a call and come back with IRET', () => {
    const bench = new Bench();
    prepare(bench);
    bench.descriptor(TSS_SELECTOR, { base: TSS, limit: 0x2fff, access: 0x8b });
    expect(bench.cpu.call('farCall', TSS2_SELECTOR, 0n, 4)).toBe(JUMP);
    expect([bench.peek16(TSS2), bench.flags & 0x4000, busy(bench, TSS_SELECTOR)]).toEqual([TSS_SELECTOR, 0x4000, true]);
    bench.cpu.write64(L.NEXT_RIP, 0x7001n);
    expect(bench.cpu.call('iret', 4)).toBe(JUMP);
    expect([bench.rip, bench.selector(L.TR), bench.flags & 0x4000, busy(bench, TSS2_SELECTOR)]).toEqual([0x1002, TSS_SELECTOR, 0, false]);
    expect([bench.peek32(TSS2 + 0x20), bench.peek32(TSS2 + 0x24) & 0x4000]).toEqual([0x7001, 0]);
  });

  it('go through a task gate, whose privilege counts instead of that of the TSS', () => {
    const bench = new Bench();
    prepare(bench);
    bench.setProgram(3);
    bench.gate(GDT + FREE, 5, TSS2_SELECTOR, 0, 3);
    expect([bench.cpu.call('farCall', TSS2_SELECTOR, 0n, 4), bench.fault()]).toEqual([FAULTED, '13(0x80)']);
    expect(bench.cpu.call('farCall', FREE, 0n, 4)).toBe(JUMP);
    expect(bench.cpl).toBe(0);
  });

  it('load a 16-bit task', () => {
    const bench = new Bench();
    bench.descriptor(TSS2_SELECTOR, { base: TSS2, limit: 0x2b, access: 0x81 });
    bench.poke16(TSS2 + 0x0e, 0x7000);
    bench.poke16(TSS2 + 0x10, 0x202);
    bench.poke16(TSS2 + 0x1a, 0x4000);
    [DATA0, CODE0, DATA0, DATA0, LDT_SELECTOR].forEach((selector, i) => bench.poke16(TSS2 + 0x22 + i * 2, selector));
    expect(bench.cpu.call('farJump', TSS2_SELECTOR, 0n, 4)).toBe(JUMP);
    expect([bench.rip, bench.gpr(SP), bench.selector(L.LDTR), bench.selector(L.GS)]).toEqual([0x7000, 0x4000n, LDT_SELECTOR, 0]);
  });

  it('load CR3 from a 32-bit TSS while paging is on', () => {
    const bench = new Bench();
    prepare(bench);
    // One page directory with a 4 MiB identity page, copied: both address spaces are alike.
    for (const table of [0x10_0000, 0x10_1000]) bench.poke32(table, 0xe7);
    bench.cpu.write64(L.CR4, 0x10n);
    bench.cpu.write64(L.CR3, 0x10_0000n);
    bench.cpu.write64(L.CR0, 0x8000_0011n);
    bench.cpu.call('flushAll');
    bench.poke32(TSS2 + 0x1c, 0x10_1000);
    expect(bench.cpu.call('farJump', TSS2_SELECTOR, 0n, 4)).toBe(JUMP);
    expect(bench.cpu.read64(L.CR3)).toBe(0x10_1000n);
  });

  it('enter a virtual-8086 task', () => {
    const bench = new Bench();
    prepare(bench);
    bench.poke32(TSS2 + 0x24, 0x2_3202);
    for (let i = 0; i < 6; i++) bench.poke32(TSS2 + 0x48 + i * 4, 0x100 * i);
    expect(bench.cpu.call('farJump', TSS2_SELECTOR, 0n, 4)).toBe(JUMP);
    expect([bench.cpl, bench.cpu.read32(L.REAL_SEGMENTS), bench.base(L.GS), bench.cpu.read32(L.CODE_SIZE)]).toEqual([3, 1, 0x5000n, 0]);
  });

  it('raise #DB with BT when the T flag of the new TSS is set', () => {
    const bench = new Bench();
    prepare(bench);
    bench.poke32(TSS2 + 0x64, 1);
    bench.vector(1, 14, CODE0, 0x9000);
    expect([bench.cpu.call('farJump', TSS2_SELECTOR, 0n, 4)]).toEqual([FAULTED]);
    expect(bench.cpu.call('deliverPending')).toBe(JUMP);
    expect(bench.cpu.read64(L.DR6) & 0x8000n).toBe(0x8000n);
    expect(bench.stack(3, 4)).toEqual([0x7000, CODE0, 0x202]);
  });

  const before: readonly [string, (bench: Bench) => void, string][] = [
    ['a busy task', (bench) => bench.descriptor(TSS2_SELECTOR, { base: TSS2, limit: 0x67, access: 0x8b }), '13(0x80)'],
    ['an absent task', (bench) => bench.descriptor(TSS2_SELECTOR, { base: TSS2, limit: 0x67, access: 0x09 }), '11(0x80)'],
    ['a TSS that is too short', (bench) => bench.descriptor(TSS2_SELECTOR, { base: TSS2, limit: 0x66, access: 0x89 }), '10(0x80)'],
  ];
  for (const [name, spoil, fault] of before) {
    it(`refuse ${name} in the old task`, () => {
      const bench = new Bench();
      prepare(bench);
      spoil(bench);
      expect([bench.cpu.call('farJump', TSS2_SELECTOR, 0n, 4), bench.fault()]).toEqual([FAULTED, fault]);
      expect([bench.rip, bench.selector(L.TR)]).toEqual([0x1000, TSS_SELECTOR]);
    });
  }

  const after: readonly [string, (bench: Bench) => void, string][] = [
    ['an LDT that is none', (bench) => bench.poke32(TSS2 + 0x60, DATA0), '10(0x10)'],
    ['code of another privilege', (bench) => bench.poke32(TSS2 + 0x4c, CODE3 & ~3), '10(0x38)'],
    ['a null stack', (bench) => bench.poke32(TSS2 + 0x50, 0), '10(0x0)'],
    ['a stack of another privilege', (bench) => bench.poke32(TSS2 + 0x50, DATA3), '10(0x40)'],
    ['an absent stack', (bench) => [bench.poke32(TSS2 + 0x50, FREE), bench.descriptor(FREE, { access: 0x12 })], '12(0xa0)'],
    ['absent data', (bench) => [bench.poke32(TSS2 + 0x58, FREE), bench.descriptor(FREE, { access: 0x12 })], '11(0xa0)'],
    ['a system descriptor as data', (bench) => bench.poke32(TSS2 + 0x5c, LDT_SELECTOR), '10(0x90)'],
    ['an instruction pointer beyond the limit', (bench) => bench.descriptor(CODE0, { access: 0x9a, limit: 0x6fff, flags: 4 }), '13(0x0)'],
  ];
  for (const [name, spoil, fault] of after) {
    it(`report ${name} in the new task`, () => {
      const bench = new Bench();
      prepare(bench);
      spoil(bench);
      expect([bench.cpu.call('farJump', TSS2_SELECTOR, 0n, 4), bench.fault()]).toEqual([FAULTED, fault]);
      expect([bench.rip, bench.selector(L.TR)]).toEqual([0x7000, TSS2_SELECTOR]);
    });
  }

  it('return with #TS when the link names no busy task', () => {
    const bench = new Bench();
    prepare(bench);
    bench.poke16(TSS, TSS2_SELECTOR);
    bench.flags = 0x4002;
    expect([bench.cpu.call('iret', 4), bench.fault()]).toEqual([FAULTED, '10(0x80)']);
  });
});
