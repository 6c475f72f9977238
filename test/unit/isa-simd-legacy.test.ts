import { describe, expect, it } from 'vitest';
import { rows } from '../../core/isa/table/index.ts';
import { simdRows } from '../../core/isa/table/simd.ts';
import { compareRow, features, hasNative, integerBytes } from '../helpers/differential.ts';
import { FormRunner } from '../helpers/form-runner.ts';
import { DATA_ADDRESS, NativeCase } from '../helpers/native.ts';
import { DS, SEGMENTS, SEGMENT_SIZE, SEG_FLAT, SEG_LIMIT } from '../../core/cpu/layout.ts';

const definitions = new Set(simdRows.map(row => row.define));
/** Left out for the reasons that the tests in 64-bit code give. */
const ELSEWHERE = /^RCP|^RSQRT|^SHA|^XSAVE|^XRSTOR|^FXSAVE|^FXRSTOR|^ESC|^F(SIN|COS|SINCOS|PTAN|PATAN|2XM1|YL2X|YL2XP1|NSTENV|LDENV|NSAVE|RSTOR)$/;

describe('vector and x87 instructions in 32-bit code', () => {
  it('do what the host\'s processor does in 64-bit code, where registers and sizes are the same', () => {
    const runner = new FormRunner(rows, 32);
    const found: string[] = [];
    for (const row of rows.filter(one => definitions.has(one.define) && !ELSEWHERE.test(one.name) && hasNative(one, features))) {
      found.push(...compareRow(runner, row, {
        cases: 12, fill: integerBytes,
        // Addresses in front of zeros: 64-bit arithmetic on them gives what 32-bit code computes.
        prepare: (random, item) => item.setGpr(6, item.gpr(6) + BigInt(random.pick([0, 0, 0, 16, 8, 4]))),
        without: how => how.rexW === true || (how.reg ?? 0) > 7 || (how.vvvv ?? 0) > 7 || (row.name === 'CVTPI2PS' && how.memory === true),
      }));
    }
    expect(found).toEqual([]);
  }, 60_000);

  it('check segment limits over the whole operand', () => {
    const runner = new FormRunner(rows, 32);
    const data = SEGMENTS + DS * SEGMENT_SIZE;
    runner.cpu.write32(data + SEG_LIMIT, DATA_ADDRESS + 15);
    runner.cpu.write32(data + SEG_FLAT, 0);
    const fault = (offset: number, ...code: number[]): number => {
      const item = new NativeCase();
      item.setGpr(6, BigInt(DATA_ADDRESS + offset));
      new DataView(item.fx.buffer, item.fx.byteOffset).setUint16(0, 0x37f, true);
      return Math.max(0, runner.run(item, code, DATA_ADDRESS).signal - 1000);
    };
    const movups = [0x0f, 0x10, 0x0e];
    const movd = [0x66, 0x0f, 0x6e, 0x0e];
    const fld80 = [0xdb, 0x2e];
    expect([fault(0, ...movups), fault(1, ...movups), fault(16, ...movups)]).toEqual([0, 13, 13]);
    expect([fault(12, ...movd), fault(13, ...movd)]).toEqual([0, 13]);
    expect([fault(6, ...fld80), fault(7, ...fld80)]).toEqual([0, 13]);
  });
});
