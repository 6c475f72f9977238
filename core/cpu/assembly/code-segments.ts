/** Code segments as targets of far transfers. @sdm 3A 5.8 */
import { ACCESS_ACCESSED, ACCESS_L, IF } from './bits';
import {
  descriptorAccess, descriptorBase, descriptorDpl, descriptorHigh, descriptorLimit, descriptorPresent, descriptorType, fetchDescriptor,
  descriptorPlace, longModeActive, markAccessedAt, refreshSizes, selectorFault, setPrivilege, writeSegment,
} from './descriptors';
import { canonical } from './paging';
import { JUMP, SYNC, raiseError } from './status';
import { CPL, CS, EFLAGS, INTERRUPT_WINDOW, NEXT_RIP, NMI_WINDOW, RIP, STEP_REASON } from '../layout';

/** The code segment that the last check accepted. */
let place: u64 = 0;
let high: u32 = 0;
let base: u64 = 0;
let limit: u32 = 0;
let access: u32 = 0;

/** How the privilege of a target is checked. */
export const DIRECT: i32 = 0;
export const RETURN: i32 = 1;
export const GATE: i32 = 2;

function refuse(vector: u32, selector: u32): bool {
  selectorFault(vector, selector);
  return false;
}

/**
 * Fetches and checks the code segment of a transfer: DIRECT (far JMP or CALL), RETURN (RET, IRET: to the selector's RPL), GATE (a call
 * gate's target, in IA-32e mode a 64-bit one). #GP and #NP with the selector.
 */
export function checkCode(selector: u32, kind: i32): bool {
  if ((selector & 0xfffc) == 0) {
    raiseError(13, 0);
    return false;
  }
  return fetchDescriptor(selector, 13) && checkFetchedCode(selector, kind);
}

export function checkFetchedCode(selector: u32, kind: i32): bool {
  const type = descriptorType();
  const dpl = descriptorDpl();
  const level = load<u32>(CPL);
  const rpl = selector & 3;
  if ((type & 0x18) != 0x18) return refuse(13, selector);
  const conforming = (type & 4) != 0;
  if (kind == RETURN) {
    if (rpl < level || (conforming ? dpl > rpl : dpl != rpl)) return refuse(13, selector);
  } else if (kind == GATE) {
    if (dpl > level) return refuse(13, selector);
  } else if (conforming ? dpl > level : rpl > level || dpl != level) {
    return refuse(13, selector);
  }
  if (longModeActive()) {
    const size = descriptorHigh & 0x600000;
    if (size == 0x600000 || (kind == GATE && size != 0x200000)) return refuse(13, selector);
  }
  if (!descriptorPresent()) return refuse(11, selector);
  place = descriptorPlace();
  high = descriptorHigh;
  base = descriptorBase();
  limit = descriptorLimit();
  access = descriptorAccess() | ACCESS_ACCESSED;
  return true;
}

/** Sets the accessed bit of the accepted segment: the last thing that can fault. */
export function markCode(): bool {
  return markAccessedAt(place, high);
}

/** True when the accepted segment is a 64-bit one. */
export function targetLong(): bool {
  return longModeActive() && (access & ACCESS_L) != 0;
}

/** A 64-bit operand size does not reach other code than 64-bit: Intel's processors take the lower half of the offset. */
// @ts-ignore: decorator
@inline
function pointerFrom(offset: u64): u64 {
  return targetLong() ? offset : offset & 0xffffffff;
}

/** Checks the new instruction pointer: #GP(0) outside the segment, or not canonical in a 64-bit one. */
export function targetFits(offset: u64): bool {
  if (targetLong() ? canonical(offset) : pointerFrom(offset) <= u64(limit)) return true;
  raiseError(13, 0);
  return false;
}

/** Loads CS and RIP from the accepted segment at privilege `level`. */
export function enterCode(selector: u32, level: u32, offset: u64): void {
  if (level != load<u32>(CPL)) setPrivilege(level);
  writeSegment(CS, (selector & 0xfffc) | level, base, limit, access);
  refreshSizes();
  store<u64>(RIP, pointerFrom(offset));
}

/** Status of a completed transfer: through the outer loop when an interrupt can be taken now, or instructions are stepped. */
export function transferred(): i32 {
  const interrupts = load<u32>(INTERRUPT_WINDOW) != 0 && (load<u32>(EFLAGS) & IF) != 0;
  if (!interrupts && !(load<u32>(STEP_REASON) | load<u32>(NMI_WINDOW))) return JUMP;
  store<u64>(NEXT_RIP, load<u64>(RIP));
  return SYNC;
}
