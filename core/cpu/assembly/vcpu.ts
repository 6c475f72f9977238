/**
 * Which vCPU runs. All code works on STATE; what is of one vCPU alone there is put away when another one's turn comes, and so are its
 * look-aside tables: each vCPU has banks of its own, so nothing is flushed.
 */
import { useBank } from './tlb';
import {
  BOUNCE, CODE_TABLE, FAULT, INSTRUCTIONS, STEP_REASON, CURRENT_VMCS, HELPER_STATE, NON_ROOT, PHYS_RESERVED, PLAIN_SEGMENTS, ROOT_VMCS, RUNNING_VCPU, STATE, TLB_BASE,
  VCPU_STATES, VCPU_STATE_SIZE, VMCS, VMX_CAPABILITIES, VMX_OPERATION, X87, XSCRATCH,
} from '../layout';

/**
 * The parts of STATE that are a vCPU's own, first byte and end. What lies between them is of the machine (limits of the model, RAM, code,
 * debugger), scratch, or goes with the bank of tables.
 */
const OWN: usize = memory.data<u32>([
  STATE, PHYS_RESERVED,
  FAULT, INSTRUCTIONS,
  STEP_REASON, BOUNCE,
  X87, XSCRATCH,
  HELPER_STATE, CODE_TABLE,
  TLB_BASE, TLB_BASE + 4,
  PLAIN_SEGMENTS, PLAIN_SEGMENTS + 4,
  VMX_OPERATION, VMX_OPERATION + 0x100,
  ROOT_VMCS, ROOT_VMCS + 0x1000,
]);
const OWN_END: usize = OWN + 9 * 8;
const VMCS_BYTES: usize = VMX_CAPABILITIES - VMCS;

function parked(vcpu: u32): usize {
  return VCPU_STATES + vcpu * VCPU_STATE_SIZE - STATE;
}

/** Copies a vCPU's own state; the distances are those of its two places from STATE. */
function move(from: usize, to: usize): void {
  for (let row = OWN; row < OWN_END; row += 8) {
    const start = load<u32>(row);
    memory.copy(to + start, from + start, load<u32>(row, 4) - start);
  }
  if (load<u64>(from + CURRENT_VMCS) != 0) memory.copy(to + VMCS, from + VMCS, VMCS_BYTES);
}

/** Puts the running vCPU's state away and takes another's out. Between two VM entries only. */
export function selectVcpu(next: u32): void {
  const before = load<u32>(RUNNING_VCPU);
  if (next == before) return;
  move(0, parked(before));
  move(parked(next), 0);
  store<u32>(RUNNING_VCPU, next);
  useBank(load<u32>(NON_ROOT) != 0);
}
