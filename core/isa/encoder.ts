/** From a row and operands to bytes: the inverse of the decoder, by the same operand letters. */
import type { CodeSize } from './decoder.ts';
import type { Row } from './rows.ts';
import type { FormSize, StackOperand } from './mnemonics.ts';
import { splitName, stackOperands, x87MemoryWidth } from './mnemonics.ts';
import { encodeAddress } from './addressing.ts';
import type { EncodedAddress } from './addressing.ts';
import type { Memory, Operand, Register } from './registers.ts';

/** A place in an encoding that a label's address decides. */
export interface Fixup {
  readonly at: number;
  readonly size: 1 | 2 | 4 | 8;
  readonly label: string;
  /** Counted from the end of the instruction. */
  readonly relative: boolean;
  readonly addend: number;
}

export interface Encoding {
  readonly row: Row;
  readonly bytes: readonly number[];
  readonly fixups: readonly Fixup[];
  /** Width of an unsized memory operand, null when there is none or when it is sized. */
  readonly assumedWidth: number | null;
}

/** What a mnemonic says about the form; null: anything. */
export interface FormWish {
  readonly opSize: 16 | 32 | 64 | null;
  readonly addressSize: 16 | 32 | 64 | null;
  readonly rexW: boolean | null;
  /** LOCK or a repeat prefix. */
  readonly prefix: 0xf0 | 0xf2 | 0xf3 | null;
}

export const ANY_FORM: FormWish = { opSize: null, addressSize: null, rexW: null, prefix: null };

/** The operand size of a row without prefix and REX.W. */
export function defaultSize(row: Row, code: CodeSize): 16 | 32 | 64 {
  if (code !== 64) return code;
  return row.has.f64 || row.has.d64 ? 64 : 32;
}

const FIXED_WIDTH: Readonly<Record<string, number>> = { b: 8, w: 16, d: 32, q: 64, dq: 128 };
const FIXED_REGISTER: Readonly<Record<string, readonly [number, number]>> = { AL: [0, 8], AX: [0, 16], CL: [1, 8], DX: [2, 16] };
const REGISTER_CLASS: Readonly<Record<string, Register['class']>> = {
  V: 'xmm', W: 'xmm', U: 'xmm', P: 'mmx', Q: 'mmx', N: 'mmx', S: 'segment', C: 'control', D: 'debug',
};
const IN_REG = 'GVPSCD';
const IN_RM = 'EWQRNUM';

/** One attempt to make operands fit a row. Every method answers whether they still can. */
class Attempt {
  readonly row: Row;
  readonly code: CodeSize;
  opSize: 16 | 32 | 64 | null;
  rexW: boolean | null;
  reg: Register | null = null;
  rm: Register | Memory | null = null;
  low: Register | null = null;
  /** The register in VEX.vvvv. */
  vvvv: Register | null = null;
  direct: Memory | null = null;
  assumed: number | null | undefined = undefined;

  constructor(row: Row, code: CodeSize, wish: FormWish) {
    this.row = row;
    this.code = code;
    this.opSize = wish.opSize;
    this.rexW = wish.rexW;
    if (row.w >= 0 && !this.wide(row.w === 1)) this.rexW = null;
  }

  private size(bits: number): boolean {
    if (bits !== 16 && bits !== 32 && bits !== 64) return false;
    if (this.opSize !== null) return this.opSize === bits;
    this.opSize = bits;
    return true;
  }

  private wide(yes: boolean): boolean {
    if (this.rexW !== null) return this.rexW === yes;
    if (yes && this.code !== 64) return false;
    this.rexW = yes;
    return true;
  }

  /** Whether an operand of `bits` can be one of a letter's second part. */
  width(suffix: string, bits: number): boolean {
    if (suffix === 'v') return this.size(bits);
    if (suffix === 'y' && this.code === 64 && this.row.has.f64) return bits === 64;
    if (suffix === 'y') return (bits === 32 || bits === 64) && this.wide(bits === 64);
    return FIXED_WIDTH[suffix] === bits;
  }

