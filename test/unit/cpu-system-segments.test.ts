import { describe, expect, it } from 'vitest';
import * as L from '../../core/cpu/layout.ts';
import {
  Bench, CODE0, CODE3, CODE3_64, CONFORMING, DATA0, DATA3, FAULTED, FREE, GDT, LDT, LDT_SELECTOR, OK, SP, SYNC, TSS2, TSS2_SELECTOR,
  TSS_SELECTOR,
} from '../helpers/cpu-tables.ts';
import type { Descriptor } from '../helpers/cpu-tables.ts';

const load = (bench: Bench, segment: number, selector: number): [number, string] => {
  const status = bench.cpu.call('loadSegment', segment, selector);
  return [status, bench.fault()];
};
const move = (bench: Bench, segment: number, selector: number): [number, string] => {
  const status = bench.cpu.call('loadSegmentChecked', segment, selector);
  return [status, bench.fault()];
};

describe('loading segment registers in protected mode', () => {
  it('takes base, limit and rights from the descriptor and marks it accessed', () => {
    const bench = new Bench();
    bench.descriptor(FREE, { base: 0x1234_5678, limit: 0xabcde, access: 0x92, flags: 0xd });
    expect(load(bench, L.ES, FREE)).toEqual([OK, 'none']);
    expect([bench.selector(L.ES), bench.base(L.ES), bench.limit(L.ES)]).toEqual([FREE, 0x1234_5678n, 0xabcd_efff]);
    expect(bench.access(L.ES)).toBe(0xd093);
    expect(bench.peek32(GDT + FREE + 4) & 0x100).toBe(0x100);
  });

  it('reads the LDT', () => {
    const bench = new Bench();
    expect(load(bench, L.DS, 0x0f)).toEqual([FAULTED, '13(0xc)']);
    expect(bench.cpu.call('lldt', LDT_SELECTOR)).toBe(OK);
    bench.descriptor(0x0c, { base: 0x7000, limit: 0xff, access: 0xf3 });
    expect(load(bench, L.DS, 0x0f)).toEqual([OK, 'none']);
    expect(bench.base(L.DS)).toBe(0x7000n);
    expect(LDT).toBe(Number(bench.base(L.LDTR)));
  });

  it('says which 32-bit offsets need no check', () => {
    const flat = (descriptor: Descriptor): number => {
      const bench = new Bench();
      bench.descriptor(FREE, descriptor);
      expect(load(bench, L.DS, FREE)).toEqual([OK, 'none']);
      return bench.cpu.read32(L.SEGMENTS + L.DS * L.SEGMENT_SIZE + L.SEG_FLAT);
    };
    expect(flat({ access: 0x93, limit: 0xfffff, flags: 0xc, base: 0x1000 })).toBe(3);
    expect(flat({ access: 0x91, limit: 0xfffff, flags: 0xc })).toBe(1);
    expect(flat({ access: 0x9b, limit: 0xfffff, flags: 0xc })).toBe(1);
    expect(flat({ access: 0x97, limit: 0xfffff, flags: 0xc })).toBe(0);
    expect(flat({ access: 0x93, limit: 0xffffe, flags: 0xc })).toBe(0);
  });

  const data: readonly [string, number, number, Descriptor | null, string][] = [
    ['a selector beyond the table', 0, 0x100, null, '13(0x100)'],
    ['a system descriptor', 0, TSS2_SELECTOR, null, '13(0x80)'],
    ['execute-only code', 0, FREE, { access: 0x98 }, '13(0xa0)'],
    ['data of an inner level', 3, DATA0 | 3, null, '13(0x10)'],
    ['data below the requested level', 0, FREE | 3, { access: 0x92 }, '13(0xa0)'],
    ['readable code of an inner level', 3, CODE0 | 3, null, '13(0x8)'],
    ['absent data', 0, FREE, { access: 0x12 }, '11(0xa0)'],
    ['conforming code of an inner level', 3, CONFORMING | 3, null, 'none'],
    ['read-only data', 3, FREE | 3, { access: 0xf0 }, 'none'],
    ['a null selector', 3, 3, null, 'none'],
  ];
  for (const [name, ring, selector, descriptor, fault] of data) {
    it(`${name} into DS: ${fault}`, () => {
      const bench = new Bench();
      bench.setProgram(ring);
      if (descriptor) bench.descriptor(FREE, descriptor);
      const before = bench.selector(L.DS);
      expect(load(bench, L.DS, selector)).toEqual([fault === 'none' ? OK : FAULTED, fault]);
      expect(bench.selector(L.DS)).toBe(fault === 'none' ? selector : before);
    });
  }

  const stacks: readonly [string, number, number, Descriptor | null, string][] = [
    ['a null selector', 0, 0, null, '13(0x0)'],
    ['a selector of another level', 0, DATA0 | 1, null, '13(0x10)'],
    ['a descriptor of another level', 0, FREE, { access: 0xf2 }, '13(0xa0)'],
    ['read-only data', 0, FREE, { access: 0x90 }, '13(0xa0)'],
    ['code', 0, CODE0, null, '13(0x8)'],
    ['an absent stack', 0, FREE, { access: 0x12 }, '12(0xa0)'],
    ['writable data of the level', 3, DATA3, null, 'none'],
  ];
  for (const [name, ring, selector, descriptor, fault] of stacks) {
    it(`${name} into SS: ${fault}`, () => {
      const bench = new Bench();
      bench.setProgram(ring);
      if (descriptor) bench.descriptor(FREE, descriptor);
      expect(load(bench, L.SS, selector)).toEqual([fault === 'none' ? OK : FAULTED, fault]);
    });
  }

  it('takes the width of the stack from SS', () => {
    const bench = new Bench();
    bench.descriptor(FREE, { access: 0x93, limit: 0xffff });
    load(bench, L.SS, FREE);
    expect(bench.cpu.read32(L.STACK_SIZE)).toBe(0);
  });

  it('blocks interrupts behind a load of SS only where that can be seen', () => {
    const bench = new Bench();
    move(bench, L.SS, DATA0);
    expect(bench.cpu.read32(L.INTERRUPTIBILITY)).toBe(0);
    expect(bench.cpu.call('interruptShadow')).toBe(0);
    // For a slice that ends right behind it.
    move(bench, L.SS, DATA0);
    bench.cpu.write64(L.RIP, 0x1002n);
    expect(bench.cpu.call('interruptShadow')).toBe(2);
    bench.cpu.call('endInstruction');
    bench.cpu.write32(L.INTERRUPT_WINDOW, 1);
    expect(move(bench, L.SS, DATA0)).toEqual([SYNC, 'none']);
    expect(bench.cpu.read32(L.INTERRUPTIBILITY)).toBe(2);
  });

  it('does not block them behind LSS, which loads the stack pointer too', () => {
    const bench = new Bench();
    bench.cpu.write32(L.INTERRUPT_WINDOW, 1);
    expect(bench.cpu.call('loadFarPointer', L.SS, DATA0, L.GPR + 4 * 8, 0x5000n, 4)).toBe(OK);
    expect([bench.selector(L.SS), bench.gpr(SP), bench.cpu.read32(L.INTERRUPTIBILITY)]).toEqual([DATA0, 0x5000n, 0]);
  });

  it('allows a null SS in 64-bit mode below privilege 3, at that privilege', () => {
    const bench = new Bench();
    bench.setLong(0);
    expect(load(bench, L.SS, 0)).toEqual([OK, 'none']);
    expect(load(bench, L.SS, 1)).toEqual([FAULTED, '13(0x0)']);
    bench.setLong(3);
    expect(load(bench, L.SS, 3)).toEqual([FAULTED, '13(0x0)']);
  });
});

