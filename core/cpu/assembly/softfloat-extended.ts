import {
  addMagnitudes, DE, DEFAULT_NAN, divideMagnitudes, DOWN, EXTENDED_BIAS, IE, increments, INTEGER_BIT, isUnmasked, low,
  multiplyMagnitudes, PE, QUIET_BIT, raiseFlags, resultExp, roundExtended, roundingMode, setFlags, setRoundedUp,
  setSignExponent, shiftRightJam128, squareRootMagnitude, subtractMagnitudes, ZE,
} from './softfloat';

/**
 * Double extended-precision values: a 64-bit significand and a 16-bit word of sign and exponent, with the NaN rules of the x87.
 * Every operation returns the significand and leaves the sign and exponent in signExponent(), the exceptions in raised().
 */

// Classes, ordered so that everything from QNAN on needs the NaN rules.
export const CLASS_ZERO: u32 = 0;
export const CLASS_NORMAL: u32 = 1;
export const CLASS_DENORMAL: u32 = 2;
export const CLASS_INFINITY: u32 = 3;
export const CLASS_QNAN: u32 = 4;
export const CLASS_SNAN: u32 = 5;
/** Pseudo-NaN, pseudo-infinity, unnormal. @sdm 1 8.2.2 */
export const CLASS_UNSUPPORTED: u32 = 6;

export function classify(sig: u64, se: u32): u32 {
  const exp = se & 0x7fff;
  if (exp == 0) return sig == 0 ? CLASS_ZERO : CLASS_DENORMAL;
  if (<i64>sig >= 0) return CLASS_UNSUPPORTED;
  if (exp != 0x7fff) return CLASS_NORMAL;
  if (sig == INTEGER_BIT) return CLASS_INFINITY;
  return sig & QUIET_BIT ? CLASS_QNAN : CLASS_SNAN;
}

/** Neither zero, denormal, infinite nor not-a-number. */
// @ts-ignore: decorator
@inline
function isNormal(sig: u64, se: u32): bool {
  return <i64>sig < 0 && (se & 0x7fff) - 1 < 0x7ffe;
}

export function invalid(): u64 {
  setFlags(IE);
  setSignExponent(0xffff);
  return DEFAULT_NAN;
}

function give(sig: u64, se: u32): u64 {
  setSignExponent(se);
  return sig;
}

/** Result for operands of which at least one is a NaN or unsupported. @sdm 1 table 4-7 */
export function propagate(classA: u32, sigA: u64, seA: u32, classB: u32, sigB: u64, seB: u32): u64 {
  if (classA == CLASS_UNSUPPORTED || classB == CLASS_UNSUPPORTED) return invalid();
  // A denormal operand beside the NaN is not reported, even when its conversion noticed it. @sdm 1 4.9.2
  setFlags(classA == CLASS_SNAN || classB == CLASS_SNAN ? IE : 0);
  const nanA = classA >= CLASS_QNAN;
  const nanB = classB >= CLASS_QNAN;
  let first = nanA;
  if (nanA && nanB) {
    if (classA != classB) first = classA == CLASS_QNAN;
    else {
      const a = sigA | QUIET_BIT;
      const b = sigB | QUIET_BIT;
      first = a > b || (a == b && (seA & 0x8000) <= (seB & 0x8000));
    }
  }
  return first ? give(sigA | QUIET_BIT, seA) : give(sigB | QUIET_BIT, seB);
}

export function propagateOne(kind: u32, sig: u64, se: u32): u64 {
  if (kind == CLASS_UNSUPPORTED) return invalid();
  if (kind == CLASS_SNAN) raiseFlags(IE);
  return give(sig | QUIET_BIT, se);
}

/** Exponent of a finite nonzero value once its significand is shifted so that bit 63 is set. */
// @ts-ignore: decorator
@inline
export function normalExponent(sig: u64, se: u32): i32 {
  const exp = <i32>(se & 0x7fff);
  return exp != 0 ? exp : 1 - <i32>clz(sig);
}

// @ts-ignore: decorator
@inline
export function normalSignificand(sig: u64): u64 {
  return sig << clz(sig);
}

function addSigned(sigA: u64, seA: u32, sigB: u64, seB: u32): u64 {
  const signA = seA >> 15;
  const signB = seB >> 15;
  const expA = normalExponent(sigA, seA);
  const expB = normalExponent(sigB, seB);
  sigA = normalSignificand(sigA);
  sigB = normalSignificand(sigB);
  if (signA == signB) {
    const sum = addMagnitudes(expA, sigA, expB, sigB);
    return roundExtended(signA, resultExp(), sum, low());
  }
  if (expA == expB && sigA == sigB) return give(0, roundingMode() == DOWN ? 0x8000 : 0);
  if (expA > expB || (expA == expB && sigA > sigB)) {
    const difference = subtractMagnitudes(expA, sigA, expB, sigB);
    return roundExtended(signA, resultExp(), difference, low());
  }
  const difference = subtractMagnitudes(expB, sigB, expA, sigA);
  return roundExtended(signB, resultExp(), difference, low());
}

