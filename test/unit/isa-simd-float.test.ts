import { describe, expect, it } from 'vitest';
import type { Row } from '../../core/isa/rows.ts';
import { parseRows } from '../../core/isa/rows.ts';
import { sseFloatRows } from '../../core/isa/table/sse-float.ts';
import { compareRow, features, hasNative } from '../helpers/differential.ts';
import type { Encoding } from '../helpers/encode.ts';
import { floatBytes, randomMxcsr } from '../helpers/float-values.ts';
import { FormRunner } from '../helpers/form-runner.ts';

const rows = parseRows(sseFloatRows);
const runner = new FormRunner(rows);
/** Approximations: processors differ within the error that the manual allows. Their own bounds are tested with the helpers. */
const APPROXIMATE = new Set(['RCPPS', 'RCPSS', 'RSQRTPS', 'RSQRTSS']);
/** CVTPI2PS with a memory operand enters MMX mode by Intel's manual (SDM 2A, CVTPI2PS), but not on AMD's processors. */
const without = (row: Row) => (how: Encoding): boolean => row.name === 'CVTPI2PS' && how.memory === true;

describe('floating point on vector registers', () => {
  for (const row of rows.filter(one => !APPROXIMATE.has(one.name))) {
    it.skipIf(!hasNative(row, features))(`${row.name} ${row.operands} (${row.opcode}) does what the host's processor does`, () => {
      expect(compareRow(runner, row, { cases: 1200, fill: floatBytes, prepare: randomMxcsr, without: without(row) })).toEqual([]);
    });
  }
});
