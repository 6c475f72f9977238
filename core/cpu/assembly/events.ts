/**
 * Exceptions and interrupts: what the outer loop calls when FAULT is set, when an event is injected, and around single steps.
 *
 * The outer loop, while STEP_REASON is nonzero, runs one instruction at a time:
 *   1. status = beginStep(): FAULTED is an instruction breakpoint, to be delivered at once (deliverPending);
 *   2. run one instruction;
 *   3. FAULTED: deliverPending() (which ends the shadow); EXIT: leave, and root mode calls endInstruction() when it has completed the
 *      instruction and moved RIP; otherwise, with RIP at the next instruction, status = singleStep(): OK, or JUMP after it delivered
 *      the #DB trap that was due (RIP is then the handler's), or EXIT.
 */
import { CR0_PE, INFO_VALID, RF, TF } from './bits';
import { linear } from './descriptors';
import { RESUME_SET, STEPPED, STEP_BREAKPOINTS, endShadow, iopl, overflows, updateStepReason, virtual8086 } from './flags';
import { DELIVER_GATED, DELIVER_RESUME, deliver, redirectVirtual } from './gates';
import { stackOperand } from './imports';
import { EXIT, FAULTED, JUMP, OK, exit, raise, raiseError } from './status';
import { REPEATING, REPEATING_RIP } from './string-registers';
import { get32 } from './vmcs';
import { PAGE_FAULT_ERROR_CODE_MASK, PAGE_FAULT_ERROR_CODE_MATCH } from '../../vmx/fields';
import { PRIMARY_MONITOR_TRAP } from '../../vmx/control-bits';
import { takeVirtualizationException } from './vm-exception';
import { vmExit, vmExitEvent } from './vm-exit';
import { completeVmExit } from './vm-leave';
import {
  ACTIVE_EXCEPTIONS, ACTIVE_PRIMARY, ACTIVITY, CODE_SIZE, CR0, CR2, CS, DELIVERY, DR0, DR6, DR7, EFLAGS, ENTRY_ERROR, ENTRY_INTR_INFO, ENTRY_LENGTH, FAULT,
  FAULT_ADDRESS, FAULT_ERROR, FAULT_EXIT, FAULT_CANONICAL, FAULT_HAS_ERROR, FAULT_VM_EXIT, HELPER_STATE, IDT_VECTORING_ERROR, IDT_VECTORING_INFO,
  INTERRUPTIBILITY, MONITOR_TRAP, MSR_DEBUGCTL, NEXT_RIP, NMI_UNBLOCKED, NON_ROOT, PENDING_DEBUG, RIP, SEGMENTS, SEGMENT_SIZE, SEG_BASE, STEP_REASON, STEP_RECORDS, VECTORING_LENGTH,
} from '../layout';
import { R_LENGTH } from '../record';

/** u32: the interrupt shadow as it was before the instruction being stepped. */
const STEPPED_SHADOW: usize = HELPER_STATE + 0x20c;
/** u64: where the instruction being stepped begins. */
const STEPPED_RIP: usize = HELPER_STATE + 0x218;
/** IA32_DEBUGCTL.BTF: TF traps after taken branches only. @sdm 3B 18.4.3 */
const DEBUGCTL_BTF: u64 = 2;
/** MONITOR_TRAP: an instruction is being stepped under the monitor trap flag. */
const MONITOR_STEPPED: u32 = 2;

/** How a vector counts for double faults: 0 benign, 1 contributory, 2 page fault, 3 double fault. @sdm 3A 6.15, table 6-4 */
function severity(vector: u32): i32 {
  if (vector == 8) return 3;
  if (vector == 14 || vector == 20) return 2;
  return vector == 0 || (vector >= 10 && vector <= 13) || vector == 21 ? 1 : 0;
}

/** Bit of PENDING_DEBUG: one of the breakpoints in B3:B0 is enabled. @sdm 3C table 25-4 */
const ENABLED_BREAKPOINT: u64 = 0x1000;

/** What a new exception does that happens while another is delivered. @sdm 3A table 6-5 */
function combination(first: i32, second: i32): i32 {
  if (first == 3) return second > 0 ? TRIPLE : SECOND;
  if (first == 2) return second > 0 ? DOUBLE : SECOND;
  return first == 1 && second == 1 ? DOUBLE : SECOND;
}

