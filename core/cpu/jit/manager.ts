/**
 * Decides what is compiled. Hot code is found by sampling (heat.ts); the interpreter itself counts nothing. A block becomes the entry of a
 * region when its surroundings have enough marks for what compiling them costs.
 */
import { setFlagsFromString } from 'node:v8';
import { Decoder } from '../../isa/decoder.ts';
import type { CodeSize } from '../../isa/decoder.ts';
import { invalidRow, rowsOf } from '../../isa/table/index.ts';
import type { HelperSignatures } from '../helpers.ts';
import { CODE_SIZE, CPL, CS, PLAIN_SEGMENTS, RAM_BASE, RANGE_CROSSED_AT, RANGE_CROSSED_BY, RANGE_CROSSINGS, RIP, STACK_SIZE } from '../layout.ts';
import { DESCRIPTOR_SHARED, OP_CROSS, OP_REGION, OP_STOP, R_OP } from '../record.ts';
import { countedBlocks, countedBranches } from './branches.ts';
import { discover, keyOffset, outermost, tails, targetPlaces } from './discover.ts';
import { dumpRegion } from './dump.ts';
import type { DiscoverySource, Region, RegionLimits } from './discover.ts';
import { analyse } from './flow.ts';
import { Heat } from './heat.ts';
import type { Prospect } from './heat.ts';
import { InstructionCache } from './instructions.ts';
import { KeptRegions } from './kept.ts';
import type { MadeRegion } from './kept.ts';
import { compileRegion } from './region.ts';
import { CODE_64, NO_ADDRESS, RegionTable, descriptorOf } from './regionTable.ts';
import type { RegionEntry, RegionTableHost } from './regionTable.ts';
import { isPlain } from './transition.ts';
import type { MadeFor } from './transition.ts';
import type { Translations } from './translation.ts';
import { regionImports } from './ways.ts';

/** Instructions between two places of a region at which it looks at the budget: no more than it has. */
export const REGION_REACH = 360;
/** Two sizes of region: a small one soon, a large one, with callees compiled in, when the small one goes on being hot. */
const TIERS: readonly RegionLimits[] = [
  { blocks: 20, instructions: 100, callDepth: 2, weighed: false },
  { blocks: 60, instructions: REGION_REACH, callDepth: 3, weighed: true },
];
/**
 * What compiling an instruction costs, in marks: a mark stands for some 50 microseconds of interpretation, and waiting until as much time was
 * lost as compiling takes is never worse than twice the best.
 */
const COST = 0.5;
/** The same for a large region, in samples of the small one, each some 10 microseconds; and how many there are before it is asked. */
const LARGE_COST = 0.15;
const LARGE_MARKS = 32;
/** Of a block of which nothing can be compiled: it does not pay. */
const REFUSED: Prospect = { keys: [], cost: 1 << 12 };
/** How often the ranges of a region cross pages before one is compiled apart: each time costs a tenth of a microsecond, compiling a third of a millisecond or more. */
const CROSSING_LIMIT = 4_000;
/**
 * A small region stays in baseline code until it has run so often, as optimising it takes longer than most of them ever run. A large one takes the place of what
 * runs long; but of code that is entered in the midst of loops, where calls return to, each time is a few instructions, which samples hardly ever meet.
 */
const SMALL_RUNS = 32_000;
/** Bytes of baseline code that a byte of WebAssembly becomes. */
const BASELINE_BYTES = 2;
/** What V8 executes of a module's baseline code before it optimises it, in its own measure, bytes of machine code: its default, which large regions have. */
const DEFAULT_TIERING_BUDGET = 13_000_000;
const NOTHING: ReadonlySet<number> = new Set<number>();
const NO_TARGETS: ReadonlyMap<number, number> = new Map<number, number>();
const PAGE_SIZE = 4096;
const SIZES: readonly CodeSize[] = [16, 32, 64];

