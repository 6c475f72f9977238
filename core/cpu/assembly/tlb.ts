/**
 * The look-aside tables: entries, the log of entries that are not global, and the flushes.
 *
 * An entry is 16 bytes: u64 tag, u32 addend or code pointer, u32 ENTRY_* bits. The tag is the page's address, negated: an access of n
 * bytes at `va` hits when `tag + va <= 4096 - n` (unsigned), which is one addition and one comparison. The tag of an empty entry does not
 * satisfy that in its own slot, because it names a page 512 slots away.
 */
import {
  CODE_TABLES_FOR,
  CPL,
  CR0,
  EFLAGS,
  EXECUTE_EPOCH,
  PAGE_WRITE_ENTRY,
  REGION_CHECKS,
  REGION_CHECKS_SIZE,
  RUNNING_VCPU,
  TLB_BANK,
  TLB_DATA_MASK,
  TLB_EXECUTE,
  TLB_EXECUTE_MASK,
  TLB_LEDGER,
  TLB_LOG,
  TLB_LOG_CAPACITY,
  TLB_LOG_COUNT,
  TLB_READ,
  TLB_SPACE,
  TLB_SUPERVISOR,
  TLB_USER,
  TLB_WRITE,
  RAM_BASE,
  WINDOWS,
  WINDOWS_END,
  WINDOWS_FOR,
  WINDOW_EMPTY,
} from '../layout';

/** The entry's address is in TLB_LOG. */
const ENTRY_LOGGED: u32 = 1;
/** The translation is global (CR4.PGE and G). */
export const ENTRY_GLOBAL: u32 = 2;
/** A piece of a page of 2 or 4 MiB, or of 1 GiB. */
export const ENTRY_LARGE: u32 = 4;
export const ENTRY_HUGE: u32 = 8;
/** A user page in the supervisor tables while CR4.SMAP is 1. */
const ENTRY_GUARDED: u32 = 16;

/** Page number bit that no address of a slot has where the slot's own number does not: makes a tag that never matches. */
const ELSEWHERE: u64 = 0x200000;
const LOG_OVERFLOWED: u32 = TLB_LOG_CAPACITY + 1;

/**
 * The distance of the bank in use from the first. What goes with the tables is a ledger in each bank:
 * LARGE: one bit for each hash of a 4 MiB region from which a piece of a large page was installed (INVLPG scans only those); HUGE: the same
 * for regions of 1 GiB; PIECES: the entries of such pieces while they are few (INVLPG looks at them alone); GUARDED: supervisor entries of user pages, usable only while EFLAGS.AC is set (SMAP), with their count and whether
 * they are switched off; the entries in the log and the code size of the execute tables while the bank is not in use.
 */
export let bank: u32 = 0;
const LARGE: usize = 0;
const LARGE_HASHES: u32 = 2047;
const HUGE: usize = 256;
const HUGE_HASHES: u64 = 63;
const GUARDED: usize = 264;
const GUARDED_CAPACITY: u32 = 16;
const GUARDED_COUNT: usize = 328;
const GUARDED_PARKED: usize = 332;
const KEPT_LOG_COUNT: usize = 336;
const KEPT_CODE_SIZE: usize = 340;
/** Nonzero while every entry is in the log, or empty: no global one was installed since the tables were emptied. */
const ALL_LOGGED: usize = 344;
const PIECES_COUNT: usize = 348;
const PIECES: usize = 352;
const PIECES_CAPACITY: u32 = 16;
/** There were more. */
const PIECES_OVERFLOWED: u32 = PIECES_CAPACITY + 1;
let ledger: usize = TLB_LEDGER;
let log: u32 = TLB_LOG;
/** The end of the banks that were ever in use, those never used in between included. */
let banksEnd: u32 = TLB_BANK;

/** Puts another bank's tables into use; the caller sets TLB_BASE (setPrivilege). */
function changeBank(next: u32): void {
  if (next == bank) return;
  store<u32>(ledger, load<u32>(TLB_LOG_COUNT), KEPT_LOG_COUNT);
  store<u32>(ledger, load<u32>(CODE_TABLES_FOR), KEPT_CODE_SIZE);
  bank = next;
  ledger = TLB_LEDGER + next;
  log = TLB_LOG + next;
  store<u32>(TLB_LOG_COUNT, load<u32>(ledger, KEPT_LOG_COUNT));
  store<u32>(CODE_TABLES_FOR, load<u32>(ledger, KEPT_CODE_SIZE));
}

