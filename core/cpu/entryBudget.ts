/**
 * How long a VM entry lasts, in instructions. It is handed out in parts: up to the next sample of what runs, where the JIT looks for hot code.
 *
 * An exact entry ends at the first taken jump at or behind its last instruction, whatever was decoded or compiled before. Regions look at the
 * budget less often, so they do not take part in its last instructions: the interpreter, which looks at every jump, carries those out.
 */
import { REGION_REACH } from './jit/manager.ts';
import { RUN_LIMIT } from './record.ts';
import { BUDGET, INSTRUCTIONS, REGIONS_OFF, REGION_RESERVE } from './layout.ts';

/** Instructions between two samples. */
export const SAMPLE_BUDGET = 10_000;
const SAMPLE_JITTER = 4_096;
/** Samples that regions pass at most when those that they meet are as they should be. */
const PASSED_LIMIT = 16;

export class EntryBudget {
  readonly #view: DataView;
  readonly #sampled: boolean;
  readonly #exact: boolean;
  #end = 0;
  /** Instructions of the longest part, for whoever watches a processor closely. */
  most = Infinity;
  /** Whether this is the part that regions take no part in. */
  tail = false;
  #partBegan = 0;
  #passed = 1;

  /** @param sampled there is a JIT */
  constructor(view: DataView, sampled: boolean, exact: boolean) {
    this.#view = view;
    this.#sampled = sampled;
    this.#exact = exact;
  }

  get #now(): number {
    return this.#view.getUint32(INSTRUCTIONS + 4, true) * 2 ** 32 + this.#view.getUint32(INSTRUCTIONS, true);
  }

  /** The entry may run so many instructions from now on. */
  begin(instructions: number): void {
    this.#end = this.#now + instructions;
    this.next();
  }

  /** Samples that the part which is over stands for. */
  get samples(): number {
    return Math.max(1, Math.round((this.#now - this.#partBegan) / SAMPLE_BUDGET));
  }

  /** Whether a region has gone on past the end of the part: the interpreter stops at the first jump behind it. */
  get overrun(): boolean {
    return this.#view.getInt32(BUDGET, true) < -RUN_LIMIT;
  }

  /**
   * How far regions run to the next look: further when the last one met a region that there is nothing to decide about; not at all past a sample when
   * that may yet be compiled otherwise; less far when it found none, as they led back to the interpreter behind a sample.
   */
  looked(found: 'settled' | 'unsettled' | 'none'): void {
    this.#passed = found === 'settled' ? Math.min(PASSED_LIMIT, this.#passed * 2) : found === 'none' ? Math.max(1, this.#passed >> 1) : 1;
  }

  /** Hands out another part; false: nothing is left. */
  next(): boolean {
    const now = this.#now;
    const left = this.#end - now;
    if (left <= 0) return false;
    this.#partBegan = now;
    this.tail = this.#exact && this.#sampled && left <= REGION_REACH;
    const most = this.#exact && this.#sampled && !this.tail ? left - REGION_REACH : left;
    this.#view.setUint32(REGIONS_OFF, this.tail ? 1 : 0, true);
    const part = Math.min(this.most, most, this.#sampled && !this.tail ? untilSample(now) : most);
    this.#view.setInt32(BUDGET, part, true);
    this.#view.setInt32(BUDGET + 4, 0, true);
    // Regions go on past samples: one takes as long as some thousand of their instructions.
    this.#view.setInt32(REGION_RESERVE, this.most === Infinity ? Math.min(most - part, (this.#passed - 1) * SAMPLE_BUDGET) : 0, true);
    this.#view.setInt32(REGION_RESERVE + 4, 0, true);
    return true;
  }
}

/**
 * Instructions to the next sample. Where samples lie follows from the count of instructions alone, not from VM entries: a guest that leaves
 * again and again at the same places would be looked at there alone. For the same reason the distances are not all alike.
 */
function untilSample(now: number): number {
  const period = Math.floor(now / SAMPLE_BUDGET);
  const next = sampleOf(period);
  return (next > now ? next : sampleOf(period + 1)) - now;
}

/** The count of instructions at which a period's sample is taken. */
function sampleOf(period: number): number {
  return period * SAMPLE_BUDGET + ((Math.imul(period, 0x9e3779b1) >>> 20) % SAMPLE_JITTER);
}
