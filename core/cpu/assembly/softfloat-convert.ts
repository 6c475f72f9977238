import {
  DE, DEFAULT_NAN, EXTENDED_BIAS, IE, increments, INTEGER_BIT, low, PE, QUIET_BIT, raiseFlags, roundDouble,
  roundSingle, setRoundedUp, setSignExponent, shiftRightJam128,
} from './softfloat';
import { CLASS_INFINITY, CLASS_QNAN, CLASS_UNSUPPORTED, CLASS_SNAN, CLASS_ZERO, classify, normalExponent, normalSignificand } from './softfloat-extended';

/** Conversions between extended format and the formats of memory operands, as FLD, FILD, FBLD, FST, FIST and FBSTP make them. */

function give(sig: u64, se: u32): u64 {
  setSignExponent(se);
  return sig;
}

/** Double to extended; a signalling NaN becomes quiet with IE, a denormal raises DE. */
export function doubleToExtended(bits: u64): u64 {
  const sign = <u32>(bits >> 63) << 15;
  const exp = <u32>(bits >> 52) & 0x7ff;
  const fraction = bits << 12 >> 1;
  if (exp - 1 < 0x7fe) return give(fraction | INTEGER_BIT, sign | (exp + 15360));
  if (exp == 0) {
    if (fraction == 0) return give(0, sign);
    raiseFlags(DE);
    const shift = <u32>clz(fraction);
    return give(fraction << shift, sign | (15361 - shift));
  }
  if (fraction != 0 && (fraction & QUIET_BIT) == 0) raiseFlags(IE);
  return give(fraction == 0 ? INTEGER_BIT : fraction | DEFAULT_NAN, sign | 0x7fff);
}

/** Double to extended as an operand of arithmetic: a signalling NaN stays one, for the NaN rules; a denormal raises DE. */
export function doubleOperand(bits: u64): u64 {
  const exp = <u32>(bits >> 52) & 0x7ff;
  if (exp != 0x7ff) return doubleToExtended(bits);
  return give(bits << 11 | INTEGER_BIT, <u32>(bits >> 63) << 15 | 0x7fff);
}

export function singleOperand(bits: u32): u64 {
  if ((bits & 0x7f800000) != 0x7f800000) return singleToExtended(bits);
  return give(<u64>bits << 40 | INTEGER_BIT, bits >> 31 << 15 | 0x7fff);
}

export function singleToExtended(bits: u32): u64 {
  const sign = bits >> 31 << 15;
  const exp = bits >> 23 & 0xff;
  const fraction = <u64>bits << 41 >> 1;
  if (exp - 1 < 0xfe) return give(fraction | INTEGER_BIT, sign | (exp + 16256));
  if (exp == 0) {
    if (fraction == 0) return give(0, sign);
    raiseFlags(DE);
    const shift = <u32>clz(fraction);
    return give(fraction << shift, sign | (16257 - shift));
  }
  if (fraction != 0 && (fraction & QUIET_BIT) == 0) raiseFlags(IE);
  return give(fraction == 0 ? INTEGER_BIT : fraction | DEFAULT_NAN, sign | 0x7fff);
}

export function extendedToDouble(sig: u64, se: u32): u64 {
  const kind = classify(sig, se);
  const sign = <u64>(se >> 15) << 63;
  if (kind == CLASS_ZERO) return sign;
  if (kind == CLASS_INFINITY) return sign | 0x7ff0000000000000;
  if (kind == CLASS_UNSUPPORTED) {
    raiseFlags(IE);
    return 0xfff8000000000000;
  }
  if (kind >= CLASS_QNAN) {
    if (kind == CLASS_SNAN) raiseFlags(IE);
    return sign | 0x7ff8000000000000 | (sig << 1 >> 12);
  }
  return roundDouble(se >> 15, normalExponent(sig, se), normalSignificand(sig), 0);
}

