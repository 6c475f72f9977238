/** The current VMCS: fields, and the region in the guest's memory that they are written back to. @sdm 3C 25 */
import { CURRENT_VMCS, PAGE_RAM, RAM_BASE, VMCS, VMCS_CHECKED } from '../layout';
import { writeToCode } from './code';
import { noteWrite, pageKind } from './physical';

/** Header of a region: u32 revision and shadow indicator, u32 abort indicator, u32 launch state (0 = clear). */
export const REGION_ABORT: u32 = 4;
export const REGION_LAUNCHED: u32 = 8;
/** What a shadow VMCS has besides the revision. */
export const SHADOW_INDICATOR: u32 = 0x80000000;

/** The place of a field, its encoding being a constant; see core/vmx/vmcs.ts. */
// @ts-ignore: decorator
@inline
export function fieldOffset(encoding: u32): u32 {
  return ((((encoding >>> 13) & 3) << 10) | (((encoding >>> 10) & 3) << 8) | (((encoding >>> 1) & 31) << 3)) ^ 0x100;
}

// @ts-ignore: decorator
@inline
export function get(encoding: u32): u64 {
  return load<u64>(VMCS + fieldOffset(encoding));
}

// @ts-ignore: decorator
@inline
export function get32(encoding: u32): u32 {
  return load<u32>(VMCS + fieldOffset(encoding));
}

// @ts-ignore: decorator
@inline
export function set(encoding: u32, value: u64): void {
  store<u64>(VMCS + fieldOffset(encoding), value);
}

/** The current-VMCS pointer, all ones when there is none. */
// @ts-ignore: decorator
@inline
export function currentVmcs(): u64 {
  return ~load<u64>(CURRENT_VMCS);
}

/** Host address of guest-physical memory that may be written, 0 where there is none. */
export function physicalHost(address: u64, size: u32): u32 {
  if (pageKind(address) != PAGE_RAM) return 0;
  noteWrite(<u32>address);
  writeToCode(<u32>address, size);
  return RAM_BASE + <u32>address;
}

/** Writes the current VMCS back to its region; there is none afterwards. */
export function releaseVmcs(): void {
  if (!load<u64>(CURRENT_VMCS)) return;
  const region = physicalHost(currentVmcs(), 4096);
  if (region) memory.copy(region, VMCS, 4096);
  store<u64>(CURRENT_VMCS, 0);
}

/** Makes the region at a page of RAM the current VMCS. */
export function acquireVmcs(pointer: u64): void {
  releaseVmcs();
  memory.copy(VMCS, RAM_BASE + <u32>pointer, 4096);
  store<u64>(CURRENT_VMCS, ~pointer);
  store<u32>(VMCS_CHECKED, 0);
}
