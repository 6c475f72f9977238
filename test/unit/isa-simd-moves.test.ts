import { describe, expect, it } from 'vitest';
import { parseRows } from '../../core/isa/rows.ts';
import { sseMoveRows } from '../../core/isa/table/sse-moves.ts';
import { compareRow, features, hasNative, integerBytes } from '../helpers/differential.ts';
import { FormRunner } from '../helpers/form-runner.ts';

const rows = parseRows(sseMoveRows);
const runner = new FormRunner(rows);

describe('moves and bitwise operations of vector registers', () => {
  for (const row of rows) {
    it.skipIf(!hasNative(row, features))(`${row.name} ${row.operands} (${row.opcode}) does what the host's processor does`, () => {
      expect(compareRow(runner, row, { cases: 200, fill: integerBytes })).toEqual([]);
    });
  }
});
