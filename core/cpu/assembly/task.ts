/** Hardware task switches. @sdm 3A 7.3 */
import { ACCESS_UNUSABLE, CR0_PG, CR0_TS, CR4_PAE, NT, RF, VM } from './bits';
import {
  accessOf, baseOf, descriptorAccess, descriptorBase, descriptorDpl, descriptorLimit, descriptorPresent, descriptorType, fetchDescriptor,
  limitOf, linear, loadFetched, loadNull, loadRealSegment, markAccessed, refreshSizes, selectorFault, selectorOf,
  setPrivilege, writeSegment,
} from './descriptors';
import { RESUME_SET, STEPPED, readFlags, updateStepReason, writeFlags } from './flags';
import { loadPdptes } from './paging';
import { loadLdt } from './segments';
import { FAULTED, JUMP, faulted, raise, raiseError } from './status';
import { sysReadU16, sysReadU32, sysReadU8, sysWriteU16, sysWriteU32, sysWriteU8 } from './memory';
import { vmExit } from './vm-exit';
import { flushNonGlobal } from './tlb';
import {
  CR0, CR3, CR4, CS, DR7, GDTR_BASE, GPR, HELPER_STATE, LDTR, NON_ROOT, PENDING_DEBUG, REAL_SEGMENTS, RIP, SS, TR,
} from '../layout';

export const TASK_JUMP: i32 = 0;
export const TASK_CALL: i32 = 1;
export const TASK_RETURN: i32 = 2;
export const TASK_INTERRUPT: i32 = 3;

const EXIT_TASK_SWITCH: u32 = 9;
/** Source of a task switch in the exit qualification, by kind: CALL 0, IRET 1, JMP 2, gate of the IDT 3. */
const SOURCES: StaticArray<u32> = [2, 0, 1, 3];

/** The incoming state, u32 each: EIP, EFLAGS, EAX to EDI, then the selectors ES CS SS DS FS GS LDT. */
const IMAGE: usize = HELPER_STATE + 0x220;
const SELECTORS: usize = IMAGE + 40;

const TSS16_IP: u32 = 0x0e;
const TSS16_SELECTORS: u32 = 0x22;
const TSS16_LIMIT: u32 = 0x2b;
const TSS32_CR3: u32 = 0x1c;
const TSS32_EIP: u32 = 0x20;
const TSS32_SELECTORS: u32 = 0x48;
const TSS32_TRAP: u32 = 0x64;
const TSS32_LIMIT: u32 = 0x67;

let incomingCr3: u32 = 0;
let incomingTrap: bool = false;

/** Reads the incoming TSS into IMAGE. False: a page fault, in the old task. */
function readIncoming(base: u64, wide: bool): bool {
  incomingTrap = false;
  for (let i: u32 = 0; i < 10; i++) {
    const value = wide ? sysReadU32(linear(base + u64(TSS32_EIP + i * 4))) : sysReadU16(linear(base + u64(TSS16_IP + i * 2)));
    if (faulted()) return false;
    store<u32>(IMAGE + (i << 2), value);
  }
  for (let i: u32 = 0; i < 7; i++) {
    let value: u32 = 0;
    if (wide) value = sysReadU16(linear(base + u64(TSS32_SELECTORS + i * 4)));
    // ES CS SS DS LDT: a 16-bit TSS has no FS and GS.
    else if (i < 4 || i == 6) value = sysReadU16(linear(base + u64(TSS16_SELECTORS + (i == 6 ? 4 : i) * 2)));
    if (faulted()) return false;
    store<u32>(SELECTORS + (i << 2), value);
  }
  if (!wide) return true;
  incomingCr3 = sysReadU32(linear(base + u64(TSS32_CR3)));
  if (faulted()) return false;
  incomingTrap = (sysReadU16(linear(base + u64(TSS32_TRAP))) & 1) != 0;
  return !faulted();
}

