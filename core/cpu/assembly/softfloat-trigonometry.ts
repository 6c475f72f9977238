import { EXTENDED_BIAS, low, normalizeWide, resultExp, roundExtended, setLow, setSignExponent } from './softfloat';
import { CLASS_INFINITY, CLASS_ZERO, normalExponent, normalSignificand } from './softfloat-extended';
import { ARC_TANGENTS, COSINE, ODD_RECIPROCALS, PI_HIGH, PI_LOW, SINE } from './softfloat-tables';
import { divideWide, multiplyWide, series, toFixed } from './softfloat-wide';

/** Sine, cosine, tangent and arc tangent in extended precision, within 0.51 units in the last place of their reduced arguments. */

// ---- argument reduction -----------------------------------------------------------------------------------------------------
// The processor's pi has 66 bits: 3.243F6A8885A308D3 hexadecimal. @sdm 1 8.3.8. Half of it, in units of 2^-65:
const HALF_PI_HIGH: u64 = 0x3;
const HALF_PI_LOW: u64 = 0x243f6a8885a308d3;

let quadrant: u32 = 0;
let reducedSign: u32 = 0;
let reducedExp: i32 = 0;
let reducedHigh: u64 = 0;
let reducedLow: u64 = 0;
/** Square of the reduced argument, Q0.128. */
let squareHigh: u64 = 0;
let squareLow: u64 = 0;

/** Reduces a magnitude below 2^63 to at most pi/4 around a multiple of pi/2, exactly as to the 66-bit pi. */
export function reduceAngle(exp: i32, sig: u64): void {
  quadrant = 0;
  reducedSign = 0;
  reducedExp = exp;
  reducedHigh = sig;
  reducedLow = 0;
  // pi/4 = 0.C90FDAA22168C234 (C)
  if (exp > EXTENDED_BIAS - 1 || (exp == EXTENDED_BIAS - 1 && sig > 0xc90fdaa22168c234)) {
    let high: u64 = 0;
    let rest = sig;
    for (let steps = exp - (EXTENDED_BIAS - 2); steps > 0; steps--) {
      high = (high << 1) | (rest >> 63);
      rest <<= 1;
      quadrant <<= 1;
      if (high > HALF_PI_HIGH || (high == HALF_PI_HIGH && rest >= HALF_PI_LOW)) {
        high = high - HALF_PI_HIGH - u64(rest < HALF_PI_LOW);
        rest -= HALF_PI_LOW;
        quadrant |= 1;
      }
    }
    const otherLow = HALF_PI_LOW - rest;
    const otherHigh = HALF_PI_HIGH - high - u64(HALF_PI_LOW < rest);
    if (otherHigh < high || (otherHigh == high && otherLow < rest)) {
      high = otherHigh;
      rest = otherLow;
      reducedSign = 1;
      quadrant++;
    }
    // high:rest counts units of 2^-65, so bit 127 weighs 2^62.
    reducedHigh = normalizeWide(EXTENDED_BIAS + 62, high, rest);
    reducedLow = low();
    reducedExp = resultExp();
  }
  const square = multiplyWide(reducedExp, reducedHigh, reducedLow, reducedExp, reducedHigh, reducedLow);
  squareHigh = toFixed(0, resultExp(), square, low());
  squareLow = low();
}

/** Magnitude of the sine of the reduced argument, wide. */
function sineWide(): u64 {
  const sum = series(SINE, 15, squareHigh, squareLow, true);
  const factor = normalizeWide(EXTENDED_BIAS, sum, low());
  return multiplyWide(reducedExp, reducedHigh, reducedLow, resultExp(), factor, low());
}

function cosineWide(): u64 {
  const sum = series(COSINE, 15, squareHigh, squareLow, true);
  return normalizeWide(EXTENDED_BIAS, sum, low());
}

/** Sine of the argument given to reduceAngle, whose sign is `sign`. */
export function sineOfReduced(sign: u32): u64 {
  const swapped = (quadrant & 1) != 0;
  const high = swapped ? cosineWide() : sineWide();
  const negative = sign ^ (quadrant >> 1 & 1) ^ (swapped ? 0 : reducedSign);
  return roundExtended(negative, resultExp(), high, low() | 1);
}

export function cosineOfReduced(): u64 {
  const swapped = (quadrant & 1) != 0;
  const high = swapped ? sineWide() : cosineWide();
  const negative = ((quadrant + 1) >> 1 & 1) ^ (swapped ? reducedSign : 0);
  return roundExtended(negative, resultExp(), high, low() | 1);
}

export function tangentOfReduced(sign: u32): u64 {
  // So near to zero that tan r lies just above r: the quotient could not tell.
  if (reducedExp < EXTENDED_BIAS - 36) return roundExtended(sign ^ reducedSign, reducedExp, reducedHigh, reducedLow | 1);
  const sine = sineWide();
  const sineLow = low();
  const sineExp = resultExp();
  const cosine = cosineWide();
  const cosineLow = low();
  const cosineExp = resultExp();
  // tan(r + pi/2) = -1 / tan(r)
  const high = quadrant & 1
    ? divideWide(cosineExp, cosine, cosineLow, sineExp, sine, sineLow)
    : divideWide(sineExp, sine, sineLow, cosineExp, cosine, cosineLow);
  return roundExtended(sign ^ reducedSign ^ (quadrant & 1), resultExp(), high, low() | 1);
}

// ---- arc tangent ------------------------------------------------------------------------------------------------------------

/** Numerator and denominator of the arc tangent's argument less k/32, and its sign. */
let fractionNegative: bool = false;

