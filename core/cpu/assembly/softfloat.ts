/**
 * The arithmetic that the three floating-point formats share: significands of 64 bits with an explicit integer bit at bit 63,
 * exact results of 128 bits whose last bit is sticky, and rounding. What differs (NaN rules, denormals-are-zero, stack and masks)
 * lies with x87 and SSE. An AssemblyScript function returns one value; the rest goes through the variables below.
 */

/** Exception flags in the order of FSW 5:0 and MXCSR 5:0. */
export const IE: u32 = 1;
export const DE: u32 = 2;
export const ZE: u32 = 4;
export const OE: u32 = 8;
export const UE: u32 = 16;
export const PE: u32 = 32;

export const NEAREST: u32 = 0;
export const DOWN: u32 = 1;
export const UP: u32 = 2;
export const ZERO: u32 = 3;

export const INTEGER_BIT: u64 = 0x8000000000000000;
export const QUIET_BIT: u64 = 0x4000000000000000;
export const DEFAULT_NAN: u64 = 0xc000000000000000;
export const EXTENDED_BIAS: i32 = 16383;
/** What the exponent of an unmasked overflow or underflow is adjusted by. @sdm 1 4.9.1.4, 4.9.1.5 */
const BIAS_ADJUSTMENT: i32 = 24576;

// ---- environment of the operation in progress
let rounding: u32 = 0;
/** Bits of a significand that survive in an extended result: 64, 53 or 24 (precision control). */
let precision: i32 = 64;
/** Masked exceptions, bit set = masked. */
let masks: u32 = 0x3f;
let flushToZero: bool = false;
/** Exceptions raised so far. */
let flags: u32 = 0;
/** Whether the last rounding increased the magnitude (C1). */
let roundedUp: bool = false;

// ---- second and third words of results
let resultExponent: u32 = 0;
let resultLow: u64 = 0;
let exponent: i32 = 0;

/** Starts an operation: `mode` 0..3 as in FCW.RC, `width` 64, 53 or 24, `masked` as FCW 5:0. */
// @ts-ignore: decorator
@inline
export function begin(mode: u32, width: i32, masked: u32, flush: bool): void {
  rounding = mode;
  precision = width;
  masks = masked;
  flushToZero = flush;
  flags = 0;
  roundedUp = false;
}

// @ts-ignore: decorator
@inline
export function raised(): u32 {
  return flags;
}
// @ts-ignore: decorator
@inline
export function raiseFlags(bits: u32): void {
  flags |= bits;
}
// @ts-ignore: decorator
@inline
export function setFlags(bits: u32): void {
  flags = bits;
}
// @ts-ignore: decorator
@inline
export function wasRoundedUp(): bool {
  return roundedUp;
}
// @ts-ignore: decorator
@inline
export function setRoundedUp(up: bool): void {
  roundedUp = up;
}
// @ts-ignore: decorator
@inline
export function roundingMode(): u32 {
  return rounding;
}
// @ts-ignore: decorator
@inline
export function setRoundingMode(mode: u32): void {
  rounding = mode;
}
// @ts-ignore: decorator
@inline
export function setPrecision(width: i32): void {
  precision = width;
}
// @ts-ignore: decorator
@inline
export function isUnmasked(bits: u32): bool {
  return (bits & ~masks) != 0;
}
// @ts-ignore: decorator
@inline
export function maskedExceptions(): u32 {
  return masks;
}
// @ts-ignore: decorator
@inline
export function setMasks(masked: u32): void {
  masks = masked;
}
/** Sign and exponent (16 bits) of the last extended result. */
// @ts-ignore: decorator
@inline
export function signExponent(): u32 {
  return resultExponent;
}
// @ts-ignore: decorator
@inline
export function setSignExponent(value: u32): void {
  resultExponent = value;
}
/** Low 64 bits of the last 128-bit result. */
// @ts-ignore: decorator
@inline
export function low(): u64 {
  return resultLow;
}
// @ts-ignore: decorator
@inline
export function setLow(value: u64): void {
  resultLow = value;
}
/** Exponent that belongs to the last exact result, biased by EXTENDED_BIAS and unbounded. */
// @ts-ignore: decorator
@inline
export function resultExp(): i32 {
  return exponent;
}
// @ts-ignore: decorator
@inline
export function setResultExp(value: i32): void {
  exponent = value;
}

// ---- 128-bit primitives -----------------------------------------------------------------------------------------------------

