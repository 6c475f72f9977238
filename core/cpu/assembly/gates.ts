/** Delivery of one event through the IVT or a gate of the IDT. Nothing but the stack frame is written before every check has passed. */
import { AC, ACCESS_ACCESSED, CR4_VME, IF, IOPL, NT, RF, TF, VIF, VM } from './bits';
import {
  accessOf, baseOf, descriptorAccess, descriptorBase, descriptorDpl, descriptorHigh, descriptorLimit, descriptorPlace, descriptorPresent,
  descriptorType, external, fetchDescriptor, limitOf, linear, loadNull, longModeActive, markAccessedAt, refreshSizes, segment,
  selectorFault, selectorOf, setExternal, setPrivilege, writeSegment,
} from './descriptors';
import { canonical } from './paging';
import {
  frameBegin, frameFits, frameFits64, frameFitsHere, framePush, frameStore, frameStore64, frameStoreHere, frameTop, writeStackPointer,
} from './frame';
import { STEPPED, iopl, readFlags, updateStepReason, virtual8086, writeFlags } from './flags';
import { innerAccess, innerBase, innerLimit, innerPointer, innerSelector, readInnerStack, readLongStack } from './stacks';
import { FAULTED, JUMP, OK, faulted, raiseError } from './status';
import { TASK_INTERRUPT, taskSwitch, taskTrap } from './task';
import { sysReadU16, sysReadU64, sysReadU8 } from './memory';
import { CPL, CR0, CR4, CS, DS, EFLAGS, ES, FS, GPR, GS, IDTR_BASE, IDTR_LIMIT, NEXT_RIP, REAL_SEGMENTS, RIP, SS, TR } from '../layout';

/** The gate's DPL is checked against CPL (INT n, INT3, INTO). */
export const DELIVER_GATED: u32 = 1;
/** The pushed flags have RF set. */
export const DELIVER_RESUME: u32 = 2;

const RSP: usize = GPR + 32;
const INFO_ERROR: u32 = 0x800;

/** The code segment that `checkHandler` accepted. */
let handlerPlace: u64 = 0;
let handlerHigh: u32 = 0;
let handlerConforming: bool = false;
let handlerBase: u64 = 0;
let handlerLimit: u32 = 0;
let handlerAccess: u32 = 0;
let handlerDpl: u32 = 0;

/**
 * One attempt at delivery. `info` gives type (bits 10:8) and whether there is an error code (bit 11), `rip` is the address to return to.
 * JUMP, or FAULTED with the exception that arose.
 */
export function deliver(vector: u32, info: u32, error: u32, rip: u64, options: u32): i32 {
  const type = (info >>> 8) & 7;
  setExternal(type == 4 || type == 6 ? 0 : 1);
  let ok: bool;
  if (!(load<u64>(CR0) & 1)) ok = deliverReal(vector, rip);
  else if (longModeActive()) ok = deliverLong(vector, info, error, rip, options);
  else ok = deliverProtected(vector, info, error, rip, options);
  setExternal(0);
  if (!ok) return FAULTED;
  store<u32>(STEPPED, 0);
  return JUMP;
}

function refuse(vector: u32, error: u32): bool {
  raiseError(vector, error);
  return false;
}

function refuseSelector(vector: u32, selector: u32): bool {
  selectorFault(vector, selector);
  return false;
}

// ---- real-address mode --------------------------------------------------------------------------------------------------------
/** @sdm 3A 20.1.4 */
function deliverReal(vector: u32, rip: u64): bool {
  if (vector * 4 + 3 > load<u32>(IDTR_LIMIT)) return refuse(13, vector * 8 + 2);
  return enterReal(load<u64>(IDTR_BASE) + u64(vector << 2), readFlags(), rip, IF | TF | AC | RF);
}

/** Enters the 8086 handler whose far pointer is at `entry`, pushing `image`, clearing `clear`. */
function enterReal(entry: u64, image: u64, rip: u64, clear: u32): bool {
  const offset = sysReadU16(linear(entry));
  if (faulted()) return false;
  const selector = sysReadU16(linear(entry + 2));
  if (faulted()) return false;
  frameBegin();
  framePush(image);
  framePush(u64(selectorOf(CS)));
  framePush(rip);
  if (!frameFitsHere(2, 0) || !frameStoreHere(2)) return false;
  const base = u64(selector) << 4;
  if (virtual8086()) writeSegment(CS, selector, base, 0xffff, 0xf3);
  else writeSegment(CS, selector, base, limitOf(CS), (accessOf(CS) & 0xd000) | 0x93);
  writeFlags(0, u64(clear));
  store<u64>(RIP, u64(offset));
  return true;
}

