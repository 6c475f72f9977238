/** What `--only` of the yardsticks picks, and what it says of a name that is not there. */
import { expect, it } from 'vitest';
import { part, pick, whole } from '../yardstick/only.ts';

const rows = [{ name: 'intel_iommu' }, { name: 'pcid-enabled' }, { name: 'pcid-disabled' }];

it('picks rows by patterns, in their own order, or all of them', () => {
  expect(pick(rows, undefined, whole)).toEqual(rows);
  expect(pick(rows, ['pcid-.*', 'intel_iommu'], whole)).toEqual(rows);
  expect(pick(rows, ['ENABLED'], part)).toEqual([rows[1]]);
});

it('refuses a pattern that matches nothing, and tells the names', () => {
  expect(() => pick(rows, ['pcid'], whole)).toThrow("'pcid' matches none of intel_iommu, pcid-enabled, pcid-disabled");
  expect(() => pick(rows, ['intel_iommu', 'intel-iommu'], whole)).toThrow("'intel-iommu' matches none");
});
