import { describe, expect, it } from 'vitest';
import type { Assembler } from '../../core/isa/assembler.ts';
import { byte, dword, mem, qword, register as r } from '../../core/isa/registers.ts';
import { CODE, DATA, Guest, TIERS } from '../helpers/guest-program.ts';
import type { Tier } from '../helpers/guest-program.ts';

/**
 * Programs made by chance, as compilers make them: structures and stack frames reached through registers that move, are copied and exchanged,
 * flags that one instruction sets and another uses. Every tier must leave the same registers, flags and memory.
 */
const PROGRAMS = 150;
const ITERATIONS = 25;
const MEMORY = 0x4000;

type Random = (below: number) => number;

function sequence(seed: number): Random {
  let state = (seed * 2654435761 + 1) >>> 0;
  return below => {
    state ^= state << 13;
    state >>>= 0;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state % below;
  };
}

const CONDITIONS = ['Z', 'NZ', 'B', 'NB', 'BE', 'NBE', 'L', 'NL', 'LE', 'NLE', 'S', 'NS', 'O', 'NO', 'P', 'NP'] as const;

function instructions(a: Assembler, random: Random, long: boolean): void {
  const pointers = long ? [r.rbx, r.rsi, r.rdi, r.rbp] : [r.ebx, r.esi, r.edi, r.ebp];
  const values = long ? [r.rax, r.rdx, r.r8, r.r9] : [r.eax, r.edx];
  const low = long ? [r.eax, r.edx, r.r8d, r.r9d] : [r.eax, r.edx];
  const bytes = [r.al, r.dl];
  const any = <T>(list: readonly T[]): T => list[random(list.length)]!;
  const where = () => mem(any(pointers), random(160) - 80);
  const width = long ? qword : dword;
  // Some begin shortly before the end of a page.
  for (const pointer of pointers) a.emit('MOV', pointer, DATA + 0x1000 * (1 + random(2)) + random(5) * 0x3f0 + random(16));
  let skips = 0;
  for (let n = 12 + random(30); n > 0; n--) {
    switch (random(23)) {
      case 0: case 1: a.emit('MOV', any(low), dword(where())); break;
      case 2: a.emit('MOV', any(values), width(where())); break;
      case 3: case 4: a.emit('MOV', dword(where()), any(low)); break;
      case 5: a.emit('MOV', width(where()), any(values)); break;
      case 6: a.emit('MOVZX', any(low), byte(where())); break;
      case 7: a.emit('MOV', byte(where()), any(bytes)); break;
      case 8: a.emit(any(['ADD', 'SUB', 'XOR', 'AND', 'OR', 'ADC', 'SBB']), dword(where()), any(low)); break;
      case 9: a.emit('XCHG', any(pointers), any(pointers)); break;
      case 10: a.emit('XCHG', any(values), any(values)); break;
      case 11: a.emit('LEA', any(pointers), mem(any(pointers), random(33) - 16)); break;
      case 12: a.emit(any(['ADD', 'SUB']), any(pointers), random(24)); break;
      case 13: a.emit('MOV', any(pointers), any(pointers)); break;
      case 14: a.emit('PUSH', any(values)).emit('PUSH', any(pointers)).emit('ADD', any(low), dword(mem(long ? r.rsp : r.esp, any([0, long ? 8 : 4])))).emit('POP', any(pointers)).emit('POP', any(values)); break;
      case 15: a.emit(any(['ADD', 'SUB', 'CMP', 'TEST', 'XOR', 'AND']), any(values), any(values)); break;
      case 16: a.emit(any(['INC', 'DEC', 'NEG']), any(low)); break;
      case 17: a.emit(any(['SHL', 'SHR', 'SAR', 'ROL', 'ROR']), any(low), 1 + random(7)); break;
      case 18: a.emit(any(['CMP', 'ADD']), any(bytes), random(100)); break;
      case 19: a.emit(`SET${any(CONDITIONS)}`, any(bytes)); break;
      case 20: a.emit(`CMOV${any(CONDITIONS)}`, any(low), any(low)); break;
      case 21: a.emit(long ? 'PUSHFQ' : 'PUSHFD').emit('POP', any(values)); break;
      default: {
        const label = `skip${skips++}`;
        a.emit('CMP', any(values), any(values)).emit(`J${any(CONDITIONS)}`, label).emit('ADD', any(low), dword(where())).label(label);
      }
    }
  }
}

function outcome(tier: Tier, seed: number, long: boolean): unknown {
  const guest = new Guest(tier);
  const random = sequence(seed);
  const content = sequence(seed + 7919);
  for (let i = 0; i < MEMORY; i += 4) guest.write(DATA + i, content(0xffffffff), 4);
  const write = (a: Assembler): void => {
    a.emit('MOV', r.ecx, ITERATIONS).label('loop');
    instructions(a, random, long);
    a.emit('DEC', r.ecx).emit('JNZ', 'loop').emit('HLT');
  };
  if (!long) guest.start32();
  guest.load(long ? 64 : 32, CODE, write);
  const stop = guest.run();
  const registers = (['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9'] as const).map(name => guest.get(name));
  return { stop, registers, flags: guest.cpu.call('readFlags'), memory: Buffer.from(guest.cpu.ram.subarray(DATA, DATA + MEMORY)).toString('base64') };
}

/** It takes six seconds where nothing else runs. */
const TEST_MS = 180_000;

describe.each([['64-bit', true], ['32-bit', false]] as const)('%s programs', (_, long) => {
  it('end alike in every tier', () => {
    for (let seed = 1; seed <= PROGRAMS; seed++) {
      const [first, ...others] = [...TIERS, 'prebuilt' as const, 'forgetful' as const].map(tier => outcome(tier, seed, long));
      for (const other of others) expect(other, `program ${seed}`).toEqual(first);
    }
    expect(new Guest('forgetful').cpu.formsCompiled).toBeGreaterThan(new Guest('off').cpu.formsCompiled * 2);
    expect(new Guest('prebuilt').cpu.formsCompiled).toBeLessThan(new Guest('off').cpu.formsCompiled / 2);
  }, TEST_MS);
});
