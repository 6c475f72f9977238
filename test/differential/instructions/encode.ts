/** Encodes an instruction of a row with random prefixes and addressing, and solves the registers so that its operand lies where wanted. */
import { DecodeFault, Decoder } from '../../../core/isa/decoder.ts';
import type { Row } from '../../../core/isa/rows.ts';
import { invalidRow, rows } from '../../../core/isa/table/index.ts';
import type { Random } from './random.ts';
import { integer } from './random.ts';

const decoder = new Decoder(rows, invalidRow);

export interface Plan {
  readonly row: Row;
  readonly codeSize: 16 | 32 | 64;
  /** Linear address where a memory operand shall lie. */
  readonly target: bigint;
  readonly rip: bigint;
  /** Registers, which the encoding may change to reach the target. */
  readonly gpr: bigint[];
  /** Bases of ES CS SS DS FS GS. */
  readonly bases: readonly bigint[];
}

export interface Encoded {
  readonly code: Uint8Array;
  /** The row that the bytes decode to. */
  readonly row: Row;
  /** Whether it is a direct branch into its own bytes. */
  readonly branchesIntoItself: boolean;
}

const MAPS: readonly (readonly number[])[] = [[], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]];
const MANDATORY: Record<string, readonly number[]> = { 66: [0x66], F3: [0xf3], F2: [0xf2] };
/** BX+SI BX+DI BP+SI BP+DI SI DI BP BX. */
const ADDRESSING_16: readonly (readonly [number, number])[] = [[3, 6], [3, 7], [5, 6], [5, 7], [6, -1], [7, -1], [5, -1], [3, -1]];
const SEGMENT_PREFIXES = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65];
const SS = 2;
const DS = 3;
const SEGMENTS_64 = [0x64, 0x64, 0x65, 0x65, 0x26, 0x2e, 0x36, 0x3e];
const SEGMENTS_32 = [0x26, 0x2e, 0x36, 0x3e, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65];

interface Prefixes {
  readonly bytes: number[];
  addressSize: 16 | 32 | 64;
  segment: number;
}

function prefixes(random: Random, { row, codeSize }: Plan): Prefixes {
  const bytes = row.vex ? [] : [...(MANDATORY[row.prefix] ?? [])];
  const optional66 = row.vex ? 0 : row.prefix === 'none' ? (row.sized ? 25 : 4) : row.prefix === 'F3' || row.prefix === 'F2' ? 3 : 0;
  if (random.chance(optional66)) bytes.push(0x66);
  const address = random.chance(row.has.addr ? 15 : 7);
  if (address) bytes.push(0x67);
  let segment = 0;
  if (random.chance(8)) {
    segment = random.pick(codeSize === 64 ? SEGMENTS_64 : SEGMENTS_32);
    bytes.push(segment);
  }
  if (random.chance(row.has.lock ? 12 : 0.7)) bytes.push(0xf0);
  if (row.has.rep ? random.chance(60) : row.prefix === 'none' && !row.vex && random.chance(1)) bytes.push(random.pick([0xf2, 0xf3]));
  for (let i = bytes.length - 1; i > 0; i--) {
    const j = random.below(i + 1);
    [bytes[i], bytes[j]] = [bytes[j]!, bytes[i]!];
  }
  return { bytes, addressSize: codeSize === 64 ? (address ? 32 : 64) : address === (codeSize === 32) ? 16 : 32, segment };
}

interface Address {
  readonly bytes: number[];
  /** Where the displacement lies in `bytes`, when it must be set from the target; -1. */
  readonly displacement: number;
  readonly relative: boolean;
  /** Value that the displacement alone must make up for. */
  readonly rest: bigint;
}

const fits = (value: bigint): boolean => value >= -(1n << 31n) && value < 1n << 31n;

/** ModRM's r/m, SIB and displacement of a memory operand at offset `wanted`. */
function memoryOperand(random: Random, plan: Plan, reg: number, rex: number, size: 16 | 32 | 64, offset: (stack: boolean) => bigint): Address {
  const { gpr } = plan;
  const mod = random.below(3);
  const wrap = (value: bigint): bigint => BigInt.asUintN(size, value);
  const small = random.chance(60) ? BigInt(random.below(256) - 128) : BigInt(random.u32() | 0);
  const displacement = mod === 1 ? BigInt(random.below(256) - 128) : mod === 2 ? small : 0n;
  const displacementBytes = (value: bigint, count: number): number[] => Array.from({ length: count }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn));
  if (size === 16) {
    const rm = random.below(8);
    if (mod === 0 && rm === 6) return { bytes: [(reg << 3) | rm, ...displacementBytes(offset(false), 2)], displacement: -1, relative: false, rest: 0n };
    const [base, index] = ADDRESSING_16[rm]!;
    if (index >= 0 && random.chance(50)) gpr[index] = BigInt(random.below(512));
    const rest = offset(base === 5) - displacement - (index < 0 ? 0n : gpr[index]!);
    gpr[base] = (gpr[base]! & ~0xffffn) | BigInt.asUintN(16, rest);
    return { bytes: [(mod << 6) | (reg << 3) | rm, ...displacementBytes(displacement, mod)], displacement: -1, relative: false, rest: 0n };
  }
  /** Sets a register so that it adds `value`; what lies above the address size is anything. */
  const set = (number: number, value: bigint): void => {
    const high = size === 32 && plan.codeSize === 64 && random.chance(50) ? random.u64() & ~0xffff_ffffn : 0n;
    gpr[number] = wrap(value) | high;
  };
  const rm = random.below(8);
  if (rm !== 4) {
    if (mod === 0 && rm === 5) return { bytes: [(reg << 3) | 5, 0, 0, 0, 0], displacement: 1, relative: plan.codeSize === 64, rest: 0n };
    set(rm | ((rex & 1) << 3), offset((rm | ((rex & 1) << 3)) === 5) - displacement);
    return { bytes: [(mod << 6) | (reg << 3) | rm, ...displacementBytes(displacement, [0, 1, 4][mod]!)], displacement: -1, relative: false, rest: 0n };
  }
  const scale = random.below(4);
  const indexField = random.below(8);
  const baseField = random.below(8);
  const index = indexField | ((rex & 2) << 2);
  const base = baseField | ((rex & 1) << 3);
  const sib = (scale << 6) | (indexField << 3) | baseField;
  const head = [(mod << 6) | (reg << 3) | 4, sib];
  const hasIndex = index !== 4;
  if (hasIndex && (base === index || random.chance(50))) gpr[index] = BigInt(random.below(4096)) - (random.chance(30) ? 2048n : 0n) & ((1n << BigInt(size)) - 1n);
  const wanted = offset((base === 4 || base === 5) && !(mod === 0 && baseField === 5));
  const indexed = hasIndex ? gpr[index]! << BigInt(scale) : 0n;
  if (mod === 0 && baseField === 5) {
    if (hasIndex && !fits(BigInt.asIntN(size, wanted - indexed))) gpr[index] = BigInt(random.below(64));
    return { bytes: [...head, 0, 0, 0, 0], displacement: 2, relative: false, rest: hasIndex ? gpr[index]! << BigInt(scale) : 0n };
  }
  if (!hasIndex || base !== index) set(base, wanted - displacement - indexed);
  else if (scale === 0) set(base, BigInt.asUintN(size, wanted - displacement) >> 1n);
  return { bytes: [...head, ...displacementBytes(displacement, [0, 1, 4][mod]!)], displacement: -1, relative: false, rest: 0n };
}

