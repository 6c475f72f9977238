/** The walk of root mode's EPT (core/vmm/rootEpt.ts), for what PAGE_KIND does not hold. @sdm 3C 29.3.2 */
import { fetchPage } from './imports';
import { PAGE_KIND, PAGE_MMIO, PAGE_RAM, PAGE_ROM, RAM_BASE, ROOT_EPT_ABSENT, ROOT_EPT_POINTER } from '../layout';

const READ: u64 = 1;
const WRITE: u64 = 2;
const RIGHTS: u64 = 7;
const LARGE: u64 = 0x80;
const ADDRESS: u64 = 0x000ffffffffff000;

/** PAGE_* of a page below 4 GiB. What is mapped is kept; of what is not, root mode is asked at each access. */
export function walkRoot(page: u32): u32 {
  let entry = leafOf(page);
  if (entry == ROOT_EPT_ABSENT) {
    fetchPage(page);
    entry = leafOf(page);
  }
  const kind = kindOf(entry);
  store<u8>(PAGE_KIND + page, kind);
  return kind;
}

function kindOf(entry: u64): u32 {
  if (entry & WRITE) return PAGE_RAM;
  return entry & READ ? PAGE_ROM : PAGE_MMIO;
}

/** The entry that maps a page, with the rights that all on the way leave; or the one that is not present. */
function leafOf(page: u32): u64 {
  const gpa = u64(page) << 12;
  let table = load<u64>(ROOT_EPT_POINTER) & ADDRESS;
  let rights = RIGHTS;
  for (let shift: u64 = 39; ; shift -= 9) {
    const entry = load<u64>(u32(table) + (u32(gpa >> shift) & 511) * 8);
    if (!(entry & RIGHTS)) return entry;
    rights &= entry;
    if (shift > 12 && !(entry & LARGE)) {
      table = entry & ADDRESS;
      continue;
    }
    const inside = ((<u64>1) << shift) - 1;
    // Guest memory lies at one distance for the whole processor: a frame elsewhere cannot be reached.
    return u32((entry & ADDRESS & ~inside) | (gpa & inside)) == RAM_BASE + u32(gpa) ? (entry & ~RIGHTS) | rights : 0;
  }
}
