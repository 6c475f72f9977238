/** Far returns: RET far and IRET. @sdm 2A IRET; 2B RET */
import { AC, ACCESS_ACCESSED, ACCESS_UNUSABLE, CR4_VME, ID, IF, IOPL, NT, RF, STATUS_FLAGS, TF, DF, VIF, VIP, VM } from './bits';
import { RETURN, checkCode, enterCode, markCode, targetFits, targetLong, transferred } from './code-segments';
import {
  accessOf, baseOf, descriptorAccess, descriptorBase, descriptorDpl, descriptorLimit, descriptorPresent, descriptorType, fetchDescriptor,
  limitOf, linear, loadNull, loadRealSegment, longModeActive, descriptorHigh, descriptorPlace, markAccessedAt, refreshSizes, selectorFault, setPrivilege, writeSegment,
} from './descriptors';
import { enterRealCode } from './far';
import { RESUME_SET, iopl, virtual8086, writeFlags } from './flags';
import { stackPeek, writeStackPointer } from './frame';
import { FAULTED, faulted, raiseError } from './status';
import { TASK_RETURN, switchTask } from './task';
import { sysReadU16 } from './memory';
import { PIN_NMI, PIN_VIRTUAL_NMIS } from '../../vmx/control-bits';
import {
  ACTIVE_PIN, CODE_SIZE, CPL, CR0, CR4, CS, DR7, DS, EFLAGS, ES, FS, GPR, GS, INTERRUPTIBILITY, NEXT_RIP, NMI_UNBLOCKED, NON_ROOT, REAL_SEGMENTS, RIP, SS, TR,
} from '../layout';

const RSP: usize = GPR + 32;

/** The stack segment that `checkOuterStack` accepted; null when `stackNull`. */
let stackNull: bool = false;
let stackPlace: u64 = 0;
let stackHigh: u32 = 0;
let stackBase: u64 = 0;
let stackLimit: u32 = 0;
let stackAccess: u32 = 0;

/** Checks SS of a return to privilege `level`. */
function checkOuterStack(selector: u32, level: u32): bool {
  stackNull = (selector & 0xfffc) == 0;
  if (stackNull) {
    if (targetLong() && level != 3 && (selector & 3) == level) return true;
    raiseError(13, 0);
    return false;
  }
  if (!fetchDescriptor(selector, 13)) return false;
  if ((selector & 3) != level || (descriptorType() & 0x1a) != 0x12 || descriptorDpl() != level) {
    selectorFault(13, selector);
    return false;
  }
  if (!descriptorPresent()) {
    selectorFault(12, selector);
    return false;
  }
  stackPlace = descriptorPlace();
  stackHigh = descriptorHigh;
  stackBase = descriptorBase();
  stackLimit = descriptorLimit();
  stackAccess = descriptorAccess() | ACCESS_ACCESSED;
  return true;
}

/** Checks the target and marks the accepted segments accessed: nothing faults after it. */
function settle(offset: u64): bool {
  return targetFits(offset) && markCode() && (stackNull || markAccessedAt(stackPlace, stackHigh));
}

/** Loads the accepted SS and the stack pointer, after CS. */
function enterStack(selector: u32, pointer: u64): void {
  if (stackNull) loadNull(SS, selector);
  else writeSegment(SS, selector, stackBase, stackLimit, stackAccess);
  refreshSizes();
  writeStackPointer(pointer);
}

/** Data segments that the outer level may not use become null; the hidden base stays, which 64-bit code sees in FS and GS. @sdm 3A 5.8.6 */
function dropInnerSegments(level: u32): void {
  dropInner(ES, level);
  dropInner(DS, level);
  dropInner(FS, level);
  dropInner(GS, level);
}

function dropInner(index: i32, level: u32): void {
  const access = accessOf(index);
  if (access & 0x10000 || (access & 0xc) == 0xc || ((access >>> 5) & 3) >= level) return;
  writeSegment(index, 0, baseOf(index), limitOf(index), ACCESS_UNUSABLE);
}