export interface JitHost extends RegionTableHost {
  readonly helpers: WebAssembly.ModuleImports;
  readonly signatures: HelperSignatures;
  /** Runs work that takes no time of the guest's. */
  aside<T>(work: () => T): T;
  /** CPUID features of the model; absent: all. */
  readonly features?: ReadonlySet<string> | undefined;
  /** Forgets all decoded code, records that lead to regions included. */
  dropAllCode(): void;
  /** Offsets in every page at which no region may run (debug.ts). */
  readonly markedOffsets: ReadonlySet<number>;
  /** Folder for dumps of regions (dump.ts). */
  readonly dumpFolder?: string | undefined;
  /** What earlier runs have compiled, and where this one keeps its own; absent: nothing is kept. */
  readonly translations?: Translations | undefined;
  /** The record table of the page of a guest-physical address, made when there is none; 0 when there is no room. */
  tableFor(gpa: number): number;
  /** Marks bytes [from, to) of a page as decoded, by its descriptor. */
  markDecoded(descriptor: number, from: number, to: number): void;
}

/** Why a region is compiled; `spare`: there is time for it. */
type Why = 'always' | 'hot' | 'crossings' | 'spare';

export class JitManager {
  private readonly host: JitHost;
  private readonly instructions: InstructionCache;
  private readonly bytes: Uint8Array;
  private readonly view: DataView;
  private readonly regions: RegionTable;
  private readonly heat = new Heat();
  private readonly kept: KeptRegions | null;
  /** What regions may call: the helpers, and the ways out of regions. */
  private readonly helpers: WebAssembly.ModuleImports;
  private readonly unmoved = new WebAssembly.Global({ value: 'i64' }, 0n);
  readonly counters = { regions: 0, regionBytes: 0, regionInstructions: 0, compileMs: 0, evictions: 0, refused: 0, postponed: 0, stale: 0, swept: 0, samplesInterpreted: 0, samplesInRegions: 0, kept: 0 };

  constructor(host: JitHost) {
    this.host = host;
    this.bytes = new Uint8Array(host.memory.buffer);
    this.instructions = new InstructionCache(this.bytes, new Decoder(rowsOf(host.features), invalidRow));
    this.view = new DataView(host.memory.buffer);
    this.regions = new RegionTable(host);
    this.helpers = regionImports(host);
    this.kept = host.translations ? KeptRegions.of(host, host.translations) : null;
  }

  /** Marks the block at a guest-physical address, which a branch is about to enter. */
  sample(gpa: number): void {
    if (this.regions.isCrowded) this.sweep();
    if (this.regions.full) this.evict();
    this.watchCrossings();
    if (gpa === NO_ADDRESS) return;
    const size = this.view.getUint32(CODE_SIZE, true);
    const { record } = this.regions.recordAt(gpa, size);
    if (record !== 0 && this.view.getUint16(record + R_OP, true) === OP_REGION) return;
    if (record !== 0 && this.takeKept(gpa, size, record)) return;
    if (this.heat.mark(Heat.key(gpa, size))) this.compile(gpa, 0, 0, 'hot');
  }

  /**
   * The budget ran out in the region with an index: when that goes on, it is compiled again, larger. `samples`: how many this one stands for.
   * Returns whether nothing more will be made of it.
   */
  sampleRegion(index: number, samples: number): boolean {
    this.counters.samplesInRegions += samples;
    const entry = this.regions.entryOf(index);
    if (entry) entry.absences = 0;
    if (!entry || entry.large) return true;
    const before = entry.marks;
    entry.marks += samples;
    // It is asked when its marks have doubled.
    if (entry.marks < LARGE_MARKS || Math.clz32(entry.marks) === Math.clz32(before)) return false;
    const distance = this.distanceTo(entry);
    if (distance !== null) this.compile(entry.gpa, 1, distance, 'hot');
    return entry.large;
  }

  /** The processor has left a region: where its entry is relative to RIP, if this is still the same address space. */
  private distanceTo(entry: RegionEntry): number | null {
    const distance = Number(entry.rip - this.view.getBigUint64(RIP, true));
    if (this.view.getUint32(CODE_SIZE, true) !== entry.size || distance !== (distance | 0)) return null;
    return this.host.pageAddress(distance) === entry.gpa ? distance : null;
  }

  /** A region one of whose ranges of accesses goes on crossing pages, as a structure lies across two, is compiled with that one's accesses apart. */
  private watchCrossings(): void {
    const { view } = this;
    const crossings = view.getUint32(RANGE_CROSSINGS, true);
    if (crossings === 0) return;
    view.setUint32(RANGE_CROSSINGS, 0, true);
    const entry = this.regions.entryOf(view.getUint32(RANGE_CROSSED_BY, true));
    if (!entry) return;
    // All that was counted is put down to the last.
    entry.crossings += crossings;
    if (entry.crossings < CROSSING_LIMIT) return;
    entry.crossings = 0;
    entry.apart.add(view.getInt32(RANGE_CROSSED_AT, true));
    const distance = this.distanceTo(entry);
    if (distance !== null) this.compile(entry.gpa, entry.large ? 1 : 0, distance, 'crossings');
  }

