/** VM entries: VMLAUNCH and VMRESUME of a nested guest. @sdm 3C 27 */
import { ACCESS_L, CR0_PG, CR4_LA57, CR4_PAE, EFER_LMA, EFER_LME, STATUS_FLAGS } from './bits';
import { segment } from './descriptors';
import { deliverInjected, deliverPendingDebug } from './events';
import { interruptShadow, writeStatus } from './flags';
import { updateMode } from './mode';
import { nestedSwitch, vmEntryChecks } from './imports';
import { loadPdptes } from './paging';
import { EXIT, JUMP, OK, SYNC } from './status';
import { enterBank, leaveBank } from './tlb-context';
import { REGION_LAUNCHED, SHADOW_INDICATOR, get, get32, set } from './vmcs';
import { belowThreshold, startVirtualApic } from './vm-apic';
import { CR0_KEPT, loadHost, nestedTag } from './vm-leave';
import { loadMsrs } from './vm-msrs';
import { moveGuestState, movePdptes } from './vm-state';
import { forgetTimeRead } from './time';
import { startPreemptionTimer } from './vm-timer';
import { vmFailInvalid, vmFailValid, vmxAdmit } from './vmx';
import {
  ACTIVE_EXCEPTIONS, ACTIVE_PIN, ACTIVE_PRIMARY, ACTIVE_SECONDARY, ACTIVITY, CPL, CR0, CR3, CR4, CR4_ALLOWED, CURRENT_VMCS, DEBUG_EXITS,
  DEBUG_MODE, DR7, EFER, EFLAGS, GPR, INIT_BLOCKED, INTERRUPTIBILITY, INTERRUPT_WINDOW, MONITOR_TRAP, MSR_DEBUGCTL, MSR_PAT, NEXT_RIP,
  NMI_WINDOW, NON_ROOT, PENDING_DEBUG, RIP, STEP_REASON, VIRTUAL_APIC_EXIT, VMCS, VMCS_CHECKED, WINDOW_NESTED,
} from '../layout';
import * as F from '../../vmx/fields';
import * as C from '../../vmx/control-bits';

/** Every group of checks (core/vmx/check-row.ts), and that of RIP alone. */
const ALL_CHECKED: u32 = 31;
const RIP_UNCHECKED: u32 = 16;
const CONTROLS_UNCHECKED: u32 = 1;
const ENTRY_FAILURE: u32 = 0x80000000;
const REASON_GUEST_STATE: u32 = 33;
const REASON_MSR_LOADING: u32 = 34;
const QUALIFICATION_PDPTE: u64 = 2;
const ERROR_NOT_CLEAR: u32 = 4;
const ERROR_NOT_LAUNCHED: u32 = 5;
const ERROR_MOV_SS: u32 = 26;
const TYPE_OTHER: u32 = 7;

/** VMLAUNCH (`resume` 0) and VMRESUME (1). */
export function vmEnter(resume: i32): i32 {
  const admitted = vmxAdmit(resume ? 24 : 20);
  if (admitted != OK) return admitted;
  if (!load<u64>(CURRENT_VMCS) || load<u32>(VMCS) & SHADOW_INDICATOR) return vmFailInvalid();
  if (interruptShadow() & 2) return vmFailValid(ERROR_MOV_SS);
  const launched = load<u32>(VMCS, REGION_LAUNCHED) != 0;
  if (launched != (resume != 0)) return vmFailValid(resume ? ERROR_NOT_LAUNCHED : ERROR_NOT_CLEAR);
  let unchecked = ALL_CHECKED & ~load<u32>(VMCS_CHECKED);
  // The virtual task priority is in memory: it can change without a VMWRITE.
  if (get32(F.PRIMARY_CONTROLS) & C.PRIMARY_TPR_SHADOW && belowThreshold()) unchecked |= CONTROLS_UNCHECKED;
  if (unchecked == RIP_UNCHECKED && ripFits()) {
    store<u32>(VMCS_CHECKED, ALL_CHECKED);
  } else if (unchecked) {
    const outcome = vmEntryChecks(unchecked);
    if (outcome) return (outcome & 0xff) == REASON_GUEST_STATE ? fail(REASON_GUEST_STATE, outcome >>> 8) : vmFailValid(outcome);
    store<u32>(VMCS_CHECKED, ALL_CHECKED);
  }
  return enterGuest();
}

/** The check of RIP as its row has it: canonical in 64-bit code, of 32 bits elsewhere. */
function ripFits(): bool {
  const rip = get(F.GUEST_RIP);
  if (!(get32(F.ENTRY_CONTROLS) & C.ENTRY_GUEST_LONG) || !(get32(F.GUEST_CS_ACCESS_RIGHTS) & ACCESS_L)) return rip >> 32 == 0;
  const unused: u64 = load<u64>(CR4_ALLOWED) & CR4_LA57 ? 7 : 16;
  return u64(i64(rip << unused) >> unused) == rip;
}

/** An entry that fails after the checks of controls and host state ends as an exit does, with nothing of the guest saved. @sdm 3C 27.8 */
function fail(reason: u32, qualification: u64): i32 {
  set(F.EXIT_REASON_FIELD, reason | ENTRY_FAILURE);
  set(F.EXIT_QUALIFICATION_FIELD, qualification);
  return loadHost();
}

