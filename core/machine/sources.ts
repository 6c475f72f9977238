/**
 * What a guest learns from outside without anyone sending it: how time passes, the date, chance. Nothing else in a machine may ask the host
 * for any of them: with `repeatableSources` the same start and the same inputs then give the same run, bit for bit.
 */
import { instructionTimeSource, wallTimeSource } from '../platform/clock.ts';
import type { TimeSource } from '../platform/clock.ts';

export interface Sources {
  readonly time: TimeSource;
  /** What the real-time clock shows at power-on: milliseconds since 1970, UTC. */
  readonly wallMs: number;
  /** What the time of day was, in the same measure, when so many nanoseconds of virtual time were still to pass to this moment. */
  readonly wallBefore: (ns: number) => number;
  /** 32 random bits: RDRAND and RDSEED. */
  readonly random: () => number;
  /** Where the sequence stands that chance is in repeatable runs; null where chance is the host's. */
  chance: number | null;
}

/** The host's clock and chance. */
export function hostSources(): Sources {
  return { time: wallTimeSource(), wallMs: Date.now(), wallBefore: ns => Date.now() - ns / 1e6, random: () => crypto.getRandomValues(new Uint32Array(1))[0]! | 0, chance: null };
}

/** The date of every repeatable run. */
const START = Date.UTC(2026, 0, 1);

/** Time is the count of retired instructions, the date is always the same, and chance is a sequence. */
export function repeatableSources(retired: () => number): Sources {
  const sources = {
    time: instructionTimeSource(retired), wallMs: START, wallBefore: () => START, chance: 0x9e3779b9,
    random: () => (sources.chance = following(sources.chance)),
  };
  return sources;
}

/** Marsaglia's xorshift of 32 bits, period 2^32 - 1. */
function following(state: number): number {
  let next = state ^ (state << 13);
  next ^= next >>> 17;
  return next ^ (next << 5);
}