  /**
   * Compiles the region that begins at a decoded guest-physical address of the current code size, `distance` bytes behind RIP; `hot`: when
   * the time that was spent there is worth it; `crossings`: in place of one that is there.
   */
  compile(gpa: number, tier = 0, distance = 0, why: Why = 'always'): void {
    this.host.aside(() => this.compileAside(gpa, tier, distance, why));
  }

  /** What regions are made for now. */
  private get madeFor(): MadeFor {
    const { view } = this;
    return { plain: view.getUint32(PLAIN_SEGMENTS, true), stackSize: view.getUint32(STACK_SIZE, true), user: view.getUint32(CPL, true) === 3 };
  }

  private compileAside(gpa: number, tier: number, distance: number, why: Why): void {
    const { view } = this;
    const size = view.getUint32(CODE_SIZE, true);
    const { record, table } = this.regions.recordAt(gpa, size);
    if (record === 0 || this.regions.full) return;
    const operation = view.getUint16(record + R_OP, true);
    if (operation === OP_CROSS || operation === OP_STOP || (operation === OP_REGION && tier === 0 && why !== 'crossings')) return;
    const selective = why !== 'always';
    const before = this.regions.entries.get(record);
    const started = performance.now();
    const region = discover(gpa & 4095, this.source(gpa, table, size, distance, selective, tier), TIERS[tier]!);
    if (region.blocks.size === 0) {
      this.heat.postpone(Heat.key(gpa, size), REFUSED);
      this.counters.refused++;
      return;
    }
    let instructions = 0;
    for (const block of region.blocks.values()) instructions += block.instructions.length;
    const samples = before?.marks ?? 0;
    const pays = why !== 'hot' || (tier === 0 ? this.smallPays(gpa, region, size, instructions) : samples >= instructions * LARGE_COST);
    if (!pays) {
      this.counters.postponed++;
      this.counters.compileMs += performance.now() - started;
      return;
    }
    this.watchTails(region, gpa);
    const index = this.regions.takeIndex();
    // All code is compiled in both ways where everything is.
    const large = selective ? tier === 1 : index % 2 === 0;
    const apart = before?.apart ?? new Set<number>();
    const flow = analyse(region.blocks, region.entry);
    // A 64-bit kernel lies in the upper half of the address space.
    const draft = selective ? this.kept?.draft(flow.order, region.foreign, RAM_BASE + gpa - (gpa & 4095), view.getInt32(RIP + 4, true) < 0) ?? null : null;
    const { madeFor } = this;
    const targets = large ? NO_TARGETS : targetPlaces(region);
    const branches = large ? [] : countedBranches(flow);
    const code = compileRegion(region, flow, SIZES[size]!, this.host.signatures, { ...madeFor, large, apart, targets, counted: countedBlocks(branches), moving: draft?.moving ?? null });
    const module = this.compileModule(code, tier);
    const run = this.instantiate(module, 0);
    const rip = BigInt.asUintN(64, view.getBigUint64(RIP, true) + BigInt(distance));
    const holds = tier === 1 ? outermost(region) : NOTHING;
    const jumps = [...targets.keys()].map(key => region.blocks.get(key)!.instructions.at(-1)!.offset);
    const translation = draft?.finish({ size, ...madeFor, entry: gpa & 4095, large, instructions, holds, apart, jumps, branches });
    const made = translation ? { translation, module, run, wasm: code } : null;
    const entry = this.regions.install(record, { gpa, rip, size, index, foreign: region.foreign, madeFor, run, bytes: code.length, jumps, branches, made }, table);
    if (tier === 1) {
      entry.large = true;
      entry.holds = holds;
    }
    this.counters.regions++;
    this.counters.regionBytes += code.length;
    this.counters.regionInstructions += instructions;
    const milliseconds = performance.now() - started;
    this.counters.compileMs += milliseconds;
    if (this.host.dumpFolder !== undefined) {
      const { page } = this.source(gpa, table, size, distance, selective, tier);
      dumpRegion(this.host.dumpFolder, { index, tier, region, gpa, rip, codeSize: SIZES[size]!, wasm: code, samples, milliseconds },
        number => { const found = page(number); return found && this.bytes.subarray(found.host, found.host + 4096); });
    }
  }