/** RET far, discarding `popBytes` of parameters. */
export function farReturn(popBytes: i32, opSize: i32): i32 {
  const extra = u32(popBytes) & 0xffff;
  const offset = stackPeek(0, opSize);
  if (faulted()) return FAULTED;
  // Of the selector's slot Intel's processors read no more than the selector.
  const selector = u32(stackPeek(opSize, 2));
  if (faulted()) return FAULTED;
  const released = u64(u32(opSize) * 2 + extra);
  if (load<u32>(REAL_SEGMENTS)) {
    if (offset > u64(limitOf(CS))) return raiseError(13, 0);
    writeStackPointer(load<u64>(RSP) + released);
    enterRealCode(selector, offset);
    return transferred();
  }
  if (!checkCode(selector, RETURN)) return FAULTED;
  const level = selector & 3;
  if (level == load<u32>(CPL)) {
    if (!targetFits(offset) || !markCode()) return FAULTED;
    writeStackPointer(load<u64>(RSP) + released - extra);
    enterCode(selector, level, offset);
    // The parameters go when CS is loaded: with the stack's width in the code returned to, which differs for 64-bit code.
    writeStackPointer(load<u64>(RSP) + extra);
    return transferred();
  }
  const pointer = stackPeek(u32(released), opSize);
  if (faulted()) return FAULTED;
  const stack = u32(stackPeek(u32(released) + opSize, 2));
  if (faulted()) return FAULTED;
  if (!checkOuterStack(stack, level) || !settle(offset)) return FAULTED;
  enterCode(selector, level, offset);
  enterStack(stack, pointer + u64(extra));
  dropInnerSegments(level);
  return transferred();
}

// ---- IRET ---------------------------------------------------------------------------------------------------------------------
/** Flags that IRET loads at privilege `level` when it does not return to virtual-8086 mode. RF lasts only where it has an effect. */
function returnMask(level: u32, opSize: i32): u32 {
  let mask = STATUS_FLAGS | TF | DF | NT;
  if (opSize != 2) {
    mask |= AC | ID | RF;
    if (level == 0) mask |= VIF | VIP;
  }
  if (level <= iopl()) mask |= IF;
  if (level == 0) mask |= IOPL;
  return mask;
}

function loadFlags(image: u64, mask: u32): void {
  let value = image;
  if (load<u64>(DR7) & 0xff) store<u32>(RESUME_SET, u32(value) & mask & RF);
  else value &= ~u64(RF);
  writeFlags(value, u64(mask));
}

/** IRET, IRETD, IRETQ. */
export function iret(opSize: i32): i32 {
  unblockNmis();
  const status = returnFromInterrupt(opSize);
  if (status != FAULTED) store<u32>(NMI_UNBLOCKED, 0);
  return status;
}

/** NMIs are unblocked even when the instruction faults (@sdm 3A 6.7.1); in a nested guest whose NMIs exit, virtual ones if any. */
function unblockNmis(): void {
  const blocking = load<u32>(INTERRUPTIBILITY);
  if (!(blocking & 8) || (load<u32>(ACTIVE_PIN) & (PIN_NMI | PIN_VIRTUAL_NMIS)) == PIN_NMI) return;
  store<u32>(INTERRUPTIBILITY, blocking & ~8);
  store<u32>(NMI_UNBLOCKED, load<u32>(NON_ROOT));
}

