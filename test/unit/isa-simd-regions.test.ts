import { describe, expect, it } from 'vitest';
import { rows } from '../../core/isa/table/index.ts';
import { simdRows } from '../../core/isa/table/simd.ts';
import { compareRow, features, hasNative, integerBytes } from '../helpers/differential.ts';
import { FormRunner } from '../helpers/form-runner.ts';

const definitions = new Set(simdRows.map(row => row.define));
/** Left out here for the reasons that the tests of single instructions give. */
const ELSEWHERE = /^RCP|^RSQRT|^XSAVE|^XRSTOR|^FXSAVE|^FXRSTOR|^LDMXCSR|^ESC|^F(SIN|COS|SINCOS|PTAN|PATAN|2XM1|YL2X|YL2XP1|NSTENV|LDENV|NSAVE|RSTOR)$/;
/** INC RCX, INC RDX: the instruction finds these registers in the region's locals, not in memory. */
const INCREMENTS = [0x48, 0xff, 0xc1, 0x48, 0xff, 0xc2];

describe('vector and x87 instructions in a compiled region', () => {
  it('do what the host\'s processor does', () => {
    const runner = new FormRunner(rows);
    const found: string[] = [];
    for (const row of rows.filter(one => definitions.has(one.define) && !ELSEWHERE.test(one.name) && hasNative(one, features))) {
      found.push(...compareRow(runner, row, { cases: 8, fill: integerBytes, regionAfter: INCREMENTS, immediates: [0, 0x1b, 0x47, 0xff],
        without: how => row.name === 'CVTPI2PS' && how.memory === true }));
    }
    expect(found).toEqual([]);
  }, 60_000);
});