export function extendedAdd(sigA: u64, seA: u32, sigB: u64, seB: u32): u64 {
  if (isNormal(sigA, seA) && isNormal(sigB, seB)) return addSigned(sigA, seA, sigB, seB);
  const a = classify(sigA, seA);
  const b = classify(sigB, seB);
  if (a >= CLASS_QNAN || b >= CLASS_QNAN) return propagate(a, sigA, seA, b, sigB, seB);
  if (a == CLASS_INFINITY && b == CLASS_INFINITY && ((seA ^ seB) & 0x8000) != 0) return invalid();
  if (a == CLASS_DENORMAL || b == CLASS_DENORMAL) {
    raiseFlags(DE);
    if (isUnmasked(DE)) return 0;
  }
  if (a == CLASS_INFINITY) return give(sigA, seA);
  if (b == CLASS_INFINITY) return give(sigB, seB);
  if (a == CLASS_ZERO && b == CLASS_ZERO) {
    return give(0, seA == seB ? seA : roundingMode() == DOWN ? 0x8000 : 0);
  }
  // A zero operand leaves the other, which precision control and tininess still concern.
  if (a == CLASS_ZERO) return roundExtended(seB >> 15, normalExponent(sigB, seB), normalSignificand(sigB), 0);
  if (b == CLASS_ZERO) return roundExtended(seA >> 15, normalExponent(sigA, seA), normalSignificand(sigA), 0);
  return addSigned(sigA, seA, sigB, seB);
}

/** A minus B; a NaN operand keeps its sign. */
export function extendedSubtract(sigA: u64, seA: u32, sigB: u64, seB: u32): u64 {
  const b = classify(sigB, seB);
  return extendedAdd(sigA, seA, sigB, b >= CLASS_QNAN ? seB : seB ^ 0x8000);
}

export function extendedMultiply(sigA: u64, seA: u32, sigB: u64, seB: u32): u64 {
  const sign = (seA ^ seB) >> 15 & 1;
  if (!(isNormal(sigA, seA) && isNormal(sigB, seB))) {
    const a = classify(sigA, seA);
    const b = classify(sigB, seB);
    if (a >= CLASS_QNAN || b >= CLASS_QNAN) return propagate(a, sigA, seA, b, sigB, seB);
    if ((a == CLASS_INFINITY && b == CLASS_ZERO) || (a == CLASS_ZERO && b == CLASS_INFINITY)) return invalid();
    if (a == CLASS_DENORMAL || b == CLASS_DENORMAL) {
      raiseFlags(DE);
      if (isUnmasked(DE)) return 0;
    }
    if (a == CLASS_INFINITY || b == CLASS_INFINITY) return give(INTEGER_BIT, (sign << 15) | 0x7fff);
    if (a == CLASS_ZERO || b == CLASS_ZERO) return give(0, sign << 15);
  }
  const product = multiplyMagnitudes(
    normalExponent(sigA, seA), normalSignificand(sigA), normalExponent(sigB, seB), normalSignificand(sigB));
  return roundExtended(sign, resultExp(), product, low());
}

export function extendedDivide(sigA: u64, seA: u32, sigB: u64, seB: u32): u64 {
  const sign = (seA ^ seB) >> 15 & 1;
  if (!(isNormal(sigA, seA) && isNormal(sigB, seB))) {
    const a = classify(sigA, seA);
    const b = classify(sigB, seB);
    if (a >= CLASS_QNAN || b >= CLASS_QNAN) return propagate(a, sigA, seA, b, sigB, seB);
    if (a == b && (a == CLASS_INFINITY || a == CLASS_ZERO)) return invalid();
    if (b == CLASS_ZERO && a != CLASS_INFINITY) {
      setFlags(ZE);
      return give(INTEGER_BIT, (sign << 15) | 0x7fff);
    }
    if (a == CLASS_DENORMAL || b == CLASS_DENORMAL) {
      raiseFlags(DE);
      if (isUnmasked(DE)) return 0;
    }
    if (a == CLASS_INFINITY) return give(INTEGER_BIT, (sign << 15) | 0x7fff);
    if (a == CLASS_ZERO || b == CLASS_INFINITY) return give(0, sign << 15);
  }
  const quotient = divideMagnitudes(
    normalExponent(sigA, seA), normalSignificand(sigA), normalExponent(sigB, seB), normalSignificand(sigB));
  return roundExtended(sign, resultExp(), quotient, low());
}

