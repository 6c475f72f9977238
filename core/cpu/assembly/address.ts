/** From segment and offset to linear address, and the stack. */
import {
  CODE_SIZE,
  FS,
  GPR,
  REAL_SEGMENTS,
  SEG_ACCESS,
  SEG_BASE,
  SEG_LIMIT,
  SEGMENT_SIZE,
  SEGMENTS,
  SS,
  STACK_SIZE,
} from '../layout';
import { readU16, readU32, readU64, writeU16, writeU32, writeU64 } from './access';
import { canonical } from './paging';
import { faulted, raiseError } from './status';

const RSP = GPR + 4 * 8;
const UNUSABLE: u32 = 1 << 16;
const PRESENT: u32 = 1 << 7;
const TYPE_CODE: u32 = 8;
/** Of data segments: expand-down. */
const TYPE_DOWN: u32 = 4;
/** Of data segments: writable; of code segments: readable. */
const TYPE_RW: u32 = 2;
const BIG: u32 = 1 << 14;

/** Whether `size` bytes at `offset` of a segment may be accessed, in legacy and compatibility mode. @sdm 3A 5.3, 5.5 */
export function segmentAllows(segment: i32, offset: u64, size: u64, write: i32): bool {
  const descriptor = SEGMENTS + segment * SEGMENT_SIZE;
  const access = load<u32>(descriptor, SEG_ACCESS);
  if (!load<u32>(REAL_SEGMENTS)) {
    if (access & UNUSABLE || !(access & PRESENT)) return false;
    if (write ? (access & (TYPE_CODE | TYPE_RW)) != TYPE_RW : (access & (TYPE_CODE | TYPE_RW)) == TYPE_CODE) return false;
  }
  const limit = <u64>load<u32>(descriptor, SEG_LIMIT);
  const last = offset + size - 1;
  if ((access & (TYPE_CODE | TYPE_DOWN)) == TYPE_DOWN) return offset > limit && last <= <u64>(access & BIG ? 0xffffffff : 0xffff);
  // With a limit of 4 GiB the manual leaves wrapping to the implementation; here it is allowed, as where SEG_FLAT skips the check.
  return last <= limit || limit == 0xffffffff;
}

/** Base plus offset with no check at all. */
// @ts-ignore: decorator
@inline
export function linearAddress(segment: i32, offset: u64): u64 {
  const descriptor = SEGMENTS + segment * SEGMENT_SIZE;
  if (load<u32>(CODE_SIZE) != 2) return <u64>(<u32>(load<u64>(descriptor, SEG_BASE) + offset));
  return segment >= FS ? load<u64>(descriptor, SEG_BASE) + offset : offset;
}

/**
 * Linear address of `size` bytes at `segment`:`offset`; the offset is already truncated to the address size. Sets FAULT to #GP(0), or
 * #SS(0) for SS, when the segment or, in 64-bit mode, the canonical form does not allow the access; the result is then 0.
 */
export function segmentAddress(segment: i32, offset: u64, size: i32, write: i32): u64 {
  const la = linearAddress(segment, offset);
  if (load<u32>(CODE_SIZE) == 2 ? canonical(la) && canonical(la + size - 1) : segmentAllows(segment, offset, size, write)) return la;
  raiseError(segment == SS ? 12 : 13, 0);
  return 0;
}

/** The stack pointer `rsp` as far as the stack's width goes. */
// @ts-ignore: decorator
@inline
function stackOffset(rsp: u64): u64 {
  const width = load<u32>(STACK_SIZE);
  return width == 2 ? rsp : width == 1 ? <u64>(<u32>rsp) : <u64>(<u16>rsp);
}

// @ts-ignore: decorator
@inline
function setStackPointer(rsp: u64): void {
  const width = load<u32>(STACK_SIZE);
  if (width == 2) store<u64>(RSP, rsp);
  else if (width == 1) store<u64>(RSP, <u64>(<u32>rsp));
  else store<u16>(RSP, <u16>rsp);
}

/** Pushes the low `size` (2, 4, 8) bytes of `value`; RSP changes only when nothing faulted. */
export function push(value: u64, size: i32): void {
  const rsp = load<u64>(RSP) - size;
  const la = segmentAddress(SS, stackOffset(rsp), size, 1);
  if (faulted()) return;
  if (size == 8) writeU64(la, value);
  else if (size == 4) writeU32(la, <u32>value);
  else writeU16(la, <u32>value);
  if (!faulted()) setStackPointer(rsp);
}

/** Pops `size` (2, 4, 8) bytes, zero-extended; RSP changes only when nothing faulted. */
export function pop(size: i32): u64 {
  const rsp = load<u64>(RSP);
  const la = segmentAddress(SS, stackOffset(rsp), size, 0);
  if (faulted()) return 0;
  const value = size == 8 ? readU64(la) : size == 4 ? <u64>readU32(la) : <u64>readU16(la);
  if (!faulted()) setStackPointer(rsp + size);
  return value;
}