/** The bank of the running vCPU itself, or of the guest that is nested in it. */
// @ts-ignore: decorator
@inline
export function bankOf(nested: bool): u32 {
  return load<u32>(RUNNING_VCPU) * (2 * TLB_BANK) + (nested ? TLB_BANK : 0);
}

/** Puts a bank of the running vCPU into use. One that never was is emptied: tables of zeros are not empty. */
export function useBank(nested: bool): void {
  changeBank(bankOf(nested));
  while (banksEnd <= bank) {
    const next = bank;
    changeBank(banksEnd);
    banksEnd += TLB_BANK;
    flushTables();
    changeBank(next);
  }
}

// @ts-ignore: decorator
@inline
function slotOf(entry: u32): u64 {
  return <u64>(entry & TLB_DATA_MASK) << 8;
}

/** Leaves an entry that matches nothing; the lowest bit tells it from a parked one. */
// @ts-ignore: decorator
@inline
function emptyTag(entry: u32): void {
  store<u64>(entry, (0 - (slotOf(entry) ^ ELSEWHERE)) | 1);
}

// @ts-ignore: decorator
@inline
function clearEntry(entry: u32): void {
  emptyTag(entry);
  store<u64>(entry, 0, 8);
}

/** The page of a tag, parked or not, that is not empty. */
// @ts-ignore: decorator
@inline
function pageOf(entry: u32): u64 {
  return 0 - load<u64>(entry);
}

/** Whether an entry translates `page`. */
// @ts-ignore: decorator
@inline
export function translates(entry: u32, page: u64): bool {
  return load<u64>(entry) + page == 0;
}

// @ts-ignore: decorator
@inline
export function dataEntry(base: u32, la: u64): u32 {
  return base + ((<u32>la >>> 8) & TLB_DATA_MASK);
}

// @ts-ignore: decorator
@inline
export function executeEntry(base: u32, la: u64): u32 {
  return base + TLB_EXECUTE + ((<u32>la >>> 8) & TLB_EXECUTE_MASK);
}

function clearTable(start: u32, size: u32): void {
  const end = start + size;
  for (let entry = start; entry < end; entry += 16) clearEntry(entry);
}

/** Must be called when a translation of code may have changed. A number comes back after 2^32 changes only: nothing may remember it then. */
function nextEpoch(): void {
  const epoch = load<u32>(EXECUTE_EPOCH) + 1;
  store<u32>(EXECUTE_EPOCH, epoch);
  if (epoch == 0) memory.fill(REGION_CHECKS, 0, REGION_CHECKS_SIZE);
}

/** Empties the windows. Must be called whenever a data entry loses its validity. */
export function closeWindows(): void {
  const empty = load<u64>(WINDOW_EMPTY);
  for (let window: u32 = WINDOWS; window < <u32>WINDOWS_END; window += 16) store<u64>(window, empty);
}

/** Must be called before regions run: makes the windows those of the tables in use. */
// @ts-ignore: decorator
@inline
export function useWindows(): void {
  if (load<u32>(WINDOWS_FOR) == bank) return;
  store<u32>(WINDOWS_FOR, bank);
  closeWindows();
}

/** Empties the tables in use. */
export function flushAll(): void {
  closeWindows();
  if (load<u32>(ledger, ALL_LOGGED) && load<u32>(TLB_LOG_COUNT) <= <u32>TLB_LOG_CAPACITY) clearLogged();
  else clearTables();
  memory.fill(ledger + LARGE, 0, 256);
  store<u64>(ledger, 0, HUGE);
  store<u32>(ledger, 0, PIECES_COUNT);
  store<u32>(ledger, 0, GUARDED_COUNT);
  store<u32>(ledger, 0, GUARDED_PARKED);
  nextEpoch();
}

function clearTables(): void {
  clearTable(TLB_SUPERVISOR + bank + TLB_READ, 0x10000);
  clearTable(TLB_SUPERVISOR + bank + TLB_WRITE, 0x10000);
  clearTable(TLB_SUPERVISOR + bank + TLB_EXECUTE, TLB_EXECUTE_MASK + 16);
  clearTable(TLB_USER + bank + TLB_READ, 0x10000);
  clearTable(TLB_USER + bank + TLB_WRITE, 0x10000);
  clearTable(TLB_USER + bank + TLB_EXECUTE, TLB_EXECUTE_MASK + 16);
  store<u32>(TLB_LOG_COUNT, 0);
  store<u32>(ledger, 1, ALL_LOGGED);
}

