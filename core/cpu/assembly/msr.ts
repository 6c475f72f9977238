/** Model-specific registers that live in the processor's state, the time-stamp counter, XCR0, PKRU, and instructions that always exit. */
import { CR0_PG, CR4_OSXSAVE, CR4_PCE, CR4_PKE, CR4_TSD, CR4_VMXE, EFER_LMA, EFER_LME, EFER_NXE } from './bits';
import { segment } from './descriptors';
import { writeStatus } from './flags';
import { msrRead, msrWrite, random } from './imports';
import { canonicalWhenWide } from './paging';
import { OK, SYNC, exit, raise, raiseError } from './status';
import { flushAll } from './tlb';
import { noteTimeRead, ownTimeStamp, scaleTimeStamp } from './time';
import { disabled, msrExits, primaryExits, secondaryExits } from './vm-controls';
import { ownsVirtualMsr, readVirtualMsr, writeVirtualMsr } from './vm-apic-access';
import { vmExit, vmExitDecoded } from './vm-exit';
import { preemptionTimerExpired } from './vm-timer';
import { get, get32 } from './vmcs';
import {
  ARGUMENTS, CPL, CR0, CR4, CR4_ALLOWED, EFER, EFER_ALLOWED, FS, GPR, GS, MSR_CSTAR, MSR_DEBUGCTL, MSR_FEATURE_CONTROL, MSR_KERNEL_GS_BASE, MSR_LSTAR, MSR_PAT,
  MSR_SFMASK, MSR_STAR, MSR_SYSENTER_CS, MSR_SYSENTER_EIP, MSR_SYSENTER_ESP, MSR_TSC_AUX, NON_ROOT, PAUSE_LOOP_LAST, PAUSE_LOOP_START, PKRU, ROOT_MSR_BITMAPS, ROOT_PRIMARY, SEG_BASE, TIME_UP, VMX_CAPABILITIES, XCR0,
  XCR0_ALLOWED,
} from '../layout';
import {
  PRIMARY_HLT, PRIMARY_MONITOR, PRIMARY_MWAIT, PRIMARY_PAUSE, PRIMARY_RDPMC, PRIMARY_RDTSC, PRIMARY_TSC_OFFSETTING, SECONDARY_RDRAND, SECONDARY_RDSEED,
  SECONDARY_PAUSE_LOOP, SECONDARY_RDTSCP, SECONDARY_TSC_SCALING, SECONDARY_WBINVD,
} from '../../vmx/control-bits';
import { PLE_GAP, PLE_WINDOW, TSC_MULTIPLIER, TSC_OFFSET_FIELD } from '../../vmx/fields';

/** The capability MSRs (core/vmx/controls.ts). */
const FIRST_CAPABILITY: u32 = 0x480;
const LAST_CAPABILITY: u32 = 0x491;

const RAX: usize = GPR;
const RCX: usize = GPR + 8;
const RDX: usize = GPR + 16;

/** Basic exit reasons. @sdm 3D C */
const EXIT_CPUID: u32 = 10;
const EXIT_HLT: u32 = 12;
const EXIT_INVD: u32 = 13;
const EXIT_RDPMC: u32 = 15;
const EXIT_RDTSC: u32 = 16;
const EXIT_RDMSR: u32 = 31;
const EXIT_WRMSR: u32 = 32;
const EXIT_MWAIT: u32 = 36;
const EXIT_MONITOR: u32 = 39;
const EXIT_PAUSE: u32 = 40;
const EXIT_RDTSCP: u32 = 51;
const EXIT_PREEMPTION_TIMER: u32 = 52;
const EXIT_WBINVD: u32 = 54;
const EXIT_XSETBV: u32 = 55;
const EXIT_RDRAND: u32 = 57;
const EXIT_RDSEED: u32 = 61;

/** IA32_FEATURE_CONTROL: lock, VMXON outside SMX. */
const FEATURE_LOCK: u64 = 1;
const FEATURE_BITS: u64 = 5;
/** IA32_DEBUGCTL: LBR, which has no registers to show here, and BTF. */
const DEBUGCTL_BITS: u64 = 3;

/** How a value is checked before it is written. */
const ANY: i32 = 0;
const CANONICAL: i32 = 1;
const LOW_32: i32 = 2;
const MEMORY_TYPES: i32 = 3;
const READ_ONLY: i32 = 4;
const FEATURES: i32 = 5;
const DEBUG_CONTROLS: i32 = 6;
let check: i32 = ANY;