/** High half of a times b; the low half through low(). */
export function multiply128(a: u64, b: u64): u64 {
  const a0 = a & 0xffffffff;
  const a1 = a >> 32;
  const b0 = b & 0xffffffff;
  const b1 = b >> 32;
  const p00 = a0 * b0;
  const p01 = a0 * b1;
  const p10 = a1 * b0;
  const middle = (p00 >> 32) + (p01 & 0xffffffff) + (p10 & 0xffffffff);
  resultLow = (p00 & 0xffffffff) | (middle << 32);
  return a1 * b1 + (p01 >> 32) + (p10 >> 32) + (middle >> 32);
}

/** Quotient of high:low by divisor (bit 63 set, high < divisor); the remainder through low(). */
export function divide128(high: u64, lowWord: u64, divisor: u64): u64 {
  const d1 = divisor >> 32;
  const d0 = divisor & 0xffffffff;
  let remainder = high;
  let quotient: u64 = 0;
  for (let step = 0; step < 2; step++) {
    const next = step == 0 ? lowWord >> 32 : lowWord & 0xffffffff;
    let digit = remainder / d1;
    let rest = remainder - digit * d1;
    // At most two corrections of the estimate (Knuth, algorithm D).
    while (digit > 0xffffffff || digit * d0 > ((rest << 32) | next)) {
      digit--;
      rest += d1;
      if (rest > 0xffffffff) break;
    }
    remainder = ((remainder << 32) | next) - digit * divisor;
    quotient = (quotient << 32) | digit;
  }
  resultLow = remainder;
  return quotient;
}

/** value (an integer in the high word of 128 bits) shifted right, what falls off jammed into bit 0 of low(). */
export function shiftRightJam128(high: u64, lowWord: u64, count: i32): u64 {
  if (count == 0) {
    resultLow = lowWord;
    return high;
  }
  if (count < 64) {
    resultLow = (high << (64 - count)) | (lowWord >> count) | u64((lowWord << (64 - count)) != 0);
    return high >> count;
  }
  if (count == 64) resultLow = high | u64(lowWord != 0);
  else if (count < 128) resultLow = (high >> (count - 64)) | u64(((high << (128 - count)) | lowWord) != 0);
  else resultLow = u64((high | lowWord) != 0);
  return 0;
}

// ---- exact operations on normalised significands ----------------------------------------------------------------------------
// Operands: exponent (biased by EXTENDED_BIAS, unbounded) and significand with bit 63 set. Result: high word, low(), resultExp().

export function addMagnitudes(expA: i32, sigA: u64, expB: i32, sigB: u64): u64 {
  if (expA < expB) return addMagnitudes(expB, sigB, expA, sigA);
  const shifted = shiftRightJam128(sigB, 0, expA - expB);
  const sum = sigA + shifted;
  exponent = expA;
  if (sum >= sigA) return sum;
  exponent = expA + 1;
  resultLow = (sum << 63) | (resultLow >> 1) | (resultLow & 1);
  return (sum >> 1) | INTEGER_BIT;
}

/** A number of 128 bits and an exponent, shifted left until bit 127 is set; its high half. Not for zero. */
export function normalizeWide(exp: i32, high: u64, rest: u64): u64 {
  if (high == 0) {
    high = rest;
    rest = 0;
    exp -= 64;
  }
  const count = <i32>clz(high);
  if (count != 0) {
    high = (high << count) | (rest >> (64 - count));
    rest <<= count;
  }
  resultLow = rest;
  exponent = exp - count;
  return high;
}

/** A minus B for A > B in magnitude. */
export function subtractMagnitudes(expA: i32, sigA: u64, expB: i32, sigB: u64): u64 {
  const shifted = shiftRightJam128(sigB, 0, expA - expB);
  const borrow = u64(resultLow != 0);
  return normalizeWide(expA, sigA - shifted - borrow, 0 - resultLow);
}

export function multiplyMagnitudes(expA: i32, sigA: u64, expB: i32, sigB: u64): u64 {
  const high = multiply128(sigA, sigB);
  exponent = expA + expB - EXTENDED_BIAS + 1;
  if (<i64>high < 0) return high;
  exponent--;
  const result = (high << 1) | (resultLow >> 63);
  resultLow <<= 1;
  return result;
}

export function divideMagnitudes(expA: i32, sigA: u64, expB: i32, sigB: u64): u64 {
  let quotient: u64;
  exponent = expA - expB + EXTENDED_BIAS;
  if (sigA >= sigB) {
    quotient = divide128(sigA >> 1, sigA << 63, sigB);
  } else {
    exponent--;
    quotient = divide128(sigA, 0, sigB);
  }
  const remainder = resultLow;
  if (remainder != 0) {
    const rest = sigB - remainder;
    // Only the relation to one half matters to rounding.
    resultLow = remainder < rest ? 1 : remainder == rest ? INTEGER_BIT : INTEGER_BIT | 1;
  }
  return quotient;
}

