import { describe, expect, it } from 'vitest';
import * as L from '../../core/cpu/layout.ts';
import {
  Bench, CODE0, CODE0_16, CODE0_64, CODE1, CODE3, CODE3_64, CONFORMING, DATA0, DATA1, DATA3, FAULTED, FREE, GDT, JUMP, SP, STACK0,
  STACK1, STACK3, SYNC, TSS2_SELECTOR,
} from '../helpers/cpu-tables.ts';

const GATE = FREE;
const callGate = (bench: Bench, type: number, target: number, offset: number, dpl = 3, parameters = 0): void =>
  bench.gate(GDT + GATE, type, target, offset, dpl, parameters);
const push32 = (bench: Bench, values: readonly number[]): void => {
  bench.setGpr(SP, STACK3 - values.length * 4);
  values.forEach((value, i) => bench.poke32(STACK3 - (values.length - i) * 4, value));
};
const push64 = (bench: Bench, values: readonly (number | bigint)[]): void => {
  bench.setGpr(SP, STACK3 - values.length * 8);
  values.forEach((value, i) => bench.poke64(STACK3 - (values.length - i) * 8, BigInt(value)));
};

describe('far jumps', () => {
  it('load CS and keep the privilege', () => {
    const bench = new Bench();
    expect(bench.cpu.call('farJump', CODE0_16, 0x12_3456n, 2)).toBe(JUMP);
    expect([bench.selector(L.CS), bench.rip, bench.cpu.read32(L.CODE_SIZE)]).toEqual([CODE0_16, 0x3456, 0]);
    bench.setProgram(3);
    expect(bench.cpu.call('farJump', CONFORMING, 0x4000n, 4)).toBe(JUMP);
    expect([bench.selector(L.CS), bench.cpl]).toEqual([CONFORMING | 3, 3]);
  });

  it('switch between compatibility and 64-bit mode', () => {
    const bench = new Bench();
    bench.setLong(0);
    expect(bench.cpu.call('farJump', CODE0, 0x4000n, 4)).toBe(JUMP);
    expect(bench.cpu.read32(L.CODE_SIZE)).toBe(1);
    expect(bench.cpu.call('farJump', CODE0_64, 0x4000n, 4)).toBe(JUMP);
    expect([bench.cpu.read32(L.CODE_SIZE), bench.cpu.read32(L.STACK_SIZE)]).toEqual([2, 2]);
  });

  it('set CS to sixteen times the selector in real-address mode, within the limit', () => {
    const bench = new Bench();
    bench.setReal();
    expect(bench.cpu.call('farJump', 0xf000, 0xfff0n, 2)).toBe(JUMP);
    expect([bench.base(L.CS), bench.rip]).toEqual([0xf_0000n, 0xfff0]);
    expect([bench.cpu.call('farJump', 0xf000, 0x1_0000n, 4), bench.fault()]).toEqual([FAULTED, '13(0x0)']);
  });

  const refusals: readonly [string, number, number, number, string][] = [
    ['a null selector', 0, 0, 0, '13(0x0)'],
    ['data', 0, DATA0, 0, '13(0x10)'],
    ['a selector beyond the table', 0, 0x200, 0, '13(0x200)'],
    ['code of an inner level', 3, CODE0, 0, '13(0x8)'],
    ['code of an outer level', 0, CODE3 & ~3, 0, '13(0x38)'],
    ['code asked for at an outer level', 0, CODE0 | 1, 0, '13(0x8)'],
    ['conforming code of an outer level', 0, FREE, 0, '13(0xa0)'],
    ['an offset beyond the limit', 0, CODE0_16, 0x1_0000, '13(0x0)'],
    ['an LDT', 0, 0x90, 0, '13(0x90)'],
  ];
  for (const [name, ring, selector, offset, fault] of refusals) {
    it(`refuse ${name}`, () => {
      const bench = new Bench();
      bench.setProgram(ring);
      bench.descriptor(FREE, { access: 0xbe, limit: 0xfffff, flags: 0xc });
      expect([bench.cpu.call('farJump', selector, BigInt(offset), 4), bench.fault()]).toEqual([FAULTED, fault]);
      expect(bench.rip).toBe(0x1000);
    });
  }

  it('refuse absent code with #NP', () => {
    const bench = new Bench();
    bench.descriptor(CODE0, { access: 0x1a });
    expect([bench.cpu.call('farJump', CODE0, 0n, 4), bench.fault()]).toEqual([FAULTED, '11(0x8)']);
  });

  it('refuse a segment that is both 64-bit and 32-bit in IA-32e mode', () => {
    const bench = new Bench();
    bench.setLong(0);
    bench.descriptor(FREE, { access: 0x9a, flags: 6 });
    expect([bench.cpu.call('farJump', FREE, 0n, 4), bench.fault()]).toEqual([FAULTED, '13(0xa0)']);
  });

  it('through a call gate cannot gain privilege', () => {
    const bench = new Bench();
    bench.setProgram(3);
    callGate(bench, 12, CODE0, 0x4000);
    expect([bench.cpu.call('farJump', GATE, 0n, 4), bench.fault()]).toEqual([FAULTED, '13(0x8)']);
    callGate(bench, 12, CONFORMING, 0x12_4000);
    expect(bench.cpu.call('farJump', GATE, 0n, 4)).toBe(JUMP);
    expect([bench.rip, bench.cpl]).toEqual([0x12_4000, 3]);
  });
});

