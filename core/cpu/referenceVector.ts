/**
 * The WebAssembly vector operations that definitions use, on `bigint`s of 128 bits (WebAssembly core specification 2.0, section 4.3.2).
 * One entry an opcode; slow and obvious, for the reference evaluator.
 */
import { v } from '../wasm/opcodes.ts';
import { FLOAT_OPERATIONS } from './referenceVectorFloat.ts';

type Lanes = readonly bigint[];
type Operation = (args: readonly bigint[], immediate: readonly number[]) => bigint;

/** Lanes of `bits` bits, unsigned, lowest first. */
function split(value: bigint, bits: number): bigint[] {
  return Array.from({ length: 128 / bits }, (_, i) => (value >> BigInt(i * bits)) & ((1n << BigInt(bits)) - 1n));
}

function splitSigned(value: bigint, bits: number): bigint[] {
  return split(value, bits).map(lane => BigInt.asIntN(bits, lane));
}

function join(lanes: Lanes, bits: number): bigint {
  return lanes.reduce((sum, lane, i) => sum | (BigInt.asUintN(bits, lane) << BigInt(i * bits)), 0n);
}

const limit = (value: bigint, low: bigint, high: bigint): bigint => (value < low ? low : value > high ? high : value);
const saturateSigned = (bits: number) => (value: bigint): bigint => limit(value, -(1n << BigInt(bits - 1)), (1n << BigInt(bits - 1)) - 1n);
const saturateUnsigned = (bits: number) => (value: bigint): bigint => limit(value, 0n, (1n << BigInt(bits)) - 1n);
const same = (value: bigint): bigint => value;
const ones = (condition: boolean): bigint => (condition ? -1n : 0n);

const lanewise = (bits: number, signed: boolean, f: (a: bigint, b: bigint) => bigint): Operation => ([a, b]) => {
  const parts = signed ? splitSigned : split;
  const right = parts(b!, bits);
  return join(parts(a!, bits).map((lane, i) => f(lane, right[i]!)), bits);
};
const each = (bits: number, signed: boolean, f: (a: bigint) => bigint): Operation => ([a]) => join((signed ? splitSigned : split)(a!, bits).map(f), bits);
/** Shifts: the count is taken modulo the lane's width. */
const shift = (bits: number, signed: boolean, f: (a: bigint, count: bigint) => bigint): Operation => ([a, count]) =>
  join((signed ? splitSigned : split)(a!, bits).map(lane => f(lane, count! % BigInt(bits))), bits);
const splat = (bits: number): Operation => ([a]) => join(new Array<bigint>(128 / bits).fill(a!), bits);
const extract = (bits: number, signed: boolean): Operation => ([a], [lane]) => (signed ? splitSigned : split)(a!, bits)[lane!]!;
const replace = (bits: number): Operation => ([a, value], [lane]) => join(split(a!, bits).map((old, i) => (i === lane ? value! : old)), bits);
const bitmask = (bits: number): Operation => ([a]) => splitSigned(a!, bits).reduce((mask, lane, i) => mask | (lane < 0n ? 1n << BigInt(i) : 0n), 0n);
const half = (lanes: Lanes, high: boolean): Lanes => (high ? lanes.slice(lanes.length / 2) : lanes.slice(0, lanes.length / 2));
/** Lanes of `bits` bits become lanes twice as wide. */
const extend = (bits: number, signed: boolean, high: boolean): Operation => ([a]) => join(half((signed ? splitSigned : split)(a!, bits), high), bits * 2);
const multiplyExtended = (bits: number, signed: boolean, high: boolean): Operation => ([a, b]) => {
  const parts = signed ? splitSigned : split;
  const right = half(parts(b!, bits), high);
  return join(half(parts(a!, bits), high).map((lane, i) => lane * right[i]!), bits * 2);
};
const addPairs = (bits: number, signed: boolean): Operation => ([a]) => {
  const lanes = (signed ? splitSigned : split)(a!, bits);
  return join(Array.from({ length: lanes.length / 2 }, (_, i) => lanes[2 * i]! + lanes[2 * i + 1]!), bits * 2);
};
/** Signed lanes of `bits` bits become lanes half as wide, with saturation. */
const narrow = (bits: number, saturate: (value: bigint) => bigint): Operation => ([a, b]) =>
  join([...splitSigned(a!, bits), ...splitSigned(b!, bits)].map(saturate), bits / 2);