export function squareRootMagnitude(exp: i32, sig: u64): u64 {
  // The radicand is sig * 2^63 or sig * 2^64 as the exponent is odd or even, so that its root has exactly 64 bits.
  const odd = (exp - EXTENDED_BIAS) & 1;
  const high = odd ? sig : sig >> 1;
  const rest = odd ? 0 : sig << 63;
  exponent = ((exp - EXTENDED_BIAS - odd) >> 1) + EXTENDED_BIAS;
  const estimate = Math.sqrt(<f64>high) * 4294967296.0;
  let root: u64 = estimate >= 18446744073709551615.0 ? 0xffffffffffffffff : <u64>estimate;
  if (root < INTEGER_BIT) root = INTEGER_BIT;
  if (high >= root) root = 0xffffffffffffffff;
  if (high < root) {
    // One Newton step takes the 52 bits of the estimate past 64.
    const quotient = divide128(high, rest, root);
    const sum = root + quotient;
    root = (sum >> 1) | (sum < root ? INTEGER_BIT : 0);
  }
  let square = multiply128(root, root);
  while (square > high || (square == high && resultLow > rest)) {
    root--;
    square = multiply128(root, root);
  }
  let remainderLow = rest - resultLow;
  let remainderHigh = high - square - u64(rest < resultLow);
  while (remainderHigh > 1 || (remainderHigh == 1 && remainderLow > root << 1)) {
    root++;
    square = multiply128(root, root);
    remainderLow = rest - resultLow;
    remainderHigh = high - square - u64(rest < resultLow);
  }
  // remainder > root means beyond root + 1/2; equality with a half is impossible for an integer radicand.
  resultLow = (remainderHigh | remainderLow) == 0 ? 0 : remainderHigh != 0 || remainderLow > root ? INTEGER_BIT | 1 : 1;
  return root;
}

// ---- rounding ---------------------------------------------------------------------------------------------------------------

/** Whether a significand is incremented: `rest` is the fraction of the last kept unit, scaled by 2^64 (low bits sticky). */
// @ts-ignore: decorator
@inline
export function increments(sign: u32, odd: bool, rest: u64): bool {
  if (rounding == NEAREST) return rest > INTEGER_BIT || (rest == INTEGER_BIT && odd);
  if (rest == 0 || rounding == ZERO) return false;
  return (rounding == DOWN) == (sign != 0);
}

function overflowExtended(sign: u32, exp: i32, sig: u64): u64 {
  flags |= OE;
  if (isUnmasked(OE)) {
    if (exp - BIAS_ADJUSTMENT >= 0x7fff) {
      // FSCALE alone gets here: beyond what the adjustment brings back.
      flags |= PE;
      roundedUp = true;
      resultExponent = (sign << 15) | 0x7fff;
      return INTEGER_BIT;
    }
    resultExponent = (sign << 15) | u32((exp - BIAS_ADJUSTMENT) & 0x7fff);
    return sig;
  }
  flags |= PE;
  const toInfinity = rounding == NEAREST || rounding == (sign ? DOWN : UP);
  roundedUp = toInfinity;
  if (toInfinity) {
    resultExponent = (sign << 15) | 0x7fff;
    return INTEGER_BIT;
  }
  resultExponent = (sign << 15) | 0x7ffe;
  return ~(<u64>0) << (64 - precision);
}

/** Rounds sig:rest to `width` bits; a carry out leaves zero. Sets roundedUp and PE. */
// @ts-ignore: decorator
@inline
function roundWidth(sign: u32, sig: u64, rest: u64, width: i32): u64 {
  const cut = 64 - width;
  if (cut != 0) {
    rest = (sig << width) | (rest >> cut) | u64((rest << width) != 0);
    sig = sig >> cut;
  }
  if (rest != 0) {
    flags |= PE;
    roundedUp = increments(sign, (sig & 1) != 0, rest);
    if (roundedUp) sig++;
  }
  return sig << cut;
}

