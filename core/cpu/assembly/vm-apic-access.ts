/** Accesses of a nested guest to the APIC-access page and to x2APIC registers, which the virtual-APIC page answers. @sdm 3C 30.4, 30.5 */
import { pageKind } from './physical';
import { SYNC, exit, raiseError } from './status';
import {
  REASON_APIC_WRITE, VEOI, VTPR, interruptsVirtual, owe, setVirtualRegister, tprShadowed, virtualRegister, virtualizeEoi, virtualizeSelfIpi, virtualizeTpr,
} from './vm-apic';
import { secondaryExits } from './vm-controls';
import { vmExit } from './vm-exit';
import { get } from './vmcs';
import {
  ACTIVE_SECONDARY, ARGUMENTS, DEBUG_STEPPING, DELIVERY, EXIT_DEBUGGER, PAGE_MMIO, VIRTUAL_APIC_EXIT, VIRTUAL_APIC_QUALIFICATION, VIRTUAL_APIC_WRITE,
} from '../layout';
import { APIC_ACCESS_ADDRESS, VIRTUAL_APIC_ADDRESS } from '../../vmx/fields';
import { SECONDARY_APIC_ACCESSES, SECONDARY_APIC_REGISTERS, SECONDARY_X2APIC } from '../../vmx/control-bits';

const REASON_APIC_ACCESS: u32 = 44;
/** Access types in bits 15:12 of the exit qualification. @sdm 3C table 28-6 */
const LINEAR_READ: u32 = 0;
const LINEAR_WRITE: u32 = 1;
const LINEAR_FETCH: u32 = 2;
const LINEAR_DELIVERY: u32 = 3;
const PHYSICAL_DELIVERY: u32 = 10;
const PHYSICAL: u32 = 15;

const ICR_LOW: u32 = 0x300;
const ICR_HIGH: u32 = 0x310;
const SELF_IPI: u32 = 0x3f0;
/** What ICR must hold for an interrupt to the processor itself: fixed, edge, the shorthand "self"; and a vector of 16 at least. */
const ICR_CHECKED: u32 = 0xfffcf700 | 0x000c0000 | 0x00003000;
const ICR_SELF: u32 = 1 << 18;

/**
 * A bit for each register (offset divided by 16) that is read, or written, in the virtual-APIC page: what the task priority alone, virtual-interrupt
 * delivery and APIC-register virtualization allow. @sdm 3C 30.4.2, 30.4.3.1
 */
const TASK_PRIORITY: u64 = 1 << 8;
const WITH_INTERRUPTS: u64 = TASK_PRIORITY | 1 << 11 | (<u64>1) << 48;
/** 20, 30, 80, B0, D0, E0, F0, ISR, TMR, IRR, 280, 300, 310, 320 to 380, 3E0. */
const READ_WITH_REGISTERS: u64 = 0x41ff01ffffffe90c;
/** 20, 80, B0, D0, E0, F0, 280, 300, 310, 320 to 380, 3E0. */
const WRITTEN_WITH_REGISTERS: u64 = 0x41ff01000000e904;

/** Whether a physical address, as the guest's own translation ends, lies in the APIC-access page. */
// @ts-ignore: decorator
@inline
export function onApicPage(address: u64): bool {
  return (load<u32>(ACTIVE_SECONDARY) & SECONDARY_APIC_ACCESSES) != 0 && (address & ~0xfff) == get(APIC_ACCESS_ADDRESS);
}

function accessExit(type: u32, offset: u32): void {
  vmExit(REASON_APIC_ACCESS, u64(offset | ((load<u32>(DELIVERY) && type != LINEAR_FETCH ? LINEAR_DELIVERY : type) << 12)));
}

export function apicFetchExit(address: u64): void {
  accessExit(LINEAR_FETCH, <u32>address & 0xfff);
}

/** An access without a linear address: a paging structure in the page. */
export function apicPhysicalExit(address: u64): void {
  vmExit(REASON_APIC_ACCESS, u64((<u32>address & 0xfff) | ((load<u32>(DELIVERY) ? PHYSICAL_DELIVERY : PHYSICAL) << 12)));
}

/** Within the four bytes of a register, which is one of `registers`. */
function virtualized(offset: u32, size: u32, registers: u64): bool {
  return tprShadowed() && (offset & 15) + size <= 4 && offset < 0x400 && (registers >> (offset >>> 4) & 1) != 0;
}

/** A read of `size` bytes: the physical address, of memory, to read instead, or 0 with an exit pending. */
export function apicRead(address: u64, size: u32): u64 {
  const offset = <u32>address & 0xfff;
  const registers = secondaryExits(SECONDARY_APIC_REGISTERS) ? READ_WITH_REGISTERS : TASK_PRIORITY;
  if (virtualized(offset, size, registers) && pageKind(get(VIRTUAL_APIC_ADDRESS)) != PAGE_MMIO) return get(VIRTUAL_APIC_ADDRESS) | u64(offset);
  accessExit(LINEAR_READ, offset);
  return 0;
}

