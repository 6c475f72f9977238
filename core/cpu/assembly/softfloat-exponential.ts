import {
  addMagnitudes, EXTENDED_BIAS, INTEGER_BIT, low, normalizeWide, PE, raiseFlags, resultExp, roundExtended, setResultExp, setSignExponent, signExponent, subtractMagnitudes, UE,
} from './softfloat';
import {
  EXPONENTIAL, LN2_HIGH, LN2_LOW, LOGARITHMS, ODD_RECIPROCALS, POWERS, TWO_OVER_LN2_HIGH, TWO_OVER_LN2_LOW,
} from './softfloat-tables';
import { divideWide, multiplyHigh, multiplyWide, series, toFixed } from './softfloat-wide';

/** 2^x - 1 and y log2(x) in extended precision, within 0.51 units in the last place. */

/** Magnitude of 2^f - 1 for a wide |f| of at most 1/64. */
function smallPower(negative: bool, exp: i32, high: u64, rest: u64): u64 {
  const product = multiplyWide(exp, high, rest, EXTENDED_BIAS - 1, LN2_HIGH, LN2_LOW);
  const productLow = low();
  const productExp = resultExp();
  const z = toFixed(0, productExp, product, productLow);
  const sum = series(EXPONENTIAL, 14, z, low(), negative);
  const factor = normalizeWide(EXTENDED_BIAS, sum, low());
  return multiplyWide(productExp, product, productLow, resultExp(), factor, low());
}

/** 2^x - 1 for a finite nonzero |x| below 1. */
export function powerLessOne(sign: u32, exp: i32, sig: u64): u64 {
  const fixed = toFixed(0, exp, sig, 0);
  const fixedLow = low();
  // Nearest multiple of 1/32; the distance to it is exact as then |x| is at least 1/64.
  const k = <i32>((fixed >> 58) + 1 >> 1);
  if (k == 0) {
    const high = smallPower(sign != 0, exp, sig, 0);
    return roundExtended(sign, resultExp(), high, low() | 1);
  }
  const base = <u64>k << 59;
  // k = 32 makes base wrap to zero, which is right modulo 1: the distance is negative then.
  const below = k == 32 || fixed < base;
  const high = below ? base - fixed - u64(fixedLow != 0) : fixed - base;
  const rest = below ? 0 - fixedLow : fixedLow;
  const entry = POWERS + (<u32>(sign ? 32 - k : 32 + k) << 4);
  const power = load<u64>(entry);
  const powerLow = load<u64>(entry + 8);
  const negative = below != (sign != 0);
  let partHigh: u64 = 0;
  let partLow: u64 = 0;
  if ((high | rest) != 0) {
    const f = normalizeWide(EXTENDED_BIAS - 1, high, rest);
    const small = smallPower(negative, resultExp(), f, low());
    const p = toFixed(0, resultExp(), small, low());
    partHigh = multiplyHigh(power, powerLow, p, low());
    partLow = low();
  }
  // 2^x - 1 = (T - 1) + T p, Q2.126, signed.
  let totalLow = negative ? powerLow - partLow : powerLow + partLow;
  let total = negative ? power - partHigh - u64(powerLow < partLow) : power + partHigh + u64(totalLow < partLow);
  total -= 0x4000000000000000;
  const minus = <i64>total < 0;
  if (minus) {
    totalLow = 0 - totalLow;
    total = ~total + u64(totalLow == 0);
  }
  const result = normalizeWide(EXTENDED_BIAS + 1, total, totalLow);
  return roundExtended(minus ? 1 : 0, resultExp(), result, low() | 1);
}

// ---- logarithm --------------------------------------------------------------------------------------------------------------

let logarithmNegative: bool = false;
let logarithmExact: bool = false;

/** 2 atanh(s) / ln 2 for s = numerator / denominator, wide. */
function logarithmOfRatio(expN: i32, n: u64, nLow: u64, expD: i32, d: u64, dLow: u64): u64 {
  const s = divideWide(expN, n, nLow, expD, d, dLow);
  const sLow = low();
  const sExp = resultExp();
  const square = multiplyWide(sExp, s, sLow, sExp, s, sLow);
  const z = toFixed(0, resultExp(), square, low());
  const sum = series(ODD_RECIPROCALS, 10, z, low(), false);
  const factor = normalizeWide(EXTENDED_BIAS, sum, low());
  const product = multiplyWide(sExp, s, sLow, resultExp(), factor, low());
  return multiplyWide(resultExp(), product, low(), EXTENDED_BIAS + 1, TWO_OVER_LN2_HIGH, TWO_OVER_LN2_LOW);
}

