/**
 * What is kept of VM exits while somebody watches: sums and histograms by vCPU, level and reason, and a ring of the newest exits with the
 * state that the guest left behind. There is no trace, and no cost, while nobody does.
 */
import { exitReason } from '../cpu/host.ts';
import type { Processor } from '../cpu/processor.ts';
import {
  CPL, CR0, CR3, CR4, EFER, EXIT_GPA, EXIT_INFO, EXIT_LENGTH, EXIT_LINEAR, EXIT_QUALIFICATION, GPR, IDT_VECTORING_INFO, RIP, ROOT_VMCS, VMCS,
} from '../cpu/layout.ts';
import * as F from '../vmx/fields.ts';
import { fieldOffset } from '../vmx/vmcs.ts';
import { EXIT_BUCKETS } from '../contract/limits.ts';
import type { ExitRow } from '../contract/exits.ts';
import { exitReasonName } from './exitReasons.ts';
import { KeptVmcs } from './keptVmcs.ts';
import { VMCS_BYTES } from './rootVmcs.ts';

const REASONS = 80;
const LEVELS = 2;
/** Exits that the ring holds: some tenths of a second of a busy guest. */
export const RING_EXITS = 16_384;

/** Layout of an exit in the ring. */
export const RECORD = {
  at: 0, ns: 8, sequence: 16, reason: 20, vcpu: 22, level: 23, qualification: 24, linear: 32, physical: 40, length: 48, information: 52,
  vectoring: 56, cpl: 60, registers: 64, rip: 192, flags: 200, cr0: 208, cr3: 216, cr4: 224, efer: 232,
} as const;
export const RECORD_BYTES = 256;

/** What a record copies: where from (an address of the state, or the encoding of a field), how many bytes, where to. */
type Copies = readonly (readonly [number, number, number])[];
const EXIT_FIELDS: Copies = [
  [EXIT_QUALIFICATION, 8, RECORD.qualification], [EXIT_LINEAR, 8, RECORD.linear], [EXIT_GPA, 8, RECORD.physical], [EXIT_LENGTH, 4, RECORD.length],
  [EXIT_INFO, 4, RECORD.information], [IDT_VECTORING_INFO, 4, RECORD.vectoring],
];
const NESTED_FIELDS: Copies = [
  [F.EXIT_QUALIFICATION_FIELD, 8, RECORD.qualification], [F.GUEST_LINEAR_ADDRESS, 8, RECORD.linear], [F.GUEST_PHYSICAL_ADDRESS, 8, RECORD.physical],
  [F.EXIT_INSTRUCTION_LENGTH, 4, RECORD.length], [F.EXIT_INSTRUCTION_INFORMATION, 4, RECORD.information], [F.IDT_VECTORING_INFORMATION, 4, RECORD.vectoring],
];
const REGISTERS: Copies = [
  [CPL, 4, RECORD.cpl], [GPR, 128, RECORD.registers], [RIP, 8, RECORD.rip], [CR0, 8, RECORD.cr0], [CR3, 8, RECORD.cr3], [CR4, 8, RECORD.cr4],
  [EFER, 8, RECORD.efer],
];

export type ExitLevel = 1 | 2;

interface OpenExit {
  /** -1: none. */
  row: number;
  at: number;
  sequence: number;
}

/** What `take` returns: records one behind the other, oldest first. */
export interface TakenExits {
  readonly records: Uint8Array<ArrayBuffer>;
  /** Sequence number to ask from the next time. */
  readonly next: number;
  /** Exits since `since` that are not among the records. */
  readonly lost: number;
}

