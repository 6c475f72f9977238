/** Several processors in one machine: how they are started, reach one another, and take turns. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { asm, image, runToEnd, smallMachine } from '../../helpers/small-guest.ts';
import type { MachineConfig } from '../../../core/machine/types.ts';

const ICR = 0xfee00300;
const ICR_HIGH = 0xfee00310;
const NMI = 0x4400;
const INIT = 0x4500;
const START_UP = 0x4600;
const OTHERS = 0xc0000;
/** Page of the code that a started processor begins with, and words that the processors share. */
const PAGE = 8;
const SHARED = 0x9000;
const COUNTER = 0x9010;

const store8 = (address: number, value: number): number[] => [0xc6, 0x05, address & 0xff, (address >> 8) & 0xff, (address >> 16) & 0xff, address >>> 24, value];
/** Puts 16-bit code where processors start. */
const place = (code: readonly number[]): number[] => code.flatMap((byte, index) => store8(PAGE * 4096 + index, byte));
/** The same, shorter, and elsewhere: PAGE is where the first processor's GDT lies, which interrupts of its own need. */
const FREE_PAGE = 10;
const placeWords = (code: readonly number[]): number[] => Array.from({ length: Math.ceil(code.length / 4) }, (_, i) =>
  asm.store(FREE_PAGE * 4096 + i * 4, Buffer.from([...code.slice(i * 4, i * 4 + 4), 0, 0, 0]).readUInt32LE())).flat();
const sendTo = (apic: number, command: number): number[] => [...asm.store(ICR_HIGH, apic << 24), ...asm.store(ICR, command)];
const start = (apic: number): number[] => [...sendTo(apic, INIT), ...sendTo(apic, START_UP | PAGE)];
/** Waits until a shared word has a value; with PAUSE or without. */
const await32 = (address: number, value: number, pause = true): number[] => {
  const body = [...(pause ? [0xf3, 0x90] : []), ...asm.loadEax(address), ...asm.compareEax(value)];
  return [...body, 0x75, 256 - body.length - 2];
};
/** In 16-bit code: mov byte [address], value. */
const store16 = (address: number, value: number): number[] => [0xc6, 0x06, address & 0xff, address >> 8, value];
/** lock inc word [COUNTER], so many times; CX counts. */
const count16 = (times: number): number[] => [0xb9, times & 0xff, times >> 8, 0xf0, 0xff, 0x06, COUNTER & 0xff, COUNTER >> 8, 0xe2, 0xf9];
const halt16 = [0xfa, 0xf4, 0xeb, 0xfd];
/** Marks itself as started: lock inc word [SHARED]. */
const started16 = [0xf0, 0xff, 0x06, SHARED & 0xff, SHARED >> 8];

const run = async (cpus: number, code: readonly number[], handlers = {}, changes: Partial<MachineConfig> = {}, slices?: number) =>
  runToEnd(await smallMachine(image(code, handlers), { cpus, ...changes }), slices);
const exits = (value: number) => ({ reason: 'debug-exit', value });

describe('a processor that is not the first', () => {
  it('waits to be started', async () => {
    expect(await run(2, [...place([...store16(SHARED, 1), ...halt16]), ...await32(SHARED, 1), ...asm.exit], {}, {}, 60)).toBeNull();
  });
  it('starts in real mode at the page that the start-up message names', async () => {
    // mov [SHARED], cs
    const code = [0x8c, 0x0e, SHARED & 0xff, SHARED >> 8, ...halt16];
    expect(await run(2, [...place(code), ...start(1), ...await32(SHARED, PAGE << 8), ...asm.exit])).toEqual(exits(PAGE << 8));
  });
  it('is seen by one that spins without PAUSE', async () => {
    expect(await run(2, [...place([...store16(SHARED, 7), ...halt16]), ...start(1), ...await32(SHARED, 7, false), ...asm.exit])).toEqual(exits(7));
  });
  it('ignores a second start-up message', async () => {
    const code = [...started16, ...halt16];
    const again = [...await32(SHARED, 1), ...sendTo(1, START_UP | PAGE), ...start(2), ...await32(SHARED, 2), ...asm.exit];
    expect(await run(3, [...place(code), ...start(1), ...again])).toEqual(exits(2));
  });
  it('goes back to waiting at INIT', async () => {
    const code = [...started16, 0xeb, 0xfe];
    const again = [...await32(SHARED, 1), ...start(1), ...await32(SHARED, 2), ...asm.exit];
    expect(await run(2, [...place(code), ...start(1), ...again])).toEqual(exits(2));
  });
  it('has an APIC ID of its own, in the APIC and in CPUID', async () => {
    // mov eax, 1; cpuid; shr ebx, 24; mov [SHARED], bx
    const code = [0x66, 0xb8, 1, 0, 0, 0, 0x0f, 0xa2, 0x66, 0xc1, 0xeb, 24, 0x89, 0x1e, SHARED & 0xff, SHARED >> 8, ...halt16];
    expect(await run(4, [...place(code), ...start(3), ...await32(SHARED, 3), ...asm.exit])).toEqual(exits(3));
  });
  it('starts again after a reset of the machine', async () => {
    const guest = await smallMachine(image([...place([...started16, ...halt16]), ...start(1), ...await32(SHARED, 1), ...asm.exit]), { cpus: 2 });
    expect(await runToEnd(guest)).toEqual(exits(1));
    guest.machine.reset();
    expect(await runToEnd(guest)).toEqual(exits(1));
  });
});

