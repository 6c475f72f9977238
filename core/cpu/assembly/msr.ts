/** Model-specific registers that live in the processor's state, the time-stamp counter, XCR0, PKRU, and instructions that always exit. */
import { CR0_PG, CR4_OSXSAVE, CR4_PKE, CR4_TSD, EFER_LMA, EFER_LME, EFER_NXE } from './bits';
import { segment } from './descriptors';
import { timestamp } from './imports';
import { canonicalWhenWide } from './paging';
import { OK, SYNC, exit, raise, raiseError } from './status';
import { flushAll } from './tlb';
import {
  ARGUMENTS, CPL, CR0, CR4, EFER, EFER_ALLOWED, FS, GPR, GS, MSR_CSTAR, MSR_KERNEL_GS_BASE, MSR_LSTAR, MSR_PAT, MSR_SFMASK, MSR_STAR,
  MSR_SYSENTER_CS, MSR_SYSENTER_EIP, MSR_SYSENTER_ESP, MSR_TSC_AUX, PKRU, SEG_BASE, TSC_OFFSET, XCR0, XCR0_ALLOWED,
} from '../layout';

const RAX: usize = GPR;
const RCX: usize = GPR + 8;
const RDX: usize = GPR + 16;

/** Basic exit reasons. @sdm 3C C */
const EXIT_CPUID: u32 = 10;
const EXIT_HLT: u32 = 12;
const EXIT_RDMSR: u32 = 31;
const EXIT_WRMSR: u32 = 32;
const EXIT_MWAIT: u32 = 36;

/** How a value is checked before it is written. */
const ANY: i32 = 0;
const CANONICAL: i32 = 1;
const LOW_32: i32 = 2;
const MEMORY_TYPES: i32 = 3;
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
  check = MEMORY_TYPES;
  if (index == 0x277) return MSR_PAT;
  return 0;
}

/** EDX:EAX, both zero-extended. */
// @ts-ignore: decorator
@inline
function result(value: u64): i32 {
  store<u64>(RAX, value & 0xffffffff);
  store<u64>(RDX, value >> 32);
  return OK;
}

// @ts-ignore: decorator
@inline
function operand(): u64 {
  return u64(load<u32>(RAX)) | (u64(load<u32>(RDX)) << 32);
}

// @ts-ignore: decorator
@inline
function timeStamp(): u64 {
  return u64(timestamp()) + load<u64>(TSC_OFFSET);
}

/** RDMSR: completes the registers of layout.ts, else exits with reason 31. */
export function rdmsr(): i32 {
  const index = load<u32>(RCX);
  if (index == 0x10) return result(timeStamp());
  if (index == 0xc0000080) return result(load<u64>(EFER));
  const at = place(index);
  return at ? result(load<u64>(at)) : exit(EXIT_RDMSR, 0);
}

/** WRMSR: likewise, else exits with reason 32. #GP(0) for a value that the register cannot hold. */
export function wrmsr(): i32 {
  const index = load<u32>(RCX);
  const value = operand();
  if (index == 0xc0000080) return writeEfer(value);
  const at = place(index);
  if (!at) return exit(EXIT_WRMSR, 0);
  if (check == CANONICAL && !canonicalWhenWide(value)) return raiseError(13, 0);
  if (check == LOW_32 && value >> 32) return raiseError(13, 0);
  if (check == MEMORY_TYPES && !memoryTypes(value)) return raiseError(13, 0);
  store<u64>(at, value);
  return OK;
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
export function rdtsc(): i32 {
  if (load<u64>(CR4) & CR4_TSD && load<u32>(CPL)) return raiseError(13, 0);
  return result(timeStamp());
}

export function rdtscp(): i32 {
  if (load<u64>(CR4) & CR4_TSD && load<u32>(CPL)) return raiseError(13, 0);
  store<u64>(RCX, load<u64>(MSR_TSC_AUX) & 0xffffffff);
  return result(timeStamp());
}

/** RDPID: the value into ARGUMENTS. */
export function rdpid(): i32 {
  store<u64>(ARGUMENTS, load<u64>(MSR_TSC_AUX) & 0xffffffff);
  return OK;
}

/** There is no performance counter: every index is #GP(0). */
export function rdpmc(): i32 {
  return raiseError(13, 0);
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

// ---- instructions that root mode completes ------------------------------------------------------------------------------------
export function cpuid(): i32 {
  return exit(EXIT_CPUID, 0);
}

export function hlt(): i32 {
  return exit(EXIT_HLT, 0);
}

/** MONITOR: extensions are #GP(0); no store is watched, so MWAIT may return at once. */
export function monitor(): i32 {
  return load<u32>(RCX) ? raiseError(13, 0) : OK;
}

/** MWAIT: extension bit 0 (interrupts break it even when masked) is all there is. */
export function mwait(): i32 {
  return load<u32>(RCX) > 1 ? raiseError(13, 0) : exit(EXIT_MWAIT, 0);
}

/** WBINVD, INVD: caches are coherent. */
export function wbinvd(): i32 {
  return OK;
}

export function invd(): i32 {
  return OK;
}

export function pause(): i32 {
  return OK;
}