/** The trace of a machine's exits. Times are milliseconds of `performance.now()`. */
export class ExitTrace {
  readonly startedAt: number;
  private readonly cpu: Processor;
  private readonly now: () => number;
  // By vCPU, level and reason.
  private readonly counts: Float64Array;
  private readonly totals: Float64Array;
  private readonly minima: Float64Array;
  private readonly maxima: Float64Array;
  private readonly histograms: Uint32Array;
  private readonly ring = new Uint8Array(RING_EXITS * RECORD_BYTES);
  private readonly view = new DataView(this.ring.buffer);
  private readonly ringWords = new Int32Array(this.ring.buffer);
  private readonly state: Int32Array;
  /** What is looked at for each exit is made once. */
  private readonly rootVmcs: Uint8Array;
  private readonly nestedVmcs: Uint8Array;
  private readonly storeGuestState: () => void;
  private readonly readFlags: () => bigint;
  private sequence = 0;
  /** By vCPU and level: the exit that has no entry yet. A nested guest's lasts while its hypervisor itself leaves and enters. */
  private readonly open: readonly Record<ExitLevel, OpenExit>[];
  /** Root mode's VMCSs, and those of hypervisors. */
  private readonly kept: Readonly<Record<ExitLevel, KeptVmcs>> = { 1: new KeptVmcs(), 2: new KeptVmcs() };

  constructor(cpu: Processor, now: () => number = () => performance.now()) {
    const rows = cpu.vcpus * LEVELS * REASONS;
    this.cpu = cpu;
    this.counts = new Float64Array(rows);
    this.totals = new Float64Array(rows);
    this.minima = new Float64Array(rows).fill(Infinity);
    this.maxima = new Float64Array(rows);
    this.histograms = new Uint32Array(rows * EXIT_BUCKETS);
    this.open = Array.from({ length: cpu.vcpus }, () => ({ 1: { row: -1, at: 0, sequence: 0 }, 2: { row: -1, at: 0, sequence: 0 } }));
    this.state = new Int32Array(cpu.memory.buffer);
    this.rootVmcs = cpu.bytes.subarray(ROOT_VMCS, ROOT_VMCS + VMCS_BYTES);
    this.nestedVmcs = cpu.bytes.subarray(VMCS, VMCS + VMCS_BYTES);
    this.storeGuestState = cpu.helpers['storeGuestState'] as () => void;
    this.readFlags = cpu.helpers['readFlags'] as () => bigint;
    this.now = now;
    this.startedAt = now();
  }

  /** The guest left for root mode; its exit fields are in the state. */
  exit(reason: number): void {
    this.entry(1);
    const at = this.begin(reason, 1);
    for (const [from, bytes, to] of EXIT_FIELDS) this.copy(from, bytes, at + to);
    this.keepRoot();
  }

  /** An external interrupt made the guest leave, between two instructions: no exit that the processor has written fields of. */
  interrupt(vector: number): void {
    this.entry(1);
    const at = this.begin(exitReason.externalInterrupt, 1);
    this.ring.fill(0, at + RECORD.qualification, at + RECORD.cpl);
    const fields = this.keepRoot();
    const view = new DataView(fields.buffer, fields.byteOffset, VMCS_BYTES);
    for (const [field, value] of [
      [F.EXIT_REASON_FIELD, exitReason.externalInterrupt], [F.EXIT_QUALIFICATION_FIELD, 0], [F.EXIT_INTERRUPTION_INFORMATION, (0x80000000 | vector) >>> 0],
    ] as const) view.setBigUint64(fieldOffset(field), BigInt(value), true);
  }

  private keepRoot(): Uint8Array {
    this.storeGuestState();
    return this.kept[1].keep(this.sequence - 1, this.rootVmcs);
  }

  /** A nested guest left for its hypervisor; the exit's fields are in the current VMCS, the guest's registers still in the processor. */
  nestedExit(): void {
    this.entry(2);
    const { view } = this.cpu;
    const at = this.begin(view.getUint32(VMCS + fieldOffset(F.EXIT_REASON_FIELD), true) & 0xffff, 2);
    for (const [encoding, bytes, to] of NESTED_FIELDS) this.copy(VMCS + fieldOffset(encoding), bytes, at + to);
    this.kept[2].keep(this.sequence - 1, this.nestedVmcs);
  }