/** Where an MSR is kept (0: root mode's), and in `check` what may be written. */
function place(index: u32): usize {
  check = CANONICAL;
  if (index == 0xc0000100) return segment(FS) + SEG_BASE;
  if (index == 0xc0000101) return segment(GS) + SEG_BASE;
  if (index == 0xc0000102) return MSR_KERNEL_GS_BASE;
  if (index == 0xc0000082) return MSR_LSTAR;
  if (index == 0xc0000083) return MSR_CSTAR;
  if (index == 0x175) return MSR_SYSENTER_ESP;
  if (index == 0x176) return MSR_SYSENTER_EIP;
  check = LOW_32;
  if (index == 0xc0000084) return MSR_SFMASK;
  if (index == 0xc0000103) return MSR_TSC_AUX;
  check = ANY;
  if (index == 0xc0000081) return MSR_STAR;
  if (index == 0x174) return MSR_SYSENTER_CS;
  check = DEBUG_CONTROLS;
  if (index == 0x1d9) return MSR_DEBUGCTL;
  check = MEMORY_TYPES;
  if (index == 0x277) return MSR_PAT;
  return load<u64>(CR4_ALLOWED) & CR4_VMXE ? placeVmx(index) : 0;
}

/** The MSRs that come with VMX. */
function placeVmx(index: u32): usize {
  check = READ_ONLY;
  if (index >= FIRST_CAPABILITY && index <= LAST_CAPABILITY) return VMX_CAPABILITIES + ((index - FIRST_CAPABILITY) << 3);
  check = FEATURES;
  return index == 0x3a ? <usize>MSR_FEATURE_CONTROL : 0;
}

/** EDX:EAX, both zero-extended. */
// @ts-ignore: decorator
@inline
function result(value: u64): i32 {
  store<u64>(RAX, value & 0xffffffff);
  store<u64>(RDX, value >> 32);
  return OK;
}

/**
 * The time-stamp counter as an instruction's result. A loop that waits for a time runs slowly on a busy host: were its VM entry to last its usual number of
 * instructions, several interrupts of a timer would come together.
 */
function timeResult(): i32 {
  result(timeStamp());
  return load<u32>(TIME_UP) ? SYNC : OK;
}

// @ts-ignore: decorator
@inline
function operand(): u64 {
  return u64(load<u32>(RAX)) | (u64(load<u32>(RDX)) << 32);
}

function timeStamp(): u64 {
  const own = ownTimeStamp();
  noteTimeRead(own);
  if (!primaryExits(PRIMARY_TSC_OFFSETTING)) return own;
  const scaled = secondaryExits(SECONDARY_TSC_SCALING) ? scaleTimeStamp(own, get(TSC_MULTIPLIER)) : own;
  return scaled + get(TSC_OFFSET_FIELD);
}

/** The value of an MSR of the processor's own into ARGUMENTS; false: it is root mode's. */
function readOwn(index: u32): bool {
  let value: u64;
  if (index == 0x10) {
    value = timeStamp();
  } else if (index == 0xc0000080) {
    value = load<u64>(EFER);
  } else {
    const at = place(index);
    if (!at) return false;
    value = load<u64>(at);
  }
  store<u64>(ARGUMENTS, value);
  return true;
}

/** Writes an MSR of the processor's own; `check` is what `place` left. */
function writeOwn(at: usize, value: u64): i32 {
  if (check == CANONICAL && !canonicalWhenWide(value)) return raiseError(13, 0);
  if (check == LOW_32 && value >> 32) return raiseError(13, 0);
  if (check == MEMORY_TYPES && !memoryTypes(value)) return raiseError(13, 0);
  if (check == READ_ONLY || (check == DEBUG_CONTROLS && value & ~DEBUGCTL_BITS)) return raiseError(13, 0);
  if (check == FEATURES && (value & ~FEATURE_BITS || load<u64>(MSR_FEATURE_CONTROL) & FEATURE_LOCK)) return raiseError(13, 0);
  store<u64>(at, value);
  return OK;
}

/** Whether the processor keeps an MSR itself: root mode need not hear of it. */
export function keepsMsr(index: u32): i32 {
  return i32(index == 0x10 || index == 0xc0000080 || place(index) != 0);
}

/** Whether root mode's bitmaps ask for an exit. */
function rootExits(index: u32, write: bool): bool {
  const number = index & 0x3fffffff;
  if (number > 0x1fff) return true;
  const bitmap = ROOT_MSR_BITMAPS + (write ? 0x800 : 0) + (index >>> 31 ? 0x400 : 0);
  return ((load<u8>(bitmap + (number >>> 3)) >>> (number & 7)) & 1) != 0;
}

