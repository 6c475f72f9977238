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

/** Element `i`, sign- or zero-extended as the format (bits 1:0 of the control) says. */
// @ts-ignore: decorator
@inline
function element(base: u32, i: u32, format: i32): i32 {
  if (format & 1) return format & 2 ? load<i16>(base + (i << 1)) : load<u16>(base + (i << 1));
  return format & 2 ? load<i8>(base + i) : load<u8>(base + i);
}

/** Elements before the first null. */
function implicitLength(base: u32, format: i32, count: u32): u32 {
  let length: u32 = 0;
  while (length < count && element(base, length, format) != 0) length++;
  return length;
}

/** Length in a register: its absolute value, at most `count`. */
function explicitLength(register: u32, wide: bool, count: u32): u32 {
  const value: i64 = wide ? load<i64>(register) : <i64>load<i32>(register);
  const magnitude = value < 0 ? 0 - <u64>value : <u64>value;
  return magnitude > <u64>count ? count : <u32>magnitude;
}

/** One bit for each element of `b`: is it in the set, or in a range, of `a`? */
function inSet(ranges: bool, format: i32, a: u32, lengthA: u32, b: u32, lengthB: u32): u32 {
  let result: u32 = 0;
  for (let j: u32 = 0; j < lengthB; j++) {
    const value = element(b, j, format);
    for (let i: u32 = 0; i < lengthA; i++) {
      if (ranges) {
        const lower = element(a, i, format);
        if (++i < lengthA && lower <= value && value <= element(a, i, format)) result |= 1 << j;
      } else if (element(a, i, format) == value) result |= 1 << j;
    }
  }
  return result;
}

function equalEach(format: i32, count: u32, a: u32, lengthA: u32, b: u32, lengthB: u32): u32 {
  let result: u32 = 0;
  for (let i: u32 = 0; i < count; i++) {
    const inA = i < lengthA;
    const inB = i < lengthB;
    if (inA && inB ? element(a, i, format) == element(b, i, format) : inA == inB) result |= 1 << i;
  }
  return result;
}

/** Where `a` occurs in `b`; an occurrence may run past the register's end, not past the string's. */
function equalOrdered(format: i32, count: u32, a: u32, lengthA: u32, b: u32, lengthB: u32): u32 {
  let result: u32 = 0;
  for (let j: u32 = 0; j < count; j++) {
    let matches = true;
    for (let i: u32 = 0; i < lengthA && j + i < count && matches; i++) {
      matches = j + i < lengthB && element(a, i, format) == element(b, j + i, format);
    }
    if (matches) result |= 1 << j;
  }
  return result;
}

/** Compares and sets the flags; returns one bit an element (IntRes2). `lengths`: 0 implicit, 1 explicit in EAX and EDX, 2 in RAX and RDX. */
function compare(control: i32, lengths: i32, a: u32, b: u32): u32 {
  const format = control & 3;
  const count: u32 = format & 1 ? 8 : 16;
  const lengthA = lengths == 0 ? implicitLength(a, format, count) : explicitLength(GPR, lengths == 2, count);
  const lengthB = lengths == 0 ? implicitLength(b, format, count) : explicitLength(GPR + 16, lengths == 2, count);
  const aggregation = control >> 2 & 3;
  let result: u32;
  if (aggregation == EQUAL_ANY || aggregation == RANGES) result = inSet(aggregation == RANGES, format, a, lengthA, b, lengthB);
  else if (aggregation == EQUAL_EACH) result = equalEach(format, count, a, lengthA, b, lengthB);
  else result = equalOrdered(format, count, a, lengthA, b, lengthB);
  const polarity = control >> 4 & 3;
  if (polarity == 1) result ^= (1 << count) - 1;
  else if (polarity == 3) result ^= (1 << lengthB) - 1;
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
