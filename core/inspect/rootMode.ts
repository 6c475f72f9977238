/** What root mode lets the guest do without an exit: its EPT, its I/O bitmaps, its MSR bitmaps. */
import type { InspectSection } from '../contract/inspect.ts';
import type { Processor } from '../cpu/processor.ts';
import { PAGE_MMIO, RAM_BASE, ROOT_EPT_ABSENT, ROOT_IO_BITMAPS, ROOT_MSR_BITMAPS } from '../cpu/layout.ts';
import { MSRS_OF_RANGE, MSR_RANGES, MSR_WRITES } from '../vmm/rootVmcs.ts';
import { bitNames, hex, section } from './tables.ts';
import type { BitRow } from './tables.ts';

const PAGE = 4096;
const PAGES = 0x100000;
const PORTS = 0x10000;
const FOUR_GIGABYTES = 2n ** 32n;
const ENTRY_BITS: readonly BitRow[] = [[0, 'R'], [1, 'W'], [2, 'X'], [7, 'large page']];

/** Everything; with a guest-physical address, its way through the EPT first. */
export function rootSections(cpu: Processor, address: bigint | null): InspectSection[] {
  return [...(address === null ? [] : [walkSection(cpu, address)]), mappedSection(cpu), portSection(cpu), msrSection(cpu)];
}

function walkSection({ ept }: Processor, address: bigint): InspectSection {
  const title = `Root mode: EPT walk of ${hex(address)}`;
  const columns = ['Level', 'At', 'Entry', 'Bits set'];
  if (address >= FOUR_GIGABYTES) return section(title, columns, [], 'Nothing above 4 GiB is mapped: the access exits.');
  const steps = ept.walk(Number(address));
  const last = steps.at(-1)?.entry ?? 0;
  const kind = ept.kindOf(Number(address >> 12n));
  const outcome = last === ROOT_EPT_ABSENT ? 'The page is fetched from a snapshot when it is accessed.'
    : kind === PAGE_MMIO ? 'Not mapped: the access exits.' : `In linear memory at ${hex((RAM_BASE + Number(address)) >>> 0)}.`;
  return section(title, columns, steps.map(({ level, at, entry }) => [level, hex(at), hex(entry), bitNames(BigInt(entry), ENTRY_BITS)]), outcome);
}

interface Run<T> {
  readonly first: number;
  readonly last: number;
  readonly value: T;
}

/** Runs of equal values below `end`. */
function runsOf<T>(end: number, valueOf: (index: number) => T): Run<T>[] {
  const runs: Run<T>[] = [];
  for (let first = 0, last = 0; first < end; first = last + 1) {
    const value = valueOf(first);
    last = first;
    while (last + 1 < end && valueOf(last + 1) === value) last++;
    runs.push({ first, last, value });
  }
  return runs;
}

function mappedSection({ ept }: Processor): InspectSection {
  const runs = runsOf(PAGES, page => (ept.withheld(page) ? 'in a snapshot' : bitNames(BigInt(ept.rightsOf(page)), ENTRY_BITS))).filter(({ value }) => value !== '');
  return section(
    'Root mode: EPT', ['First', 'Last', 'Linear memory', 'Rights'],
    runs.map(({ first, last, value }) => [hex(first * PAGE), hex(last * PAGE + PAGE - 1), hex((RAM_BASE + first * PAGE) >>> 0), value]),
    'Accesses to other guest-physical addresses are EPT violations.',
  );
}

function bit(bytes: Uint8Array, bitmap: number, index: number): boolean {
  return ((bytes[bitmap + (index >> 3)]! >> (index & 7)) & 1) !== 0;
}

function portSection({ bytes }: Processor): InspectSection {
  const exits = runsOf(PORTS, port => bit(bytes, ROOT_IO_BITMAPS, port)).filter(({ value }) => value);
  return section('Root mode: ports that exit', ['First', 'Last'], exits.map(({ first, last }) => [hex(first), hex(last)]));
}

function msrSection({ bytes }: Processor): InspectSection {
  const rows = MSR_RANGES.flatMap(([base, offset]) => {
    const kept = (at: number) => (index: number): string => (bit(bytes, ROOT_MSR_BITMAPS + offset + at, index) ? '' : 'no exit');
    const read = kept(0);
    const write = kept(MSR_WRITES);
    return runsOf(MSRS_OF_RANGE, index => `${read(index)},${write(index)}`).filter(({ value }) => value !== ',')
      .map(({ first, last, value }) => [hex(base + first), hex(base + last), ...value.split(',')]);
  });
  return section('Root mode: MSRs that the processor keeps', ['First', 'Last', 'RDMSR', 'WRMSR'], rows, 'Accesses to other MSRs exit.');
}
