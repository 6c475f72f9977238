/** Address translation: the page walks, their permission checks and what they write back (@sdm 3A 4). */
import {
  CODE_SIZE,
  CPL,
  CR0,
  CR3,
  CR4,
  CR4_ALLOWED,
  DEBUG_MODE,
  DEBUG_WATCH,
  DEBUG_WATCHES,
  DEBUG_WATCH_COUNT,
  DR0,
  DR7,
  EFER,
  EFLAGS,
  HISTORY_PENDING,
  HISTORY_WRITTEN,
  PAGE_CODE,
  PAGE_HISTORY,
  PAGE_MMIO,
  PAGE_RAM,
  PDPTE,
  PHYS_RESERVED,
  PKRU,
  RAM_BASE,
  RAM_SIZE,
  ROM_GPA,
  TLB_BASE,
  TLB_READ,
  TLB_SUPERVISOR,
  TLB_USER,
  TLB_WRITE,
} from '../layout';
import { EPT_EXECUTE, EPT_EXECUTE_USER, EPT_READ, EPT_WRITE, eptEnabled, eptPage, eptTranslate, eptTranslatePlain, modeBased } from './ept';
import { apicFetchExit, apicPhysicalExit, onApicPage } from './vm-apic-access';
import { pageKind } from './physical';
import { structureWritable } from './physical-write';
import { faulted, raise, raiseError, raisePageFault } from './status';
import { alignmentChecked, bank, dataEntry, ENTRY_GLOBAL, ENTRY_HUGE, ENTRY_LARGE, executeEntry, installEntry, noteGuarded, notePageWrite, translates } from './tlb';

// What an access is: the bits of the page-fault error code (@sdm 3A 4.7), and IMPLICIT for implicit supervisor-mode accesses.
export const READ: u32 = 0;
export const WRITE: u32 = 2;
export const USER: u32 = 4;
export const FETCH: u32 = 16;
export const IMPLICIT: u32 = 0x100;
const ERROR_PRESENT: u32 = 1;
const ERROR_RESERVED: u32 = 8;
const ERROR_KEY: u32 = 32;
const ERROR_ACCESS: u32 = WRITE | USER | FETCH;

const PRESENT: u64 = 1;
const WRITABLE: u64 = 2;
const USER_PAGE: u64 = 4;
const ACCESSED: u64 = 0x20;
const DIRTY: u64 = 0x40;
const PAGE_SIZE: u64 = 0x80;
const GLOBAL: u64 = 0x100;
const EXECUTE_DISABLE: u64 = (<u64>1) << 63;
const ADDRESS: u64 = 0x000ffffffffff000;
/** Bits 62:52, reserved with PAE paging, ignored or a protection key with 4- and 5-level paging. */
const ABOVE_ADDRESS: u64 = 0x7ff0000000000000;

const CR0_WP: u32 = 1 << 16;
const CR0_PG: u32 = 1 << 31;
const CR4_PSE: u32 = 1 << 4;
const CR4_PAE: u32 = 1 << 5;
const CR4_PGE: u32 = 1 << 7;
const CR4_LA57: u32 = 1 << 12;
const CR4_SMEP: u32 = 1 << 20;
const CR4_SMAP: u32 = 1 << 21;
const CR4_PKE: u32 = 1 << 22;
const EFER_LMA: u32 = 1 << 10;
const EFER_NXE: u32 = 1 << 11;
const EFLAGS_AC: u32 = 1 << 18;

// The outcome of the last successful walk.
/** Physical address of the 4 KiB page; that of the nested guest until the second stage. */
export let walkPage: u64 = 0;
/** ENTRY_* of the translation. */
let walkKind: u32 = 0;
let walkUser: bool = false;
/** Linear page of the last successful fetch walk, 1 for none. */
let fetchPage: u64 = 1;
let fetchKind: u32 = 0;

/** The linear address whose translation is under way. */
let walkLinear: u64 = 0;

/** Host address of a paging-structure entry, 0 when no memory backs it (it then reads as all ones). */
// @ts-ignore: decorator
@inline
function entryHost(gpa: u64): u32 {
  const physical = eptEnabled() ? structurePhysical(gpa) : gpa;
  return pageKind(physical) == PAGE_MMIO ? 0 : RAM_BASE + <u32>physical;
}