describe('far calls', () => {
  it('push CS and the next instruction', () => {
    const bench = new Bench();
    expect(bench.cpu.call('farCall', CODE0_16, 0x4000n, 2)).toBe(JUMP);
    expect(bench.stack(2, 2)).toEqual([0x1002, CODE0]);
  });

  it('copy parameters to the inner stack through a 32-bit gate', () => {
    const bench = new Bench();
    bench.setProgram(3);
    push32(bench, [0x11, 0x22]);
    callGate(bench, 12, CODE1 & ~3, 0x12_4000, 3, 2);
    expect(bench.cpu.call('farCall', GATE, 0n, 4)).toBe(JUMP);
    expect(bench.stack(6, 4)).toEqual([0x1002, CODE3, 0x11, 0x22, STACK3 - 8, DATA3]);
    expect([bench.gpr(SP), bench.selector(L.SS), bench.cpl]).toEqual([BigInt(STACK1 - 24), DATA1, 1]);
    // And back, discarding them on both stacks.
    expect(bench.cpu.call('farReturn', 8, 4)).toBe(JUMP);
    expect([bench.gpr(SP), bench.selector(L.SS), bench.cpl, bench.rip]).toEqual([BigInt(STACK3), DATA3, 3, 0x1002]);
  });

  it('push words through a 16-bit gate', () => {
    const bench = new Bench();
    bench.setProgram(3);
    callGate(bench, 4, CODE0, 0x12_4000);
    expect(bench.cpu.call('farCall', GATE, 0n, 4)).toBe(JUMP);
    expect([bench.rip, ...bench.stack(4, 2)]).toEqual([0x4000, 0x1002, CODE3, STACK3 & 0xffff, DATA3]);
  });

  it('take RSP0 and a null SS through a 64-bit gate', () => {
    const bench = new Bench();
    bench.setLong(3);
    callGate(bench, 12, CODE0_64, 0x12_4000);
    bench.poke64(GDT + GATE + 8, 0x7fffn);
    expect(bench.cpu.call('farCall', GATE, 0n, 8)).toBe(JUMP);
    expect(bench.stack(4, 8)).toEqual([0x1002, CODE3_64, STACK3, DATA3]);
    expect([bench.rip, bench.selector(L.SS), bench.gpr(SP)]).toEqual([0x7fff_0012_4000, 0, BigInt(STACK0 - 32)]);
    bench.setLong(3);
    bench.poke64(GDT + GATE + 8, 0x0100_0000_7fffn);
    expect([bench.cpu.call('farCall', GATE, 0n, 8), bench.fault()]).toEqual([FAULTED, '13(0xa0)']);
  });

  it('check the gate before its target', () => {
    const bench = new Bench();
    bench.setProgram(3);
    callGate(bench, 12, CODE0, 0x4000, 2);
    expect([bench.cpu.call('farCall', GATE, 0n, 4), bench.fault()]).toEqual([FAULTED, '13(0xa0)']);
    bench.gate(GDT + GATE, 12, CODE0, 0x4000, 3, 0, false);
    expect([bench.cpu.call('farCall', GATE, 0n, 4), bench.fault()]).toEqual([FAULTED, '11(0xa0)']);
    callGate(bench, 12, 0, 0x4000);
    expect([bench.cpu.call('farCall', GATE, 0n, 4), bench.fault()]).toEqual([FAULTED, '13(0x0)']);
    callGate(bench, 12, DATA0, 0x4000);
    expect([bench.cpu.call('farCall', GATE, 0n, 4), bench.fault()]).toEqual([FAULTED, '13(0x10)']);
  });

  it('leave the stack pointer alone when the stack is full', () => {
    const bench = new Bench();
    bench.segment(L.SS, { selector: DATA0, base: 0, limit: 0xffff, access: 0x4093 });
    bench.setGpr(SP, 0x2_0000);
    expect([bench.cpu.call('farCall', CODE0, 0x4000n, 4), bench.fault()]).toEqual([FAULTED, '12(0x0)']);
    expect(bench.gpr(SP)).toBe(0x2_0000n);
  });
});