  /** The block that is about to be entered begins a region that an earlier run has made. */
  private takeKept(gpa: number, size: number, record: number): boolean {
    if (!this.kept?.mayBegin(gpa, size)) return false;
    return this.host.aside(() => {
      const { view } = this;
      const operation = view.getUint16(record + R_OP, true);
      if (operation === OP_CROSS || operation === OP_STOP || this.host.markedOffsets.size > 0) return false;
      const found = this.kept!.find(gpa, size, this.regions.tableOf(gpa, size), this.madeFor);
      if (!found) return false;
      const { module, bytes, translation, moved, foreign } = found;
      const index = this.regions.takeIndex();
      const run = this.instantiate(module, moved);
      const region = { gpa, rip: view.getBigUint64(RIP, true), size, index, foreign, madeFor: translation, run, bytes, jumps: translation.jumps, branches: translation.branches, made: null };
      const entry = this.regions.install(record, region, this.regions.tableOf(gpa, size));
      entry.large = translation.large;
      if (translation.large) entry.holds = new Set(translation.holds);
      for (const at of translation.apart) entry.apart.add(at);
      this.counters.kept++;
      return true;
    });
  }

  /**
   * Keeps the machine code of all that V8 has optimised, for the next run. Small regions, which it has not, take longer to optimise than they would gain in this run,
   * but not in all that are to come.
   * @param milliseconds that may be spent on optimising, the most used ones first
   */
  keep(milliseconds: number): void {
    const end = performance.now() + milliseconds;
    const rest = this.notKept();
    while (performance.now() < end && this.keepNext(rest));
  }

  /**
   * The guest sleeps: spends some milliseconds on what makes its next run quicker. Once all regions are kept, code is compiled that was met, but for which
   * compiling does not pay in one run. False: there is nothing left to do.
   */
  prepareNextRun(): boolean {
    return this.keepNext(this.notKept()) || this.compileSpare();
  }

  private keepNext(rest: MadeRegion[]): boolean {
    const made = rest.pop();
    if (!made || !this.host.translations!.hasRoom(false)) return false;
    this.kept!.optimise(made);
    return this.kept!.keep(made);
  }

  /** Compiles the block with the most marks that lies where code at RIP is mapped, too: in a kernel's image, when its guest sleeps. */
  private compileSpare(): boolean {
    const { kept, heat, view, host } = this;
    const here = host.pageAddress(0);
    const size = view.getUint32(CODE_SIZE, true);
    if (!kept || here === NO_ADDRESS || !host.translations!.hasRoom(false)) return false;
    const key = heat.takeHottest(candidate => {
      const block = Heat.blockOf(candidate);
      return block.size === size && host.pageAddress(block.gpa - here) === block.gpa;
    });
    if (key === null) return false;
    const { gpa } = Heat.blockOf(key);
    this.compile(gpa, 0, gpa - here, 'spare');
    return true;
  }

  /** What V8 has not optimised; the most used last. */
  private notKept(): MadeRegion[] {
    if (!this.kept) return [];
    const rest = [...this.regions.live.values()].flatMap(({ record, made }) => (made && !this.isKept(made) ? [{ made, marks: this.regions.entries.get(record)?.marks ?? 0 }] : []));
    return rest.sort((a, b) => a.marks - b.marks).map(({ made }) => made);
  }

  private isKept(made: MadeRegion): boolean {
    return made.translation.compiled !== null || this.kept!.keep(made);
  }

  private compileModule(code: Uint8Array<ArrayBuffer>, tier: number): WebAssembly.Module {
    if (tier !== 0) return new WebAssembly.Module(code);
    setFlagsFromString(`--wasm-tiering-budget=${Math.min(code.length * BASELINE_BYTES * SMALL_RUNS, 2 ** 31 - 1)}`);
    const module = new WebAssembly.Module(code);
    setFlagsFromString(`--wasm-tiering-budget=${DEFAULT_TIERING_BUDGET}`);
    return module;
  }

