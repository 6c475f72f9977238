/** Access to linear memory: the look-aside fast paths, and the slow paths behind them and behind emitted code. */
import {
  BOUNCE,
  BOUNCE_LINEAR,
  BOUNCE_SIZE,
  CODE_SIZE,
  CPL,
  DEBUG_EXITS,
  DEBUG_HIT,
  DEBUG_HIT_KIND,
  DEBUG_MODE,
  DEBUG_STEPPING,
  DEBUG_WATCHES,
  DEBUG_WATCH_COUNT,
  DELIVERY,
  DR0,
  DR7,
  EFER,
  EXIT_DEBUGGER,
  EXIT_LINEAR,
  FAULT,
  FAULT_CANONICAL,
  PAGE_CODE,
  PAGE_MMIO,
  PAGE_RAM,
  PENDING_DEBUG,
  RAM_BASE,
  RANGE_CROSSED_AT,
  RANGE_CROSSED_BY,
  RANGE_CROSSINGS,
  STEP_REASON,
  TLB_BASE,
  TLB_READ,
  TLB_SUPERVISOR,
  TLB_WRITE,
  WINDOW_EMPTY,
} from '../layout';
import { holdsCode, writeToCode } from './code';
import { apicRead, apicWrite, apicWriteAdmit, onApicPage } from './vm-apic-access';
import { mmioRead, mmioReadHigh, mmioWrite } from './imports';
import { canonical, fillRead, fillWrite, IMPLICIT, pageWatched, READ, translate, USER, walkPage, WRITE } from './paging';
import { noteWrite, pageKind } from './physical';
import { exit, faulted, raiseError } from './status';
import { alignmentChecked, bank, dataEntry, guardedOpen } from './tlb';

const GENERAL_PROTECTION: u32 = 13;
const STACK_FAULT: u32 = 12;
const EFER_LMA: u32 = 1 << 10;
/** PENDING_DEBUG: an enabled breakpoint was met. */
const ENABLED_BREAKPOINT: u64 = 1 << 12;
/** STEP_REASON: a debug exception is pending after the current instruction. */
export const STEP_DATA_BREAKPOINT: u32 = 2;

// The write that BOUNCE holds: where its two parts go. The second is empty unless the access crosses pages.
let firstTarget: u64 = 0;
let firstSize: u32 = 0;
let secondTarget: u64 = 0;

// @ts-ignore: decorator
@inline
function currentAccess(): u32 {
  return load<u32>(CPL) == 3 ? USER : READ;
}

/** Whether linear addresses of the access have 64 bits; otherwise they wrap at 4 GiB. */
// @ts-ignore: decorator
@inline
function wide(access: u32): bool {
  return access & IMPLICIT ? (load<u32>(EFER) & EFER_LMA) != 0 : load<u32>(CODE_SIZE) == 2;
}

/** Checks that the linear addresses of an access are canonical, else makes `vector` pending. */
function checkCanonical(la: u64, size: i32, vector: u32): bool {
  if (canonical(la) && canonical(la + size - 1)) return true;
  raiseError(vector, 0);
  store<u32>(FAULT, load<u32>(FAULT) | FAULT_CANONICAL);
  return false;
}

// ---- data breakpoints ---------------------------------------------------------------------------------------------------------

/** Records the data breakpoints an access meets; they are reported after the instruction. @sdm 3B 18.2.5 */
function noteBreakpoints(la: u64, size: i32, write: bool): void {
  const dr7 = load<u32>(DR7);
  let hits: u64 = 0;
  for (let i: u32 = 0; i < 4; i++) {
    if (!((dr7 >>> (i << 1)) & 3)) continue;
    const control = (dr7 >>> (16 + (i << 2))) & 15;
    // R/W: 1 = writes, 3 = reads and writes. LEN: 1, 2, 8 and 4 bytes.
    if (!(control & 1) || (!write && (control & 3) == 1)) continue;
    const length: u64 = control >>> 2 == 2 ? 8 : (control >>> 2) + 1;
    const start = load<u64>(DR0 + (i << 3)) & ~(length - 1);
    if (start < la + size && la < start + length) hits |= <u64>1 << i;
  }
  if (!hits) return;
  store<u64>(PENDING_DEBUG, load<u64>(PENDING_DEBUG) | hits | ENABLED_BREAKPOINT);
  store<u32>(STEP_REASON, load<u32>(STEP_REASON) | STEP_DATA_BREAKPOINT);
}

// @ts-ignore: decorator
@inline
function watch(la: u64, size: i32, write: bool): void {
  if (load<u32>(DR7) & 0xff) noteBreakpoints(la, size, write);
}