export function extendedToSingle(sig: u64, se: u32): u32 {
  const kind = classify(sig, se);
  const sign = se >> 15 << 31;
  if (kind == CLASS_ZERO) return sign;
  if (kind == CLASS_INFINITY) return sign | 0x7f800000;
  if (kind == CLASS_UNSUPPORTED) {
    raiseFlags(IE);
    return 0xffc00000;
  }
  if (kind >= CLASS_QNAN) {
    if (kind == CLASS_SNAN) raiseFlags(IE);
    return sign | 0x7fc00000 | <u32>(sig << 1 >> 41);
  }
  return roundSingle(se >> 15, normalExponent(sig, se), normalSignificand(sig), 0);
}

export function integerToExtended(value: i64): u64 {
  if (value == 0) return give(0, 0);
  const magnitude = <u64>(value < 0 ? 0 - value : value);
  const shift = <u32>clz(magnitude);
  return give(magnitude << shift, (value < 0 ? 0x8000 : 0) | (16446 - shift));
}

function integerIndefinite(bits: i32): i64 {
  return <i64>(~(<u64>0) << (bits - 1));
}

/** Extended to a signed integer of 16, 32 or 64 bits in the rounding mode begun with; IE and the indefinite when out of range. */
export function extendedToInteger(sig: u64, se: u32, bits: i32): i64 {
  const kind = classify(sig, se);
  if (kind == CLASS_ZERO) return 0;
  if (kind >= CLASS_INFINITY) {
    raiseFlags(IE);
    return integerIndefinite(bits);
  }
  // PE is raised only for a result that fits, hence the range test on the side.
  return boundedInteger(sig, se, (<u64>1 << (bits - 1)) - 1 + (se >> 15), integerIndefinite(bits));
}

function boundedInteger(sig: u64, se: u32, maximum: u64, indefinite: i64): i64 {
  const negative = (se & 0x8000) != 0;
  const shift = EXTENDED_BIAS + 63 - normalExponent(sig, se);
  if (shift < 0) {
    raiseFlags(IE);
    return indefinite;
  }
  let whole = shiftRightJam128(normalSignificand(sig), 0, shift);
  const rest = low();
  const up = rest != 0 && increments(se >> 15, (whole & 1) != 0, rest);
  if (up) whole++;
  if (whole > maximum) {
    raiseFlags(IE);
    return indefinite;
  }
  if (rest != 0) {
    raiseFlags(PE);
    setRoundedUp(up);
  }
  return <i64>(negative ? 0 - whole : whole);
}

// ---- packed decimal ---------------------------------------------------------------------------------------------------------

/** FBLD: 18 digits, two a byte. Digits beyond 9 give what adding them up gives (the manual leaves it undefined). */
export function packedDecimalToExtended(digits: u64, top: u32): u64 {
  let value: u64 = 0;
  value = u64(top >> 4 & 15) * 10 + u64(top & 15);
  for (let shift = 60; shift >= 0; shift -= 4) value = value * 10 + (digits >> shift & 15);
  const sign: u32 = top & 0x8000;
  if (value == 0) return give(0, sign);
  const count = <u32>clz(value);
  return give(value << count, sign | (16446 - count));
}

/** FBSTP: the low 16 digits; sign and upper two digits (16 bits) through signExponent(). */
export function extendedToPackedDecimal(sig: u64, se: u32): u64 {
  const kind = classify(sig, se);
  if (kind == CLASS_ZERO) return give(0, se & 0x8000);
  let whole: u64 = 0;
  if (kind < CLASS_INFINITY) {
    const value = boundedInteger(sig, se, 999999999999999999, <i64>0x8000000000000000);
    whole = <u64>(value < 0 ? 0 - value : value);
  } else {
    raiseFlags(IE);
    whole = INTEGER_BIT;
  }
  if (whole == INTEGER_BIT) return give(0xc000000000000000, 0xffff);
  let digits: u64 = 0;
  for (let shift = 0; shift < 64; shift += 4) {
    digits |= whole % 10 << shift;
    whole /= 10;
  }
  return give(digits, (se & 0x8000) | <u32>(whole % 10) | <u32>(whole / 10 % 10) << 4);
}
