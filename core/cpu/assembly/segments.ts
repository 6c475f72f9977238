/** Instructions that load, inspect and store segment registers and descriptor tables. @sdm 3A 3.4, 5.2 */
import { ACCESS_READ_WRITE, ACCESS_UNUSABLE, CR4_UMIP } from './bits';
import {
  accessOf, descriptorAccess, descriptorBase, descriptorDpl, descriptorHigh, descriptorLimit, descriptorPresent, descriptorType,
  fetchDescriptor, fetchUpperBase, loadFetched, loadNull, loadRealSegment, longModeActive, markAccessed, selectorFault, setStackSize, writeDescriptorType,
  writeSegment,
} from './descriptors';
import { canonicalWhenWide } from './paging';
import { SHADOW_KIND, SHADOW_RIP, setZF, updateStepReason, virtual8086 } from './flags';
import { OK, SYNC, FAULTED, faulted, raiseError } from './status';
import {
  ARGUMENTS, CODE_SIZE, CPL, CR4, FAULT, GDTR_BASE, GDTR_LIMIT, IDTR_BASE, IDTR_LIMIT, INTERRUPTIBILITY, INTERRUPT_WINDOW, LDTR, NEXT_RIP, NMI_WINDOW,
  REAL_SEGMENTS, SS, STEP_REASON, TR,
} from '../layout';

/** After SS was loaded: the stack's width. */
function stackLoaded(): i32 {
  if (load<u32>(CODE_SIZE) != 2) setStackSize((accessOf(SS) >>> 14) & 1);
  return OK;
}

/** MOV and POP to a segment register. Those to SS cast a shadow as STI does, which LSS has no need of. @sdm 3A 6.8.3 */
export function moveToSegment(seg: i32, selector: i32): i32 {
  const status = loadSegment(seg, selector);
  return seg == SS && status == OK ? castShadow() : status;
}

function castShadow(): i32 {
  if (load<u32>(INTERRUPT_WINDOW) | load<u32>(NMI_WINDOW) | load<u32>(STEP_REASON)) {
    store<u32>(INTERRUPTIBILITY, load<u32>(INTERRUPTIBILITY) | 2);
    updateStepReason();
    return SYNC;
  }
  store<u64>(SHADOW_RIP, load<u64>(NEXT_RIP));
  store<u32>(SHADOW_KIND, 2);
  return OK;
}

/** Loads SS. */
function loadStack(selector: u32): i32 {
  const level = load<u32>(CPL);
  if ((selector & 0xfffc) == 0) {
    if (load<u32>(CODE_SIZE) != 2 || level == 3 || selector != level) return selectorFault(13, selector);
    loadNull(SS, selector);
    return stackLoaded();
  }
  if (!fetchDescriptor(selector, 13)) return FAULTED;
  // Writable data, at exactly this privilege.
  if ((selector & 3) != level || (descriptorType() & 0x1a) != 0x12 || descriptorDpl() != level) return selectorFault(13, selector);
  if (!descriptorPresent()) return selectorFault(12, selector);
  if (!markAccessed()) return FAULTED;
  loadFetched(SS, selector);
  return stackLoaded();
}

/** Loads ES, SS, DS, FS or GS with all checks of the current mode. @sdm 2B MOV */
export function loadSegment(seg: i32, selectorIn: i32): i32 {
  const selector = u32(selectorIn) & 0xffff;
  if (load<u32>(REAL_SEGMENTS)) {
    loadRealSegment(seg, selector, virtual8086());
    return seg == SS ? stackLoaded() : OK;
  }
  if (seg == SS) return loadStack(selector);
  if ((selector & 0xfffc) == 0) {
    loadNull(seg, selector);
    return OK;
  }
  if (!fetchDescriptor(selector, 13)) return FAULTED;
  const type = descriptorType();
  // Data, or readable code.
  if (!(type & 0x10) || (type & 0xa) == 8) return selectorFault(13, selector);
  // Conforming code is open to every privilege.
  if ((type & 0xc) != 0xc && (descriptorDpl() < (selector & 3) || descriptorDpl() < load<u32>(CPL))) return selectorFault(13, selector);
  if (!descriptorPresent()) return selectorFault(11, selector);
  if (!markAccessed()) return FAULTED;
  loadFetched(seg, selector);
  return OK;
}

/** LLDT; #UD in real-address and virtual-8086 mode is the opcode table's. @sdm 2A LLDT */
export function lldt(selectorIn: i32): i32 {
  const selector = u32(selectorIn) & 0xffff;
  if ((selector & 0xfffc) == 0) {
    writeSegment(LDTR, selector, 0, 0, ACCESS_UNUSABLE);
    return OK;
  }
  if (selector & 4) return selectorFault(13, selector);
  return loadLdt(selector, 13);
}

/** Loads LDTR from a non-null GDT selector; `vector` for everything wrong but absence (task switches use #TS). */
export function loadLdt(selector: u32, vector: u32): i32 {
  if (!fetchDescriptor(selector, vector)) return FAULTED;
  if (descriptorType() != 2) return selectorFault(vector, selector);
  if (!descriptorPresent()) return selectorFault(vector == 10 ? 10 : 11, selector);
  const low = descriptorBase();
  const limit = descriptorLimit();
  const access = descriptorAccess();
  let high: u64 = 0;
  if (longModeActive()) {
    high = fetchUpperBase(selector, vector);
    if (faulted()) return FAULTED;
    if (!canonicalWhenWide(high | low)) return selectorFault(vector, selector);
  }
  writeSegment(LDTR, selector, high | low, limit, access);
  return OK;
}

