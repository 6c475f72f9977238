/** Which instructions of a nested guest exit to L1, as its controls and bitmaps say. @sdm 3C 26.1 */
import { CR0_TS } from './bits';
import { umipCheck } from './segments';
import { OK, raise } from './status';
import { get, get32, set } from './vmcs';
import { vmExit, vmExitDecoded } from './vm-exit';
import { pageKind } from './physical';
import { ACTIVE_PRIMARY, ACTIVE_SECONDARY, GPR, MSR_XSS, NON_ROOT, PAGE_MMIO, RAM_BASE } from '../layout';
import * as F from '../../vmx/fields';
import * as C from '../../vmx/control-bits';

const REASON_CR: u32 = 28;
const REASON_DR: u32 = 29;
const REASON_IO: u32 = 30;
const REASON_GDTR_IDTR: u32 = 46;
const REASON_LDTR_TR: u32 = 47;

/** Access types of a control-register exit. */
const MOV_TO: i32 = 0;
const MOV_FROM: i32 = 1;
const CLTS: u64 = 2 << 4;
const LMSW: u64 = 3 << 4;

/** For instructions with a control bit of their own. */
// @ts-ignore: decorator
@inline
export function primaryExits(control: u32): bool {
  return (load<u32>(ACTIVE_PRIMARY) & control) != 0;
}

// @ts-ignore: decorator
@inline
export function secondaryExits(control: u32): bool {
  return (load<u32>(ACTIVE_SECONDARY) & control) != 0;
}

/** True in a nested guest without the control that enables an instruction: #UD. */
// @ts-ignore: decorator
@inline
export function disabled(control: u32): bool {
  return load<u32>(NON_ROOT) != 0 && !(load<u32>(ACTIVE_SECONDARY) & control);
}

// ---- control and debug registers ----------------------------------------------------------------------------------------------------
// @ts-ignore: decorator
@inline
function registerNumber(slot: u32): u64 {
  return u64((slot - GPR) >>> 3) << 8;
}

/** Before MOV to (`access` 0) or from (1) a control register; `register` is the address of the general register. */
export function controlRegisterExit(n: i32, access: i32, register: u32, value: u64): i32 {
  if (!load<u32>(NON_ROOT)) return OK;
  let exits: bool = false;
  if (n == 3) exits = access == MOV_TO ? primaryExits(C.PRIMARY_CR3_LOAD) && !isTarget(value) : primaryExits(C.PRIMARY_CR3_STORE);
  else if (n == 8) exits = primaryExits(access == MOV_TO ? C.PRIMARY_CR8_LOAD : C.PRIMARY_CR8_STORE);
  else if (access == MOV_FROM) exits = false;
  else if (n == 0) exits = ((value ^ get(F.CR0_READ_SHADOW)) & get(F.CR0_GUEST_HOST_MASK)) != 0;
  else if (n == 4) exits = ((value ^ get(F.CR4_READ_SHADOW)) & get(F.CR4_GUEST_HOST_MASK)) != 0;
  return exits ? vmExit(REASON_CR, u64(n | (access << 4)) | registerNumber(register)) : OK;
}

/** Whether a value is one of the CR3-target values. */
function isTarget(value: u64): bool {
  const count = get32(F.CR3_TARGET_COUNT);
  return (count > 0 && value == get(F.CR3_TARGET_VALUE_0)) || (count > 1 && value == get(F.CR3_TARGET_VALUE_1))
    || (count > 2 && value == get(F.CR3_TARGET_VALUE_2)) || (count > 3 && value == get(F.CR3_TARGET_VALUE_3));
}

/** CLTS: OK to go on, else the exit. */
export function cltsExit(): i32 {
  if (!load<u32>(NON_ROOT)) return OK;
  return get(F.CR0_GUEST_HOST_MASK) & get(F.CR0_READ_SHADOW) & CR0_TS ? vmExit(REASON_CR, CLTS) : OK;
}

/** LMSW with a register operand (`linear` is then 0) or a memory operand. It can set PE but not clear it. */
export function lmswExit(value: u32, memory: i32, linear: u64): i32 {
  if (!load<u32>(NON_ROOT)) return OK;
  const shadow = u32(get(F.CR0_READ_SHADOW));
  const mask = u32(get(F.CR0_GUEST_HOST_MASK));
  const exits = ((value ^ shadow) & mask & 0xe) | (value & ~shadow & mask & 1);
  if (!exits) return OK;
  const status = vmExit(REASON_CR, LMSW | (memory ? 0x40 : 0) | (u64(value & 0xffff) << 16));
  set(F.GUEST_LINEAR_ADDRESS, linear);
  return status;
}

