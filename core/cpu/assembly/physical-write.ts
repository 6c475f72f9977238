/** Writes of the processor's own to guest-physical memory. */
import { writeToCode } from './code';
import { noteWrite, pageKind } from './physical';
import { PAGE_CODE, PAGE_RAM } from '../layout';

/** Prepares `size` bytes of a structure for a write of its own, all of one page; false when writes to it are dropped (ROM). */
export function structureWritable(gpa: u64, size: u32 = 8): bool {
  if (pageKind(gpa) != PAGE_RAM) return false;
  noteWrite(<u32>gpa);
  if (load<u32>(PAGE_CODE + (<u32>gpa >>> 12 << 2))) writeToCode(<u32>gpa, size);
  return true;
}
