/** The VMX instructions but for VM entries. @sdm 3C 31 */
import { hypercall } from './imports';
import { CR4_VMXE } from './bits';
import { longModeActive } from './descriptors';
import { writeStatus } from './flags';
import { readU64, writeU32, writeU64 } from './memory';
import { pageKind } from './physical';
import { FAULTED, OK, SYNC, faulted, raise, raiseError } from './status';
import { REGION_LAUNCHED, SHADOW_INDICATOR, acquireVmcs, currentVmcs, fieldOffset, get, physicalHost, releaseVmcs, set } from './vmcs';
import { flushAll } from './tlb';
import { forgetNested } from './tlb-context';
import { secondaryExits } from './vm-controls';
import { vmExit, vmExitDecoded } from './vm-exit';
import {
  CODE_SIZE, CPL, CR0, CR4, CR4_ALLOWED, CURRENT_VMCS, FIELD_EXISTS, FIELD_WIDTH_SHIFT, GPR, INIT_BLOCKED, MSR_FEATURE_CONTROL, NON_ROOT, PAGE_MMIO,
  PHYS_RESERVED, RAM_BASE, REAL_SEGMENTS, VMCS, VMCS_CHECKED, VMCS_FIELDS, VMXON_POINTER, VMX_CAPABILITIES, VMX_OPERATION,
} from '../layout';
import { EPTP_INDEX, EPTP_LIST_ADDRESS, EPT_POINTER, VMCS_LINK_POINTER, VMREAD_BITMAP_ADDRESS, VMWRITE_BITMAP_ADDRESS, VM_FUNCTION_CONTROLS, VM_INSTRUCTION_ERROR } from '../../vmx/fields';
import { SECONDARY_SHADOWING, SECONDARY_VIRTUALIZATION_EXCEPTION, SECONDARY_VM_FUNCTIONS } from '../../vmx/control-bits';

const REASON_VMCALL: u32 = 18;
const REASON_VMCLEAR: u32 = 19;
const REASON_VMPTRLD: u32 = 21;
const REASON_VMPTRST: u32 = 22;
const REASON_VMREAD: u32 = 23;
const REASON_VMWRITE: u32 = 25;
const REASON_VMXOFF: u32 = 26;
const REASON_VMXON: u32 = 27;
const REASON_VMFUNC: u32 = 59;

/** VM-instruction errors. @sdm 3C 31.4 */
const ERROR_VMCALL: u32 = 1;
const ERROR_VMCLEAR_ADDRESS: u32 = 2;
const ERROR_VMCLEAR_VMXON: u32 = 3;
const ERROR_VMPTRLD_ADDRESS: u32 = 9;
const ERROR_VMPTRLD_VMXON: u32 = 10;
const ERROR_VMPTRLD_REVISION: u32 = 11;
const ERROR_COMPONENT: u32 = 12;
const ERROR_READ_ONLY: u32 = 13;
const ERROR_VMXON_IN_ROOT: u32 = 15;
const ERROR_OPERAND: u32 = 28;

/** IA32_FEATURE_CONTROL: locked, VMXON allowed outside SMX. */
const FEATURES_ENABLED: u32 = 5;
/** Capability MSRs by their place. */
const CR0_FIXED: usize = VMX_CAPABILITIES + 6 * 8;
const CR4_FIXED: usize = VMX_CAPABILITIES + 8 * 8;

const NO_POINTER: u64 = 0xffffffffffffffff;
const STATUS_CF: u32 = 1;
const STATUS_ZF: u32 = 0x40;

function vmSucceed(): i32 {
  writeStatus(0);
  return OK;
}

export function vmFailInvalid(): i32 {
  writeStatus(STATUS_CF);
  return OK;
}

/** VMfailValid with an error number, VMfailInvalid when there is no current VMCS to hold it. */
export function vmFailValid(error: u32): i32 {
  if (!load<u64>(CURRENT_VMCS)) return vmFailInvalid();
  set(VM_INSTRUCTION_ERROR, error);
  writeStatus(STATUS_ZF);
  return OK;
}

/** Not recognised in real, virtual-8086 and compatibility mode. */
// @ts-ignore: decorator
@inline
function wrongMode(): bool {
  return load<u32>(REAL_SEGMENTS) != 0 || (longModeActive() && load<u32>(CODE_SIZE) != 2);
}

