/** The stacks a TSS holds for inner privilege levels. @sdm 3A 7.7, 8.2 */
import {
  accessOf, baseOf, descriptorAccess, descriptorBase, descriptorDpl, descriptorLimit, descriptorPresent, descriptorType, external,
  fetchDescriptor, limitOf, linear, markAccessed, selectorFault, selectorOf,
} from './descriptors';
import { faulted, raiseError } from './status';
import { sysReadU16, sysReadU32, sysReadU64 } from './memory';
import { TR } from '../layout';

/** What `readInnerStack` found: selector, pointer, and the segment's hidden part. */
export let innerSelector: u32 = 0;
export let innerPointer: u64 = 0;
export let innerBase: u64 = 0;
export let innerLimit: u32 = 0;
export let innerAccess: u32 = 0;

/** Reads SS:ESP for `level` from a 16- or 32-bit TSS and checks the segment. #TS, #SS as the manual has it. @sdm 2A INT */
export function readInnerStack(level: u32): bool {
  const base = baseOf(TR);
  const limit = limitOf(TR);
  if (accessOf(TR) & 8) {
    const at = level * 8 + 4;
    if (at + 5 > limit) return noStack();
    innerPointer = u64(sysReadU32(linear(base + u64(at))));
    if (faulted()) return false;
    innerSelector = sysReadU16(linear(base + u64(at + 4)));
  } else {
    const at = level * 4 + 2;
    if (at + 3 > limit) return noStack();
    innerPointer = u64(sysReadU16(linear(base + u64(at))));
    if (faulted()) return false;
    innerSelector = sysReadU16(linear(base + u64(at + 2)));
  }
  if (faulted()) return false;
  return checkInnerStack(level);
}

function noStack(): bool {
  selectorFault(10, selectorOf(TR));
  return false;
}

/** Checks innerSelector as the stack segment of `level`. */
function checkInnerStack(level: u32): bool {
  const selector = innerSelector;
  if ((selector & 0xfffc) == 0) {
    raiseError(10, external);
    return false;
  }
  if (!fetchDescriptor(selector, 10)) return false;
  if ((selector & 3) != level || descriptorDpl() != level || (descriptorType() & 0x1a) != 0x12) {
    selectorFault(10, selector);
    return false;
  }
  if (!descriptorPresent()) {
    selectorFault(12, selector);
    return false;
  }
  if (!markAccessed()) return false;
  innerBase = descriptorBase();
  innerLimit = descriptorLimit();
  innerAccess = descriptorAccess();
  return true;
}

/** Reads a stack pointer of a 64-bit TSS: RSP0 to RSP2 at 4 + 8 * level, IST1 to IST7 at 36 + 8 * (ist - 1). */
export function readLongStack(offset: u32): bool {
  if (offset + 7 > limitOf(TR)) return noStack();
  innerPointer = sysReadU64(baseOf(TR) + u64(offset));
  return !faulted();
}
