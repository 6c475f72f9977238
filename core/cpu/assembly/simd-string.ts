import { GPR, XMM } from '../layout';
import { writeFlags } from './flags';
import { OK } from './status';

/** The string comparisons of SSE4.2. @sdm 1 12.12, 2B 4.1 */

const EQUAL_ANY: i32 = 0;
const RANGES: i32 = 1;
const EQUAL_EACH: i32 = 2;

const CF: u64 = 1;
const ZF: u64 = 0x40;
const SF: u64 = 0x80;
const OF: u64 = 0x800;
const STATUS_FLAGS: u64 = 0x8d5;

/** One bit for each element in which two registers are equal. */
// @ts-ignore: decorator
@inline
function equal(format: i32, a: v128, b: v128): u32 {
  return format & 1 ? i16x8.bitmask(i16x8.eq(a, b)) : i8x16.bitmask(i8x16.eq(a, b));
}

/** Element `i` in every place. */
// @ts-ignore: decorator
@inline
function repeated(format: i32, base: u32, i: u32): v128 {
  return format & 1 ? i16x8.splat(load<i16>(base + (i << 1))) : i8x16.splat(load<i8>(base + i));
}

/** One bit for each element that is not less (bits 1:0 of the format: words, signed). */
function notLess(format: i32, a: v128, b: v128): u32 {
  if (format & 1) return i16x8.bitmask(format & 2 ? i16x8.ge_s(a, b) : i16x8.ge_u(a, b));
  return i8x16.bitmask(format & 2 ? i8x16.ge_s(a, b) : i8x16.ge_u(a, b));
}

/** Elements before the first null. */
// @ts-ignore: decorator
@inline
function implicitLength(base: u32, format: i32, count: u32): u32 {
  return ctz(equal(format, v128.load(base), i64x2.splat(0)) | (1 << count));
}

/** Length in a register: its absolute value, at most `count`. */
function explicitLength(register: u32, wide: bool, count: u32): u32 {
  const value: i64 = wide ? load<i64>(register) : <i64>load<i32>(register);
  const magnitude = value < 0 ? 0 - <u64>value : <u64>value;
  return magnitude > <u64>count ? count : <u32>magnitude;
}

/** One bit for each element of `b` that is one of `a`'s. */
function inSet(format: i32, a: u32, lengthA: u32, b: v128): u32 {
  let result: u32 = 0;
  for (let i: u32 = 0; i < lengthA; i++) result |= equal(format, b, repeated(format, a, i));
  return result;
}

/** One bit for each element of `b` that lies in one of `a`'s ranges: lower and upper bound by turns. */
function inRanges(format: i32, a: u32, lengthA: u32, b: v128): u32 {
  let result: u32 = 0;
  for (let i: u32 = 0; i + 1 < lengthA; i += 2) result |= notLess(format, b, repeated(format, a, i)) & notLess(format, repeated(format, a, i + 1), b);
  return result;
}

/** Where `a` occurs in `b`; an occurrence may run past the register's end, not past the string's. */
function equalOrdered(format: i32, all: u32, a: u32, lengthA: u32, b: v128, insideB: u32): u32 {
  let result = all;
  for (let i: u32 = 0; i < lengthA && result; i++) {
    result &= ((equal(format, b, repeated(format, a, i)) & insideB) >> i) | (all & ~(all >> i));
  }
  return result;
}

/** Compares and sets the flags; returns one bit an element (IntRes2). `lengths`: 0 implicit, 1 explicit in EAX and EDX, 2 in RAX and RDX. */
function compare(control: i32, lengths: i32, a: u32, b: u32): u32 {
  const format = control & 3;
  const count: u32 = format & 1 ? 8 : 16;
  const lengthA = lengths == 0 ? implicitLength(a, format, count) : explicitLength(GPR, lengths == 2, count);
  const lengthB = lengths == 0 ? implicitLength(b, format, count) : explicitLength(GPR + 16, lengths == 2, count);
  const all: u32 = (1 << count) - 1;
  const insideB: u32 = (1 << lengthB) - 1;
  const vector = v128.load(b);
  let result: u32;
  switch (control >> 2 & 3) {
    case EQUAL_ANY: result = inSet(format, a, lengthA, vector) & insideB; break;
    case RANGES: result = inRanges(format, a, lengthA, vector) & insideB; break;
    case EQUAL_EACH: {
      const insideA: u32 = (1 << lengthA) - 1;
      result = (equal(format, v128.load(a), vector) & insideA & insideB) | (all & ~(insideA | insideB));
      break;
    }
    default: result = equalOrdered(format, all, a, lengthA, vector, insideB);
  }
  const polarity = control >> 4 & 3;
  if (polarity == 1) result ^= all;
  else if (polarity == 3) result ^= insideB;
  writeFlags((result ? CF : 0) | (lengthB < count ? ZF : 0) | (lengthA < count ? SF : 0) | (result & 1 ? OF : 0), STATUS_FLAGS);
  return result;
}

/** PCMPESTRI and PCMPISTRI: ECX is the number of the first or last element found. */
export function compareStringsIndex(control: i32, lengths: i32, a: u32, b: u32): i32 {
  const result = compare(control, lengths, a, b);
  const index: u32 = result == 0 ? (control & 1 ? 8 : 16) : control & 0x40 ? 31 - clz(result) : ctz(result);
  store<u64>(GPR + 8, index);
  return OK;
}

/** PCMPESTRM and PCMPISTRM: XMM0 is the bit mask or a mask of whole elements. */
export function compareStringsMask(control: i32, lengths: i32, a: u32, b: u32): i32 {
  const result = compare(control, lengths, a, b);
  store<u64>(XMM, control & 0x40 ? 0 : result);
  store<u64>(XMM, 0, 8);
  if ((control & 0x40) == 0) return OK;
  const shift: u32 = control & 1;
  for (let i: u32 = 0; i < 16; i++) if (result >> (i >> shift) & 1) store<u8>(XMM + i, 0xff);
  return OK;
}
