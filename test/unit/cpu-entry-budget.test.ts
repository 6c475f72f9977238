import { beforeEach, describe, expect, it } from 'vitest';
import { EntryBudget, SAMPLE_BUDGET } from '../../core/cpu/entryBudget.ts';
import { REGION_REACH } from '../../core/cpu/jit/manager.ts';
import { BUDGET, INSTRUCTIONS, REGION_RESERVE } from '../../core/cpu/layout.ts';

const ENTRY = 200_000;
let view: DataView;

beforeEach(() => {
  view = new DataView(new ArrayBuffer(0x20000));
});

const part = () => view.getInt32(BUDGET, true);
const reserve = () => view.getInt32(REGION_RESERVE, true);

/** So many instructions have run. */
function run(count: number): void {
  view.setUint32(INSTRUCTIONS, view.getUint32(INSTRUCTIONS, true) + count, true);
}

describe('the budget of a VM entry', () => {
  it('ends at the next sample, for regions too, until samples meet what is settled', () => {
    const budget = new EntryBudget(view, true, false);
    budget.begin(ENTRY);
    expect(part()).toBeLessThanOrEqual(2 * SAMPLE_BUDGET);
    expect(reserve()).toBe(0);
    for (const passed of [1, 3, 7, 15, 15]) {
      budget.looked('settled');
      budget.begin(ENTRY);
      expect(reserve()).toBe(Math.min(passed * SAMPLE_BUDGET, ENTRY - part()));
    }
    budget.looked('unsettled');
    budget.begin(ENTRY);
    expect(reserve()).toBe(0);
  });

  it('counts how many samples one stands for', () => {
    const budget = new EntryBudget(view, true, false);
    budget.begin(ENTRY);
    run(part());
    expect(budget.samples).toBeLessThanOrEqual(2);
    budget.next();
    run(12 * SAMPLE_BUDGET);
    expect(budget.samples).toBe(12);
  });

  it('is never more than the entry, nor reaches into the tail of an exact one', () => {
    for (const exact of [false, true]) {
      const budget = new EntryBudget(view, true, exact);
      for (let i = 0; i < 4; i++) budget.looked('settled');
      for (const length of [1, 300, 5_000, 40_000]) {
        budget.begin(length);
        const most = exact && !budget.tail ? length - REGION_REACH : length;
        expect(part() + reserve()).toBeLessThanOrEqual(most);
      }
    }
  });

  it('is handed out by single instructions where somebody watches', () => {
    const budget = new EntryBudget(view, true, false);
    budget.looked('settled');
    budget.most = 1;
    budget.begin(ENTRY);
    expect([part(), reserve()]).toEqual([1, 0]);
  });
});
