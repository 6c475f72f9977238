import { describe, expect, it } from 'vitest';
import { Decoder } from '../../core/isa/decoder.ts';
import { bmiRows } from '../../core/isa/table/bmi.ts';
import { invalidRow, rows as allRows } from '../../core/isa/table/index.ts';
import { parseRows } from '../../core/isa/rows.ts';
import { compareRow, features, hasNative, integerBytes } from '../helpers/differential.ts';
import { FormRunner } from '../helpers/form-runner.ts';

const rows = parseRows(bmiRows);
const runner = new FormRunner(rows);
const decoder = new Decoder(allRows, invalidRow);

function decode(codeSize: 16 | 32 | 64, ...code: number[]): { name: string; length: number } {
  const { row, length } = decoder.decode(Uint8Array.from([...code, ...new Array<number>(16).fill(0)]), 0, 32, codeSize);
  return { name: row === invalidRow ? '#UD' : row.name, length };
}

describe('BMI1 and BMI2', () => {
  for (const row of rows) {
    it.skipIf(!hasNative(row, features))(`${row.name} ${row.operands} does what the host's processor does`, () => {
      expect(compareRow(runner, row, { cases: 1000, fill: integerBytes })).toEqual([]);
    });
  }
});

describe('the VEX prefix', () => {
  it('is LES or LDS in 16-bit and 32-bit code unless ModRM would name a register', () => {
    expect(decode(32, 0xc4, 0x01)).toEqual({ name: 'LES', length: 2 });
    expect(decode(16, 0xc5, 0x01)).toEqual({ name: 'LDS', length: 2 });
    expect(decode(32, 0xc4, 0xe2, 0x70, 0xf2, 0xc2)).toEqual({ name: 'ANDN', length: 5 });
    expect(decode(64, 0xc4, 0xe2, 0x70, 0xf2, 0xc2)).toEqual({ name: 'ANDN', length: 5 });
  });

  it('does not go with operand-size, repeat, LOCK or REX prefixes', () => {
    for (const prefix of [0x66, 0xf2, 0xf3, 0xf0, 0x48]) expect(decode(64, prefix, 0xc4, 0xe2, 0x70, 0xf2, 0xc2).name).toBe('#UD');
    expect(decode(64, 0x67, 0xc4, 0xe2, 0x70, 0xf2, 0xc2).name).toBe('ANDN');
  });

  it('must have L clear, and vvvv all ones where it names nothing', () => {
    expect(decode(64, 0xc4, 0xe2, 0x74, 0xf2, 0xc2).name).toBe('#UD');
    expect(decode(64, 0xc4, 0xe3, 0x7b, 0xf0, 0xc2, 5)).toEqual({ name: 'RORX', length: 6 });
    expect(decode(64, 0xc4, 0xe3, 0x73, 0xf0, 0xc2, 5).name).toBe('#UD');
  });

  it('with an undefined map or opcode is undefined', () => {
    expect(decode(64, 0xc4, 0xe0, 0x70, 0xf2, 0xc2).name).toBe('#UD');
    expect(decode(64, 0xc4, 0xff, 0x70, 0xf2, 0xc2).name).toBe('#UD');
    expect(decode(64, 0xc5, 0xf8, 0x10, 0xc1).name).toBe('#UD');
  });
});
