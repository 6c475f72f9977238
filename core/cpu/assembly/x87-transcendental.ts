import { FSW } from '../layout';
import { DE, EXTENDED_BIAS, INTEGER_BIT, isUnmasked, PE, raiseFlags, setFlags, setSignExponent, signExponent, ZE } from './softfloat';
import { powerLessOne, scaledLogarithm, scaledLogarithmPlusOne } from './softfloat-exponential';
import {
  CLASS_DENORMAL, CLASS_INFINITY, CLASS_QNAN, CLASS_ZERO, classify, invalid, normalExponent, normalSignificand, propagate, propagateOne,
} from './softfloat-extended';
import { arcTangentOf, cosineOfReduced, reduceAngle, sineOfReduced, tangentOfReduced } from './softfloat-trigonometry';
import { beginExtended, C2, hasOperands, isEmpty, pop, push, put, putDefault, seOf, setFull, settle, sigOf, st, stackFault } from './x87-state';

/** FSIN FCOS FSINCOS FPTAN FPATAN F2XM1 FYL2X FYL2XP1. @sdm 1 8.3.6, 8.3.7 */

const INDEFINITE: u64 = 0xc000000000000000;

function give(sig: u64, se: u32): u64 {
  setSignExponent(se);
  return sig;
}

// ---- functions of an angle --------------------------------------------------------------------------------------------------

export const SINE_FUNCTION: i32 = 0;
export const COSINE_FUNCTION: i32 = 1;
export const TANGENT_FUNCTION: i32 = 2;
/** Biased exponent below which a normal angle's sine is given as the angle. */
const OWN_SINE: i32 = EXTENDED_BIAS - 68;

/** One function of an operand that is not out of range. */
function ofAngle(which: i32, kind: u32, sig: u64, se: u32): u64 {
  if (kind >= CLASS_QNAN) return propagateOne(kind, sig, se);
  if (kind == CLASS_INFINITY) return invalid();
  if (kind == CLASS_ZERO) return which == COSINE_FUNCTION ? give(INTEGER_BIT, 0x3fff) : give(0, se);
  if (kind == CLASS_DENORMAL) {
    raiseFlags(DE);
    if (isUnmasked(DE)) return 0;
  }
  const sign = se >> 15;
  const exp = normalExponent(sig, se);
  // Processors give so small an angle for its sine, inexact, whatever the rounding. Rounded, the least normal number would be tiny.
  if (which == SINE_FUNCTION && exp > 0 && exp < OWN_SINE) {
    raiseFlags(PE);
    return give(sig, (sign << 15) | <u32>exp);
  }
  reduceAngle(exp, normalSignificand(sig));
  return which == SINE_FUNCTION ? sineOfReduced(sign) : which == COSINE_FUNCTION ? cosineOfReduced() : tangentOfReduced(sign);
}

/** Whether C2 reports an operand of magnitude 2^63 and above, which stays. */
function outOfRange(sig: u64, se: u32): bool {
  const exp = <i32>(se & 0x7fff);
  const beyond = exp >= EXTENDED_BIAS + 63 && exp != 0x7fff && <i64>sig < 0;
  if (beyond) {
    settle();
    store<u16>(FSW, load<u16>(FSW) | C2);
  }
  return beyond;
}

/** FSIN and FCOS. */
export function sineOrCosine(which: i32): void {
  const target = st(0);
  store<u16>(FSW, load<u16>(FSW) & ~C2);
  if (!hasOperands(0)) return;
  beginExtended();
  const sig = sigOf(target);
  const se = seOf(target);
  if (outOfRange(sig, se)) return;
  const result = ofAngle(which, classify(sig, se), sig, se);
  if (settle()) put(target, result, signExponent());
}

