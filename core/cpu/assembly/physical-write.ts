/** Writes of the processor's own to guest-physical memory. */
import { writeToCode } from './code';
import { noteWrite, pageKind } from './physical';
import { PAGE_CODE, PAGE_RAM } from '../layout';

/** Prepares a paging structure for a write of its own; false when writes to it are dropped (ROM). */
export function structureWritable(gpa: u64): bool {
  if (pageKind(gpa) != PAGE_RAM) return false;
  noteWrite(<u32>gpa);
  if (load<u32>(PAGE_CODE + (<u32>gpa >>> 12 << 2))) writeToCode(<u32>gpa, 8);
  return true;
}