const SECOND: i32 = 0;
const DOUBLE: i32 = 1;
const TRIPLE: i32 = 2;

/** Interruption types of the VM-entry and IDT-vectoring information fields. @sdm 3C 25.8.3 */
const TYPE_EXTERNAL: u32 = 0;
const TYPE_NMI: u32 = 2;
const TYPE_HARDWARE: u32 = 3;
const TYPE_SOFTWARE_INTERRUPT: u32 = 4;
const TYPE_PRIVILEGED_SOFTWARE: u32 = 5;
const TYPE_SOFTWARE_EXCEPTION: u32 = 6;
const INFO_ERROR: u32 = 0x800;

/** DR6 and DR7 as a #DB is delivered. @sdm 3B 18.2.3 */
function recordDebug(): void {
  const pending = load<u64>(PENDING_DEBUG);
  store<u64>(PENDING_DEBUG, 0);
  store<u64>(DR6, (load<u64>(DR6) & ~0xf) | (pending & 0xe00f));
  store<u64>(MSR_DEBUGCTL, load<u64>(MSR_DEBUGCTL) & ~DEBUGCTL_BTF);
  // GD is cleared on entry to the handler.
  store<u64>(DR7, load<u64>(DR7) & ~0x2000);
}

/** True when the pushed image has RF set: faults, but for instruction breakpoints and traps. @sdm 3B 18.3.1.1 */
function resumes(vector: u32): bool {
  return vector != 1 || (load<u64>(PENDING_DEBUG) & 0x2000) != 0;
}

// ---- exits of a nested guest ---------------------------------------------------------------------------------------------------
/** Whether an exception is one that L1 wants to see. @sdm 3C 26.2 */
function intercepted(vector: u32, error: u32): bool {
  const chosen = (load<u32>(ACTIVE_EXCEPTIONS) >>> vector) & 1;
  if (vector != 14 || !load<u32>(NON_ROOT)) return chosen != 0;
  const matches = (error & get32(PAGE_FAULT_ERROR_CODE_MASK)) == get32(PAGE_FAULT_ERROR_CODE_MATCH);
  return (chosen != 0) == matches;
}

/** Exit qualification of an exception, which takes the place of what CR2 and DR6 would get. */
function exceptionQualification(vector: u32): u64 {
  if (vector == 14) return load<u64>(FAULT_ADDRESS);
  if (vector != 1) return 0;
  const pending = load<u64>(PENDING_DEBUG) & 0x600f;
  store<u64>(PENDING_DEBUG, 0);
  return pending;
}

/** Leaves for L1 because of an event. In real-address mode there are no error codes. */
function exitForEvent(info: u32, error: u32): i32 {
  vmExitEvent(load<u64>(CR0) & CR0_PE ? info : info & ~INFO_ERROR, error, exceptionQualification(info & 0xff));
  return completeVmExit();
}

/** Before an event is delivered: what the exit fields will say when its delivery ends in an exit. */
function noteVectoring(info: u32, error: u32, length: u32): void {
  store<u32>(IDT_VECTORING_INFO, (info & 0xfff) | INFO_VALID);
  store<u32>(IDT_VECTORING_ERROR, error);
  store<u32>(VECTORING_LENGTH, length);
}

/**
 * Delivers an event and whatever exceptions arise from that, to JUMP or EXIT. `info` is in the format of interruption information,
 * `returnTo` the RIP that is pushed; a nested exception pushes that of the instruction.
 */
