/** Small instruction helpers that combine the others: what a definition cannot say because a fault must leave nothing changed. */
import { CR4, CS, GPR, SEGMENTS, SEGMENT_SIZE, SEG_BASE, MSR_TSC_AUX, CODE_SIZE, FS, GS } from '../layout';
import { pop, segmentAddress } from './address';
import { popFlags, pushFlagsImage } from './flags';
import { stackPeek, writeStackPointer } from './frame';
import { probeWrite, writeU16, writeU32, writeU64 } from './memory';
import { canonical, canonicalWhenWide } from './paging';
import { loadSegment, moveToSegment } from './segments';
import { FAULTED, OK, faulted, raise, raiseError } from './status';
import { disabled } from './vm-controls';
import { SECONDARY_RDTSCP } from '../../vmx/control-bits';

const RSP: u32 = GPR + 4 * 8;

/** `segmentAddress` for a segment register given by the address of its structure. */
export function segmentSlot(structure: u32, offset: u64, size: i32, write: i32): u64 {
  return segmentAddress(<i32>((structure - <u32>SEGMENTS) / <u32>SEGMENT_SIZE), offset, size, write);
}

/** A 16-bit word of the processor state. */
export function loadState16(address: u32): u32 {
  return load<u16>(address);
}

/** MOV Sreg, before its operand is read: CS and numbers above GS are undefined. */
export function checkSegmentNumber(segment: i32): i32 {
  return segment == CS || segment > GS ? raise(6) : OK;
}

export function loadSegmentChecked(segment: i32, selector: i32): i32 {
  return moveToSegment(segment, selector);
}

/** POP of a segment register. Like Intel's processors it reads no more of the stack than the selector. */
export function popSegment(segment: i32, size: i32): i32 {
  const rsp = load<u64>(RSP);
  const selector = stackPeek(0, 2);
  if (faulted()) return FAULTED;
  writeStackPointer(rsp + size);
  const status = moveToSegment(segment, <i32>selector);
  if (status == FAULTED) store<u64>(RSP, rsp);
  return status;
}

/** LDS, LES, LFS, LGS, LSS: the segment first, then the general register at `register`. */
export function loadFarPointer(segment: i32, selector: i32, register: u32, offset: u64, size: i32): i32 {
  const status = loadSegment(segment, selector);
  if (status == FAULTED) return status;
  if (size == 2) store<u16>(register, <u16>offset);
  else store<u64>(register, offset);
  return status;
}

/** The store of POP to memory, RSP being that after the pop; a fault puts `oldRsp` back. `segment`: base in 64-bit code, else structure. */
export function popToMemory(segment: u64, offset: u64, value: u64, size: i32, oldRsp: u64): i32 {
  const la = load<u32>(CODE_SIZE) == 2 ? segment + offset : segmentSlot(<u32>segment, offset, size, 1);
  if (!faulted()) {
    if (size == 8) writeU64(la, value);
    else if (size == 4) writeU32(la, <u32>value);
    else writeU16(la, <u32>value);
  }
  if (!faulted()) return OK;
  store<u64>(RSP, oldRsp);
  return FAULTED;
}

/** #GP(0) where PUSHF is not allowed. */
export function checkPushFlags(size: i32): i32 {
  pushFlagsImage(size);
  return faulted() ? FAULTED : OK;
}

export function popFlagsStack(size: i32): i32 {
  const rsp = load<u64>(RSP);
  const image = pop(size);
  if (faulted()) return FAULTED;
  const status = popFlags(image, size);
  if (status == FAULTED) store<u64>(RSP, rsp);
  return status;
}

export function checkCanonical(target: u64): i32 {
  return canonical(target) ? OK : raiseError(13, 0);
}

/** Faults exactly when a store of `size` bytes would. */
export function checkStore(la: u64, size: i32): i32 {
  return probeWrite(la, size) ? OK : FAULTED;
}

/** RDPID. */
export function readProcessorId(register: u32): i32 {
  if (disabled(SECONDARY_RDTSCP)) return raise(6);
  store<u64>(register, load<u64>(MSR_TSC_AUX) & 0xffffffff);
  return OK;
}

/** RDFSBASE 0, RDGSBASE 1, WRFSBASE 2, WRGSBASE 3. @sdm 2B RDFSBASE */
export function fsgsbase(kind: i32, register: u32, size: i32): i32 {
  if (!(load<u64>(CR4) & (1 << 16))) return raise(6);
  const base = SEGMENTS + (kind & 1 ? GS : FS) * SEGMENT_SIZE + SEG_BASE;
  if (kind < 2) {
    store<u64>(register, size == 8 ? load<u64>(base) : load<u64>(base) & 0xffffffff);
    return OK;
  }
  const value = size == 8 ? load<u64>(register) : load<u64>(register) & 0xffffffff;
  if (!canonicalWhenWide(value)) return raiseError(13, 0);
  store<u64>(base, value);
  return OK;
}

