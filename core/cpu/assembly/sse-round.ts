import { IE, increments, low, PE, raiseFlags, setRoundingMode, shiftRightJam128 } from './softfloat';
import { ADD, arithmeticLane, beginSse, denormalsAreZero, endSse, isNan, isSignalling, MULTIPLY, quietOf, signOf } from './sse-lane';
import { element, elementCount, putElement } from './sse-float';
import { OK } from './status';

/** ROUNDxx, DPPx, RCPxS and RSQRTxS. */

const lanes: u32 = <u32>memory.data(32, 16);
const sums: u32 = <u32>memory.data(16, 16);

function roundLane(bits: u64, wide: bool, suppress: bool): u64 {
  const sign = bits & signOf(wide);
  let magnitude = bits ^ sign;
  if (isNan(bits, wide)) {
    if (isSignalling(bits, wide)) raiseFlags(IE);
    return bits | quietOf(wide);
  }
  const fractionBits = wide ? 52 : 23;
  const bias = wide ? 1023 : 127;
  const exp = <i32>(magnitude >> fractionBits);
  if (exp == 0 && denormalsAreZero()) magnitude = 0;
  if (magnitude == 0) return sign;
  const shift = bias + fractionBits - exp;
  if (shift <= 0) return bits;
  const unit = <u64>1 << fractionBits;
  const sig = exp == 0 ? magnitude : (magnitude & unit - 1) | unit;
  let whole = shiftRightJam128(sig, 0, shift);
  const rest = low();
  if (rest == 0) return bits;
  if (!suppress) raiseFlags(PE);
  if (increments(sign != 0 ? 1 : 0, (whole & 1) != 0, rest)) whole++;
  if (whole == 0) return sign;
  // Values up to 2^53 convert exactly.
  return sign | (wide ? reinterpret<u64>(<f64>whole) : <u64>reinterpret<u32>(<f32>whole));
}

/** ROUNDxx: `control` bits 1:0 rounding, bit 2 = MXCSR's instead, bit 3 = no PE. @sdm 2B ROUNDPD */
export function sseRound(kind: i32, control: i32, dst: u32, src: u32): i32 {
  const wide = (kind & 1) != 0;
  const count = elementCount(kind);
  beginSse();
  if ((control & 4) == 0) setRoundingMode(control & 3);
  for (let i: u32 = 0; i < count; i++) putElement(lanes, i, wide, roundLane(element(src, i, wide), wide, (control & 8) != 0));
  const status = endSse();
  if (status == OK) memory.copy(dst, lanes, count << (wide ? 3 : 2));
  return status;
}

/**
 * DPPS (kind 2) and DPPD (kind 3): products, sums of pairs, their sum; each step reports its own exceptions. The elements differ in which
 * of several NaNs they get, as on Intel's processors: each has its own product or sum as the first or second addend. @sdm 2A DPPS
 */
export function sseDot(kind: i32, control: i32, dst: u32, src: u32): i32 {
  const wide = kind == 3;
  const count = elementCount(kind);
  beginSse();
  for (let i: u32 = 0; i < count; i++) {
    const chosen = (control >> (4 + i) & 1) != 0;
    putElement(lanes, i, wide, chosen ? arithmeticLane(MULTIPLY, wide, element(dst, i, wide), element(src, i, wide)) : 0);
  }
  let status = endSse();
  if (status != OK) return status;
  if (!wide) {
    swapNeighbours();
    addDistant(1, false);
    status = endSse();
    if (status != OK) return status;
  }
  addDistant(wide ? 1 : 2, wide);
  status = endSse();
  if (status != OK) return status;
  for (let i: u32 = 0; i < count; i++) putElement(dst, i, wide, control >> i & 1 ? element(lanes, i, wide) : 0);
  return OK;
}

/** Elements 0 and 1, 2 and 3 of `lanes` change places. */
function swapNeighbours(): void {
  store<u64>(lanes, rotl(load<u64>(lanes), 32));
  store<u64>(lanes, rotl(load<u64>(lanes, 8), 32), 8);
}

/** Each element of `lanes` becomes the sum of itself and the one `distance` from it. */
function addDistant(distance: u32, wide: bool): void {
  const count = elementCount(wide ? 3 : 2);
  for (let i: u32 = 0; i < count; i++) putElement(sums, i, wide, arithmeticLane(ADD, wide, element(lanes, i, wide), element(lanes, i ^ distance, wide)));
  memory.copy(lanes, sums, 16);
}

/** A number in (1/2, 1) to 13 bits, of which the first is 1: the 12 below it as a fraction in place. */
// @ts-ignore: decorator
@inline
function approximation(value: f64): u32 {
  return (<u32>floor<f64>(8192.0 * value + 0.5) & 0xfff) << 11;
}

/** 1.fraction as a number. */
// @ts-ignore: decorator
@inline
function fromFraction(fraction: u32): f64 {
  return <f64>reinterpret<f32>(0x3f800000 | fraction);
}

/**
 * RCPPS: relative error below 1.5 * 2^-12; denormals are zeros, tiny results are zero (@sdm 2B RCPPS). Intel's processors give the
 * reciprocal of the middle of the interval that the first 11 bits of the fraction name.
 */
function reciprocalLane(bits: u32): u32 {
  const sign = bits & 0x80000000;
  const magnitude = bits ^ sign;
  if (magnitude > 0x7f800000) return bits | 0x400000;
  if (magnitude == 0x7f800000) return sign;
  if (magnitude < 0x800000) return sign | 0x7f800000;
  const exponent = 253 - <i32>(magnitude >> 23);
  if (exponent <= 0) return sign;
  return sign | <u32>exponent << 23 | approximation(1.0 / fromFraction(magnitude & 0x7ff000 | 0x800));
}

/** RSQRTPS: likewise, by the first 10 bits of the fraction and whether the exponent is odd. */
function reciprocalRootLane(bits: u32): u32 {
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return bits | 0x400000;
  if (magnitude < 0x800000) return bits & 0x80000000 | 0x7f800000;
  if (bits != magnitude) return 0xffc00000;
  if (magnitude == 0x7f800000) return 0;
  const exponent = <i32>(magnitude >> 23) - 127;
  const middle = fromFraction(magnitude & 0x7fe000 | 0x1000);
  return <u32>(126 - (exponent >> 1)) << 23 | approximation(1.0 / Math.sqrt(exponent & 1 ? 2.0 * middle : middle));
}

/** RCPxS (op 0) and RSQRTxS (op 1), kind 0 or 2; no exceptions, MXCSR unused. */
export function sseReciprocal(op: i32, kind: i32, dst: u32, src: u32): i32 {
  const count = elementCount(kind);
  for (let i: u32 = 0; i < count; i++) {
    const bits = load<u32>(src + (i << 2));
    store<u32>(dst + (i << 2), op == 0 ? reciprocalLane(bits) : reciprocalRootLane(bits));
  }
  return OK;
}