/** FSINCOS (`tangent` false) and FPTAN, which pushes 1. */
export function sineAndCosine(tangent: bool): void {
  const target = st(0);
  store<u16>(FSW, load<u16>(FSW) & ~C2);
  if (isEmpty(0) || !isEmpty(7)) {
    if (!stackFault(!isEmpty(0))) return;
    putDefault(target);
    setFull(0);
    push(INDEFINITE, 0xffff);
    return;
  }
  beginExtended();
  const sig = sigOf(target);
  const se = seOf(target);
  if (outOfRange(sig, se)) return;
  const kind = classify(sig, se);
  const first = ofAngle(tangent ? TANGENT_FUNCTION : SINE_FUNCTION, kind, sig, se);
  const firstWord = signExponent();
  let second = INTEGER_BIT;
  let secondWord: u32 = 0x3fff;
  if (kind >= CLASS_INFINITY) {
    second = first;
    secondWord = firstWord;
  } else if (!tangent) {
    second = ofAngle(COSINE_FUNCTION, kind, sig, se);
    secondWord = signExponent();
  }
  if (!settle()) return;
  put(target, first, firstWord);
  push(second, secondWord);
}

// ---- exponential and logarithms ---------------------------------------------------------------------------------------------

function powerOf(sig: u64, se: u32): u64 {
  const kind = classify(sig, se);
  const sign = se >> 15;
  if (kind >= CLASS_QNAN) return propagateOne(kind, sig, se);
  if (kind == CLASS_ZERO) return give(0, se);
  if (kind == CLASS_INFINITY) return sign ? give(INTEGER_BIT, 0xbfff) : give(INTEGER_BIT, 0x7fff);
  if (kind == CLASS_DENORMAL) {
    raiseFlags(DE);
    if (isUnmasked(DE)) return 0;
  }
  // Outside -1..1 the manual leaves the result undefined: the operand, inexact, as processors give it. They call 1 and -1/2 inexact too.
  if ((se & 0x7fff) >= 0x3fff) {
    raiseFlags(PE);
    if (sig != INTEGER_BIT || (se & 0x7fff) != 0x3fff) return give(sig, se);
    return sign ? give(INTEGER_BIT, 0xbffe) : give(INTEGER_BIT, 0x3fff);
  }
  return powerLessOne(sign, normalExponent(sig, se), normalSignificand(sig));
}

/** F2XM1. */
export function powerMinusOne(): void {
  const target = st(0);
  if (!hasOperands(0)) return;
  beginExtended();
  const result = powerOf(sigOf(target), seOf(target));
  if (settle()) put(target, result, signExponent());
}

/** y log2(x). @sdm 2A table 3-58 */
function logarithmOf(sigX: u64, seX: u32, sigY: u64, seY: u32): u64 {
  const kindX = classify(sigX, seX);
  const kindY = classify(sigY, seY);
  if (kindX >= CLASS_QNAN || kindY >= CLASS_QNAN) return propagate(kindX, sigX, seX, kindY, sigY, seY);
  const signY = seY >> 15;
  if (kindX == CLASS_ZERO) {
    if (kindY == CLASS_ZERO) return invalid();
    if (kindY == CLASS_INFINITY) return give(INTEGER_BIT, (signY ^ 1) << 15 | 0x7fff);
    setFlags(ZE);
    return give(INTEGER_BIT, (signY ^ 1) << 15 | 0x7fff);
  }
  if (seX & 0x8000) return invalid();
  if (kindX == CLASS_INFINITY) {
    if (kindY == CLASS_ZERO) return invalid();
    if (kindY == CLASS_DENORMAL) raiseFlags(DE);
    return give(INTEGER_BIT, signY << 15 | 0x7fff);
  }
  const isOne = seX == 0x3fff && sigX == INTEGER_BIT;
  if (kindY == CLASS_INFINITY && isOne) return invalid();
  if (kindX == CLASS_DENORMAL || kindY == CLASS_DENORMAL) {
    raiseFlags(DE);
    if (isUnmasked(DE)) return 0;
  }
  const below = (seX & 0x7fff) < 0x3fff;
  if (kindY == CLASS_INFINITY) return give(INTEGER_BIT, (signY ^ u32(below)) << 15 | 0x7fff);
  if (kindY == CLASS_ZERO) return give(0, (signY ^ u32(below)) << 15);
  return scaledLogarithm(normalExponent(sigX, seX), normalSignificand(sigX), signY, normalExponent(sigY, seY), normalSignificand(sigY));
}