/** Saves the outgoing task's registers. The stores go upwards from EIP to the last selector; a fault leaves the old task running. */
function saveOutgoing(eip: u64, flags: u64): bool {
  const base = baseOf(TR);
  const wide = (accessOf(TR) & 8) != 0;
  for (let i: u32 = 0; i < 10; i++) {
    const value = i == 0 ? u32(eip) : i == 1 ? u32(flags) : load<u32>(GPR + ((i - 2) << 3));
    if (wide) sysWriteU32(linear(base + u64(TSS32_EIP + i * 4)), value);
    else sysWriteU16(linear(base + u64(TSS16_IP + i * 2)), value);
    if (faulted()) return false;
  }
  const count = wide ? 6 : 4;
  for (let i = 0; i < count; i++) {
    if (wide) sysWriteU16(linear(base + u64(TSS32_SELECTORS + u32(i) * 4)), selectorOf(i));
    else sysWriteU16(linear(base + u64(TSS16_SELECTORS + u32(i) * 2)), selectorOf(i));
    if (faulted()) return false;
  }
  return true;
}

/** Sets or clears the busy bit of a TSS descriptor in the GDT. */
function setBusy(selector: u32, busy: bool): bool {
  const at = linear(load<u64>(GDTR_BASE) + u64(selector & 0xfff8) + 5);
  const access = sysReadU8(at);
  if (faulted()) return false;
  sysWriteU8(at, busy ? access | 2 : access & ~2);
  return !faulted();
}

/**
 * Switches to the task of TSS `selector`; the caller has checked privileges and the gate. `eip` and `flags` are saved for the old task.
 * False: a fault, of the old task when it was found before the switch was committed, else of the new one (RIP is then the new task's).
 */
export function taskSwitch(kind: i32, selector: u32, eip: u64, flags: u64): bool {
  const vector: u32 = kind == TASK_RETURN ? 10 : 13;
  if (selector & 4 || (selector & 0xfffc) == 0) {
    selectorFault(vector, selector);
    return false;
  }
  if (!fetchDescriptor(selector, vector)) return false;
  const type = descriptorType();
  // Available (1, 9), or busy (3, 11) for a return.
  if ((type & 0x17) != (kind == TASK_RETURN ? 3 : 1)) {
    selectorFault(vector, selector);
    return false;
  }
  if (!descriptorPresent()) {
    selectorFault(11, selector);
    return false;
  }
  if (load<u32>(NON_ROOT)) {
    vmExit(EXIT_TASK_SWITCH, u64(selector) | (u64(SOURCES[kind]) << 30));
    return false;
  }
  const wide = (type & 8) != 0;
  const base = descriptorBase();
  const limit = descriptorLimit();
  const access = descriptorAccess();
  const needed = wide ? TSS32_LIMIT : TSS16_LIMIT;
  if (limit < needed) {
    selectorFault(10, selector);
    return false;
  }
  if (!readIncoming(base, wide)) return false;
  let image = flags;
  if (kind == TASK_RETURN) image &= ~u64(NT);
  if (!saveOutgoing(eip, image)) return false;
  const previous = selectorOf(TR);
  if ((kind == TASK_JUMP || kind == TASK_RETURN) && !setBusy(previous, false)) return false;
  if (kind == TASK_CALL || kind == TASK_INTERRUPT) {
    sysWriteU16(linear(base), previous);
    if (faulted()) return false;
  }
  if (kind != TASK_RETURN && !setBusy(selector, true)) return false;
  writeSegment(TR, selector, base, limit, access | 2);
  store<u64>(CR0, load<u64>(CR0) | CR0_TS);
  return loadTask(kind, wide);
}

