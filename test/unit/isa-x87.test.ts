import { describe, expect, it } from 'vitest';
import { parseRows } from '../../core/isa/rows.ts';
import { x87Rows } from '../../core/isa/table/x87.ts';
import type { Random } from '../helpers/differential.ts';
import { compareRow, features, hasNative } from '../helpers/differential.ts';
import { floatBytes } from '../helpers/float-values.ts';
import { FormRunner } from '../helpers/form-runner.ts';
import type { NativeCase } from '../helpers/native.ts';

const rows = parseRows(x87Rows);
const runner = new FormRunner(rows);

const EXPONENTS = [0x3fff, 0x4000, 0x3ffe, 0xbfff, 0xc001, 0x4005, 0x401e, 0x403e, 0x3fbf, 0x43fe, 0x3c01, 0, 1, 0x7fff, 0xffff, 0x8000, 0x3f81, 0x407f];
const SIGNIFICANDS = [0x8000_0000, 0xc000_0000, 0xffff_ffff, 0x8000_0001, 0xa000_0000];

/** Stack registers of all classes, any tag, TOP and control word with every exception masked. */
function randomStack(random: Random, item: NativeCase): void {
  const view = new DataView(item.fx.buffer, item.fx.byteOffset, 512);
  view.setUint16(0, 0x7f | random.pick([0x300, 0x300, 0x200, 0]) | (random.below(4) << 10), true);
  item.fx[4] = random.below(3) ? 0xff : random.u32();
  for (let i = 0; i < 8; i++) {
    const exponent = random.pick(EXPONENTS);
    const high = (exponent & 0x7fff) === 0 ? (random.below(2) ? 0 : random.u32() & 0x7fffffff) : random.below(2) ? random.pick(SIGNIFICANDS) : random.u32() | 0x80000000;
    view.setUint32(32 + i * 16, high === 0 || random.below(2) ? 0 : random.u32(), true);
    view.setUint32(36 + i * 16, high, true);
    view.setUint16(40 + i * 16, exponent, true);
  }
}

/** Elsewhere with bounds of their own: results of transcendental functions differ between processors in their last bits. */
const TRANSCENDENTAL = new Set(['FSIN', 'FCOS', 'FSINCOS', 'FPTAN', 'FPATAN', 'F2XM1', 'FYL2X', 'FYL2XP1']);
/** Not here: the pointers that environments hold name the case's own code, and ESC stands for encodings that the manual leaves out. */
const ELSEWHERE = new Set(['FNSTENV', 'FLDENV', 'FNSAVE', 'FRSTOR', 'ESC']);

describe('x87 instructions', () => {
  for (const row of rows.filter(one => !TRANSCENDENTAL.has(one.name) && !ELSEWHERE.has(one.name))) {
    it.skipIf(!hasNative(row, features))(`${row.name} (${row.opcode}) does what the host's processor does`, () => {
      expect(compareRow(runner, row, { cases: 400, fill: floatBytes, prepare: randomStack })).toEqual([]);
    });
  }
});
