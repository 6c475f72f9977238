import { describe, expect, it } from 'vitest';
import { parseRows } from '../../core/isa/rows.ts';
import { sseIntegerRows } from '../../core/isa/table/sse-integer.ts';
import { sseShuffleRows } from '../../core/isa/table/sse-shuffle.ts';
import { compareRow, features, hasNative, integerBytes } from '../helpers/differential.ts';
import { FormRunner } from '../helpers/form-runner.ts';

const rows = parseRows([...sseIntegerRows, ...sseShuffleRows]);
const runner = new FormRunner(rows);

describe('integer operations and shuffles of vector registers', () => {
  for (const row of rows) {
    it.skipIf(!hasNative(row, features))(`${row.name} ${row.operands} (${row.opcode}) does what the host's processor does`, () => {
      expect(compareRow(runner, row, { cases: 200, fill: integerBytes })).toEqual([]);
    });
  }
});
