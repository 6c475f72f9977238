import { describe, expect, it } from 'vitest';
import { parseRows } from '../../core/isa/rows.ts';
import type { Row } from '../../core/isa/rows.ts';
import { simdRows } from '../../core/isa/table/simd.ts';
import { CR0, CR4, FERR, FERR_ASSERTED, FERR_IGNORED, REAL_SEGMENTS } from '../../core/cpu/layout.ts';
import { compareRow, encodings, features, hasNative, integerBytes } from '../helpers/differential.ts';
import { encode } from '../helpers/encode.ts';
import { FormRunner } from '../helpers/form-runner.ts';
import { DATA_ADDRESS, NativeCase } from '../helpers/native.ts';

const rows = parseRows(simdRows);
const runner = new FormRunner(rows);
const wide = rows.filter(row => row.letters.some(letter => letter === 'Wdq' || letter === 'Mdq'));
/** RCPxx and RSQRTxx are approximations. SHA operands must be aligned by Intel's manual (type 4 exceptions), but not on AMD's processors. */
const ELSEWHERE = /^RCP|^RSQRT|^SHA/;
const named = (name: string, first: string): Row => rows.find(row => row.name === name && row.letters[0]?.startsWith(first) !== false)!;

describe('128-bit memory operands', () => {
  it('that are misaligned fault exactly where they do on the host, and a fault changes nothing', () => {
    const found: string[] = [];
    for (const row of wide.filter(one => hasNative(one, features) && !ELSEWHERE.test(one.name))) {
      found.push(...compareRow(runner, row, {
        cases: 12, fill: integerBytes, without: how => how.memory !== true,
        prepare: (random, item) => item.setGpr(6, BigInt(DATA_ADDRESS + random.pick([1, 4, 8, 15, 16]))),
      }));
    }
    expect(found).toEqual([]);
  });
});

/** Vector of the fault that an instruction raises with the given control registers, 0 for none. */
function faultWith(row: Row, cr0: number, cr4: number, more: () => void = () => {}): number {
  const item = new NativeCase();
  item.setGpr(6, BigInt(DATA_ADDRESS));
  item.flags = 2;
  new DataView(item.fx.buffer, item.fx.byteOffset).setUint16(0, 0x37f, true);
  const how = encodings(row)[0]!;
  runner.cpu.write32(CR0, cr0);
  runner.cpu.write32(CR4, cr4);
  more();
  const result = runner.run(item, encode(row, how), DATA_ADDRESS);
  runner.cpu.write32(CR0, 0x31);
  runner.cpu.write32(CR4, 0x600);
  runner.cpu.write32(REAL_SEGMENTS, 0);
  return result.signal === 0 ? 0 : result.signal - 1000;
}

describe('availability', () => {
  const EM = 4;
  const TS = 8;
  const NE = 0x20;
  const BASE = 0x11;
  const OSFXSR = 0x200;

  it('of SSE: #UD when emulated or not enabled, then #NM when the state is another task\'s', () => {
    for (const row of [named('PADDB', 'V'), named('MOVUPS', 'W'), named('ADDPS', 'V'), named('AESENC', 'V')]) {
      expect(faultWith(row, BASE, OSFXSR)).toBe(0);
      expect(faultWith(row, BASE | EM, OSFXSR)).toBe(6);
      expect(faultWith(row, BASE, 0)).toBe(6);
      expect(faultWith(row, BASE | TS, OSFXSR)).toBe(7);
      expect(faultWith(row, BASE | TS, 0)).toBe(6);
      expect(faultWith(row, BASE | TS | EM, OSFXSR)).toBe(6);
    }
  });

  it('of MMX: #UD when emulated, #NM, then a pending x87 exception; CR4.OSFXSR does not matter', () => {
    const row = named('PADDB', 'P');
    expect(faultWith(row, BASE, 0)).toBe(0);
    expect(faultWith(row, BASE | EM | TS, 0)).toBe(6);
    expect(faultWith(row, BASE | TS, 0)).toBe(7);
  });

  it('of x87: #NM when emulated or another task\'s', () => {
    for (const row of [named('FNINIT', ''), named('FXSAVE', 'M')]) {
      expect(faultWith(row, BASE, 0)).toBe(0);
      expect(faultWith(row, BASE | EM, 0)).toBe(7);
      expect(faultWith(row, BASE | TS, 0)).toBe(7);
    }
  });

  it('of XSAVE: #UD unless enabled, then #NM', () => {
    const row = named('XSAVE', 'M');
    expect(faultWith(row, BASE, 0)).toBe(6);
    expect(faultWith(row, BASE | TS, 0)).toBe(6);
    expect(faultWith(row, BASE | TS, 0x40000)).toBe(7);
    expect(faultWith(row, BASE, 0x40000)).toBe(0);
  });

  it('of VEX-coded instructions: #UD in real and virtual-8086 mode', () => {
    expect(faultWith(named('ANDN', 'G'), BASE | NE, 0)).toBe(0);
    expect(faultWith(named('ANDN', 'G'), BASE | NE, 0, () => runner.cpu.write32(REAL_SEGMENTS, 1))).toBe(6);
  });

  it('reports a pending x87 exception before an MMX instruction, as #MF only with CR0.NE', () => {
    const item = new NativeCase();
    item.flags = 2;
    const view = new DataView(item.fx.buffer, item.fx.byteOffset);
    view.setUint16(0, 0x37e, true);
    view.setUint16(2, 0x8081, true);
    runner.cpu.write32(CR0, BASE | NE);
    const code = encode(named('PADDB', 'P'), { reg: 1, rm: 2 });
    expect(runner.run(item, code, DATA_ADDRESS).signal).toBe(1016);
    runner.cpu.write32(CR0, BASE);
    runner.cpu.write32(FERR, FERR_ASSERTED | FERR_IGNORED);
    expect(runner.run(item, code, DATA_ADDRESS).signal).toBe(0);
    runner.cpu.write32(CR0, 0x31);
  });
});
