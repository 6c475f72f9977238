/** Completing a VM exit to the guest's own hypervisor (L1), from a nested guest (L2) or from an entry that fails. @sdm 3C 28.3 to 28.7 */
import { CR0_PE, CR0_PG, CR4_PAE, CR4_PCIDE, EFER_LMA, EFER_LME, INFO_VALID, RF, STATUS_FLAGS } from './bits';
import { longModeActive, segment } from './descriptors';
import { SHADOW_RIP, STEPPED, interruptShadow, readFlags, writeStatus } from './flags';
import { instructionLength, nestedSwitch } from './imports';
import { updateMode } from './mode';
import { loadPdptes } from './paging';
import { EXIT, FAULTED, JUMP, exit } from './status';
import { enterBank, leaveBank } from './tlb-context';
import { REGION_ABORT, currentVmcs, fieldOffset, get, get32, physicalHost, releaseVmcs, set } from './vmcs';
import { loadMsrs, storeMsrs } from './vm-msrs';
import { moveGuestState, movePdptes } from './vm-state';
import { exitTimeStamp } from './time';
import { preemptionTimerLeft } from './vm-timer';
import {
  ACTIVE_EXCEPTIONS, ACTIVE_PIN, ACTIVE_PRIMARY, ACTIVE_SECONDARY, ACTIVITY, CPL, CR0, CR3, CR4, CS, DEBUG_EXITS, DEBUG_MODE, DELIVERY,
  DR7, DS, EFER, EFLAGS, ES, FAULT, FS, GDTR_BASE, GDTR_LIMIT, GPR, GS, IDTR_BASE, IDTR_LIMIT, IDT_VECTORING_ERROR, IDT_VECTORING_INFO,
  INTERRUPTIBILITY, INTERRUPT_WINDOW, LDTR, MONITOR_TRAP, MSR_DEBUGCTL, MSR_PAT, MSR_SYSENTER_CS, MSR_SYSENTER_EIP, MSR_SYSENTER_ESP,
  NEXT_RIP, NMI_UNBLOCKED, NMI_WINDOW, NON_ROOT, PENDING_DEBUG, RIP, SEG_ACCESS, SEG_BASE, SEG_LIMIT, SEG_SELECTOR, SS, TR,
  VECTORING_LENGTH, VIRTUAL_APIC_EXIT, VMCS, WINDOW_ROOT,
} from '../layout';
import * as F from '../../vmx/fields';
import * as C from '../../vmx/control-bits';

const RSP: usize = GPR + 32;
const UNUSABLE: u32 = 0x10000;
/** Bits of CR0 that neither VM entry nor VM exit changes: ET, NW, CD and those without a meaning. @sdm 3C 27.3.2.1, 28.5.1 */
export const CR0_KEPT: u64 = 0x7ffaffd0;
/** What the field of pending debug exceptions can hold. */
const PENDING_BITS: u64 = 0x500f;
const REASON_EXCEPTION: u32 = 0;
const REASON_APIC_ACCESS: u32 = 44;
const HOST_CODE_32: u32 = 0xc09b;
const HOST_CODE_64: u32 = 0xa09b;
const HOST_DATA: u32 = 0xc093;
const HOST_TSS: u32 = 0x8b;

/** Completes the pending exit: JUMP, in L1's handler, or EXIT after a VMX abort. */
export function completeVmExit(): i32 {
  const stored = get32(F.EXIT_MSR_STORE_COUNT);
  // The exit happens now: what it takes to save the guest is behind it.
  const time = stored ? exitTimeStamp() : 0;
  store<u32>(FAULT, 0);
  store<u32>(DELIVERY, 0);
  const vectoring = load<u32>(IDT_VECTORING_INFO);
  set(F.IDT_VECTORING_INFORMATION, vectoring & INFO_VALID ? vectoring : 0);
  set(F.IDT_VECTORING_ERROR_CODE, load<u32>(IDT_VECTORING_ERROR));
  // An access gives its instruction up where NEXT_RIP need not be known.
  if (get32(F.EXIT_REASON_FIELD) == REASON_APIC_ACCESS) set(F.EXIT_INSTRUCTION_LENGTH, instructionLength());
  // Software interrupts and exceptions: the length is that of the instruction which asked for them.
  if (vectoring & INFO_VALID && vectoring & 0x400) set(F.EXIT_INSTRUCTION_LENGTH, load<u32>(VECTORING_LENGTH));
  set(F.ENTRY_INTERRUPTION_INFORMATION, get32(F.ENTRY_INTERRUPTION_INFORMATION) & ~INFO_VALID);
  saveGuest();
  if (!storeMsrs(get(F.EXIT_MSR_STORE_ADDRESS), stored, time)) return abort(1);
  return loadHost();
}

