/**
 * How long a VM entry lasts, in instructions. It is handed out in parts: up to the next sample of what runs, where the JIT looks for hot code.
 *
 * An exact entry ends at the first taken jump at or behind its last instruction, whatever was decoded or compiled before. Regions look at the
 * budget less often, so they do not take part in its last instructions: the interpreter, which looks at every jump, carries those out.
 */
import { REGION_REACH } from './jit/manager.ts';
import { BUDGET, INSTRUCTIONS, REGIONS_OFF } from './layout.ts';

/** Instructions between two samples. */
const SAMPLE_BUDGET = 10_000;
const SAMPLE_JITTER = 4_096;

export class EntryBudget {
  readonly #view: DataView;
  readonly #sampled: boolean;
  readonly #exact: boolean;
  #end = 0;
  /** Instructions of the longest part, for whoever watches a processor closely. */
  most = Infinity;
  /** Whether this is the part that regions take no part in. */
  tail = false;

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

  /** Hands out another part; false: nothing is left. */
  next(): boolean {
    const now = this.#now;
    const left = this.#end - now;
    if (left <= 0) return false;
    this.tail = this.#exact && this.#sampled && left <= REGION_REACH;
    const most = this.#exact && this.#sampled && !this.tail ? left - REGION_REACH : left;
    this.#view.setUint32(REGIONS_OFF, this.tail ? 1 : 0, true);
    this.#view.setInt32(BUDGET, Math.min(this.most, most, this.#sampled && !this.tail ? untilSample(now) : most), true);
    this.#view.setInt32(BUDGET + 4, 0, true);
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
