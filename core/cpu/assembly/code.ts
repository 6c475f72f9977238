/**
 * Decoded code by guest-physical page: descriptors, record tables, invalidation.
 *
 * Descriptor (in the code arena): u32 record table for 16-, 32- and 64-bit code (0 = none), u32 first run, u64 bitmap of the 64-byte
 * lines that hold decoded bytes, u32 page. Run: u32 next run, u32 count, then the records.
 */
import {
  CODE_ARENA, CODE_ARENA_END, CODE_GENERATION, CODE_NEXT, CODE_PAGE_RIP, CODE_SIZE, CODE_TABLE, CODE_TABLES_FOR, CS, PAGE_CODE, RAM_BASE,
  RIP, SEG_BASE, SEG_LIMIT, SEGMENTS, SEGMENT_SIZE,
} from '../layout';
import { OP_RELOOKUP, RECORD_SIZE, R_OP } from '../record';
import { decode } from './imports';
import { canonical, fillExecute, translateExecute } from './paging';
import { raiseError } from './status';
import { dropPageWrites, flushExecute } from './tlb';

const TABLE_BYTES: u32 = 4096 * 4;
const DESCRIPTOR_BYTES: u32 = 32;
const LINES: u32 = 16;
const PAGE: u32 = 24;
/** What a decode may need at most: descriptor, table, a run. */
const RESERVE: u32 = 64 * 1024;

/** Drops all decoded code; called when the arena is full and once at start. */
export function dropAllCode(): void {
  memory.fill(PAGE_CODE, 0, 4 << 20);
  store<u32>(CODE_NEXT, CODE_ARENA);
  store<u32>(CODE_GENERATION, load<u32>(CODE_GENERATION) + 1);
  flushExecute();
}

/** Zeroed bytes of the arena, 32-byte aligned. */
export function allocateCode(bytes: u32): u32 {
  const at = load<u32>(CODE_NEXT);
  store<u32>(CODE_NEXT, (at + bytes + 31) & ~31);
  memory.fill(at, 0, bytes);
  return at;
}

/** Notes a run of records of a page, for invalidation. The caller fills the records at the returned address + 32. */
export function allocateRun(descriptor: u32, count: u32): u32 {
  const run = allocateCode(32 + count * RECORD_SIZE);
  store<u32>(run, load<u32>(descriptor, 12));
  store<u32>(run, count, 4);
  store<u32>(descriptor, run, 12);
  return run;
}

/** Marks bytes [from, to) of a descriptor's page as decoded. */
export function markDecoded(descriptor: u32, from: u32, to: u32): void {
  for (let line = from >> 6; line <= (to - 1) >> 6 && line < 64; line++) {
    store<u64>(descriptor, load<u64>(descriptor, LINES) | ((<u64>1) << (<u64>line)), LINES);
  }
}

/** Drops a page's decoded code: its records send whoever runs them back to `lookup`. */
export function invalidateCode(page: u32): void {
  const descriptor = load<u32>(PAGE_CODE + (page << 2));
  if (descriptor == 0) return;
  store<u32>(PAGE_CODE + (page << 2), 0);
  for (let run = load<u32>(descriptor, 12); run != 0; run = load<u32>(run)) {
    const count = load<u32>(run, 4);
    for (let i: u32 = 0; i < count; i++) store<u16>(run + 32 + i * RECORD_SIZE, OP_RELOOKUP, R_OP);
  }
  for (let size: u32 = 0; size < 12; size += 4) {
    const table = load<u32>(descriptor + size);
    if (table != 0) memory.fill(table, 0, TABLE_BYTES);
  }
  store<u32>(CODE_GENERATION, load<u32>(CODE_GENERATION) + 1);
  flushExecute();
}

/**
 * A write of `size` bytes at a guest-physical address whose page holds decoded code. Returns whether the page still holds code
 * afterwards (no write entry may be installed then).
 */
export function writeToCode(gpa: u32, size: u32): bool {
  const page = gpa >> 12;
  const descriptor = load<u32>(PAGE_CODE + (page << 2));
  if (descriptor == 0) return false;
  const from = (gpa & 0xfff) >> 6;
  const to = min<u32>(63, ((gpa & 0xfff) + size - 1) >> 6);
  const lines = ((~(<u64>0)) >> (63 - <u64>(to - from))) << <u64>from;
  if ((load<u64>(descriptor, LINES) & lines) == 0) return true;
  invalidateCode(page);
  return false;
}

/**
 * Finds the record of the instruction at CS:RIP, decoding it when it is new. Returns 0 when a fault is pending.
 * Leaves the page's record table and the RIP of the page's first byte in CODE_TABLE and CODE_PAGE_RIP.
 */
export function lookup(): u32 {
  const size = load<u32>(CODE_SIZE);
  if (load<u32>(CODE_TABLES_FOR) != size) {
    store<u32>(CODE_TABLES_FOR, size);
    flushExecute();
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
  const page = gpa >> 12;
  let descriptor = load<u32>(PAGE_CODE + (page << 2));
  if (descriptor == 0) {
    descriptor = allocateCode(DESCRIPTOR_BYTES);
    store<u32>(descriptor, page, PAGE);
    store<u32>(PAGE_CODE + (page << 2), descriptor);
    dropPageWrites(page);
  }
  let table = load<u32>(descriptor + (size << 2));
  if (table == 0) {
    table = allocateCode(TABLE_BYTES);
    store<u32>(descriptor + (size << 2), table);
  }
  fillExecute(linear, table);
  const offset = gpa & 0xfff;
  store<u32>(CODE_TABLE, table);
  store<u64>(CODE_PAGE_RIP, rip - offset);
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
export function fetchAddress(delta: u32): u32 {
  const rip = load<u64>(RIP) + delta;
  const linear = load<u32>(CODE_SIZE) == 2 ? rip : (rip + load<u64>(SEGMENTS + CS * SEGMENT_SIZE + SEG_BASE)) & 0xffffffff;
  return translateExecute(linear);
}