export function extendedSquareRoot(sig: u64, se: u32): u64 {
  const kind = classify(sig, se);
  if (kind >= CLASS_QNAN) return propagateOne(kind, sig, se);
  if (kind == CLASS_ZERO) return give(sig, se);
  if (se & 0x8000) return invalid();
  if (kind == CLASS_INFINITY) return give(sig, se);
  if (kind == CLASS_DENORMAL) {
    raiseFlags(DE);
    if (isUnmasked(DE)) return 0;
  }
  const root = squareRootMagnitude(normalExponent(sig, se), normalSignificand(sig));
  return roundExtended(0, resultExp(), root, low());
}

// ---- comparison -------------------------------------------------------------------------------------------------------------
export const LESS: u32 = 0x100;
export const EQUAL: u32 = 0x4000;
export const GREATER: u32 = 0;
export const UNORDERED: u32 = 0x4500;

/** Order of A to B as C3, C2, C0 of FSW. A quiet comparison raises IE for signalling NaNs and unsupported formats alone. */
export function extendedCompare(sigA: u64, seA: u32, sigB: u64, seB: u32, quiet: bool): u32 {
  const a = classify(sigA, seA);
  const b = classify(sigB, seB);
  if (a >= CLASS_QNAN || b >= CLASS_QNAN) {
    setFlags(!quiet || a > CLASS_QNAN || b > CLASS_QNAN ? IE : 0);
    return UNORDERED;
  }
  if (a == CLASS_DENORMAL || b == CLASS_DENORMAL) raiseFlags(DE);
  if (a == CLASS_ZERO && b == CLASS_ZERO) return EQUAL;
  const signA = a == CLASS_ZERO ? seB >> 15 ^ 1 : seA >> 15;
  const signB = b == CLASS_ZERO ? seA >> 15 ^ 1 : seB >> 15;
  if (a == CLASS_ZERO || b == CLASS_ZERO) return (a == CLASS_ZERO ? signB != 0 : signA == 0) ? GREATER : LESS;
  if (signA != signB) return signA ? LESS : GREATER;
  const expA = normalExponent(sigA, seA);
  const expB = normalExponent(sigB, seB);
  const magnitudeA = normalSignificand(sigA);
  const magnitudeB = normalSignificand(sigB);
  if (expA == expB && magnitudeA == magnitudeB) return EQUAL;
  const larger = expA > expB || (expA == expB && magnitudeA > magnitudeB);
  return larger == (signA == 0) ? GREATER : LESS;
}

// ---- integral values, scale, extract ----------------------------------------------------------------------------------------

/** FRNDINT. */
export function extendedRoundToInteger(sig: u64, se: u32): u64 {
  const kind = classify(sig, se);
  if (kind >= CLASS_QNAN) return propagateOne(kind, sig, se);
  if (kind == CLASS_ZERO || kind == CLASS_INFINITY) return give(sig, se);
  const exp = <i32>(se & 0x7fff);
  if (kind == CLASS_DENORMAL) {
    raiseFlags(DE);
    if (isUnmasked(DE)) return 0;
  }
  const shift = EXTENDED_BIAS + 63 - exp;
  if (shift <= 0) return give(sig, se);
  const sign = se >> 15;
  let whole = shiftRightJam128(sig, 0, shift);
  const rest = low();
  if (rest == 0) return give(sig, se);
  raiseFlags(PE);
  if (increments(sign, (whole & 1) != 0, rest)) {
    setRoundedUp(true);
    whole++;
  }
  if (whole == 0) return give(0, sign << 15);
  return give(normalSignificand(whole), (sign << 15) | u32(EXTENDED_BIAS + 63 - <i32>clz(whole)));
}

/** FXTRACT's exponent as an extended value; the significand's own sign and exponent are bias 0. Operand finite and nonzero. */
export function extendedExponent(sig: u64, se: u32): u64 {
  const value = normalExponent(sig, se) - EXTENDED_BIAS;
  if (value == 0) return give(0, 0);
  const magnitude = <u64>(value < 0 ? -value : value);
  return give(normalSignificand(magnitude), (value < 0 ? 0x8000 : 0) | u32(EXTENDED_BIAS + 63 - <i32>clz(magnitude)));
}

/** An operand as the result, as Intel's processors have it: a denormal does not underflow; a pseudo-denormal becomes normal. */
function unchanged(kind: u32, sig: u64, se: u32): u64 {
  return give(sig, kind == CLASS_DENORMAL && (sig & INTEGER_BIT) != 0 ? se | 1 : se);
}