/** No physical address. What is read there counts as ones; the exit that is pending makes that irrelevant. */
const NOWHERE: u64 = 0xfffffffffffff000;

function structurePhysical(gpa: u64): u64 {
  if (!eptTranslate(gpa, EPT_READ, walkLinear, false)) return NOWHERE;
  if (!onApicPage(eptPage)) return eptPage | (gpa & 0xfff);
  apicPhysicalExit(gpa);
  return NOWHERE;
}

/** Whether EPT lets the processor write a paging-structure entry: it is reported as a read and a write. */
function mayUpdate(gpa: u64): bool {
  return !eptEnabled() || eptTranslate(gpa, EPT_READ | EPT_WRITE, walkLinear, false);
}

/** Sets accessed and dirty flags; false when the entry changed meanwhile and the walk must start again, or a fault is pending. */
function update64(gpa: u64, host: u32, before: u64, after: u64): bool {
  if (!mayUpdate(gpa)) return false;
  return !structureWritable(host - RAM_BASE) || atomic.cmpxchg<u64>(host, before, after) == before;
}

function update32(gpa: u64, host: u32, before: u32, after: u32): bool {
  if (!mayUpdate(gpa)) return false;
  return !structureWritable(host - RAM_BASE) || atomic.cmpxchg<u32>(host, before, after) == before;
}

/** Error-code bits of a page fault; I/D is reported only where fetches can be forbidden (@sdm 3A 4.7). */
function pageFault(la: u64, access: u32, bits: u32): bool {
  if (faulted()) return false;
  let error = access & ERROR_ACCESS;
  const cr4 = load<u32>(CR4);
  if (!(cr4 & CR4_SMEP) && !(cr4 & CR4_PAE && load<u32>(EFER) & EFER_NXE)) error &= ~FETCH;
  raisePageFault(la, error | bits);
  return false;
}

/** Error-code bits of the violation, 0 when access is granted (@sdm 3A 4.6). `rights`: the AND of R/W and U/S, the OR of XD, and the leaf's key. */
function violation(access: u32, rights: u64, executeDisable: bool, key: i32): u32 {
  const cr4 = load<u32>(CR4);
  const userPage = (rights & USER_PAGE) != 0;
  if (access & FETCH) {
    const allowed = !executeDisable && (access & USER ? userPage : !(userPage && cr4 & CR4_SMEP));
    return allowed ? 0 : ERROR_PRESENT;
  }
  const protect = access & WRITE && (access & USER || load<u32>(CR0) & CR0_WP);
  let denied = protect && !(rights & WRITABLE);
  if (access & USER) denied = denied || !userPage;
  else if (userPage && cr4 & CR4_SMAP && (access & IMPLICIT || !(load<u32>(EFLAGS) & EFLAGS_AC))) denied = true;
  let bits = denied ? ERROR_PRESENT : 0;
  if (key >= 0 && userPage && cr4 & CR4_PKE) {
    const pkru = load<u32>(PKRU) >>> (key << 1);
    if (pkru & 1 || (pkru & 2 && protect)) bits = ERROR_PRESENT | ERROR_KEY;
  }
  return bits;
}