describe('loading segment registers in real-address and virtual-8086 mode', () => {
  it('sets the base and leaves the limit of real-address mode alone', () => {
    const bench = new Bench();
    bench.setReal();
    bench.segment(L.FS, { selector: 0x10, base: 0, limit: 0xffff_ffff, access: 0xc093 });
    expect(load(bench, L.FS, 0xb800)).toEqual([OK, 'none']);
    expect([bench.base(L.FS), bench.limit(L.FS)]).toEqual([0xb_8000n, 0xffff_ffff]);
  });

  it('sets base and limit in virtual-8086 mode', () => {
    const bench = new Bench();
    bench.setVirtual(0);
    expect(load(bench, L.FS, 0xffff)).toEqual([OK, 'none']);
    expect([bench.base(L.FS), bench.limit(L.FS), bench.access(L.FS)]).toEqual([0xf_fff0n, 0xffff, 0xf3]);
  });
});

describe('LLDT and LTR', () => {
  it('check type, table and presence', () => {
    const bench = new Bench();
    const status = (name: string, selector: number): [number, string] => [bench.cpu.call(name, selector), bench.fault()];
    expect(status('lldt', 0)).toEqual([OK, 'none']);
    expect(bench.access(L.LDTR)).toBe(0x1_0000);
    expect(status('lldt', TSS2_SELECTOR)).toEqual([FAULTED, '13(0x80)']);
    expect(status('lldt', LDT_SELECTOR | 4)).toEqual([FAULTED, '13(0x94)']);
    bench.descriptor(LDT_SELECTOR, { access: 2 });
    expect(status('lldt', LDT_SELECTOR)).toEqual([FAULTED, '11(0x90)']);
    expect(status('ltr', 0)).toEqual([FAULTED, '13(0x0)']);
    expect(status('ltr', TSS_SELECTOR)).toEqual([FAULTED, '13(0x70)']);
    expect(status('ltr', TSS2_SELECTOR)).toEqual([OK, 'none']);
    expect(bench.peek32(GDT + TSS2_SELECTOR + 4) & 0xff00).toBe(0x8b00);
    expect([bench.access(L.TR), bench.base(L.TR)]).toEqual([0x8b, BigInt(TSS2)]);
  });

  it('read 16 bytes in IA-32e mode', () => {
    const bench = new Bench();
    bench.setLong(0);
    bench.poke64(GDT + TSS2_SELECTOR + 8, 0xffff_8000n);
    expect(bench.cpu.call('ltr', TSS2_SELECTOR)).toBe(OK);
    expect(bench.base(L.TR)).toBe((0xffff_8000n << 32n) | BigInt(TSS2));
    bench.poke64(GDT + LDT_SELECTOR + 8, 0x1234_5678n);
    expect([bench.cpu.call('lldt', LDT_SELECTOR), bench.fault()]).toEqual([FAULTED, '13(0x90)']);
  });
});

