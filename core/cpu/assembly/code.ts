/**
 * Decoded code by guest-physical page: descriptors, record tables, invalidation.
 *
 * Descriptor (in the code arena): u32 record table for 16-, 32- and 64-bit code (0 = none), u32 first run, u64 bitmap of the 64-byte
 * lines that hold decoded bytes, u32 page, u32 whether regions of other pages know the tables, a bitmap of the decoded bytes. Run: u32 next run,
 * u32 count, then the records.
 *
 * What is dropped is used again: runs by their number of records, tables unless such a region would take a new one for the old one. Whoever
 * executes a run that is dropped finds OP_RELOOKUP in it before anything new is decoded.
 */
import { CODE_ARENA, CODE_GENERATION, CODE_NEXT, PAGE_CODE, REGION_LINKED, REGION_LINKS, REGION_LINKS_SIZE } from '../layout';
import { DESCRIPTOR_SHARED, OP_RELOOKUP, RECORD_SIZE, RUN_LIMIT, R_OP } from '../record';
import { dropPageWrites, flushExecute } from './tlb';

const TABLE_BYTES: u32 = 4096 * 4;
const BYTES: u32 = 32;
const DESCRIPTOR_BYTES: u32 = BYTES + 4096 / 8;
const LINES: u32 = 16;
const PAGE: u32 = 24;
/** Records of the longest run: instructions, and what ends them. */
const RUN_RECORDS: u32 = RUN_LIMIT + 2;

/** Freed tables, linked by their first words; everything else in them is zero. */
let freeTable: u32 = 0;
let noRecords: u32 = 0;
/** Freed runs by number of records, linked by their first words. */
const freeRuns: u32 = <u32>memory.data(4 * (66 + 1), 16);

/** Drops all decoded code; called when the arena is full and once at start. */
export function dropAllCode(): void {
  // Most of the 4 MB was never written, and the host has given no pages for it.
  for (let at: u32 = PAGE_CODE; at < <u32>PAGE_CODE + (4 << 20); at += 8) {
    if (load<u64>(at) != 0) store<u64>(at, 0);
  }
  store<u32>(CODE_NEXT, CODE_ARENA);
  freeTable = 0;
  noRecords = 0;
  memory.fill(freeRuns, 0, 4 * (RUN_RECORDS + 1));
  codeDropped();
}

/** No record that was dropped leads anywhere any more. */
function codeDropped(): void {
  store<u32>(CODE_GENERATION, load<u32>(CODE_GENERATION) + 1);
  clearLinks();
  flushExecute();
}

/** A record has ceased to lead where it led: regions look for their ways on anew. Often there are many in a row. */
export function clearLinks(): void {
  if (load<u32>(REGION_LINKED)) memory.fill(REGION_LINKS, 0, REGION_LINKS_SIZE + 4);
}

/** End of the part of the arena that was ever in use. What lies behind it is zero, and the host has given no pages for it yet. */
let used: u32 = CODE_ARENA;

/** Zeroed bytes of the arena, 32-byte aligned. */
export function allocateCode(bytes: u32): u32 {
  const at = load<u32>(CODE_NEXT);
  const next = (at + bytes + 31) & ~31;
  store<u32>(CODE_NEXT, next);
  if (at < used) memory.fill(at, 0, min(bytes, used - at));
  used = max(used, next);
  return at;
}

/** A table without entries that never gets any. */
export function emptyTable(): u32 {
  if (noRecords == 0) noRecords = allocateTable();
  return noRecords;
}

/** A record table without entries. */
export function allocateTable(): u32 {
  const table = freeTable;
  if (table == 0) return allocateCode(TABLE_BYTES);
  freeTable = load<u32>(table);
  store<u32>(table, 0);
  return table;
}

/** Notes a run of records of a page, for invalidation. The caller fills the records at the returned address + 32. */
export function allocateRun(descriptor: u32, count: u32): u32 {
  const list = freeRuns + (count << 2);
  let run = load<u32>(list);
  if (run != 0) store<u32>(list, load<u32>(run));
  else run = allocateCode(32 + count * RECORD_SIZE);
  store<u32>(run, load<u32>(descriptor, 12));
  store<u32>(run, count, 4);
  store<u32>(descriptor, run, 12);
  return run;
}

