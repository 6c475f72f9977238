/** Rows as the decoder asks for them: by opcode byte, with all that a row wants beside it as one masked comparison, and its operands as numbers. */
import type { Row } from './rows.ts';

/** What a row may depend on beside its opcode, in one word; ModRM is in bits 7:0. */
export const CONTEXT_PREFIX_SHIFT = 8;
export const CONTEXT_W = 1 << 10;
export const CONTEXT_REX_B = 1 << 11;
export const CONTEXT_LONG = 1 << 12;
export const CONTEXT_MODRM_REGISTER = 1 << 13;
export const CONTEXT_VVVV = 1 << 14;

/** The mandatory prefix, in CONTEXT_PREFIX_SHIFT as in VEX.pp. */
export const PREFIX_NUMBERS = { NP: 0, 66: 1, F3: 2, F2: 3 } as const;
/** F3 and F2 in the context. */
const CONTEXT_REPEATED = 2 << CONTEXT_PREFIX_SHIFT;
const MODRM_REG = 0x38;

/** The registers that an operand's letter names; `number`: the field is the number itself. */
export const registerFile = { none: 0, general: 1, byte: 2, xmm: 3, x87: 4, segment: 5, number: 6 } as const;
export type RegisterFile = (typeof registerFile)[keyof typeof registerFile];

const FILES: Readonly<Record<string, RegisterFile>> = {
  V: registerFile.xmm, W: registerFile.xmm, U: registerFile.xmm, P: registerFile.x87, Q: registerFile.x87, N: registerFile.x87,
  S: registerFile.segment, C: registerFile.number, D: registerFile.number,
};

/** A row under one opcode byte. */
export interface Candidate {
  readonly row: Row;
  /** The row is meant where the context, masked, is the value. */
  readonly mask: number;
  readonly value: number;
  /** What ModRM.reg names, what ModRM.rm names as a register, and what the opcode's low bits name. */
  readonly reg: RegisterFile;
  readonly rm: RegisterFile;
  readonly low: RegisterFile;
  /** Letters of the operands that follow the opcode and its address as bytes. */
  readonly immediates: readonly string[];
}

/** What one opcode byte may mean. */
export interface Opcode {
  readonly candidates: readonly Candidate[];
  /** Whether a ModRM byte helps to tell. */
  readonly hasModrm: boolean;
}

const IMMEDIATES: readonly string[] = ['Ib', 'Ibs', 'Jb', 'Iw', 'Iz', 'Jz', 'Iv', 'Ap', 'Ob', 'Ov'];

/** The opcode maps of VEX-coded instructions lie behind the four legacy ones. */
const VEX_MAPS = 1024;

/** Place of an opcode byte in the list that `opcodeMap` returns. */
export function opcodeIndex(vex: boolean, map: number, byte: number): number {
  return (vex ? VEX_MAPS : 0) | (map << 8) | byte;
}

export function opcodeMap(rows: readonly Row[]): readonly Opcode[] {
  const lists = Array.from({ length: 2 * VEX_MAPS }, (): Row[] => []);
  for (const row of rows) lists[opcodeIndex(row.vex, row.map, row.byte)]!.push(row);
  // A row with more conditions is asked first.
  return lists.map(list => ({ candidates: list.sort((a, b) => weight(b) - weight(a)).map(candidateOf), hasModrm: list.some(row => row.hasModrm) }));
}

function weight(row: Row): number {
  return (row.modrm >= 0 ? 8 : 0) + (row.digit >= 0 ? 4 : 0) + (row.prefix !== 'none' ? 2 : 0) + (row.w >= 0 ? 1 : 0) + (row.has.mem || row.has.reg ? 1 : 0);
}

export function candidateOf(row: Row): Candidate {
  let mask = 0;
  let value = 0;
  const want = (bits: number, wanted: number): void => {
    mask |= bits;
    value |= wanted;
  };
  // VEX.vvvv must be 1111b when it names no operand; it is kept inverted.
  if (row.vex && !row.usesVvvv) want(CONTEXT_VVVV, 0);
  if (row.prefix !== 'none') want(3 << CONTEXT_PREFIX_SHIFT, PREFIX_NUMBERS[row.prefix] << CONTEXT_PREFIX_SHIFT);
  if (row.w >= 0) want(CONTEXT_W, row.w === 1 ? CONTEXT_W : 0);
  if (row.modrm >= 0) want(0xff, row.modrm);
  if (row.digit >= 0) want(MODRM_REG, row.digit << 3);
  if (row.hasModrm && row.modrm < 0) {
    if (row.has.mem) want(CONTEXT_MODRM_REGISTER, 0);
    if (row.has.reg && !row.has.anymod) want(CONTEXT_MODRM_REGISTER, CONTEXT_MODRM_REGISTER);
  }
  if (row.has.i64) want(CONTEXT_LONG, 0);
  if (row.has.o64) want(CONTEXT_LONG, CONTEXT_LONG);
  if (row.has.norep) want(CONTEXT_REPEATED, 0);
  if (row.has.norexb) want(CONTEXT_REX_B, 0);
  const letters = row.letters.filter(letter => letter.length > 1 && letter !== 'DX' && letter !== 'CL');
  return {
    row, mask, value,
    reg: row.has.xreg ? registerFile.number : fileOf(letters.filter(letter => 'GVPSCD'.includes(letter[0]!))) ?? registerFile.none,
    rm: fileOf(letters.filter(letter => 'EWQRNUM'.includes(letter[0]!))) ?? registerFile.general,
    low: (row.low >= 0 ? fileOf(letters.filter(letter => letter[0] === 'Z')) : undefined) ?? registerFile.none,
    immediates: row.letters.filter(letter => IMMEDIATES.includes(letter)),
  };
}

/** The last of the letters counts. */
function fileOf(letters: readonly string[]): RegisterFile | undefined {
  const letter = letters.at(-1);
  return letter === undefined ? undefined : FILES[letter[0]!] ?? (letter.endsWith('b') ? registerFile.byte : registerFile.general);
}
