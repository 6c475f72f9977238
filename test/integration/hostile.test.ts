import { describe, expect, it } from 'vitest';
import { MODELS, TIERS, runHostile } from '../fuzz/run.ts';

/** A seeded part of `npm run fuzz`. */
describe('a guest that executes noise', () => {
  const cases = Array.from({ length: 9 }, (_, i) => ({ seed: 1000 + i, jit: TIERS[i % 3]!, model: MODELS[Math.floor(i / 3) % 3]! }));

  it.each(cases)('ends or runs on as the manuals say, and never takes the machine with it: seed $seed, jit $jit, $model', async run => {
    const outcome = await runHostile({ ...run, instructions: 1_000_000, milliseconds: 1000 });
    expect(['ran', 'halted', 'triple-fault', 'reset', 'power-off', 'debug-exit']).toContain(outcome);
  }, 120_000);
});

describe('a hypervisor that spoils its VMCS, with a guest that executes noise', () => {
  const cases = Array.from({ length: 6 }, (_, i) => ({ seed: 2000 + i, jit: TIERS[i % 3]!, model: 'max' }));

  it.each(cases)('never takes the machine with it: seed $seed, jit $jit', async run => {
    const outcome = await runHostile({ ...run, instructions: 500_000, milliseconds: 1000, nested: true });
    expect(['ran', 'halted', 'triple-fault', 'reset', 'power-off', 'debug-exit']).toContain(outcome);
  }, 120_000);
});
