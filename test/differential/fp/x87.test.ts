import { describe, expect, test } from 'vitest';
import * as L from '../../../core/cpu/layout.ts';
import { instantiate } from '../../helpers/cpu-wasm.ts';
import type { CpuWasm } from '../../helpers/cpu-wasm.ts';
import { describeCase, differences } from './compare.ts';
import type { Tolerance } from './compare.ts';
import { OPERAND, prepare, runEmulated } from './emulated.ts';
import { MEMORY_SIZE, nativeObstacle, runNative } from './native.ts';
import type { Case } from './native.ts';
import { Values } from './values.ts';
import type { Extended } from './values.ts';

/** What the memory operand holds. */
type Operand = 'none' | 'single' | 'double' | 'extended' | 'integer' | 'decimal';

interface Row {
  readonly name: string;
  readonly code: readonly number[];
  readonly operand: Operand;
  readonly tolerance?: Tolerance;
}

const C1 = 0x200;
/** RDI holds the address of the memory operand. */
const memoryRow = (name: string, opcode: number, reg: number, operand: Operand): Row => ({ name, code: [opcode, 7 | (reg << 3)], operand });
const registerRow = (name: string, opcode: number, modrm: number, tolerance?: Tolerance): Row => ({
  name, code: [opcode, modrm], operand: 'none', ...(tolerance === undefined ? {} : { tolerance }),
});

const ARITHMETIC = ['FADD', 'FMUL', 'FCOM', 'FCOMP', 'FSUB', 'FSUBR', 'FDIV', 'FDIVR'];
const arithmetic: readonly Row[] = [
  ...ARITHMETIC.flatMap((name, reg) => [
    registerRow(`${name} ST, ST(1)`, 0xd8, 0xc1 | (reg << 3)),
    registerRow(`${name} ST(1), ST`, 0xdc, 0xc1 | (reg << 3)),
    memoryRow(`${name} m32fp`, 0xd8, reg, 'single'),
    memoryRow(`${name} m64fp`, 0xdc, reg, 'double'),
    memoryRow(`${name} m32int`, 0xda, reg, 'integer'),
    memoryRow(`${name} m16int`, 0xde, reg, 'integer'),
  ]),
  ...[0, 1, 4, 5, 6, 7].map(reg => registerRow(`${ARITHMETIC[reg]}P`, 0xde, 0xc1 | (reg << 3))),
];

const transfers: readonly Row[] = [
  memoryRow('FLD m32fp', 0xd9, 0, 'single'), memoryRow('FST m32fp', 0xd9, 2, 'none'), memoryRow('FSTP m32fp', 0xd9, 3, 'none'),
  memoryRow('FLD m64fp', 0xdd, 0, 'double'), memoryRow('FST m64fp', 0xdd, 2, 'none'), memoryRow('FSTP m64fp', 0xdd, 3, 'none'),
  memoryRow('FLD m80fp', 0xdb, 5, 'extended'), memoryRow('FSTP m80fp', 0xdb, 7, 'none'),
  memoryRow('FILD m16', 0xdf, 0, 'integer'), memoryRow('FILD m32', 0xdb, 0, 'integer'), memoryRow('FILD m64', 0xdf, 5, 'integer'),
  memoryRow('FIST m16', 0xdf, 2, 'none'), memoryRow('FISTP m16', 0xdf, 3, 'none'), memoryRow('FIST m32', 0xdb, 2, 'none'),
  memoryRow('FISTP m32', 0xdb, 3, 'none'), memoryRow('FISTP m64', 0xdf, 7, 'none'), memoryRow('FISTTP m16', 0xdf, 1, 'none'),
  memoryRow('FISTTP m32', 0xdb, 1, 'none'), memoryRow('FISTTP m64', 0xdd, 1, 'none'),
  memoryRow('FBLD', 0xdf, 4, 'decimal'), memoryRow('FBSTP', 0xdf, 6, 'none'),
  memoryRow('FLDCW', 0xd9, 5, 'integer'), memoryRow('FNSTCW', 0xd9, 7, 'none'), memoryRow('FNSTSW m16', 0xdd, 7, 'none'),
  registerRow('FLD ST(0)', 0xd9, 0xc0), registerRow('FLD ST(3)', 0xd9, 0xc3), registerRow('FXCH', 0xd9, 0xc9),
  registerRow('FST ST(2)', 0xdd, 0xd2), registerRow('FSTP ST(1)', 0xdd, 0xd9), registerRow('FNSTSW AX', 0xdf, 0xe0),
  ...['B', 'E', 'BE', 'U'].flatMap((name, i) => [
    registerRow(`FCMOV${name}`, 0xda, 0xc1 | (i << 3)), registerRow(`FCMOVN${name}`, 0xdb, 0xc1 | (i << 3)),
  ]),
];