function deliverEvent(infoIn: u32, errorIn: u32, returnTo: u64, optionsIn: u32): i32 {
  let info = infoIn;
  let error = errorIn;
  let rip = returnTo;
  let options = optionsIn;
  let status = FAULTED;
  while (status == FAULTED) {
    const vector = info & 0xff;
    store<u32>(DELIVERY, load<u32>(DELIVERY) + 1);
    noteVectoring(info, error, load<u32>(VECTORING_LENGTH));
    status = deliver(vector, info, error, rip, options);
    if (status != FAULTED) break;
    const fault = load<u32>(FAULT);
    if (fault & FAULT_VM_EXIT) return completeVmExit();
    if (fault & FAULT_EXIT) {
      store<u32>(DELIVERY, 0);
      return EXIT;
    }
    const next = fault & 0xff;
    if (intercepted(next, load<u32>(FAULT_ERROR))) {
      return exitForEvent(next | (TYPE_HARDWARE << 8) | (fault & FAULT_HAS_ERROR), load<u32>(FAULT_ERROR));
    }
    if (next == 14) store<u64>(CR2, load<u64>(FAULT_ADDRESS));
    const first = (info >>> 8) & 7;
    const outcome = combination(first == TYPE_HARDWARE ? severity(vector) : 0, severity(next));
    if (outcome == TRIPLE) {
      store<u32>(DELIVERY, 0);
      if (!load<u32>(NON_ROOT)) return exit(2, 0);
      vmExit(2, 0);
      return completeVmExit();
    }
    if (outcome == DOUBLE && intercepted(8, 0)) return exitForEvent(8 | (TYPE_HARDWARE << 8) | INFO_ERROR, 0);
    store<u32>(FAULT, 0);
    rip = load<u64>(RIP);
    options = resumes(next) ? DELIVER_RESUME : 0;
    if (next == 1) recordDebug();
    if (outcome == DOUBLE) {
      info = 8 | (TYPE_HARDWARE << 8) | INFO_ERROR;
      error = 0;
    } else {
      info = next | (TYPE_HARDWARE << 8) | (fault & FAULT_HAS_ERROR);
      error = load<u32>(FAULT_ERROR);
    }
  }
  store<u32>(DELIVERY, 0);
  store<u32>(IDT_VECTORING_INFO, 0);
  endShadow();
  return status;
}

/** Delivers the exception pending in FAULT. JUMP, or EXIT (triple fault: reason 2; or a VM exit was pending already). */
export function deliverPending(): i32 {
  if (load<u32>(FAULT) & FAULT_VM_EXIT && !takeVirtualizationException()) return completeVmExit();
  const fault = load<u32>(FAULT);
  if (fault & FAULT_EXIT) return EXIT;
  let vector = fault & 0xff;
  if (fault & FAULT_CANONICAL && vector == 13 && stackOperand()) vector = 12;
  if (intercepted(vector, load<u32>(FAULT_ERROR))) return exitForEvent(vector | (TYPE_HARDWARE << 8) | (fault & FAULT_HAS_ERROR), load<u32>(FAULT_ERROR));
  store<u32>(IDT_VECTORING_INFO, 0);
  store<u32>(NMI_UNBLOCKED, 0);
  store<u32>(FAULT, 0);
  const options: u32 = resumes(vector) ? DELIVER_RESUME : 0;
  if (vector == 14) store<u64>(CR2, load<u64>(FAULT_ADDRESS));
  else if (vector == 1) recordDebug();
  return deliverEvent(vector | (TYPE_HARDWARE << 8) | (fault & FAULT_HAS_ERROR), load<u32>(FAULT_ERROR), load<u64>(RIP), options);
}

/** DELIVER_RESUME when RIP is a repeated string instruction that has begun: its pushed image has RF set. @sdm 3B 19.3.1.1 */
function withinRepetition(): u32 {
  const within = load<u32>(REPEATING) != 0 && load<u64>(REPEATING_RIP) == load<u64>(RIP);
  store<u32>(REPEATING, 0);
  return within ? DELIVER_RESUME : 0;
}

/** Delivers ENTRY_INTR_INFO at VM entry and invalidates it. JUMP or EXIT; OK when there is nothing to inject. @sdm 3C 27.6.1 */
export function injectEvent(): i32 {
  const info = load<u32>(ENTRY_INTR_INFO);
  if (!(info & INFO_VALID)) return OK;
  store<u32>(ENTRY_INTR_INFO, 0);
  store<u32>(ACTIVITY, 0);
  return deliverInjected(info, load<u32>(ENTRY_ERROR), load<u32>(ENTRY_LENGTH));
}