/** What comes before all else: #UD, the exit to L1 (which gets the operands described when `decoded`), #GP(0). */
function admit(reason: u32, decoded: bool): i32 {
  if (!load<u32>(VMX_OPERATION) || wrongMode()) return raise(6);
  if (load<u32>(NON_ROOT)) return decoded ? vmExitDecoded(reason) : vmExit(reason, 0);
  return load<u32>(CPL) ? raiseError(13, 0) : OK;
}

/** For instructions without operands. */
export function vmxAdmit(reason: u32): i32 {
  return admit(reason, false);
}

/** For instructions with operands: before these are looked at. */
export function vmxAdmitOperands(reason: i32): i32 {
  return admit(reason, true);
}

/** A pointer to a region: aligned, no address bit that does not exist. */
// @ts-ignore: decorator
@inline
function pointerValid(pointer: u64): bool {
  return !(pointer & 0xfff) && !(pointer & (load<u64>(PHYS_RESERVED) | 0xfff0000000000000));
}

function revisionAt(pointer: u64): u32 {
  return pageKind(pointer) == PAGE_MMIO ? 0xffffffff : load<u32>(RAM_BASE + <u32>pointer);
}

// @ts-ignore: decorator
@inline
function revision(): u32 {
  return load<u32>(VMX_CAPABILITIES);
}

/** Whether `cr0` and `cr4` hold what VMX operation requires. `guest`: PE and PG are free (unrestricted guest). @sdm 3C 24.8 */
export function fixedCr0(cr0: u64, unrestricted: bool): bool {
  const required = load<u64>(CR0_FIXED) & (unrestricted ? ~(<u64>0x80000001) : ~(<u64>0));
  return (cr0 & required) == required && !(cr0 >> 32);
}

export function fixedCr4(cr4: u64): bool {
  const required = load<u64>(CR4_FIXED);
  return (cr4 & required) == required && !(cr4 & ~load<u64>(CR4_ALLOWED));
}

/** Before VMXON looks at its operand. @sdm 3C 31.3 VMXON */
export function vmxonAdmit(): i32 {
  if (!(load<u64>(CR4) & CR4_VMXE) || wrongMode()) return raise(6);
  if (load<u32>(NON_ROOT)) return vmExitDecoded(REASON_VMXON);
  if (load<u32>(CPL)) return raiseError(13, 0);
  if (load<u32>(VMX_OPERATION)) return OK;
  const enabled = (load<u32>(MSR_FEATURE_CONTROL) & FEATURES_ENABLED) == FEATURES_ENABLED;
  return enabled && fixedCr0(load<u64>(CR0), false) && fixedCr4(load<u64>(CR4)) ? OK : raiseError(13, 0);
}

export function vmxon(operand: u64): i32 {
  const pointer = readU64(operand);
  if (faulted()) return FAULTED;
  if (load<u32>(VMX_OPERATION)) return vmFailValid(ERROR_VMXON_IN_ROOT);
  if (!pointerValid(pointer) || revisionAt(pointer) != revision()) return vmFailInvalid();
  store<u32>(VMX_OPERATION, 1);
  store<u64>(VMXON_POINTER, pointer);
  store<u64>(CURRENT_VMCS, 0);
  return vmSucceed();
}

export function vmxoff(): i32 {
  const admitted = vmxAdmit(REASON_VMXOFF);
  if (admitted != OK) return admitted;
  releaseVmcs();
  store<u32>(VMX_OPERATION, 0);
  const status = vmSucceed();
  return load<u32>(INIT_BLOCKED) ? SYNC : status;
}

/** In non-root operation VMCALL exits at every privilege and in every mode: to L1 from its guest, else to root mode, which may want nothing of it. */
export function vmcall(): i32 {
  if (load<u32>(NON_ROOT)) return vmExit(REASON_VMCALL, 0);
  if (hypercall()) return OK;
  if (!load<u32>(VMX_OPERATION)) return raise(6);
  if (wrongMode()) return raise(6);
  return load<u32>(CPL) ? raiseError(13, 0) : vmFailValid(ERROR_VMCALL);
}