/** A walk over 64-bit entries, from the structure at `table` that is indexed by the nine bits of `la` from `top` on. */
function walk64(la: u64, access: u32, table: u64, top: u64, reservedAlways: u64): bool {
  const reserved = reservedAlways | load<u64>(PHYS_RESERVED) | (load<u32>(EFER) & EFER_NXE ? 0 : EXECUTE_DISABLE);
  const long = (load<u32>(EFER) & EFER_LMA) != 0;
  while (true) {
    let shift = top;
    let structure = table;
    let rights: u64 = WRITABLE | USER_PAGE;
    let disable: u64 = 0;
    let gpa: u64 = 0;
    let host: u32 = 0;
    let entry: u64 = 0;
    let again = false;
    while (true) {
      gpa = structure + (((la >> shift) & 511) << 3);
      host = entryHost(gpa);
      entry = host ? atomic.load<u64>(host) : ~(<u64>0);
      if (!(entry & PRESENT)) return pageFault(la, access, 0);
      let wrong = reserved;
      const leaf = shift == 12 || (entry & PAGE_SIZE && shift <= 30);
      if (shift > 30) wrong |= PAGE_SIZE;
      else if (leaf) wrong |= (((<u64>1) << shift) - 1) & ~0x1fff;
      if (entry & wrong) return pageFault(la, access, ERROR_PRESENT | ERROR_RESERVED);
      rights &= entry;
      disable |= entry;
      if (leaf) break;
      if (!(entry & ACCESSED) && !update64(gpa, host, entry, entry | ACCESSED)) {
        again = true;
        break;
      }
      structure = entry & ADDRESS;
      shift -= 9;
    }
    if (again) {
      if (faulted()) return false;
      continue;
    }
    const bits = violation(access, rights, (disable & EXECUTE_DISABLE) != 0, long ? <i32>(entry >> 59) & 15 : -1);
    if (bits) return pageFault(la, access, bits);
    const used = entry | ACCESSED | (access & WRITE ? DIRTY : 0);
    if (used != entry && !update64(gpa, host, entry, used)) {
      if (faulted()) return false;
      continue;
    }
    const inside = ((<u64>1) << shift) - 1;
    walkPage = (entry & ADDRESS & ~inside) | (la & inside & ~0xfff);
    walkUser = (rights & USER_PAGE) != 0;
    walkKind = entry & GLOBAL && load<u32>(CR4) & CR4_PGE ? ENTRY_GLOBAL : 0;
    if (shift == 21) walkKind |= ENTRY_LARGE;
    else if (shift == 30) walkKind |= ENTRY_HUGE;
    return true;
  }
}

/** @sdm 3A 4.3 */
function walk32(la: u64, access: u32): bool {
  const cr4 = load<u32>(CR4);
  while (true) {
    const directory = <u64>(load<u32>(CR3) & 0xfffff000) + ((la >> 20) & 0xffc);
    const directoryHost = entryHost(directory);
    const pde = directoryHost ? atomic.load<u32>(directoryHost) : ~(<u32>0);
    if (!(pde & 1)) return pageFault(la, access, 0);
    if (pde & <u32>PAGE_SIZE && cr4 & CR4_PSE) {
      // PSE-36: bits 20:13 are bits 39:32 of the address, as far as the processor has them.
      const high = <u64>((pde >>> 13) & 0xff) << 32;
      if (pde & 0x200000 || high & load<u64>(PHYS_RESERVED)) return pageFault(la, access, ERROR_PRESENT | ERROR_RESERVED);
      const bits = violation(access, pde, false, -1);
      if (bits) return pageFault(la, access, bits);
      const used = pde | <u32>ACCESSED | (access & WRITE ? <u32>DIRTY : 0);
      if (used != pde && !update32(directory, directoryHost, pde, used)) {
        if (faulted()) return false;
        continue;
      }
      walkPage = high | (pde & 0xffc00000) | (la & 0x3ff000);
      walkUser = (pde & <u32>USER_PAGE) != 0;
      walkKind = ENTRY_LARGE | (pde & <u32>GLOBAL && cr4 & CR4_PGE ? ENTRY_GLOBAL : 0);
      return true;
    }
    if (!(pde & <u32>ACCESSED) && !update32(directory, directoryHost, pde, pde | <u32>ACCESSED)) {
      if (faulted()) return false;
      continue;
    }
    const table = <u64>(pde & 0xfffff000) + ((la >> 10) & 0xffc);
    const tableHost = entryHost(table);
    const pte = tableHost ? atomic.load<u32>(tableHost) : ~(<u32>0);
    if (!(pte & 1)) return pageFault(la, access, 0);
    const bits = violation(access, pde & pte, false, -1);
    if (bits) return pageFault(la, access, bits);
    const used = pte | <u32>ACCESSED | (access & WRITE ? <u32>DIRTY : 0);
    if (used != pte && !update32(table, tableHost, pte, used)) {
      if (faulted()) return false;
      continue;
    }
    walkPage = pte & 0xfffff000;
    walkUser = (pde & pte & <u32>USER_PAGE) != 0;
    walkKind = pte & <u32>GLOBAL && cr4 & CR4_PGE ? ENTRY_GLOBAL : 0;
    return true;
  }
}