  register(letter: string, operand: Register): boolean {
    const fixed = FIXED_REGISTER[letter];
    if (fixed) return operand.class === 'general' && operand.number === fixed[0] && operand.width === fixed[1];
    // Ports are at most 32 bits wide, whatever REX.W says.
    if (letter === 'rAX' && operand.width === 64 && (this.row.name === 'IN' || this.row.name === 'OUT')) return false;
    if (letter === 'rAX') return operand.class === 'general' && operand.number === 0 && this.size(operand.width);
    const kind = letter[0]!;
    const suffix = letter.slice(1);
    const wanted = REGISTER_CLASS[kind] ?? 'general';
    if (operand.class !== wanted && !(operand.class === 'high' && wanted === 'general')) return false;
    // With control and debug registers a general register is as wide as the code allows; so it is with RDPID.
    const fits = letter === 'Rq' ? operand.width === (this.code === 64 ? 64 : 32) : this.width(suffix, operand.width);
    if (wanted === 'general' && !fits) return false;
    if (IN_REG.includes(kind)) this.reg = operand;
    else if (kind === 'Z') {
      // 90H is NOP, not an exchange of rAX with itself.
      if ((encodedNumber(operand) & 7) !== this.row.low || (this.row.byte === 0x90 && operand.number === 0)) return false;
      this.low = operand;
    }
    else if (kind === 'B') this.vvvv = operand;
    else if (IN_RM.includes(kind) && kind !== 'M') this.rm = operand;
    else return false;
    return true;
  }

  memory(letter: string, operand: Memory): boolean {
    const kind = letter[0]!;
    if (kind === 'O') {
      if (operand.base || operand.index || operand.label !== null) return false;
      this.direct = operand;
    } else if ('EWQM'.includes(kind) && letter.length <= 3) this.rm = operand;
    else return false;
    const suffix = letter.slice(1);
    const width = letter === 'M' ? x87MemoryWidth(this.row) : suffix === 'p' || suffix === 'a' ? null : suffix;
    if (operand.size !== null && typeof width === 'string') return this.width(width, operand.size);
    if (operand.size !== null) return width === null || width === operand.size;
    // It is settled when all operands are known.
    this.assumed = width === null ? null : typeof width === 'number' ? width : (FIXED_WIDTH[width] ?? undefined);
    this.assumedSuffix = typeof width === 'string' ? width : '';
    return true;
  }

  assumedSuffix = '';
}

/**
 * Encodes one row, or answers null when the operands do not fit it.
 * `wish` is what the mnemonic already decided.
 */
export function encodeRow(row: Row, operands: readonly Operand[], code: CodeSize, wish: FormWish = ANY_FORM): Encoding | null {
  if (code === 64 ? row.has.i64 : row.has.o64 || row.w === 1) return null;
  if (wish.prefix === 0xf0 && !row.has.lock) return null;
  const explicit = withoutImplied(row, operands);
  if (explicit === null || explicit.length !== row.letters.length) return null;
  const attempt = new Attempt(row, code, wish);
  for (let i = 0; i < explicit.length; i++) {
    const operand = explicit[i]!;
    if (typeof operand !== 'object') continue;
    if (operand.kind === 'register' && !attempt.register(row.letters[i]!, operand)) return null;
    if (operand.kind === 'memory' && !attempt.memory(row.letters[i]!, operand)) return null;
  }
  if (row.has.mem && attempt.rm?.kind === 'register') return null;
  if (row.has.reg && attempt.rm?.kind === 'memory') return null;
  const form = settle(attempt, wish);
  if (form === null) return null;
  const tail = immediates(row, explicit, form, code, attempt);
  if (tail === null) return null;
  return assemble(attempt, form, wish, tail, operands);
}

