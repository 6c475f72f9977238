/**
 * The regions that there are: which records lead to them, what those held before, and what is known of where their indirect jumps go. Indexes are those of the
 * function table.
 */
import {
  MADE_FOR_USER, PAGE_CODE, RAM_BASE, REGION_CHECKS, REGION_CHECK_SIZE, REGION_COUNTS, REGION_COUNTS_EACH, REGION_ORIGINALS, REGION_PAGES, REGION_PAGES_EACH, REGION_MADE_FOR, REGION_TARGETS, REGION_TARGETS_EACH,
  REGION_TARGET_OTHER, REGION_TARGET_SAME, REGION_TARGET_SIZE,
} from '../layout.ts';
import { OP_GOTO, OP_REGION, RECORD_SIZE, R_AUX, R_OFFSET, R_OP } from '../record.ts';
import { BranchCounts } from './branches.ts';
import type { Region } from './discover.ts';
import { Findings } from './findings.ts';
import { Heat } from './heat.ts';
import type { MadeRegion } from './kept.ts';
import type { MadeFor } from './transition.ts';

const PAGE_SIZE = 4096;
/** CODE_SIZE of 64-bit code. */
export const CODE_64 = 2;
/** Of what cannot be fetched. */
export const NO_ADDRESS = 0xffffffff;
/** An indirect jump or call is likely to go where it has gone so often at least, and so many times as often as elsewhere. */
const LIKELY_TIMES = 16;
const LIKELY_SHARE = 4;
/** How often a region is not entered as code of it is not mapped, before it is dropped: each time takes a microsecond, compiling a thousand and more. */
const ABSENCE_LIMIT = 1_000;
/** Bytes of WebAssembly kept before everything is dropped and rebuilt from new samples. */
const BYTE_QUOTA = 24 << 20;
/** Regions that are added between two looks for those that nothing leads to any more. */
const SWEEP_EVERY = 512;
const NOTHING: ReadonlySet<number> = new Set<number>();

export interface RegionTableHost {
  readonly memory: WebAssembly.Memory;
  readonly table: WebAssembly.Table;
  /** First and last index of the table that regions may use. */
  readonly firstIndex: number;
  readonly lastIndex: number;
  /** Guest-physical address of the instruction byte at RIP + delta; 0xffffffff when it cannot be fetched. No fault is left pending. */
  pageAddress(delta: number): number;
  /** A record has ceased to lead where it led. */
  clearLinks(): void;
  /** The operation of an instruction alone, whose record may name a pair (interpreter/pairs.ts). */
  singleOperation(operation: number, long: boolean): number;
}

export interface RegionEntry {
  readonly operation: number;
  readonly aux: number;
  readonly gpa: number;
  /** RIP of the entry when it was first compiled. */
  readonly rip: bigint;
  readonly size: number;
  /** Index of its function. */
  index: number;
  marks: number;
  large: boolean;
  /** Of a large region: offsets of its instructions, relative to its page. */
  holds: ReadonlySet<number>;
  /** How often its ranges of accesses have crossed pages, and those that are known to go on doing so (ranges.ts). */
  crossings: number;
  readonly apart: Set<number>;
  /** Its other pages, and how often it could not be entered since the last sample as one of them was not mapped. */
  foreign: Region['foreign'];
  absences: number;
}

/** A region that is to be entered from a record. */
export interface NewRegion {
  readonly gpa: number;
  readonly rip: bigint;
  readonly size: number;
  readonly index: number;
  readonly foreign: Region['foreign'];
  readonly madeFor: MadeFor;
  readonly run: () => void;
  /** Bytes of its module. */
  readonly bytes: number;
  /** Offsets of its indirect jumps and calls whose targets it notes. */
  readonly jumps: Iterable<number>;
  /** Of a small region: the branches that it counts (branches.ts). */
  readonly branches: ArrayLike<number>;
  readonly made: MadeRegion | null;
}

/** A region by its index. */
export interface LiveRegion {
  /** The record that leads to it. */
  readonly record: number;
  readonly bytes: number;
  /** Its keys of `RegionTable.targets`. */
  readonly targets: readonly number[];
  /** The branches that it counts. */
  readonly branches: readonly number[];
  /** What is kept of it. */
  readonly made: MadeRegion | null;
}

/** Where the places of the region with an index begin. */
function targetsOf(index: number): number {
  return REGION_TARGETS + index * REGION_TARGETS_EACH * REGION_TARGET_SIZE;
}

/** The descriptor of the page of a guest-physical address, 0 when no code there has been decoded. */
export function descriptorOf(view: DataView, gpa: number): number {
  return view.getUint32(PAGE_CODE + (gpa >>> 12) * 4, true);
}

/** The name (heat.ts) of the address at an offset of a region. */
function addressKey({ foreign, gpa, size }: NewRegion, offset: number): number {
  const number = Math.floor(offset / PAGE_SIZE);
  const page = number === 0 ? gpa - (gpa & 4095) : foreign.get(number)!.host - RAM_BASE;
  return Heat.key(page + (offset & 4095), size);
}