/**
 * Translates a canonical linear address. On success `walkPage` is the physical page; otherwise #PF, or an exit to L1, is pending.
 * This is where a larger second-level look-aside table belongs.
 */
export function translate(la: u64, access: u32): bool {
  if (!eptEnabled()) return translateGuest(la, access);
  walkLinear = la;
  return translateGuest(la, access) && translateSecond(la, access);
}

/** Without paging every linear address is a user-mode one. */
function executeKind(): u32 {
  return modeBased() && (walkUser || !(load<u32>(CR0) & CR0_PG)) ? EPT_EXECUTE_USER : EPT_EXECUTE;
}

/** The second stage: the guest-physical page found becomes L1's. */
function translateSecond(la: u64, access: u32): bool {
  const kind = access & FETCH ? executeKind() : access & WRITE ? EPT_WRITE : EPT_READ;
  if (!eptTranslate(walkPage | (la & 0xfff), kind, la, true)) return false;
  walkPage = eptPage;
  return true;
}

function translateGuest(la: u64, access: u32): bool {
  if (!(load<u32>(CR0) & CR0_PG)) {
    walkPage = la & 0xfffff000;
    walkUser = false;
    walkKind = 0;
    return true;
  }
  const cr4 = load<u32>(CR4);
  if (!(cr4 & CR4_PAE)) return walk32(la, access);
  if (load<u32>(EFER) & EFER_LMA) {
    return walk64(la, access, load<u64>(CR3) & ADDRESS & ~load<u64>(PHYS_RESERVED), cr4 & CR4_LA57 ? 48 : 39, 0);
  }
  const pdpte = load<u64>(PDPTE + ((<u32>la >>> 30) << 3));
  if (!(pdpte & PRESENT)) return pageFault(la, access, 0);
  return walk64(la, access, pdpte & ADDRESS, 21, ABOVE_ADDRESS);
}

/**
 * Loads the PDPTE registers from the table CR3 value `cr3` names, as MOV to CR3 and CR0/CR4 changes do with PAE paging.
 * False, and nothing is changed, when a present entry has a reserved bit set: the caller raises #GP(0). @sdm 3A 4.4.1
 */
export function loadPdptes(cr3: u64): bool {
  const reserved = load<u64>(PHYS_RESERVED) | 0xfff00000000001e6;
  const base = cr3 & 0xffffffe0;
  for (let i: u32 = 0; i < 4; i++) {
    const entry = readPdpte(base, i);
    if (faulted() || (entry & PRESENT && entry & reserved)) return false;
  }
  for (let i: u32 = 0; i < 4; i++) store<u64>(PDPTE + (i << 3), readPdpte(base, i));
  return true;
}

function readPdpte(base: u64, index: u32): u64 {
  const gpa = base + (index << 3);
  if (eptEnabled() && !eptTranslatePlain(gpa, EPT_READ)) return 0;
  const physical = eptEnabled() ? eptPage | (gpa & 0xfff) : gpa;
  return pageKind(physical) == PAGE_MMIO ? ~(<u64>0) : load<u64>(RAM_BASE + <u32>physical);
}

// ---- filling the look-aside tables --------------------------------------------------------------------------------------------

/** Whether bits 63 to 47 (56 with 5-level paging) of a linear address are equal. @sdm 1 3.3.7.1 */
// @ts-ignore: decorator
@inline
export function canonical(la: u64): bool {
  const unused: u64 = load<u32>(CR4) & CR4_LA57 ? 7 : 16;
  return <u64>((<i64>(la << unused)) >> <i64>unused) == la;
}

/**
 * The same as far as the processor goes, whatever CR4.LA57 says: for values that only wait to be used, such as bases of segments and tables,
 * MSRs and the address of INVPCID.
 */