/** Takes away operands that the opcode implies: `PUSH ES`, ST(0), AX. Null when they are not what the row implies. */
function withoutImplied(row: Row, operands: readonly Operand[]): readonly Operand[] | null {
  const [, fixed] = splitName(row);
  if (fixed !== null) return operands.length === 1 && isRegister(operands[0]) && operands[0].name === fixed.toLowerCase() ? [] : null;
  if (!row.has.x87 || row.letters.length > 0) return operands;
  const shape = stackOperands(row);
  if (row.name === 'ESC' || operands.length !== shape.length) return null;
  return shape.every((slot, i) => fitsStack(slot, operands[i])) ? [] : null;
}

function isRegister(operand: Operand | undefined): operand is Register {
  return typeof operand === 'object' && operand.kind === 'register';
}

function fitsStack(slot: StackOperand, operand: Operand | undefined): boolean {
  if (!isRegister(operand)) return false;
  if (slot === 'AX') return operand.name === 'ax';
  return operand.class === 'st' && (slot === 'i' || operand.number === 0);
}

/** Chooses what the operands left open. */
function settle(attempt: Attempt, wish: FormWish): FormSize | null {
  const { row, code } = attempt;
  const opSize = attempt.opSize ?? defaultSize(row, code);
  if (code !== 64 && opSize === 64) return null;
  if (code === 64 && row.has.f64 && opSize !== 64) return null;
  if (code === 64 && row.has.d64 && opSize === 32) return null;
  // A mandatory 66 is not the operand-size prefix.
  if (row.prefix === '66' && row.sized && opSize === 16 && code !== 16) return null;
  const needsW = opSize === 64 && defaultSize(row, code) !== 64;
  if (attempt.rexW === false && needsW) return null;
  const addressSize = wish.addressSize ?? code;
  if (addressSize === 64 ? code !== 64 : addressSize === 16 && code === 64) return null;
  return { opSize, addressSize, rexW: (attempt.rexW ?? false) || needsW };
}

interface Tail {
  readonly bytes: number[];
  readonly fixups: Fixup[];
}

function pushLittle(bytes: number[], value: bigint, size: number): void {
  for (let i = 0; i < size; i++) bytes.push(Number((value >> BigInt(8 * i)) & 0xffn));
}

/** The value as a signed number of `bits`, null when it fits neither signed nor unsigned. */
function signedIn(value: bigint, bits: number): bigint | null {
  if (value >= 1n << BigInt(bits) || value < -(1n << BigInt(bits - 1))) return null;
  return BigInt.asIntN(bits, value);
}

const RANGE: Readonly<Record<number, readonly [bigint, bigint]>> = {
  8: [-128n, 127n], 16: [-32768n, 32767n], 32: [-(1n << 31n), (1n << 31n) - 1n], 64: [-(1n << 63n), (1n << 63n) - 1n],
};

function within(value: bigint, bits: number): boolean {
  const [low, high] = RANGE[bits]!;
  return value >= low && value <= high;
}

/** Bytes of an immediate that is `bits` wide in the instruction and extended to the operand size; null when the value does not fit. */
function immediateValue(letter: string, value: bigint, opSize: number): { value: bigint; size: 1 | 2 | 4 | 8 } | null {
  switch (letter) {
    case 'Ib': return signedIn(value, 8) === null ? null : { value, size: 1 };
    case 'Iw': return signedIn(value, 16) === null ? null : { value, size: 2 };
    case 'Iv': return signedIn(value, opSize) === null ? null : { value, size: (opSize / 8) as 2 | 4 | 8 };
    case 'Ibs': {
      const signed = signedIn(value, opSize);
      return signed === null || signed < -128n || signed > 127n ? null : { value: signed, size: 1 };
    }
    case 'Iz': {
      if (opSize !== 64) return signedIn(value, opSize) === null ? null : { value, size: opSize === 16 ? 2 : 4 };
      const signed = signedIn(value, 64);
      // An unsigned value of 64 bits may stand for a negative one.
      return signed === null || !within(signed, 32) || (signed !== value && signed >= 0n) ? null : { value: signed, size: 4 };
    }
    default: return null;
  }
}

