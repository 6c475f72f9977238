/** Extended page tables: guest-physical addresses of a nested guest to those of L1. @sdm 3C 29.3 */
import { pageKind } from './physical';
import { structureWritable } from './physical-write';
import { vmExit, NMI_UNBLOCKING } from './vm-exit';
import { get, get32, set } from './vmcs';
import { ACTIVE_SECONDARY, NMI_UNBLOCKED, PAGE_MMIO, PHYS_RESERVED, RAM_BASE } from '../layout';
import { EPT_POINTER, GUEST_LINEAR_ADDRESS, GUEST_PHYSICAL_ADDRESS, PML_ADDRESS, PML_INDEX } from '../../vmx/fields';
import { SECONDARY_EPT, SECONDARY_MODE_BASED_EXECUTE, SECONDARY_PML, SECONDARY_VIRTUALIZATION_EXCEPTION } from '../../vmx/control-bits';

export const REASON_VIOLATION: u32 = 48;
const REASON_MISCONFIGURATION: u32 = 49;
const REASON_LOG_FULL: u32 = 62;

/** The access in the exit qualification: bits 2:0; 5:3 what the entries allow; 7 = the linear address is valid, 8 = it was translated. */
export const EPT_READ: u32 = 1;
export const EPT_WRITE: u32 = 2;
export const EPT_EXECUTE: u32 = 4;
/** A fetch from a user-mode linear address, with mode-based execute control: bit 10 of the entries decides. @sdm 3C 29.3.3.2 */
export const EPT_EXECUTE_USER: u32 = 0x400;
const LINEAR_VALID: u64 = 1 << 7;
const LINEAR_TRANSLATED: u64 = 1 << 8;

const LARGE: u64 = 1 << 7;
const ACCESSED: u64 = 1 << 8;
const DIRTY: u64 = 1 << 9;
/** Sign of an entry: a violation stays an exit. @sdm 3C 26.5.7.1 */
const SUPPRESS_EXCEPTION: u64 = 0x8000000000000000;
const POINTER_FLAGS: u64 = 1 << 6;
const ADDRESS: u64 = 0x000ffffffffff000;

/** Outcome of the last translation that succeeded: the page in L1's physical memory. */
export let eptPage: u64 = 0;
/** Whether the last violation may be a virtualization exception instead. */
export let eptConvertible: bool = false;
/** Entries that the walk used: host addresses, for the accessed flags. */
const USED: usize = memory.data(16, 4);

// @ts-ignore: decorator
@inline
export function eptEnabled(): bool {
  return (load<u32>(ACTIVE_SECONDARY) & SECONDARY_EPT) != 0;
}

// @ts-ignore: decorator
@inline
export function modeBased(): bool {
  return (load<u32>(ACTIVE_SECONDARY) & SECONDARY_MODE_BASED_EXECUTE) != 0;
}

function unblocking(): u64 {
  return load<u32>(NMI_UNBLOCKED) ? NMI_UNBLOCKING : 0;
}

/** Makes the exit pending, which `entry` ended the walk with. `linear` counts when `context` has LINEAR_VALID. */
function violation(gpa: u64, access: u32, allowed: u64, entry: u64, context: u64, linear: u64): bool {
  eptConvertible = (load<u32>(ACTIVE_SECONDARY) & SECONDARY_VIRTUALIZATION_EXCEPTION) != 0 && !(entry & SUPPRESS_EXCEPTION);
  const kind = access & EPT_EXECUTE_USER ? EPT_EXECUTE : access;
  const user = modeBased() ? (allowed >> 10 & 1) << 6 : 0;
  vmExit(REASON_VIOLATION, u64(kind) | ((allowed & 7) << 3) | user | context | unblocking());
  set(GUEST_PHYSICAL_ADDRESS, gpa);
  set(GUEST_LINEAR_ADDRESS, linear);
  return false;
}

function misconfiguration(gpa: u64): bool {
  vmExit(REASON_MISCONFIGURATION, 0);
  set(GUEST_PHYSICAL_ADDRESS, gpa);
  return false;
}