/** What a nested guest sees of a control register: bits that L1 owns come from the shadow. */
export function shadowed(n: i32, value: u64): u64 {
  if (!load<u32>(NON_ROOT)) return value;
  if (n == 0) return (value & ~get(F.CR0_GUEST_HOST_MASK)) | (get(F.CR0_READ_SHADOW) & get(F.CR0_GUEST_HOST_MASK));
  if (n == 4) return (value & ~get(F.CR4_GUEST_HOST_MASK)) | (get(F.CR4_READ_SHADOW) & get(F.CR4_GUEST_HOST_MASK));
  return value;
}

/** What a nested guest's write of CR0 or CR4 leaves: bits that L1 owns stay. */
export function maskedWrite(n: i32, before: u64, value: u64): u64 {
  if (!load<u32>(NON_ROOT)) return value;
  const mask = n == 0 ? get(F.CR0_GUEST_HOST_MASK) : get(F.CR4_GUEST_HOST_MASK);
  return (value & ~mask) | (before & mask);
}

/** SMSW shows 16 bits of CR0 or, to a wider register, all of them. */
export function visibleCr0(value: u64): u64 {
  return shadowed(0, value);
}

export function debugRegisterExit(n: i32, access: i32, register: u32): i32 {
  return primaryExits(C.PRIMARY_MOV_DR) ? vmExit(REASON_DR, u64(n | (access << 4)) | registerNumber(register)) : OK;
}

// ---- descriptor tables --------------------------------------------------------------------------------------------------------------
export function descriptorTableExit(local: i32): i32 {
  return secondaryExits(C.SECONDARY_DESCRIPTOR_TABLES) ? vmExitDecoded(local ? REASON_LDTR_TR : REASON_GDTR_IDTR) : OK;
}

/** SGDT, SIDT, SLDT, STR: the check of UMIP comes first. */
export function descriptorStoreExit(local: i32): i32 {
  const status = umipCheck();
  return status == OK ? descriptorTableExit(local) : status;
}

// ---- bitmaps ------------------------------------------------------------------------------------------------------------------------
/** A byte of guest-physical memory, ones where there is none. */
function byteAt(address: u64): u32 {
  return pageKind(address) == PAGE_MMIO ? 0xff : load<u8>(RAM_BASE + <u32>address);
}

function portBit(port: u32): u32 {
  const bitmap = port & 0x8000 ? get(F.IO_BITMAP_B) : get(F.IO_BITMAP_A);
  return (byteAt(bitmap + u64((port & 0x7fff) >>> 3)) >>> (port & 7)) & 1;
}

/** Whether an access to `size` ports from `port` on exits. One that wraps around does. */
function portExits(port: u32, size: i32): bool {
  if (!primaryExits(C.PRIMARY_IO_BITMAPS)) return primaryExits(C.PRIMARY_UNCONDITIONAL_IO);
  if ((port & 0xffff) + u32(size) > 0x10000) return true;
  for (let i = 0; i < size; i++) if (portBit((port & 0xffff) + u32(i))) return true;
  return false;
}

export function portExit(port: u32, size: i32, qualification: u64): i32 {
  return portExits(port, size) ? vmExit(REASON_IO, qualification) : OK;
}

/** INS and OUTS: `linear` is the address of the memory operand. */
export function stringPortExit(port: u32, size: i32, qualification: u64, linear: u64, addressSize: i32, segment: i32): i32 {
  const status = portExit(port, size, qualification);
  if (status != OK) {
    set(F.GUEST_LINEAR_ADDRESS, linear);
    set(F.EXIT_INSTRUCTION_INFORMATION, ((addressSize >> 2) << 7) | (segment << 15));
  }
  return status;
}

/** Whether RDMSR, or WRMSR, of an index exits. */
export function msrExits(index: u32, write: bool): bool {
  if (!load<u32>(NON_ROOT)) return false;
  if (!primaryExits(C.PRIMARY_MSR_BITMAPS)) return true;
  const high = index >= 0xc0000000;
  const number = high ? index - 0xc0000000 : index;
  if (number > 0x1fff) return true;
  const at = get(F.MSR_BITMAPS) + (write ? 0x800 : 0) + (high ? 0x400 : 0) + u64(number >>> 3);
  return ((byteAt(at) >>> (number & 7)) & 1) != 0;
}

/** XSAVES and XRSTORS: #UD without their control, the exit for the state components that L1 chose. */
export function supervisorStateExit(restore: i32): i32 {
  if (disabled(C.SECONDARY_XSAVES)) return raise(6);
  if (!load<u32>(NON_ROOT)) return OK;
  const components = u64(load<u32>(GPR)) | (u64(load<u32>(GPR + 16)) << 32);
  return components & get(F.XSS_EXITING_BITMAP) & load<u64>(MSR_XSS) ? vmExitDecoded(restore ? 64 : 63) : OK;
}