/** Delivers an event that a VM entry injects; `length` is that of the instruction that a software interrupt or exception stands for. */
export function deliverInjected(info: u32, error: u32, length: u32): i32 {
  const type = (info >>> 8) & 7;
  let rip = load<u64>(RIP);
  let options: u32 = type <= TYPE_NMI ? withinRepetition() : 0;
  if (type == TYPE_NMI) store<u32>(INTERRUPTIBILITY, load<u32>(INTERRUPTIBILITY) | 8);
  if (type >= TYPE_SOFTWARE_INTERRUPT) {
    rip += u64(length);
    if (load<u32>(CODE_SIZE) != 2) rip &= 0xffffffff;
    if (type != TYPE_PRIVILEGED_SOFTWARE) options = DELIVER_GATED;
  }
  store<u32>(VECTORING_LENGTH, length);
  return deliverEvent(info & 0xfff, error, rip, options);
}

// ---- software interrupts ------------------------------------------------------------------------------------------------------
function software(vector: u32, type: u32, options: u32): i32 {
  noteVectoring(vector | (type << 8), 0, u32(load<u64>(NEXT_RIP) - load<u64>(RIP)));
  const status = deliver(vector, vector | (type << 8), 0, load<u64>(NEXT_RIP), options);
  if (status == FAULTED) return load<u32>(FAULT) & FAULT_EXIT ? EXIT : FAULTED;
  store<u32>(IDT_VECTORING_INFO, 0);
  return JUMP;
}

/** INT n. @sdm 2A INT n */
export function interrupt(vector: i32): i32 {
  if (virtual8086()) {
    const status = redirectVirtual(u32(vector));
    if (status != OK) return status;
    if (iopl() < 3) return raiseError(13, 0);
  }
  return software(u32(vector), TYPE_SOFTWARE_INTERRUPT, DELIVER_GATED);
}

/** INT3: no IOPL check and no redirection in virtual-8086 mode. */
export function int3(): i32 {
  if (intercepted(3, 0)) return vmExitEvent(3 | (TYPE_SOFTWARE_EXCEPTION << 8), 0, 0);
  return software(3, TYPE_SOFTWARE_EXCEPTION, DELIVER_GATED);
}

/** INTO; #UD in 64-bit mode is the opcode table's. */
export function into(): i32 {
  if (!overflows()) return OK;
  if (intercepted(4, 0)) return vmExitEvent(4 | (TYPE_SOFTWARE_EXCEPTION << 8), 0, 0);
  return software(4, TYPE_SOFTWARE_EXCEPTION, DELIVER_GATED);
}

/** INT1 (ICEBP): the gate's DPL is not checked. A trap that MOV SS held back becomes part of this #DB. */
export function int1(): i32 {
  if (intercepted(1, 0)) return vmExitEvent(1 | (TYPE_PRIVILEGED_SOFTWARE << 8), 0, 0);
  const held = load<u64>(PENDING_DEBUG);
  if (held & ENABLED_BREAKPOINT) {
    store<u64>(PENDING_DEBUG, 0);
    store<u64>(DR6, load<u64>(DR6) | (held & 0xf));
    updateStepReason();
  }
  return software(1, TYPE_PRIVILEGED_SOFTWARE, 0);
}

// ---- shadows and single steps -------------------------------------------------------------------------------------------------
/**
 * After root mode completed an instruction that exited and moved RIP behind it: its shadow and RF end, and a single-step trap that is due
 * is delivered. OK, JUMP or EXIT, as singleStep.
 */
export function endInstruction(): i32 {
  const status = endStep(1);
  if (status == OK) endShadow();
  return status;
}

/** Breakpoints of DR0 to DR3 that are enabled for execution at a linear address, as B3:B0. @sdm 3B 18.2.4 */
function instructionBreakpoints(address: u64): u32 {
  const control = u32(load<u64>(DR7));
  let hit: u32 = 0;
  for (let i: u32 = 0; i < 4; i++) {
    const enabled = (control >>> (i * 2)) & 3;
    const kind = (control >>> (16 + i * 4)) & 15;
    if (enabled && kind == 0 && load<u64>(DR0 + (i << 3)) == address) hit |= 1 << i;
  }
  return hit;
}