describe('processors together', () => {
  it.each(['off', 'on', 'always'] as const)('count without losing a step, regions %s', async (jit) => {
    const code = [...started16, ...count16(20_000), ...store16(SHARED + 4, 1), ...halt16];
    const wait = [...await32(SHARED, 3), ...await32(COUNTER, 60_000), ...asm.exit];
    expect(await run(4, [...place(code), ...[1, 2, 3].flatMap(start), ...wait], {}, { jit })).toEqual(exits(60_000));
  });
  it('run code that another one has just written', async () => {
    // The started processor runs byte 2 of its code in a loop until the first one makes a halt of it: inc byte [SHARED]; jmp -6.
    const loop = [0xfe, 0x06, SHARED & 0xff, SHARED >> 8, 0xeb, 0xfa];
    const rewrite = [...store8(PAGE * 4096 + 5, 0x00), ...place([...loop.slice(0, 4), 0xeb, 0x00, ...store16(SHARED + 4, 9), ...halt16])];
    expect(await run(2, [...place(loop), ...start(1), ...Array.from({ length: 20 }, () => [0xf3, 0x90]).flat(), ...rewrite, ...await32(SHARED + 4, 9), ...asm.exit])).toEqual(exits(9));
  });
  it('wake one that is halted, by an NMI to all others', async () => {
    // The started processor marks itself and halts; its table is at 0, the handler at PAGE:80.
    const code = [...started16, 0xfa, 0xf4];
    const handler = [...store16(SHARED + 4, 5), ...halt16];
    const table = [...asm.store(2 * 4, (PAGE << 24) | 0x80), ...handler.flatMap((byte, index) => store8(PAGE * 4096 + 0x80 + index, byte))];
    const send = [...await32(SHARED, 1), ...asm.store(ICR, OTHERS | NMI), ...await32(SHARED + 4, 5), ...asm.exit];
    expect(await run(2, [...table, ...place(code), ...start(1), ...send])).toEqual(exits(5));
  });
  it('each send an NMI to the first, which takes both', async () => {
    const mov16 = (opcode: number, value: number): number[] => [0x66, opcode, value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24];
    const wrmsr16 = (msr: number, value: number): number[] => [...mov16(0xb9, msr), ...mov16(0xb8, value), ...mov16(0xba, 0), 0x0f, 0x30];
    // The started processor, in x2APIC mode, waits for its sign: cmp byte [SHARED + 4], 0; je.
    const code = [...wrmsr16(0x1b, 0xfee00c00), ...started16, 0x80, 0x3e, (SHARED + 4) & 0xff, SHARED >> 8, 0, 0x74, 0xf9, ...wrmsr16(0x830, NMI), ...store16(SHARED + 8, 1), ...halt16];
    const first = [...asm.lidt, ...placeWords(code), ...sendTo(1, INIT), ...sendTo(1, START_UP | FREE_PAGE), ...await32(SHARED, 1), ...sendTo(0, NMI), ...store8(SHARED + 4, 1), ...await32(SHARED + 8, 1)];
    expect(await run(2, [...first, ...asm.loadEax(COUNTER), ...asm.exit], { 2: [...asm.incMemory(COUNTER), ...asm.iret] }, { cpuModel: 'max' })).toEqual(exits(2));
  });
  it('sleep when all are halted', async () => {
    const { machine } = await smallMachine(image([...place([...started16, ...halt16]), ...start(1), ...await32(SHARED, 1), ...asm.out8(0x43, 0x38), ...asm.cli, ...asm.hlt]), { cpus: 2 });
    let result = machine.runSlice();
    for (let i = 0; i < 100 && result.kind !== 'halted'; i++) result = machine.runSlice();
    expect(result).toEqual({ kind: 'halted', wakeInNs: null });
  });
  it.each(['off', 'on'] as const)('do the same each time by the instruction count, regions %s', async (jit) => {
    const code = [...started16, ...count16(30_000), ...halt16];
    // Where the first processor stands when the others are done depends on every turn.
    const spin = [...asm.ebx(0), 0x43, ...asm.loadEax(COUNTER), ...asm.compareEax(90_000 & 0xffff), 0x75, 256 - 13];
    const once = async (): Promise<unknown> => {
      const guest = await smallMachine(image([...place(code), ...[1, 2, 3].flatMap(start), ...spin, ...asm.eaxFrom(3), ...asm.exit]), { cpus: 4, jit, clock: 'instructions' });
      return [await runToEnd(guest), guest.machine.statistics().instructions];
    };
    expect(await once()).toEqual(await once());
  });
});

describe('whatever processors send to one another', () => {
  it('ends in a state of the machine, and never in an error of ours', async () => {
    const word = fc.nat({ max: 0xffffffff });
    await fc.assert(fc.asyncProperty(fc.array(fc.tuple(word, word), { minLength: 1, maxLength: 12 }), fc.uint8Array({ maxLength: 24 }), async (commands, bytes) => {
      const sent = commands.flatMap(([high, low]) => [...asm.store(ICR_HIGH, high), ...asm.store(ICR, low)]);
      const guest = await smallMachine(image([...place([...bytes]), ...start(1), ...sent, 0xf3, 0x90, ...start(2), ...asm.spin]), { cpus: 3, jit: 'on', clock: 'instructions' });
      for (let i = 0; i < 4; i++) if (guest.machine.runSlice().kind === 'stopped') break;
      expect(guest.machine.describe()).toContain('vCPU 2');
    }), { numRuns: 25, seed: 4 });
  }, 60_000);
});
