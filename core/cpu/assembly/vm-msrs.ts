/** The MSR areas of VM entry and VM exit. @sdm 3C 27.4, 28.4, 28.6 */
import { readMsr, writeMsr } from './msr';
import { pageKind } from './physical';
import { FAULTED, OK } from './status';
import { physicalHost } from './vmcs';
import { ARGUMENTS, FAULT, PAGE_MMIO, PHYS_RESERVED, RAM_BASE } from '../layout';

/** What IA32_VMX_MISC recommends as the most. An area beyond that is taken for an error. */
const MOST: u32 = 512;
const ENTRY_BYTES: u64 = 16;
const TIME_STAMP_COUNTER: u32 = 0x10;

/** FS.base and GS.base are fields of the VMCS; x2APIC registers and SMM's are nobody's business here. */
function forbidden(index: u32): bool {
  return index == 0xc0000100 || index == 0xc0000101 || index >>> 8 == 8 || index == 0x9b || index == 0x9e;
}

/** Loads `count` MSRs; 0, or the number of the entry, from 1, that cannot be loaded. */
export function loadMsrs(area: u64, count: u32): u32 {
  for (let i: u32 = 0; i < count; i++) {
    const entry = area + u64(i) * ENTRY_BYTES;
    if (i >= MOST || entry & load<u64>(PHYS_RESERVED) || pageKind(entry) == PAGE_MMIO) return i + 1;
    const host = RAM_BASE + <u32>entry;
    const index = load<u32>(host);
    if (forbidden(index) || load<u32>(host, 4)) return i + 1;
    if (writeMsr(index, load<u64>(host, 8)) == FAULTED) {
      store<u32>(FAULT, 0);
      return i + 1;
    }
  }
  return 0;
}

/** Stores `count` MSRs, the time-stamp counter as `time`, L1's view of it; false when one cannot be. */
export function storeMsrs(area: u64, count: u32, time: u64): bool {
  for (let i: u32 = 0; i < count; i++) {
    const entry = area + u64(i) * ENTRY_BYTES;
    const host = i < MOST ? physicalHost(entry, <u32>ENTRY_BYTES) : 0;
    if (!host) return false;
    const index = load<u32>(host);
    if (index >>> 8 == 8 || load<u32>(host, 4)) return false;
    if (index == TIME_STAMP_COUNTER) store<u64>(host, time, 8);
    else if (readMsr(index) == OK) store<u64>(host, load<u64>(ARGUMENTS), 8);
    else {
      store<u32>(FAULT, 0);
      return false;
    }
  }
  return true;
}
