import { describe, expect, it } from 'vitest';
import * as L from '../../core/cpu/layout.ts';
import { AX, BP, Bench, DATA0, DI, FAULTED, OK, SP, STACK3 } from '../helpers/cpu-tables.ts';

describe('PUSHA and POPA', () => {
  it('store the stack pointer of before and do not load it', () => {
    const bench = new Bench();
    for (let i = 0; i < 8; i++) if (i !== SP) bench.setGpr(i, 0x1111_1111 * i);
    expect(bench.cpu.call('pusha', 4)).toBe(OK);
    expect(bench.stack(8, 4)).toEqual([7, 6, 5, 0, 3, 2, 1, 0].map((i, at) => (at === 3 ? STACK3 : 0x1111_1111 * i)));
    for (let i = 0; i < 8; i++) if (i !== SP) bench.setGpr(i, 0);
    expect(bench.cpu.call('popa', 4)).toBe(OK);
    expect([bench.gpr(DI), bench.gpr(AX), bench.gpr(SP)]).toEqual([0x7777_7777n, 0n, BigInt(STACK3)]);
  });

  it('keep the upper halves with 16-bit operands', () => {
    const bench = new Bench();
    bench.setGpr(BP, 0xaaaa_bbbb);
    bench.cpu.call('pusha', 2);
    bench.setGpr(BP, 0xcccc_0000);
    bench.cpu.call('popa', 2);
    expect(bench.gpr(BP)).toBe(0xcccc_bbbbn);
  });

  it('change nothing when the frame does not fit', () => {
    const bench = new Bench();
    bench.segment(L.SS, { selector: DATA0, base: 0, limit: 0xffff, access: 0x4093 });
    bench.setGpr(SP, 0x1_0010);
    expect([bench.cpu.call('pusha', 4), bench.fault()]).toEqual([FAULTED, '12(0x0)']);
    bench.setGpr(SP, 0xfff0);
    expect([bench.cpu.call('popa', 4), bench.fault()]).toEqual([FAULTED, '12(0x0)']);
    expect(bench.gpr(SP)).toBe(0xfff0n);
  });
});

describe('ENTER', () => {
  it('makes a frame without a display', () => {
    const bench = new Bench();
    bench.setGpr(BP, 0x1234);
    expect(bench.cpu.call('enter', 0x20, 0, 4)).toBe(OK);
    expect([bench.gpr(BP), bench.gpr(SP), bench.peek32(STACK3 - 4)]).toEqual([BigInt(STACK3 - 4), BigInt(STACK3 - 0x24), 0x1234]);
  });

  it('copies the display of the outer frames', () => {
    const bench = new Bench();
    bench.setGpr(BP, 0x8000);
    bench.poke32(0x7ffc, 0xaaaa);
    bench.poke32(0x7ff8, 0xbbbb);
    expect(bench.cpu.call('enter', 0, 3, 4)).toBe(OK);
    expect(bench.stack(4, 4)).toEqual([STACK3 - 4, 0xbbbb, 0xaaaa, 0x8000]);
  });

  it('pushes quadwords in 64-bit mode', () => {
    const bench = new Bench();
    bench.setLong(0);
    bench.setGpr(BP, 0x1234_5678_9abcn);
    expect(bench.cpu.call('enter', 8, 1, 8)).toBe(OK);
    expect([bench.gpr(BP), bench.gpr(SP), bench.peek64(STACK3 - 8)]).toEqual([BigInt(STACK3 - 8), BigInt(STACK3 - 24), 0x1234_5678_9abcn]);
  });

  it('changes neither RSP nor RBP when the locals leave the stack', () => {
    const bench = new Bench();
    bench.segment(L.SS, { selector: DATA0, base: 0, limit: 0xffff, access: 0x4093 });
    bench.setGpr(SP, 0x100);
    bench.setGpr(BP, 0x1234);
    expect([bench.cpu.call('enter', 0x200, 0, 4), bench.fault()]).toEqual([FAULTED, '12(0x0)']);
    expect([bench.gpr(SP), bench.gpr(BP)]).toEqual([0x100n, 0x1234n]);
  });
});