/** atan(u/v) - atan(k/32) = atan((32u - kv) / (32v + ku)): that fraction, wide; zero in the result when it vanishes. */
function reducedFraction(k: u64, distance: i32, u: u64, v: u64): u64 {
  // Integers in units of u's last place; distance is at most 6, k at most 32.
  const uHigh = u >> 59;
  const uLow = u << 5;
  const vHigh = distance == 0 ? 0 : v >> (64 - distance);
  const vLow = v << distance;
  const kvTop = multiplyLow(k, vHigh, vLow);
  const kvRest = low();
  fractionNegative = uHigh < kvTop || (uHigh == kvTop && uLow < kvRest);
  const high = fractionNegative ? kvTop - uHigh - u64(kvRest < uLow) : uHigh - kvTop - u64(uLow < kvRest);
  const rest = fractionNegative ? kvRest - uLow : uLow - kvRest;
  if ((high | rest) == 0) return 0;
  const kuTop = multiplyLow(k, 0, u);
  const kuRest = low();
  const sumLow = (vLow << 5) + kuRest;
  const sumHigh = (vHigh << 5 | vLow >> 59) + kuTop + u64(sumLow < kuRest);
  const numerator = normalizeWide(EXTENDED_BIAS, high, rest);
  const numeratorLow = low();
  const numeratorExp = resultExp();
  const denominator = normalizeWide(EXTENDED_BIAS, sumHigh, sumLow);
  return divideWide(numeratorExp, numerator, numeratorLow, resultExp(), denominator, low());
}

/** k (at most 32) times high:rest, which has room for it. */
function multiplyLow(k: u64, high: u64, rest: u64): u64 {
  const lower = (rest & 0xffffffff) * k;
  const upper = (rest >> 32) * k + (lower >> 32);
  const top = high * k + (upper >> 32);
  setLow((lower & 0xffffffff) | upper << 32);
  return top;
}

/** Angle of a point off the axes, as FPATAN gives it: |y| = (expY, sigY), |x| = (expX, sigX). */
export function arcTangent(signY: u32, expY: i32, sigY: u64, negativeX: bool, expX: i32, sigX: u64): u64 {
  const swapped = expY > expX || (expY == expX && sigY > sigX);
  const expU = swapped ? expX : expY;
  const expV = swapped ? expY : expX;
  const u = swapped ? sigX : sigY;
  const v = swapped ? sigY : sigX;
  const distance = expV - expU;
  let k: u64 = 0;
  if (distance < 7) k = <u64>(<f64>u / (<f64>v * <f64>(1 << distance)) * 32.0 + 0.5);
  fractionNegative = false;
  let high = k == 0 ? divideWide(expU, u, 0, expV, v, 0) : reducedFraction(k, distance, u, v);
  let exp = resultExp();
  let rest = low();
  if (high != 0) {
    const square = multiplyWide(exp, high, rest, exp, high, rest);
    const z = toFixed(0, resultExp(), square, low());
    const sum = series(ODD_RECIPROCALS, 10, z, low(), true);
    const factor = normalizeWide(EXTENDED_BIAS, sum, low());
    high = multiplyWide(exp, high, rest, resultExp(), factor, low());
    exp = resultExp();
    rest = low();
  }
  if (k == 0 && !swapped && !negativeX) return roundExtended(signY, exp, high, rest | 1);
  if (high != 0) {
    high = toFixed(2, exp, high, rest);
    rest = low();
  } else {
    rest = 0;
  }
  const entry = ARC_TANGENTS + (<u32>k << 4);
  const baseLow = load<u64>(entry + 8);
  let angle: u64;
  if (fractionNegative) {
    angle = load<u64>(entry) - high - u64(baseLow < rest);
    rest = baseLow - rest;
  } else {
    rest = baseLow + rest;
    angle = load<u64>(entry) + high + u64(rest < baseLow);
  }
  if (swapped) {
    const halfLow = PI_HIGH << 63 | PI_LOW >> 1;
    angle = (PI_HIGH >> 1) - angle - u64(halfLow < rest);
    rest = halfLow - rest;
  }
  if (negativeX) {
    angle = PI_HIGH - angle - u64(PI_LOW < rest);
    rest = PI_LOW - rest;
  }
  high = normalizeWide(EXTENDED_BIAS + 1, angle, rest);
  return roundExtended(signY, resultExp(), high, low() | 1);
}

/** pi times `quarters`/4 (1..4), rounded. */
export function piQuarters(sign: u32, quarters: u32): u64 {
  const exp = EXTENDED_BIAS + (quarters == 4 ? 1 : quarters == 1 ? -1 : quarters == 2 ? 0 : 1);
  if (quarters != 3) return roundExtended(sign, exp, PI_HIGH, PI_LOW);
  // 3 pi / 4 = pi - pi / 4, Q2.
  const quarterLow = PI_HIGH << 62 | PI_LOW >> 2;
  return roundExtended(sign, exp, PI_HIGH - (PI_HIGH >> 2) - u64(PI_LOW < quarterLow), PI_LOW - quarterLow);
}

/** FPATAN of operands that are neither NaN nor unsupported. @sdm 2A table 3-31 */
export function arcTangentOf(kindY: u32, sigY: u64, seY: u32, kindX: u32, sigX: u64, seX: u32): u64 {
  const sign = seY >> 15;
  const negativeX = (seX & 0x8000) != 0;
  if (kindY == CLASS_INFINITY) return piQuarters(sign, kindX != CLASS_INFINITY ? 2 : negativeX ? 3 : 1);
  if (kindX == CLASS_INFINITY || kindY == CLASS_ZERO) {
    if (negativeX) return piQuarters(sign, 4);
    setSignExponent(sign << 15);
    return 0;
  }
  if (kindX == CLASS_ZERO) return piQuarters(sign, 2);
  return arcTangent(
    sign, normalExponent(sigY, seY), normalSignificand(sigY), negativeX, normalExponent(sigX, seX), normalSignificand(sigX));
}