/** Magnitude of log2 of a positive wide number, its sign in logarithmNegative; zero in the result for 1. */
function logarithm(exp: i32, high: u64, rest: u64): u64 {
  let power = exp - EXTENDED_BIAS;
  // m between 0.7 and 1.42, Q1.127, so that numbers near 1 keep their relative precision.
  if (high > 0xb504f333f9de6484) {
    power++;
    rest = high << 63 | rest >> 1 | rest & 1;
    high >>= 1;
  }
  const k = <i32>((high >> 57) + 1 >> 1);
  const base = <u64>k << 58;
  const below = high < base;
  const difference = below ? base - high - u64(rest != 0) : high - base;
  const differenceLow = below ? 0 - rest : rest;
  logarithmExact = (difference | differenceLow) == 0 && k == 32;
  let part: u64 = 0;
  let partLow: u64 = 0;
  let partExp: i32 = 0;
  if ((difference | differenceLow) != 0) {
    const n = normalizeWide(EXTENDED_BIAS, difference, differenceLow);
    const nLow = low();
    const nExp = resultExp();
    const d = normalizeWide(EXTENDED_BIAS + 1, (high >> 1) + (base >> 1), high << 63 | rest >> 1 | rest & 1);
    part = logarithmOfRatio(nExp, n, nLow, resultExp(), d, low());
    partLow = low();
    partExp = resultExp();
  }
  if (power == 0 && k == 32) {
    logarithmNegative = below;
    setResultExp(partExp);
    return part;
  }
  return combine(power, k, below, part, partLow, partExp);
}

/** power + log2(k/32) + or - part in fixed point with 16 integer bits, signed; then its magnitude, wide. */
function combine(power: i32, k: i32, below: bool, part: u64, partLow: u64, partExp: i32): u64 {
  let total = <u64>(<i64>power) << 48;
  let totalLow: u64 = 0;
  const entry = LOGARITHMS + (<u32>(k - 22) << 4);
  const tableLow = load<u64>(entry) << 48 | load<u64>(entry + 8) >> 16;
  const table = load<u64>(entry) >> 16;
  if (k < 32) {
    total = total - table - u64(totalLow < tableLow);
    totalLow -= tableLow;
  } else {
    totalLow += tableLow;
    total = total + table + u64(totalLow < tableLow);
  }
  if (part != 0) {
    const fixed = toFixed(16, partExp, part, partLow);
    const fixedLow = low();
    if (below) {
      total = total - fixed - u64(totalLow < fixedLow);
      totalLow -= fixedLow;
    } else {
      totalLow += fixedLow;
      total = total + fixed + u64(totalLow < fixedLow);
    }
  }
  logarithmNegative = <i64>total < 0;
  if (logarithmNegative) {
    totalLow = 0 - totalLow;
    total = ~total + u64(totalLow == 0);
  }
  return normalizeWide(EXTENDED_BIAS + 15, total, totalLow);
}

/** Rounds y times the logarithm that was just computed. */
function timesLogarithm(magnitude: u64, signY: u32, expY: i32, sigY: u64): u64 {
  const sign = signY ^ (logarithmNegative ? 1 : 0);
  if (magnitude == 0) {
    setSignExponent(signY << 15);
    return 0;
  }
  const high = multiplyWide(resultExp(), magnitude, low(), expY, sigY, 0);
  const result = roundExtended(sign, resultExp(), high, logarithmExact ? low() : low() | 1);
  // The processor reports PE for powers of two as well, whose logarithms are exact, and UE when the result is then a denormal.
  raiseFlags((signExponent() & 0x7fff) == 0 ? PE | UE : PE);
  return result;
}

/** y log2(x) for finite nonzero y and finite positive x. */
export function scaledLogarithm(expX: i32, sigX: u64, signY: u32, expY: i32, sigY: u64): u64 {
  return timesLogarithm(logarithm(expX, sigX, 0), signY, expY, sigY);
}

/** y log2(1 + x) for finite nonzero x and y, x above -1. */
export function scaledLogarithmPlusOne(signX: u32, expX: i32, sigX: u64, signY: u32, expY: i32, sigY: u64): u64 {
  if (expX < EXTENDED_BIAS - 7) {
    // log2(1 + x) with s = x / (2 + x): nothing of x is lost.
    const x = toFixed(2, expX, sigX, 0);
    const xLow = low();
    const denominator = signX ? INTEGER_BIT - x - u64(xLow != 0) : INTEGER_BIT + x;
    const d = normalizeWide(EXTENDED_BIAS + 1, denominator, signX ? 0 - xLow : xLow);
    logarithmNegative = signX != 0;
    logarithmExact = false;
    const magnitude = logarithmOfRatio(expX, sigX, 0, resultExp(), d, low());
    return timesLogarithm(magnitude, signY, expY, sigY);
  }
  const sum = signX ? subtractMagnitudes(EXTENDED_BIAS, INTEGER_BIT, expX, sigX) : addMagnitudes(EXTENDED_BIAS, INTEGER_BIT, expX, sigX);
  return timesLogarithm(logarithm(resultExp(), sum, low()), signY, expY, sigY);
}
