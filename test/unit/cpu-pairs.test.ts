import { describe, expect, it } from 'vitest';
import { mem, qword, register as r } from '../../core/isa/registers.ts';
import { HOT_LEGACY, HOT_LONG, PAIRS_LEGACY, PAIRS_LONG } from '../../core/cpu/interpreter/hot.ts';
import { numberForms, programsOf } from '../../core/cpu/interpreter/namedForms.ts';
import { PairNumbers, canBeFirst, membersOf } from '../../core/cpu/interpreter/pairs.ts';
import { COLD_FIRST } from '../../core/cpu/interpreter/prebuilt.ts';
import { CODE, Guest, TIERS } from '../helpers/guest-program.ts';
import type { Stop } from '../helpers/guest-program.ts';

const DATA = 0x160000;
const FUNCTION = CODE + 0x2000;
const NOT_MAPPED = 0x4000_0000;
const PAGE_FAULT = 14;
/** What the function below consists of. */
const STORES = '64 89 Ev,Gv 64 m:base64 + 64 89 Ev,Gv 64 m:base64';

describe('the list of pairs', () => {
  it.each([['64-bit code', HOT_LONG, PAIRS_LONG], ['other code', HOT_LEGACY, PAIRS_LEGACY]] as const)('is of hot forms, for %s', (_name, hot, pairs) => {
    const numbers = new PairNumbers(numberForms([hot], [], COLD_FIRST), hot.length, pairs);
    for (const pair of pairs) {
      const [first, second] = membersOf(pair).map(name => 5 + hot.indexOf(name)) as [number, number];
      expect(numbers.single(numbers.of(first, second))).toBe(first);
    }
    expect(pairs.every(pair => canBeFirst(programsOf([membersOf(pair)[0]])[0]!))).toBe(true);
  });

  it('does not begin with what ends a run, or is a helper', () => {
    expect(programsOf(['64 E8 Jz 64 r', '64 C3 - 64 r', '64 0F A2 - 32 r']).map(canBeFirst)).toEqual([false, false, false]);
    expect(programsOf(['64 74 Jb 64 r', '64 50+r Zv 64 r']).map(canBeFirst)).toEqual([true, true]);
  });
});

describe.each(TIERS)('a pair of instructions, compiled %s', tier => {
  /** Stores RBX to RSI and RCX to RDI, twice; the address of the second store. */
  function storeTwice(guest: Guest, rsi: (second: number) => number, rdi: number): { readonly second: number; readonly stop: Stop } {
    expect(PAIRS_LONG).toContain(STORES);
    const code = guest.load(64, FUNCTION, a => a.emit('MOV', qword(mem(r.rsi)), r.rbx).label('second').emit('MOV', qword(mem(r.rdi)), r.rcx).emit('RET').emit('NOP').emit('NOP').emit('NOP').emit('NOP'));
    const second = code.addressOf('second');
    const stop = guest.run64(a => a
      .emit('MOV', r.rax, FUNCTION).emit('MOV', r.rsi, DATA).emit('MOV', r.rdi, DATA + 8).emit('CALL', r.rax)
      .emit('MOV', r.rsi, rsi(second)).emit('MOV', r.rdi, rdi).emit('CALL', r.rax).emit('HLT'));
    return { second, stop };
  }

  it('whose first writes the second has the effect of what was written', () => {
    const guest = new Guest(tier);
    guest.set('rcx', 0x1111);
    guest.set('rdx', 0x2222);
    // MOV [RDI], RDX; RET; NOPs
    guest.set('rbx', 0x90909090c3178948n);
    const { stop } = storeTwice(guest, second => second, DATA + 16);
    expect(stop).toMatchObject({ kind: 'hlt', vector: -1 });
    expect([guest.read(DATA + 8, 8), guest.read(DATA + 16, 8)]).toEqual([0x1111, 0x2222]);
  });

  it('whose second faults has done the first, and is at the second', () => {
    const guest = new Guest(tier);
    guest.set('rbx', 0x3333);
    const { stop, second } = storeTwice(guest, () => DATA + 32, NOT_MAPPED);
    expect(stop).toMatchObject({ kind: 'exception', vector: PAGE_FAULT, rip: second });
    expect(guest.read(DATA + 32, 8)).toBe(0x3333);
  });
});
