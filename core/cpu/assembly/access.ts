/** Access to linear memory: the look-aside fast paths, and the ways past them that emitted code calls. */
import {
  BOUNCE,
  BOUNCE_SIZE,
  DEBUG_MODE,
  TLB_BASE,
  TLB_READ,
  TLB_SUPERVISOR,
  TLB_WRITE,
} from '../layout';
import { IMPLICIT, WRITE } from './paging';
import {
  apicSize, checkCanonical, currentAccess, debugProbe, firstSize, firstTarget, GENERAL_PROTECTION, reachesApic, readSlow, secondTarget, translateAll, wide, writePhysical, writeSlow,
} from './slow-access';
import { faulted } from './status';
import { bank, dataEntry, guardedOpen } from './tlb';
import { apicRead, apicWriteAdmit } from './vm-apic-access';

const STACK_FAULT: u32 = 12;

/** Host address of `size` bytes (1 to 64) at `la` for a read at the current privilege, or BOUNCE with a copy; 0 with a fault pending. */
export function slowRead(la: u64, size: i32): u32 {
  return readSlow(la, size, currentAccess(), GENERAL_PROTECTION);
}

/** slowRead of a stack reference: a non-canonical address is #SS(0). */
export function slowReadStack(la: u64, size: i32): u32 {
  return readSlow(la, size, currentAccess(), STACK_FAULT);
}

/**
 * Host address of `size` bytes at `la` for a read-modify-write, or BOUNCE holding the current bytes, to which commitWrite must
 * follow; 0 with a fault pending.
 */
export function slowWrite(la: u64, size: i32): u32 {
  return writeSlow(la, size, currentAccess(), GENERAL_PROTECTION, true);
}

export function slowWriteStack(la: u64, size: i32): u32 {
  return writeSlow(la, size, currentAccess(), STACK_FAULT, true);
}

/** slowWrite of an instruction that only writes: MMIO is not read, and what BOUNCE holds is undefined. */
export function slowStore(la: u64, size: i32): u32 {
  return writeSlow(la, size, currentAccess(), GENERAL_PROTECTION, false);
}

export function slowStoreStack(la: u64, size: i32): u32 {
  return writeSlow(la, size, currentAccess(), STACK_FAULT, false);
}

/** Carries out the write that was prepared in BOUNCE. No other access may come between. */
export function commitWrite(): void {
  const size = load<u32>(BOUNCE_SIZE);
  writePhysical(firstTarget, BOUNCE, firstSize);
  if (firstSize < size) writePhysical(secondTarget, BOUNCE + firstSize, size - firstSize);
}

/** Makes the fault pending, and returns false, that a write at the current privilege would meet. */
export function probeWrite(la: u64, size: i32): bool {
  const access = currentAccess() | WRITE;
  if (!wide(access)) la &= 0xffffffff;
  else if (!checkCanonical(la, size, GENERAL_PROTECTION)) return false;
  if (!translateAll(la, size, access)) return false;
  if (reachesApic(size)) return apicWriteAdmit(firstTarget, apicSize(size));
  return !load<u32>(DEBUG_MODE) || debugProbe(la, size);
}

/** The same for a read. */
export function probeRead(la: u64, size: i32): bool {
  const access = currentAccess();
  if (!wide(access)) la &= 0xffffffff;
  else if (!checkCanonical(la, size, GENERAL_PROTECTION)) return false;
  if (!translateAll(la, size, access)) return false;
  if (reachesApic(size)) {
    apicRead(firstTarget, apicSize(size));
    return !faulted();
  }
  return !load<u32>(DEBUG_MODE) || debugProbe(la, size);
}

// ---- accessors at the current privilege ----------------------------------------------------------------------------------------

// @ts-ignore: decorator
@inline
function readHost(la: u64, size: i32): u32 {
  const entry = dataEntry(load<u32>(TLB_BASE), la);
  if (load<u64>(entry, TLB_READ) + la <= 4096 - <u64>size) return <u32>la + load<u32>(entry, TLB_READ + 8);
  return slowRead(la, size);
}