/** LTR: an available TSS becomes busy. @sdm 2A LTR */
export function ltr(selectorIn: i32): i32 {
  const selector = u32(selectorIn) & 0xffff;
  if ((selector & 0xfffc) == 0) return raiseError(13, 0);
  if (selector & 4) return selectorFault(13, selector);
  if (!fetchDescriptor(selector, 13)) return FAULTED;
  const long = longModeActive();
  const type = descriptorType();
  if (type != 9 && (long || type != 1)) return selectorFault(13, selector);
  if (!descriptorPresent()) return selectorFault(11, selector);
  const low = descriptorBase();
  let high: u64 = 0;
  if (long) {
    high = fetchUpperBase(selector, 13);
    if (faulted()) return FAULTED;
    if (!canonicalWhenWide(high | low)) return selectorFault(13, selector);
  }
  const access = descriptorAccess() | 2;
  if (!writeDescriptorType(access)) return FAULTED;
  writeSegment(TR, selector, high | low, descriptorLimit(), access);
  return OK;
}

/** 24 bits of base with 16-bit operands; 64 in 64-bit mode, where it must be canonical. @sdm 2A LGDT */
function tableBase(base: u64, opSize: i32): u64 {
  return opSize == 2 ? base & 0xffffff : opSize == 4 ? base & 0xffffffff : base;
}

export function lgdt(limit: u32, base: u64, opSize: i32): i32 {
  const address = tableBase(base, opSize);
  if (opSize == 8 && !canonicalWhenWide(address)) return raiseError(13, 0);
  store<u64>(GDTR_BASE, address);
  store<u32>(GDTR_LIMIT, limit & 0xffff);
  return OK;
}

export function lidt(limit: u32, base: u64, opSize: i32): i32 {
  const address = tableBase(base, opSize);
  if (opSize == 8 && !canonicalWhenWide(address)) return raiseError(13, 0);
  store<u64>(IDTR_BASE, address);
  store<u32>(IDTR_LIMIT, limit & 0xffff);
  return OK;
}

/** SGDT, SIDT, SLDT, STR, SMSW. @sdm 3A 2.5 */
export function umipCheck(): i32 {
  return load<u64>(CR4) & CR4_UMIP && load<u32>(CPL) != 0 ? raiseError(13, 0) : OK;
}

// ---- LAR, LSL, VERR, VERW, ARPL -----------------------------------------------------------------------------------------------
/** System types that LAR accepts, one bit each; LSL accepts those that have a limit. Then the same in IA-32e mode. */
const LAR_TYPES: u32 = 0x1a3e;
const LSL_TYPES: u32 = 0x0a0e;
const LAR_TYPES_LONG: u32 = 0x1a04;
const LSL_TYPES_LONG: u32 = 0x0a04;

/** Fetches for inspection: 1 visible, 0 not (ZF becomes 0), -1 the table access faulted. */
function inspect(selector: u32, systemTypes: u32): i32 {
  if ((selector & 0xfffc) == 0) return 0;
  if (!fetchDescriptor(selector, 13)) {
    // Outside the table is no fault here.
    if (load<u8>(FAULT) == 13) {
      store<u32>(FAULT, 0);
      return 0;
    }
    return -1;
  }
  const type = descriptorType();
  if (!(type & 0x10)) {
    if (!((systemTypes >>> type) & 1)) return 0;
  } else if ((type & 0xc) == 0xc) {
    return 1;
  }
  const dpl = descriptorDpl();
  return i32(dpl >= load<u32>(CPL) && dpl >= (selector & 3));
}

function concluded(found: i32, value: u32): i32 {
  if (found < 0) return FAULTED;
  if (found) store<u64>(ARGUMENTS, u64(value));
  setZF(found != 0);
  return OK;
}

/** LAR: access rights into ARGUMENTS when ZF becomes 1. The limit's bits 19:16, undefined in the manual, come along as in processors. @sdm 2A LAR */
export function lar(selectorIn: i32): i32 {
  const found = inspect(u32(selectorIn) & 0xffff, longModeActive() ? LAR_TYPES_LONG : LAR_TYPES);
  return concluded(found, descriptorHigh & 0x00ffff00);
}

/** LSL: the byte-granular limit into ARGUMENTS when ZF becomes 1. @sdm 2A LSL */
export function lsl(selectorIn: i32): i32 {
  const found = inspect(u32(selectorIn) & 0xffff, longModeActive() ? LSL_TYPES_LONG : LSL_TYPES);
  return concluded(found, descriptorLimit());
}

export function verr(selectorIn: i32): i32 {
  const found = inspect(u32(selectorIn) & 0xffff, 0);
  const readable = found > 0 && (descriptorType() & 0xa) != 8;
  return concluded(found < 0 ? -1 : i32(readable), 0);
}

export function verw(selectorIn: i32): i32 {
  const found = inspect(u32(selectorIn) & 0xffff, 0);
  const writable = found > 0 && (descriptorType() & 8) == 0 && (descriptorAccess() & ACCESS_READ_WRITE) != 0;
  return concluded(found < 0 ? -1 : i32(writable), 0);
}

/** ARPL: the adjusted selector into ARGUMENTS. @sdm 2A ARPL */
export function arpl(dest: u32, source: u32): i32 {
  const raised = (dest & 3) < (source & 3);
  store<u64>(ARGUMENTS, u64(raised ? (dest & 0xfffc) | (source & 3) : dest & 0xffff));
  setZF(raised);
  return OK;
}
