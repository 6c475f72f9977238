/** Segment descriptors in the GDT and LDT, and the hidden parts of segment registers. @sdm 3A 3.4.5 */
import {
  ACCESS_CODE, ACCESS_DB, ACCESS_EXPAND_DOWN, ACCESS_L, ACCESS_P, ACCESS_READ_WRITE, ACCESS_S, ACCESS_UNUSABLE, EFER_LMA,
} from './bits';
import { faulted, raiseError } from './status';
import { sysReadU64, sysWriteU8 } from './memory';
import { alignmentChecked, bank, flushUserData } from './tlb';
import {
  CODE_SIZE, CPL, CS, EFER, FS, GDTR_BASE, GDTR_LIMIT, GPR, LDTR, PLAIN_SEGMENTS, REAL_SEGMENTS, SEGMENTS, SEGMENT_SIZE, SEG_ACCESS, SEG_BASE, SEG_FLAT, SEG_LIMIT,
  SEG_SELECTOR, SS, STACK_SIZE, TLB_BASE, TLB_SUPERVISOR, TLB_USER,
} from '../layout';

/** EXT bit of the error codes of faults that occur now: 1 while an event external to the program is delivered. @sdm 3A 6.13 */
export let external: u32 = 0;
/** The descriptor that `fetchDescriptor` read: its dwords and its linear address. */
export let descriptorLow: u32 = 0;
export let descriptorHigh: u32 = 0;
let descriptorAddress: u64 = 0;

export function setExternal(value: u32): void {
  external = value;
}

// @ts-ignore: decorator
@inline
export function segment(index: i32): usize {
  return usize(SEGMENTS + index * SEGMENT_SIZE);
}

// @ts-ignore: decorator
@inline
export function selectorOf(index: i32): u32 {
  return load<u16>(segment(index), SEG_SELECTOR);
}

// @ts-ignore: decorator
@inline
export function accessOf(index: i32): u32 {
  return load<u32>(segment(index), SEG_ACCESS);
}

// @ts-ignore: decorator
@inline
export function limitOf(index: i32): u32 {
  return load<u32>(segment(index), SEG_LIMIT);
}

// @ts-ignore: decorator
@inline
export function baseOf(index: i32): u64 {
  return load<u64>(segment(index), SEG_BASE);
}

// @ts-ignore: decorator
@inline
export function longModeActive(): bool {
  return (load<u64>(EFER) & EFER_LMA) != 0;
}

/** A linear address of a system table: 32 bits wide outside IA-32e mode. */
// @ts-ignore: decorator
@inline
export function linear(address: u64): u64 {
  return longModeActive() ? address : address & 0xffffffff;
}

/** Raises a fault whose error code is a selector. */
export function selectorFault(vector: u32, selector: u32): i32 {
  return raiseError(vector, (selector & 0xfffc) | external);
}

/**
 * Reads the descriptor a selector names into descriptorLow and descriptorHigh. Outside the table: `vector` with the selector as error
 * code. The null selector is the caller's business.
 */
export function fetchDescriptor(selector: u32, vector: u32): bool {
  let base: u64;
  let limit: u32;
  if (selector & 4) {
    if (accessOf(LDTR) & ACCESS_UNUSABLE) {
      selectorFault(vector, selector);
      return false;
    }
    base = baseOf(LDTR);
    limit = limitOf(LDTR);
  } else {
    base = load<u64>(GDTR_BASE);
    limit = load<u32>(GDTR_LIMIT);
  }
  if ((selector | 7) > limit) {
    selectorFault(vector, selector);
    return false;
  }
  descriptorAddress = linear(base + u64(selector & 0xfff8));
  const raw = sysReadU64(descriptorAddress);
  descriptorLow = u32(raw);
  descriptorHigh = u32(raw >> 32);
  return !faulted();
}

/** Bits 63:32 of the base of the 16-byte descriptor just fetched; its upper type field must be 0. @sdm 3A 8.2.3 */
export function fetchUpperBase(selector: u32, vector: u32): u64 {
  const limit = selector & 4 ? limitOf(LDTR) : load<u32>(GDTR_LIMIT);
  if ((selector | 7) + 8 > limit) {
    selectorFault(vector, selector);
    return 0;
  }
  const raw = sysReadU64(descriptorAddress + 8);
  if (faulted()) return 0;
  if (raw & 0x1f0000000000) {
    selectorFault(vector, selector);
    return 0;
  }
  return raw << 32;
}

// ---- fields of the fetched descriptor -----------------------------------------------------------------------------------------
// @ts-ignore: decorator
@inline
export function descriptorAccess(): u32 {
  return (descriptorHigh >>> 8) & 0xf0ff;
}

// @ts-ignore: decorator
@inline
export function descriptorDpl(): u32 {
  return (descriptorHigh >>> 13) & 3;
}

// @ts-ignore: decorator
@inline
export function descriptorPresent(): bool {
  return (descriptorHigh & 0x8000) != 0;
}

/** Type field with the S bit above it: 0 to 15 for system descriptors, 16 to 31 for code and data. */
// @ts-ignore: decorator
@inline
export function descriptorType(): u32 {
  return (descriptorHigh >>> 8) & 0x1f;
}

// @ts-ignore: decorator
@inline
export function descriptorBase(): u64 {
  return u64((descriptorLow >>> 16) | ((descriptorHigh & 0xff) << 16) | (descriptorHigh & 0xff000000));
}

// @ts-ignore: decorator
@inline
export function descriptorLimit(): u32 {
  const limit = (descriptorLow & 0xffff) | (descriptorHigh & 0xf0000);
  return descriptorHigh & 0x800000 ? (limit << 12) | 0xfff : limit;
}

