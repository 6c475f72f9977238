/**
 * What is kept of VM exits while somebody watches: sums and histograms by vCPU, level and reason, and a ring of the newest exits with the
 * state that the guest left behind. There is no trace, and no cost, while nobody does.
 */
import type { Processor } from '../cpu/processor.ts';
import {
  CPL, CR0, CR3, CR4, EFER, EXIT_GPA, EXIT_INFO, EXIT_LENGTH, EXIT_LINEAR, EXIT_QUALIFICATION, GPR, IDT_VECTORING_INFO, RIP,
} from '../cpu/layout.ts';
import { EXIT_BUCKETS } from '../contract/exits.ts';
import type { ExitRow } from '../contract/exits.ts';
import { exitReasonName } from './exitReasons.ts';

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

/** State words that a record copies: where from, how many bytes, where to. */
const COPIED: readonly (readonly [number, number, number])[] = [
  [EXIT_QUALIFICATION, 8, RECORD.qualification], [EXIT_LINEAR, 8, RECORD.linear], [EXIT_GPA, 8, RECORD.physical], [EXIT_LENGTH, 4, RECORD.length],
  [EXIT_INFO, 4, RECORD.information], [IDT_VECTORING_INFO, 4, RECORD.vectoring], [CPL, 4, RECORD.cpl], [GPR, 128, RECORD.registers], [RIP, 8, RECORD.rip],
  [CR0, 8, RECORD.cr0], [CR3, 8, RECORD.cr3], [CR4, 8, RECORD.cr4], [EFER, 8, RECORD.efer],
];

/** What `take` returns: records one behind the other, oldest first. */
export interface TakenExits {
  readonly records: Uint8Array<ArrayBuffer>;
  /** Sequence number to ask from the next time. */
  readonly next: number;
  /** Exits since `since` that are not among the records. */
  readonly lost: number;
}

/** The trace of one vCPU. Times are milliseconds of `performance.now()`. */
export class ExitTrace {
  readonly startedAt: number;
  private readonly cpu: Processor;
  private readonly vcpu: number;
  private readonly now: () => number;
  private readonly counts = new Float64Array(LEVELS * REASONS);
  private readonly totals = new Float64Array(LEVELS * REASONS);
  private readonly minima = new Float64Array(LEVELS * REASONS).fill(Infinity);
  private readonly maxima = new Float64Array(LEVELS * REASONS);
  private readonly histograms = new Uint32Array(LEVELS * REASONS * EXIT_BUCKETS);
  private readonly ring = new Uint8Array(RING_EXITS * RECORD_BYTES);
  private readonly view = new DataView(this.ring.buffer);
  private sequence = 0;
  /** Row and time of the exit that has no entry yet; row -1: none. */
  private openRow = -1;
  private openedAt = 0;

  constructor(cpu: Processor, vcpu: number, now: () => number = () => performance.now()) {
    this.cpu = cpu;
    this.vcpu = vcpu;
    this.now = now;
    this.startedAt = now();
  }

  /** The guest left; its exit fields are in the state. Level 2: a guest's guest left for its hypervisor. */
  exit(reason: number, level: 1 | 2 = 1): void {
    this.entry();
    const row = (level - 1) * REASONS + Math.min(reason, REASONS - 1);
    this.counts[row]!++;
    this.openRow = row;
    this.openedAt = this.now();
    this.keep(reason, level);
  }

  /** The guest goes on: the exit before is over. */
  entry(): void {
    const row = this.openRow;
    if (row < 0) return;
    this.openRow = -1;
    const ns = Math.max(0, (this.now() - this.openedAt) * 1e6);
    this.totals[row]! += ns;
    if (ns < this.minima[row]!) this.minima[row] = ns;
    if (ns > this.maxima[row]!) this.maxima[row] = ns;
    this.histograms[row * EXIT_BUCKETS + bucketOf(ns)]!++;
    this.view.setFloat64(((this.sequence - 1) % RING_EXITS) * RECORD_BYTES + RECORD.ns, ns, true);
  }

  private keep(reason: number, level: number): void {
    const { cpu, view, ring } = this;
    const at = (this.sequence % RING_EXITS) * RECORD_BYTES;
    view.setFloat64(at + RECORD.at, this.openedAt, true);
    view.setFloat64(at + RECORD.ns, -1, true);
    view.setUint32(at + RECORD.sequence, this.sequence, true);
    view.setUint16(at + RECORD.reason, reason, true);
    view.setUint8(at + RECORD.vcpu, this.vcpu);
    view.setUint8(at + RECORD.level, level);
    for (const [from, bytes, to] of COPIED) ring.set(cpu.bytes.subarray(from, from + bytes), at + to);
    view.setBigUint64(at + RECORD.flags, cpu.call('readFlags') as unknown as bigint, true);
    this.sequence++;
  }

  /** Sums so far; an exit that lasts still counts, without a time. */
  rows(): ExitRow[] {
    const rows: ExitRow[] = [];
    this.counts.forEach((count, row) => {
      if (count === 0) return;
      const reason = row % REASONS;
      rows.push({
        vcpu: this.vcpu, level: Math.floor(row / REASONS) + 1, reason, name: exitReasonName(reason), count, totalNs: this.totals[row]!,
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
