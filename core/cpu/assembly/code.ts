/**
 * Decoded code by guest-physical page: descriptors, record tables, invalidation.
 *
 * Descriptor (in the code arena): u32 record table for 16-, 32- and 64-bit code (0 = none), u32 first run, u64 bitmap of the 64-byte
 * lines that hold decoded bytes, u32 page. Run: u32 next run, u32 count, then the records.
 */
import { CODE_ARENA, CODE_GENERATION, CODE_NEXT, PAGE_CODE } from '../layout';
import { OP_RELOOKUP, RECORD_SIZE, R_OP } from '../record';
import { dropPageWrites, flushExecute } from './tlb';

export const TABLE_BYTES: u32 = 4096 * 4;
const DESCRIPTOR_BYTES: u32 = 32;
const LINES: u32 = 16;
const PAGE: u32 = 24;

/** Drops all decoded code; called when the arena is full and once at start. */
export function dropAllCode(): void {
  memory.fill(PAGE_CODE, 0, 4 << 20);
  store<u32>(CODE_NEXT, CODE_ARENA);
  store<u32>(CODE_GENERATION, load<u32>(CODE_GENERATION) + 1);
  flushExecute();
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
  if (load<u32>(PAGE_CODE + (page << 2)) == 0) return false;
  if (!holdsCode(gpa, size)) return true;
  invalidateCode(page);
  return false;
}

/** Whether code was decoded from the lines of a page that `size` bytes at a guest-physical address touch. */
export function holdsCode(gpa: u64, size: u32): bool {
  if (gpa > 0xffffffff) return false;
  const descriptor = load<u32>(PAGE_CODE + (<u32>gpa >>> 12 << 2));
  if (descriptor == 0) return false;
  const from = (<u32>gpa & 0xfff) >> 6;
  const to = min<u32>(63, ((<u32>gpa & 0xfff) + size - 1) >> 6);
  const lines = ((~(<u64>0)) >> (63 - <u64>(to - from))) << <u64>from;
  return (load<u64>(descriptor, LINES) & lines) != 0;
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
