/** What the look-aside tables hold (core/cpu/assembly/tlb.ts): the processor's own idea of translations, not the page tables'. */
import type { InspectSection } from '../contract/inspect.ts';
import type { Processor } from '../cpu/processor.ts';
import {
  RAM_BASE, TLB_BANK, TLB_DATA_MASK, TLB_EXECUTE, TLB_EXECUTE_MASK, TLB_READ, TLB_SUPERVISOR, TLB_USER, TLB_WRITE,
} from '../cpu/layout.ts';
import { bitNames, hex, section, wideHex } from './tables.ts';
import type { BitRow } from './tables.ts';

const TABLES = [
  { name: 'read', offset: TLB_READ, mask: TLB_DATA_MASK }, { name: 'write', offset: TLB_WRITE, mask: TLB_DATA_MASK },
  { name: 'execute', offset: TLB_EXECUTE, mask: TLB_EXECUTE_MASK },
] as const;
const PRIVILEGES = [
  { name: 'supervisor', base: TLB_SUPERVISOR }, { name: 'user', base: TLB_USER },
  { name: 'the nested guest\'s supervisor', base: TLB_SUPERVISOR + TLB_BANK }, { name: 'the nested guest\'s user', base: TLB_USER + TLB_BANK },
] as const;
const KINDS: readonly BitRow[] = [[1, 'global'], [2, 'of a large page'], [3, 'of a 1 GiB page'], [4, 'needs AC']];
const ENTRY_BYTES = 16;
const ENTRIES_SHOWN = 4096;

interface Translation {
  readonly page: bigint;
  readonly physical: string;
  readonly allows: string[];
  readonly kind: number;
}

export function tlbSections(cpu: Processor): InspectSection[] {
  return PRIVILEGES.map(({ name, base }) => {
    const found = entriesOf(cpu, base + cpu.vcpu * 2 * TLB_BANK);
    const rows = [...found.values()].sort((a, b) => (a.page < b.page ? -1 : 1)).slice(0, ENTRIES_SHOWN);
    return section(
      `Translations for ${name} accesses`, ['Linear page', 'Physical page', 'Allows', 'Kind'],
      rows.map(({ page, physical, allows, kind }) => [wideHex(page), physical, allows.join(' '), bitNames(BigInt(kind), KINDS)]),
      found.size > rows.length ? `The first ${rows.length} of ${found.size}.` : '',
    );
  });
}

/** Entries of one privilege by linear page: the three tables' entries of a page are one row. */
function entriesOf({ view }: Processor, base: number): Map<bigint, Translation> {
  const found = new Map<bigint, Translation>();
  for (const { name, offset, mask } of TABLES) {
    for (let slot = 0; slot <= mask; slot += ENTRY_BYTES) {
      const at = base + offset + slot;
      // The tag is the page's address, negated.
      const page = BigInt.asUintN(64, -view.getBigUint64(at, true));
      // An empty or parked entry names a page of another slot.
      if (page & 0xfffn || Number(page >> 8n & BigInt(mask)) !== slot) continue;
      const known = found.get(page);
      // An execute entry leads to decoded code and knows no physical page.
      const physical = name === 'execute' ? '' : hex(((view.getUint32(at + 8, true) + Number(page & 0xffffffffn)) >>> 0) - RAM_BASE);
      if (known) known.allows.push(name);
      else found.set(page, { page, physical, allows: [name], kind: view.getUint32(at + 12, true) });
    }
  }
  return found;
}
