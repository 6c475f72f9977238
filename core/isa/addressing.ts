/** ModRM, SIB and displacement of a memory operand. @sdm 2A 2.1.5 */
import type { CodeSize } from './decoder.ts';
import type { Memory } from './registers.ts';

export interface EncodedAddress {
  /** ModRM without the reg field. */
  readonly modrm: number;
  readonly sib: readonly number[];
  readonly displacement: readonly number[];
  /** The displacement's label, when it has one. */
  readonly label: string | null;
  readonly addend: number;
  readonly relative: boolean;
  /** REX.X and REX.B. */
  readonly rex: number;
  readonly addressSize: 16 | 32 | 64;
}

/** BX+SI BX+DI BP+SI BP+DI SI DI BP BX. */
const PAIRS16 = ['bx+si', 'bx+di', 'bp+si', 'bp+di', 'si', 'di', 'bp', 'bx'];

/** Null when the operand has no encoding in this code. */
export function encodeAddress(memory: Memory, code: CodeSize): EncodedAddress | null {
  const width = memory.base?.width ?? memory.index?.width ?? code;
  if (memory.base && memory.index && memory.base.width !== memory.index.width) return null;
  if (width === 16) return code === 64 ? null : encode16(memory);
  if (width !== 32 && width !== 64) return null;
  if (width === 64 && code !== 64) return null;
  return encode32(memory, width, code);
}

function little(value: number, size: number): number[] {
  return Array.from({ length: size }, (_, i) => (value >> (8 * i)) & 0xff);
}

const fits8 = (value: number): boolean => value >= -128 && value <= 127;

function encode16(memory: Memory): EncodedAddress | null {
  const { base, index, displacement, label } = memory;
  const common = { sib: [], label, addend: displacement, relative: false, rex: 0, addressSize: 16 } as const;
  if (displacement < -0x8000 || displacement > 0xffff || memory.scale !== 1) return null;
  if (!base && !index) return { ...common, modrm: 6, displacement: little(displacement, 2) };
  const name = [base?.name, index?.name].filter(part => part !== undefined);
  const rm = PAIRS16.findIndex(pair => pair === name.join('+') || pair === [...name].reverse().join('+'));
  if (rm < 0) return null;
  const signed = (displacement << 16) >> 16;
  if (label !== null || !fits8(signed)) return { ...common, modrm: 0x80 | rm, displacement: little(displacement, 2) };
  if (signed === 0 && rm !== 6) return { ...common, modrm: rm, displacement: [] };
  return { ...common, modrm: 0x40 | rm, displacement: little(signed, 1) };
}

function encode32(memory: Memory, width: 32 | 64, code: CodeSize): EncodedAddress | null {
  const { base, index, displacement, label } = memory;
  const highest = width === 32 ? 0xffffffff : 0x7fffffff;
  if (displacement < -0x80000000 || displacement > highest) return null;
  if (index && (index.class !== 'general' || index.number === 4)) return null;
  if (base && base.class !== 'general') return null;
  const rex = ((index?.number ?? 0) >= 8 ? 2 : 0) | ((base?.number ?? 0) >= 8 ? 1 : 0);
  const common = { label, addend: displacement, relative: false, rex, addressSize: width } as const;
  const disp32 = little(displacement, 4);
  if (!base && !index) {
    if (code === 64 && label !== null) return { ...common, modrm: 5, sib: [], displacement: disp32, relative: true };
    // In 64-bit code ModRM alone would be relative to RIP.
    return { ...common, modrm: code === 64 ? 4 : 5, sib: code === 64 ? [0x25] : [], displacement: disp32 };
  }
  const scale = { 1: 0, 2: 1, 4: 2, 8: 3 }[memory.scale];
  if (!base) return { ...common, modrm: 4, sib: [(scale << 6) | ((index!.number & 7) << 3) | 5], displacement: disp32 };
  const needsSib = index !== null || (base.number & 7) === 4;
  const sib = needsSib ? [(scale << 6) | ((index ? index.number & 7 : 4) << 3) | (base.number & 7)] : [];
  const rm = needsSib ? 4 : base.number & 7;
  const signed = displacement | 0;
  if (label !== null || !fits8(signed)) return { ...common, modrm: 0x80 | rm, sib, displacement: disp32 };
  // [BP] and [R13] without displacement mean something else.
  if (signed === 0 && (base.number & 7) !== 5) return { ...common, modrm: rm, sib, displacement: [] };
  return { ...common, modrm: 0x40 | rm, sib, displacement: little(signed, 1) };
}