export class RegionTable {
  private readonly host: RegionTableHost;
  private readonly bytes: Uint8Array;
  private readonly view: DataView;
  /** The regions' entries by record: what the record held before, and how hot the region is. */
  readonly entries = new Map<number, RegionEntry>();
  readonly live = new Map<number, LiveRegion>();
  /** Where indirect jumps and calls have gone nearly always; `at`: where in REGION_TARGETS a region notes it. */
  private readonly targets = new Findings<{ readonly index: number; readonly at: number }, bigint>(places => this.mostLikely(places));
  readonly branches: BranchCounts;
  private readonly freeIndexes: number[] = [];
  private nextIndex: number;
  private liveBytes = 0;
  private sinceSweep = 0;

  constructor(host: RegionTableHost) {
    this.host = host;
    this.bytes = new Uint8Array(host.memory.buffer);
    this.view = new DataView(host.memory.buffer);
    this.branches = new BranchCounts(this.view);
    this.nextIndex = host.firstIndex;
  }

  /** The record of the instruction at a guest-physical address, 0 when it is not decoded, and the record table of its page. */
  recordAt(gpa: number, size: number): { readonly record: number; readonly table: number } {
    const table = this.tableOf(gpa, size);
    return { record: table === 0 ? 0 : this.follow(this.view.getUint32(table + (gpa & 4095) * 4, true)), table };
  }

  /** The record table of the page of a guest-physical address, 0 when no code there has been decoded. */
  tableOf(gpa: number, size: number): number {
    const descriptor = descriptorOf(this.view, gpa);
    return descriptor === 0 ? 0 : this.view.getUint32(descriptor + size * 4, true);
  }

  /** Makes a record lead to a region. */
  install(record: number, region: NewRegion, table: number): RegionEntry {
    const { view } = this;
    const { gpa, rip, size, index, foreign, madeFor, run, bytes, made } = region;
    this.host.table.set(index, run);
    const pages = REGION_PAGES + index * REGION_PAGES_EACH;
    view.setUint32(pages, foreign.size, true);
    view.setUint32(pages + REGION_MADE_FOR, (size === CODE_64 ? 0 : madeFor.plain) | (madeFor.user ? MADE_FOR_USER : 0), true);
    let at = pages + 4;
    for (const [number, page] of foreign) {
      view.setInt32(at, number, true);
      view.setUint32(at + 4, page.table, true);
      at += 8;
    }
    let entry = this.entries.get(record);
    // A large region takes the place of the small one; what the record held before either stays known.
    if (entry && view.getUint16(record + R_OP, true) === OP_REGION) {
      entry.index = index;
      entry.foreign = foreign;
    } else {
      const operation = view.getUint16(record + R_OP, true);
      const aux = view.getUint32(record + R_AUX, true);
      const apart = entry?.apart ?? new Set<number>();
      entry = { operation, aux, gpa, rip, size, index, marks: 0, large: false, holds: NOTHING, crossings: 0, apart, foreign, absences: 0 };
      this.entries.set(record, entry);
    }
    view.setUint32(REGION_ORIGINALS + index * 8, entry.aux, true);
    view.setUint32(REGION_ORIGINALS + index * 8 + 4, this.host.singleOperation(entry.operation, size === CODE_64), true);
    this.endPairBefore(record, table, size);
    view.setUint16(record + R_OP, OP_REGION, true);
    view.setUint32(record + R_AUX, index, true);
    this.host.clearLinks();
    const keyOf = (offset: number): number => addressKey(region, offset);
    this.live.set(index, { record, bytes, targets: this.noteTargets(region, keyOf), branches: this.branches.add(index, region.branches, keyOf), made });
    this.liveBytes += bytes;
    this.sinceSweep++;
    return entry;
  }

  /** What is known of the entry of the region with an index. */
  entryOf(index: number): RegionEntry | undefined {
    const region = this.live.get(index);
    return region && this.entries.get(region.record);
  }

  /** Finds the places of a region's indirect jumps and calls; returns their keys. */
  private noteTargets({ jumps, index }: NewRegion, keyOf: (offset: number) => number): readonly number[] {
    const keys: number[] = [];
    for (const offset of jumps) {
      const key = keyOf(offset);
      this.targets.add(key, { index, at: targetsOf(index) + keys.length * REGION_TARGET_SIZE });
      keys.push(key);
    }
    return keys;
  }

  /** An instruction that made a pair with a region's first must lead to the region. */
  private endPairBefore(record: number, table: number, size: number): void {
    const { view } = this;
    const before = record - RECORD_SIZE;
    // What lies before a run's first record is no record, and nothing leads to it.
    if (view.getUint32(table + view.getUint16(before + R_OFFSET, true) % PAGE_SIZE * 4, true) !== before) return;
    view.setUint16(before + R_OP, this.host.singleOperation(view.getUint16(before + R_OP, true), size === CODE_64), true);
  }

