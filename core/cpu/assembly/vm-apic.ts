/** The virtual APIC of a nested guest: so far its task priority. @sdm 3C 30.1 */
import { pageKind } from './physical';
import { physicalHost, get, get32 } from './vmcs';
import { ACTIVE_PRIMARY, PAGE_MMIO, RAM_BASE, VIRTUAL_APIC_EXIT } from '../layout';
import { TPR_THRESHOLD, VIRTUAL_APIC_ADDRESS } from '../../vmx/fields';
import { PRIMARY_TPR_SHADOW } from '../../vmx/control-bits';

const OFFSET_TPR: u64 = 0x80;
const REASON_TPR_BELOW_THRESHOLD: u32 = 43;

// @ts-ignore: decorator
@inline
export function tprShadowed(): bool {
  return (load<u32>(ACTIVE_PRIMARY) & PRIMARY_TPR_SHADOW) != 0;
}

/** Bits 7:4 of the virtual task priority. */
export function virtualTpr(): u32 {
  const at = get(VIRTUAL_APIC_ADDRESS) + OFFSET_TPR;
  return pageKind(at) == PAGE_MMIO ? 15 : (load<u32>(RAM_BASE + <u32>at) >>> 4) & 15;
}

/** MOV to CR8; below the threshold an exit is due behind the instruction. */
export function writeVirtualTpr(priority: u32): void {
  const host = physicalHost(get(VIRTUAL_APIC_ADDRESS) + OFFSET_TPR, 4);
  if (host) store<u32>(host, priority << 4);
  if (belowThreshold()) store<u32>(VIRTUAL_APIC_EXIT, REASON_TPR_BELOW_THRESHOLD);
}

export function belowThreshold(): bool {
  return virtualTpr() < (get32(TPR_THRESHOLD) & 15);
}
