/** The virtual APIC of a nested guest: its task priority, and interrupts that it is given without an exit. @sdm 3C 30.1, 30.2, 30.6 */
import { pageKind } from './physical';
import { fieldOffset, get, get32, physicalHost, set } from './vmcs';
import {
  ACTIVE_PIN, ACTIVE_PRIMARY, ACTIVE_SECONDARY, INTERRUPT_WINDOW, PAGE_MMIO, RAM_BASE, VIRTUAL_APIC_EXIT, VIRTUAL_APIC_QUALIFICATION, VMCS, WINDOW_VIRTUAL_INTERRUPT,
} from '../layout';
import {
  EOI_EXIT_BITMAP_0, GUEST_INTERRUPT_STATUS, POSTED_INTERRUPT_DESCRIPTOR_ADDRESS, POSTED_INTERRUPT_NOTIFICATION_VECTOR, TPR_THRESHOLD, VIRTUAL_APIC_ADDRESS,
} from '../../vmx/fields';
import { PIN_POSTED_INTERRUPTS, PRIMARY_INTERRUPT_WINDOW, PRIMARY_TPR_SHADOW, SECONDARY_APIC_ACCESSES, SECONDARY_VIRTUAL_INTERRUPTS } from '../../vmx/control-bits';

/** Registers by their offset in the virtual-APIC page. */
export const VTPR: u32 = 0x80;
const VPPR: u32 = 0xa0;
export const VEOI: u32 = 0xb0;
const VISR: u32 = 0x100;
const VIRR: u32 = 0x200;

const REASON_TPR_BELOW_THRESHOLD: u32 = 43;
const REASON_VIRTUALIZED_EOI: u32 = 45;
export const REASON_APIC_WRITE: u32 = 56;
/** Outstanding notification, a bit of the descriptor's fifth quadword. */
const OUTSTANDING: u64 = 1;
const DESCRIPTOR_BYTES: u32 = 64;

// @ts-ignore: decorator
@inline
export function tprShadowed(): bool {
  return (load<u32>(ACTIVE_PRIMARY) & PRIMARY_TPR_SHADOW) != 0;
}

// @ts-ignore: decorator
@inline
export function interruptsVirtual(): bool {
  return (load<u32>(ACTIVE_SECONDARY) & SECONDARY_VIRTUAL_INTERRUPTS) != 0;
}

/** The exit that the virtual APIC owes behind the current instruction. */
export function owe(reason: u32, qualification: u32): void {
  store<u32>(VIRTUAL_APIC_EXIT, reason | (qualification << VIRTUAL_APIC_QUALIFICATION));
}

// ---- the page -----------------------------------------------------------------------------------------------------------------------
/** A register; ones where there is no memory. */
export function virtualRegister(offset: u32): u32 {
  const at = get(VIRTUAL_APIC_ADDRESS) + u64(offset);
  return pageKind(at) == PAGE_MMIO ? 0xffffffff : load<u32>(RAM_BASE + <u32>at);
}

export function setVirtualRegister(offset: u32, value: u32): void {
  const host = physicalHost(get(VIRTUAL_APIC_ADDRESS) + u64(offset), 4);
  if (host) store<u32>(host, value);
}

/** The register of VISR or VIRR that holds a vector. */
// @ts-ignore: decorator
@inline
function word(bits: u32, vector: u32): u32 {
  return bits + ((vector >>> 5) << 4);
}

// @ts-ignore: decorator
@inline
function bit(vector: u32): u32 {
  return (<u32>1) << (vector & 31);
}

/** The highest vector of VISR or VIRR, 0 when there is none. */
function highest(bits: u32): u32 {
  for (let i: i32 = 7; i >= 0; i--) {
    const value = virtualRegister(bits + (u32(i) << 4));
    if (value) return (u32(i) << 5) + 31 - clz(value);
  }
  return 0;
}

// ---- guest interrupt status: RVI, the highest requesting vector, and SVI, that in service ---------------------------------------------
// @ts-ignore: decorator
@inline
function requesting(): u32 {
  return get32(GUEST_INTERRUPT_STATUS) & 0xff;
}

// @ts-ignore: decorator
@inline
function inService(): u32 {
  return (get32(GUEST_INTERRUPT_STATUS) >>> 8) & 0xff;
}

function setStatus(request: u32, service: u32): void {
  set(GUEST_INTERRUPT_STATUS, u64(request | (service << 8)));
}

// ---- priorities ---------------------------------------------------------------------------------------------------------------------
/** Bits 7:4 of the virtual task priority. */
export function virtualTpr(): u32 {
  return (virtualRegister(VTPR) >>> 4) & 15;
}

export function belowThreshold(): bool {
  return virtualTpr() < (get32(TPR_THRESHOLD) & 15);
}