/** Empties the entries in the log but for those that have become global since. */
function clearLogged(): void {
  const end = log + (load<u32>(TLB_LOG_COUNT) << 2);
  for (let item = log; item < end; item += 4) {
    const entry = load<u32>(item);
    if (load<u32>(entry, 12) & ENTRY_GLOBAL) store<u32>(entry, load<u32>(entry, 12) & ~ENTRY_LOGGED, 12);
    else clearEntry(entry);
  }
  store<u32>(TLB_LOG_COUNT, 0);
}

/**
 * Empties every table of every bank, whatever the logs say: physical pages changed their kind. Tables of zeros are not empty: a reset must
 * call this too.
 */
export function flushBanks(): void {
  const current = bank;
  for (let each: u32 = 0; each < banksEnd; each += TLB_BANK) {
    changeBank(each);
    flushTables();
  }
  changeBank(current);
}

function flushTables(): void {
  store<u32>(ledger, 0, ALL_LOGGED);
  flushAll();
}

/** Empties the entries whose translation is not global: MOV to CR3 (@sdm 3A 4.10.4.1). */
export function flushNonGlobal(): void {
  const count = load<u32>(TLB_LOG_COUNT);
  if (count == 0) return;
  closeWindows();
  if (count == LOG_OVERFLOWED) {
    flushAll();
    return;
  }
  clearLogged();
  dropGuarded();
  nextEpoch();
}

/** Fills an entry. `kind` is of ENTRY_GLOBAL, ENTRY_LARGE, ENTRY_HUGE. */
export function installEntry(entry: u32, page: u64, value: u32, kind: u32): void {
  const logged = load<u32>(entry, 12) & ENTRY_LOGGED;
  store<u64>(entry, 0 - page);
  store<u32>(entry, value, 8);
  if (kind & (ENTRY_LARGE | ENTRY_HUGE)) {
    noteLarge(page, kind);
    notePiece(entry);
  }
  if (kind & ENTRY_GLOBAL) store<u32>(ledger, 0, ALL_LOGGED);
  if (kind & ENTRY_GLOBAL || logged) {
    store<u32>(entry, kind | logged, 12);
    return;
  }
  const count = load<u32>(TLB_LOG_COUNT);
  if (count >= <u32>TLB_LOG_CAPACITY) {
    store<u32>(TLB_LOG_COUNT, LOG_OVERFLOWED);
    store<u32>(entry, kind, 12);
    return;
  }
  store<u32>(log + (count << 2), entry);
  store<u32>(TLB_LOG_COUNT, count + 1);
  store<u32>(entry, kind | ENTRY_LOGGED, 12);
}

function noteLarge(page: u64, kind: u32): void {
  if (kind & ENTRY_HUGE) {
    store<u64>(ledger, load<u64>(ledger, HUGE) | ((<u64>1) << ((page >> 30) & HUGE_HASHES)), HUGE);
    return;
  }
  const bit = <u32>(page >> 22) & LARGE_HASHES;
  const byte = ledger + LARGE + (bit >>> 3);
  store<u8>(byte, load<u8>(byte) | (<u8>1 << <u8>(bit & 7)));
}

function notePiece(entry: u32): void {
  let count = load<u32>(ledger, PIECES_COUNT);
  if (count == PIECES_OVERFLOWED) return;
  for (let i: u32 = 0; i < count; i++) if (load<u32>(ledger + PIECES + (i << 2)) == entry) return;
  if (count == PIECES_CAPACITY) count = dropPieces(0, false);
  if (count < PIECES_CAPACITY) store<u32>(ledger + PIECES + (count << 2), entry);
  store<u32>(ledger, count + 1, PIECES_COUNT);
}

/** Forgets the pieces that are none any more, and with `only` drops those of the large page that holds `la`; returns how many are left. */
function dropPieces(la: u64, only: bool): u32 {
  const count = load<u32>(ledger, PIECES_COUNT);
  let kept: u32 = 0;
  for (let i: u32 = 0; i < count; i++) {
    const entry = load<u32>(ledger + PIECES + (i << 2));
    const kind = load<u32>(entry, 12) & (ENTRY_LARGE | ENTRY_HUGE);
    if (!kind || load<u64>(entry) & 1) continue;
    const shift: u64 = kind & ENTRY_HUGE ? 30 : 22;
    if (only && pageOf(entry) >> shift == la >> shift) {
      emptyTag(entry);
      continue;
    }
    store<u32>(ledger + PIECES + (kept++ << 2), entry);
  }
  store<u32>(ledger, kept, PIECES_COUNT);
  return kept;
}

// @ts-ignore: decorator
@inline
function dropExact(entry: u32, page: u64): void {
  if (translates(entry, page) || translates(entry, page ^ ELSEWHERE)) emptyTag(entry);
}