// ---- a debugger outside the guest ---------------------------------------------------------------------------------------------

/** The kind of the watchpoint that an access meets, 0 for none. */
function watchpointAt(la: u64, size: u64, write: bool): u32 {
  const count = load<u32>(DEBUG_WATCH_COUNT);
  for (let i: u32 = 0; i < count; i++) {
    const at = DEBUG_WATCHES + (i << 4);
    const start = load<u64>(at);
    const kind = load<u32>(at, 12);
    if (kind & (write ? 1 : 2) && start < la + size && la < start + u64(load<u32>(at, 8))) return kind;
  }
  return 0;
}

/** Whether what translateAll found is, in part, a device's. */
function reachesDevice(size: i32): bool {
  return pageKind(firstTarget) == PAGE_MMIO || (firstSize != size && pageKind(secondTarget) == PAGE_MMIO);
}

/** While DEBUG_MODE is not 0, before a translated access: false gives its instruction up, to run alone. */
function debugAccess(la: u64, size: i32, access: u32): bool {
  const kind = watchpointAt(la, size, (access & WRITE) != 0);
  const alone = load<u32>(DEBUG_STEPPING) != 0;
  if (kind == 0 && (alone || !(load<u32>(DEBUG_MODE) & DEBUG_EXITS) || !reachesDevice(size))) return true;
  // The delivery of an event cannot be begun again: its accesses are noted, and the guest stops at the end of its slice.
  if (!alone && load<u32>(DELIVERY) == 0 && !(access & IMPLICIT)) {
    exit(EXIT_DEBUGGER, 0);
    return false;
  }
  if (kind == 0) return true;
  store<u64>(DEBUG_HIT, la);
  store<u32>(DEBUG_HIT_KIND, kind);
  return true;
}

/** The same before a probe: its instruction relies on it and cannot be given up later. It speaks for whole pages. */
function debugProbe(la: u64, size: i32): bool {
  if (load<u32>(DEBUG_STEPPING) || load<u32>(DELIVERY)) return true;
  const pages = (la & 0xfff) + size > 4096 ? 8192 : 4096;
  const watched = watchpointAt(la & ~0xfff, pages, true) | watchpointAt(la & ~0xfff, pages, false);
  if (!watched && (!(load<u32>(DEBUG_MODE) & DEBUG_EXITS) || !reachesDevice(size))) return true;
  exit(EXIT_DEBUGGER, 0);
  return false;
}

// ---- guest-physical pieces ----------------------------------------------------------------------------------------------------