/** The committed half: registers, then descriptors, whose faults belong to the new task. */
function loadTask(kind: i32, wide: bool): bool {
  if (wide && load<u64>(CR0) & CR0_PG) {
    store<u64>(CR3, u64(incomingCr3));
    flushNonGlobal();
  }
  store<u64>(RIP, u64(load<u32>(IMAGE)));
  let flags = load<u32>(IMAGE + 4);
  if (!wide) flags &= 0xffff;
  if (kind == TASK_CALL || kind == TASK_INTERRUPT) flags |= NT;
  writeFlags(u64(flags), wide ? 0x3f7fd5 : 0x37fd5);
  store<u32>(STEPPED, 0);
  if (flags & RF) store<u32>(RESUME_SET, 1);
  for (let i: u32 = 0; i < 8; i++) store<u64>(GPR + (i << 3), u64(load<u32>(IMAGE + 8 + (i << 2))));
  store<u64>(DR7, load<u64>(DR7) & ~0x155);
  updateStepReason();
  const v86 = (flags & VM) != 0;
  const level = v86 ? 3 : load<u32>(SELECTORS + 4) & 3;
  setPrivilege(level);
  store<u32>(REAL_SEGMENTS, u32(v86));
  // Selectors first: a fault finds all of them, and no usable descriptor that has not been checked.
  for (let i = 0; i < 6; i++) writeSegment(i, load<u32>(SELECTORS + (usize(i) << 2)), 0, 0, ACCESS_UNUSABLE | (i == SS ? level << 5 : 0));
  const ldt = load<u32>(SELECTORS + 24);
  writeSegment(LDTR, ldt, 0, 0, ACCESS_UNUSABLE);
  if (v86) for (let i = 0; i < 6; i++) loadRealSegment(i, load<u32>(SELECTORS + (usize(i) << 2)), true);
  refreshSizes();
  if (incomingTrap) store<u64>(PENDING_DEBUG, load<u64>(PENDING_DEBUG) | 0x8000);
  if (wide && (load<u64>(CR0) & CR0_PG) && (load<u64>(CR4) & CR4_PAE) && !loadPdptes(u64(incomingCr3))) {
    if (!faulted()) raiseError(13, 0);
    return false;
  }
  if (ldt & 0xfffc) {
    if (ldt & 4) return refuse(10, ldt);
    loadLdt(ldt, 10);
    if (faulted()) return false;
  }
  if (v86) return true;
  if (!loadCode(load<u32>(SELECTORS + 4), level) || !loadStackSegment(load<u32>(SELECTORS + 8), level)) return false;
  refreshSizes();
  for (let i = 0; i < 6; i++) if (i != CS && i != SS && !loadData(i, load<u32>(SELECTORS + (usize(i) << 2)), level)) return false;
  return true;
}

function refuse(vector: u32, selector: u32): bool {
  selectorFault(vector, selector);
  return false;
}

function loadCode(selector: u32, level: u32): bool {
  if ((selector & 0xfffc) == 0) return refuse(10, selector);
  if (!fetchDescriptor(selector, 10)) return false;
  const type = descriptorType();
  const dpl = descriptorDpl();
  if ((type & 0x18) != 0x18 || (type & 4 ? dpl > level : dpl != level)) return refuse(10, selector);
  if (!descriptorPresent()) return refuse(11, selector);
  if (!markAccessed()) return false;
  loadFetched(CS, selector);
  return true;
}

function loadStackSegment(selector: u32, level: u32): bool {
  if ((selector & 0xfffc) == 0) return refuse(10, selector);
  if (!fetchDescriptor(selector, 10)) return false;
  if ((descriptorType() & 0x1a) != 0x12 || descriptorDpl() != level || (selector & 3) != level) return refuse(10, selector);
  if (!descriptorPresent()) return refuse(12, selector);
  if (!markAccessed()) return false;
  loadFetched(SS, selector);
  return true;
}

function loadData(index: i32, selector: u32, level: u32): bool {
  if ((selector & 0xfffc) == 0) {
    loadNull(index, selector);
    return true;
  }
  if (!fetchDescriptor(selector, 10)) return false;
  const type = descriptorType();
  if (!(type & 0x10) || (type & 0xa) == 8) return refuse(10, selector);
  if ((type & 0xc) != 0xc && (descriptorDpl() < level || descriptorDpl() < (selector & 3))) return refuse(10, selector);
  if (!descriptorPresent()) return refuse(11, selector);
  if (!markAccessed()) return false;
  loadFetched(index, selector);
  return true;
}

/** After a switch and all it entails: the debug trap of the new TSS's T flag. JUMP, or FAULTED with #DB. @sdm 3B 18.3.1.5 */
export function taskTrap(): i32 {
  return load<u64>(PENDING_DEBUG) & 0x8000 ? raise(1) : JUMP;
}

/** JMP or CALL to a TSS or task gate, IRET with NT: the switch, the new EIP against its limit, the T flag. JUMP or FAULTED. */
export function switchTask(kind: i32, selector: u32, eip: u64): i32 {
  if (!taskSwitch(kind, selector, eip, readFlags())) return FAULTED;
  if (load<u64>(RIP) > u64(limitOf(CS))) return raiseError(13, 0);
  return taskTrap();
}

/** Checks the task gate just fetched (its descriptor's low dword) and switches. @sdm 2A JMP, CALL */
export function switchThroughGate(kind: i32, target: u32, eip: u64): i32 {
  if (target & 4) return selectorFault(13, target);
  return switchTask(kind, target, eip);
}