  /** The guest of a level goes on: its exit is over. */
  entry(level: ExitLevel = 1): void {
    const open = this.open[this.cpu.vcpu]![level];
    const { row } = open;
    if (row < 0) return;
    open.row = -1;
    const ns = Math.max(0, (this.now() - open.at) * 1e6);
    this.totals[row]! += ns;
    if (ns < this.minima[row]!) this.minima[row] = ns;
    if (ns > this.maxima[row]!) this.maxima[row] = ns;
    this.histograms[row * EXIT_BUCKETS + bucketOf(ns)]!++;
    if (this.sequence - open.sequence <= RING_EXITS) this.view.setFloat64((open.sequence % RING_EXITS) * RECORD_BYTES + RECORD.ns, ns, true);
  }

  /** The VMCS that an exit left behind, in the format of the region: root mode's, of a nested guest its hypervisor's. Null when it is no longer kept. */
  vmcs(sequence: number): Uint8Array | null {
    return this.kept[1].of(sequence) ?? this.kept[2].of(sequence);
  }

  /** Counts the exit and keeps the registers; returns where its record is in the ring. */
  private begin(reason: number, level: ExitLevel): number {
    const { cpu, view } = this;
    const { vcpu } = cpu;
    const row = (vcpu * LEVELS + level - 1) * REASONS + Math.min(reason, REASONS - 1);
    const at = (this.sequence % RING_EXITS) * RECORD_BYTES;
    const now = this.now();
    this.counts[row]!++;
    const open = this.open[vcpu]![level];
    open.row = row;
    open.at = now;
    open.sequence = this.sequence;
    view.setFloat64(at + RECORD.at, now, true);
    view.setFloat64(at + RECORD.ns, -1, true);
    view.setUint32(at + RECORD.sequence, this.sequence, true);
    view.setUint16(at + RECORD.reason, reason, true);
    view.setUint8(at + RECORD.vcpu, vcpu);
    view.setUint8(at + RECORD.level, level);
    for (const [from, bytes, to] of REGISTERS) this.copy(from, bytes, at + to);
    view.setBigUint64(at + RECORD.flags, this.readFlags(), true);
    this.sequence++;
    return at;
  }

  /** Word by word: quicker than making a view for each piece. */
  private copy(from: number, bytes: number, to: number): void {
    const { state, ringWords } = this;
    for (let i = 0; i < bytes >> 2; i++) ringWords[(to >> 2) + i] = state[(from >> 2) + i]!;
  }

  /** Sums so far; an exit that lasts still counts, without a time. */
  rows(): ExitRow[] {
    const rows: ExitRow[] = [];
    this.counts.forEach((count, row) => {
      if (count === 0) return;
      const reason = row % REASONS;
      rows.push({
        vcpu: Math.floor(row / (LEVELS * REASONS)), level: (Math.floor(row / REASONS) % LEVELS) + 1, reason, name: exitReasonName(reason), count, totalNs: this.totals[row]!,
        minNs: Number.isFinite(this.minima[row]!) ? this.minima[row]! : 0, maxNs: this.maxima[row]!,
        histogram: [...this.histograms.subarray(row * EXIT_BUCKETS, (row + 1) * EXIT_BUCKETS)],
      });
    });
    return rows;
  }

  /** The newest exits from sequence number `since` on, `limit` at most. */
  take(since: number, limit: number): TakenExits {
    const first = Math.max(since, this.sequence - Math.min(limit, RING_EXITS), 0);
    const records = new Uint8Array((this.sequence - first) * RECORD_BYTES);
    for (let i = first; i < this.sequence; i++) {
      const at = (i % RING_EXITS) * RECORD_BYTES;
      records.set(this.ring.subarray(at, at + RECORD_BYTES), (i - first) * RECORD_BYTES);
    }
    return { records, next: this.sequence, lost: Math.max(0, first - since) };
  }
}

function bucketOf(ns: number): number {
  return ns < 1 ? 0 : Math.min(EXIT_BUCKETS - 1, Math.floor(Math.log2(ns)));
}