// ---- saving the guest ---------------------------------------------------------------------------------------------------------------
/** @sdm 3C 28.3 */
function saveGuest(): void {
  const controls = get32(F.EXIT_CONTROLS);
  interruptShadow();
  set(F.GUEST_CR0, load<u64>(CR0));
  set(F.GUEST_CR4, load<u64>(CR4));
  moveGuestState(VMCS, true);
  set(F.GUEST_RFLAGS, savedFlags());
  set(F.GUEST_INTERRUPTIBILITY_STATE, load<u32>(INTERRUPTIBILITY) & 15);
  set(F.GUEST_ACTIVITY_STATE, load<u32>(ACTIVITY));
  set(F.GUEST_PENDING_DEBUG_EXCEPTIONS, load<u64>(PENDING_DEBUG) & PENDING_BITS);
  const entry = get32(F.ENTRY_CONTROLS) & ~C.ENTRY_GUEST_LONG;
  set(F.ENTRY_CONTROLS, entry | (longModeActive() ? C.ENTRY_GUEST_LONG : 0));
  if (controls & C.EXIT_SAVE_DEBUG) {
    set(F.GUEST_DR7, load<u64>(DR7));
    set(F.GUEST_IA32_DEBUGCTL, load<u64>(MSR_DEBUGCTL));
  }
  if (controls & C.EXIT_SAVE_PAT) set(F.GUEST_IA32_PAT, load<u64>(MSR_PAT));
  if (controls & C.EXIT_SAVE_EFER) set(F.GUEST_IA32_EFER, load<u64>(EFER));
  if (controls & C.EXIT_SAVE_PREEMPTION_TIMER) set(F.PREEMPTION_TIMER_VALUE, preemptionTimerLeft());
  if (load<u32>(ACTIVE_SECONDARY) & C.SECONDARY_EPT) movePdptes(VMCS, true);
}

/** RF is set in what faults and their like leave, as it would be on the stack. @sdm 3C 28.3.3 */
function savedFlags(): u64 {
  const flags = readFlags();
  const reason = get32(F.EXIT_REASON_FIELD);
  const info = get32(F.EXIT_INTERRUPTION_INFORMATION);
  if (reason == REASON_EXCEPTION && ((info >>> 8) & 7) == 3 && (info & 0xff) != 1) return flags | RF;
  return reason == 48 || reason == 49 ? flags | RF : flags;
}

// ---- loading the host ---------------------------------------------------------------------------------------------------------------
// @ts-ignore: decorator
@inline
function hostSegment(index: i32, selectorField: u32, base: u64, limit: u32, access: u32): void {
  const at = segment(index);
  const selector = get32(selectorField);
  store<u16>(at, <u16>selector, SEG_SELECTOR);
  store<u64>(at, base, SEG_BASE);
  store<u32>(at, limit, SEG_LIMIT);
  store<u32>(at, selector || index == CS || index == TR ? access : UNUSABLE | access, SEG_ACCESS);
}

/** What a nested guest's translations are tagged with: the VPID, the EPT pointer's table, the APIC-access page. */
export function nestedTag(): u64 {
  const table = load<u32>(ACTIVE_SECONDARY) & C.SECONDARY_EPT ? get(F.EPT_POINTER) & 0x000ffffffffff07f : 0;
  const apic = load<u32>(ACTIVE_SECONDARY) & C.SECONDARY_APIC_ACCESSES ? get(F.APIC_ACCESS_ADDRESS) | 1 : 0;
  return table << 12 ^ get(F.VIRTUAL_PROCESSOR_IDENTIFIER) ^ apic << 28;
}