/** Immediates, branch displacements, far pointers and direct addresses, in order. Positions of fixups count from the tail's start. */
function immediates(row: Row, operands: readonly Operand[], form: FormSize, code: CodeSize, attempt: Attempt): Tail | null {
  const bytes: number[] = [];
  const fixups: Fixup[] = [];
  for (let i = 0; i < row.letters.length; i++) {
    const letter = row.letters[i]!;
    const operand = operands[i]!;
    if (letter === '1') {
      if (operand !== 1 && operand !== 1n) return null;
    } else if (letter[0] === 'O') {
      if (attempt.direct === null || (code !== 64 && attempt.direct.displacement >= 2 ** form.addressSize)) return null;
      pushLittle(bytes, BigInt(attempt.direct.displacement), form.addressSize / 8);
    } else if (letter === 'Jb' || letter === 'Jz') {
      const size = letter === 'Jb' ? 1 : form.opSize === 16 && code !== 64 ? 2 : 4;
      const target = branchTarget(operand);
      if (target === null) return null;
      fixups.push({ at: bytes.length, size, label: target.label, relative: true, addend: target.addend });
      pushLittle(bytes, 0n, size);
    } else if (letter === 'Ap') {
      if (typeof operand !== 'object' || operand.kind !== 'far') return null;
      pushLittle(bytes, BigInt(operand.offset), form.opSize === 16 ? 2 : 4);
      pushLittle(bytes, BigInt(operand.selector), 2);
    } else if (letter[0] === 'I') {
      if (typeof operand === 'object' && operand.kind === 'offset') {
        const size = labelSize(letter, form.opSize);
        if (size === null) return null;
        fixups.push({ at: bytes.length, size, label: operand.label, relative: false, addend: operand.addend });
        pushLittle(bytes, 0n, size);
        continue;
      }
      if (typeof operand !== 'number' && typeof operand !== 'bigint') return null;
      const immediate = immediateValue(letter, BigInt(operand), form.opSize);
      if (immediate === null) return null;
      pushLittle(bytes, immediate.value, immediate.size);
    } else if (typeof operand !== 'object' || (operand.kind !== 'register' && operand.kind !== 'memory')) return null;
  }
  return { bytes, fixups };
}

/** Bytes of an immediate that can hold a label's address; null when it is too small for one. */
function labelSize(letter: string, opSize: 16 | 32 | 64): 2 | 4 | 8 | null {
  if (letter === 'Iv') return opSize === 64 ? 8 : opSize === 32 ? 4 : 2;
  if (letter === 'Iz') return opSize === 16 ? 2 : 4;
  return letter === 'Iw' ? 2 : null;
}

/** A label, or an absolute address (the empty label at that address). */
function branchTarget(operand: Operand): { label: string; addend: number } | null {
  if (typeof operand === 'string') return { label: operand, addend: 0 };
  if (typeof operand === 'number' || typeof operand === 'bigint') return { label: '', addend: Number(operand) };
  if (operand.kind === 'offset') return { label: operand.label, addend: operand.addend };
  return null;
}

const LEGACY_SEGMENT = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65] as const;

