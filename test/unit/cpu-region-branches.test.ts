import { describe, expect, it } from 'vitest';
import { BranchCounts } from '../../core/cpu/jit/branches.ts';
import { REGION_COUNTS, REGION_COUNTS_EACH } from '../../core/cpu/layout.ts';

/** A branch at offset 8 whose ways are blocks 1 and 2; one at offset 24 of block 3, of which only the way that is taken is counted, block 4; one the other way round. */
const BRANCHES = [8, -1, 1, 2, 24, 3, 4, -1, 40, 5, -1, 6];
const [BOTH, TAKEN, PASSED] = [1008, 1024, 1040];

function counts(): { readonly branches: BranchCounts; count(index: number, block: number, times: number): void } {
  const view = new DataView(new ArrayBuffer(REGION_COUNTS + 4 * REGION_COUNTS_EACH));
  const branches = new BranchCounts(view);
  return { branches, count: (index, block, times) => view.setUint32(REGION_COUNTS + index * REGION_COUNTS_EACH + block * 4, times, true) };
}

const keyOf = (offset: number): number => 1000 + offset;

describe('which way a branch goes', () => {
  it('follows from how often both of its ways have run', () => {
    const { branches, count } = counts();
    expect(branches.add(1, BRANCHES, keyOf)).toEqual([BOTH, TAKEN, PASSED]);
    count(1, 1, 300);
    count(1, 2, 100);
    expect(branches.odds(BOTH)).toBe(0.75);
  });

  it('follows from its own block where the region lacks one of them', () => {
    const { branches, count } = counts();
    branches.add(1, BRANCHES, keyOf);
    count(1, 3, 200);
    count(1, 4, 50);
    count(1, 5, 100);
    count(1, 6, 20);
    expect([branches.odds(TAKEN), branches.odds(PASSED)]).toEqual([0.25, 0.8]);
  });

  it('is a share even of a block that others lead to as well', () => {
    const { branches, count } = counts();
    branches.add(1, BRANCHES, keyOf);
    count(1, 3, 100);
    count(1, 4, 900);
    count(1, 5, 100);
    count(1, 6, 900);
    expect([branches.odds(TAKEN), branches.odds(PASSED)]).toEqual([1, 0]);
  });

  it('is not known before it has run often enough, nor of a branch that nobody counts', () => {
    const { branches, count } = counts();
    branches.add(1, BRANCHES, keyOf);
    count(1, 1, 63);
    expect([branches.odds(BOTH), branches.odds(4)]).toEqual([null, null]);
  });

  it('is what the region says that has seen most', () => {
    const { branches, count } = counts();
    branches.add(1, BRANCHES, keyOf);
    branches.add(2, BRANCHES, keyOf);
    count(1, 1, 100);
    count(2, 2, 101);
    expect(branches.odds(BOTH)).toBe(0);
  });

  it('stays known when the region is gone, until everything is dropped', () => {
    const { branches, count } = counts();
    const keys = branches.add(1, BRANCHES, keyOf);
    count(1, 1, 1000);
    branches.remove(1, keys);
    count(1, 1, 0);
    expect(branches.odds(BOTH)).toBe(1);
    branches.clear();
    expect(branches.odds(BOTH)).toBe(null);
  });
});