export function canonicalWhenWide(la: u64): bool {
  const unused: u64 = load<u64>(CR4_ALLOWED) & CR4_LA57 ? 7 : 16;
  return <u64>((<i64>(la << unused)) >> <i64>unused) == la;
}

/** Whether an enabled data breakpoint lies in the page, whose accesses then all take the slow path. */
export function pageWatched(la: u64): bool {
  if (alignmentChecked() || (load<u32>(DEBUG_MODE) & DEBUG_WATCH && pageDebugged(la & ~0xfff))) return true;
  const dr7 = load<u32>(DR7);
  if (!(dr7 & 0xff)) return false;
  const page = la & ~0xfff;
  for (let i: u32 = 0; i < 4; i++) {
    if (!((dr7 >>> (i << 1)) & 3)) continue;
    if (!((dr7 >>> (16 + (i << 2))) & 1)) continue;
    if ((load<u64>(DR0 + (i << 3)) & ~0xfff) == page) return true;
  }
  return false;
}

/** Whether a debugger watches bytes of the page. */
function pageDebugged(page: u64): bool {
  const count = load<u32>(DEBUG_WATCH_COUNT);
  for (let i: u32 = 0; i < count; i++) {
    const start = load<u64>(DEBUG_WATCHES + (i << 4));
    if (start < page + 4096 && page < start + u64(load<u32>(DEBUG_WATCHES + (i << 4), 8))) return true;
  }
  return false;
}

// @ts-ignore: decorator
@inline
function tableBase(access: u32): u32 {
  return (access & USER ? TLB_USER : TLB_SUPERVISOR) + bank;
}

// @ts-ignore: decorator
@inline
function install(entry: u32, la: u64, access: u32): void {
  const page = la & ~0xfff;
  installEntry(entry, page, RAM_BASE + <u32>walkPage - <u32>page, walkKind);
  if (walkUser && !(access & USER) && load<u32>(CR4) & CR4_SMAP) noteGuarded(entry);
}

/** Installs what the last walk, a read of backed memory, found. */
export function fillRead(la: u64, access: u32): void {
  if (pageWatched(la)) return;
  install(dataEntry(tableBase(access) + TLB_READ, la), la, access);
}

/** Installs what the last walk, a write to RAM without decoded code, found; reads of the page are granted too. */
export function fillWrite(la: u64, access: u32): void {
  if (pageWatched(la)) return;
  notePageWrite(<u32>walkPage >>> 12);
  install(dataEntry(tableBase(access) + TLB_WRITE, la), la, access);
  const read = dataEntry(tableBase(access) + TLB_READ, la);
  if (!translates(read, la & ~0xfff)) install(read, la, access);
}

/**
 * Guest-physical address of an instruction byte at `la`, or 0xffffffff with a fault pending. What no memory backs reads as ones,
 * which is no instruction: #UD.
 */
export function translateExecute(la: u64): u32 {
  if (load<u32>(CODE_SIZE) == 2 && !canonical(la)) {
    raiseError(13, 0);
    return 0xffffffff;
  }
  if (!translate(la, load<u32>(CPL) == 3 ? FETCH | USER : FETCH)) return 0xffffffff;
  if (onApicPage(walkPage)) {
    apicFetchExit(la);
    return 0xffffffff;
  }
  // Device memory between RAM and ROM is data alone.
  if (pageKind(walkPage) == PAGE_MMIO || (walkPage >= load<u32>(RAM_SIZE) && walkPage < ROM_GPA)) {
    raise(6);
    return 0xffffffff;
  }
  fetchPage = la & ~0xfff;
  fetchKind = walkKind;
  return <u32>walkPage | (<u32>la & 0xfff);
}

/** Makes the execute entry of the page of `la`, whose record table is at `pointer`; `la` was translated by translateExecute last or before. */
export function fillExecute(la: u64, pointer: u32): void {
  const page = la & ~0xfff;
  // Without the outcome of the walk at hand, the entry is taken to be neither global nor, which INVLPG must know, small.
  const kind = page == fetchPage ? fetchKind : ENTRY_LARGE | ENTRY_HUGE;
  installEntry(executeEntry(load<u32>(TLB_BASE), la), page, pointer, kind);
}