/** Drops a table's pieces of large pages in the regions of `1 << shift` bytes that share the hash of `la`. */
function dropRegion(table: u32, mask: u32, la: u64, shift: u64, hashes: u64, kind: u32): void {
  const region = (la >> shift) & hashes;
  let slot = (<u32>((la >> shift) << shift) >>> 8) & mask;
  let left = min(<u32>((<u64>1) << (shift - 12)), (mask >>> 4) + 1);
  while (left--) {
    const entry = table + slot;
    if (load<u32>(entry, 12) & kind) {
      // A parked tag differs in a bit inside the region.
      if (((pageOf(entry) >> shift) & hashes) == region) emptyTag(entry);
    }
    slot = (slot + 16) & mask;
  }
}

function dropRegions(la: u64, shift: u64, hashes: u64, kind: u32): void {
  for (let base: u32 = TLB_SUPERVISOR + bank; base <= <u32>TLB_USER + bank; base += TLB_SPACE) {
    dropRegion(base + TLB_READ, TLB_DATA_MASK, la, shift, hashes, kind);
    dropRegion(base + TLB_WRITE, TLB_DATA_MASK, la, shift, hashes, kind);
    dropRegion(base + TLB_EXECUTE, TLB_EXECUTE_MASK, la, shift, hashes, kind);
  }
}

/** Drops the pieces of the large page that holds `la`. A scan leaves nothing of its hash, so the next one has nothing to do. */
function dropLarge(la: u64): void {
  if (load<u32>(ledger, PIECES_COUNT) <= PIECES_CAPACITY) {
    dropPieces(la, true);
    return;
  }
  const bit = <u32>(la >> 22) & LARGE_HASHES;
  const at = ledger + LARGE + (bit >>> 3);
  const large: u32 = load<u8>(at);
  if (large & (1 << (bit & 7))) {
    dropRegions(la, 22, LARGE_HASHES, ENTRY_LARGE);
    store<u8>(at, <u8>(large & ~(1 << (bit & 7))));
  }
  const huge = load<u64>(ledger, HUGE);
  const own = (<u64>1) << ((la >> 30) & HUGE_HASHES);
  if (huge & own) {
    dropRegions(la, 30, HUGE_HASHES, ENTRY_HUGE);
    store<u64>(ledger, huge & ~own, HUGE);
  }
}

/** Drops the translations of the page that holds `la`, whatever its size, global or not: INVLPG (@sdm 3A 4.10.4.1). */
export function flushPage(la: u64): void {
  closeWindows();
  nextEpoch();
  const page = la & ~0xfff;
  const data = dataEntry(0, la);
  const execute = executeEntry(0, la);
  for (let base: u32 = TLB_SUPERVISOR + bank; base <= <u32>TLB_USER + bank; base += TLB_SPACE) {
    dropExact(base + TLB_READ + data, page);
    dropExact(base + TLB_WRITE + data, page);
    dropExact(base + execute, page);
  }
  dropLarge(la);
}

/** Drops the write entries of guest-physical page `page` (gpa >> 12), because it now holds decoded code. */
export function dropPageWrites(page: u32): void {
  let vcpus: u32 = load<u8>(PAGE_WRITE_ENTRY + page);
  if (!vcpus) return;
  store<u8>(PAGE_WRITE_ENTRY + page, 0);
  closeWindows();
  const host = RAM_BASE + (page << 12);
  for (; vcpus != 0; vcpus &= vcpus - 1) {
    const own = ctz(vcpus) * (2 * TLB_BANK);
    dropHostWrites(host, own);
    if (own + TLB_BANK < banksEnd) dropHostWrites(host, own + TLB_BANK);
  }
}

/** A write entry of a guest-physical page may be installed now. */
// @ts-ignore: decorator
@inline
export function notePageWrite(page: u32): void {
  store<u8>(PAGE_WRITE_ENTRY + page, load<u8>(PAGE_WRITE_ENTRY + page) | <u8>((<u32>1) << load<u32>(RUNNING_VCPU)));
}

function dropHostWrites(host: u32, which: u32): void {
  for (let base: u32 = TLB_SUPERVISOR + which; base <= <u32>TLB_USER + which; base += TLB_SPACE) {
    const end = base + TLB_WRITE + 0x10000;
    for (let entry = base + TLB_WRITE; entry < end; entry += 16) {
      // Bit 21 of a parked tag's page is inverted, so its host page is off by 2 MiB either way.
      const at = <u32>pageOf(entry) + load<u32>(entry, 8);
      if (at == host || at - host == <u32>ELSEWHERE || host - at == <u32>ELSEWHERE) emptyTag(entry);
    }
  }
}