function returnFromInterrupt(opSize: i32): i32 {
  const v86 = virtual8086();
  if (v86 && iopl() < 3 && (opSize != 2 || !(load<u64>(CR4) & CR4_VME))) return raiseError(13, 0);
  if (!v86 && load<u64>(CR0) & 1 && load<u32>(EFLAGS) & NT) {
    if (longModeActive()) return raiseError(13, 0);
    const link = sysReadU16(linear(baseOf(TR)));
    return faulted() ? FAULTED : switchTask(TASK_RETURN, link, load<u64>(NEXT_RIP));
  }
  const offset = stackPeek(0, opSize);
  if (faulted()) return FAULTED;
  const selector = u32(stackPeek(opSize, opSize)) & 0xffff;
  if (faulted()) return FAULTED;
  const image = stackPeek(opSize * 2, opSize);
  if (faulted()) return FAULTED;
  if (load<u32>(REAL_SEGMENTS)) return returnReal(selector, offset, image, opSize, v86);
  const level = load<u32>(CPL);
  if (image & u64(VM) && opSize == 4 && level == 0 && !longModeActive()) return returnVirtual(selector, offset, image);
  if (!checkCode(selector, RETURN)) return FAULTED;
  const target = selector & 3;
  const mask = returnMask(level, opSize);
  if (target == level && load<u32>(CODE_SIZE) != 2) {
    if (!targetFits(offset) || !markCode()) return FAULTED;
    writeStackPointer(load<u64>(RSP) + u64(opSize * 3));
    enterCode(selector, level, offset);
    loadFlags(image, mask);
    return transferred();
  }
  const pointer = stackPeek(opSize * 3, opSize);
  if (faulted()) return FAULTED;
  const stack = u32(stackPeek(opSize * 4, 2));
  if (faulted()) return FAULTED;
  if (!checkOuterStack(stack, target) || !settle(offset)) return FAULTED;
  enterCode(selector, target, offset);
  enterStack(stack, pointer);
  loadFlags(image, mask);
  if (target != level) dropInnerSegments(target);
  return transferred();
}

/** In real-address and virtual-8086 mode. @sdm 3A 20.2.7, 20.3.3 */
function returnReal(selector: u32, offset: u64, image: u64, opSize: i32, v86: bool): i32 {
  let flags = u32(image);
  let mask = STATUS_FLAGS | TF | DF | NT;
  if (opSize != 2) mask |= AC | ID | RF;
  if (!v86) mask |= IF | IOPL;
  else if (iopl() == 3) mask |= IF;
  else {
    if (flags & TF || (flags & IF && load<u32>(EFLAGS) & VIP)) return raiseError(13, 0);
    flags = (flags & ~VIF) | ((flags & IF) << 10);
    mask |= VIF;
  }
  if (offset > u64(limitOf(CS))) return raiseError(13, 0);
  writeStackPointer(load<u64>(RSP) + u64(opSize * 3));
  enterRealCode(selector, offset);
  loadFlags(u64(flags), mask);
  return transferred();
}

/** From privilege 0 to virtual-8086 mode. */
function returnVirtual(selector: u32, offset: u64, image: u64): i32 {
  const pointer = stackPeek(12, 4);
  if (faulted()) return FAULTED;
  const stack = u32(stackPeek(16, 4));
  if (faulted()) return FAULTED;
  const extra = u32(stackPeek(20, 4));
  if (faulted()) return FAULTED;
  const data = u32(stackPeek(24, 4));
  if (faulted()) return FAULTED;
  const fs = u32(stackPeek(28, 4));
  if (faulted()) return FAULTED;
  const gs = u32(stackPeek(32, 4));
  if (faulted()) return FAULTED;
  if (offset > 0xffff) return raiseError(13, 0);
  loadFlags(image, STATUS_FLAGS | TF | IF | DF | IOPL | NT | RF | VM | AC | VIF | VIP | ID);
  setPrivilege(3);
  store<u32>(REAL_SEGMENTS, 1);
  loadRealSegment(CS, selector, true);
  loadRealSegment(SS, stack & 0xffff, true);
  loadRealSegment(ES, extra & 0xffff, true);
  loadRealSegment(DS, data & 0xffff, true);
  loadRealSegment(FS, fs & 0xffff, true);
  loadRealSegment(GS, gs & 0xffff, true);
  refreshSizes();
  store<u64>(RSP, pointer);
  store<u64>(RIP, offset);
  return transferred();
}
