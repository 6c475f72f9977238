import { describe, expect, it } from 'vitest';
import { asm, image, runToEnd, smallMachine } from '../../helpers/small-guest.ts';
import type { SmallMachine } from '../../helpers/small-guest.ts';

/** ICR of the local APIC: to itself (physical destination 0), asserted. */
const send = (mode: number): number[] => [...asm.store(0xfee00310, 0), ...asm.store(0xfee00300, 0x4000 | (mode << 8))];
const NMI = 4;
const INIT = 5;
const START_UP = 6;
const SMI = 2;
const ended = async (code: readonly number[], handlers: Readonly<Record<number, readonly number[]>> = {}, slices?: number) => runToEnd(await smallMachine(image(code, handlers)), slices);
const exits = (value: number) => ({ reason: 'debug-exit', value });

describe('an exit while root mode completes an instruction', () => {
  it('is not lost: the trap of a single-stepped CPUID that cannot be delivered is a triple fault', async () => {
    expect(await ended([...asm.trap, ...asm.cpuid, ...asm.eax(1), ...asm.exit])).toMatchObject({ reason: 'triple-fault' });
  });
  it('is not lost: neither is that of a single-stepped HLT', async () => {
    expect(await ended([...asm.trap, ...asm.hlt, ...asm.eax(1), ...asm.exit])).toMatchObject({ reason: 'triple-fault' });
  });
  it('is not lost: nor a #GP of RDMSR that cannot be delivered', async () => {
    expect(await ended([...asm.ecx(0x12345), ...asm.rdmsr, ...asm.eax(1), ...asm.exit])).toMatchObject({ reason: 'triple-fault' });
  });
  it('shows the registers of the guest that ended', async () => {
    const exit = await ended([...asm.ebx(0xabcd1234), ...asm.ud2]);
    expect(exit?.reason === 'triple-fault' && exit.state).toMatch(/RBX 00000000abcd1234[^]*RIP 0000000000100025/);
  });
});

describe('HLT', () => {
  const tick = [...asm.out8(0x21, 0xfe)];
  it('ends with an interrupt', async () => {
    expect(await ended([...asm.lidt, ...tick, ...asm.sti, ...asm.hlt, ...asm.spin], { 8: [...asm.eax(5), ...asm.exit] })).toEqual(exits(5));
  });
  it('does not end with an interrupt that is masked by IF', async () => {
    expect(await ended([...asm.lidt, ...tick, ...asm.cli, ...asm.hlt, ...asm.eax(1), ...asm.exit], { 8: [...asm.eax(5), ...asm.exit] }, 40)).toBeNull();
  });
  it('is over at once when it is single-stepped', async () => {
    expect(await ended([...asm.lidt, ...asm.trap, ...asm.hlt, ...asm.spin], { 1: [...asm.eax(7), ...asm.exit] })).toEqual(exits(7));
  });
  it('sleeps without a wake-up time when nothing is armed', async () => {
    const { machine } = await smallMachine(image([...asm.out8(0x43, 0x38), ...asm.cli, ...asm.hlt]));
    let result = machine.runSlice();
    for (let i = 0; i < 20 && result.kind !== 'halted'; i++) result = machine.runSlice();
    expect(result).toEqual({ kind: 'halted', wakeInNs: null });
  });
});

describe('NMI', () => {
  const counter = 0x180000;
  it('is delivered with interrupts off', async () => {
    expect(await ended([...asm.lidt, ...asm.cli, ...send(NMI), ...asm.spin], { 2: [...asm.eax(9), ...asm.exit] })).toEqual(exits(9));
  });
  it('waits for the IRET of the one before', async () => {
    const first = [...asm.store(counter, 1), ...send(NMI), ...asm.ebx(0), ...asm.ebx(3), ...asm.iret];
    const handler = [...asm.loadEax(counter), ...asm.compareEax(1), ...asm.unlessEqual(first), ...asm.eaxFrom(3), ...asm.exit];
    expect(await ended([...asm.lidt, ...asm.ebx(1), ...send(NMI), ...asm.spin], { 2: handler })).toEqual(exits(3));
  });
  it('ends HLT with interrupts off', async () => {
    // The handler returns behind HLT.
    expect(await ended([...asm.lidt, ...asm.cli, ...send(NMI), ...asm.eax(11), ...asm.exit], { 2: asm.iret })).toEqual(exits(11));
  });
});

describe('INIT', () => {
  it('starts in real mode at the reset vector, with the processor signature in EDX', async () => {
    // The shutdown code asks to go on at 40:67. There: mov eax, edx; out f4h, eax.
    const shutdown = [...asm.out8(0x70, 0x8f), ...asm.out8(0x71, 0x0a), ...asm.store(0x467, 0x7000)];
    const setUp = [...shutdown, ...asm.store(0x7000, 0x66d08966), ...asm.store(0x7004, 0xf4e7)];
    expect(await ended([...setUp, ...asm.edx(77), ...send(INIT), ...asm.spin])).toEqual(exits(0x606a6));
  });
  it('resets the machine when the CMOS holds no shutdown code', async () => {
    expect(await ended([...send(INIT), ...asm.spin])).toEqual({ reason: 'reset' });
  });
  it.each([['a start-up message', START_UP], ['a system management interrupt', SMI]])('%s does nothing to a running processor', async (_what, mode) => {
    expect(await ended([...send(mode), ...asm.eax(4), ...asm.exit])).toEqual(exits(4));
  });
  it('a start-up message does not end HLT', async () => {
    expect(await ended([...asm.cli, ...send(START_UP), ...asm.hlt, ...asm.eax(4), ...asm.exit], {}, 40)).toBeNull();
  });
});