/** Rounds an exact value to extended format under precision control; flags, signExponent(). @sdm 1 4.9.1, 8.5 */
export function roundExtended(sign: u32, exp: i32, sig: u64, rest: u64): u64 {
  if (exp <= 0) return roundTiny(sign, exp, sig, rest);
  if (precision == 64) {
    if (rest != 0) {
      flags |= PE;
      roundedUp = increments(sign, (sig & 1) != 0, rest);
      if (roundedUp && ++sig == 0) {
        sig = INTEGER_BIT;
        exp++;
      }
    }
  } else {
    sig = roundWidth(sign, sig, rest, precision);
    if (roundedUp && (<i64>sig >= 0)) {
      sig = INTEGER_BIT;
      exp++;
    }
  }
  if (exp >= 0x7fff) return overflowExtended(sign, exp, sig);
  resultExponent = (sign << 15) | <u32>exp;
  return sig;
}

/** The significand after rounding with an unbounded exponent range carries into the next binade. */
function carries(sign: u32, sig: u64, rest: u64, width: i32): bool {
  const cut = 64 - width;
  if (cut != 0) {
    rest = (sig << width) | (rest >> cut) | u64((rest << width) != 0);
    sig = sig >> cut;
  }
  return sig == (~(<u64>0) >> cut) && increments(sign, true, rest);
}

function roundTiny(sign: u32, exp: i32, sig: u64, rest: u64): u64 {
  const tiny = exp < 0 || !carries(sign, sig, rest, precision);
  if (tiny && isUnmasked(UE)) {
    flags |= UE;
    if (exp + BIAS_ADJUSTMENT <= 0) {
      flags |= PE;
      resultExponent = sign << 15;
      return 0;
    }
    const rounded = roundWidth(sign, sig, rest, precision);
    if (roundedUp && (<i64>rounded >= 0)) {
      resultExponent = (sign << 15) | u32((exp + 1 + BIAS_ADJUSTMENT) & 0x7fff);
      return INTEGER_BIT;
    }
    resultExponent = (sign << 15) | u32((exp + BIAS_ADJUSTMENT) & 0x7fff);
    return rounded;
  }
  const before = flags;
  flags &= ~PE;
  sig = shiftRightJam128(sig, rest, 1 - exp);
  sig = roundWidth(sign, sig, resultLow, precision);
  if (tiny && (flags & PE) != 0) flags |= UE;
  flags |= before;
  resultExponent = (sign << 15) | u32(<i64>sig < 0);
  return sig;
}

/**
 * Rounds an exact value to a format of `width` significant bits and `bits` exponent bits (24 and 8: single; 53 and 11: double)
 * and packs it. Overflow and underflow follow the masked response; when unmasked the flags say so and the value is not to be used.
 */
// @ts-ignore: decorator
@inline
function roundPacked(sign: u32, exp: i32, sig: u64, rest: u64, width: i32, bits: i32): u64 {
  const cut = 64 - width;
  const maximum = (1 << bits) - 1;
  exp -= EXTENDED_BIAS - (maximum >> 1);
  const signBit = <u64>sign << (width + bits - 1);
  let tiny = false;
  if (exp <= 0) {
    tiny = exp < 0 || !carries(sign, sig, rest, width);
    if (tiny && flushToZero && !isUnmasked(UE)) {
      flags |= UE | PE;
      return signBit;
    }
    if (tiny && isUnmasked(UE)) {
      // The result that would be delivered has an unbounded exponent: it alone decides on PE.
      flags |= UE;
      if (((sig << width) | rest) != 0) flags |= PE;
      return signBit;
    }
    sig = shiftRightJam128(sig, rest, 1 - exp);
    rest = resultLow;
    exp = 0;
  }
  rest = (sig << width) | (rest >> cut) | u64((rest << width) != 0);
  sig = sig >> cut;
  if (tiny && rest != 0) flags |= UE;
  if (rest != 0) {
    flags |= PE;
    roundedUp = increments(sign, (sig & 1) != 0, rest);
    if (roundedUp) sig++;
  }
  // The integer bit adds one to the exponent field, and so does a carry.
  const packed = (<u64>(exp > 0 ? exp - 1 : 0) << (width - 1)) + sig;
  if (exp >= maximum || packed >= <u64>maximum << (width - 1)) {
    flags |= OE;
    if (!isUnmasked(OE)) flags |= PE;
    const toInfinity = rounding == NEAREST || rounding == (sign ? DOWN : UP);
    roundedUp = toInfinity;
    return signBit | ((<u64>maximum << (width - 1)) - (toInfinity ? 0 : 1));
  }
  return signBit | packed;
}

export function roundDouble(sign: u32, exp: i32, sig: u64, rest: u64): u64 {
  return roundPacked(sign, exp, sig, rest, 53, 11);
}

export function roundSingle(sign: u32, exp: i32, sig: u64, rest: u64): u32 {
  return <u32>roundPacked(sign, exp, sig, rest, 24, 8);
}
