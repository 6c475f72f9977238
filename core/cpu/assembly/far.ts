/** Far jumps and calls. @sdm 2A CALL, JMP; 3A 5.8 */
import { DIRECT, GATE, checkCode, checkFetchedCode, enterCode, markCode, targetFits, transferred } from './code-segments';
import {
  descriptorDpl, descriptorHigh, descriptorLow, descriptorPresent, descriptorType, fetchDescriptor, fetchUpperBase, limitOf,
  loadNull, loadRealSegment, longModeActive, refreshSizes, selectorFault, selectorOf, writeSegment,
} from './descriptors';
import {
  frameBegin, frameFits, frameFits64, frameFitsHere, framePush, frameStore, frameStore64, frameStoreHere, frameTop, stackPeek,
  writeStackPointer,
} from './frame';
import { virtual8086 } from './flags';
import { innerAccess, innerBase, innerLimit, innerPointer, innerSelector, readInnerStack, readLongStack } from './stacks';
import { FAULTED, OK, faulted, raiseError } from './status';
import { TASK_CALL, TASK_JUMP, switchTask, switchThroughGate } from './task';
import { CPL, CS, GPR, NEXT_RIP, REAL_SEGMENTS, RIP, SS } from '../layout';

const RSP: usize = GPR + 32;

// @ts-ignore: decorator
@inline
function truncate(offset: u64, opSize: i32): u64 {
  return opSize == 2 ? offset & 0xffff : opSize == 4 ? offset & 0xffffffff : offset;
}

/** Loads CS:RIP in real-address or virtual-8086 mode. */
export function enterRealCode(selector: u32, offset: u64): void {
  loadRealSegment(CS, selector, virtual8086());
  store<u64>(RIP, offset);
}

/** JMP ptr16:16, ptr16:32, m16:16, m16:32, m16:64. */
export function farJump(selectorIn: i32, offsetIn: u64, opSize: i32): i32 {
  const selector = u32(selectorIn) & 0xffff;
  const offset = truncate(offsetIn, opSize);
  if (load<u32>(REAL_SEGMENTS)) {
    if (offset > u64(limitOf(CS))) return raiseError(13, 0);
    enterRealCode(selector, offset);
    return transferred();
  }
  if ((selector & 0xfffc) == 0) return raiseError(13, 0);
  if (!fetchDescriptor(selector, 13)) return FAULTED;
  if (!(descriptorType() & 0x10)) return throughSystem(selector, TASK_JUMP);
  return enterDirect(selector, offset) ? transferred() : FAULTED;
}

/** Into the code segment whose descriptor was fetched, at the privilege that there is. */
function enterDirect(selector: u32, offset: u64): bool {
  if (!checkFetchedCode(selector, DIRECT) || !targetFits(offset) || !markCode()) return false;
  enterCode(selector, load<u32>(CPL), offset);
  return true;
}

/** Loads CS as a far jump to where RIP is would, for a debugger: not through gates and tasks, which lead elsewhere. */
export function loadCodeSegment(selectorIn: i32): i32 {
  const selector = u32(selectorIn) & 0xffff;
  const here = load<u64>(RIP);
  if (load<u32>(REAL_SEGMENTS)) {
    enterRealCode(selector, here);
    return OK;
  }
  if ((selector & 0xfffc) == 0) return raiseError(13, 0);
  if (!fetchDescriptor(selector, 13)) return FAULTED;
  if (!(descriptorType() & 0x10)) return selectorFault(13, selector);
  return enterDirect(selector, here) ? OK : FAULTED;
}

/** CALL far; the return address is NEXT_RIP. */
export function farCall(selectorIn: i32, offsetIn: u64, opSize: i32): i32 {
  const selector = u32(selectorIn) & 0xffff;
  const offset = truncate(offsetIn, opSize);
  if (load<u32>(REAL_SEGMENTS)) {
    pushReturn();
    if (!frameFitsHere(opSize, 0)) return FAULTED;
    if (offset > u64(limitOf(CS))) return raiseError(13, 0);
    if (!frameStoreHere(opSize)) return FAULTED;
    enterRealCode(selector, offset);
    return transferred();
  }
  if ((selector & 0xfffc) == 0) return raiseError(13, 0);
  if (!fetchDescriptor(selector, 13)) return FAULTED;
  if (!(descriptorType() & 0x10)) return throughSystem(selector, TASK_CALL);
  if (!checkFetchedCode(selector, DIRECT)) return FAULTED;
  return callSameLevel(selector, offset, opSize);
}