const VEX_PREFIXES: Record<string, number> = { NP: 0, 66: 1, F3: 2, F2: 3, none: 0 };

/** Three-byte VEX prefix; R, X, B and vvvv are inverted. @sdm 2A 2.3.5 */
function vexPrefix(random: Random, row: Row, rex: number): number[] {
  const vvvv = row.usesVvvv ? random.below(16) : 0;
  return [0xc4, ((~rex & 7) << 5) | row.map, ((rex & 8) << 4) | ((~vvvv & 15) << 3) | VEX_PREFIXES[row.prefix]!];
}

/** Encodes the plan's instruction; null when the choice of prefixes makes it another one. */
export function encode(random: Random, plan: Plan): Encoded | null {
  const { row, codeSize } = plan;
  const prefix = prefixes(random, plan);
  let rex = 0;
  if (row.vex) rex = (codeSize === 64 ? random.below(8) : random.below(2)) | (row.w === 1 || (row.w < 0 && random.chance(50)) ? 8 : 0);
  else if (codeSize === 64 && (row.w === 1 || random.chance(55))) {
    rex = 0x40 | random.below(8) | (row.w === 1 || (row.w < 0 && random.chance(40)) ? 8 : 0);
  }
  const head = [...prefix.bytes, ...(row.vex ? vexPrefix(random, row, rex) : [...(rex ? [rex] : []), ...MAPS[row.map]!]), row.byte];
  const bytes = [...head];
  let address: Address | null = null;
  const override = SEGMENT_PREFIXES.indexOf(prefix.segment);
  const offset = (stack: boolean): bigint => {
    const segment = override >= (codeSize === 64 ? 4 : 0) ? override : stack ? SS : DS;
    return BigInt.asUintN(prefix.addressSize, plan.target - (plan.bases[segment] ?? 0n));
  };
  if (row.hasModrm) {
    const reg = row.digit >= 0 ? row.digit : random.below(8);
    if (row.modrm >= 0) bytes.push(row.modrm);
    else if (row.has.reg || (!row.has.mem && random.chance(40))) bytes.push(0xc0 | (reg << 3) | random.below(8));
    else {
      address = memoryOperand(random, plan, reg, rex, prefix.addressSize, offset);
      bytes.push(...address.bytes);
    }
  }
  const immediates = bytes.length;
  const whole = new Uint8Array(64);
  whole.set(bytes);
  const view = new DataView(whole.buffer);
  for (let i = 0; i < 16; i += 8) view.setBigUint64(immediates + i, random.chance(50) ? integer(random) : random.u64(), true);
  if (row.letters.some(letter => letter[0] === 'O')) view.setBigUint64(immediates, offset(false), true);
  let length: number;
  let found: Row;
  let branchesIntoItself = false;
  try {
    const decoded = decoder.decode(whole, 0, 64, codeSize);
    length = decoded.length;
    found = decoded.row;
    branchesIntoItself = found.has.relative && decoded.displacement >= 0 && decoded.displacement < length;
  } catch (error) {
    if (!(error instanceof DecodeFault)) throw error;
    length = 15;
    found = invalidRow;
  }
  // Undefined encodings differ between manufacturers; a forbidden LOCK does not.
  if (found === invalidRow && !prefix.bytes.includes(0xf0)) return null;
  if (address && address.displacement >= 0) {
    const from = address.relative ? plan.rip + BigInt(length) : 0n;
    const value = BigInt.asIntN(prefix.addressSize, offset(false) - from - address.rest);
    // Sums that pass 2^31 are rare in life, hence likely to be wrong.
    const extreme = address.relative && random.chance(3);
    view.setInt32(head.length + address.displacement, extreme ? 0x7fff_ffff - random.below(32) : Number(BigInt.asIntN(32, value)), true);
  }
  return { code: whole.slice(0, Math.min(length, 15)), row: found, branchesIntoItself };
}
