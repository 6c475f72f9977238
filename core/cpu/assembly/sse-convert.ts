import { ARGUMENTS } from '../layout';
import { IE, raised, raiseFlags, roundDouble, roundSingle, setFlags, setRoundingMode, signExponent, ZERO } from './softfloat';
import { doubleToExtended, doubleOperand, extendedToInteger, integerToExtended, singleOperand } from './softfloat-convert';
import { CLASS_INFINITY, CLASS_ZERO, classify, normalExponent } from './softfloat-extended';
import { admitDenormal, beginSse, denormalsAreZero, endSse, infinityOf, isNan, isSignalling, signOf } from './sse-lane';
import { element, putElement } from './sse-float';
import { OK } from './status';

/**
 * CVT* by number. Sources and destinations are addresses; integers and MMX operands too. Rows that end in a general register put
 * their result, zero-extended to 64 bits, in ARGUMENTS and do not use `dst`.
 *
 *  0 CVTPS2PD   4 CVTDQ2PS    8 CVTPD2DQ   12 CVTPS2PI   16 CVTSI2SS r32  20 CVTSS2SI r32   24 CVTSD2SI r32
 *  1 CVTPD2PS   5 CVTPS2DQ    9 CVTTPD2DQ  13 CVTTPS2PI  17 CVTSI2SS r64  21 CVTSS2SI r64   25 CVTSD2SI r64
 *  2 CVTSS2SD   6 CVTTPS2DQ  10 CVTPI2PS   14 CVTPD2PI   18 CVTSI2SD r32  22 CVTTSS2SI r32  26 CVTTSD2SI r32
 *  3 CVTSD2SS   7 CVTDQ2PD   11 CVTPI2PD   15 CVTTPD2PI  19 CVTSI2SD r64  23 CVTTSS2SI r64  27 CVTTSD2SI r64
 */
export function sseConvert(op: i32, dst: u32, src: u32): i32 {
  beginSse();
  if (op >= 20) return toGeneral(op, src);
  switch (op) {
    case 0: case 2: widen(op == 0 ? 2 : 1, src); break;
    case 1: case 3: narrow(op == 1 ? 2 : 1, src); break;
    case 4: fromIntegers(4, false, src, 4); break;
    case 5: toIntegers(4, false, false, src); break;
    case 6: toIntegers(4, false, true, src); break;
    case 7: fromIntegers(2, true, src, 4); break;
    case 8: case 14: toIntegers(2, true, false, src); break;
    case 9: case 15: toIntegers(2, true, true, src); break;
    case 10: fromIntegers(2, false, src, 4); break;
    case 11: fromIntegers(2, true, src, 4); break;
    case 12: toIntegers(2, false, false, src); break;
    case 13: toIntegers(2, false, true, src); break;
    default: fromIntegers(1, op >= 18, src, op & 1 ? 8 : 4);
  }
  const status = endSse();
  if (status == OK) memory.copy(dst, result, writtenBytes(op));
  return status;
}

const result: u32 = <u32>memory.data(16, 16);

/** Bytes of the destination: CVTPD2PS and CVTPD2DQ clear its upper half. */
function writtenBytes(op: i32): u32 {
  switch (op) {
    case 3: case 16: case 17: return 4;
    case 2: case 10: case 12: case 13: case 14: case 15: case 18: case 19: return 8;
    default: return 16;
  }
}

/** Single to double: exact but for the quieting of NaNs. */
function widen(count: u32, src: u32): void {
  for (let i: u32 = 0; i < count; i++) {
    const bits = element(src, i, false);
    let value: u64;
    if (isNan(bits, false)) {
      if (isSignalling(bits, false)) raiseFlags(IE);
      value = (bits & 0x80000000) << 32 | 0x7ff8000000000000 | (bits & 0x3fffff) << 29;
    } else {
      value = reinterpret<u64>(<f64>reinterpret<f32>(<u32>admitDenormal(bits, false)));
    }
    store<u64>(result + (i << 3), value);
  }
}

function narrow(count: u32, src: u32): void {
  store<u64>(result + 8, 0);
  for (let i: u32 = 0; i < count; i++) {
    const bits = element(src, i, true);
    const sign = <u32>(bits >> 32) & 0x80000000;
    let value: u32;
    if (isNan(bits, true)) {
      if (isSignalling(bits, true)) raiseFlags(IE);
      value = sign | 0x7fc00000 | <u32>(bits >> 29) & 0x3fffff;
    } else {
      const admitted = admitDenormal(bits, true);
      const sig = doubleToExtended(admitted);
      const se = signExponent();
      const kind = classify(sig, se);
      if (kind == CLASS_ZERO) value = sign;
      else if (kind == CLASS_INFINITY) value = sign | 0x7f800000;
      else value = roundSingle(se >> 15, normalExponent(sig, se), sig, 0);
    }
    store<u32>(result + (i << 2), value);
  }
}

/** Signed integers of `size` bytes to `count` elements. */
function fromIntegers(count: u32, wide: bool, src: u32, size: u32): void {
  for (let i: u32 = 0; i < count; i++) {
    const integer = size == 8 ? load<i64>(src) : <i64>load<i32>(src + (i << 2));
    const sig = integerToExtended(integer);
    const se = signExponent();
    let value: u64 = 0;
    if (sig != 0) value = wide ? roundDouble(se >> 15, se & 0x7fff, sig, 0) : <u64>roundSingle(se >> 15, se & 0x7fff, sig, 0);
    putElement(result, i, wide, value);
  }
}

/** One element to a signed integer of 32 or 64 bits; a denormal is an inexact zero, or zero under DAZ, and never DE. */
function integerLane(bits: u64, wide: bool, width: i32, truncate: bool): i64 {
  const exponentMask = infinityOf(wide);
  if ((bits & exponentMask) == 0 && denormalsAreZero()) bits &= signOf(wide);
  const before = raised();
  const sig = wide ? doubleOperand(bits) : singleOperand(<u32>bits);
  const se = signExponent();
  setFlags(before);
  if (truncate) setRoundingMode(ZERO);
  return extendedToInteger(sig, se, width);
}

function toIntegers(count: u32, wide: bool, truncate: bool, src: u32): void {
  store<u64>(result + 8, 0);
  for (let i: u32 = 0; i < count; i++) store<u32>(result + (i << 2), <u32>integerLane(element(src, i, wide), wide, 32, truncate));
}

function toGeneral(op: i32, src: u32): i32 {
  const wide = op >= 24;
  const long = (op & 1) != 0;
  const value = integerLane(element(src, 0, wide), wide, long ? 64 : 32, (op & 2) != 0);
  const status = endSse();
  if (status == OK) store<u64>(ARGUMENTS, long ? <u64>value : <u64>value & 0xffffffff);
  return status;
}