// FCOMI clears C1 as the manual says; processors leave it.
const control: readonly Row[] = [
  registerRow('FUCOM', 0xdd, 0xe1), registerRow('FUCOMP', 0xdd, 0xe9), registerRow('FUCOMPP', 0xda, 0xe9), registerRow('FCOMPP', 0xde, 0xd9),
  registerRow('FCOMI', 0xdb, 0xf1, { fsw: C1 }), registerRow('FUCOMI', 0xdb, 0xe9, { fsw: C1 }),
  registerRow('FCOMIP', 0xdf, 0xf1, { fsw: C1 }), registerRow('FUCOMIP', 0xdf, 0xe9, { fsw: C1 }),
  registerRow('FNOP', 0xd9, 0xd0), registerRow('FCHS', 0xd9, 0xe0), registerRow('FABS', 0xd9, 0xe1), registerRow('FTST', 0xd9, 0xe4),
  registerRow('FXAM', 0xd9, 0xe5), registerRow('FDECSTP', 0xd9, 0xf6), registerRow('FINCSTP', 0xd9, 0xf7),
  registerRow('FFREE ST(1)', 0xdd, 0xc1), registerRow('FFREEP ST(1)', 0xdf, 0xc1), registerRow('FNCLEX', 0xdb, 0xe2), registerRow('FNINIT', 0xdb, 0xe3),
  ...['FLD1', 'FLDL2T', 'FLDL2E', 'FLDPI', 'FLDLG2', 'FLDLN2', 'FLDZ'].map((name, i) => registerRow(name, 0xd9, 0xe8 + i)),
  registerRow('FXTRACT', 0xd9, 0xf4), registerRow('FPREM1', 0xd9, 0xf5), registerRow('FPREM', 0xd9, 0xf8), registerRow('FSQRT', 0xd9, 0xfa),
  registerRow('FRNDINT', 0xd9, 0xfc), registerRow('FSCALE', 0xd9, 0xfd),
];

const environments: readonly Row[] = [0, 0x66].flatMap(prefix => {
  const rows = [memoryRow('FNSTENV', 0xd9, 6, 'none'), memoryRow('FLDENV', 0xd9, 4, 'none'), memoryRow('FNSAVE', 0xdd, 6, 'none'), memoryRow('FRSTOR', 0xdd, 4, 'none')];
  return prefix === 0 ? rows : rows.map(row => ({ ...row, name: `${row.name} 16-bit`, code: [prefix, ...row.code] }));
});

// C1 of a transcendental result says which way it was rounded: not the same for results that differ in the last place.
const approximate: Tolerance = { fsw: C1, units: 1n };
const transcendental: readonly Row[] = [
  registerRow('FSIN', 0xd9, 0xfe, approximate), registerRow('FCOS', 0xd9, 0xff, approximate), registerRow('FSINCOS', 0xd9, 0xfb, approximate),
  registerRow('FPTAN', 0xd9, 0xf2, approximate), registerRow('FPATAN', 0xd9, 0xf3, approximate), registerRow('F2XM1', 0xd9, 0xf0, approximate),
  registerRow('FYL2X', 0xd9, 0xf1, approximate), registerRow('FYL2XP1', 0xd9, 0xf9, approximate),
];