describe('far returns', () => {
  it('null the data segments that the outer level may not use', () => {
    const bench = new Bench();
    bench.segment(L.FS, { selector: DATA3, base: 0, limit: 0xffff_ffff, access: 0xc0f3 });
    bench.segment(L.GS, { selector: CONFORMING, base: 0, limit: 0xffff_ffff, access: 0xc09f });
    push32(bench, [0x5000, CODE3, 0x6000, DATA3]);
    expect(bench.cpu.call('farReturn', 0, 4)).toBe(JUMP);
    expect([L.ES, L.DS, L.FS, L.GS].map((index) => bench.selector(index))).toEqual([0, 0, DATA3, CONFORMING]);
    expect([bench.rip, bench.gpr(SP), bench.cpl]).toEqual([0x5000, 0x6000n, 3]);
  });

  it('keep the hidden base of what becomes null, which 64-bit code goes on seeing in FS and GS', () => {
    const bench = new Bench();
    bench.setLong(0);
    bench.segment(L.GS, { selector: 0, base: 0x12_3456_7890, limit: 0, access: 0x1_0000 });
    push64(bench, [0x5000, CODE3_64, 0x202, 0x6000, DATA3]);
    bench.segment(L.FS, { selector: DATA0, base: 0x40_0000, limit: 0xffff_ffff, access: 0xc093 });
    expect(bench.cpu.call('iret', 8)).toBe(JUMP);
    expect([bench.selector(L.FS), bench.base(L.FS), bench.base(L.GS)]).toEqual([0, 0x40_0000n, 0x12_3456_7890n]);
  });

  it('leave the accessed flag of a segment clear that they do not enter', () => {
    const bench = new Bench();
    const access = (selector: number): number => bench.peek16(GDT + (selector & ~7) + 4) >> 8;
    for (const selector of [CODE3, DATA3]) bench.descriptor(selector & ~7, { access: selector === CODE3 ? 0xfa : 0xf2, limit: 0xfff, flags: 4 });
    push32(bench, [0x5000, CODE3, 0x6000, DATA3]);
    expect([bench.cpu.call('farReturn', 0, 4), bench.fault()]).toEqual([FAULTED, '13(0x0)']);
    expect([access(CODE3), access(DATA3)]).toEqual([0xfa, 0xf2]);
    push32(bench, [0x500, CODE3, 0x6000, DATA3]);
    expect(bench.cpu.call('farReturn', 0, 4)).toBe(JUMP);
    expect([access(CODE3), access(DATA3)]).toEqual([0xfb, 0xf3]);
  });

  const refusals: readonly [string, readonly number[], string][] = [
    ['to a null selector', [0x5000, 0, 0, 0], '13(0x0)'],
    ['to an inner level', [0x5000, 0x18, 0, 0], '13(0x18)'],
    ['to data', [0x5000, DATA0 | 3, 0, 0], '13(0x10)'],
    ['to a null stack', [0x5000, CODE3, 0x6000, 0], '13(0x0)'],
    ['to a stack of another level', [0x5000, CODE3, 0x6000, DATA0 | 3], '13(0x10)'],
    ['to a stack asked for at another level', [0x5000, CODE3, 0x6000, DATA3 & ~1], '13(0x40)'],
  ];
  for (const [name, frame, fault] of refusals) {
    it(`refuse to return ${name}`, () => {
      const bench = new Bench();
      push32(bench, frame);
      expect([bench.cpu.call('farReturn', 0, 4), bench.fault()]).toEqual([FAULTED, fault]);
      expect([bench.gpr(SP), bench.cpl]).toEqual([BigInt(STACK3 - 16), 0]);
    });
  }
});

