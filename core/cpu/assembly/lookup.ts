/** From CS:RIP to decoded code. */
import {
  CPL, MADE_FOR_USER, CODE_ARENA_END, CODE_NEXT, CODE_PAGE_RIP, CODE_SIZE, EXECUTE_EPOCH, FAULT, CODE_TABLE, CODE_TABLES_FOR, CS, PAGE_CODE, RAM_BASE, REGION_CHECKS, REGION_CHECK_SIZE,
  PLAIN_SEGMENTS, REGION_PAGES, REGION_PAGES_EACH, REGION_MADE_FOR, RIP, SEG_BASE, SEG_LIMIT, SEGMENTS, SEGMENT_SIZE, TLB_BASE, TLB_EXECUTE, TLB_EXECUTE_MASK,
} from '../layout';
import { allocateTable, descriptorOf, dropAllCode, emptyTable } from './code';
import { decode } from './imports';
import { canonical, fillExecute, translateExecute } from './paging';
import { raiseError } from './status';
import { flushExecuteTables, useWindows } from './tlb';

/** What a decode may need at most: descriptor, table, a run. */
const RESERVE: u32 = 64 * 1024;

/** Set in a key of the execute tables: CS ends inside the page that the key's upper bits name. */
const ENDS_INSIDE: u32 = 4;

/** What execute tables are for: the code size and, where CS ends inside a page, that page. */
function tablesKey(size: u32): u32 {
  if (size == 2) return size;
  const cs: u32 = SEGMENTS + CS * SEGMENT_SIZE;
  const end = <u32>load<u64>(cs, SEG_BASE) + load<u32>(cs, SEG_LIMIT);
  return (end & 0xfff) == 0xfff ? size : (end & 0xfffff000) | ENDS_INSIDE | size;
}

/** Whether a page is the one that CS ends in. Its code is decoded each time, and never found in a table: the limit can be after any byte. */
// @ts-ignore: decorator
@inline
function endsInPage(linear: u64): bool {
  const key = load<u32>(CODE_TABLES_FOR);
  return (key & ENDS_INSIDE) != 0 && ((<u32>linear ^ key) & 0xfffff000) == 0;
}

/**
 * Finds the record of the instruction at CS:RIP, decoding it when it is new. Returns 0 when a fault is pending.
 * Leaves the page's record table and the RIP of the page's first byte in CODE_TABLE and CODE_PAGE_RIP.
 */
export function lookup(): u32 {
  const size = load<u32>(CODE_SIZE);
  const key = tablesKey(size);
  if (load<u32>(CODE_TABLES_FOR) != key) {
    store<u32>(CODE_TABLES_FOR, key);
    flushExecuteTables();
  }
  const rip = load<u64>(RIP);
  let linear = rip;
  if (size == 2) {
    if (!canonical(rip)) {
      raiseError(13, 0);
      return 0;
    }
  } else {
    const cs: u32 = SEGMENTS + CS * SEGMENT_SIZE;
    if (rip > <u64>load<u32>(cs, SEG_LIMIT)) {
      raiseError(13, 0);
      return 0;
    }
    linear = (rip + load<u64>(cs, SEG_BASE)) & 0xffffffff;
  }
  const gpa = translateExecute(linear);
  if (gpa == 0xffffffff) return 0;
  if (load<u32>(CODE_NEXT) + RESERVE > <u32>CODE_ARENA_END) dropAllCode();
  const offset = gpa & 0xfff;
  store<u64>(CODE_PAGE_RIP, rip - offset);
  if (endsInPage(linear)) {
    store<u32>(CODE_TABLE, emptyTable());
    return decode(gpa, 0);
  }
  const descriptor = descriptorOf(gpa >> 12);
  const table = tableOf(descriptor);
  fillExecute(linear, table);
  store<u32>(CODE_TABLE, table);
  let record = load<u32>(table + (offset << 2));
  if (record == 0) record = decode(gpa, descriptor);
  return record;
}

/**
 * Checks that the tail of a page-crossing instruction is still what was decoded. `record` is the OP_CROSS record: R_AUX holds the
 * guest-physical address of the tail, bytes 6..19 the tail itself, byte 5 its length. `rip` is that of the next page's first byte.
 * Returns 1 when it is, 0 when a fault is pending, 2 when the instruction must be decoded anew.
 */
export function checkCross(record: u32, rip: u64): i32 {
  const linear = load<u32>(CODE_SIZE) == 2 ? rip : (rip + load<u64>(SEGMENTS + CS * SEGMENT_SIZE + SEG_BASE)) & 0xffffffff;
  const gpa = translateExecute(linear);
  if (gpa == 0xffffffff) return 0;
  if (gpa != load<u32>(record, 28)) return 2;
  const length: u32 = load<u8>(record, 5);
  if (load<u32>(CODE_SIZE) != 2 && rip + length - 1 > <u64>load<u32>(SEGMENTS + CS * SEGMENT_SIZE, SEG_LIMIT)) {
    raiseError(13, 0);
    return 0;
  }
  for (let i: u32 = 0; i < length; i++) {
    if (load<u8>(record + 6 + i) != load<u8>(RAM_BASE + gpa + i)) return 2;
  }
  return 1;
}