/** Empties the execute tables of every bank: every code page's record table is being dropped. */
export function flushExecute(): void {
  nextEpoch();
  for (let each: u32 = 0; each < banksEnd; each += TLB_BANK) flushExecuteOf(each);
}

/** Empties the execute tables in use: they are for another code size. */
export function flushExecuteTables(): void {
  nextEpoch();
  flushExecuteOf(bank);
}

function flushExecuteOf(which: u32): void {
  for (let base: u32 = TLB_SUPERVISOR + which; base <= <u32>TLB_USER + which; base += TLB_SPACE) {
    const end = base + TLB_EXECUTE + TLB_EXECUTE_MASK + 16;
    for (let entry = base + TLB_EXECUTE; entry < end; entry += 16) emptyTag(entry);
  }
}

// ---- supervisor access to user pages under SMAP -------------------------------------------------------------------------------
// Such entries may be used only while EFLAGS.AC is 1. CLAC parks them (their tags are made to match nothing), STAC puts them back, so a
// kernel that copies to the same few user pages does not walk again each time. The log is short: both cost a loop over it.

const EFLAGS_AC: u32 = 1 << 18;

/** Whether guarded entries are in use, which do not open user pages to implicit supervisor accesses. */
// @ts-ignore: decorator
@inline
export function guardedOpen(): bool {
  return load<u32>(ledger, GUARDED_COUNT) != 0 && !load<u32>(ledger, GUARDED_PARKED);
}

/**
 * Whether misaligned references of programs are #AC (@sdm 3A 6.15, interrupt 17): CPL 3, CR0.AM and EFLAGS.AC. No data entry is installed
 * then, so that every reference takes the slow path, which looks.
 */
export function alignmentChecked(): bool {
  return load<u32>(CPL) == 3 && (load<u32>(EFLAGS) & (1 << 18)) != 0 && (load<u64>(CR0) & (1 << 18)) != 0;
}

/** Empties the data tables of CPL 3: alignment is checked from now on, which only the slow path does. */
export function flushUserData(): void {
  closeWindows();
  clearTable(TLB_USER + bank + TLB_READ, 0x10000);
  clearTable(TLB_USER + bank + TLB_WRITE, 0x10000);
}

/** Must be called after every change of EFLAGS.AC, at any privilege level: switches the guarded entries on or off. */
export function flushAccessCheck(): void {
  const count = load<u32>(ledger, GUARDED_COUNT);
  if (count == 0) return;
  const parked = !(load<u32>(EFLAGS) & EFLAGS_AC);
  if (parked == (load<u32>(ledger, GUARDED_PARKED) != 0)) return;
  store<u32>(ledger, parked ? 1 : 0, GUARDED_PARKED);
  closeWindows();
  for (let i: u32 = 0; i < count; i++) {
    const entry = load<u32>(ledger + GUARDED + (i << 2));
    if (!(load<u32>(entry, 12) & ENTRY_GUARDED)) continue;
    const page = pageOf(entry);
    const isParked = ((page ^ slotOf(entry)) & ELSEWHERE) != 0;
    if (!(page & 1) && isParked != parked) store<u64>(entry, 0 - (page ^ ELSEWHERE));
  }
}

/** Records that the entry just installed may be used only while EFLAGS.AC is set. */
export function noteGuarded(entry: u32): void {
  flushAccessCheck();
  store<u32>(entry, load<u32>(entry, 12) | ENTRY_GUARDED, 12);
  let count = load<u32>(ledger, GUARDED_COUNT);
  for (let i: u32 = 0; i < count; i++) if (load<u32>(ledger + GUARDED + (i << 2)) == entry) return;
  if (count == GUARDED_CAPACITY) {
    const keep = load<u64>(entry);
    dropGuarded();
    store<u64>(entry, keep);
    count = 0;
  }
  store<u32>(ledger + GUARDED + (count << 2), entry);
  store<u32>(ledger, count + 1, GUARDED_COUNT);
}

function dropGuarded(): void {
  const count = load<u32>(ledger, GUARDED_COUNT);
  if (count != 0) closeWindows();
  for (let i: u32 = 0; i < count; i++) {
    const entry = load<u32>(ledger + GUARDED + (i << 2));
    if (load<u32>(entry, 12) & ENTRY_GUARDED) emptyTag(entry);
  }
  store<u32>(ledger, 0, GUARDED_COUNT);
  store<u32>(ledger, 0, GUARDED_PARKED);
}