  /** @param distance how far the kernel's addresses have moved since the module was made */
  private instantiate(module: WebAssembly.Module, distance: number): () => void {
    const moved = distance === 0 ? this.unmoved : new WebAssembly.Global({ value: 'i64' }, BigInt(distance));
    const instance = new WebAssembly.Instance(module, { host: { memory: this.host.memory, cold: this.host.table, moved }, helpers: this.helpers });
    return instance.exports['region'] as () => void;
  }

  /** Whether as much time was spent in the blocks of a region on its entry's page as compiling them takes. */
  private smallPays(gpa: number, region: Region, size: number, instructions: number): boolean {
    const page = gpa - (gpa & 4095);
    const keys: number[] = [];
    for (const key of region.blocks.keys()) {
      const offset = keyOffset(key);
      // A callee has blocks in several contexts.
      if (offset >= 0 && offset < 4096 && !keys.includes(Heat.key(page + offset, size))) keys.push(Heat.key(page + offset, size));
    }
    const prospect = { keys, cost: instructions * COST };
    const pays = this.heat.lacking(prospect) <= 0;
    if (pays) this.heat.cool(keys);
    else this.heat.postpone(Heat.key(gpa, size), prospect);
    return pays;
  }

  /** Writes to the ends of instructions that begin on another page are seen from now on. */
  private watchTails(region: Region, gpa: number): void {
    for (const { page, bytes } of tails(region)) {
      const host = page === 0 ? RAM_BASE + gpa : region.foreign.get(page)!.host;
      this.host.markDecoded(descriptorOf(this.view, host - RAM_BASE), 0, bytes);
    }
  }

  private source(gpa: number, table: number, size: number, distance: number, selective: boolean, tier: number): DiscoverySource {
    const { view } = this;
    const entryPage = gpa >>> 12;
    return {
      instruction: (page, offset) => this.instructions.at(page.host + offset, page.host + PAGE_SIZE, SIZES[size]!),
      // Where CS has a limit, it may lie on either page.
      across: (page, offset, next) => (size === CODE_64 || isPlain(view.getUint32(PLAIN_SEGMENTS, true), CS, false)
        ? this.instructions.across(page.host + offset, PAGE_SIZE - offset, next.host, SIZES[size]!) : null),
      page: number => {
        if (number === 0) return { host: (RAM_BASE + entryPage * 4096) >>> 0, table };
        const other = this.host.pageAddress(distance + number * 4096 - (gpa & 4095));
        const records = other === NO_ADDRESS ? 0 : this.regions.tableOf(other, size);
        // From now on this region takes the table for a sign of what it was compiled from.
        if (records !== 0) view.setUint32(descriptorOf(view, other) + DESCRIPTOR_SHARED, 1, true);
        return records === 0 ? null : { host: (RAM_BASE + (other & ~4095)) >>> 0, table: records };
      },
      isMarked: offset => this.host.markedOffsets.has(offset),
      isDecoded: (page, offset) => view.getUint32(page.table + offset * 4, true) !== 0,
      isEntry: (page, offset) => selective && this.regions.leavesTo(this.regions.follow(view.getUint32(page.table + (offset & 4095) * 4, true)), tier, (gpa & 4095) - (offset & ~4095)),
      isTaken: (page, offset) => !selective || this.heat.isTaken(Heat.key(page.host - RAM_BASE + offset, size)),
      odds: (page, offset) => (tier === 0 ? null : this.regions.branches.odds(Heat.key(page.host - RAM_BASE + offset, size))),
      likelyTarget: (page, offset) => {
        const target = tier === 0 ? null : this.regions.likelyTarget(Heat.key(page.host - RAM_BASE + offset, size));
        return target === null ? null : Number(BigInt.asIntN(64, target - view.getBigUint64(RIP, true))) - distance + (gpa & 4095);
      },
    };
  }

  /** A region turns out not to be right (`RegionTable.drop`). */
  drop(index: number): boolean {
    const before = this.regions.entries.size;
    const dropped = this.regions.drop(index);
    this.counters.stale += before - this.regions.entries.size;
    return dropped;
  }

  private sweep(): void {
    const gone = this.regions.sweep();
    this.counters.swept += gone.length;
    for (const { made } of gone) if (made?.translation.compiled === null) this.kept?.keep(made, true);
  }

  /** Drops all regions, and all decoded code. */
  evict(): void {
    this.keep(0);
    this.regions.clear();
    this.counters.evictions++;
    this.heat.clear();
    this.host.dropAllCode();
  }
}
