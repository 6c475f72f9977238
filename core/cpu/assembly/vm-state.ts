/**
 * Which field of a VMCS holds which register: one list for VM entry and VM exit. `save` is a constant at every call, so each use is
 * compiled to loads and stores at fixed addresses. @sdm 3C 25.4, 27.3.2, 28.3
 */
import { segment } from './descriptors';
import { readFlags } from './flags';
import { fieldOffset } from './vmcs';
import {
  ACTIVITY, CR0, CR3, CR4, CS, DR7, DS, EFER, ES, FS, GDTR_BASE, GDTR_LIMIT, GPR, GS, IDTR_BASE, IDTR_LIMIT, INTERRUPTIBILITY, LDTR, MSR_DEBUGCTL, MSR_PAT,
  MSR_SYSENTER_CS, MSR_SYSENTER_EIP, MSR_SYSENTER_ESP, PDPTE, PENDING_DEBUG, RIP, ROOT_VMCS, SEG_ACCESS, SEG_BASE, SEG_LIMIT, SEG_SELECTOR, SS, TR,
} from '../layout';
import * as F from '../../vmx/fields';

const RSP: usize = GPR + 32;

/** A field of 64 bits or of natural width. */
// @ts-ignore: decorator
@inline
function wide(vmcs: usize, save: bool, encoding: u32, register: usize): void {
  const field = vmcs + fieldOffset(encoding);
  if (save) store<u64>(field, load<u64>(register));
  else store<u64>(register, load<u64>(field));
}

/** A field of 32 bits, in eight bytes. */
// @ts-ignore: decorator
@inline
function word(vmcs: usize, save: bool, encoding: u32, register: usize): void {
  const field = vmcs + fieldOffset(encoding);
  if (save) store<u64>(field, load<u32>(register));
  else store<u32>(register, load<u32>(field));
}

/** The fields of segments follow one another in the order of the registers' numbers. */
// @ts-ignore: decorator
@inline
function segmentFields(vmcs: usize, save: bool, index: u32): void {
  const register = segment(index);
  const selector = vmcs + fieldOffset(F.GUEST_ES_SELECTOR + index * 2);
  if (save) store<u64>(selector, load<u16>(register, SEG_SELECTOR));
  else store<u16>(register, load<u16>(selector), SEG_SELECTOR);
  word(vmcs, save, F.GUEST_ES_LIMIT + index * 2, register + SEG_LIMIT);
  word(vmcs, save, F.GUEST_ES_ACCESS_RIGHTS + index * 2, register + SEG_ACCESS);
  wide(vmcs, save, F.GUEST_ES_BASE + index * 2, register + SEG_BASE);
}

/** What entry and exit move as it is. What they change on the way, or move by a control, is in vm-entry.ts and vm-leave.ts. */
// @ts-ignore: decorator
@inline
export function moveGuestState(vmcs: usize, save: bool): void {
  wide(vmcs, save, F.GUEST_CR3, CR3);
  segmentFields(vmcs, save, ES);
  segmentFields(vmcs, save, CS);
  segmentFields(vmcs, save, SS);
  segmentFields(vmcs, save, DS);
  segmentFields(vmcs, save, FS);
  segmentFields(vmcs, save, GS);
  segmentFields(vmcs, save, LDTR);
  segmentFields(vmcs, save, TR);
  wide(vmcs, save, F.GUEST_GDTR_BASE, GDTR_BASE);
  word(vmcs, save, F.GUEST_GDTR_LIMIT, GDTR_LIMIT);
  wide(vmcs, save, F.GUEST_IDTR_BASE, IDTR_BASE);
  word(vmcs, save, F.GUEST_IDTR_LIMIT, IDTR_LIMIT);
  wide(vmcs, save, F.GUEST_RIP, RIP);
  wide(vmcs, save, F.GUEST_RSP, RSP);
  word(vmcs, save, F.GUEST_IA32_SYSENTER_CS, MSR_SYSENTER_CS);
  if (!save) store<u32>(MSR_SYSENTER_CS, 0, 4);
  wide(vmcs, save, F.GUEST_IA32_SYSENTER_ESP, MSR_SYSENTER_ESP);
  wide(vmcs, save, F.GUEST_IA32_SYSENTER_EIP, MSR_SYSENTER_EIP);
}

/** Page-directory-pointer entries, with EPT. */
// @ts-ignore: decorator
@inline
export function movePdptes(vmcs: usize, save: bool): void {
  wide(vmcs, save, F.GUEST_PDPTE0, PDPTE);
  wide(vmcs, save, F.GUEST_PDPTE1, PDPTE + 8);
  wide(vmcs, save, F.GUEST_PDPTE2, PDPTE + 16);
  wide(vmcs, save, F.GUEST_PDPTE3, PDPTE + 24);
}

/** Root mode looks at its VMCS: the guest state that the processor holds. Nothing of it changes. */
export function storeGuestState(): void {
  moveGuestState(ROOT_VMCS, true);
  movePdptes(ROOT_VMCS, true);
  wide(ROOT_VMCS, true, F.GUEST_CR0, CR0);
  wide(ROOT_VMCS, true, F.GUEST_CR4, CR4);
  wide(ROOT_VMCS, true, F.GUEST_DR7, DR7);
  wide(ROOT_VMCS, true, F.GUEST_IA32_EFER, EFER);
  wide(ROOT_VMCS, true, F.GUEST_IA32_PAT, MSR_PAT);
  wide(ROOT_VMCS, true, F.GUEST_IA32_DEBUGCTL, MSR_DEBUGCTL);
  wide(ROOT_VMCS, true, F.GUEST_PENDING_DEBUG_EXCEPTIONS, PENDING_DEBUG);
  word(ROOT_VMCS, true, F.GUEST_INTERRUPTIBILITY_STATE, INTERRUPTIBILITY);
  word(ROOT_VMCS, true, F.GUEST_ACTIVITY_STATE, ACTIVITY);
  store<u64>(ROOT_VMCS + fieldOffset(F.GUEST_RFLAGS), readFlags());
}
