/** Stack frames that are written whole or not at all: interrupts, far calls, gates. */
import { ACCESS_DB, ACCESS_EXPAND_DOWN } from './bits';
import { accessOf, baseOf, limitOf } from './descriptors';
import { canonical } from './paging';
import { faulted, raiseError } from './status';
import { segmentAddress } from './address';
import { probeWrite, readU16, readU32, readU64, sysWriteU16, sysWriteU32, sysWriteU64, writeU16, writeU32, writeU64 } from './memory';
import { bank } from './tlb';
import { CODE_SIZE, CPL, GPR, HELPER_STATE, SS, STACK_SIZE, TLB_BASE, TLB_SUPERVISOR } from '../layout';

/** Up to 40 values waiting to be stored, the first pushed first. */
const FRAME: usize = HELPER_STATE + 0x280;
const RSP: usize = GPR + 32;
let count: i32 = 0;
/** Stack pointer after the last frame stored, within the stack's width. */
export let frameTop: u64 = 0;

// @ts-ignore: decorator
@inline
export function frameBegin(): void {
  count = 0;
}

// @ts-ignore: decorator
@inline
export function framePush(value: u64): void {
  store<u64>(FRAME + (usize(count) << 3), value);
  count++;
}

/** Mask of a stack pointer: by the B flag of a stack segment. */
// @ts-ignore: decorator
@inline
export function stackMask(access: u32): u64 {
  return access & ACCESS_DB ? 0xffffffff : 0xffff;
}

function within(offset: u32, size: u32, limit: u32, access: u32): bool {
  const last = u64(offset) + u64(size) - 1;
  if ((access & 0xc) != ACCESS_EXPAND_DOWN) return last <= u64(limit) || limit == 0xffffffff;
  return offset > limit && last <= stackMask(access);
}

function probe(address: u64, size: i32, supervisor: bool): bool {
  if (!supervisor) return probeWrite(address, size);
  const level = load<u32>(CPL);
  const table = load<u32>(TLB_BASE);
  store<u32>(CPL, 0);
  store<u32>(TLB_BASE, TLB_SUPERVISOR + bank);
  const ok = probeWrite(address, size);
  store<u32>(CPL, level);
  store<u32>(TLB_BASE, table);
  return ok;
}

function put(address: u64, value: u64, size: i32, supervisor: bool): void {
  if (supervisor) {
    if (size == 8) sysWriteU64(address, value);
    else if (size == 4) sysWriteU32(address, u32(value));
    else sysWriteU16(address, u32(value));
  } else if (size == 8) writeU64(address, value);
  else if (size == 4) writeU32(address, u32(value));
  else writeU16(address, u32(value));
}

/** True when every byte of the frame lies on one page, so that the first store faults or none does. */
// @ts-ignore: decorator
@inline
function onePage(low: u64, high: u64): bool {
  return ((low ^ high) & ~0xfff) == 0;
}

/** Checks a frame below a 64-bit stack pointer: `#SS(error)` when it is not canonical. */
export function frameFits64(pointer: u64, size: i32, error: u32): bool {
  if (canonical(pointer - u64(count * size)) && canonical(pointer - 1)) return true;
  raiseError(12, error);
  return false;
}

/** Stores the frame, which fits, below a 64-bit stack pointer. */
export function frameStore64(pointer: u64, size: i32, supervisor: bool): bool {
  const top = pointer - u64(count * size);
  if (!onePage(top, pointer - 1)) {
    for (let slot = pointer - size; slot >= top && slot < pointer; slot -= size) if (!probe(slot, size, supervisor)) return false;
  }
  let at = pointer;
  for (let i = 0; i < count; i++) {
    at -= size;
    put(at, load<u64>(FRAME + (usize(i) << 3)), size, supervisor);
    if (faulted()) return false;
  }
  frameTop = top;
  return true;
}

/** Checks a frame below a stack pointer in a segment: `#SS(error)` when it leaves the segment's limits. */
export function frameFits(limit: u32, access: u32, pointer: u64, size: i32, error: u32): bool {
  const mask = stackMask(access);
  let offset = pointer & mask;
  for (let i = 0; i < count; i++) {
    offset = (offset - u64(size)) & mask;
    if (!within(u32(offset), size, limit, access)) {
      raiseError(12, error);
      return false;
    }
  }
  return true;
}

/** Stores the frame, which fits, below a stack pointer in a segment. */
export function frameStore(base: u64, access: u32, pointer: u64, size: i32, supervisor: bool): bool {
  const mask = stackMask(access);
  const last = (pointer - 1) & mask;
  if (!onePage(u64(<u32>(base + ((pointer - u64(count * size)) & mask))), u64(<u32>(base + last)))) {
    let at = pointer;
    for (let i = 0; i < count; i++) {
      at = (at - size) & mask;
      if (!probe(u64(<u32>(base + at)), size, supervisor)) return false;
    }
  }
  let at = pointer & mask;
  for (let i = 0; i < count; i++) {
    at = (at - size) & mask;
    put(u64(<u32>(base + at)), load<u64>(FRAME + (usize(i) << 3)), size, supervisor);
    if (faulted()) return false;
  }
  frameTop = at;
  return true;
}

/** `frameFits` for the current stack. */
export function frameFitsHere(size: i32, error: u32): bool {
  if (load<u32>(CODE_SIZE) == 2) return frameFits64(load<u64>(RSP), size, error);
  return frameFits(limitOf(SS), accessOf(SS), load<u64>(RSP), size, error);
}

/** Stores the frame, which fits, on the current stack and moves the stack pointer. */
export function frameStoreHere(size: i32): bool {
  const supervisor = false;
  const access = accessOf(SS);
  if (load<u32>(CODE_SIZE) == 2) {
    if (!frameStore64(load<u64>(RSP), size, supervisor)) return false;
  } else if (!frameStore(baseOf(SS), access, load<u64>(RSP), size, supervisor)) return false;
  writeStackPointer(frameTop);
  return true;
}

/** Writes the stack pointer in the width of the stack. */
export function writeStackPointer(value: u64): void {
  const width = load<u32>(STACK_SIZE);
  if (width == 2) store<u64>(RSP, value);
  else if (width == 1) store<u64>(RSP, value & 0xffffffff);
  else store<u16>(RSP, u16(value));
}

/** `size` bytes of the current stack, `offset` bytes above the stack pointer, which stays. */
export function stackPeek(offset: u32, size: i32): u64 {
  const width = load<u32>(STACK_SIZE);
  let at = load<u64>(RSP) + u64(offset);
  if (width != 2) at &= width == 1 ? 0xffffffff : 0xffff;
  const address = segmentAddress(SS, at, size, 0);
  if (faulted()) return 0;
  return size == 8 ? readU64(address) : size == 4 ? u64(readU32(address)) : u64(readU16(address));
}