/** RDMSR: completes the registers of layout.ts, else exits with reason 31. */
export function rdmsr(): i32 {
  const index = load<u32>(RCX);
  if (msrExits(index, false)) return vmExit(EXIT_RDMSR, 0);
  if (readVirtualMsr(index)) return result(load<u64>(ARGUMENTS));
  return !rootExits(index, false) && readOwn(index) ? result(load<u64>(ARGUMENTS)) : exit(EXIT_RDMSR, 0);
}

/** WRMSR: likewise, else exits with reason 32. #GP(0) for a value that the register cannot hold. */
export function wrmsr(): i32 {
  const index = load<u32>(RCX);
  const value = operand();
  if (msrExits(index, true)) return vmExit(EXIT_WRMSR, 0);
  if (ownsVirtualMsr(index)) return writeVirtualMsr(index, value);
  if (rootExits(index, true)) return exit(EXIT_WRMSR, 0);
  if (index == 0xc0000080) return writeEfer(value);
  const at = place(index);
  return at ? writeOwn(at, value) : exit(EXIT_WRMSR, 0);
}

/** An MSR's value into ARGUMENTS, for the areas of VM entry and exit: OK, or FAULTED with #GP(0). */
export function readMsr(index: u32): i32 {
  return readOwn(index) || msrRead(index) ? OK : raiseError(13, 0);
}

/** Writes an MSR on behalf of VM entry or exit: FAULTED with #GP(0) when it cannot hold the value. */
export function writeMsr(index: u32, value: u64): i32 {
  if (index == 0xc0000080) return writeEfer(value);
  const at = place(index);
  if (at) return writeOwn(at, value);
  return msrWrite(index, u32(value), u32(value >> 32)) ? OK : raiseError(13, 0);
}

/** PAT holds the types 0, 1, 4, 5, 6, 7 in each byte. @sdm 3A 12.12.2 */
function memoryTypes(value: u64): bool {
  for (let i: u64 = 0; i < 64; i += 8) {
    const type = u32(value >> i) & 0xff;
    if (type > 7 || type == 2 || type == 3) return false;
  }
  return true;
}

/** @sdm 3A 2.2.1; LMA is read-only, LME fixed while paging is on. */
function writeEfer(value: u64): i32 {
  const before = load<u64>(EFER);
  const after = (value & ~EFER_LMA) | (before & EFER_LMA);
  if (value & ~(load<u64>(EFER_ALLOWED) | EFER_LMA)) return raiseError(13, 0);
  if ((before ^ after) & EFER_LME && load<u64>(CR0) & CR0_PG) return raiseError(13, 0);
  store<u64>(EFER, after);
  if ((before ^ after) & EFER_NXE) flushAll();
  return SYNC;
}

// ---- time and counters --------------------------------------------------------------------------------------------------------
/** RDTSC. Who looks at the time must not see that the preemption timer is late. */
export function rdtsc(): i32 {
  if (load<u64>(CR4) & CR4_TSD && load<u32>(CPL)) return raiseError(13, 0);
  if (primaryExits(PRIMARY_RDTSC)) return vmExit(EXIT_RDTSC, 0);
  if (preemptionTimerExpired()) return vmExit(EXIT_PREEMPTION_TIMER, 0);
  return timeResult();
}

export function rdtscp(): i32 {
  if (disabled(SECONDARY_RDTSCP)) return raise(6);
  if (load<u64>(CR4) & CR4_TSD && load<u32>(CPL)) return raiseError(13, 0);
  if (primaryExits(PRIMARY_RDTSC)) return vmExit(EXIT_RDTSCP, 0);
  if (preemptionTimerExpired()) return vmExit(EXIT_PREEMPTION_TIMER, 0);
  store<u64>(RCX, load<u64>(MSR_TSC_AUX) & 0xffffffff);
  return timeResult();
}

/** RDPID: the value into ARGUMENTS. */
export function rdpid(): i32 {
  if (disabled(SECONDARY_RDTSCP)) return raise(6);
  store<u64>(ARGUMENTS, load<u64>(MSR_TSC_AUX) & 0xffffffff);
  return OK;
}

/** There is no performance counter: every index is #GP(0). */
export function rdpmc(): i32 {
  const allowed = !load<u32>(CPL) || load<u64>(CR4) & CR4_PCE;
  return allowed && primaryExits(PRIMARY_RDPMC) ? vmExit(EXIT_RDPMC, 0) : raiseError(13, 0);
}

