import { describe, expect, it } from 'vitest';
import * as L from '../../core/cpu/layout.ts';
import {
  Bench, CODE0, CODE0_64, CODE1, CODE3, CODE3_64, DATA1, DATA3, EXIT, FAULTED, IDT, JUMP, OK, SP, STACK0, STACK1, STACK3, TSS, TSS2,
  TSS2_SELECTOR, TSS_SELECTOR, CONFORMING,
} from '../helpers/cpu-tables.ts';

describe('interrupt and exception delivery in protected mode', () => {
  it('pushes flags, CS, EIP and the error code on the same stack at the same privilege', () => {
    const bench = new Bench();
    bench.flags = 0x202;
    bench.vector(13, 14, CODE0, 0x1234_5678);
    expect(bench.except(13, 0x50)).toBe(JUMP);
    expect(bench.stack(4, 4)).toEqual([0x50, 0x1000, CODE0, 0x1_0202]);
    expect(bench.gpr(SP)).toBe(BigInt(STACK3 - 16));
    expect(bench.rip).toBe(0x1234_5678);
    expect(bench.flags).toBe(2);
  });

  it('keeps IF through a trap gate', () => {
    const bench = new Bench();
    bench.flags = 0x302;
    bench.vector(0x80, 15, CODE0, 0x2000);
    expect(bench.cpu.call('interrupt', 0x80)).toBe(JUMP);
    expect(bench.flags).toBe(0x202);
    expect(bench.stack(3, 4)).toEqual([0x1002, CODE0, 0x302]);
  });

  it('switches to the stack of the TSS on the way inward', () => {
    const bench = new Bench();
    bench.setProgram(3);
    bench.vector(14, 14, CODE0, 0x2000);
    bench.cpu.write64(L.FAULT_ADDRESS, 0xdead_beefn);
    expect(bench.except(14, 7)).toBe(JUMP);
    expect(bench.gpr(SP)).toBe(BigInt(STACK0 - 24));
    expect(bench.stack(6, 4)).toEqual([7, 0x1000, CODE3, 0x1_0002, STACK3, DATA3]);
    expect([bench.cpl, bench.selector(L.CS), bench.selector(L.SS)]).toEqual([0, CODE0, 0x10]);
    expect(bench.cpu.read64(L.CR2)).toBe(0xdead_beefn);
    expect(bench.cpu.read32(L.TLB_BASE)).toBe(L.TLB_SUPERVISOR);
  });

  it('enters ring 1 on the stack for ring 1', () => {
    const bench = new Bench();
    bench.setProgram(3);
    bench.vector(0x40, 14, CODE1 & ~3, 0x2000, { dpl: 3 });
    expect(bench.cpu.call('interrupt', 0x40)).toBe(JUMP);
    expect([bench.cpl, bench.selector(L.CS), bench.selector(L.SS)]).toEqual([1, CODE1, DATA1]);
    expect(bench.gpr(SP)).toBe(BigInt(STACK1 - 20));
  });

  it('stays at its privilege through a gate to conforming code', () => {
    const bench = new Bench();
    bench.setProgram(3);
    bench.vector(0x40, 14, CONFORMING, 0x2000, { dpl: 3 });
    expect(bench.cpu.call('interrupt', 0x40)).toBe(JUMP);
    expect([bench.cpl, bench.selector(L.CS)]).toEqual([3, CONFORMING | 3]);
    expect(bench.gpr(SP)).toBe(BigInt(STACK3 - 12));
  });

  it('pushes 16-bit words through a 16-bit gate', () => {
    const bench = new Bench();
    bench.flags = 0x246;
    bench.vector(0x40, 6, CODE0, 0x9999_2000);
    expect(bench.cpu.call('interrupt', 0x40)).toBe(JUMP);
    expect(bench.stack(3, 2)).toEqual([0x1002, CODE0, 0x246]);
    expect(bench.rip).toBe(0x2000);
  });

  it('leaves registers and stack alone and names the culprit when delivery of INT n faults', () => {
    const rows: readonly [string, (bench: Bench) => void, string][] = [
      ['a vector beyond the IDT', (bench) => bench.cpu.write32(L.IDTR_LIMIT, 0x40 * 8 + 6), '13(0x202)'],
      ['a gate of a type that is none', (bench) => bench.vector(0x40, 12, CODE0, 0x2000, { dpl: 3 }), '13(0x202)'],
      ['a gate above the privilege', (bench) => bench.vector(0x40, 14, CODE0, 0x2000, { dpl: 2 }), '13(0x202)'],
      ['a gate that is not present', (bench) => bench.vector(0x40, 14, CODE0, 0x2000, { dpl: 3, present: false }), '11(0x202)'],
      ['a null code segment', (bench) => bench.vector(0x40, 14, 3, 0x2000, { dpl: 3 }), '13(0x0)'],
      ['a code segment beyond the GDT', (bench) => bench.vector(0x40, 14, 0x100, 0x2000, { dpl: 3 }), '13(0x100)'],
      ['data as code', (bench) => bench.vector(0x40, 14, 0x10, 0x2000, { dpl: 3 }), '13(0x10)'],
      ['absent code', (bench) => bench.descriptor(CODE0, { access: 0x1a, limit: 0xfffff, flags: 0xc }), '11(0x8)'],
      ['an entry point beyond the limit', (bench) => bench.descriptor(CODE0, { access: 0x9a, limit: 0x1fff, flags: 4 }), '13(0x0)'],
      ['a TSS without the stack', (bench) => bench.cpu.write32(L.SEGMENTS + L.TR * 32 + L.SEG_LIMIT, 8), '10(0x70)'],
      ['a null stack', (bench) => bench.poke32(TSS + 8, 0), '10(0x0)'],
      ['a stack of another privilege', (bench) => bench.poke32(TSS + 8, DATA3), '10(0x40)'],
      ['an absent stack', (bench) => bench.descriptor(0x10, { access: 0x12, limit: 0xfffff, flags: 0xc }), '12(0x10)'],
      ['a stack without room', (bench) => bench.poke32(TSS + 4, 16), '12(0x10)'],
    ];
    for (const [name, spoil, fault] of rows) {
      const bench = new Bench();
      bench.setProgram(3);
      bench.vector(0x40, 14, CODE0, 0x2000, { dpl: 3 });
      if (name === 'a stack without room') bench.descriptor(0x10, { access: 0x96, limit: 0xf, flags: 4 });
      spoil(bench);
      expect([name, bench.cpu.call('interrupt', 0x40), bench.fault()]).toEqual([name, FAULTED, fault]);
      expect([bench.cpl, bench.rip, bench.selector(L.CS), bench.gpr(SP)]).toEqual([3, 0x1000, CODE3, BigInt(STACK3)]);
    }
  });

  it('sets EXT in the error code of a fault met while an exception is delivered', () => {
    const bench = new Bench();
    bench.vector(6, 14, 0x100, 0x2000);
    bench.vector(13, 14, CODE0, 0x3000);
    expect(bench.except(6)).toBe(JUMP);
    expect(bench.rip).toBe(0x3000);
    expect(bench.stack(2, 4)).toEqual([0x101, 0x1000]);
  });

  it('saves the segments of a virtual-8086 program and makes them null', () => {
    const bench = new Bench();
    bench.setVirtual(3);
    bench.vector(0x21, 14, CODE0, 0x2000, { dpl: 3 });
    expect(bench.cpu.call('interrupt', 0x21)).toBe(JUMP);
    expect(bench.stack(9, 4)).toEqual([0x1002, 0x100, 0x2_3202, 0x800, 0x200, 0, 0x300, 0x400, 0x500]);
    expect([L.ES, L.DS, L.FS, L.GS].map((index) => bench.access(index))).toEqual([0x1_0000, 0x1_0000, 0x1_0000, 0x1_0000]);
    expect([bench.cpl, bench.cpu.read32(L.REAL_SEGMENTS), bench.flags]).toEqual([0, 0, 0x3002]);
  });

  it('refuses INT n in virtual-8086 mode below IOPL 3', () => {
    const bench = new Bench();
    bench.setVirtual(2);
    expect([bench.cpu.call('interrupt', 0x21), bench.fault()]).toEqual([FAULTED, '13(0x0)']);
  });

  it('redirects INT n to the 8086 handler when VME and the bitmap say so', () => {
    const bench = new Bench();
    bench.setVirtual(0);
    bench.cpu.write64(L.CR4, 1n);
    bench.cpu.write32(L.EFLAGS, bench.cpu.read32(L.EFLAGS) | 0x8_0000);
    bench.poke16(TSS + 102, 0x200);
    bench.poke32(0x21 * 4, 0x0123_4567);
    expect(bench.cpu.call('interrupt', 0x21)).toBe(JUMP);
    expect([bench.rip, bench.selector(L.CS)]).toEqual([0x4567, 0x123]);
    // The image shows VIF as IF, and IOPL 3.
    expect(bench.stack(3, 2, 0x2000)).toEqual([0x1002, 0x100, 0x3202]);
    expect(bench.cpu.read32(L.EFLAGS) & 0x8_0200).toBe(0x200);
  });

  it('switches tasks through a task gate, with the error code on the new stack', () => {
    const bench = new Bench();
    bench.vector(8, 5, TSS2_SELECTOR, 0);
    bench.poke32(TSS2 + 0x20, 0x7000);
    bench.poke32(TSS2 + 0x24, 2);
    bench.poke32(TSS2 + 0x38, STACK1);
    for (let index = 0; index < 6; index++) bench.poke32(TSS2 + 0x48 + index * 4, index === 1 ? CODE0 : 0x10);
    expect(bench.except(8, 0)).toBe(JUMP);
    expect([bench.rip, bench.selector(L.TR), bench.peek16(TSS2)]).toEqual([0x7000, TSS2_SELECTOR, TSS_SELECTOR]);
    expect(bench.gpr(SP)).toBe(BigInt(STACK1 - 4));
    expect(bench.flags & 0x4000).toBe(0x4000);
    expect([bench.peek32(TSS + 0x20), bench.peek32(TSS + 0x24)]).toEqual([0x1000, 0x1_0002]);
  });
});