/** Before an instruction while STEP_REASON is nonzero: OK, or FAULTED with #DB when an instruction breakpoint is at RIP. */
export function beginStep(): i32 {
  store<u32>(STEPPED, load<u32>(EFLAGS) & TF);
  if (load<u32>(ACTIVE_PRIMARY) & PRIMARY_MONITOR_TRAP) store<u32>(MONITOR_TRAP, MONITOR_STEPPED);
  store<u32>(RESUME_SET, 0);
  store<u64>(STEPPED_RIP, load<u64>(RIP));
  store<u32>(STEPPED_SHADOW, load<u32>(INTERRUPTIBILITY) & 3);
  if (!(load<u32>(STEP_REASON) & STEP_BREAKPOINTS) || load<u32>(EFLAGS) & RF) return OK;
  // POP SS and MOV SS hold breakpoints back for one instruction.
  if (load<u32>(INTERRUPTIBILITY) & 2) return OK;
  const base = load<u32>(CODE_SIZE) == 2 ? 0 : load<u64>(SEGMENTS + CS * SEGMENT_SIZE + SEG_BASE);
  const hit = instructionBreakpoints(linear(base + load<u64>(RIP)));
  if (hit == 0) return OK;
  store<u64>(PENDING_DEBUG, u64(hit));
  return raise(1);
}

/** Whether the instruction stepped was a branch that was taken. A repeated instruction that goes on is none. */
function branched(): bool {
  const rip = load<u64>(RIP);
  return rip != load<u64>(STEPPED_RIP) && rip != load<u64>(STEPPED_RIP) + u64(load<u8>(STEP_RECORDS, R_LENGTH));
}

/** After an instruction that beginStep() preceded completed, RIP being the next one: ends the shadow it ran in and raises its traps. */
export function singleStep(): i32 {
  const shadow = load<u32>(STEPPED_SHADOW);
  const trap = load<u32>(STEPPED);
  store<u32>(STEPPED, 0);
  store<u32>(STEPPED_SHADOW, 0);
  if (shadow) store<u32>(INTERRUPTIBILITY, load<u32>(INTERRUPTIBILITY) & ~shadow);
  if (load<u32>(RESUME_SET)) store<u32>(RESUME_SET, 0);
  else if (load<u32>(EFLAGS) & RF) store<u32>(EFLAGS, load<u32>(EFLAGS) & ~RF);
  updateStepReason();
  let pending = load<u64>(PENDING_DEBUG);
  if (trap && (!(load<u64>(MSR_DEBUGCTL) & DEBUGCTL_BTF) || branched())) pending |= 0x4000;
  // Due are an enabled breakpoint, BS and BT; B3:B0 alone only say what matched.
  if ((pending & 0xd000) == 0 || load<u32>(INTERRUPTIBILITY) & 2) {
    store<u64>(PENDING_DEBUG, pending & ~0x4000);
    return OK;
  }
  store<u64>(PENDING_DEBUG, pending);
  // The monitor trap flag's exit comes first and leaves the trap pending. @sdm 3C 26.5.2
  return load<u32>(MONITOR_TRAP) == MONITOR_STEPPED ? OK : deliverTrap();
}

/** The #DB trap that PENDING_DEBUG describes. */
function deliverTrap(): i32 {
  if (intercepted(1, 0)) {
    store<u32>(IDT_VECTORING_INFO, 0);
    return exitForEvent(1 | (TYPE_HARDWARE << 8), 0);
  }
  recordDebug();
  return deliverEvent(1 | (TYPE_HARDWARE << 8), 0, load<u64>(RIP), withinRepetition());
}

/** After a VM entry: the debug exceptions that its field says are pending, unless a load of SS holds them back. */
export function deliverPendingDebug(): i32 {
  return load<u64>(PENDING_DEBUG) & 0x5000 && !(load<u32>(INTERRUPTIBILITY) & 2) ? deliverTrap() : OK;
}

/** After a step, whether its instruction completed or an event was delivered instead: the traps due, then the monitor trap flag's exit. */
export function endStep(completed: i32): i32 {
  const status = completed ? singleStep() : OK;
  if (status == EXIT || load<u32>(MONITOR_TRAP) != MONITOR_STEPPED) return status;
  vmExit(37, 0);
  return completeVmExit();
}
