/**
 * RFLAGS: the lazy status flags, their image, and the instructions that load or store it.
 *
 * One combination does not fit `F_RES`: ZF and SF both set, which only an image can ask for. Bit 31 of F_PARITY holds that SF.
 */
import { AC, IF, IOPL, RF, STATUS_FLAGS, TF, VIF, VIP, VM, CR4_PVI, CR4_VME } from './bits';
import { OK, SYNC, raiseError } from './status';
import { alignmentChecked, flushAccessCheck, flushUserData } from './tlb';
import { PRIMARY_MONITOR_TRAP } from '../../vmx/control-bits';
import {
  ACTIVE_PRIMARY, CPL, CR0, CR4, DR7, EFLAGS, AUX_DERIVED, AUX_STEPPED, AUX_SHORT, F_AUX, F_CX, F_CY, F_PARITY, F_RES, HELPER_STATE, INTERRUPTIBILITY, INTERRUPT_WINDOW, NEXT_RIP,
  PENDING_DEBUG, REAL_SEGMENTS, RIP, STEP_REASON,
} from '../layout';

/** Bits of STEP_REASON. */
export const STEP_TRAP: u32 = 1;
/** A debug exception is pending in PENDING_DEBUG. */
export const STEP_PENDING: u32 = 2;
export const STEP_BREAKPOINTS: u32 = 16;
export const STEP_SHADOW: u32 = 4;
export const STEP_RESUME: u32 = 8;
/** The monitor trap flag of a nested guest. */
const STEP_MONITOR: u32 = 32;

/** u64: RIP of the instruction that the last STI or load of SS protects from interrupts; 0 = none. Offsets 0x200 to 0x3ff of HELPER_STATE are ours. */
export const SHADOW_RIP: usize = HELPER_STATE + 0x200;
/** u32: TF as it was before the instruction being stepped; cleared when the instruction is of those that raise no trap. */
export const STEPPED: usize = HELPER_STATE + 0x208;
/** u32: nonzero when the instruction being stepped loaded RF, which then lasts for one more instruction. */
export const RESUME_SET: usize = HELPER_STATE + 0x210;
/** u32: what SHADOW_RIP's instruction is protected by, as INTERRUPTIBILITY says it: 1 = STI, 2 = load of SS. */
export const SHADOW_KIND: usize = HELPER_STATE + 0x214;

/** OF. */
export function overflows(): bool {
  const aux = load<u32>(F_AUX);
  if (aux & AUX_STEPPED) return (load<u64>(F_RES) ^ <u64>(<i64>(<i32>aux >> 31))) << (aux >>> AUX_SHORT) == 0x8000000000000000;
  const x = load<u64>(F_CX);
  const y = load<u64>(F_CY);
  return <i64>(((x ^ y) & (x ^ (x - y))) << (aux >>> AUX_SHORT)) < 0;
}

/** RFLAGS with every bit materialised. */
export function readFlags(): u64 {
  const result = load<i64>(F_RES);
  const image = load<u32>(F_PARITY);
  let flags = load<u32>(EFLAGS) | 2;
  const x = load<u64>(F_CX);
  const y = load<u64>(F_CY);
  const aux = load<u32>(F_AUX);
  flags |= u32(x < y);
  flags |= u32(~popcnt((u32(result) ^ image) & 0xff) & 1) << 2;
  flags |= (aux & AUX_DERIVED ? u32(x ^ y ^ (x - y)) : aux) & 0x10;
  flags |= u32(result == 0) << 6;
  flags |= (u32(u64(result) >>> 63) ^ (image >>> 31)) << 7;
  flags |= u32(overflows()) << 11;
  return u64(flags);
}

/** F_AUX and F_PARITY, at once: regions load them as one, and a load that two stores must be gathered for waits until both are in the cache. */
// @ts-ignore: decorator
@inline
export function storeAux(aux: u32, parity: u32): void {
  store<u64>(F_AUX, <u64>aux | (<u64>parity << 32));
}