export function vmclear(operand: u64): i32 {
  const pointer = readU64(operand);
  if (faulted()) return FAULTED;
  if (!pointerValid(pointer)) return vmFailValid(ERROR_VMCLEAR_ADDRESS);
  if (pointer == load<u64>(VMXON_POINTER)) return vmFailValid(ERROR_VMCLEAR_VMXON);
  if (pointer == currentVmcs()) releaseVmcs();
  const region = physicalHost(pointer, 4096);
  if (region) store<u32>(region, 0, REGION_LAUNCHED);
  return vmSucceed();
}

export function vmptrld(operand: u64): i32 {
  const pointer = readU64(operand);
  if (faulted()) return FAULTED;
  if (!pointerValid(pointer)) return vmFailValid(ERROR_VMPTRLD_ADDRESS);
  if (pointer == load<u64>(VMXON_POINTER)) return vmFailValid(ERROR_VMPTRLD_VMXON);
  if (pointer == currentVmcs()) return vmSucceed();
  if ((revisionAt(pointer) & ~SHADOW_INDICATOR) != revision()) return vmFailValid(ERROR_VMPTRLD_REVISION);
  acquireVmcs(pointer);
  return vmSucceed();
}

export function vmptrst(operand: u64): i32 {
  writeU64(operand, currentVmcs());
  return faulted() ? FAULTED : vmSucceed();
}

/** VMFUNC: function 0 switches to another EPT pointer of the list. @sdm 3C 26.5.6 */
export function vmfunc(): i32 {
  if (!secondaryExits(SECONDARY_VM_FUNCTIONS)) return raise(6);
  const index = load<u32>(GPR + 8);
  if (load<u32>(GPR) != 0 || !(get(VM_FUNCTION_CONTROLS) & 1) || index > 511) return vmExit(REASON_VMFUNC, 0);
  const at = get(EPTP_LIST_ADDRESS) + u64(index << 3);
  const pointer = pageKind(at) == PAGE_MMIO ? NO_POINTER : load<u64>(RAM_BASE + <u32>at);
  if (!eptPointerValid(pointer)) return vmExit(REASON_VMFUNC, 0);
  set(EPT_POINTER, pointer);
  if (secondaryExits(SECONDARY_VIRTUALIZATION_EXCEPTION)) set(EPTP_INDEX, index);
  flushAll();
  return SYNC;
}

// ---- VMREAD and VMWRITE -------------------------------------------------------------------------------------------------------------
/** The FIELD_* bits of an encoding, 0 when no field has it. */
function fieldKind(encoding: u64): u32 {
  // Bits 31:15 and 12 are reserved, and so is an index above those that exist.
  if (encoding & ~(<u64>0x6c3f)) return 0;
  const kind: u32 = load<u8>(VMCS_FIELDS + (fieldOffset(<u32>encoding) >>> 2));
  // Only 64-bit fields have a high half.
  return encoding & 1 && (kind >>> FIELD_WIDTH_SHIFT) != 1 ? 0 : kind;
}

/** The field's value, in a 64-bit register or (`size` 4) a 32-bit one. */
function readField(base: u32, encoding: u32): u64 {
  const value = load<u64>(base + fieldOffset(encoding));
  return encoding & 1 ? value >> 32 : value;
}

function writeField(base: u32, encoding: u32, kind: u32, value: u64): void {
  const at = base + fieldOffset(encoding);
  const width = kind >>> FIELD_WIDTH_SHIFT;
  if (encoding & 1) store<u32>(at, <u32>value, 4);
  else if (width == 0) store<u64>(at, <u64>(<u16>value));
  else if (width == 2) store<u64>(at, <u64>(<u32>value));
  else store<u64>(at, value);
}

/** What VMREAD or VMWRITE works on: the FIELD_* bits, and the VMCS that holds the field. */
let kind: u32 = 0;
let base: u32 = 0;

/** The shadow VMCS of a nested guest, 0 when it has none. @sdm 3C 25.10 */
function shadowRegion(): u32 {
  const pointer = get(VMCS_LINK_POINTER);
  return pointer == NO_POINTER ? 0 : physicalHost(pointer, 4096);
}