/** y log2(1 + x). @sdm 2A table 3-59 */
function logarithmPlusOneOf(sigX: u64, seX: u32, sigY: u64, seY: u32): u64 {
  const kindX = classify(sigX, seX);
  const kindY = classify(sigY, seY);
  if (kindX >= CLASS_QNAN || kindY >= CLASS_QNAN) return propagate(kindX, sigX, seX, kindY, sigY, seY);
  const sign = (seX ^ seY) >> 15;
  if (kindX == CLASS_ZERO) {
    if (kindY == CLASS_INFINITY) return invalid();
    if (kindY == CLASS_DENORMAL) raiseFlags(DE);
    return give(0, sign << 15);
  }
  if (kindX == CLASS_INFINITY) {
    if (seX & 0x8000 || kindY == CLASS_ZERO) return invalid();
    if (kindY == CLASS_DENORMAL) raiseFlags(DE);
    return give(INTEGER_BIT, sign << 15 | 0x7fff);
  }
  if (kindX == CLASS_DENORMAL || kindY == CLASS_DENORMAL) {
    raiseFlags(DE);
    if (isUnmasked(DE)) return 0;
  }
  if (kindY == CLASS_INFINITY) return give(INTEGER_BIT, sign << 15 | 0x7fff);
  if (kindY == CLASS_ZERO) return give(0, sign << 15);
  if ((seX & 0x8000) != 0 && (seX & 0x7fff) >= 0x3fff) {
    // From -1 down there is no logarithm and the manual leaves the result undefined: the operand, inexact, as processors give it.
    raiseFlags(PE);
    return give(sigX, seX);
  }
  return scaledLogarithmPlusOne(
    seX >> 15, normalExponent(sigX, seX), normalSignificand(sigX), seY >> 15, normalExponent(sigY, seY), normalSignificand(sigY));
}

export const LOGARITHM: i32 = 0;
export const LOGARITHM_PLUS_ONE: i32 = 1;
export const ARC_TANGENT: i32 = 2;

/** FYL2X, FYL2XP1 and FPATAN: x in ST(0), y in ST(1); the result replaces y and the stack pops. */
export function ofTwo(which: i32): void {
  const x = st(0);
  const y = st(1);
  if (isEmpty(0) || isEmpty(1)) {
    if (!stackFault(false)) return;
    putDefault(y);
    setFull(1);
    pop();
    return;
  }
  beginExtended();
  const sigX = sigOf(x);
  const seX = seOf(x);
  const sigY = sigOf(y);
  const seY = seOf(y);
  let result: u64;
  if (which == LOGARITHM) result = logarithmOf(sigX, seX, sigY, seY);
  else if (which == LOGARITHM_PLUS_ONE) result = logarithmPlusOneOf(sigX, seX, sigY, seY);
  else result = arcTangentOperands(sigX, seX, sigY, seY);
  if (!settle()) return;
  put(y, result, signExponent());
  pop();
}

function arcTangentOperands(sigX: u64, seX: u32, sigY: u64, seY: u32): u64 {
  const kindX = classify(sigX, seX);
  const kindY = classify(sigY, seY);
  if (kindX >= CLASS_QNAN || kindY >= CLASS_QNAN) return propagate(kindX, sigX, seX, kindY, sigY, seY);
  if (kindX == CLASS_DENORMAL || kindY == CLASS_DENORMAL) {
    raiseFlags(DE);
    if (isUnmasked(DE)) return 0;
  }
  return arcTangentOf(kindY, sigY, seY, kindX, sigX, seX);
}