function enterGuest(): i32 {
  leaveBank(0);
  loadControls();
  loadGuest();
  if (!loadPageDirectoryPointers()) return fail(REASON_GUEST_STATE, QUALIFICATION_PDPTE);
  const refused = loadMsrs(get(F.ENTRY_MSR_LOAD_ADDRESS), get32(F.ENTRY_MSR_LOAD_COUNT));
  if (refused) return fail(REASON_MSR_LOADING, refused);
  store<u32>(VMCS, 1, REGION_LAUNCHED);
  startPreemptionTimer();
  startVirtualApic();
  if (load<u32>(DEBUG_MODE) & DEBUG_EXITS) nestedSwitch(0);
  const status = inject();
  if (status == EXIT) return EXIT;
  store<u64>(NEXT_RIP, load<u64>(RIP));
  // An exit may have happened while the event was injected.
  return load<u32>(NON_ROOT) == 0 || quiet() ? JUMP : SYNC;
}

/** Whether nothing asks for the outer loop before the guest's first instruction. */
function quiet(): bool {
  return !(load<u32>(INTERRUPT_WINDOW) | load<u32>(NMI_WINDOW) | load<u32>(STEP_REASON) | load<u32>(ACTIVITY) | load<u32>(MONITOR_TRAP) | load<u32>(INIT_BLOCKED)
    | load<u32>(VIRTUAL_APIC_EXIT) | (load<u32>(ACTIVE_PIN) & C.PIN_PREEMPTION_TIMER));
}

function loadControls(): void {
  const primary = get32(F.PRIMARY_CONTROLS);
  store<u32>(NON_ROOT, 1);
  store<u32>(ACTIVE_PIN, get32(F.PIN_BASED_CONTROLS));
  store<u32>(ACTIVE_PRIMARY, primary);
  store<u32>(ACTIVE_SECONDARY, primary & C.PRIMARY_SECONDARY ? get32(F.SECONDARY_CONTROLS) : 0);
  store<u32>(ACTIVE_EXCEPTIONS, get32(F.EXCEPTION_BITMAP));
  if (primary & C.PRIMARY_INTERRUPT_WINDOW) store<u32>(INTERRUPT_WINDOW, load<u32>(INTERRUPT_WINDOW) | WINDOW_NESTED);
  if (primary & C.PRIMARY_NMI_WINDOW) store<u32>(NMI_WINDOW, load<u32>(NMI_WINDOW) | WINDOW_NESTED);
  store<u32>(MONITOR_TRAP, 0);
  forgetTimeRead();
}

/** @sdm 3C 27.3.2 */
function loadGuest(): void {
  const controls = get32(F.ENTRY_CONTROLS);
  const cr0 = (get(F.GUEST_CR0) & ~CR0_KEPT) | (load<u64>(CR0) & CR0_KEPT);
  store<u64>(CR0, cr0);
  store<u64>(CR4, get(F.GUEST_CR4));
  if (controls & C.ENTRY_LOAD_DEBUG) {
    store<u64>(DR7, (get(F.GUEST_DR7) & 0xffff23ff) | 0x400);
    store<u64>(MSR_DEBUGCTL, get(F.GUEST_IA32_DEBUGCTL));
  }
  if (controls & C.ENTRY_LOAD_EFER) {
    store<u64>(EFER, get(F.GUEST_IA32_EFER));
  } else {
    let efer = load<u64>(EFER) & ~EFER_LMA;
    if (controls & C.ENTRY_GUEST_LONG) efer |= EFER_LMA | EFER_LME;
    else if (cr0 & CR0_PG) efer &= ~EFER_LME;
    store<u64>(EFER, efer);
  }
  if (controls & C.ENTRY_LOAD_PAT) store<u64>(MSR_PAT, get(F.GUEST_IA32_PAT));
  moveGuestState(VMCS, false);
  const flags = u32(get(F.GUEST_RFLAGS));
  writeStatus(flags);
  store<u32>(EFLAGS, (flags & ~STATUS_FLAGS) | 2);
  store<u32>(INTERRUPTIBILITY, get32(F.GUEST_INTERRUPTIBILITY_STATE) & 15);
  store<u32>(ACTIVITY, get32(F.GUEST_ACTIVITY_STATE));
  store<u64>(PENDING_DEBUG, get(F.GUEST_PENDING_DEBUG_EXCEPTIONS));
  store<u32>(CPL, (get32(F.GUEST_SS_ACCESS_RIGHTS) >>> 5) & 3);
  enterBank(true, nestedTag(), (load<u32>(ACTIVE_SECONDARY) & C.SECONDARY_VPID) != 0);
  updateMode();
}

/** With PAE paging: from their fields with EPT, else from the guest's table. False: one has a reserved bit set. */
function loadPageDirectoryPointers(): bool {
  if (!(load<u64>(CR0) & CR0_PG) || !(load<u64>(CR4) & CR4_PAE) || load<u64>(EFER) & EFER_LMA) return true;
  if (!(load<u32>(ACTIVE_SECONDARY) & C.SECONDARY_EPT)) return loadPdptes(load<u64>(CR3));
  movePdptes(VMCS, false);
  return true;
}

/** The event that the VM-entry interruption information asks for, else pending debug exceptions. @sdm 3C 27.6 */
function inject(): i32 {
  const info = get32(F.ENTRY_INTERRUPTION_INFORMATION);
  if (!(info >>> 31)) return load<u32>(ACTIVITY) ? OK : deliverPendingDebug();
  store<u32>(ACTIVITY, 0);
  if (((info >>> 8) & 7) == TYPE_OTHER) {
    store<u32>(MONITOR_TRAP, 1);
    return OK;
  }
  return deliverInjected(info, get32(F.ENTRY_EXCEPTION_ERROR_CODE), get32(F.ENTRY_INSTRUCTION_LENGTH));
}