function writes(offset: u32, size: u32): bool {
  // One operation virtualizes one write; behind those of an event's delivery nothing could follow.
  if (load<u32>(VIRTUAL_APIC_EXIT) & VIRTUAL_APIC_WRITE || load<u32>(DELIVERY)) return false;
  const registers = secondaryExits(SECONDARY_APIC_REGISTERS) ? WRITTEN_WITH_REGISTERS : interruptsVirtual() ? WITH_INTERRUPTS : TASK_PRIORITY;
  return virtualized(offset, size, registers);
}

/**
 * Whether a write of `size` bytes may go on: its instruction runs alone, since what the write means follows behind it (`emulateApicWrite`).
 * False: an exit is pending, or the instruction is given up to run alone.
 */
export function apicWriteAdmit(address: u64, size: u32): bool {
  const offset = <u32>address & 0xfff;
  if (!writes(offset, size)) {
    accessExit(LINEAR_WRITE, offset);
    return false;
  }
  if (load<u32>(DEBUG_STEPPING)) return true;
  exit(EXIT_DEBUGGER, 0);
  return false;
}

/** The same for the write itself: the physical address to write instead, or 0. */
export function apicWrite(address: u64, size: u32): u64 {
  if (!apicWriteAdmit(address, size)) return 0;
  const offset = <u32>address & 0xfff;
  store<u32>(VIRTUAL_APIC_EXIT, VIRTUAL_APIC_WRITE | (offset << VIRTUAL_APIC_QUALIFICATION));
  return get(VIRTUAL_APIC_ADDRESS) | u64(offset);
}

/** Behind an instruction that wrote to the page. @sdm 3C 30.4.3.2 */
export function emulateApicWrite(): void {
  const offset = (load<u32>(VIRTUAL_APIC_EXIT) & ~VIRTUAL_APIC_WRITE) >>> VIRTUAL_APIC_QUALIFICATION;
  const register = offset & 0xff0;
  store<u32>(VIRTUAL_APIC_EXIT, 0);
  if (register == VTPR) {
    setVirtualRegister(VTPR, virtualRegister(VTPR) & 0xff);
    virtualizeTpr();
  } else if (register == VEOI && interruptsVirtual()) {
    setVirtualRegister(VEOI, 0);
    virtualizeEoi();
  } else if (register == ICR_HIGH) {
    setVirtualRegister(ICR_HIGH, virtualRegister(ICR_HIGH) & 0xff000000);
  } else if (register == ICR_LOW && interruptsVirtual() && toSelf(virtualRegister(ICR_LOW))) {
    virtualizeSelfIpi(virtualRegister(ICR_LOW) & 0xff);
  } else {
    owe(REASON_APIC_WRITE, offset);
  }
}

function toSelf(command: u32): bool {
  return (command & ICR_CHECKED) == ICR_SELF && (command & 0xf0) != 0;
}

// ---- x2APIC mode --------------------------------------------------------------------------------------------------------------------
const FIRST_MSR: u32 = 0x800;
const MSR_TPR: u32 = 0x808;
const MSR_EOI: u32 = 0x80b;
const MSR_SELF_IPI: u32 = 0x83f;

/** Whether RDMSR of an index reads the virtual-APIC page: its value is then in ARGUMENTS. */
export function readVirtualMsr(index: u32): bool {
  if (!secondaryExits(SECONDARY_X2APIC) || index >>> 8 != 8) return false;
  if (index != MSR_TPR && !secondaryExits(SECONDARY_APIC_REGISTERS)) return false;
  const offset = (index - FIRST_MSR) << 4;
  store<u64>(ARGUMENTS, u64(virtualRegister(offset)) | (u64(virtualRegister(offset + 4)) << 32));
  return true;
}

export function ownsVirtualMsr(index: u32): bool {
  if (!secondaryExits(SECONDARY_X2APIC)) return false;
  return index == MSR_TPR || (interruptsVirtual() && (index == MSR_EOI || index == MSR_SELF_IPI));
}

/** WRMSR of what `ownsVirtualMsr` names. */
export function writeVirtualMsr(index: u32, value: u64): i32 {
  if (value >> 8 || (index == MSR_EOI && value)) return raiseError(13, 0);
  const offset = (index - FIRST_MSR) << 4;
  setVirtualRegister(offset, <u32>value);
  setVirtualRegister(offset + 4, 0);
  if (index == MSR_TPR) virtualizeTpr();
  else if (index == MSR_EOI) virtualizeEoi();
  else if (value & 0xf0) virtualizeSelfIpi(<u32>value);
  else owe(REASON_APIC_WRITE, SELF_IPI);
  return SYNC;
}
