import { CR4, MXCSR } from '../layout';
import {
  addMagnitudes, begin, DE, divideMagnitudes, DOWN, IE, isUnmasked, low, multiplyMagnitudes, PE, raised, raiseFlags, resultExp,
  roundDouble, roundingMode, roundSingle, setFlags, signExponent, squareRootMagnitude, subtractMagnitudes, ZE,
} from './softfloat';
import { doubleOperand, singleOperand } from './softfloat-convert';
import { CLASS_INFINITY, CLASS_ZERO, classify, normalExponent, normalSignificand } from './softfloat-extended';
import { OK, raise } from './status';

/** One element of an SSE operation, single or double, under MXCSR: its value and its exception flags. @sdm 1 11.5 */

export const ADD: i32 = 0;
export const MULTIPLY: i32 = 1;
export const SUBTRACT: i32 = 2;
export const MIN: i32 = 3;
export const DIVIDE: i32 = 4;
export const MAX: i32 = 5;
export const SQUARE_ROOT: i32 = 6;

const DAZ: u32 = 0x40;
const FTZ: u32 = 0x8000;
const OSXMMEXCPT: u32 = 0x400;

const SINGLE_SIGN: u64 = 0x80000000;
const SINGLE_INFINITY: u64 = 0x7f800000;
const DOUBLE_SIGN: u64 = 0x8000000000000000;
const DOUBLE_INFINITY: u64 = 0x7ff0000000000000;

let control: u32 = 0;

/** Starts an instruction: rounding, masks, DAZ and FTZ from MXCSR, no flags. */
// @ts-ignore: decorator
@inline
export function beginSse(): void {
  control = load<u32>(MXCSR);
  begin(control >> 13 & 3, 64, control >> 7 & 0x3f, (control & FTZ) != 0);
}

/**
 * Ends an instruction: the flags of all elements go to MXCSR; #XM (#UD when CR4.OSXMMEXCPT = 0) when one is unmasked, and then no
 * result may be written. An unmasked pre-computation exception keeps the others from being reported. @sdm 1 11.5.2, 11.5.3
 */
export function endSse(): i32 {
  let bits = raised();
  if (bits == 0) return OK;
  if (isUnmasked(bits & (IE | DE | ZE))) bits &= IE | DE | ZE;
  store<u32>(MXCSR, load<u32>(MXCSR) | bits);
  if (!isUnmasked(bits)) return OK;
  return raise(load<u32>(CR4) & OSXMMEXCPT ? 19 : 6);
}

// @ts-ignore: decorator
@inline
export function denormalsAreZero(): bool {
  return (control & DAZ) != 0;
}

// @ts-ignore: decorator
@inline
export function signOf(wide: bool): u64 {
  return wide ? DOUBLE_SIGN : SINGLE_SIGN;
}
// @ts-ignore: decorator
@inline
export function infinityOf(wide: bool): u64 {
  return wide ? DOUBLE_INFINITY : SINGLE_INFINITY;
}
// @ts-ignore: decorator
@inline
export function quietOf(wide: bool): u64 {
  return wide ? 0x0008000000000000 : 0x00400000;
}
// @ts-ignore: decorator
@inline
export function defaultNan(wide: bool): u64 {
  return wide ? 0xfff8000000000000 : 0xffc00000;
}
// @ts-ignore: decorator
@inline
export function isNan(bits: u64, wide: bool): bool {
  return (bits & ~signOf(wide)) > infinityOf(wide);
}
// @ts-ignore: decorator
@inline
export function isSignalling(bits: u64, wide: bool): bool {
  return isNan(bits, wide) && (bits & quietOf(wide)) == 0;
}
// @ts-ignore: decorator
@inline
function isDenormal(bits: u64, wide: bool): bool {
  return (bits & ~signOf(wide)) - 1 < (wide ? 0x000fffffffffffff : 0x007fffff);
}
/** A denormal operand as zero when DAZ says so; else it raises DE. */
// @ts-ignore: decorator
@inline
export function admitDenormal(bits: u64, wide: bool): u64 {
  if (!isDenormal(bits, wide)) return bits;
  if (control & DAZ) return bits & signOf(wide);
  raiseFlags(DE);
  return bits;
}

/**
 * Fast path: under round-to-nearest, no DAZ and masked PE the native operation is the answer when operands are normal or zero and
 * the result is normal and not at the edge of underflow (tininess is detected after rounding). What is left is PE: set already, or
 * found by the exact error of the sum, or by the lengths of the factors. Returns false when the exact path must decide.
 */
let fastResult: u64 = 0;