function execute(cpu: CpuWasm, one: Case): void {
  const narrow = one.code[0] === 0x66;
  const [escape, modrm] = one.code.slice(narrow ? 1 : 0) as [number, number];
  const opcode = escape & 7;
  if (modrm >= 0xc0) cpu.call('x87Register', opcode, modrm);
  else cpu.call('x87Memory', opcode, (modrm >> 3) & 7, BigInt(OPERAND), 0n, L.DS, narrow ? 2 : 4);
}

function randomCase(values: Values, row: Row, unmasked: boolean, operand?: () => Extended): Case {
  const memory = new Uint8Array(MEMORY_SIZE);
  const view = new DataView(memory.buffer);
  for (let at = 0; at < MEMORY_SIZE; at += 8) view.setBigUint64(at, values.next(), true);
  if (row.operand === 'single') view.setUint32(0, values.single(), true);
  else if (row.operand === 'double') view.setBigUint64(0, values.double(), true);
  else if (row.operand === 'integer' && values.below(5) === 0) view.setBigUint64(0, 0n, true);
  else if (row.operand === 'extended') {
    const value = values.extended();
    view.setBigUint64(0, value.significand, true);
    view.setUint16(8, value.signExponent, true);
  } else if (row.operand === 'decimal') {
    for (let at = 0; at < 9; at++) memory[at] = values.below(10) | (values.below(10) << 4);
    memory[9] = values.below(2) << 7;
  }
  const image = operand === undefined ? values.x87Image(unmasked) : values.x87Image(unmasked, operand);
  return { code: row.code, rax: values.next(), flags: values.flags(), memory, image };
}

function compare(cpu: CpuWasm, row: Row, cases: readonly Case[]): string[] {
  const native = runNative(cases);
  return cases.flatMap((one, index) => {
    const found = differences(native[index]!, runEmulated(cpu, one, execute), row.tolerance);
    return found.length === 0 ? [] : [`${row.name}: ${describeCase(one)} => ${found.join('; ')}`];
  });
}

const COUNT = 150;
const obstacle = nativeObstacle();

describe.skipIf(obstacle !== undefined)(`x87 against the native processor${obstacle === undefined ? '' : ` (${obstacle})`}`, () => {
  const cpu = instantiate();
  prepare(cpu);
  const groups = { arithmetic, transfers, control, environments, transcendental };
  for (const [group, rows] of Object.entries(groups)) {
    for (const unmasked of [false, true]) {
      test(`${group}, exceptions ${unmasked ? 'partly unmasked' : 'masked'}: results, tags, FSW, flags and memory agree`, () => {
        const values = new Values(unmasked ? 2 : 1);
        const wrong = rows.flatMap(row => compare(cpu, row, Array.from({ length: COUNT }, () => randomCase(values, row, unmasked))));
        expect(wrong).toEqual([]);
      });
    }
  }

  test('transcendental functions agree to one unit in the last place over their whole ranges', () => {
    const values = new Values(3);
    const wrong = transcendental.flatMap(row => {
      // F2XM1 and FYL2XP1 are defined for small operands alone.
      const operand = (): Extended => row.name === 'F2XM1' || row.name === 'FYL2XP1' ? values.normal(-40, -1) : values.normal(-40, 20);
      return compare(cpu, row, Array.from({ length: 400 }, () => randomCase(values, row, false, operand)));
    });
    expect(wrong).toEqual([]);
  });

  test('an instruction that waits reports a pending exception as #MF and changes nothing', () => {
    const values = new Values(4);
    const row = arithmetic[0]!;
    const cases = Array.from({ length: 50 }, () => {
      const one = randomCase(values, row, true);
      const view = new DataView(one.image.buffer);
      view.setUint16(0, view.getUint16(0, true) & ~1, true);
      view.setUint16(2, view.getUint16(2, true) | 0x8081, true);
      return one;
    });
    const native = runNative(cases);
    expect(native.every(outcome => outcome.fault === 8)).toBe(true);
    cases.forEach((one, index) => expect(differences(native[index]!, runEmulated(cpu, one, execute))).toEqual([]));
  });
});
