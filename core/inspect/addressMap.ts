/** Who answers which guest-physical addresses and which ports. */
import type { InspectSection } from '../contract/inspect.ts';
import type { Processor } from '../cpu/processor.ts';
import { PAGE_MMIO, PAGE_ROM } from '../cpu/layout.ts';
import type { InspectedBoard } from './inspect.ts';
import { hex, section } from './tables.ts';

const PAGE = 4096;
const PAGES = 0x100000;

interface Range {
  readonly base: number;
  readonly length: number;
  readonly kind: string;
  readonly name: string;
}

export function mapSections(cpu: Processor, board: InspectedBoard): InspectSection[] {
  const devices = board.memoryBus.list().map((range): Range => ({ ...range, kind: 'device' }));
  const apics = board.interrupts.localApics.flatMap(({ apicPage }, i): Range[] => (apicPage < 0 ? [] : [{ base: apicPage, length: PAGE, kind: 'device', name: `local APIC ${i}` }]));
  const memory = [...backedRanges(cpu), ...devices, ...apics].sort((a, b) => a.base - b.base);
  const ports = board.ports.list().map((range): Range => ({ ...range, kind: 'device' }));
  return [
    section('Guest-physical memory', ['First', 'Last', 'Size', 'Kind', 'Name'], memory.map(rowOf), 'Reads of addresses that are not listed give ones.'),
    section('Ports', ['First', 'Last', 'Size', 'Kind', 'Name'], ports.map(rowOf)),
  ];
}

function rowOf({ base, length, kind, name }: Range): string[] {
  return [hex(base), hex(base + length - 1), hex(length), kind, name];
}

/** Runs of pages that memory backs. */
function backedRanges({ ept }: Processor): Range[] {
  const ranges: Range[] = [];
  for (let first = 0; first < PAGES;) {
    const kind = ept.kindOf(first);
    let end = first + 1;
    while (end < PAGES && ept.kindOf(end) === kind) end++;
    if (kind !== PAGE_MMIO) ranges.push({ base: first * PAGE, length: (end - first) * PAGE, kind: kind === PAGE_ROM ? 'ROM' : 'RAM', name: '' });
    first = end;
  }
  return ranges;
}
