import { describe, expect, it } from 'vitest';
import { parseRows } from '../../core/isa/rows.ts';
import { cryptoRows } from '../../core/isa/table/crypto.ts';
import type { Random } from '../helpers/differential.ts';
import { compareRow, features, hasNative, integerBytes } from '../helpers/differential.ts';
import { FormRunner } from '../helpers/form-runner.ts';

const rows = parseRows(cryptoRows);
const runner = new FormRunner(rows);

/** Short strings over few letters, so that comparisons find something; lengths in RAX and RDX are small or huge. */
function textBytes(random: Random, out: Uint8Array): void {
  if (out.length === 8) {
    out.fill(random.below(3) ? 0 : 0xff);
    out[0] = random.pick([0, 1, 3, 7, 8, 9, 15, 16, 17, 0xf3, 0xf0, 0x80]);
    return;
  }
  for (let i = 0; i < out.length; i++) out[i] = random.below(12) ? 0x60 + random.below(4) + (random.below(8) ? 0 : 0x80) : random.below(3) ? 0x61 : 0;
}

describe('AES, SHA, carry-less products, CRC32 and string comparisons', () => {
  for (const row of rows) {
    it.skipIf(!hasNative(row, features))(`${row.name} ${row.operands} (${row.opcode}) does what the host's processor does`, () => {
      const text = row.name.startsWith('PCMP');
      expect(compareRow(runner, row, { cases: text ? 2000 : 500, fill: text ? textBytes : integerBytes })).toEqual([]);
    });
  }
});