/** FSCALE: A times 2 to the truncated B. */
export function extendedScale(sigA: u64, seA: u32, sigB: u64, seB: u32): u64 {
  const a = classify(sigA, seA);
  const b = classify(sigB, seB);
  if (a >= CLASS_QNAN || b >= CLASS_QNAN) return propagate(a, sigA, seA, b, sigB, seB);
  const sign = seA >> 15;
  if (b == CLASS_INFINITY) {
    if (seB & 0x8000 ? a == CLASS_INFINITY : a == CLASS_ZERO) return invalid();
    if (a == CLASS_DENORMAL) raiseFlags(DE);
    return seB & 0x8000 ? give(0, sign << 15) : give(INTEGER_BIT, (sign << 15) | 0x7fff);
  }
  if (a == CLASS_DENORMAL || b == CLASS_DENORMAL) {
    raiseFlags(DE);
    if (isUnmasked(DE)) return 0;
  }
  if (a == CLASS_INFINITY || a == CLASS_ZERO) return give(sigA, seA);
  if (b == CLASS_ZERO) return unchanged(a, sigA, seA);
  const shift = EXTENDED_BIAS + 63 - <i32>(seB & 0x7fff);
  let count = shift >= 64 ? 0 : shift < 46 ? 0x20000 : <i32>(sigB >> shift);
  if (count > 0x20000) count = 0x20000;
  return roundExtended(sign, normalExponent(sigA, seA) + (seB & 0x8000 ? -count : count), normalSignificand(sigA), 0);
}

// ---- remainder --------------------------------------------------------------------------------------------------------------

let quotientBits: u64 = 0;
let partial: bool = false;

let finished: bool = false;

/** Whether the last remainder has a quotient, or a partial one: not for NaNs and invalid operands. */
export function remainderFinished(): bool {
  return finished;
}
/** Low bits of the quotient of the last remainder. */
export function remainderQuotient(): u64 {
  return quotientBits;
}
/** Whether the last remainder is partial (C2). */
export function remainderPartial(): bool {
  return partial;
}

/** FPREM (`nearest` false) and FPREM1: A minus B times the quotient, reduced by at most 63 binary orders a step. */
export function extendedRemainder(sigA: u64, seA: u32, sigB: u64, seB: u32, nearest: bool): u64 {
  quotientBits = 0;
  partial = false;
  finished = false;
  const a = classify(sigA, seA);
  const b = classify(sigB, seB);
  if (a >= CLASS_QNAN || b >= CLASS_QNAN) return propagate(a, sigA, seA, b, sigB, seB);
  if (a == CLASS_INFINITY || b == CLASS_ZERO) return invalid();
  if (a == CLASS_DENORMAL || b == CLASS_DENORMAL) {
    raiseFlags(DE);
    if (isUnmasked(DE)) return 0;
  }
  finished = true;
  if (a == CLASS_ZERO) return give(sigA, seA);
  if (b == CLASS_INFINITY) return unchanged(a, sigA, seA);
  const sign = seA >> 15;
  const expA = normalExponent(sigA, seA);
  sigA = normalSignificand(sigA);
  let expB = normalExponent(sigB, seB);
  sigB = normalSignificand(sigB);
  const distance = expA - expB;
  if (distance < -1 || (distance < 0 && !nearest)) return roundExtended(sign, expA, sigA, 0);
  partial = distance >= 64;
  // A partial step subtracts a multiple of B * 2^(distance - steps), steps from 32 to 63. @sdm 2A FPREM
  const steps = partial ? (distance & 31) | 32 : distance;
  return reduce(sign, sigA, sigB, steps, expA - steps, nearest && !partial);
}

function reduce(sign: u32, rest: u64, divisor: u64, steps: i32, exp: i32, nearest: bool): u64 {
  let quotient: u64 = 0;
  let carry: bool = false;
  if (steps < 0) {
    // The dividend lies within half of the divisor to twice that: quotient 0 or 1.
    if (rest > divisor) {
      rest = divisor - (rest - divisor);
      quotientBits = 1;
      return roundExtended(sign ^ 1, exp - 1 - <i32>clz(rest) , normalSignificand(rest), 0);
    }
    return roundExtended(sign, exp - 1, rest, 0);
  }
  for (let step = steps; ; step--) {
    quotient <<= 1;
    if (carry || rest >= divisor) {
      rest -= divisor;
      quotient |= 1;
    }
    if (step == 0) break;
    carry = <i64>rest < 0;
    rest <<= 1;
  }
  if (nearest) {
    const other = divisor - rest;
    if (rest > other || (rest == other && (quotient & 1) != 0)) {
      rest = other;
      sign ^= 1;
      quotient++;
    }
  }
  quotientBits = quotient;
  if (rest == 0) return give(0, sign << 15);
  return roundExtended(sign, exp - <i32>clz(rest), normalSignificand(rest), 0);
}