  /**
   * Whether a region ends where a record leads to another one. A large one does so only where that one has the entry of this, at an offset from
   * its page: else a loop could lie half in each.
   */
  leavesTo(record: number, tier: number, entry: number): boolean {
    if (record === 0 || this.view.getUint16(record + R_OP, true) !== OP_REGION) return false;
    return tier === 0 || this.entries.get(record)?.holds.has(entry) === true;
  }

  /** Where an instruction has gone nearly always, as far as that was noted. */
  likelyTarget(key: number): bigint | null {
    return this.targets.of(key);
  }

  /** By the region that has seen it most. */
  private mostLikely(places: Iterable<{ readonly at: number }>): bigint | null {
    let most = LIKELY_TIMES - 1;
    let target: bigint | null = null;
    for (const { at } of places) {
      const same = this.view.getUint32(at + REGION_TARGET_SAME, true);
      if (same <= most || same < this.view.getUint32(at + REGION_TARGET_OTHER, true) * LIKELY_SHARE) continue;
      most = same;
      target = this.view.getBigUint64(at, true);
    }
    return target;
  }

  /**
   * Code elsewhere that the region at RIP includes is not what it was: puts its entry back to what the interpreter runs, and returns true. Where that
   * code is merely not mapped, as in a process that has just begun, the region stays: the interpreter is to carry out the instruction at RIP.
   */
  drop(index: number): boolean {
    const record = this.live.get(index)?.record ?? 0;
    const before = this.entries.get(record);
    if (!before || this.view.getUint16(record + R_OP, true) !== OP_REGION) return true;
    if (++before.absences <= ABSENCE_LIMIT && this.awaitsPages(before)) return false;
    this.view.setUint16(record + R_OP, before.operation, true);
    this.view.setUint32(record + R_AUX, before.aux, true);
    this.host.clearLinks();
    this.entries.delete(record);
    return true;
  }

  /** Whether pages of the region at RIP are not mapped, and all others are what they were. */
  private awaitsPages({ foreign, gpa, size }: RegionEntry): boolean {
    let absent = false;
    for (const [number, { table }] of foreign) {
      const other = this.host.pageAddress(number * PAGE_SIZE - (gpa & 4095));
      if (other === NO_ADDRESS) absent = true;
      else if (this.tableOf(other, size) !== table) return false;
    }
    return absent;
  }

  /** A record that only leads to another one. */
  follow(record: number): number {
    return record !== 0 && this.view.getUint16(record + R_OP, true) === OP_GOTO ? this.view.getUint32(record + R_AUX, true) : record;
  }

  /** Nothing more is compiled until a sample has made room. */
  get full(): boolean {
    return this.liveBytes > BYTE_QUOTA || (this.nextIndex > this.host.lastIndex && this.freeIndexes.length === 0);
  }

  takeIndex(): number {
    const index = this.freeIndexes.pop() ?? this.nextIndex++;
    // What the function that had it before found out about its pages (transition.ts) holds for no other.
    this.bytes.fill(0xff, REGION_CHECKS + index * REGION_CHECK_SIZE, REGION_CHECKS + (index + 1) * REGION_CHECK_SIZE);
    this.bytes.fill(0, targetsOf(index), targetsOf(index + 1));
    this.bytes.fill(0, REGION_COUNTS + index * REGION_COUNTS_EACH, REGION_COUNTS + (index + 1) * REGION_COUNTS_EACH);
    return index;
  }

  /** Whether it is time to look for regions that nothing leads to. */
  get isCrowded(): boolean {
    return this.sinceSweep >= SWEEP_EVERY || this.full;
  }

  /** Forgets the regions that nothing leads to: their code is gone, or a larger one has taken their place. No region runs now. Returns them. */
  sweep(): readonly LiveRegion[] {
    this.sinceSweep = 0;
    const gone: LiveRegion[] = [];
    for (const [index, region] of this.live) {
      const { record, bytes } = region;
      if (this.view.getUint16(record + R_OP, true) === OP_REGION && this.view.getUint32(record + R_AUX, true) === index) continue;
      gone.push(region);
      this.host.table.set(index, null);
      this.live.delete(index);
      this.targets.remove(index, region.targets);
      this.branches.remove(index, region.branches);
      this.freeIndexes.push(index);
      this.liveBytes -= bytes;
      if (this.entries.get(record)?.index === index) this.entries.delete(record);
    }
    return gone;
  }

  /** Forgets all; what their records hold is the caller's business. */
  clear(): void {
    for (let index = this.host.firstIndex; index < this.nextIndex; index++) this.host.table.set(index, null);
    this.nextIndex = this.host.firstIndex;
    this.freeIndexes.length = 0;
    this.live.clear();
    this.targets.clear();
    this.branches.clear();
    this.liveBytes = 0;
    this.sinceSweep = 0;
    this.entries.clear();
  }
}