/** Whether a present entry says what cannot be; `leaf` maps a page of `1 << shift` bytes. @sdm 3C 29.3.3.1 */
function misconfigured(entry: u64, shift: u64, leaf: bool): bool {
  if ((entry & 3) == 2 || entry & load<u64>(PHYS_RESERVED)) return true;
  if (!leaf) return (entry & (shift == 39 ? 0xf8 : 0x78)) != 0;
  const memoryType = (entry >> 3) & 7;
  if (memoryType == 2 || memoryType == 3 || memoryType == 7) return true;
  return (entry & ADDRESS & (((<u64>1) << shift) - 1)) != 0;
}

/**
 * Translates a guest-physical address for `access` (EPT_* bits). `translated`: it is what `linear` translates to, and not a paging
 * structure's on the way there. False: an exit to L1 is pending.
 */
export function eptTranslate(gpa: u64, accessIn: u32, linear: u64, translated: bool): bool {
  return walk(gpa, accessIn, LINEAR_VALID | (translated ? LINEAR_TRANSLATED : 0), linear);
}

/** The same for an access that no linear address stands behind. */
export function eptTranslatePlain(gpa: u64, access: u32): bool {
  return walk(gpa, access, 0, 0);
}

function walk(gpa: u64, accessIn: u32, context: u64, linear: u64): bool {
  const pointer = get(EPT_POINTER);
  const flags = (pointer & POINTER_FLAGS) != 0;
  let access = accessIn;
  // With accessed and dirty flags, accesses to paging structures are taken for writes. @sdm 3C 29.3.3.2
  if (flags && context && !(context & LINEAR_TRANSLATED)) access |= EPT_WRITE;
  let structure = pointer & ADDRESS;
  let allowed: u64 = 0x407;
  const presence: u64 = modeBased() ? 0x407 : 7;
  let depth: u32 = 0;
  let shift: u64 = 39;
  while (true) {
    const at = structure + (((gpa >> shift) & 511) << 3);
    const host = pageKind(at) == PAGE_MMIO ? 0 : RAM_BASE + <u32>at;
    const entry = host ? atomic.load<u64>(host) : ~(<u64>0);
    if (!(entry & presence)) return violation(gpa, access, 0, entry, context, linear);
    const leaf = shift == 12 || (entry & LARGE && shift <= 30);
    if (misconfigured(entry, shift, leaf)) return misconfiguration(gpa);
    allowed &= entry;
    store<u32>(USED + (depth << 2), <u32>at);
    depth++;
    if (leaf) {
      if ((u64(access) & allowed) != access) return violation(gpa, access, allowed, entry, context, linear);
      const dirties = flags && access & EPT_WRITE && !(entry & DIRTY);
      if (dirties && load<u32>(ACTIVE_SECONDARY) & SECONDARY_PML && !logModification(gpa)) return false;
      if (flags) note(depth, (access & EPT_WRITE) != 0);
      const inside = ((<u64>1) << shift) - 1;
      eptPage = (entry & ADDRESS & ~inside) | (gpa & inside & ~0xfff);
      return true;
    }
    structure = entry & ADDRESS;
    shift -= 9;
  }
}

/** Page-modification logging: the page's address before its dirty flag is set. False: the log is full, which is an exit. @sdm 3C 29.3.6 */
function logModification(gpa: u64): bool {
  const index = get32(PML_INDEX) & 0xffff;
  if (index > 511) {
    vmExit(REASON_LOG_FULL, unblocking());
    return false;
  }
  const at = get(PML_ADDRESS) + u64(index << 3);
  if (structureWritable(at)) store<u64>(RAM_BASE + <u32>at, gpa & ~0xfff);
  set(PML_INDEX, (index - 1) & 0xffff);
  return true;
}

/** Sets the accessed flags of the entries used, and the dirty flag of the last. */
function note(depth: u32, write: bool): void {
  for (let i: u32 = 0; i < depth; i++) {
    const at = load<u32>(USED + (i << 2));
    const host = RAM_BASE + at;
    const wanted: u64 = ACCESSED | (write && i == depth - 1 ? DIRTY : 0);
    if ((atomic.load<u64>(host) & wanted) != wanted && structureWritable(at)) atomic.or<u64>(host, wanted);
  }
}