/**
 * INT n in virtual-8086 mode with CR4.VME: JUMP when the redirection bitmap of the TSS sends it to the program's own handler, OK when it
 * goes to the IDT. @sdm 3A 20.3.3
 */
export function redirectVirtual(vector: u32): i32 {
  if (!(load<u64>(CR4) & CR4_VME)) return OK;
  const limit = limitOf(TR);
  const base = baseOf(TR);
  if (limit < 103) return raiseError(13, 0);
  const map = sysReadU16(linear(base + 102));
  if (faulted()) return FAULTED;
  const at = map - 32 + (vector >>> 3);
  if (map < 32 || at > limit) return raiseError(13, 0);
  const bits = sysReadU8(linear(base + u64(at)));
  if (faulted()) return FAULTED;
  if ((bits >>> (vector & 7)) & 1) return OK;
  let image = u32(readFlags());
  let clear = TF | NT;
  if (iopl() == 3) {
    clear |= IF;
  } else {
    image = (image & ~IF) | IOPL | ((image & VIF) >>> 10);
    clear |= VIF;
  }
  if (!enterReal(u64(vector << 2), u64(image), load<u64>(NEXT_RIP), clear)) return FAULTED;
  store<u32>(STEPPED, 0);
  return JUMP;
}

// ---- protected mode -----------------------------------------------------------------------------------------------------------
/** Checks a gate's code segment and keeps it in handler*. @sdm 2A INT n */
function checkHandler(selector: u32): bool {
  if ((selector & 0xfffc) == 0) return refuse(13, external);
  if (!fetchDescriptor(selector, 13)) return false;
  const type = descriptorType();
  const dpl = descriptorDpl();
  if ((type & 0x18) != 0x18 || dpl > load<u32>(CPL)) return refuseSelector(13, selector);
  if (longModeActive() && (descriptorHigh & 0x600000) != 0x200000) return refuseSelector(13, selector);
  if (!descriptorPresent()) return refuseSelector(11, selector);
  handlerConforming = (type & 4) != 0;
  handlerDpl = dpl;
  handlerBase = descriptorBase();
  handlerLimit = descriptorLimit();
  handlerPlace = descriptorPlace();
  handlerHigh = descriptorHigh;
  handlerAccess = descriptorAccess() | ACCESS_ACCESSED;
  return true;
}

/** Sets the accessed bit of the handler's segment. */
function markHandler(): bool {
  return markAccessedAt(handlerPlace, handlerHigh);
}

/** Flags that a gate clears: IF through interrupt gates (types 6, 14). */
// @ts-ignore: decorator
@inline
function gateMask(type: u32): u32 {
  return type & 1 ? TF | NT | RF | VM : TF | NT | RF | VM | IF;
}

/** Loads CS:RIP and the flags of a handler. */
function enterHandler(selector: u32, offset: u64, level: u32, mask: u32): void {
  const before = load<u32>(EFLAGS);
  store<u32>(EFLAGS, before & ~mask);
  if (before & VM) store<u32>(REAL_SEGMENTS, 0);
  setPrivilege(level);
  writeSegment(CS, (selector & 0xfffc) | level, handlerBase, handlerLimit, handlerAccess);
  refreshSizes();
  if (before & (TF | RF)) updateStepReason();
  store<u64>(RIP, offset);
}