describe('an x87 exception with CR0.NE clear', () => {
  // mov eax, 11h; mov cr0, eax; push 37bh; fldcw [esp]; fldz; fld1; fdivrp; fwait: a division by zero that FWAIT finds.
  const divide = [...asm.eax(0x11), 0x0f, 0x22, 0xc0, 0x68, 0x7b, 3, 0, 0, 0xd9, 0x2c, 0x24, 0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9, 0x9b];
  // The second 8259A is at vector 70H: IRQ 13 there, and the cascade.
  const unmask = [...asm.out8(0x21, 0xfb), ...asm.out8(0xa1, 0xdf), ...asm.sti];
  it('is interrupt 13 of the PC', async () => {
    expect(await ended([...asm.lidt, ...unmask, ...divide, ...asm.eax(1), ...asm.exit], { 0x75: [...asm.eax(13), ...asm.exit] })).toEqual(exits(13));
  });
  it('is left alone once port F0H asserts IGNNE#', async () => {
    const handler = [...asm.out8(0xf0, 0), ...asm.out8(0xa0, 0x20), ...asm.out8(0x20, 0x20), ...asm.iret];
    expect(await ended([...asm.lidt, ...unmask, ...divide, ...asm.eax(6), ...asm.exit], { 0x75: handler })).toEqual(exits(6));
  });
  it('waits for an interrupt when IRQ 13 is masked', async () => {
    expect(await ended([...asm.lidt, ...asm.out8(0x21, 0xff), ...asm.sti, ...divide, ...asm.eax(1), ...asm.exit], {}, 40)).toBeNull();
  });
});

describe('the time-stamp counter', () => {
  const setTsc = [...asm.ecx(0x10), ...asm.eax(0), ...asm.edx(0x1000), ...asm.wrmsr];
  it('goes on from what is written to it', async () => {
    expect(await ended([...setTsc, ...asm.rdtsc, ...asm.eaxFrom(2), ...asm.exit])).toEqual(exits(0x1000));
  });
  it('shows the change in IA32_TSC_ADJUST', async () => {
    expect(await ended([...setTsc, ...asm.ecx(0x3b), ...asm.rdmsr, ...asm.eaxFrom(2), ...asm.exit])).toEqual(exits(0xfff));
  });
  it('moves with IA32_TSC_ADJUST', async () => {
    const adjust = [...asm.ecx(0x3b), ...asm.eax(0), ...asm.edx(0x20), ...asm.wrmsr];
    expect(await ended([...adjust, ...asm.rdtsc, ...asm.eaxFrom(2), ...asm.exit])).toEqual(exits(0x20));
  });
  it('starts from zero', async () => {
    expect(await ended([...asm.rdtsc, ...asm.eaxFrom(2), ...asm.exit])).toEqual(exits(0));
  });
});

describe('model-specific registers', () => {
  it('that do not exist are #GP, read or written', async () => {
    const caught = { 13: [...asm.eax(13), ...asm.exit] };
    expect(await ended([...asm.lidt, ...asm.ecx(0xc0001234), ...asm.rdmsr, ...asm.eax(1), ...asm.exit], caught)).toEqual(exits(13));
    expect(await ended([...asm.lidt, ...asm.ecx(0xc0001234), ...asm.wrmsr, ...asm.eax(1), ...asm.exit], caught)).toEqual(exits(13));
  });
  it('IA32_APIC_BASE moves the local APIC: the page it leaves is memory again', async () => {
    const base = 0x200000;
    const move = (to: number) => [...asm.ecx(0x1b), ...asm.eax(to | 0x900), ...asm.edx(0), ...asm.wrmsr];
    const write = asm.store(base + 0x80, 0x55);
    const code = [...write, ...move(base), ...asm.store(base + 0x80, 0x30), ...move(0xfee00000), ...asm.loadEax(base + 0x80), ...asm.exit];
    expect(await ended(code)).toEqual(exits(0x55));
    expect(await ended([...move(base), ...asm.store(base + 0x80, 0x30), ...asm.loadEax(base + 0x80), ...asm.exit])).toEqual(exits(0x30));
  });
});

describe('reset', () => {
  const scratch = 0x300000;
  /** Ends with 99 unless memory is clear; prints R; spoils its own code and memory; spins. */
  const code = [
    ...asm.loadEax(scratch), ...asm.compareEax(0), ...asm.unlessEqual([...asm.eax(99), ...asm.exit]), ...asm.store(scratch, 1),
    ...asm.out8(0x3f8, 0x52), ...asm.store(0x100020, 0xf4f4f4f4), ...asm.spin,
  ];
  /** Runs until R was printed so many times in all. A UART takes its time for a character. */
  const says = async (small: SmallMachine, times: number): Promise<void> => {
    for (let i = 0; i < 500 && small.output().length < times; i++) expect(await runToEnd(small, 1)).toBeNull();
    expect(small.output()).toBe('R'.repeat(times));
  };
  it('at any time starts the image again, in clear memory, with its code as it was', async () => {
    const small = await smallMachine(image(code));
    for (let round = 1; round <= 4; round++) {
      await says(small, round);
      for (let i = 0; i < round; i++) expect(small.machine.runSlice().kind).toBe('ran');
      small.machine.reset();
    }
  });
  it('ends a halt', async () => {
    const small = await smallMachine(image([...asm.out8(0x3f8, 0x52), ...asm.cli, ...asm.hlt]));
    for (let round = 1; round <= 3; round++) {
      await says(small, round);
      small.machine.reset();
    }
  });
  it('forgets an exit that was on its way, and pending events', async () => {
    const small = await smallMachine(image([...asm.loadEax(scratch), ...asm.trap, ...asm.cpuid]));
    small.machine.runSlice();
    small.machine.reset();
    expect((await runToEnd(small))?.reason).toBe('triple-fault');
  });
});