/** Leaves non-root operation for the state that the host fields describe. @sdm 3C 28.5, 28.6 */
export function loadHost(): i32 {
  if (load<u32>(DEBUG_MODE) & DEBUG_EXITS) nestedSwitch(1);
  const controls = get32(F.EXIT_CONTROLS);
  const long = (controls & C.EXIT_HOST_LONG) != 0;
  const lasting = (load<u32>(ACTIVE_SECONDARY) & C.SECONDARY_VPID) != 0;
  leaveBank(nestedTag());
  const cr0 = (get(F.HOST_CR0) & ~CR0_KEPT) | (load<u64>(CR0) & CR0_KEPT);
  store<u64>(CR0, cr0);
  store<u64>(CR3, get(F.HOST_CR3));
  let cr4 = get(F.HOST_CR4);
  cr4 = long ? cr4 | CR4_PAE : cr4 & ~CR4_PCIDE;
  store<u64>(CR4, cr4);
  let efer = controls & C.EXIT_LOAD_EFER ? get(F.HOST_IA32_EFER) : load<u64>(EFER);
  efer = long ? efer | EFER_LMA | EFER_LME : efer & ~(EFER_LMA | EFER_LME);
  store<u64>(EFER, efer);
  if (controls & C.EXIT_LOAD_PAT) store<u64>(MSR_PAT, get(F.HOST_IA32_PAT));
  store<u64>(DR7, 0x400);
  store<u64>(MSR_DEBUGCTL, 0);
  store<u64>(MSR_SYSENTER_CS, get32(F.HOST_IA32_SYSENTER_CS));
  store<u64>(MSR_SYSENTER_ESP, get(F.HOST_IA32_SYSENTER_ESP));
  store<u64>(MSR_SYSENTER_EIP, get(F.HOST_IA32_SYSENTER_EIP));
  hostSegment(CS, F.HOST_CS_SELECTOR, 0, 0xffffffff, long ? HOST_CODE_64 : HOST_CODE_32);
  hostSegment(SS, F.HOST_SS_SELECTOR, 0, 0xffffffff, HOST_DATA);
  hostSegment(DS, F.HOST_DS_SELECTOR, 0, 0xffffffff, HOST_DATA);
  hostSegment(ES, F.HOST_ES_SELECTOR, 0, 0xffffffff, HOST_DATA);
  hostSegment(FS, F.HOST_FS_SELECTOR, get(F.HOST_FS_BASE), 0xffffffff, HOST_DATA);
  hostSegment(GS, F.HOST_GS_SELECTOR, get(F.HOST_GS_BASE), 0xffffffff, HOST_DATA);
  hostSegment(TR, F.HOST_TR_SELECTOR, get(F.HOST_TR_BASE), 0x67, HOST_TSS);
  const ldtr = segment(LDTR);
  store<u16>(ldtr, 0, SEG_SELECTOR);
  store<u32>(ldtr, UNUSABLE, SEG_ACCESS);
  store<u64>(GDTR_BASE, get(F.HOST_GDTR_BASE));
  store<u32>(GDTR_LIMIT, 0xffff);
  store<u64>(IDTR_BASE, get(F.HOST_IDTR_BASE));
  store<u32>(IDTR_LIMIT, 0xffff);
  store<u64>(RIP, get(F.HOST_RIP));
  store<u64>(RSP, get(F.HOST_RSP));
  store<u32>(EFLAGS, 2);
  writeStatus(0);
  const blocked = nmiBlockedAfter();
  leaveNonRoot();
  store<u32>(INTERRUPTIBILITY, blocked);
  store<u32>(CPL, 0);
  enterBank(false, 0, lasting);
  updateMode();
  if (!long && cr0 & CR0_PG && cr4 & CR4_PAE && !loadPdptes(load<u64>(CR3))) return abort(2);
  if (loadMsrs(get(F.EXIT_MSR_LOAD_ADDRESS), get32(F.EXIT_MSR_LOAD_COUNT)) != 0) return abort(4);
  return JUMP;
}

/** NMIs are blocked by an exit for one, and stay blocked where bit 3 meant them and not virtual ones. */
function nmiBlockedAfter(): u32 {
  const info = get32(F.EXIT_INTERRUPTION_INFORMATION);
  if (get32(F.EXIT_REASON_FIELD) == REASON_EXCEPTION && (info & 0x80000700) == 0x80000200) return 8;
  return load<u32>(ACTIVE_PIN) & C.PIN_VIRTUAL_NMIS ? 0 : load<u32>(INTERRUPTIBILITY) & 8;
}

function leaveNonRoot(): void {
  store<u32>(NON_ROOT, 0);
  store<u32>(ACTIVE_PIN, 0);
  store<u32>(ACTIVE_PRIMARY, 0);
  store<u32>(ACTIVE_SECONDARY, 0);
  store<u32>(ACTIVE_EXCEPTIONS, 0);
  store<u32>(ACTIVITY, 0);
  store<u64>(PENDING_DEBUG, 0);
  store<u32>(MONITOR_TRAP, 0);
  store<u32>(VIRTUAL_APIC_EXIT, 0);
  store<u32>(NMI_UNBLOCKED, 0);
  store<u32>(IDT_VECTORING_INFO, 0);
  store<u64>(SHADOW_RIP, 0);
  store<u32>(STEPPED, 0);
  store<u32>(INTERRUPT_WINDOW, load<u32>(INTERRUPT_WINDOW) & WINDOW_ROOT);
  store<u32>(NMI_WINDOW, load<u32>(NMI_WINDOW) & WINDOW_ROOT);
}

/** A VMX abort: the indicator goes to the region, the processor shuts down. @sdm 3C 28.7 */
function abort(indicator: u32): i32 {
  const pointer = currentVmcs();
  releaseVmcs();
  const region = physicalHost(pointer, 4096);
  if (region) store<u32>(region, indicator, REGION_ABORT);
  store<u32>(FAULT, 0);
  exit(2, 0);
  return EXIT;
}
