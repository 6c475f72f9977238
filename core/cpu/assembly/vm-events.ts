/** Events at instruction boundaries as they look from a nested guest: what exits to L1, and what L1's controls hold back. @sdm 3C 26.2, 26.3 */
import { IF, INFO_VALID } from './bits';
import { deliverInjected } from './events';
import { interruptShadow } from './flags';
import { OK } from './status';
import { get32, set } from './vmcs';
import { vmExit, vmExitEvent } from './vm-exit';
import { completeVmExit } from './vm-leave';
import { evaluateInterrupts, interruptsVirtual, takePostedInterrupts, takeVirtualInterrupt } from './vm-apic';
import { emulateApicWrite } from './vm-apic-access';
import { preemptionTimerExpired } from './vm-timer';
import {
  ACTIVE_PIN, ACTIVE_PRIMARY, ACTIVITY, EFLAGS, INTERRUPTIBILITY, INTERRUPT_WINDOW, MONITOR_TRAP, NMI_WINDOW, NON_ROOT, VIRTUAL_APIC_EXIT, VIRTUAL_APIC_QUALIFICATION,
  VIRTUAL_APIC_WRITE, WINDOW_NESTED, WINDOW_VIRTUAL_INTERRUPT,
} from '../layout';
import { EXIT_CONTROLS, EXIT_INTERRUPTION_INFORMATION } from '../../vmx/fields';
import {
  EXIT_ACKNOWLEDGE_INTERRUPT, PIN_EXTERNAL_INTERRUPT, PIN_NMI, PIN_VIRTUAL_NMIS, PRIMARY_INTERRUPT_WINDOW, PRIMARY_NMI_WINDOW,
} from '../../vmx/control-bits';

const REASON_EXTERNAL_INTERRUPT: u32 = 1;
const REASON_INIT: u32 = 3;
const REASON_START_UP: u32 = 4;
const REASON_INTERRUPT_WINDOW: u32 = 7;
const REASON_NMI_WINDOW: u32 = 8;
const REASON_MONITOR_TRAP: u32 = 37;
const REASON_PREEMPTION_TIMER: u32 = 52;
const TYPE_NMI: u32 = 2 << 8;
const BLOCKED_BY_NMI: u32 = 8;
const BLOCKED_BY_SS: u32 = 2;

function leave(reason: u32): i32 {
  vmExit(reason, 0);
  return completeVmExit();
}

/** Activity states: a halted guest is woken by a virtual interrupt, one that is shut down or waits for SIPI is not. */
const HALTED: u32 = 1;

/** What the virtual APIC owes behind an instruction: OK, or the exit's status. */
function settleVirtualApic(): i32 {
  if (load<u32>(VIRTUAL_APIC_EXIT) & VIRTUAL_APIC_WRITE) emulateApicWrite();
  const owed = load<u32>(VIRTUAL_APIC_EXIT);
  if (!owed) return OK;
  vmExit(owed & 0xff, u64(owed >>> VIRTUAL_APIC_QUALIFICATION));
  return completeVmExit();
}

function deliverVirtualInterrupt(): i32 {
  store<u32>(ACTIVITY, 0);
  return deliverInjected(INFO_VALID | takeVirtualInterrupt(), 0, 0);
}

/**
 * What is due before the next instruction of a nested guest: an exit, or a virtual interrupt. JUMP after one, OK when there is none, EXIT
 * after a VMX abort.
 */
export function boundary(): i32 {
  if (!load<u32>(NON_ROOT)) return OK;
  const settled = load<u32>(VIRTUAL_APIC_EXIT) ? settleVirtualApic() : OK;
  if (settled != OK) return settled;
  if (load<u32>(MONITOR_TRAP) == 1) return leave(REASON_MONITOR_TRAP);
  if (preemptionTimerExpired()) return leave(REASON_PREEMPTION_TIMER);
  const shadow = interruptShadow();
  if (load<u32>(NMI_WINDOW) & WINDOW_NESTED && !(shadow & BLOCKED_BY_SS) && !(load<u32>(INTERRUPTIBILITY) & BLOCKED_BY_NMI)) return leave(REASON_NMI_WINDOW);
  if (!(load<u32>(EFLAGS) & IF) || shadow) return OK;
  if (load<u32>(INTERRUPT_WINDOW) & WINDOW_NESTED) return leave(REASON_INTERRUPT_WINDOW);
  return load<u32>(INTERRUPT_WINDOW) & WINDOW_VIRTUAL_INTERRUPT && load<u32>(ACTIVITY) <= HALTED ? deliverVirtualInterrupt() : OK;
}

/** After a saved state has been loaded: the windows of a nested guest follow from its controls. */
export function restoreWindows(): void {
  if (!load<u32>(NON_ROOT)) return;
  const primary = load<u32>(ACTIVE_PRIMARY);
  if (primary & PRIMARY_INTERRUPT_WINDOW) store<u32>(INTERRUPT_WINDOW, load<u32>(INTERRUPT_WINDOW) | WINDOW_NESTED);
  if (primary & PRIMARY_NMI_WINDOW) store<u32>(NMI_WINDOW, load<u32>(NMI_WINDOW) | WINDOW_NESTED);
  if (interruptsVirtual()) evaluateInterrupts();
}

/** Whether external interrupts are exits to L1, which no flag of the guest holds back. */
// @ts-ignore: decorator
@inline
function interruptsExit(): bool {
  return (load<u32>(ACTIVE_PIN) & PIN_EXTERNAL_INTERRUPT) != 0;
}

/** Whether an external interrupt can be taken before the next instruction, by the guest or by an exit to L1. */
export function interruptible(): i32 {
  return i32(interruptsExit() || (load<u32>(EFLAGS) & IF && !interruptShadow()));
}

/** Whether an NMI has to wait: for a shadow, or for the IRET that ends the handling of one before. */
export function nmiBlocked(): i32 {
  if (load<u32>(ACTIVE_PIN) & PIN_VIRTUAL_NMIS) return 0;
  return i32(interruptShadow() != 0 || (load<u32>(INTERRUPTIBILITY) & BLOCKED_BY_NMI) != 0);
}

/** 0: external interrupts are the guest's own. 1: they exit to L1, 2: and are acknowledged by the exit. */
export function interruptExits(): i32 {
  return interruptsExit() ? (get32(EXIT_CONTROLS) & EXIT_ACKNOWLEDGE_INTERRUPT ? 2 : 1) : 0;
}

/** Whether an interrupt that has been acknowledged only announced posted interrupts: root mode then ends it, and there is no exit. */
export function postedInterrupts(vector: i32): i32 {
  return i32(takePostedInterrupts(u32(vector)));
}

/** Exits to L1 for an external interrupt; `vector` is -1 when it has not been acknowledged. */
export function exitForInterrupt(vector: i32): i32 {
  vmExit(REASON_EXTERNAL_INTERRUPT, 0);
  if (vector >= 0) set(EXIT_INTERRUPTION_INFORMATION, INFO_VALID | u32(vector));
  return completeVmExit();
}

export function nmiExits(): i32 {
  return i32((load<u32>(ACTIVE_PIN) & PIN_NMI) != 0);
}

export function exitForNmi(): i32 {
  vmExitEvent(TYPE_NMI | 2, 0, 0);
  return completeVmExit();
}

export function exitForInit(): i32 {
  return leave(REASON_INIT);
}

/** A nested guest that waits for SIPI exits with its vector. */
export function exitForStartUp(vector: u32): i32 {
  vmExit(REASON_START_UP, vector);
  return completeVmExit();
}