describe('LGDT, LIDT, LAR, LSL, VERR, VERW, ARPL', () => {
  it('truncate the base by operand size', () => {
    const bench = new Bench();
    bench.cpu.call('lgdt', 0x1ffff, 0x1234_5678n, 2);
    expect([bench.cpu.read64(L.GDTR_BASE), bench.cpu.read32(L.GDTR_LIMIT)]).toEqual([0x34_5678n, 0xffff]);
    bench.cpu.call('lidt', 0x3ff, 0x1234_5678n, 4);
    expect(bench.cpu.read64(L.IDTR_BASE)).toBe(0x1234_5678n);
    expect(bench.cpu.call('lidt', 0x3ff, 0x8000_0000_0000n, 8), 'the processor could have 57 bits').toBe(OK);
    expect([bench.cpu.call('lidt', 0x3ff, 0x100_0000_0000_0000n, 8), bench.fault()]).toEqual([FAULTED, '13(0x0)']);
  });

  it('answer in ZF and leave the destination alone when it is clear', () => {
    const bench = new Bench();
    bench.setProgram(3);
    const ask = (name: string, selector: number): string => {
      bench.cpu.write64(L.ARGUMENTS, 0x77n);
      expect(bench.cpu.call(name, selector)).toBe(OK);
      return `${(bench.flags >>> 6) & 1} ${bench.cpu.read64(L.ARGUMENTS).toString(16)}`;
    };
    expect(ask('lar', CODE3)).toBe('1 cffa00');
    expect(ask('lsl', CODE3)).toBe('1 ffffffff');
    expect(ask('lar', 0)).toBe('0 77');
    expect(ask('lar', 0x100)).toBe('0 77');
    expect(ask('lsl', DATA0)).toBe('0 77');
    expect(ask('lar', CONFORMING)).toBe('1 cf9e00');
    bench.descriptor(FREE, { access: 0xec });
    expect(ask('lar', FREE)).toBe('1 ec00');
    expect(ask('lsl', FREE)).toBe('0 77');
    expect(ask('verr', CODE3)).toMatch(/^1/);
    expect(ask('verw', CODE3)).toMatch(/^0/);
    expect(ask('verw', DATA3)).toMatch(/^1/);
    expect(ask('verr', DATA0)).toMatch(/^0/);
    expect(ask('verr', TSS2_SELECTOR)).toMatch(/^0/);
    expect(bench.cpu.call('arpl', 0x20, 3)).toBe(OK);
    expect([bench.cpu.read64(L.ARGUMENTS), (bench.flags >>> 6) & 1]).toEqual([0x23n, 1]);
    bench.cpu.call('arpl', 0x23, 1);
    expect([bench.cpu.read64(L.ARGUMENTS), (bench.flags >>> 6) & 1]).toEqual([0x23n, 0]);
  });

  it('hide 16-bit task segments and call gates in IA-32e mode', () => {
    const bench = new Bench();
    bench.setLong(0);
    bench.descriptor(FREE, { access: 0x81 });
    bench.cpu.call('lar', FREE);
    expect(bench.flags & 0x40).toBe(0);
    bench.cpu.call('lar', CODE3_64);
    expect(bench.flags & 0x40).toBe(0x40);
  });

  it('refuses SGDT and the like to users with UMIP', () => {
    const bench = new Bench();
    bench.cpu.write64(L.CR4, 0x800n);
    expect(bench.cpu.call('umipCheck')).toBe(OK);
    bench.setProgram(3);
    expect([bench.cpu.call('umipCheck'), bench.fault()]).toEqual([FAULTED, '13(0x0)']);
  });
});
