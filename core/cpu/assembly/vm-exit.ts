/** What makes a VM exit from a nested guest (L2) to the guest's own hypervisor (L1) pending. @sdm 3C 28.2 */
import { INFO_VALID } from './bits';
import { instructionInformation } from './imports';
import { FAULTED } from './status';
import { set } from './vmcs';
import { ARGUMENTS, FAULT, FAULT_VM_EXIT, IDT_VECTORING_INFO, NEXT_RIP, NMI_UNBLOCKED, RIP } from '../layout';
import * as F from '../../vmx/fields';

/** Bit 12 of the interruption information, and of an EPT violation's qualification. */
export const NMI_UNBLOCKING: u32 = 0x1000;
const REASON_EXCEPTION: u32 = 0;

/**
 * Makes a VM exit to L1 pending; the instruction unwinds, and `deliverPending` completes the exit. The instruction length is that of the
 * instruction at RIP, as far as NEXT_RIP is known.
 */
export function vmExit(reason: u32, qualification: u64): i32 {
  set(F.EXIT_REASON_FIELD, reason);
  set(F.EXIT_QUALIFICATION_FIELD, qualification);
  set(F.EXIT_INTERRUPTION_INFORMATION, 0);
  set(F.EXIT_INSTRUCTION_INFORMATION, 0);
  set(F.EXIT_INSTRUCTION_LENGTH, (load<u64>(NEXT_RIP) - load<u64>(RIP)) & 15);
  store<u32>(FAULT, FAULT_VM_EXIT);
  return FAULTED;
}

/** The same for an instruction whose operands the instruction information describes; the qualification is its displacement. */
export function vmExitDecoded(reason: u32): i32 {
  const information = instructionInformation(reason);
  const status = vmExit(reason, load<u64>(ARGUMENTS));
  set(F.EXIT_INSTRUCTION_INFORMATION, information);
  return status;
}

/** The exit that an event causes: an exception, or an NMI. `info` is in the format of interruption information. */
export function vmExitEvent(info: u32, error: u32, qualification: u64): i32 {
  vmExit(REASON_EXCEPTION, qualification);
  set(F.EXIT_INTERRUPTION_INFORMATION, info | INFO_VALID | (nmiUnblocking(info) ? NMI_UNBLOCKING : 0));
  set(F.EXIT_INTERRUPTION_ERROR_CODE, info & 0x800 ? error : 0);
  return FAULTED;
}

/** An IRET that faults had unblocked NMIs already: the hypervisor must block them again. @sdm 3C 28.2.3 */
function nmiUnblocking(info: u32): bool {
  return load<u32>(NMI_UNBLOCKED) != 0 && (info & 0x7ff) != 0x308 && !(load<u32>(IDT_VECTORING_INFO) & INFO_VALID);
}
