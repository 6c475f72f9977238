/** SYSCALL, SYSRET, SYSENTER, SYSEXIT and SWAPGS: no table is read, so the segments are written as constants. @sdm 3A 5.8.7, 5.8.8 */
import { CR0_PE, EFER_SCE, IF, RF, TF, VM } from './bits';
import { transferred } from './code-segments';
import { clearUpperHalves, longModeActive, refreshFlatness, segment, setFlatness, setPrivilege, setStackSize } from './descriptors';
import { STEPPED, readFlags, writeFlags } from './flags';
import { canonical } from './paging';
import { raise, raiseError } from './status';
import {
  CODE_SIZE, CR0, CS, EFER, EFLAGS, GPR, GS, MSR_KERNEL_GS_BASE, MSR_LSTAR, MSR_SFMASK, MSR_STAR, MSR_SYSENTER_CS, MSR_SYSENTER_EIP,
  MSR_SYSENTER_ESP, NEXT_RIP, REAL_SEGMENTS, RIP, SEG_ACCESS, SEG_BASE, SEG_LIMIT, SEG_SELECTOR, SS,
} from '../layout';

const RCX: usize = GPR + 8;
const RDX: usize = GPR + 16;
const RSP: usize = GPR + 32;
const R11: usize = GPR + 88;

/** Accessed, present, 4 GiB; DPL 0. */
const CODE_32: u32 = 0xc09b;
const CODE_64: u32 = 0xa09b;
const DATA: u32 = 0xc093;
const DPL_3: u32 = 0x60;

// @ts-ignore: decorator
@inline
function flatSegment(index: i32, selector: u32, access: u32, flat: u32): void {
  const at = segment(index);
  store<u16>(at, u16(selector), SEG_SELECTOR);
  store<u64>(at, 0, SEG_BASE);
  store<u32>(at, 0xffffffff, SEG_LIMIT);
  store<u32>(at, access, SEG_ACCESS);
  setFlatness(index, flat);
}

/** Loads CS and SS as flat segments at a privilege level (`dpl` is 0 or DPL_3). */
// @ts-ignore: decorator
@inline
function enterFlat(code: u32, stack: u32, access: u32, dpl: u32): void {
  const long = access == CODE_64;
  const before = load<u32>(CODE_SIZE);
  store<u32>(CODE_SIZE, long ? 2 : 1);
  setStackSize(long ? 2 : 1);
  flatSegment(CS, code, access | dpl, long ? 3 : 1);
  flatSegment(SS, stack, DATA | dpl, 3);
  setPrivilege(dpl ? 3 : 0);
  if ((before == 2) != long) refreshFlatness();
  if (!long) clearUpperHalves();
}

/** SYSCALL, which Intel has in 64-bit mode only. @sdm 2B SYSCALL */
export function syscall(): i32 {
  if (!(load<u64>(EFER) & EFER_SCE) || load<u32>(CODE_SIZE) != 2) return raise(6);
  const flags = readFlags() & ~u64(RF);
  store<u64>(RCX, load<u64>(NEXT_RIP));
  store<u64>(R11, flags);
  writeFlags(flags & ~load<u64>(MSR_SFMASK), 0x3f7fd5 & ~u64(VM));
  const selector = u32(load<u64>(MSR_STAR) >> 32);
  enterFlat(selector & 0xfffc, (selector & 0xfffc) + 8, CODE_64, 0);
  store<u64>(RIP, load<u64>(MSR_LSTAR));
  store<u32>(STEPPED, load<u32>(STEPPED) & load<u32>(EFLAGS) & TF);
  return transferred();
}

/** SYSRET to compatibility (`opSize` 4) or 64-bit mode (8). @sdm 2B SYSRET */
export function sysret(opSize: i32): i32 {
  if (!(load<u64>(EFER) & EFER_SCE) || load<u32>(CODE_SIZE) != 2) return raise(6);
  const target = load<u64>(RCX);
  if (opSize == 8 && !canonical(target)) return raiseError(13, 0);
  writeFlags(load<u64>(R11) & ~u64(RF), 0x3d7fd5);
  const selector = u32(load<u64>(MSR_STAR) >> 48);
  if (opSize == 8) enterFlat((selector + 16) | 3, (selector + 8) | 3, CODE_64, DPL_3);
  else enterFlat(selector | 3, (selector + 8) | 3, CODE_32, DPL_3);
  store<u64>(RIP, opSize == 8 ? target : target & 0xffffffff);
  return transferred();
}

/** SYSENTER. @sdm 2B SYSENTER */
export function sysenter(): i32 {
  const selector = u32(load<u64>(MSR_SYSENTER_CS)) & 0xfffc;
  if (!(load<u64>(CR0) & CR0_PE) || selector == 0) return raiseError(13, 0);
  const long = longModeActive();
  store<u32>(EFLAGS, load<u32>(EFLAGS) & ~(VM | IF | RF));
  store<u32>(REAL_SEGMENTS, 0);
  enterFlat(selector, selector + 8, long ? CODE_64 : CODE_32, 0);
  store<u64>(RSP, long ? load<u64>(MSR_SYSENTER_ESP) : load<u64>(MSR_SYSENTER_ESP) & 0xffffffff);
  store<u64>(RIP, long ? load<u64>(MSR_SYSENTER_EIP) : load<u64>(MSR_SYSENTER_EIP) & 0xffffffff);
  return transferred();
}

/** SYSEXIT. @sdm 2B SYSEXIT */
export function sysexit(opSize: i32): i32 {
  const selector = u32(load<u64>(MSR_SYSENTER_CS)) & 0xfffc;
  if (!(load<u64>(CR0) & CR0_PE) || selector == 0) return raiseError(13, 0);
  const pointer = load<u64>(RCX);
  const target = load<u64>(RDX);
  if (opSize == 8) {
    if (!canonical(pointer) || !canonical(target)) return raiseError(13, 0);
    enterFlat((selector + 32) | 3, (selector + 40) | 3, CODE_64, DPL_3);
    store<u64>(RSP, pointer);
    store<u64>(RIP, target);
  } else {
    enterFlat((selector + 16) | 3, (selector + 24) | 3, CODE_32, DPL_3);
    store<u64>(RSP, pointer & 0xffffffff);
    store<u64>(RIP, target & 0xffffffff);
  }
  return transferred();
}

/** SWAPGS. OK. */
export function swapgs(): i32 {
  const base = load<u64>(segment(GS), SEG_BASE);
  store<u64>(segment(GS), load<u64>(MSR_KERNEL_GS_BASE), SEG_BASE);
  store<u64>(MSR_KERNEL_GS_BASE, base);
  return 0;
}
