import { describe, expect, it } from 'vitest';
import * as L from '../../core/cpu/layout.ts';
import { Bench, CODE0_64, CODE3_64, DATA3, EXIT, FAULTED, GDT, JUMP, SP, STACK0, STACK1, STACK3, TSS } from '../helpers/cpu-tables.ts';

const TABLE = 0x10_0000;

/** 4-level paging, the first 2 MiB mapped one to one by 4 KiB pages that users may reach; `remap` changes one entry. */
function paged(ring: number): Bench {
  const bench = new Bench();
  bench.poke64(TABLE, BigInt(TABLE + 0x1007));
  bench.poke64(TABLE + 0x1000, BigInt(TABLE + 0x2007));
  bench.poke64(TABLE + 0x2000, BigInt(TABLE + 0x3007));
  for (let page = 0; page < 512; page++) bench.poke64(TABLE + 0x3000 + page * 8, BigInt(page * 0x1000 + 7));
  bench.cpu.write64(L.CR3, BigInt(TABLE));
  bench.cpu.write64(L.CR4, 0x20n);
  bench.cpu.write64(L.EFER, 0xd01n);
  bench.cpu.write64(L.CR0, 0x8001_0011n);
  bench.setLong(ring);
  bench.cpu.call('flushAll');
  return bench;
}

function remap(bench: Bench, address: number, entry: number): void {
  bench.poke64(TABLE + 0x3000 + (address >> 12) * 8, BigInt(entry));
  bench.cpu.call('flushAll');
}

describe('delivery under paging', () => {
  it('makes a page fault on the kernel stack, met while a page fault is delivered, a double fault on its own stack', () => {
    const bench = paged(3);
    remap(bench, STACK0 - 0x1000, 0);
    bench.vector(14, 14, CODE0_64, 0x2000, { long: true });
    bench.vector(8, 14, CODE0_64, 0x8000, { long: true, ist: 1 });
    bench.cpu.write64(L.FAULT_ADDRESS, 0x1234n);
    expect(bench.except(14, 6)).toBe(JUMP);
    expect([bench.rip, bench.gpr(SP)]).toEqual([0x8000, BigInt(STACK1 - 48)]);
    expect(bench.stack(6, 8)).toEqual([0, 0x1000, CODE3_64, 0x1_0002, STACK3, DATA3]);
    // CR2 is that of the second page fault: the top of the stack's first slot.
    expect(bench.cpu.read64(L.CR2)).toBe(BigInt(STACK0 - 8));
  });

  it('writes nothing when the frame crosses into an absent page', () => {
    const bench = paged(0);
    bench.setGpr(SP, STACK3 + 16);
    remap(bench, STACK3 - 0x1000, 0);
    bench.poke64(STACK3 + 8, 0x77n);
    bench.vector(0x40, 14, CODE0_64, 0x2000, { long: true });
    expect(bench.cpu.call('interrupt', 0x40)).toBe(FAULTED);
    expect(bench.cpu.read64(L.FAULT_ADDRESS)).toBe(BigInt(STACK3 - 8));
    expect(bench.fault()).toBe('14(0x2)');
    expect([bench.peek64(STACK3 + 8), bench.gpr(SP), bench.rip]).toEqual([0x77n, BigInt(STACK3 + 16), 0x1000]);
  });

  it('reads descriptor tables and the task segment with supervisor rights from user code', () => {
    const bench = paged(3);
    for (const address of [GDT, TSS, STACK0 - 0x1000, 0x2_0000]) remap(bench, address, address | 3);
    bench.vector(0x80, 14, CODE0_64, 0x2000, { long: true, dpl: 3 });
    expect(bench.cpu.call('interrupt', 0x80)).toBe(JUMP);
    expect(bench.cpl).toBe(0);
    expect(bench.cpu.call('iret', 8)).toBe(JUMP);
    expect([bench.cpl, bench.rip, bench.gpr(SP)]).toEqual([3, 0x1002, BigInt(STACK3)]);
  });

  it('reports a page fault in the descriptor table with the address of the descriptor', () => {
    const bench = paged(0);
    remap(bench, GDT, 0);
    expect(bench.cpu.call('loadSegment', L.DS, 0x10)).toBe(FAULTED);
    expect(bench.cpu.read64(L.FAULT_ADDRESS)).toBe(BigInt(GDT + 0x10));
    expect(bench.fault()).toBe('14(0x0)');
  });

  it('shuts down when neither the page fault nor the double fault can be delivered', () => {
    const bench = paged(0);
    remap(bench, 0x2_0000, 0);
    expect(bench.except(14, 0)).toBe(EXIT);
    expect(bench.fault()).toBe('exit 2');
  });

  it('does not mark a descriptor accessed that already is, so that tables can be read-only', () => {
    const bench = paged(0);
    bench.descriptor(0x10, { access: 0x93, limit: 0xfffff, flags: 0xc });
    remap(bench, GDT, GDT | 5);
    expect(bench.cpu.call('loadSegment', L.DS, 0x10)).toBe(0);
    bench.descriptor(0xa0, { access: 0x92, limit: 0xfffff, flags: 0xc });
    expect(bench.cpu.call('loadSegment', L.DS, 0xa0)).toBe(FAULTED);
    expect(bench.fault()).toBe('14(0x3)');
  });
});

describe('what root mode completes', () => {
  it('raises the single-step trap of an instruction that exited', () => {
    const bench = new Bench();
    bench.vector(1, 14, 8, 0x9000);
    bench.flags = 0x102;
    bench.cpu.call('beginStep');
    expect(bench.cpu.call('portIn', 0x60, 1, 0)).toBe(EXIT);
    bench.cpu.write32(L.FAULT, 0);
    bench.cpu.write64(L.RIP, 0x1002n);
    expect(bench.cpu.call('endInstruction')).toBe(JUMP);
    expect([bench.rip, ...bench.stack(1, 4)]).toEqual([0x9000, 0x1002]);
  });

  it('ends the shadow of STI with a HLT that exited', () => {
    const bench = new Bench();
    bench.cpu.write32(L.INTERRUPT_WINDOW, 1);
    bench.cpu.call('sti');
    bench.cpu.call('beginStep');
    expect(bench.cpu.call('hlt')).toBe(EXIT);
    expect([bench.fault(), bench.cpu.call('endInstruction')]).toEqual(['exit 12', 0]);
    expect(bench.cpu.read32(L.INTERRUPTIBILITY)).toBe(0);
  });

  it('keeps RF after IRET for one instruction while breakpoints are armed', () => {
    const bench = new Bench();
    bench.cpu.call('movToDr', 0, 0x5000n);
    bench.cpu.call('movToDr', 7, 0x402n);
    bench.cpu.call('beginStep');
    bench.setGpr(SP, STACK3 - 12);
    [0x5000, 8, 0x1_0002].forEach((value, i) => bench.poke32(STACK3 - 12 + i * 4, value));
    bench.cpu.call('iret', 4);
    expect(bench.cpu.call('singleStep')).toBe(0);
    expect(bench.flags & 0x1_0000).toBe(0x1_0000);
    expect(bench.cpu.call('beginStep')).toBe(0);
    expect(bench.cpu.call('singleStep')).toBe(0);
    expect(bench.flags & 0x1_0000).toBe(0);
    expect(bench.cpu.call('beginStep')).toBe(FAULTED);
  });
});