const absolute = (bits: number): Operation => each(bits, true, a => (a < 0n ? -a : a));
const bytesOf = (value: bigint): bigint[] => split(value, 8);
const least = (a: bigint, b: bigint): bigint => (a < b ? a : b);
const most = (a: bigint, b: bigint): bigint => (a > b ? a : b);
const average = (a: bigint, b: bigint): bigint => (a + b + 1n) >> 1n;
const left = (a: bigint, count: bigint): bigint => a << count;
const right = (a: bigint, count: bigint): bigint => a >> count;
const add = (then: (value: bigint) => bigint) => (a: bigint, b: bigint): bigint => then(a + b);
const subtract = (then: (value: bigint) => bigint) => (a: bigint, b: bigint): bigint => then(a - b);
const multiply = (a: bigint, b: bigint): bigint => a * b;
const equal = (a: bigint, b: bigint): bigint => ones(a === b);
const greater = (a: bigint, b: bigint): bigint => ones(a > b);

const OPERATIONS = new Map<number, Operation>([
  ...FLOAT_OPERATIONS,
  [v.const, (_, bytes) => join(bytes.map(BigInt), 8)],
  [v.shuffle, ([a, b], mask) => {
    const all = [...bytesOf(a!), ...bytesOf(b!)];
    return join(mask.map(i => all[i]!), 8);
  }],
  [v.swizzle, ([a, b]) => {
    const from = bytesOf(a!);
    return join(bytesOf(b!).map(i => (i < 16n ? from[Number(i)]! : 0n)), 8);
  }],
  [v.i8x16Splat, splat(8)], [v.i16x8Splat, splat(16)], [v.i32x4Splat, splat(32)], [v.i64x2Splat, splat(64)],
  [v.i8x16ExtractS, extract(8, true)], [v.i8x16ExtractU, extract(8, false)], [v.i8x16Replace, replace(8)],
  [v.i16x8ExtractS, extract(16, true)], [v.i16x8ExtractU, extract(16, false)], [v.i16x8Replace, replace(16)],
  [v.i32x4Extract, extract(32, false)], [v.i32x4Replace, replace(32)], [v.i64x2Extract, extract(64, false)], [v.i64x2Replace, replace(64)],
  [v.i8x16Eq, lanewise(8, false, equal)], [v.i8x16GtS, lanewise(8, true, greater)], [v.i8x16GtU, lanewise(8, false, greater)],
  [v.i16x8Eq, lanewise(16, false, equal)], [v.i16x8GtS, lanewise(16, true, greater)], [v.i16x8GtU, lanewise(16, false, greater)],
  [v.i32x4Eq, lanewise(32, false, equal)], [v.i32x4GtS, lanewise(32, true, greater)], [v.i32x4GtU, lanewise(32, false, greater)],
  [v.i64x2Eq, lanewise(64, false, equal)], [v.i64x2GtS, lanewise(64, true, greater)],
  [v.not, ([a]) => ~a!], [v.and, ([a, b]) => a! & b!], [v.andnot, ([a, b]) => a! & ~b!], [v.or, ([a, b]) => a! | b!], [v.xor, ([a, b]) => a! ^ b!],
  [v.bitselect, ([a, b, mask]) => (a! & mask!) | (b! & ~mask!)], [v.anyTrue, ([a]) => (a === 0n ? 0n : 1n)],
  [v.i8x16Abs, absolute(8)], [v.i16x8Abs, absolute(16)], [v.i32x4Abs, absolute(32)],
  [v.i8x16Bitmask, bitmask(8)], [v.i16x8Bitmask, bitmask(16)], [v.i32x4Bitmask, bitmask(32)], [v.i64x2Bitmask, bitmask(64)],
  [v.i8x16NarrowS, narrow(16, saturateSigned(8))], [v.i8x16NarrowU, narrow(16, saturateUnsigned(8))],
  [v.i16x8NarrowS, narrow(32, saturateSigned(16))], [v.i16x8NarrowU, narrow(32, saturateUnsigned(16))],
  [v.i8x16Shl, shift(8, false, left)], [v.i8x16ShrS, shift(8, true, right)], [v.i8x16ShrU, shift(8, false, right)],
  [v.i16x8Shl, shift(16, false, left)], [v.i16x8ShrS, shift(16, true, right)], [v.i16x8ShrU, shift(16, false, right)],
  [v.i32x4Shl, shift(32, false, left)], [v.i32x4ShrS, shift(32, true, right)], [v.i32x4ShrU, shift(32, false, right)],
  [v.i64x2Shl, shift(64, false, left)], [v.i64x2ShrS, shift(64, true, right)], [v.i64x2ShrU, shift(64, false, right)],
  [v.i8x16Add, lanewise(8, false, add(same))], [v.i16x8Add, lanewise(16, false, add(same))],
  [v.i32x4Add, lanewise(32, false, add(same))], [v.i64x2Add, lanewise(64, false, add(same))],
  [v.i8x16Sub, lanewise(8, false, subtract(same))], [v.i16x8Sub, lanewise(16, false, subtract(same))],
  [v.i32x4Sub, lanewise(32, false, subtract(same))], [v.i64x2Sub, lanewise(64, false, subtract(same))],
  [v.i8x16AddSatS, lanewise(8, true, add(saturateSigned(8)))], [v.i8x16AddSatU, lanewise(8, false, add(saturateUnsigned(8)))],
  [v.i16x8AddSatS, lanewise(16, true, add(saturateSigned(16)))], [v.i16x8AddSatU, lanewise(16, false, add(saturateUnsigned(16)))],
  [v.i8x16SubSatS, lanewise(8, true, subtract(saturateSigned(8)))], [v.i8x16SubSatU, lanewise(8, false, subtract(saturateUnsigned(8)))],
  [v.i16x8SubSatS, lanewise(16, true, subtract(saturateSigned(16)))], [v.i16x8SubSatU, lanewise(16, false, subtract(saturateUnsigned(16)))],
  [v.i8x16MinS, lanewise(8, true, least)], [v.i8x16MinU, lanewise(8, false, least)], [v.i8x16MaxS, lanewise(8, true, most)], [v.i8x16MaxU, lanewise(8, false, most)],
  [v.i16x8MinS, lanewise(16, true, least)], [v.i16x8MinU, lanewise(16, false, least)], [v.i16x8MaxS, lanewise(16, true, most)], [v.i16x8MaxU, lanewise(16, false, most)],
  [v.i32x4MinS, lanewise(32, true, least)], [v.i32x4MinU, lanewise(32, false, least)], [v.i32x4MaxS, lanewise(32, true, most)], [v.i32x4MaxU, lanewise(32, false, most)],
  [v.i8x16AvgU, lanewise(8, false, average)], [v.i16x8AvgU, lanewise(16, false, average)],
  [v.i16x8Mul, lanewise(16, false, multiply)], [v.i32x4Mul, lanewise(32, false, multiply)], [v.i64x2Mul, lanewise(64, false, multiply)],
  [v.i16x8Q15MulrSatS, lanewise(16, true, (a, b) => saturateSigned(16)((a * b + 0x4000n) >> 15n))],
  [v.i16x8ExtaddS, addPairs(8, true)], [v.i16x8ExtaddU, addPairs(8, false)], [v.i32x4ExtaddS, addPairs(16, true)], [v.i32x4ExtaddU, addPairs(16, false)],
  [v.i32x4DotI16x8S, ([a, b]) => {
    const right16 = splitSigned(b!, 16);
    const products = splitSigned(a!, 16).map((lane, i) => lane * right16[i]!);
    return join(Array.from({ length: 4 }, (_, i) => products[2 * i]! + products[2 * i + 1]!), 32);
  }],
  [v.i16x8ExtendLowS, extend(8, true, false)], [v.i16x8ExtendHighS, extend(8, true, true)],
  [v.i16x8ExtendLowU, extend(8, false, false)], [v.i16x8ExtendHighU, extend(8, false, true)],
  [v.i32x4ExtendLowS, extend(16, true, false)], [v.i32x4ExtendHighS, extend(16, true, true)],
  [v.i32x4ExtendLowU, extend(16, false, false)], [v.i32x4ExtendHighU, extend(16, false, true)],
  [v.i64x2ExtendLowS, extend(32, true, false)], [v.i64x2ExtendHighS, extend(32, true, true)],
  [v.i64x2ExtendLowU, extend(32, false, false)], [v.i64x2ExtendHighU, extend(32, false, true)],
  [v.i16x8ExtmulLowS, multiplyExtended(8, true, false)], [v.i16x8ExtmulHighS, multiplyExtended(8, true, true)],
  [v.i16x8ExtmulLowU, multiplyExtended(8, false, false)], [v.i16x8ExtmulHighU, multiplyExtended(8, false, true)],
  [v.i32x4ExtmulLowS, multiplyExtended(16, true, false)], [v.i32x4ExtmulHighS, multiplyExtended(16, true, true)],
  [v.i32x4ExtmulLowU, multiplyExtended(16, false, false)], [v.i32x4ExtmulHighU, multiplyExtended(16, false, true)],
  [v.i64x2ExtmulLowS, multiplyExtended(32, true, false)], [v.i64x2ExtmulLowU, multiplyExtended(32, false, false)],
]);

/** Result of the vector instruction `code`, not yet reduced to its width. `args` hold no more than their widths. */
export function vectorOperation(code: number, args: readonly bigint[], immediate: readonly number[]): bigint {
  const operation = OPERATIONS.get(code);
  if (!operation) throw new Error(`the reference evaluator lacks vector operation ${code}`);
  return operation(args, immediate);
}