describe('exceptions during exceptions', () => {
  const absent = (bench: Bench, vector: number): void => bench.vector(vector, 14, CODE0, 0x2000, { present: false });

  it('makes two contributory exceptions a double fault', () => {
    const bench = new Bench();
    absent(bench, 13);
    bench.vector(8, 14, CODE0, 0x8000);
    expect(bench.except(13, 0)).toBe(JUMP);
    expect([bench.rip, ...bench.stack(2, 4)]).toEqual([0x8000, 0, 0x1000]);
  });

  it('makes a contributory exception after a page fault a double fault, but delivers a page fault after a contributory one', () => {
    const bench = new Bench();
    absent(bench, 14);
    bench.vector(8, 14, CODE0, 0x8000);
    expect([bench.except(14, 0), bench.rip]).toEqual([JUMP, 0x8000]);
  });

  it('delivers a contributory exception met while a benign one is delivered', () => {
    const bench = new Bench();
    absent(bench, 6);
    bench.vector(11, 14, CODE0, 0xb000);
    expect([bench.except(6), bench.rip]).toEqual([JUMP, 0xb000]);
    expect(bench.stack(1, 4)).toEqual([6 * 8 + 3]);
  });

  it('exits with reason 2 when the double fault cannot be delivered', () => {
    const bench = new Bench();
    absent(bench, 13);
    absent(bench, 8);
    expect(bench.except(13, 0)).toBe(EXIT);
    expect(bench.fault()).toBe('exit 2');
    expect(bench.rip).toBe(0x1000);
  });
});

