/**
 * Windows of regions (core/cpu/jit/windowAccess.ts). A window stands for the entry of the table that was hit, or else, as a page that matches nothing, for
 * this one access. These return OK, or else the region must leave before the instruction, for the reason in OPEN_STATUS.
 */
import {
  DR7,
  OPEN_STATUS,
  PAGE_RAM,
  RANGE_CROSSED_AT,
  RANGE_CROSSED_BY,
  RANGE_CROSSINGS,
  TLB_BASE,
  TLB_READ,
  TLB_WRITE,
  WINDOWS,
  WINDOW_ANY,
  WINDOW_COUNT,
  WINDOW_EMPTY,
  WINDOW_SIZE,
} from '../layout';
import { slowRead } from './access';
import { pageWatched } from './paging';
import { pageKind } from './physical';
import { checkCanonical, currentAccess, firstTarget, GENERAL_PROTECTION, REFUSED, translateAll, wide, writeSlow } from './slow-access';
import { dataEntry } from './tlb';

const OK: u32 = 0;
const STATUS_FAULT: u32 = 1;
const REGION_STEP: u32 = 7;

/** Whether a window is one of WINDOW_ANY, which are as the tables' entries are: the last of their privilege level's. */
// @ts-ignore: decorator
@inline
function isEntry(window: u32): bool {
  return (window - WINDOWS) % (WINDOW_COUNT * WINDOW_SIZE) >= <u32>(WINDOW_ANY * WINDOW_SIZE);
}

function open(window: u32, page: u64, addend: u32): void {
  store<u64>(window, page);
  store<u32>(window, isEntry(window) ? addend : 0 - addend, 8);
}

function openFrom(window: u32, entry: u32): void {
  open(window, 0 - load<u64>(entry), load<u32>(entry, 8));
}

function standFor(window: u32, la: u64, host: u32): void {
  open(window, load<u64>(WINDOW_EMPTY), host - <u32>la);
}

function refused(status: u32): u32 {
  store<u32>(OPEN_STATUS, status);
  return status;
}

/** `where`: the window, size of the access above bit 24. */
export function openRead(la: u64, where: u32): u32 {
  const window = where & 0xffffff;
  const size: i32 = where >> 24;
  const entry = dataEntry(load<u32>(TLB_BASE) + TLB_READ, la);
  if (load<u64>(entry) + la <= 4096 - <u64>size) {
    openFrom(window, entry);
    return OK;
  }
  if (load<u32>(DR7) & 0xff && (pageWatched(la) || pageWatched(la + size - 1))) return refused(REGION_STEP);
  const host = slowRead(la, size);
  if (!host) return refused(STATUS_FAULT);
  standFor(window, la, host);
  return OK;
}

/**
 * Makes a window current for a range in one page. The access that comes first is at `la`; `extent`: bytes of the range before it (7:0), its
 * length less 1 (15:8), whether the first access writes (16), whether any does (17). `region` is the region's index, `at` the range's place in it.
 */
export function openRange(la: u64, where: u32, extent: u32, region: u32, at: i32): u32 {
  const first = la - (extent & 0xff);
  const length: u64 = ((extent >> 8) & 0xff) + 1;
  if ((first & 0xfff) + length > 4096) {
    store<u32>(RANGE_CROSSINGS, load<u32>(RANGE_CROSSINGS) + 1);
    store<u32>(RANGE_CROSSED_BY, region);
    store<i32>(RANGE_CROSSED_AT, at);
    return refused(REGION_STEP);
  }
  const window = where & 0xffffff;
  const entry = dataEntry(load<u32>(TLB_BASE) + (extent & (1 << 17) ? TLB_WRITE : TLB_READ), la);
  if (load<u64>(entry) + first > 4096 - length) {
    // What the first access would meet is met now. Memory-mapped registers must not be read twice.
    const size: i32 = where >> 24;
    if (extent & (1 << 16)) {
      const host = writeSlow(la, size, currentAccess(), GENERAL_PROTECTION, false, true);
      if (!host) return refused(STATUS_FAULT);
    } else {
      if (load<u32>(DR7) & 0xff && pageWatched(la)) return refused(REGION_STEP);
      const access = currentAccess();
      if (!wide(access)) la &= 0xffffffff;
      else if (!checkCanonical(la, size, GENERAL_PROTECTION)) return refused(STATUS_FAULT);
      if (!translateAll(la, size, access)) return refused(STATUS_FAULT);
      if (pageKind(firstTarget) != PAGE_RAM) return refused(REGION_STEP);
      if (!slowRead(la, size)) return refused(STATUS_FAULT);
    }
    if (load<u64>(entry) + first > 4096 - length) return refused(REGION_STEP);
  }
  openFrom(window, entry);
  return OK;
}

/** For a store and for a read-modify-write. */
export function openWrite(la: u64, where: u32): u32 {
  const window = where & 0xffffff;
  const size: i32 = where >> 24;
  const entry = dataEntry(load<u32>(TLB_BASE) + TLB_WRITE, la);
  if (load<u64>(entry) + la <= 4096 - <u64>size) {
    openFrom(window, entry);
    return OK;
  }
  const host = writeSlow(la, size, currentAccess(), GENERAL_PROTECTION, false, true);
  if (!host) return refused(STATUS_FAULT);
  if (host == REFUSED) return refused(REGION_STEP);
  standFor(window, la, host);
  return OK;
}