function fastDouble(op: i32, a: u64, b: u64): bool {
  const expA = <u32>(a >> 52) & 0x7ff;
  const expB = <u32>(b >> 52) & 0x7ff;
  if ((expA - 1 >= 0x7fe && a << 1 != 0) || (expB - 1 >= 0x7fe && b << 1 != 0)) return false;
  const x = reinterpret<f64>(a);
  const y = reinterpret<f64>(b);
  let value: f64;
  const decided = (control & PE) != 0;
  if (op == ADD || op == SUBTRACT) {
    const addend = op == ADD ? y : -y;
    value = x + addend;
    if (!decided) {
      const part = value - x;
      if (x - (value - part) + (addend - part) != 0.0) raiseFlags(PE);
    }
  } else if (op == MULTIPLY) {
    if (!decided && ctz(a | DOUBLE_SIGN >> 11) + ctz(b | DOUBLE_SIGN >> 11) < 53) return false;
    value = x * y;
  } else {
    if (!decided) return false;
    if (op == DIVIDE) value = x / y;
    else if (op == SQUARE_ROOT) value = Math.sqrt(y);
    else return false;
  }
  fastResult = reinterpret<u64>(value);
  return (<u32>(fastResult >> 52) & 0x7ff) - 2 < 0x7fd;
}

function fastSingle(op: i32, a: u32, b: u32): bool {
  const expA = a >> 23 & 0xff;
  const expB = b >> 23 & 0xff;
  if ((expA - 1 >= 0xfe && a << 1 != 0) || (expB - 1 >= 0xfe && b << 1 != 0)) return false;
  const x = reinterpret<f32>(a);
  const y = reinterpret<f32>(b);
  let value: f32;
  const decided = (control & PE) != 0;
  if (op == ADD || op == SUBTRACT) {
    const addend = op == ADD ? y : -y;
    value = x + addend;
    if (!decided) {
      const part = value - x;
      if (x - (value - part) + (addend - part) != <f32>0.0) raiseFlags(PE);
    }
  } else if (op == MULTIPLY) {
    value = x * y;
    // The product of two singles is exact as a double.
    if (!decided && <f64>value != <f64>x * <f64>y) raiseFlags(PE);
  } else {
    if (!decided) return false;
    if (op == DIVIDE) value = x / y;
    else if (op == SQUARE_ROOT) value = Mathf.sqrt(y);
    else return false;
  }
  fastResult = reinterpret<u32>(value);
  return (<u32>fastResult >> 23 & 0xff) - 2 < 0xfd;
}

/** Element operation `op` of a and b (SQUARE_ROOT: of b), in the low bits of u64; flags accumulate. */
export function arithmeticLane(op: i32, wide: bool, a: u64, b: u64): u64 {
  const before = raised();
  if ((control & 0x7040) == 0x1000) {
    if (op == SQUARE_ROOT) a = 0;
    if (wide ? fastDouble(op, a, b) : fastSingle(op, <u32>a, <u32>b)) return fastResult;
  }
  setFlags(0);
  const result = op == MIN || op == MAX ? extremum(op, wide, a, b) : exactLane(op, wide, a, b);
  raiseFlags(before);
  return result;
}

/** MINPS and MAXPS: the second operand for NaNs and for two zeros. */
function extremum(op: i32, wide: bool, a: u64, b: u64): u64 {
  if (isNan(a, wide) || isNan(b, wide)) {
    raiseFlags(IE);
    // DAZ reaches the second operand even so.
    return (control & DAZ) != 0 && isDenormal(b, wide) ? b & signOf(wide) : b;
  }
  a = admitDenormal(a, wide);
  b = admitDenormal(b, wide);
  const x = wide ? reinterpret<f64>(a) : <f64>reinterpret<f32>(<u32>a);
  const y = wide ? reinterpret<f64>(b) : <f64>reinterpret<f32>(<u32>b);
  return (op == MIN ? x < y : x > y) ? a : b;
}

// @ts-ignore: decorator
@inline
function pack(wide: bool, sign: u32, exp: i32, sig: u64, rest: u64): u64 {
  return wide ? roundDouble(sign, exp, sig, rest) : <u64>roundSingle(sign, exp, sig, rest);
}

// @ts-ignore: decorator
@inline
function signed(wide: bool, sign: u32, magnitude: u64): u64 {
  return sign ? magnitude | signOf(wide) : magnitude;
}

function invalidLane(wide: bool): u64 {
  setFlags(IE);
  return defaultNan(wide);
}