describe('real-address mode', () => {
  it('goes through the vector table and pushes words', () => {
    const bench = new Bench();
    bench.setReal();
    bench.setGpr(SP, 0x1_0002);
    bench.flags = 0x246;
    bench.poke32(0x10 * 4, 0xf000_1234);
    expect(bench.cpu.call('interrupt', 0x10)).toBe(JUMP);
    expect([bench.rip, bench.selector(L.CS), bench.base(L.CS)]).toEqual([0x1234, 0xf000, 0xf_0000n]);
    // SP wraps within 16 bits and leaves the upper half alone.
    expect(bench.gpr(SP)).toBe(0x1_fffcn);
    expect([bench.peek16(0x2000), bench.peek16(0x2000 + 0xfffe), bench.peek16(0x2000 + 0xfffc)]).toEqual([0x246, 0x100, 0x1002]);
    expect(bench.flags).toBe(0x46);
  });

  it('has no error codes', () => {
    const bench = new Bench();
    bench.setReal();
    bench.poke32(13 * 4, 0x0000_1234);
    bench.setGpr(SP, 0x100);
    expect(bench.except(13, 0)).toBe(JUMP);
    expect(bench.gpr(SP)).toBe(0xfan);
  });

  it('shuts down when the vector table is too short for the exceptions of its own shortness', () => {
    const bench = new Bench();
    bench.setReal();
    bench.cpu.write32(L.IDTR_LIMIT, 0);
    expect(bench.except(6)).toBe(EXIT);
    expect(bench.fault()).toBe('exit 2');
  });
});