/** Sets the six lazy status flags from an image. */
export function writeStatus(flags: u32): void {
  const zero = (flags >>> 6) & 1;
  const sign = (flags >>> 7) & 1;
  // Low byte 1 or 0: one or no bit of parity to be corrected by F_PARITY.
  const result: i64 = zero ? 0 : sign ? i64.MIN_VALUE | 1 : 1;
  const odd = ((flags >>> 2) & 1) ^ 1;
  store<i64>(F_RES, result);
  storeAux(flags & 0x10, (u32(result) & 1 ^ odd) | ((zero & sign) << 31));
  const carry = u64(flags & 1);
  const doubled = (carry << 63) | ((carry ^ u64((flags >>> 11) & 1)) << 62);
  store<u64>(F_CX, doubled << 1);
  store<u64>(F_CY, doubled);
}

/** Sets the bits of RFLAGS under `mask`. The caller refreshes the mode when it changes VM. */
export function writeFlags(value: u64, mask: u64): void {
  const select = u32(mask);
  const status = select & STATUS_FLAGS;
  if (status == STATUS_FLAGS) writeStatus(u32(value));
  else if (status != 0) writeStatus((u32(readFlags()) & ~status) | (u32(value) & status));
  const other = select & ~STATUS_FLAGS;
  if (other != 0) {
    const before = load<u32>(EFLAGS);
    const after = (before & ~other) | (u32(value) & other) | 2;
    store<u32>(EFLAGS, after);
    const changed = before ^ after;
    if (changed & (TF | RF)) updateStepReason();
    if (changed & AC) {
      flushAccessCheck();
      if (alignmentChecked()) flushUserData();
    }
  }
}

/** Sets ZF and keeps the other status flags. */
export function setZF(zero: bool): void {
  writeStatus((u32(readFlags()) & ~0x40) | (u32(zero) << 6));
}

/** Recomputes STEP_REASON from TF, RF, DR7 and the interrupt shadow. */
export function updateStepReason(): void {
  let reason: u32 = 0;
  const flags = load<u32>(EFLAGS);
  const breakpoints = u32(load<u64>(DR7)) & 0xff;
  if (flags & TF) reason |= STEP_TRAP;
  if (breakpoints) {
    reason |= STEP_BREAKPOINTS;
    if (flags & RF) reason |= STEP_RESUME;
  }
  if (load<u32>(INTERRUPTIBILITY) & 3) reason |= STEP_SHADOW;
  if (load<u64>(PENDING_DEBUG)) reason |= STEP_PENDING;
  if (load<u32>(ACTIVE_PRIMARY) & PRIMARY_MONITOR_TRAP) reason |= STEP_MONITOR;
  store<u32>(STEP_REASON, reason);
}

// @ts-ignore: decorator
@inline
export function iopl(): u32 {
  return (load<u32>(EFLAGS) >>> 12) & 3;
}

// @ts-ignore: decorator
@inline
export function virtual8086(): bool {
  return (load<u32>(EFLAGS) & VM) != 0;
}

/** SYNC when the flags just changed need the outer loop: an interrupt can now be taken, or instructions are stepped. */
function afterFlags(before: u32): i32 {
  const after = load<u32>(EFLAGS);
  if ((after & ~before & IF) && load<u32>(INTERRUPT_WINDOW)) return SYNC;
  if (((after ^ before) & AC) || load<u32>(STEP_REASON)) return SYNC;
  return OK;
}

/** POPF, POPFD, POPFQ with the image already read. @sdm 2B POPF */
export function popFlags(value: u64, opSize: i32): i32 {
  const before = load<u32>(EFLAGS);
  let image = u32(value);
  // CF PF AF ZF SF TF DF OF NT, and AC ID in the wide forms.
  let mask: u32 = 0x4dd5;
  if (opSize != 2) mask |= 0x240000;
  const level = load<u32>(CPL);
  if (!(before & VM)) {
    if (level == 0) mask |= IF | IOPL;
    else if (level <= iopl()) mask |= IF;
  } else if (iopl() == 3) {
    mask |= IF;
  } else {
    if (opSize != 2 || !(load<u64>(CR4) & CR4_VME)) return raiseError(13, 0);
    if ((image & TF) || ((image & IF) && (before & VIP))) return raiseError(13, 0);
    image = (image & ~VIF) | ((image & IF) << 10);
    mask |= VIF;
  }
  writeFlags(u64(image & ~RF), u64(mask | RF));
  return afterFlags(before);
}

