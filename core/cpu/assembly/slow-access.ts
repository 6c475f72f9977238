/** Reads and writes that no look-aside entry answers: breakpoints and watchpoints, both pages translated, devices, the page of a nested APIC. */
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
  STEP_REASON,
} from '../layout';
import { holdsCode, writeToCode } from './code';
import { mmioRead, mmioReadHigh, mmioWrite } from './imports';
import { canonical, fillRead, fillWrite, IMPLICIT, pageWatched, READ, translate, USER, walkPage, WRITE } from './paging';
import { noteWrite, pageKind } from './physical';
import { exit, faulted, raiseError } from './status';
import { alignmentChecked } from './tlb';
import { apicRead, apicWrite, onApicPage } from './vm-apic-access';

export const GENERAL_PROTECTION: u32 = 13;
const EFER_LMA: u32 = 1 << 10;
/** PENDING_DEBUG: an enabled breakpoint was met. */
const ENABLED_BREAKPOINT: u64 = 1 << 12;
/** STEP_REASON: a debug exception is pending after the current instruction. */
const STEP_DATA_BREAKPOINT: u32 = 2;

// The write that BOUNCE holds: where its two parts go. The second is empty unless the access crosses pages.
export let firstTarget: u64 = 0;
export let firstSize: u32 = 0;
export let secondTarget: u64 = 0;

// @ts-ignore: decorator
@inline
export function currentAccess(): u32 {
  return load<u32>(CPL) == 3 ? USER : READ;
}

/** Whether linear addresses of the access have 64 bits; otherwise they wrap at 4 GiB. */
// @ts-ignore: decorator
@inline
export function wide(access: u32): bool {
  return access & IMPLICIT ? (load<u32>(EFER) & EFER_LMA) != 0 : load<u32>(CODE_SIZE) == 2;
}

/** Checks that the linear addresses of an access are canonical, else makes `vector` pending. */
export function checkCanonical(la: u64, size: i32, vector: u32): bool {
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
export function debugProbe(la: u64, size: i32): bool {
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

export function writePhysical(gpa: u64, from: u32, size: u32): void {
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

// ---- the two of them ------------------------------------------------------------------------------------------------------------

/** Translates every page of an access, lowest first, and leaves its two parts in firstTarget, firstSize and secondTarget. */
export function translateAll(la: u64, size: i32, access: u32): bool {
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
export function reachesApic(size: i32): bool {
  if (onApicPage(firstTarget)) return true;
  if (firstSize == size || !onApicPage(secondTarget)) return false;
  firstTarget = secondTarget;
  return true;
}

/** A piece of an access that crosses pages counts as one too wide for a register. */
// @ts-ignore: decorator
@inline
export function apicSize(size: i32): u32 {
  return firstSize == size ? u32(size) : 8;
}

export function readSlow(la: u64, size: i32, access: u32, vector: u32): u32 {
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
export const REFUSED: u32 = 1;

/**
 * `fetch`: whether BOUNCE must hold the current bytes even when reading them may have an effect (MMIO). `region`: whether the write may be
 * REFUSED, before it has had any effect.
 */
export function writeSlow(la: u64, size: i32, access: u32, vector: u32, fetch: bool, region: bool = false): u32 {
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