describe('IA-32e mode', () => {
  it('aligns the stack and always pushes SS:RSP', () => {
    const bench = new Bench();
    bench.setLong(0);
    bench.setGpr(SP, STACK3 - 4);
    bench.vector(14, 14, CODE0_64, 0x2000, { long: true });
    expect(bench.except(14, 2)).toBe(JUMP);
    expect(bench.gpr(SP)).toBe(BigInt(STACK3 - 16 - 48));
    expect(bench.stack(6, 8)).toEqual([2, 0x1000, CODE0_64, 0x1_0002, STACK3 - 4, 0x10]);
    expect(bench.selector(L.SS)).toBe(0x10);
  });

  it('takes RSP0 and a null SS from user mode', () => {
    const bench = new Bench();
    bench.setLong(3);
    bench.vector(0x80, 14, CODE0_64, 0x2000, { long: true, dpl: 3 });
    expect(bench.cpu.call('interrupt', 0x80)).toBe(JUMP);
    expect(bench.stack(5, 8)).toEqual([0x1002, CODE3_64, 2, STACK3, DATA3]);
    expect([bench.cpl, bench.selector(L.SS), bench.gpr(SP)]).toEqual([0, 0, BigInt(STACK0 - 40)]);
    expect(bench.cpu.read32(L.CODE_SIZE)).toBe(2);
  });

  it('takes the stack of the interrupt stack table at any privilege', () => {
    const bench = new Bench();
    bench.setLong(0);
    bench.vector(2, 14, CODE0_64, 0x2000, { long: true, ist: 1 });
    bench.cpu.write32(L.ENTRY_INTR_INFO, 0x8000_0202);
    expect(bench.cpu.call('injectEvent')).toBe(JUMP);
    expect(bench.gpr(SP)).toBe(BigInt(STACK1 - 40));
    expect(bench.cpu.read32(L.INTERRUPTIBILITY)).toBe(8);
    expect(bench.cpu.read32(L.ENTRY_INTR_INFO)).toBe(0);
  });

  it('refuses compatibility code, 32-bit gates and entry points that are not canonical', () => {
    const bench = new Bench();
    bench.setLong(0);
    bench.vector(0x40, 14, CODE0, 0x2000, { long: true });
    expect([bench.cpu.call('interrupt', 0x40), bench.fault()]).toEqual([FAULTED, '13(0x8)']);
    bench.vector(0x40, 6, CODE0_64, 0x2000, { long: true });
    expect([bench.cpu.call('interrupt', 0x40), bench.fault()]).toEqual([FAULTED, '13(0x202)']);
    bench.vector(0x40, 14, CODE0_64, 0x2000, { long: true });
    bench.poke64(IDT + 0x408, 0x8000n);
    expect([bench.cpu.call('interrupt', 0x40), bench.fault()]).toEqual([FAULTED, '13(0x0)']);
  });

  it('reports a stack that is not canonical as #SS', () => {
    const bench = new Bench();
    bench.setLong(3);
    bench.poke64(TSS + 4, 0x8000_0000_1000n);
    bench.vector(0x80, 14, CODE0_64, 0x2000, { long: true, dpl: 3 });
    expect([bench.cpu.call('interrupt', 0x80), bench.fault()]).toEqual([FAULTED, '12(0x0)']);
  });
});

describe('injection at VM entry', () => {
  it('returns behind a software interrupt and to an instruction that an external interrupt precedes', () => {
    const bench = new Bench();
    bench.vector(0x30, 14, CODE0, 0x2000);
    bench.cpu.write32(L.ENTRY_INTR_INFO, 0x8000_0030);
    expect(bench.cpu.call('injectEvent')).toBe(JUMP);
    expect(bench.stack(1, 4)).toEqual([0x1000]);
    bench.setProgram(0);
    bench.cpu.write32(L.ENTRY_INTR_INFO, 0x8000_0430);
    bench.cpu.write32(L.ENTRY_LENGTH, 2);
    expect(bench.cpu.call('injectEvent')).toBe(JUMP);
    expect(bench.stack(1, 4)).toEqual([0x1002]);
  });

  it('does nothing without a valid event', () => {
    expect(new Bench().cpu.call('injectEvent')).toBe(OK);
  });

  it('an interrupt between the iterations of a repeated instruction pushes RF, one behind them does not', () => {
    const pushed = (count: bigint): number => {
      const bench = new Bench();
      bench.vector(0x30, 14, CODE0, 0x2000);
      bench.cpu.write64(L.GPR + 8, count);
      bench.cpu.write64(L.GPR + 7 * 8, 0x20_0000n);
      bench.cpu.call('stos', 1, 4, L.DS, 1);
      bench.cpu.write32(L.ENTRY_INTR_INFO, 0x8000_0030);
      expect(bench.cpu.call('injectEvent')).toBe(JUMP);
      return bench.stack(3, 4)[2]! & 0x1_0000;
    };
    expect([pushed(0x1_0001n), pushed(5n)]).toEqual([0x1_0000, 0]);
  });

  it('INT1 takes a trap along that a load of SS held back', () => {
    const bench = new Bench();
    bench.vector(1, 14, CODE0, 0x2000);
    bench.cpu.write64(L.PENDING_DEBUG, 0x1002n);
    expect(bench.cpu.call('int1')).toBe(JUMP);
    expect([bench.cpu.read64(L.DR6) & 0xfn, bench.cpu.read64(L.PENDING_DEBUG)]).toEqual([2n, 0n]);
  });
});