/** Largest unit of MMIO for `left` bytes. */
// @ts-ignore: decorator
@inline
function unit(left: u32): u32 {
  return left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

function readMmio(gpa: u64, to: u32, size: u32): void {
  while (size) {
    const n = unit(size);
    const low = <u32>(<u64>mmioRead(<u32>gpa, <u32>(gpa >> 32), n));
    if (n == 8) {
      store<u32>(to, low);
      store<u32>(to, mmioReadHigh(), 4);
    } else if (n == 4) store<u32>(to, low);
    else if (n == 2) store<u16>(to, low);
    else store<u8>(to, low);
    gpa += n;
    to += n;
    size -= n;
  }
}

function writeMmio(gpa: u64, from: u32, size: u32): void {
  while (size) {
    const n = unit(size);
    const low = n >= 4 ? load<u32>(from) : n == 2 ? load<u16>(from) : load<u8>(from);
    mmioWrite(<u32>gpa, <u32>(gpa >> 32), n, low, n == 8 ? load<u32>(from, 4) : 0);
    gpa += n;
    from += n;
    size -= n;
  }
}

function readPhysical(gpa: u64, to: u32, size: u32): void {
  if (pageKind(gpa) == PAGE_MMIO) readMmio(gpa, to, size);
  else memory.copy(to, RAM_BASE + <u32>gpa, size);
}

function writePhysical(gpa: u64, from: u32, size: u32): void {
  // Root mode hears of writes to ROM too, and drops them.
  if (pageKind(gpa) != PAGE_RAM) {
    writeMmio(gpa, from, size);
    return;
  }
  noteWrite(<u32>gpa);
  dropCode(gpa, size);
  memory.copy(RAM_BASE + <u32>gpa, from, size);
}

/** Before a write to RAM: drops what was decoded from these bytes. Returns whether the page still holds decoded code. */
// @ts-ignore: decorator
@inline
function dropCode(gpa: u64, size: u32): bool {
  return load<u32>(PAGE_CODE + (<u32>gpa >>> 12 << 2)) != 0 && writeToCode(<u32>gpa, size);
}

// ---- slow paths ---------------------------------------------------------------------------------------------------------------

/** Translates every page of an access, lowest first, and leaves its two parts in firstTarget, firstSize and secondTarget. */
function translateAll(la: u64, size: i32, access: u32): bool {
  const room: u32 = 4096 - (<u32>la & 0xfff);
  if (<u32>size <= room) {
    if (!translate(la, access)) return false;
    firstTarget = walkPage | (la & 0xfff);
    firstSize = size;
    return true;
  }
  let second = la + room;
  if (!wide(access)) second &= 0xffffffff;
  if (!translate(la, access)) return false;
  const first = walkPage | (la & 0xfff);
  if (!translate(second, access)) return false;
  firstTarget = first;
  firstSize = room;
  secondTarget = walkPage;
  return true;
}

/** #AC(0), after the page faults: words, doublewords, quadwords and 80-bit operands of programs that asked for the check. */
function checkAlignment(la: u64, size: i32, access: u32): bool {
  if (access & IMPLICIT || !alignmentChecked()) return true;
  const boundary = size == 10 ? 8 : size;
  if (boundary > 8 || (la & (boundary - 1)) == 0) return true;
  raiseError(17, 0);
  return false;
}

/** Whether an access that translateAll has translated touches the APIC-access page of a nested guest: `firstTarget` is then in it. */
function reachesApic(size: i32): bool {
  if (onApicPage(firstTarget)) return true;
  if (firstSize == size || !onApicPage(secondTarget)) return false;
  firstTarget = secondTarget;
  return true;
}

/** A piece of an access that crosses pages counts as one too wide for a register. */
// @ts-ignore: decorator
@inline
function apicSize(size: i32): u32 {
  return firstSize == size ? u32(size) : 8;
}

function readSlow(la: u64, size: i32, access: u32, vector: u32): u32 {
  if (!wide(access)) la &= 0xffffffff;
  else if (!checkCanonical(la, size, vector)) return 0;
  if (!translateAll(la, size, access) || !checkAlignment(la, size, access)) return 0;
  if (load<u32>(DEBUG_MODE) && !debugAccess(la, size, access)) return 0;
  if (reachesApic(size)) {
    const own = apicRead(firstTarget, apicSize(size));
    return faulted() ? 0 : RAM_BASE + <u32>own;
  }
  watch(la, size, false);
  if (firstSize == size) {
    if (pageKind(firstTarget) != PAGE_MMIO) {
      fillRead(la, access);
      return RAM_BASE + <u32>firstTarget;
    }
    store<u64>(EXIT_LINEAR, la);
    readMmio(firstTarget, BOUNCE, size);
    return BOUNCE;
  }
  store<u64>(EXIT_LINEAR, la);
  readPhysical(firstTarget, BOUNCE, firstSize);
  readPhysical(secondTarget, BOUNCE + firstSize, size - firstSize);
  return BOUNCE;
}

/** Of a write that a region does not carry out: it would drop decoded code, meets a data breakpoint, or goes to BOUNCE. */
const REFUSED: u32 = 1;

/**
 * `fetch`: whether BOUNCE must hold the current bytes even when reading them may have an effect (MMIO). `region`: whether the write may be
 * REFUSED, before it has had any effect.
 */
function writeSlow(la: u64, size: i32, access: u32, vector: u32, fetch: bool, region: bool = false): u32 {
  access |= WRITE;
  if (!wide(access)) la &= 0xffffffff;
  else if (!checkCanonical(la, size, vector)) return 0;
  if (!translateAll(la, size, access) || !checkAlignment(la, size, access)) return 0;
  if (region) {
    if (load<u32>(DR7) & 0xff && pageWatched(la)) return REFUSED;
    if (firstSize < <u32>size || pageKind(firstTarget) != PAGE_RAM || holdsCode(firstTarget, firstSize)) return REFUSED;
  }
  if (load<u32>(DEBUG_MODE) && !debugAccess(la, size, access)) return 0;
  const apic = reachesApic(size);
  if (apic) {
    if (region) return REFUSED;
    firstTarget = apicWrite(firstTarget, apicSize(size));
    if (faulted()) return 0;
  }
  watch(la, size, true);
  if (!apic && firstSize == size && pageKind(firstTarget) == PAGE_RAM) {
    noteWrite(<u32>firstTarget);
    if (!dropCode(firstTarget, size)) fillWrite(la, access);
    return RAM_BASE + <u32>firstTarget;
  }
  store<u64>(BOUNCE_LINEAR, la);
  store<u64>(EXIT_LINEAR, la);
  store<u32>(BOUNCE_SIZE, size);
  if (fetch) {
    readPhysical(firstTarget, BOUNCE, firstSize);
    if (firstSize < <u32>size) readPhysical(secondTarget, BOUNCE + firstSize, size - firstSize);
  }
  return BOUNCE;
}

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

// ---- windows of regions (core/cpu/jit/windowAccess.ts) ----------------------------------------------------------------------------
// A window stands for the entry of the table that was hit, or else, under a tag that matches nothing, for this one access. These return OK or
// why the region must leave before the instruction.

const OK: u32 = 0;
const STATUS_FAULT: u32 = 1;
const REGION_STEP: u32 = 7;

// @ts-ignore: decorator
@inline
function copyEntry(window: u32, entry: u32): void {
  store<u64>(window, load<u64>(entry));
  store<u32>(window, load<u32>(entry, 8), 8);
}

// @ts-ignore: decorator
@inline
function standFor(window: u32, la: u64, host: u32): void {
  store<u64>(window, load<u64>(WINDOW_EMPTY));
  store<u32>(window, host - <u32>la, 8);
}

/** `where`: offset of the window from TLB_BASE, size of the access above bit 24. */
export function openRead(la: u64, where: u32): u32 {
  const window = load<u32>(TLB_BASE) + (where & 0xffffff);
  const size: i32 = where >> 24;
  const entry = dataEntry(load<u32>(TLB_BASE) + TLB_READ, la);
  if (load<u64>(entry) + la <= 4096 - <u64>size) {
    copyEntry(window, entry);
    return OK;
  }
  if (load<u32>(DR7) & 0xff && (pageWatched(la) || pageWatched(la + size - 1))) return REGION_STEP;
  const host = slowRead(la, size);
  if (!host) return STATUS_FAULT;
  standFor(window, la, host);
  return OK;
}

/**
 * Makes a window current for a range in one page. The access that comes first is at `la`; `extent`: bytes of the range before it (7:0), its
 * length less 1 (15:8), whether the first access writes (16), whether any does (17). `index` is the region's, `at` the range's in it.
 */
export function openRange(la: u64, where: u32, extent: u32, index: u32, at: i32): u32 {
  const first = la - (extent & 0xff);
  const length: u64 = ((extent >> 8) & 0xff) + 1;
  if ((first & 0xfff) + length > 4096) {
    store<u32>(RANGE_CROSSINGS, load<u32>(RANGE_CROSSINGS) + 1);
    store<u32>(RANGE_CROSSED_BY, index);
    store<i32>(RANGE_CROSSED_AT, at);
    return REGION_STEP;
  }
  const window = load<u32>(TLB_BASE) + (where & 0xffffff);
  const entry = dataEntry(load<u32>(TLB_BASE) + (extent & (1 << 17) ? TLB_WRITE : TLB_READ), la);
  if (load<u64>(entry) + first > 4096 - length) {
    // What the first access would meet is met now. Memory-mapped registers must not be read twice.
    const size: i32 = where >> 24;
    if (extent & (1 << 16)) {
      const host = writeSlow(la, size, currentAccess(), GENERAL_PROTECTION, false, true);
      if (!host) return STATUS_FAULT;
    } else {
      if (load<u32>(DR7) & 0xff && pageWatched(la)) return REGION_STEP;
      const access = currentAccess();
      if (!wide(access)) la &= 0xffffffff;
      else if (!checkCanonical(la, size, GENERAL_PROTECTION)) return STATUS_FAULT;
      if (!translateAll(la, size, access)) return STATUS_FAULT;
      if (pageKind(firstTarget) != PAGE_RAM) return REGION_STEP;
      if (!slowRead(la, size)) return STATUS_FAULT;
    }
    if (load<u64>(entry) + first > 4096 - length) return REGION_STEP;
  }
  copyEntry(window, entry);
  return OK;
}

/** For a store and for a read-modify-write. */
export function openWrite(la: u64, where: u32): u32 {
  const window = load<u32>(TLB_BASE) + (where & 0xffffff);
  const size: i32 = where >> 24;
  const entry = dataEntry(load<u32>(TLB_BASE) + TLB_WRITE, la);
  if (load<u64>(entry) + la <= 4096 - <u64>size) {
    copyEntry(window, entry);
    return OK;
  }
  const host = writeSlow(la, size, currentAccess(), GENERAL_PROTECTION, false, true);
  if (!host) return STATUS_FAULT;
  if (host == REFUSED) return REGION_STEP;
  standFor(window, la, host);
  return OK;
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