/** MOV to CR8. */
export function writeVirtualTpr(priority: u32): void {
  setVirtualRegister(VTPR, priority << 4);
  virtualizeTpr();
}

/** After any write of the task priority. @sdm 3C 30.1.2 */
export function virtualizeTpr(): void {
  if (interruptsVirtual()) refresh();
  else if (belowThreshold()) owe(REASON_TPR_BELOW_THRESHOLD, 0);
}

/** The processor priority follows from the task priority and what is in service. @sdm 3C 30.1.3 */
function virtualizePpr(): void {
  const tpr = virtualRegister(VTPR) & 0xff;
  const service = inService() & 0xf0;
  setVirtualRegister(VPPR, (tpr & 0xf0) >= service ? tpr : service);
}

/** Decides whether a virtual interrupt is pending. @sdm 3C 30.2.1 */
export function evaluateInterrupts(): void {
  const pending = !(load<u32>(ACTIVE_PRIMARY) & PRIMARY_INTERRUPT_WINDOW) && (requesting() & 0xf0) > (virtualRegister(VPPR) & 0xf0);
  const windows = load<u32>(INTERRUPT_WINDOW) & ~WINDOW_VIRTUAL_INTERRUPT;
  store<u32>(INTERRUPT_WINDOW, pending ? windows | WINDOW_VIRTUAL_INTERRUPT : windows);
}

function refresh(): void {
  virtualizePpr();
  evaluateInterrupts();
}

/** At VM entry: interrupts that are pending, or the exit for a priority below the threshold, which the checks of VM entry left. @sdm 3C 27.7.7 */
export function startVirtualApic(): void {
  if (!tprShadowed()) return;
  if (interruptsVirtual()) refresh();
  else if (load<u32>(ACTIVE_SECONDARY) & SECONDARY_APIC_ACCESSES && belowThreshold()) owe(REASON_TPR_BELOW_THRESHOLD, 0);
}

// ---- interrupts ---------------------------------------------------------------------------------------------------------------------
function request(vector: u32): void {
  if (vector > requesting()) setStatus(vector, inService());
  evaluateInterrupts();
}

/** @sdm 3C 30.1.5 */
export function virtualizeSelfIpi(vector: u32): void {
  const at = word(VIRR, vector);
  setVirtualRegister(at, virtualRegister(at) | bit(vector));
  request(vector);
}

/** @sdm 3C 30.1.4 */
export function virtualizeEoi(): void {
  const vector = inService();
  const at = word(VISR, vector);
  setVirtualRegister(at, virtualRegister(at) & ~bit(vector));
  setStatus(requesting(), highest(VISR));
  virtualizePpr();
  const exits = load<u64>(VMCS + fieldOffset(EOI_EXIT_BITMAP_0) + ((vector >>> 6) << 3)) >> (vector & 63) & 1;
  if (exits) owe(REASON_VIRTUALIZED_EOI, vector);
  else evaluateInterrupts();
}

/** The pending virtual interrupt goes into service: its vector. @sdm 3C 30.2.2 */
export function takeVirtualInterrupt(): u32 {
  const vector = requesting();
  const service = word(VISR, vector);
  setVirtualRegister(service, virtualRegister(service) | bit(vector));
  setVirtualRegister(VPPR, vector & 0xf0);
  const at = word(VIRR, vector);
  setVirtualRegister(at, virtualRegister(at) & ~bit(vector));
  setStatus(highest(VIRR), vector);
  store<u32>(INTERRUPT_WINDOW, load<u32>(INTERRUPT_WINDOW) & ~WINDOW_VIRTUAL_INTERRUPT);
  return vector;
}

/** Whether an interrupt that root mode has acknowledged is the notification of posted interrupts; they are then pending. @sdm 3C 30.6 */
export function takePostedInterrupts(vector: u32): bool {
  if (!(load<u32>(ACTIVE_PIN) & PIN_POSTED_INTERRUPTS) || vector != (get32(POSTED_INTERRUPT_NOTIFICATION_VECTOR) & 0xff)) return false;
  const host = physicalHost(get(POSTED_INTERRUPT_DESCRIPTOR_ADDRESS), DESCRIPTOR_BYTES);
  if (!host) return true;
  atomic.and<u64>(host, ~OUTSTANDING, 32);
  let posted: u32 = 0;
  for (let i: u32 = 0; i < 8; i++) {
    const requests = atomic.xchg<u32>(host + (i << 2), 0);
    if (!requests) continue;
    setVirtualRegister(VIRR + (i << 4), virtualRegister(VIRR + (i << 4)) | requests);
    posted = (i << 5) + 31 - clz(requests);
  }
  request(posted);
  return true;
}