function deliverProtected(vector: u32, info: u32, error: u32, rip: u64, options: u32): bool {
  const code = vector * 8 + 2 + external;
  if (vector * 8 + 7 > load<u32>(IDTR_LIMIT)) return refuse(13, code);
  const gate = sysReadU64(linear(load<u64>(IDTR_BASE) + u64(vector << 3)));
  if (faulted()) return false;
  const high = u32(gate >> 32);
  const type = (high >>> 8) & 0x1f;
  if (type != 5 && (type & 0x16) != 6) return refuse(13, code);
  if (options & DELIVER_GATED && ((high >>> 13) & 3) < load<u32>(CPL)) return refuse(13, code);
  if (!(high & 0x8000)) return refuse(11, code);
  const selector = u32(gate >> 16) & 0xffff;
  let image = readFlags();
  if (options & DELIVER_RESUME) image |= u64(RF);
  if (type == 5) return deliverTask(selector, info, error, rip, image);
  const size = type & 8 ? 4 : 2;
  const offset = size == 4 ? u64(u32(gate) & 0xffff | (high & 0xffff0000)) : gate & 0xffff;
  if (!checkHandler(selector)) return false;
  const level = handlerConforming ? load<u32>(CPL) : handlerDpl;
  frameBegin();
  if (level < load<u32>(CPL)) {
    const v86 = virtual8086();
    if (v86 && level != 0) return refuseSelector(13, selector);
    if (!readInnerStack(level)) return false;
    if (v86) {
      framePush(u64(selectorOf(GS)));
      framePush(u64(selectorOf(FS)));
      framePush(u64(selectorOf(DS)));
      framePush(u64(selectorOf(ES)));
    }
    framePush(u64(selectorOf(SS)));
    framePush(load<u64>(RSP));
    pushReturn(image, rip, info, error);
    if (!frameFits(innerLimit, innerAccess, innerPointer, size, (innerSelector & 0xfffc) | external)) return false;
    if (offset > u64(handlerLimit)) return refuse(13, external);
    if (!markHandler() || !frameStore(innerBase, innerAccess, innerPointer, size, true)) return false;
    enterHandler(selector, offset, level, gateMask(type));
    writeSegment(SS, innerSelector, innerBase, innerLimit, innerAccess);
    refreshSizes();
    writeStackPointer(frameTop);
    if (v86) for (let index = 0; index < 6; index++) if (index != CS && index != SS) loadNull(index, 0);
    return true;
  }
  if (virtual8086()) return refuseSelector(13, selector);
  pushReturn(image, rip, info, error);
  if (!frameFitsHere(size, external)) return false;
  if (offset > u64(handlerLimit)) return refuse(13, external);
  if (!markHandler() || !frameStoreHere(size)) return false;
  enterHandler(selector, offset, level, gateMask(type));
  return true;
}

// @ts-ignore: decorator
@inline
function pushReturn(image: u64, rip: u64, info: u32, error: u32): void {
  framePush(image);
  framePush(u64(selectorOf(CS)));
  framePush(rip);
  if (info & INFO_ERROR) framePush(u64(error));
}

/** Through a task gate: the error code goes to the new task's stack. @sdm 3A 6.12.2 */
function deliverTask(selector: u32, info: u32, error: u32, rip: u64, image: u64): bool {
  if (selector & 4) return refuseSelector(13, selector);
  if (!taskSwitch(TASK_INTERRUPT, selector, rip, image)) return false;
  if (info & INFO_ERROR) {
    const size = accessOf(TR) & 8 ? 4 : 2;
    frameBegin();
    framePush(u64(error));
    if (!frameFitsHere(size, external) || !frameStoreHere(size)) return false;
  }
  if (load<u64>(RIP) > u64(limitOf(CS))) return refuse(13, external);
  return taskTrap() == JUMP;
}

// ---- IA-32e mode --------------------------------------------------------------------------------------------------------------
/** @sdm 3A 6.14 */
function deliverLong(vector: u32, info: u32, error: u32, rip: u64, options: u32): bool {
  const code = vector * 8 + 2 + external;
  if (vector * 16 + 15 > load<u32>(IDTR_LIMIT)) return refuse(13, code);
  const at = load<u64>(IDTR_BASE) + u64(vector << 4);
  const gate = sysReadU64(at);
  if (faulted()) return false;
  const upper = sysReadU64(at + 8);
  if (faulted()) return false;
  const high = u32(gate >> 32);
  const type = (high >>> 8) & 0x1f;
  const level = load<u32>(CPL);
  if ((type & 0x1e) != 14) return refuse(13, code);
  if (options & DELIVER_GATED && ((high >>> 13) & 3) < level) return refuse(13, code);
  if (!(high & 0x8000)) return refuse(11, code);
  const selector = u32(gate >> 16) & 0xffff;
  if (!checkHandler(selector)) return false;
  const target = handlerConforming ? level : handlerDpl;
  const stack = high & 7;
  if (stack != 0) {
    if (!readLongStack(28 + stack * 8)) return false;
  } else if (target < level) {
    if (!readLongStack(4 + target * 8)) return false;
  }
  const pointer = stack != 0 || target < level ? innerPointer : load<u64>(RSP);
  const offset = u64((u32(gate) & 0xffff) | (high & 0xffff0000)) | (upper << 32);
  if (!canonical(offset)) return refuse(13, external);
  let image = readFlags();
  if (options & DELIVER_RESUME) image |= u64(RF);
  frameBegin();
  framePush(u64(selectorOf(SS)));
  framePush(load<u64>(RSP));
  pushReturn(image, rip, info, error);
  if (!frameFits64(pointer & ~15, 8, external) || !markHandler() || !frameStore64(pointer & ~15, 8, target != 3)) return false;
  enterHandler(selector, offset, target, gateMask(type));
  store<u64>(RSP, frameTop);
  if (target < level) loadNull(SS, target);
  return true;
}
