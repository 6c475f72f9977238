/** Guest-physical pages. */
import { preservePage } from './imports';
import { walkRoot } from './root-ept';
import { HISTORY_PENDING, HISTORY_WRITTEN, PAGE_HISTORY, PAGE_KIND, PAGE_MMIO } from '../layout';

/** PAGE_* of a guest-physical page address, which may be read from then on; nothing above 4 GiB is backed. */
// @ts-ignore: decorator
@inline
export function pageKind(gpa: u64): u32 {
  if (gpa >> 32) return PAGE_MMIO;
  const kind = load<u8>(PAGE_KIND + (<u32>gpa >>> 12));
  return kind ? kind : walkRoot(<u32>gpa >>> 12);
}

/** Must be called before any write to RAM that no look-aside entry allowed: the page is no longer as the last snapshot has it. */
export function noteWrite(gpa: u32): void {
  const history = PAGE_HISTORY + (gpa >>> 12);
  const state = load<u8>(history);
  if (state == HISTORY_WRITTEN) return;
  if (state == HISTORY_PENDING) preservePage(gpa >>> 12);
  else store<u8>(history, HISTORY_WRITTEN);
}

/** Before `size` bytes at a guest-physical address are read or written from outside the processor: every page of theirs is there, and noted. */
export function touchMemory(gpa: u32, size: u32, write: bool): void {
  if (!size) return;
  const last = (gpa + size - 1) >>> 12;
  for (let page = gpa >>> 12; page <= last; page++) {
    if (!load<u8>(PAGE_KIND + page)) walkRoot(page);
    if (write) noteWrite(page << 12);
  }
}
