/** A run by the instruction count repeats, bit for bit: time, date, chance and interrupts too. */
import { describe, expect, it } from 'vitest';
import { asm, image, runToEnd, smallMachine } from '../../helpers/small-guest.ts';

const COUNTER = 0x180000;
/** out 3f8h, al. */
const send = [0x66, 0xba, 0xf8, 0x03, 0xee];
/** All four bytes of EAX to COM1. */
const sendAll = [0, 1, 2, 3].flatMap(() => [...send, 0xc1, 0xe8, 0x08]);
const cmos = (register: number): number[] => [...asm.out8(0x70, register), 0xe4, 0x71];
const rdrand = [0x0f, 0xc7, 0xf0];
/** Spins until 40 ticks of the 8254 have come; on a busy host two may come between two looks. */
const wait = [...asm.loadEax(COUNTER), ...asm.compareEax(40), 0x72, 0xf4];
const tick = [0x50, 0x52, ...asm.incMemory(COUNTER), ...asm.out8(0x20, 0x20), 0x5a, 0x58, ...asm.iret];
/** Counter 0 at 1 kHz. */
const timer = [...asm.out8(0x43, 0x34), ...asm.out8(0x40, 0xa9), ...asm.out8(0x40, 0x04), ...asm.out8(0x21, 0xfe)];

const program = [
  ...asm.lidt, ...timer, ...asm.sti, ...rdrand, ...sendAll, ...asm.rdtsc, ...sendAll, ...wait, ...asm.rdtsc, ...sendAll,
  ...[0, 2, 4, 7, 8, 9].flatMap(register => [...cmos(register), ...send]), ...rdrand, ...sendAll, ...asm.eax(0), ...asm.exit,
];

async function run(clock: 'wall' | 'instructions', jit: 'off' | 'on'): Promise<{ output: string; instructions: number }> {
  const guest = await smallMachine(image(program, { 8: tick }), { clock, jit });
  expect(await runToEnd(guest)).toEqual({ reason: 'debug-exit', value: 0 });
  return { output: Buffer.from(guest.output(), 'latin1').toString('hex'), instructions: guest.machine.statistics().instructions };
}

describe('a machine whose time is the instruction count', () => {
  it.each(['off', 'on'] as const)('does the same each time, regions %s', async (jit) => {
    expect(await run('instructions', jit)).toEqual(await run('instructions', jit));
  });

  it('does not by the clock on the wall, so the program can tell', async () => {
    expect(await run('wall', 'off')).not.toEqual(await run('wall', 'off'));
  });
});