// ---- extended state, protection keys ------------------------------------------------------------------------------------------
export function xgetbv(): i32 {
  if (!(load<u64>(CR4) & CR4_OSXSAVE)) return raise(6);
  if (load<u32>(RCX)) return raiseError(13, 0);
  return result(load<u64>(XCR0));
}

/** XSETBV: x87 state is always on, AVX state needs SSE state. @sdm 1 13.3 */
export function xsetbv(): i32 {
  if (!(load<u64>(CR4) & CR4_OSXSAVE)) return raise(6);
  if (load<u32>(NON_ROOT)) return vmExit(EXIT_XSETBV, 0);
  const value = operand();
  if (load<u32>(RCX) || value & ~load<u64>(XCR0_ALLOWED) || !(value & 1) || (value & 6) == 4) return raiseError(13, 0);
  store<u64>(XCR0, value);
  return SYNC;
}

export function rdpkru(): i32 {
  if (!(load<u64>(CR4) & CR4_PKE)) return raise(6);
  if (load<u32>(RCX)) return raiseError(13, 0);
  return result(u64(load<u32>(PKRU)));
}

export function wrpkru(): i32 {
  if (!(load<u64>(CR4) & CR4_PKE)) return raise(6);
  if (load<u32>(RCX) | load<u32>(RDX)) return raiseError(13, 0);
  const value = load<u32>(RAX);
  if (value == load<u32>(PKRU)) return OK;
  store<u32>(PKRU, value);
  flushAll();
  return SYNC;
}

/** RDRAND and (`seed`) RDSEED: always succeed. CF = 1, the other status flags clear. */
export function rdrand(register: u32, size: i32, seed: i32): i32 {
  if (secondaryExits(seed ? SECONDARY_RDSEED : SECONDARY_RDRAND)) return vmExitDecoded(seed ? EXIT_RDSEED : EXIT_RDRAND);
  if (size == 2) store<u16>(register, <u16>random());
  else if (size == 4) store<u64>(register, <u64>random());
  else store<u64>(register, (<u64>random() << 32) | <u64>random());
  writeStatus(1);
  return OK;
}

// ---- instructions that root mode completes, or L1 ----------------------------------------------------------------------------------
export function cpuid(): i32 {
  return load<u32>(NON_ROOT) ? vmExit(EXIT_CPUID, 0) : exit(EXIT_CPUID, 0);
}

export function hlt(): i32 {
  return primaryExits(PRIMARY_HLT) ? vmExit(EXIT_HLT, 0) : exit(EXIT_HLT, 0);
}

/** MONITOR: extensions are #GP(0); no store is watched, so MWAIT may return at once. */
export function monitor(): i32 {
  if (primaryExits(PRIMARY_MONITOR)) return vmExit(EXIT_MONITOR, 0);
  return load<u32>(RCX) ? raiseError(13, 0) : OK;
}

/** MWAIT: extension bit 0 (interrupts break it even when masked) is all there is. */
export function mwait(): i32 {
  if (primaryExits(PRIMARY_MWAIT)) return vmExit(EXIT_MWAIT, 0);
  return load<u32>(RCX) > 1 ? raiseError(13, 0) : exit(EXIT_MWAIT, 0);
}

/** Caches are coherent: in root operation these do nothing. */
export function wbinvd(): i32 {
  return secondaryExits(SECONDARY_WBINVD) ? vmExit(EXIT_WBINVD, 0) : OK;
}

export function invd(): i32 {
  return load<u32>(NON_ROOT) ? vmExit(EXIT_INVD, 0) : OK;
}

/** PAUSE where somebody asks for exits. A nested guest's hypervisor: of each, or of loops at privilege 0 (@sdm 3C 26.1.3). Root mode: of each. */
export function pause(): i32 {
  if (primaryExits(PRIMARY_PAUSE)) return vmExit(EXIT_PAUSE, 0);
  if (secondaryExits(SECONDARY_PAUSE_LOOP) && !load<u32>(CPL) && pauseLoopLasts()) return vmExit(EXIT_PAUSE, 0);
  return load<u32>(ROOT_PRIMARY) & PRIMARY_PAUSE ? exit(EXIT_PAUSE, 0) : OK;
}

function pauseLoopLasts(): bool {
  const now = ownTimeStamp();
  if (now - load<u64>(PAUSE_LOOP_LAST) > get32(PLE_GAP)) store<u64>(PAUSE_LOOP_START, now);
  store<u64>(PAUSE_LOOP_LAST, now);
  if (now - load<u64>(PAUSE_LOOP_START) <= get32(PLE_WINDOW)) return false;
  store<u64>(PAUSE_LOOP_START, now);
  return true;
}