/** Whether VMREAD (by the bitmap at `address`) or VMWRITE of an encoding goes to the shadow VMCS instead of exiting. */
function shadows(encoding: u64, address: u64): bool {
  if (!secondaryExits(SECONDARY_SHADOWING) || encoding >> 15) return false;
  const at = address + (encoding >> 3);
  return pageKind(at) != PAGE_MMIO && !((load<u8>(RAM_BASE + <u32>at) >>> (<u32>encoding & 7)) & 1);
}

/** Before VMREAD and VMWRITE look at their other operand. */
export function vmreadAdmit(encoding: u64): i32 {
  return shadowAdmit(REASON_VMREAD, shadows(encoding, get(VMREAD_BITMAP_ADDRESS)));
}

export function vmwriteAdmit(encoding: u64): i32 {
  return shadowAdmit(REASON_VMWRITE, shadows(encoding, get(VMWRITE_BITMAP_ADDRESS)));
}

function shadowAdmit(reason: u32, shadow: bool): i32 {
  if (!shadow || wrongMode()) return admit(reason, true);
  return load<u32>(CPL) ? raiseError(13, 0) : OK;
}

function selectField(encoding: u64): bool {
  base = load<u32>(NON_ROOT) ? shadowRegion() : load<u64>(CURRENT_VMCS) ? VMCS : 0;
  if (!base) {
    vmFailInvalid();
    return false;
  }
  kind = fieldKind(encoding);
  if (kind & FIELD_EXISTS) return true;
  vmFailValid(ERROR_COMPONENT);
  return false;
}

/** VMREAD to the general register at `register`. */
export function vmreadRegister(encoding: u64, register: u32, size: i32): i32 {
  if (!selectField(encoding)) return OK;
  const value = readField(base, <u32>encoding);
  store<u64>(register, size == 8 ? value : value & 0xffffffff);
  return vmSucceed();
}

/** VMREAD to memory. */
export function vmreadMemory(encoding: u64, operand: u64, size: i32): i32 {
  if (!selectField(encoding)) return OK;
  const value = readField(base, <u32>encoding);
  if (size == 8) writeU64(operand, value);
  else writeU32(operand, <u32>value);
  return faulted() ? FAULTED : vmSucceed();
}

export function vmwrite(encoding: u64, value: u64): i32 {
  if (!selectField(encoding)) return OK;
  const place = fieldOffset(<u32>encoding) >>> 2;
  writeField(base, <u32>encoding, kind, value);
  if (base == VMCS) store<u32>(VMCS_CHECKED, load<u32>(VMCS_CHECKED) & ~u32(load<u8>(VMCS_FIELDS + place, 1)));
  return vmSucceed();
}

// ---- INVEPT and INVVPID -------------------------------------------------------------------------------------------------------------
/** Every type drops what all nested guests translated. @sdm 3C 31.3 INVEPT */
export function invept(type: u64, operand: u64): i32 {
  const pointer = readU64(operand);
  if (faulted()) return FAULTED;
  readU64(operand + 8);
  if (faulted()) return FAULTED;
  if (type != 1 && type != 2) return vmFailValid(ERROR_OPERAND);
  if (type == 1 && !eptPointerValid(pointer)) return vmFailValid(ERROR_OPERAND);
  forgetNested();
  return vmSucceed();
}

/** Memory type UC or WB, 4 levels, no reserved bit. */
function eptPointerValid(pointer: u64): bool {
  const memoryType = pointer & 7;
  return (memoryType == 0 || memoryType == 6) && ((pointer >> 3) & 7) == 3 && !(pointer & (0xf80 | load<u64>(PHYS_RESERVED)));
}

/** @sdm 3C 31.3 INVVPID */
export function invvpid(type: u64, operand: u64): i32 {
  const vpid = readU64(operand);
  if (faulted()) return FAULTED;
  const linear = readU64(operand + 8);
  if (faulted()) return FAULTED;
  if (type > 3 || vpid >> 16 || (type != 2 && vpid == 0)) return vmFailValid(ERROR_OPERAND);
  if (type == 0 && u64(i64(linear << 16) >> 16) != linear) return vmFailValid(ERROR_OPERAND);
  forgetNested();
  return vmSucceed();
}
