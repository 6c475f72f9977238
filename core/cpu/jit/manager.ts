/**
 * Decides what is compiled. Hot code is found by sampling: whenever a slice's budget runs out, the block that would run next gets a
 * mark; a block with enough marks becomes the entry of a region. The interpreter itself counts nothing.
 */
import { Decoder } from '../../isa/decoder.ts';
import type { CodeSize, Decoded } from '../../isa/decoder.ts';
import type { Program } from '../../isa/ir.ts';
import { invalidRow, rowsOf } from '../../isa/table/index.ts';
import type { DecodedForm } from '../forms.ts';
import { buildProgram } from '../forms.ts';
import type { HelperSignatures } from '../helpers.ts';
import { CODE_SIZE, PAGE_CODE, RAM_BASE, RIP } from '../layout.ts';
import { OP_GOTO, OP_REGION, R_AUX, R_OP, OP_CROSS } from '../record.ts';
import { discover } from './discover.ts';
import type { DiscoverySource, RegionLimits } from './discover.ts';
import { analyse } from './flow.ts';
import { compileRegion } from './region.ts';

/**
 * Two sizes of region: a small one soon, since compiling costs about a hundred times what a pass in the interpreter does; a large one,
 * with callees compiled in, when the small one goes on being hot. `marks` are samples, each some 25 microseconds of interpretation.
 */
const TIERS: readonly (RegionLimits & { readonly marks: number })[] = [
  { marks: 6, blocks: 12, instructions: 60, callDepth: 1 },
  { marks: 40, blocks: 60, instructions: 360, callDepth: 3 },
];
/** Marks are forgotten now and then, so that code that is merely old does not become hot. */
const DECAY_SAMPLES = 20_000;
/** Bytes of WebAssembly kept before everything is dropped and rebuilt from new samples. */
const BYTE_QUOTA = 24 << 20;
const SIZES: readonly CodeSize[] = [16, 32, 64];

export interface JitHost {
  readonly memory: WebAssembly.Memory;
  readonly table: WebAssembly.Table;
  readonly helpers: WebAssembly.ModuleImports;
  readonly signatures: HelperSignatures;
  /** CPUID features of the model; absent: all. */
  readonly features?: ReadonlySet<string> | undefined;
  /** First and last index of the table that regions may use. */
  readonly firstIndex: number;
  readonly lastIndex: number;
  /** Forgets all decoded code, records that lead to regions included. */
  dropAllCode(): void;
  /** Guest-physical address of the instruction byte at RIP + delta; 0xffffffff when it cannot be fetched. No fault is left pending. */
  pageAddress(delta: number): number;
}

interface RegionEntry {
  readonly operation: number;
  readonly aux: number;
  readonly gpa: number;
  /** RIP of the entry when it was first compiled. */
  readonly rip: bigint;
  readonly size: number;
  marks: number;
  large: boolean;
}

export class JitManager {
  private readonly host: JitHost;
  private readonly decoder: Decoder;
  private readonly programs = new Map<number, Program>();
  private readonly bytes: Uint8Array;
  private readonly view: DataView;
  /** The regions' entries by record: what the record held before, and how hot the region is. */
  private readonly entries = new Map<number, RegionEntry>();
  private marks = new Map<number, number>();
  private samples = 0;
  private nextIndex: number;
  private liveBytes = 0;
  readonly counters = { regions: 0, regionBytes: 0, regionInstructions: 0, compileMs: 0, evictions: 0, refused: 0, stale: 0 };

  constructor(host: JitHost) {
    this.host = host;
    this.decoder = new Decoder(rowsOf(host.features), invalidRow);
    this.bytes = new Uint8Array(host.memory.buffer);
    this.view = new DataView(host.memory.buffer);
    this.nextIndex = host.firstIndex;
  }

  /** Marks the block at a guest-physical address, which is about to run. */
  sample(gpa: number): void {
    if (this.nextIndex > this.host.lastIndex || this.liveBytes > BYTE_QUOTA) this.evict();
    if (gpa === 0xffffffff) return;
    if (++this.samples >= DECAY_SAMPLES) {
      this.samples = 0;
      this.marks = new Map();
    }
    const key = gpa * 4 + this.view.getUint32(CODE_SIZE, true);
    const marks = (this.marks.get(key) ?? 0) + 1;
    this.marks.set(key, marks);
    if (marks >= TIERS[0]!.marks) {
      this.marks.delete(key);
      this.compile(gpa, 0);
    }
  }