/** Sets the accessed bit of the fetched code or data descriptor, in the table too. False: the write faulted. */
export function markAccessed(): bool {
  const done = markAccessedAt(descriptorAddress, descriptorHigh);
  descriptorHigh |= 0x100;
  return done;
}

/** The same for a descriptor fetched before, whose place was `descriptorPlace()`: when nothing else can fault any more. */
export function markAccessedAt(place: u64, high: u32): bool {
  if (high & 0x100) return true;
  sysWriteU8(place + 5, ((high | 0x100) >>> 8) & 0xff);
  return !faulted();
}

// @ts-ignore: decorator
@inline
export function descriptorPlace(): u64 {
  return descriptorAddress;
}

/** Changes the type field of the fetched system descriptor in the table (busy TSS). False: the write faulted. */
export function writeDescriptorType(access: u32): bool {
  sysWriteU8(descriptorAddress + 5, access & 0xff);
  return !faulted();
}

// ---- segment registers --------------------------------------------------------------------------------------------------------
/** SEG_FLAT of a register: which 32-bit offsets need no check. Code segments are writable in real-address mode only. */
export function flatness(index: i32): u32 {
  if (load<u32>(CODE_SIZE) == 2) return 3;
  const access = accessOf(index);
  if (limitOf(index) != 0xffffffff || (access & (ACCESS_UNUSABLE | ACCESS_P | ACCESS_S)) != (ACCESS_P | ACCESS_S)) return 0;
  if (load<u32>(REAL_SEGMENTS)) return 3;
  if (access & ACCESS_CODE) return access & ACCESS_READ_WRITE ? 1 : 0;
  if (access & ACCESS_EXPAND_DOWN) return 0;
  return access & ACCESS_READ_WRITE ? 3 : 1;
}

export function writeSegment(index: i32, selector: u32, base: u64, limit: u32, access: u32): void {
  const at = segment(index);
  store<u16>(at, u16(selector), SEG_SELECTOR);
  store<u64>(at, base, SEG_BASE);
  store<u32>(at, limit, SEG_LIMIT);
  store<u32>(at, access, SEG_ACCESS);
  setFlatness(index, flatness(index));
}

/** Stores SEG_FLAT of a register, whose base is loaded. */
export function setFlatness(index: i32, flat: u32): void {
  store<u32>(segment(index), flat, SEG_FLAT);
  if (index >= FS) return;
  const shift = index << 1;
  const plain = load<u64>(segment(index), SEG_BASE) == 0 ? flat : 0;
  store<u32>(PLAIN_SEGMENTS, (load<u32>(PLAIN_SEGMENTS) & ~(3 << shift)) | (plain << shift));
}

/** Loads a register from the fetched descriptor. */
export function loadFetched(index: i32, selector: u32): void {
  writeSegment(index, selector, descriptorBase(), descriptorLimit(), descriptorAccess());
}

/** A null data segment. SS keeps the privilege level in its DPL. */
export function loadNull(index: i32, selector: u32): void {
  const dpl = index == SS ? load<u32>(CPL) << 5 : 0;
  writeSegment(index, selector, 0, 0, ACCESS_UNUSABLE | dpl);
}

/** Real-address and virtual-8086 mode loads. Real-address mode leaves limit and size alone. @sdm 3A 20.1.1 */
export function loadRealSegment(index: i32, selector: u32, v86: bool): void {
  const base = u64(selector) << 4;
  if (v86) {
    writeSegment(index, selector, base, 0xffff, 0xf3);
    return;
  }
  const access = accessOf(index);
  const limit = access & ACCESS_UNUSABLE ? 0xffff : limitOf(index);
  writeSegment(index, selector, base, limit, (access & 0xd000) | 0x93);
}

// ---- mode ---------------------------------------------------------------------------------------------------------------------
/** CODE_SIZE and STACK_SIZE after CS or SS changed; SEG_FLAT too when 64-bit mode is entered or left. */
export function refreshSizes(): void {
  const access = accessOf(CS);
  const before = load<u32>(CODE_SIZE);
  const size: u32 = longModeActive() && access & ACCESS_L ? 2 : access & ACCESS_DB ? 1 : 0;
  store<u32>(CODE_SIZE, size);
  setStackSize(size == 2 ? 2 : accessOf(SS) & ACCESS_DB ? 1 : 0);
  if ((before == 2) != (size == 2)) refreshFlatness();
  if (size != 2) clearUpperHalves();
}

/** Stores STACK_SIZE, and in PLAIN_SEGMENTS behind the segments: regions compare all of them at once. */
export function setStackSize(size: u32): void {
  store<u32>(STACK_SIZE, size);
  store<u32>(PLAIN_SEGMENTS, (load<u32>(PLAIN_SEGMENTS) & 0xff) | (size << 8));
}

/** Outside 64-bit mode the upper halves of general registers are undefined: here zero, so that regions need not keep them. @sdm 1 3.4.1.1 */
export function clearUpperHalves(): void {
  for (let register = GPR; register < GPR + 8 * 8; register += 8) store<u32>(register, 0, 4);
}

export function refreshFlatness(): void {
  for (let index = 0; index < 6; index++) setFlatness(index, flatness(index));
}

// @ts-ignore: decorator
@inline
export function setPrivilege(level: u32): void {
  store<u32>(CPL, level);
  store<u32>(TLB_BASE, (level == 3 ? TLB_USER : TLB_SUPERVISOR) + bank);
  if (alignmentChecked()) flushUserData();
}
