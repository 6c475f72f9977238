/**
 * The WebAssembly vector operations on numbers that definitions use, for the reference evaluator. Sums, products, quotients and roots of
 * single precision are exact when a double's result is rounded once more. NaN payloads are not WebAssembly's to promise, and definitions
 * do not rely on them.
 */
import { v } from '../wasm/opcodes.ts';

type Operation = (args: readonly bigint[]) => bigint;
type Bits = 32 | 64;

const scratch = new DataView(new ArrayBuffer(8));

function numberOf(bits: Bits, value: bigint): number {
  if (bits === 32) {
    scratch.setUint32(0, Number(value));
    return scratch.getFloat32(0);
  }
  scratch.setBigUint64(0, value);
  return scratch.getFloat64(0);
}

function bitsOf(bits: Bits, value: number): bigint {
  if (bits === 32) {
    scratch.setFloat32(0, value);
    return BigInt(scratch.getUint32(0));
  }
  scratch.setFloat64(0, value);
  return scratch.getBigUint64(0);
}

const lane = (bits: Bits, value: bigint, i: number): bigint => BigInt.asUintN(bits, value >> BigInt(i * bits));
const each = (bits: Bits, f: (i: number) => bigint): bigint =>
  Array.from({ length: 128 / bits }, (_, i) => BigInt.asUintN(bits, f(i)) << BigInt(i * bits)).reduce((sum, part) => sum | part, 0n);

const arithmetic = (bits: Bits, f: (a: number, b: number) => number): Operation => ([a, b]) =>
  each(bits, i => bitsOf(bits, f(numberOf(bits, lane(bits, a!, i)), numberOf(bits, lane(bits, b!, i)))));
const compare = (bits: Bits, f: (a: number, b: number) => boolean): Operation => ([a, b]) =>
  each(bits, i => (f(numberOf(bits, lane(bits, a!, i)), numberOf(bits, lane(bits, b!, i))) ? -1n : 0n));
const root = (bits: Bits): Operation => ([a]) => each(bits, i => bitsOf(bits, Math.sqrt(numberOf(bits, lane(bits, a!, i)))));
const absolute = (bits: Bits): Operation => ([a]) => each(bits, i => BigInt.asUintN(bits - 1, lane(bits, a!, i)));
/** pmin is b < a ? b : a; pmax is a < b ? b : a. */
const choose = (bits: Bits, takesSecond: (a: number, b: number) => boolean): Operation => ([a, b]) =>
  each(bits, i => (takesSecond(numberOf(bits, lane(bits, a!, i)), numberOf(bits, lane(bits, b!, i))) ? lane(bits, b!, i) : lane(bits, a!, i)));

/** Truncation with saturation; NaN becomes 0. */
function truncated(value: number): bigint {
  if (Number.isNaN(value)) return 0n;
  return BigInt(Math.trunc(Math.min(2147483647, Math.max(-2147483648, value))));
}

const OPERATIONS: readonly (readonly [number, Operation])[] = ([32, 64] as const).flatMap(bits => {
  const code = (name: string): number => v[`${bits === 32 ? 'f32x4' : 'f64x2'}${name}` as keyof typeof v];
  return [
    [code('Add'), arithmetic(bits, (a, b) => a + b)], [code('Sub'), arithmetic(bits, (a, b) => a - b)],
    [code('Mul'), arithmetic(bits, (a, b) => a * b)], [code('Div'), arithmetic(bits, (a, b) => a / b)],
    [code('Sqrt'), root(bits)], [code('Abs'), absolute(bits)],
    [code('Eq'), compare(bits, (a, b) => a === b)], [code('Lt'), compare(bits, (a, b) => a < b)], [code('Ge'), compare(bits, (a, b) => a >= b)],
    [code('Pmin'), choose(bits, (a, b) => b < a)], [code('Pmax'), choose(bits, (a, b) => a < b)],
  ] as const;
});

export const FLOAT_OPERATIONS: ReadonlyMap<number, Operation> = new Map<number, Operation>([
  ...OPERATIONS,
  [v.f32x4DemoteF64x2Zero, ([a]) => bitsOf(32, numberOf(64, lane(64, a!, 0))) | (bitsOf(32, numberOf(64, lane(64, a!, 1))) << 32n)],
  [v.f64x2PromoteLowF32x4, ([a]) => bitsOf(64, numberOf(32, lane(32, a!, 0))) | (bitsOf(64, numberOf(32, lane(32, a!, 1))) << 64n)],
  [v.i32x4TruncSatF64x2SZero, ([a]) => BigInt.asUintN(32, truncated(numberOf(64, lane(64, a!, 0)))) | (BigInt.asUintN(32, truncated(numberOf(64, lane(64, a!, 1)))) << 32n)],
  [v.f64x2ConvertLowI32x4S, ([a]) => bitsOf(64, Number(BigInt.asIntN(32, lane(32, a!, 0)))) | (bitsOf(64, Number(BigInt.asIntN(32, lane(32, a!, 1)))) << 64n)],
]);
