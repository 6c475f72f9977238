/** Physical region pages: how a command describes its memory. @nvme 4.3 */

import type { GuestMemoryAccess, Segment } from '../segments.ts';

const PAGE = 4096;

/** The memory that a command's two entries describe for `length` bytes, or null when they are wrong. */
export function prpSegments(memory: GuestMemoryAccess, first: number, second: number, length: number): Segment[] | null {
  if (first % 4 !== 0) return null;
  const head = Math.min(length, PAGE - (first % PAGE));
  const segments: Segment[] = [{ address: first, length: head }];
  const left = length - head;
  if (left === 0) return segments;
  if (left <= PAGE) {
    if (second % PAGE !== 0) return null;
    append(segments, second, left);
    return segments;
  }
  return listed(memory, second, left, segments) ? segments : null;
}

/** Pages that lie behind one another are one segment: each is moved by itself. */
function append(segments: Segment[], address: number, length: number): void {
  const last = segments.at(-1);
  if (last && last.address + last.length === address) segments[segments.length - 1] = { address: last.address, length: last.length + length };
  else segments.push({ address, length });
}

/** Follows a list of entries; the last one of a page leads to the next page of the list. */
function listed(memory: GuestMemoryAccess, list: number, length: number, segments: Segment[]): boolean {
  if (list % 8 !== 0) return false;
  let at = list;
  let empty = 0;
  for (let left = length; left > 0;) {
    const bytes = new Uint8Array(Math.min(PAGE - (at % PAGE), Math.ceil(left / PAGE) * 8 + 8));
    if (!memory.read(at, bytes)) return false;
    const view = new DataView(bytes.buffer);
    const entry = (index: number): number => view.getUint32(index * 8 + 4, true) * 2 ** 32 + view.getUint32(index * 8, true);
    const entries = (PAGE - (at % PAGE)) / 8;
    const chained = Math.ceil(left / PAGE) > entries;
    const count = chained ? entries - 1 : Math.ceil(left / PAGE);
    for (let index = 0; index < count; index++) {
      const address = entry(index);
      if (address % PAGE !== 0) return false;
      const piece = Math.min(left, PAGE);
      append(segments, address, piece);
      left -= piece;
    }
    if (!chained) return true;
    // A list of nothing but ways to further pages would never end.
    if (count === 0 && ++empty > 1) return false;
    at = entry(entries - 1);
    if (at % 8 !== 0) return false;
  }
  return true;
}