function assemble(attempt: Attempt, form: FormSize, wish: FormWish, tail: Tail, operands: readonly Operand[]): Encoding | null {
  const { row, code, rm } = attempt;
  const memory = rm?.kind === 'memory' ? rm : null;
  const address = memory ? encodeAddress(memory, code) : null;
  if (memory && !address) return null;
  const rexBits = rexOf(attempt, form, address, operands);
  if (rexBits === null) return null;
  const bytes: number[] = [];
  const segment = (memory ?? attempt.direct)?.segment ?? null;
  if (segment) bytes.push(LEGACY_SEGMENT[segment.number]!);
  const addressSize = address?.addressSize ?? form.addressSize;
  if (addressSize !== code) bytes.push(0x67);
  if (wish.prefix !== null) bytes.push(wish.prefix);
  const operandPrefix = form.opSize !== 64 && form.opSize !== defaultSize(row, code);
  if (row.vex) bytes.push(...vexPrefix(row, rexBits, attempt.vvvv?.number ?? 0));
  else {
    if (row.prefix === '66' || (operandPrefix && row.sized)) bytes.push(0x66);
    if (row.prefix === 'F3') bytes.push(0xf3);
    if (row.prefix === 'F2') bytes.push(0xf2);
    if (rexBits !== 0) bytes.push(rexBits);
    if (row.map > 0) bytes.push(0x0f);
    if (row.map > 1) bytes.push(row.map === 2 ? 0x38 : 0x3a);
  }
  bytes.push(row.byte);
  const fixups: Fixup[] = [];
  if (row.modrm >= 0) bytes.push(row.modrm);
  else if (row.hasModrm) {
    const reg = (row.digit >= 0 ? row.digit : (encodedNumber(attempt.reg) & 7)) << 3;
    if (address) {
      bytes.push(address.modrm | reg, ...address.sib);
      const { label, relative, addend } = address;
      if (label !== null) fixups.push({ at: bytes.length, size: address.displacement.length === 2 ? 2 : 4, label, relative, addend });
      bytes.push(...address.displacement);
    } else bytes.push(0xc0 | reg | (rmNumber(attempt, operands) & 7));
  }
  for (const fixup of tail.fixups) fixups.push({ ...fixup, at: fixup.at + bytes.length });
  bytes.push(...tail.bytes);
  if (bytes.length > 15) return null;
  return { row, bytes, fixups, assumedWidth: (memory ?? attempt.direct)?.size === null ? assumedWidth(attempt, form) : null };
}

const VEX_PREFIX: Readonly<Record<Row['prefix'], number>> = { none: 0, NP: 0, '66': 1, F3: 2, F2: 3 };

/** Two bytes when W, X and B are clear and the map is 0F; vvvv, R, X and B are inverted. @sdm 2A 2.3.5 */
function vexPrefix(row: Row, rex: number, vvvv: number): number[] {
  const last = ((~vvvv & 15) << 3) | VEX_PREFIX[row.prefix];
  if (row.map === 1 && (rex & 11) === 0) return [0xc5, (rex & 4 ? 0 : 0x80) | last];
  return [0xc4, ((~rex & 7) << 5) | row.map, ((rex & 8) << 4) | last];
}

function assumedWidth(attempt: Attempt, form: FormSize): number | null {
  if (attempt.assumed !== undefined) return attempt.assumed;
  return attempt.assumedSuffix === 'y' ? (form.rexW || form.opSize === 64 ? 64 : 32) : form.opSize;
}

/** AH to BH are the numbers 4 to 7. */
function encodedNumber(operand: Register | null): number {
  return operand === null ? 0 : operand.class === 'high' ? operand.number + 4 : operand.number;
}

function rmNumber(attempt: Attempt, operands: readonly Operand[]): number {
  if (attempt.rm?.kind === 'register') return encodedNumber(attempt.rm);
  const stack = operands[stackOperands(attempt.row).indexOf('i')];
  return attempt.row.has.x87 && isRegister(stack) ? stack.number : 0;
}

/** The REX prefix, 0 for none, null when the operands cannot be encoded together. */
function rexOf(attempt: Attempt, form: FormSize, address: EncodedAddress | null, operands: readonly Operand[]): number | null {
  const { code } = attempt;
  const rmRegister = attempt.rm?.kind === 'register' ? attempt.rm : attempt.low;
  let bits = form.rexW && !(code === 64 && attempt.row.has.f64) ? 8 : 0;
  if (attempt.row.has.f64 && attempt.row.w === 1) bits = 8;
  if ((attempt.reg?.number ?? 0) >= 8) bits |= 4;
  if ((rmRegister?.number ?? 0) >= 8) bits |= 1;
  if (address) bits |= address.rex;
  const needsRex = (operand: Operand): boolean =>
    isRegister(operand) && operand.class === 'general' && operand.width === 8 && operand.number >= 4 && operand.number < 8;
  const low8 = operands.some(needsRex);
  const wanted = bits !== 0 || low8;
  if (!wanted) return 0;
  if (code !== 64 || operands.some(operand => isRegister(operand) && operand.class === 'high')) return null;
  return 0x40 | bits;
}
