/** What remapping costs a device: requests of 4 KB without a unit, through the guest's, through the workstation's, and through both. */
import { DmaMemory } from '../../core/platform/dma.ts';
import type { DmaRemapper } from '../../core/platform/dma.ts';
import { HostIommu } from '../../core/passthrough/hostIommu.ts';
import { Isolation } from '../../core/passthrough/isolation.ts';
import { Bench, gcmd, register } from '../helpers/remapping.ts';
import { median } from './phases.ts';
import { printTable } from './table.ts';

const PAGE = 4096;
const device = 0x0080;
const memoryPages = 16384;
/** Pages of the guest's second stage: three levels at page 8. */
const mappedPages = 8192;
const ROUNDS = 9;

/** A guest's unit that maps I/O pages from 0 to the pages of memory from 4096 on, each by an entry of its own. */
function guestUnit(): Bench {
  const bench = new Bench(memoryPages);
  bench.legacyContext(device, 8);
  bench.put(8, 0, (9n << 12n) | 3n);
  for (let table = 0; table < mappedPages / 512; table++) {
    bench.put(9, table * 8, (BigInt(10 + table) << 12n) | 3n);
    for (let index = 0; index < 512; index++) bench.put(10 + table, index * 8, (BigInt(4096 + table * 512 + index) << 12n) | 3n);
  }
  bench.write64(register.RTADDR, 0n);
  bench.turnOn(gcmd.root);
  bench.turnOn(gcmd.translation);
  return bench;
}

interface Setup {
  readonly name: string;
  /** Processor time of so many requests, in nanoseconds for one: what others do on the machine hardly counts. */
  run(requests: number): number;
  hits(): string;
}

/** @param first I/O page from which on `pages` are used */
function setup(name: string, ram: Uint8Array, remapper: DmaRemapper | null, first: number, pages: number, hits: () => string): Setup {
  const dma = new DmaMemory(ram);
  dma.remapper = remapper;
  const port = dma.port(() => device);
  const into = new Uint8Array(PAGE);
  const run = (requests: number): number => {
    const started = process.threadCpuUsage();
    // Strides of a prime number visit every page of the set in no order that a cache likes.
    for (let request = 0, page = 0; request < requests; request++, page = (page + 4099) % pages) {
      if (!port.read((first + page) * PAGE, into)) throw new Error(`${name}: page ${first + page} is not mapped`);
    }
    const { user, system } = process.threadCpuUsage(started);
    return ((user + system) * 1e3) / requests;
  };
  return { name, run, hits };
}

export function dma(): void {
  const rate = ({ hits, misses }: { readonly hits: number; readonly misses: number }): string => `${((hits / Math.max(1, hits + misses)) * 100).toFixed(1)} %`;
  const hot = guestUnit();
  const wide = guestUnit();
  const isolated = (guest: DmaRemapper | null): Isolation => {
    const isolation = new Isolation(new HostIommu(), memoryPages * PAGE, guest, () => false);
    isolation.assign(() => device, { id: 'edu:0', kind: 'edu', name: 'edu', path: null, requester: 0x8000, slot: 5 });
    return isolation;
  };
  const host = isolated(null);
  const inner = guestUnit();
  const both = isolated(inner.unit);
  const setups = [
    setup('without a unit', new Uint8Array(memoryPages * PAGE), null, 4096, 4096, () => ''),
    setup('guest\'s unit, 256 pages', hot.ram, hot.unit, 0, 256, () => rate(hot.unit.caches)),
    setup('guest\'s unit, 8192 pages', wide.ram, wide.unit, 0, mappedPages, () => rate(wide.unit.caches)),
    setup('workstation\'s unit', new Uint8Array(memoryPages * PAGE), host, 4096, 4096, () => rate(host.host.unit.caches)),
    setup('both units, 256 pages', inner.ram, both, 0, 256, () => rate(inner.unit.caches)),
  ];
  for (const { run } of setups) run(50_000);
  // In turn: what slows the machine down for a while slows all of them down.
  const rounds = Array.from({ length: ROUNDS }, () => setups.map(({ run }) => run(100_000)));
  const figures = setups.map((_, index) => median(rounds.map((round) => round[index] ?? 0)));
  const base = figures[0] ?? 1;
  printTable(['4 KB read by a device', 'ns', 'ratio', 'IOTLB hits'], setups.map(({ name, hits }, index) => {
    const nanoseconds = figures[index] ?? 0;
    return [name, nanoseconds.toFixed(0), (nanoseconds / base).toFixed(2), hits()];
  }));
}