describe('single steps and shadows', () => {
  it('raises #DB with BS after an instruction that began with TF', () => {
    const bench = new Bench();
    bench.vector(1, 14, CODE0, 0x2000);
    bench.flags = 0x102;
    expect(bench.cpu.read32(L.STEP_REASON)).not.toBe(0);
    expect(bench.cpu.call('beginStep')).toBe(OK);
    bench.cpu.write64(L.RIP, 0x1002n);
    expect(bench.cpu.call('singleStep')).toBe(JUMP);
    expect(bench.cpu.read64(L.DR6) & 0xf00fn).toBe(0x4000n);
    expect(bench.stack(3, 4)).toEqual([0x1002, CODE0, 0x102]);
    expect(bench.cpu.read32(L.STEP_REASON)).toBe(0);
  });

  it('raises none for the instruction that sets TF', () => {
    const bench = new Bench();
    bench.cpu.call('beginStep');
    bench.cpu.call('popFlags', 0x102n, 4);
    expect(bench.cpu.call('singleStep')).toBe(OK);
  });

  it('stops before an instruction with an execution breakpoint, unless RF is set', () => {
    const bench = new Bench();
    bench.vector(1, 14, CODE0, 0x2000);
    bench.cpu.call('movToDr', 1, 0x1000n);
    bench.cpu.call('movToDr', 7, 0x404n);
    expect(bench.cpu.call('beginStep')).toBe(FAULTED);
    expect(bench.cpu.call('deliverPending')).toBe(JUMP);
    expect(bench.cpu.read64(L.DR6) & 0xfn).toBe(2n);
    expect(bench.stack(3, 4)[2]).toBe(2);
    bench.setProgram(0);
    bench.flags = 0x1_0002;
    expect(bench.cpu.call('beginStep')).toBe(OK);
    bench.cpu.call('singleStep');
    expect(bench.flags & 0x1_0000).toBe(0);
  });

  it('keeps the shadow of STI for one instruction when somebody waits for the window', () => {
    const bench = new Bench();
    bench.cpu.write32(L.INTERRUPT_WINDOW, 1);
    expect(bench.cpu.call('sti')).toBe(4);
    expect(bench.cpu.read32(L.INTERRUPTIBILITY)).toBe(1);
    bench.cpu.call('beginStep');
    bench.cpu.call('singleStep');
    expect([bench.cpu.read32(L.INTERRUPTIBILITY), bench.cpu.read32(L.STEP_REASON)]).toEqual([0, 0]);
  });

  it('remembers the shadow of STI for a slice that ends right behind it', () => {
    const bench = new Bench();
    expect(bench.cpu.call('sti')).toBe(OK);
    bench.cpu.write64(L.RIP, 0x1002n);
    expect(bench.cpu.call('interruptShadow')).toBe(1);
    bench.cpu.call('beginStep');
    bench.cpu.call('singleStep');
    expect(bench.cpu.call('interruptShadow')).toBe(0);
  });

  it('blocks NMIs until IRET', () => {
    const bench = new Bench();
    bench.vector(2, 14, CODE0, 0x2000);
    bench.cpu.write32(L.ENTRY_INTR_INFO, 0x8000_0202);
    bench.cpu.call('injectEvent');
    expect(bench.cpu.read32(L.INTERRUPTIBILITY)).toBe(8);
    expect(bench.cpu.call('iret', 4)).toBe(JUMP);
    expect([bench.cpu.read32(L.INTERRUPTIBILITY), bench.rip]).toEqual([0, 0x1000]);
  });
});