/** Marks bytes [from, to) of a descriptor's page as decoded. */
export function markDecoded(descriptor: u32, from: u32, to: u32): void {
  for (let line = from >> 6; line <= (to - 1) >> 6 && line < 64; line++) {
    store<u64>(descriptor, load<u64>(descriptor, LINES) | ((<u64>1) << (<u64>line)), LINES);
    const bytes = descriptor + BYTES + (line << 3);
    store<u64>(bytes, load<u64>(bytes) | bitsOfLine(line, from, to));
  }
}

/** Bits of the bytes [from, to) of a page that lie in one of its lines, which they touch. */
function bitsOfLine(line: u32, from: u32, to: u32): u64 {
  const first = max<i32>(0, from - (line << 6));
  const last = min<i32>(63, to - 1 - (line << 6));
  return ((~(<u64>0)) >> (63 - <u64>(last - first))) << <u64>first;
}

/** Drops a page's decoded code: its records send whoever runs them back to `lookup`. */
export function invalidateCode(page: u32): void {
  const descriptor = load<u32>(PAGE_CODE + (page << 2));
  if (descriptor == 0) return;
  store<u32>(PAGE_CODE + (page << 2), 0);
  let run = load<u32>(descriptor, 12);
  while (run != 0) {
    const next = load<u32>(run);
    const count = load<u32>(run, 4);
    for (let i: u32 = 0; i < count; i++) store<u16>(run + 32 + i * RECORD_SIZE, OP_RELOOKUP, R_OP);
    store<u32>(run, load<u32>(freeRuns + (count << 2)));
    store<u32>(freeRuns + (count << 2), run);
    run = next;
  }
  for (let size: u32 = 0; size < 12; size += 4) {
    const table = load<u32>(descriptor + size);
    if (table == 0) continue;
    clearTable(table, load<u64>(descriptor, LINES));
    if (load<u32>(descriptor, DESCRIPTOR_SHARED)) continue;
    store<u32>(table, freeTable);
    freeTable = table;
  }
  codeDropped();
}

/** Zeroes a table's entries where its page has decoded lines: the host gives no pages for what was never written. */
function clearTable(table: u32, lines: u64): void {
  for (; lines != 0; lines &= lines - 1) memory.fill(table + (<u32>ctz(lines) << 8), 0, 256);
}

/**
 * A write of `size` bytes at a guest-physical address whose page holds decoded code. Returns whether the page still holds code
 * afterwards (no write entry may be installed then).
 */
export function writeToCode(gpa: u32, size: u32): bool {
  const page = gpa >> 12;
  if (load<u32>(PAGE_CODE + (page << 2)) == 0) return false;
  if (!holdsCode(gpa, size)) return true;
  invalidateCode(page);
  return false;
}

/** Whether code was decoded from any of `size` bytes of one page, at a guest-physical address. Data often lies between code: boot loaders keep theirs so. */
export function holdsCode(gpa: u64, size: u32): bool {
  if (gpa > 0xffffffff) return false;
  const descriptor = load<u32>(PAGE_CODE + (<u32>gpa >>> 12 << 2));
  if (descriptor == 0) return false;
  const from = (<u32>gpa & 0xfff) >> 6;
  const to = min<u32>(63, ((<u32>gpa & 0xfff) + size - 1) >> 6);
  const lines = ((~(<u64>0)) >> (63 - <u64>(to - from))) << <u64>from;
  if ((load<u64>(descriptor, LINES) & lines) == 0) return false;
  for (let line = from; line <= to; line++) {
    if (load<u64>(descriptor + BYTES + (line << 3)) & bitsOfLine(line, <u32>gpa & 0xfff, (<u32>gpa & 0xfff) + size)) return true;
  }
  return false;
}

/** The descriptor of guest-physical page `page`, made when there is none: from then on writes to the page are seen. */
export function descriptorOf(page: u32): u32 {
  const found = load<u32>(PAGE_CODE + (page << 2));
  if (found != 0) return found;
  const descriptor = allocateCode(DESCRIPTOR_BYTES);
  store<u32>(descriptor, page, PAGE);
  store<u32>(PAGE_CODE + (page << 2), descriptor);
  dropPageWrites(page);
  return descriptor;
}
