/** A seeded part of `npm run fuzz -- --snapshots` and `--kills`. */
import { describe, expect, it } from 'vitest';
import { fuzzKills } from '../fuzz/snapshots/kills.ts';
import { fuzzStore } from '../fuzz/snapshots/main.ts';

describe('whatever is listed can be restored', () => {
  it('after a loss of power or on a disk that is full or read-only, at any step of the commit protocol', async () => {
    expect(await fuzzStore(1, 60)).toMatch(/^60 faults: .*power \d\d.* snapshots read back whole$/);
  }, 180_000);
  it('after `kill -9` of the engine or of a VM process', async () => {
    expect(await fuzzKills(1, 6)).toMatch(/^6 kills/);
  }, 180_000);
});