describe('IRET', () => {
  it('loads only the flags that the privilege allows', () => {
    const bench = new Bench();
    bench.setProgram(3);
    bench.flags = 0x1202;
    push32(bench, [0x5000, CODE3, 0x3f_7dd7]);
    expect(bench.cpu.call('iret', 4)).toBe(SYNC);
    expect(bench.flags).toBe(0x24_5fd7);
  });

  it('returns to a virtual-8086 program', () => {
    const bench = new Bench();
    push32(bench, [0x5000, 0x1234, 0x2_3202, 0x800, 0x200, 1, 2, 3, 4]);
    expect(bench.cpu.call('iret', 4)).toBe(JUMP);
    expect([bench.cpl, bench.cpu.read32(L.REAL_SEGMENTS), bench.rip, bench.gpr(SP)]).toEqual([3, 1, 0x5000, 0x800n]);
    const bases = [L.ES, L.CS, L.SS, L.DS, L.FS, L.GS].map((index) => bench.base(index));
    expect(bases).toEqual([0x10n, 0x1_2340n, 0x2000n, 0x20n, 0x30n, 0x40n]);
    expect([bench.cpu.read32(L.CODE_SIZE), bench.cpu.read32(L.STACK_SIZE)]).toEqual([0, 0]);
  });

  it('needs IOPL 3 or VME within virtual-8086 mode', () => {
    const bench = new Bench();
    bench.setVirtual(0);
    bench.poke32(0x2000 + 0x800, 0x0100_5000);
    bench.poke16(0x2000 + 0x804, 0x0202);
    expect([bench.cpu.call('iret', 2), bench.fault()]).toEqual([FAULTED, '13(0x0)']);
    bench.cpu.write64(L.CR4, 1n);
    bench.cpu.write32(L.EFLAGS, 0x2_0002);
    expect(bench.cpu.call('iret', 2)).toBe(JUMP);
    expect([bench.rip, bench.selector(L.CS), bench.cpu.read32(L.EFLAGS)]).toEqual([0x5000, 0x100, 0xa_0002]);
  });

  it('pops five quadwords in 64-bit mode, even at the same privilege', () => {
    const bench = new Bench();
    bench.setLong(0);
    push64(bench, [0x5000, CODE0_64, 0x202, 0x6008, 0]);
    expect(bench.cpu.call('iret', 8)).toBe(JUMP);
    expect([bench.rip, bench.gpr(SP), bench.selector(L.SS), bench.flags]).toEqual([0x5000, 0x6008n, 0, 0x202]);
  });

  it('returns to user code and keeps the bases of null FS and GS', () => {
    const bench = new Bench();
    bench.setLong(0);
    bench.segment(L.FS, { selector: 0, base: 0x7777, limit: 0, access: 0x1_0000 });
    push64(bench, [0x5000, CODE3_64, 0x202, 0x6008, DATA3]);
    bench.cpu.write32(L.INTERRUPT_WINDOW, 1);
    expect(bench.cpu.call('iret', 8)).toBe(SYNC);
    expect(bench.cpu.read64(L.NEXT_RIP)).toBe(0x5000n);
    expect([bench.cpl, bench.base(L.FS), bench.cpu.read32(L.TLB_BASE)]).toEqual([3, 0x7777n, L.TLB_USER]);
  });

  it('leaves the upper half of RSP alone when it returns to a 16-bit stack', () => {
    const bench = new Bench();
    bench.setLong(0);
    bench.descriptor(FREE, { access: 0xf2, limit: 0xffff });
    push64(bench, [0x5000, CODE3, 0x202, 0x1234, FREE | 3]);
    expect(bench.cpu.call('iret', 8)).toBe(JUMP);
    expect(bench.gpr(SP)).toBe(BigInt((STACK3 - 40) & ~0xffff) | 0x1234n);
  });

  const refusals: readonly [string, readonly (number | bigint)[], string][] = [
    ['an address that is not canonical', [0x8000_0000_0000n, CODE3_64, 2, 0x6000, DATA3], '13(0x0)'],
    ['a null stack for user code', [0x5000, CODE3_64, 2, 0x6000, 3], '13(0x0)'],
    ['a null stack for compatibility code', [0x5000, CODE0, 2, 0x6000, 0], '13(0x0)'],
    ['an absent stack', [0x5000, CODE3_64, 2, 0x6000, FREE | 3], '12(0xa0)'],
  ];
  for (const [name, frame, fault] of refusals) {
    it(`refuses ${name}`, () => {
      const bench = new Bench();
      bench.setLong(0);
      bench.descriptor(FREE, { access: 0x72 });
      push64(bench, frame);
      expect([bench.cpu.call('iret', 8), bench.fault()]).toEqual([FAULTED, fault]);
      expect([bench.cpl, bench.rip, bench.gpr(SP)]).toEqual([0, 0x1000, BigInt(STACK3 - 40)]);
    });
  }

  it('refuses a nested task in IA-32e mode', () => {
    const bench = new Bench();
    bench.setLong(0);
    bench.flags = 0x4002;
    expect([bench.cpu.call('iret', 8), bench.fault()]).toEqual([FAULTED, '13(0x0)']);
  });

  it('pops words in real-address mode', () => {
    const bench = new Bench();
    bench.setReal();
    bench.setGpr(SP, 0x100);
    bench.poke32(0x2100, 0x1234_5678);
    bench.poke16(0x2104, 0x0ed7);
    expect(bench.cpu.call('iret', 2)).toBe(JUMP);
    expect([bench.rip, bench.selector(L.CS), bench.gpr(SP), bench.flags]).toEqual([0x5678, 0x1234, 0x106n, 0xed7]);
  });
});

describe('calls to a task', () => {
  it('are refused in IA-32e mode', () => {
    const bench = new Bench();
    bench.setLong(0);
    expect([bench.cpu.call('farCall', TSS2_SELECTOR, 0n, 4), bench.fault()]).toEqual([FAULTED, '13(0x80)']);
  });
});