/** Decodes the page-crossing instruction at RIP anew, its tail having changed. Returns its record, 0 when a fault is pending. */
export function decodeCross(): u32 {
  const rip = load<u64>(RIP);
  const linear = load<u32>(CODE_SIZE) == 2 ? rip : (rip + load<u64>(SEGMENTS + CS * SEGMENT_SIZE + SEG_BASE)) & 0xffffffff;
  const gpa = translateExecute(linear);
  if (gpa == 0xffffffff) return 0;
  const descriptor = load<u32>(PAGE_CODE + ((gpa >> 12) << 2));
  if (descriptor != 0) {
    const table = load<u32>(descriptor + (load<u32>(CODE_SIZE) << 2));
    if (table != 0) store<u32>(table + ((gpa & 0xfff) << 2), 0);
  }
  return lookup();
}

/** Guest-physical address of the instruction byte at RIP + delta; 0xffffffff when a fault is pending. */
export function fetchAddress(delta: i32): u32 {
  const rip = load<u64>(RIP) + <u64>(<i64>delta);
  if (load<u32>(CODE_SIZE) == 2) return translateExecute(rip);
  const cs: u32 = SEGMENTS + CS * SEGMENT_SIZE;
  if (rip > <u64>load<u32>(cs, SEG_LIMIT)) {
    raiseError(13, 0);
    return 0xffffffff;
  }
  return translateExecute((rip + load<u64>(cs, SEG_BASE)) & 0xffffffff);
}

/** Guest-physical address of the byte at RIP + delta, 0xffffffff when it cannot be fetched; no fault is left pending. */
export function sampleAddress(delta: i32): u32 {
  const gpa = fetchAddress(delta);
  if (gpa == 0xffffffff) store<u32>(FAULT, 0);
  return gpa;
}

/**
 * Whether a region must not be entered: it was made for another privilege level or other segments, or its other pages may not be what it was compiled from. `page`: RIP of its
 * entry's page. Pages are looked at when the region is entered for the first time, and again when a translation has changed since, the entry's page is at another address, or
 * at another privilege level.
 */
export function mustNotEnter(index: u32, page: u64): bool {
  useWindows();
  let state: u32 = load<u32>(CPL) == 3 ? MADE_FOR_USER : 0;
  if (load<u32>(CODE_SIZE) != 2) {
    state |= load<u32>(PLAIN_SEGMENTS);
    page = (page + load<u64>(SEGMENTS + CS * SEGMENT_SIZE + SEG_BASE)) & 0xffffffff;
  }
  // First: with other segments, pages would be looked for where nothing is fetched, and be marked as accessed.
  if (load<u32>(REGION_PAGES + index * REGION_PAGES_EACH, REGION_MADE_FOR) != state) return true;
  const check: u32 = REGION_CHECKS + index * REGION_CHECK_SIZE;
  return (load<u64>(check) != page || load<u64>(check, 8) != load<u64>(EXECUTE_EPOCH)) && !holdsPages(page, index);
}

/**
 * Whether all pages of the region with an index hold the code that it was compiled from, its entry's page being at a linear address. That is so as
 * long as the execute table leads from each page to the same record table; what was found is noted, as it holds until EXECUTE_EPOCH changes.
 */
function holdsPages(page: u64, index: u32): bool {
  const pages: u32 = REGION_PAGES + index * REGION_PAGES_EACH;
  for (let i: u32 = 0; i < load<u32>(pages); i++) {
    if (!holdsTable(page, load<i32>(pages + i * 8, 4), load<u32>(pages + i * 8, 8))) return false;
  }
  const check: u32 = REGION_CHECKS + index * REGION_CHECK_SIZE;
  store<u64>(check, page);
  store<u64>(check, load<u64>(EXECUTE_EPOCH), 8);
  return true;
}

/** The record table of the page of a guest-physical address, for code of the current size, made when there is none; 0 when there is no room for it. */
export function tableFor(gpa: u32): u32 {
  if (load<u32>(CODE_NEXT) + RESERVE > <u32>CODE_ARENA_END) return 0;
  return tableOf(descriptorOf(gpa >> 12));
}

function tableOf(descriptor: u32): u32 {
  const place = descriptor + (load<u32>(CODE_SIZE) << 2);
  let table = load<u32>(place);
  if (table == 0) {
    table = allocateTable();
    store<u32>(place, table);
  }
  return table;
}

/** Whether code `number` pages behind a page (its linear address) has this record table now. */
function holdsTable(page: u64, number: i32, table: u32): bool {
  let linear = page + ((<u64>(<i64>number)) << 12);
  if (load<u32>(CODE_SIZE) != 2) linear &= 0xffffffff;
  const entry = load<u32>(TLB_BASE) + (<u32>(linear >> 8) & TLB_EXECUTE_MASK);
  if (load<u64>(entry, TLB_EXECUTE) + linear == 0 && load<u32>(entry, TLB_EXECUTE + 8) == table) return true;
  return revalidate(linear) == table;
}

/** The record table that code at the page-aligned linear address has now, 0 when it has none; fills the execute table. */
function revalidate(linear: u64): u32 {
  if (endsInPage(linear)) return 0;
  const gpa = translateExecute(linear);
  if (gpa == 0xffffffff) {
    store<u32>(FAULT, 0);
    return 0;
  }
  const descriptor = load<u32>(PAGE_CODE + ((gpa >> 12) << 2));
  if (descriptor == 0) return 0;
  const table = load<u32>(descriptor + (load<u32>(CODE_SIZE) << 2));
  if (table != 0) fillExecute(linear, table);
  return table;
}