/** The image that PUSHF stores; sets FAULT in virtual-8086 mode where it is not allowed. @sdm 2B PUSHF */
export function pushFlagsImage(opSize: i32): u64 {
  let image = readFlags();
  if (image & u64(VM) && iopl() < 3) {
    if (opSize != 2 || !(load<u64>(CR4) & CR4_VME)) {
      raiseError(13, 0);
      return 0;
    }
    image = (image & ~u64(IF)) | u64(IOPL) | ((image & u64(VIF)) >> 10);
  }
  return image & ~u64(RF | VM);
}

/** Which flag CLI and STI act on: IF, VIF, or 0 for #GP. @sdm 2A CLI, table 3-7 */
function interruptFlag(): u32 {
  if (!(load<u64>(CR0) & 1)) return IF;
  if (iopl() >= load<u32>(CPL)) return IF;
  const cr4 = load<u64>(CR4);
  if (virtual8086()) return cr4 & CR4_VME ? VIF : 0;
  return load<u32>(CPL) == 3 && cr4 & CR4_PVI ? VIF : 0;
}

export function cli(): i32 {
  const flag = interruptFlag();
  if (flag == 0) return raiseError(13, 0);
  store<u32>(EFLAGS, load<u32>(EFLAGS) & ~flag);
  return OK;
}

/**
 * STI. The shadow of one instruction is only put into INTERRUPTIBILITY when somebody waits for the interrupt window (SYNC); otherwise
 * SHADOW_RIP remembers it, for a slice that ends right here (`interruptShadow`). @sdm 2B STI
 */
export function sti(): i32 {
  const flag = interruptFlag();
  const before = load<u32>(EFLAGS);
  if (flag == 0 || (flag == VIF && before & VIP)) return raiseError(13, 0);
  store<u32>(EFLAGS, before | flag);
  if (flag != IF || before & IF) return OK;
  if (load<u32>(INTERRUPT_WINDOW)) {
    store<u32>(INTERRUPTIBILITY, load<u32>(INTERRUPTIBILITY) | 1);
    updateStepReason();
    return SYNC;
  }
  store<u64>(SHADOW_RIP, load<u64>(NEXT_RIP));
  store<u32>(SHADOW_KIND, 1);
  return OK;
}

// ---- interrupt shadows ----------------------------------------------------------------------------------------------------------
/** The shadow of STI or of a load of SS is over. */
export function endShadow(): void {
  store<u64>(SHADOW_RIP, 0);
  const blocking = load<u32>(INTERRUPTIBILITY);
  if (blocking & 3) {
    store<u32>(INTERRUPTIBILITY, blocking & ~3);
    updateStepReason();
  }
}

/**
 * For root mode, between slices: nonzero when the next instruction is still protected by STI or MOV SS. Then INTERRUPTIBILITY and
 * STEP_REASON say so too, and the shadow ends with that instruction.
 */
export function interruptShadow(): i32 {
  if (load<u64>(SHADOW_RIP) == load<u64>(RIP) && load<u64>(SHADOW_RIP) != 0) {
    store<u32>(INTERRUPTIBILITY, load<u32>(INTERRUPTIBILITY) | load<u32>(SHADOW_KIND));
    updateStepReason();
  }
  store<u64>(SHADOW_RIP, 0);
  return i32(load<u32>(INTERRUPTIBILITY) & 3);
}

/** STAC and CLAC (CPL 0 and CR4.SMAP are checked by the opcode table). */
export function stac(): i32 {
  writeFlags(u64(AC), u64(AC));
  return OK;
}

export function clac(): i32 {
  writeFlags(0, u64(AC));
  return OK;
}

/** True in real-address and virtual-8086 mode. */
// @ts-ignore: decorator
@inline
export function realSegments(): bool {
  return load<u32>(REAL_SEGMENTS) != 0;
}