  /** The budget ran out in the region that a record leads to: when that goes on, it is compiled again, larger. */
  sampleRegion(record: number): void {
    const entry = this.entries.get(record);
    if (!entry || entry.large || ++entry.marks < TIERS[1]!.marks) return;
    entry.marks = 0;
    // The processor has left the region: its entry is found again relative to where it is now, if that is the same address space.
    const distance = Number(entry.rip - this.view.getBigUint64(RIP, true));
    if (this.view.getUint32(CODE_SIZE, true) !== entry.size || distance !== (distance | 0)) return;
    if (this.host.pageAddress(distance) !== entry.gpa) return;
    entry.large = true;
    this.compile(entry.gpa, 1, distance);
  }

  /** Compiles the region that begins at a decoded guest-physical address of the current code size, `distance` bytes behind RIP. */
  compile(gpa: number, tier = 0, distance = 0): void {
    const { view } = this;
    const size = view.getUint32(CODE_SIZE, true);
    const descriptor = view.getUint32(PAGE_CODE + (gpa >>> 12) * 4, true);
    const table = descriptor === 0 ? 0 : view.getUint32(descriptor + size * 4, true);
    const record = table === 0 ? 0 : this.follow(view.getUint32(table + (gpa & 4095) * 4, true));
    if (record === 0) return;
    const operation = view.getUint16(record + R_OP, true);
    if (operation === OP_CROSS || (operation === OP_REGION && tier === 0)) return;
    const started = performance.now();
    const codeSize = SIZES[size]!;
    const region = discover(gpa & 4095, this.source(gpa, table, size, distance), TIERS[tier]!);
    if (region.blocks.size === 0) {
      this.counters.refused++;
      return;
    }
    if (this.nextIndex > this.host.lastIndex) return;
    const code = compileRegion(region, analyse(region.blocks, region.entry), codeSize, this.host.signatures);
    const instance = new WebAssembly.Instance(new WebAssembly.Module(code), { host: { memory: this.host.memory }, helpers: this.host.helpers });
    this.host.table.set(this.nextIndex, instance.exports['region'] as () => void);
    // A large region takes the place of the small one; what the record held before either stays known.
    if (operation !== OP_REGION) this.entries.set(record, { operation, aux: view.getUint32(record + R_AUX, true), gpa, rip: view.getBigUint64(RIP, true), size, marks: 0, large: false });
    view.setUint16(record + R_OP, OP_REGION, true);
    view.setUint32(record + R_AUX, this.nextIndex++, true);
    this.liveBytes += code.length;
    this.counters.regions++;
    this.counters.regionBytes += code.length;
    for (const block of region.blocks.values()) this.counters.regionInstructions += block.instructions.length;
    this.counters.compileMs += performance.now() - started;
  }

  private source(gpa: number, table: number, size: number, distance: number): DiscoverySource {
    const { view } = this;
    const entryPage = gpa >>> 12;
    return {
      bytes: this.bytes, decoder: this.decoder, codeSize: SIZES[size]!,
      programOf: (decoded, shape, codeSize) => this.programOf(decoded, shape, codeSize),
      page: number => {
        if (number === 0) return { host: (RAM_BASE + entryPage * 4096) >>> 0, table };
        const other = this.host.pageAddress(distance + number * 4096 - (gpa & 4095));
        const descriptor = other === 0xffffffff ? 0 : view.getUint32(PAGE_CODE + (other >>> 12) * 4, true);
        const records = descriptor === 0 ? 0 : view.getUint32(descriptor + size * 4, true);
        return records === 0 ? null : { host: (RAM_BASE + (other & ~4095)) >>> 0, table: records };
      },
      isDecoded: (page, offset) => view.getUint32(page.table + offset * 4, true) !== 0,
    };
  }

  /** Puts a region's entry back to what the interpreter runs: code elsewhere that the region includes is no longer what it was. */
  drop(record: number): void {
    const before = this.entries.get(record);
    if (!before || this.view.getUint16(record + R_OP, true) !== OP_REGION) return;
    this.view.setUint16(record + R_OP, before.operation, true);
    this.view.setUint32(record + R_AUX, before.aux, true);
    this.entries.delete(record);
    this.counters.stale++;
  }

  /** A record that only leads to another one. */
  private follow(record: number): number {
    return record !== 0 && this.view.getUint16(record + R_OP, true) === OP_GOTO ? this.view.getUint32(record + R_AUX, true) : record;
  }

  private programOf(decoded: Decoded, shape: DecodedForm, codeSize: CodeSize): Program {
    const known = this.programs.get(shape.key);
    if (known) return known;
    const program = buildProgram(decoded, shape, codeSize);
    this.programs.set(shape.key, program);
    return program;
  }

  private evict(): void {
    for (let index = this.host.firstIndex; index < this.nextIndex; index++) this.host.table.set(index, null);
    this.nextIndex = this.host.firstIndex;
    this.liveBytes = 0;
    this.entries.clear();
    this.counters.evictions++;
    this.marks = new Map();
    this.host.dropAllCode();
  }
}

