/** Operands for every row: each kind of register and address that its letters take, from a seed. */
import type { CodeSize } from '../../core/isa/decoder.ts';
import { splitName, stackOperands, x87MemoryWidth } from '../../core/isa/mnemonics.ts';
import type { Memory, Operand, Register } from '../../core/isa/registers.ts';
import { absolute, far, indexed, inSegment, mem, register, registerOf } from '../../core/isa/registers.ts';
import type { Row } from '../../core/isa/rows.ts';

/** A generator of numbers below `limit`. */
export function seeded(seed: number): (limit: number) => number {
  let state = seed >>> 0;
  return (limit) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 0x100000000) * limit);
  };
}

const FIXED_WIDTH: Readonly<Record<string, number>> = { b: 8, w: 16, d: 32, q: 64, dq: 128 };
const CONTROL_REGISTERS = [0, 2, 3, 4, 8];
const DISPLACEMENTS = [0, 1, -1, 127, -128, 128, 0x1234, -0x12345];

/** Random operands for `row` in code of a size; `opSize` is that of its operands with letter v. */
export function sampleOperands(row: Row, code: CodeSize, opSize: 16 | 32 | 64, random: (limit: number) => number): Operand[] {
  const [, fixed] = splitName(row);
  if (fixed !== null) return [register[fixed.toLowerCase() as 'es']];
  if (row.has.x87 && row.letters.length === 0) {
    const st = registerOf('st', random(8))!;
    return stackOperands(row).map(slot => (slot === 'AX' ? register.ax : slot === 'i' ? st : register.st0));
  }
  const count = code === 64 ? 16 : 8;
  const wantsMemory = row.has.mem || (!row.has.reg && random(2) === 0);
  // AH to BH go with no REX prefix, SPL and R8B need one: a sample has only the registers that are the same in both.
  const wide = code === 64 && opSize === 64 ? 64 : 32;
  const widthOf = (suffix: string): number => (suffix === 'v' ? opSize : suffix === 'y' ? wide : (FIXED_WIDTH[suffix] ?? 64));
  const general = (suffix: string): Register => registerOf('general', widthOf(suffix) === 8 ? random(4) : random(count), widthOf(suffix))!;
  const number = (bits: number): bigint => {
    const value = [0n, 1n, -1n, 0x7fn, -0x80n, 0x55n, 0x1234_5678_9abc_def0n][random(7)]!;
    return BigInt.asIntN(bits, value);
  };
  return row.letters.map((letter): Operand => {
    const suffix = letter.slice(1);
    switch (letter) {
      case 'AL': case 'AX': case 'CL': case 'DX': return register[letter.toLowerCase() as 'al'];
      case 'rAX': return registerOf('general', 0, opSize)!;
      case '1': return 1;
      case 'Ap': return far(0x1234, opSize === 16 ? 0x5678 : 0x12345678);
      case 'Jb': return 0x1000 + random(64);
      case 'Jz': return 0x1000 + 0x300 + random(0x1000);
      case 'Ibs': return number(8);
      case 'Iz': return number(Math.min(opSize, 32));
      case 'Iv': return number(opSize);
      case 'Ib': return BigInt.asUintN(8, number(8));
      case 'Iw': return BigInt.asUintN(16, number(16));
      case 'Rq': return registerOf('general', random(count), code === 64 ? 64 : 32)!;
      case 'Sw': return registerOf('segment', row.byte === 0x8e ? [0, 2, 3, 4, 5][random(5)]! : random(6))!;
      case 'Cq': return registerOf('control', CONTROL_REGISTERS[random(code === 64 ? 5 : 4)]!)!;
      case 'Dq': return registerOf('debug', random(8))!;
    }
    switch (letter[0]) {
      case 'O': return { ...absolute(0x1234), size: widthOf(suffix) };
      case 'M': return { ...sampleAddress(code, random), size: letter === 'M' ? x87MemoryWidth(row) : letter === 'Mp' || letter === 'Ma' ? null : widthOf(suffix) };
      case 'E': case 'W': case 'Q':
        if (wantsMemory) return { ...sampleAddress(code, random), size: widthOf(suffix) };
        return letter[0] === 'E' ? general(suffix) : letter[0] === 'W' ? registerOf('xmm', random(count))! : registerOf('mmx', random(8))!;
      case 'V': case 'U': return registerOf('xmm', random(count))!;
      case 'P': case 'N': return registerOf('mmx', random(8))!;
      case 'Z': {
        // AH to BH have the numbers of SPL to DIL.
        if (suffix === 'b' && row.low >= 4) return random(2) === 0 || code !== 64 ? registerOf('high', row.low - 4)! : registerOf('general', row.low + 8, 8)!;
        return registerOf('general', row.low + (code === 64 ? random(2) * 8 : 0), widthOf(suffix))!;
      }
      default: return general(suffix);
    }
  });
}

/** An address of any shape. */
export function sampleAddress(code: CodeSize, random: (limit: number) => number): Memory {
  const displacement = DISPLACEMENTS[random(DISPLACEMENTS.length)]!;
  const address = shape(code, displacement, random);
  return random(8) === 0 ? inSegment(random(2) === 0 ? register.fs : register.gs, address) : address;
}

function shape(code: CodeSize, displacement: number, random: (limit: number) => number): Memory {
  if (code === 16 || (code === 32 && random(8) === 0)) {
    const short = (displacement << 16) >> 16;
    const base = [register.bx, register.bp, register.si, register.di][random(4)]!;
    const pairs = base === register.bx || base === register.bp;
    return pairs && random(2) === 0 ? indexed(base, [register.si, register.di][random(2)]!, 1, short) : mem(base, short);
  }
  const width = code === 64 && random(8) > 0 ? 64 : 32;
  const count = code === 64 ? 16 : 8;
  const base = registerOf('general', random(count), width)!;
  const index = registerOf('general', [0, 1, 2, 3, 5, 6, 7, 12, 13, 15][random(code === 64 ? 10 : 7)]!, width)!;
  switch (random(4)) {
    case 0: return indexed(base, index, ([1, 2, 4, 8] as const)[random(4)]!, displacement);
    case 1: return indexed(null, index, ([2, 4, 8] as const)[random(3)]!, displacement);
    case 2: return absolute(0x1234);
    default: return mem(base, displacement);
  }
}