function exactLane(op: i32, wide: bool, a: u64, b: u64): u64 {
  const unary = op == SQUARE_ROOT;
  const nanA = !unary && isNan(a, wide);
  const nanB = isNan(b, wide);
  if (nanA || nanB) {
    if ((nanA && isSignalling(a, wide)) || isSignalling(b, wide)) raiseFlags(IE);
    return (nanA ? a : b) | quietOf(wide);
  }
  a = unary ? 0 : admitDenormal(a, wide);
  b = admitDenormal(b, wide);
  const sigA = wide ? doubleOperand(a) : singleOperand(<u32>a);
  const seA = signExponent();
  const sigB = wide ? doubleOperand(b) : singleOperand(<u32>b);
  let seB = signExponent();
  const kindA = classify(sigA, seA);
  const kindB = classify(sigB, seB);
  if (op == SUBTRACT) seB ^= 0x8000;
  switch (op) {
    case MULTIPLY: return multiplyLane(wide, kindA, sigA, seA, kindB, sigB, seB);
    case DIVIDE: return divideLane(wide, kindA, sigA, seA, kindB, sigB, seB);
    case SQUARE_ROOT: {
      if (kindB == CLASS_ZERO) return b;
      if (seB & 0x8000) return invalidLane(wide);
      if (kindB == CLASS_INFINITY) return b;
      const root = squareRootMagnitude(normalExponent(sigB, seB), normalSignificand(sigB));
      return pack(wide, 0, resultExp(), root, low());
    }
    default: return addLane(wide, kindA, sigA, seA, kindB, sigB, seB);
  }
}

function addLane(wide: bool, kindA: u32, sigA: u64, seA: u32, kindB: u32, sigB: u64, seB: u32): u64 {
  const signA = seA >> 15;
  const signB = seB >> 15;
  if (kindA == CLASS_INFINITY) {
    return kindB == CLASS_INFINITY && signA != signB ? invalidLane(wide) : signed(wide, signA, infinityOf(wide));
  }
  if (kindB == CLASS_INFINITY) return signed(wide, signB, infinityOf(wide));
  const cancelled: u32 = roundingMode() == DOWN ? 1 : 0;
  if (kindA == CLASS_ZERO) {
    if (kindB == CLASS_ZERO) return signed(wide, signA == signB ? signA : cancelled, 0);
    return pack(wide, signB, normalExponent(sigB, seB), normalSignificand(sigB), 0);
  }
  const expA = normalExponent(sigA, seA);
  sigA = normalSignificand(sigA);
  if (kindB == CLASS_ZERO) return pack(wide, signA, expA, sigA, 0);
  const expB = normalExponent(sigB, seB);
  sigB = normalSignificand(sigB);
  if (signA == signB) {
    const sum = addMagnitudes(expA, sigA, expB, sigB);
    return pack(wide, signA, resultExp(), sum, low());
  }
  if (expA == expB && sigA == sigB) return signed(wide, cancelled, 0);
  if (expA > expB || (expA == expB && sigA > sigB)) {
    const difference = subtractMagnitudes(expA, sigA, expB, sigB);
    return pack(wide, signA, resultExp(), difference, low());
  }
  const difference = subtractMagnitudes(expB, sigB, expA, sigA);
  return pack(wide, signB, resultExp(), difference, low());
}

function multiplyLane(wide: bool, kindA: u32, sigA: u64, seA: u32, kindB: u32, sigB: u64, seB: u32): u64 {
  const sign = (seA ^ seB) >> 15;
  const infinite = kindA == CLASS_INFINITY || kindB == CLASS_INFINITY;
  if (kindA == CLASS_ZERO || kindB == CLASS_ZERO) return infinite ? invalidLane(wide) : signed(wide, sign, 0);
  if (infinite) return signed(wide, sign, infinityOf(wide));
  const product = multiplyMagnitudes(
    normalExponent(sigA, seA), normalSignificand(sigA), normalExponent(sigB, seB), normalSignificand(sigB));
  return pack(wide, sign, resultExp(), product, low());
}

function divideLane(wide: bool, kindA: u32, sigA: u64, seA: u32, kindB: u32, sigB: u64, seB: u32): u64 {
  const sign = (seA ^ seB) >> 15;
  if (kindA == kindB && (kindA == CLASS_INFINITY || kindA == CLASS_ZERO)) return invalidLane(wide);
  if (kindA == CLASS_INFINITY) return signed(wide, sign, infinityOf(wide));
  if (kindB == CLASS_ZERO) {
    setFlags(ZE);
    return signed(wide, sign, infinityOf(wide));
  }
  if (kindA == CLASS_ZERO || kindB == CLASS_INFINITY) return signed(wide, sign, 0);
  const quotient = divideMagnitudes(
    normalExponent(sigA, seA), normalSignificand(sigA), normalExponent(sigB, seB), normalSignificand(sigB));
  return pack(wide, sign, resultExp(), quotient, low());
}
