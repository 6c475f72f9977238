/** BMI1 and BMI2 on general registers, coded with VEX (SDM 1, 5.16.2); not available in real and virtual-8086 mode. */
import type { Definition, Ops } from '../ops.ts';
import type { V } from '../ir.ts';
import type { RowSpec } from '../rows.ts';
import { row } from '../rows.ts';
import { AF, PF, SF } from '../flags.ts';

/** Operand 0 is the destination; `f` may set flags. */
const binary = (f: (o: Ops, a: V, b: V) => V): Definition => o => {
  const a = o.src(1);
  const b = o.src(2);
  o.write(0, f(o, a, b));
};

/** Bits 7:0 of an operand, and bits 15:8, as 32-bit values. */
const field = (o: Ops, value: V, shift: 0 | 8): V => o.and(o.resize(o.shrU(value, o.const(32, shift)), 32), o.const(32, 0xff));
const widthOf = (o: Ops, value: V): V => o.const(32, value.width);
const ones = (o: Ops, value: V): V => o.const(value.width, -1);
/** The lowest `count` bits of a value; all of them when there are no more. */
const lowBits = (o: Ops, value: V, count: V): V =>
  o.select(o.ltU(count, widthOf(o, value)), o.and(value, o.not(o.shl(ones(o, value), count))), value);

const andn = binary((o, a, b) => {
  const result = o.and(o.not(a), b);
  o.flagsLogic(result);
  return result;
});
const bextr = binary((o, a, control) => {
  const start = field(o, control, 0);
  const shifted = o.select(o.ltU(start, widthOf(o, a)), o.shrU(a, start), o.const(a.width, 0));
  const result = lowBits(o, shifted, field(o, control, 8));
  o.flagsLogic(result);
  return result;
});
const bzhi = binary((o, a, control) => {
  const count = field(o, control, 0);
  const result = lowBits(o, a, count);
  o.flagsLogic(result);
  o.setCarryOnly(o.isZero(o.ltU(count, widthOf(o, a))));
  return result;
});

/** BLSR, BLSMSK, BLSI: of operand 1 into operand 0. CF tells whether the source was zero, or not zero. */
const lowestBit = (f: (o: Ops, a: V) => V, carryWhenZero: boolean): Definition => o => {
  const a = o.src(1);
  const result = f(o, a);
  o.flagsLogic(result);
  o.setCarryOnly(carryWhenZero ? o.isZero(a) : o.ne(a, o.const(a.width, 0)));
  o.write(0, result);
};

/** The count is taken modulo the width; no flags. */
const shift = (kind: 'shl' | 'shrU' | 'shrS'): Definition =>
  binary((o, a, count) => o[kind](a, o.and(o.resize(count, 32), o.const(32, a.width - 1))));
const rorx: Definition = o => o.write(0, o.rotr(o.src(1), o.and(o.immediate(32), o.const(32, o.width(0) - 1))));

/** MULX: the high half wins when both destinations are one register. */
const mulx: Definition = o => {
  const b = o.src(2);
  const a = o.reg(2, o.width(0));
  if (o.width(0) === 64) {
    const high = o.call('multiplyHigh', 64, [a, b]);
    o.write(1, o.mul(a, b));
    o.write(0, high);
    return;
  }
  const product = o.mul(o.zeroExtend(a, 64), o.zeroExtend(b, 64));
  o.write(1, o.truncate(product, 32));
  o.write(0, o.truncate(o.shrU(product, o.const(32, 32)), 32));
};

const spread = (helper: string): Definition => binary((o, a, mask) =>
  o.resize(o.call(helper, 64, [o.zeroExtend(a, 64), o.zeroExtend(mask, 64)]), a.width));

const LOGIC = { feature: 'bmi1', undefinedFlags: AF | PF };
const BMI2 = { feature: 'bmi2' };

export const bmiRows: readonly RowSpec[] = [
  row('VEX NP 0F 38 F2', 'ANDN', 'Gy,By,Ey', 'prot', andn, LOGIC),
  row('VEX NP 0F 38 F3 /1', 'BLSR', 'By,Ey', 'prot', lowestBit((o, a) => o.and(a, o.sub(a, o.const(a.width, 1))), true), LOGIC),
  row('VEX NP 0F 38 F3 /2', 'BLSMSK', 'By,Ey', 'prot', lowestBit((o, a) => o.xor(a, o.sub(a, o.const(a.width, 1))), true), LOGIC),
  row('VEX NP 0F 38 F3 /3', 'BLSI', 'By,Ey', 'prot', lowestBit((o, a) => o.and(a, o.negate(a)), false), LOGIC),
  row('VEX NP 0F 38 F7', 'BEXTR', 'Gy,Ey,By', 'prot', bextr, { feature: 'bmi1', undefinedFlags: AF | SF | PF }),
  row('VEX NP 0F 38 F5', 'BZHI', 'Gy,Ey,By', 'prot', bzhi, { feature: 'bmi2', undefinedFlags: AF | PF }),
  row('VEX F2 0F 38 F5', 'PDEP', 'Gy,By,Ey', 'prot', spread('depositBits'), BMI2),
  row('VEX F3 0F 38 F5', 'PEXT', 'Gy,By,Ey', 'prot', spread('extractBits'), BMI2),
  row('VEX F2 0F 38 F6', 'MULX', 'Gy,By,Ey', 'prot', mulx, BMI2), row('VEX F2 0F 3A F0', 'RORX', 'Gy,Ey,Ib', 'prot', rorx, BMI2),
  row('VEX 66 0F 38 F7', 'SHLX', 'Gy,Ey,By', 'prot', shift('shl'), BMI2),
  row('VEX F3 0F 38 F7', 'SARX', 'Gy,Ey,By', 'prot', shift('shrS'), BMI2),
  row('VEX F2 0F 38 F7', 'SHRX', 'Gy,Ey,By', 'prot', shift('shrU'), BMI2),
];