function pushReturn(): void {
  frameBegin();
  framePush(u64(selectorOf(CS)));
  framePush(load<u64>(NEXT_RIP));
}

/** CALL to the accepted segment without a change of stack. */
function callSameLevel(selector: u32, offset: u64, size: i32): i32 {
  pushReturn();
  if (!frameFitsHere(size, 0) || !targetFits(offset) || !markCode() || !frameStoreHere(size)) return FAULTED;
  enterCode(selector, load<u32>(CPL), offset);
  return transferred();
}

/** Through the fetched system descriptor: call gate, task gate or TSS. `kind` is TASK_JUMP or TASK_CALL. */
function throughSystem(selector: u32, kind: i32): i32 {
  const type = descriptorType();
  const low = descriptorLow;
  const high = descriptorHigh;
  const long = longModeActive();
  // Task gate 5, call gates 4 and 12, TSS 1 and 9 (a busy one is refused by the switch).
  if (long ? type != 12 : type != 5 && (type & 7) != 4 && (type & 5) != 1) return selectorFault(13, selector);
  if (descriptorDpl() < load<u32>(CPL) || (selector & 3) > descriptorDpl()) return selectorFault(13, selector);
  if ((type & 5) == 1) return switchTask(kind, selector, load<u64>(NEXT_RIP));
  if (type == 5) {
    if (!descriptorPresent()) return selectorFault(11, selector);
    return switchThroughGate(kind, low >>> 16, load<u64>(NEXT_RIP));
  }
  let offset = u64(low & 0xffff);
  if (type == 12) offset |= u64(high & 0xffff0000);
  if (long) {
    offset |= fetchUpperBase(selector, 13);
    if (faulted()) return FAULTED;
  }
  if (!(high & 0x8000)) return selectorFault(11, selector);
  const target = low >>> 16;
  if (!checkCode(target, GATE)) return FAULTED;
  const dpl = descriptorDpl();
  const inward = !(descriptorType() & 4) && dpl < load<u32>(CPL);
  const size = long ? 8 : type == 12 ? 4 : 2;
  if (kind == TASK_JUMP) {
    if (inward) return selectorFault(13, target);
    if (!targetFits(offset) || !markCode()) return FAULTED;
    enterCode(target, load<u32>(CPL), offset);
    return transferred();
  }
  if (!inward) return callSameLevel(target, offset, size);
  return long ? callInwardLong(target, offset, dpl) : callInward(target, offset, dpl, size, high & 31);
}

/** CALL to an inner level through a 16- or 32-bit gate, copying `parameters` stack slots. */
function callInward(target: u32, offset: u64, level: u32, size: i32, parameters: u32): i32 {
  if (!readInnerStack(level)) return FAULTED;
  frameBegin();
  framePush(u64(selectorOf(SS)));
  framePush(load<u64>(RSP));
  for (let i = i32(parameters) - 1; i >= 0; i--) {
    framePush(stackPeek(u32(i * size), size));
    if (faulted()) return FAULTED;
  }
  framePush(u64(selectorOf(CS)));
  framePush(load<u64>(NEXT_RIP));
  if (!frameFits(innerLimit, innerAccess, innerPointer, size, innerSelector & 0xfffc)) return FAULTED;
  if (!targetFits(offset) || !markCode()) return FAULTED;
  if (!frameStore(innerBase, innerAccess, innerPointer, size, true)) return FAULTED;
  enterCode(target, level, offset);
  writeSegment(SS, innerSelector, innerBase, innerLimit, innerAccess);
  refreshSizes();
  writeStackPointer(frameTop);
  return transferred();
}

/** CALL to an inner level through a 64-bit gate: SS becomes null. */
function callInwardLong(target: u32, offset: u64, level: u32): i32 {
  if (!readLongStack(4 + level * 8)) return FAULTED;
  frameBegin();
  framePush(u64(selectorOf(SS)));
  framePush(load<u64>(RSP));
  framePush(u64(selectorOf(CS)));
  framePush(load<u64>(NEXT_RIP));
  if (!frameFits64(innerPointer, 8, 0) || !targetFits(offset) || !markCode() || !frameStore64(innerPointer, 8, true)) return FAULTED;
  enterCode(target, level, offset);
  loadNull(SS, level);
  store<u64>(RSP, frameTop);
  return transferred();
}