export function readU8(la: u64): u32 {
  const host = readHost(la, 1);
  return host ? load<u8>(host) : 0;
}

export function readU16(la: u64): u32 {
  const host = readHost(la, 2);
  return host ? load<u16>(host) : 0;
}

export function readU32(la: u64): u32 {
  const host = readHost(la, 4);
  return host ? load<u32>(host) : 0;
}

export function readU64(la: u64): u64 {
  const host = readHost(la, 8);
  return host ? load<u64>(host) : 0;
}

// @ts-ignore: decorator
@inline
function write<T>(la: u64, value: T): void {
  const entry = dataEntry(load<u32>(TLB_BASE), la);
  if (load<u64>(entry, TLB_WRITE) + la <= 4096 - <u64>sizeof<T>()) {
    store<T>(<u32>la + load<u32>(entry, TLB_WRITE + 8), value);
    return;
  }
  const host = slowStore(la, sizeof<T>());
  if (!host) return;
  store<T>(host, value);
  if (host == BOUNCE) commitWrite();
}

export function writeU8(la: u64, value: u32): void {
  write<u8>(la, <u8>value);
}

export function writeU16(la: u64, value: u32): void {
  write<u16>(la, <u16>value);
}

export function writeU32(la: u64, value: u32): void {
  write<u32>(la, value);
}

export function writeU64(la: u64, value: u64): void {
  write<u64>(la, value);
}

/** Host address of `size` bytes for a read-modify-write, as slowWrite gives it. */
// @ts-ignore: decorator
@inline
export function hostForUpdate(la: u64, size: i32): u32 {
  const entry = dataEntry(load<u32>(TLB_BASE), la);
  if (load<u64>(entry, TLB_WRITE) + la <= 4096 - <u64>size) return <u32>la + load<u32>(entry, TLB_WRITE + 8);
  return slowWrite(la, size);
}

// ---- implicit supervisor accesses ------------------------------------------------------------------------------------------------

// @ts-ignore: decorator
@inline
function sysReadHost(la: u64, size: i32): u32 {
  const entry = dataEntry(TLB_SUPERVISOR + bank, la);
  // EFLAGS.AC does not open user pages to these accesses, but may have opened the table's entries.
  if (load<u64>(entry, TLB_READ) + la <= 4096 - <u64>size && !guardedOpen()) return <u32>la + load<u32>(entry, TLB_READ + 8);
  return readSlow(la, size, IMPLICIT, GENERAL_PROTECTION);
}

export function sysReadU8(la: u64): u32 {
  const host = sysReadHost(la, 1);
  return host ? load<u8>(host) : 0;
}

export function sysReadU16(la: u64): u32 {
  const host = sysReadHost(la, 2);
  return host ? load<u16>(host) : 0;
}

export function sysReadU32(la: u64): u32 {
  const host = sysReadHost(la, 4);
  return host ? load<u32>(host) : 0;
}

export function sysReadU64(la: u64): u64 {
  const host = sysReadHost(la, 8);
  return host ? load<u64>(host) : 0;
}

// @ts-ignore: decorator
@inline
function sysWrite<T>(la: u64, value: T): void {
  const entry = dataEntry(TLB_SUPERVISOR + bank, la);
  if (load<u64>(entry, TLB_WRITE) + la <= 4096 - <u64>sizeof<T>() && !guardedOpen()) {
    store<T>(<u32>la + load<u32>(entry, TLB_WRITE + 8), value);
    return;
  }
  const host = writeSlow(la, sizeof<T>(), IMPLICIT, GENERAL_PROTECTION, false);
  if (!host) return;
  store<T>(host, value);
  if (host == BOUNCE) commitWrite();
}

export function sysWriteU8(la: u64, value: u32): void {
  sysWrite<u8>(la, <u8>value);
}

export function sysWriteU16(la: u64, value: u32): void {
  sysWrite<u16>(la, <u16>value);
}

export function sysWriteU32(la: u64, value: u32): void {
  sysWrite<u32>(la, value);
}

export function sysWriteU64(la: u64, value: u64): void {
  sysWrite<u64>(la, value);
}
