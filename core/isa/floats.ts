/**
 * SSE arithmetic with the host's own vector operations where they are exactly right, the software helpers elsewhere.
 *
 * A masked, rounded-to-nearest operation on zeros and normal numbers whose result is zero or safely normal differs from the host's in
 * nothing but the precision flag. PE is sticky and set by the first inexact result of a program: once it is, nothing is left to find out.
 */
import type { Definition, Ops } from './ops.ts';
import type { V, Width } from './ir.ts';
import { v } from '../wasm/opcodes.ts';
import { ARGUMENTS, MXCSR, XSCRATCH } from '../cpu/layout.ts';
import { lanes, setZeroAndCarry, source, zero } from './vectors.ts';

export type Arithmetic = 'add' | 'mul' | 'sub' | 'min' | 'div' | 'max' | 'sqrt';

/** RC, PM, DAZ and PE of MXCSR, and what they must be: nearest, masked, off, set. */
const MXCSR_MODE = 0x7060;
const MXCSR_EASY = 0x1020;

interface Lanes {
  readonly operations: Record<Arithmetic, number>;
  readonly abs: number;
  readonly equal: number;
  readonly less: number;
  readonly greaterEqual: number;
  readonly bitmask: number;
  readonly count: number;
  readonly width: Width;
  /** Bit patterns of the smallest normal number, its double, and infinity. */
  readonly constants: (o: Ops, high: number) => V;
  readonly smallest: number;
  readonly safe: number;
  readonly infinity: number;
}

const SINGLES: Lanes = {
  operations: { add: v.f32x4Add, sub: v.f32x4Sub, mul: v.f32x4Mul, div: v.f32x4Div, min: v.f32x4Pmin, max: v.f32x4Pmax, sqrt: v.f32x4Sqrt },
  abs: v.f32x4Abs, equal: v.f32x4Eq, less: v.f32x4Lt, greaterEqual: v.f32x4Ge, bitmask: v.i32x4Bitmask, count: 4, width: 32,
  constants: (o, high) => lanes(o, 4, high), smallest: 0x00800000, safe: 0x01000000, infinity: 0x7f800000,
};
const DOUBLES: Lanes = {
  operations: { add: v.f64x2Add, sub: v.f64x2Sub, mul: v.f64x2Mul, div: v.f64x2Div, min: v.f64x2Pmin, max: v.f64x2Pmax, sqrt: v.f64x2Sqrt },
  abs: v.f64x2Abs, equal: v.f64x2Eq, less: v.f64x2Lt, greaterEqual: v.f64x2Ge, bitmask: v.i64x2Bitmask, count: 2, width: 64,
  constants: (o, high) => lanes(o, 4, [0, high, 0, high]), smallest: 0x00100000, safe: 0x00200000, infinity: 0x7ff00000,
};

/** `operation` is the number that the helper `ssePacked` knows; kinds as there: 0 SS, 1 SD, 2 PS, 3 PD. */
export const arithmetic = (name: Arithmetic, operation: number, kind: number): Definition => o => {
  const format = kind & 1 ? DOUBLES : SINGLES;
  const scalar = kind < 2;
  const width = scalar ? format.width : 128;
  const operand = source(o, 1);
  const b = o.zeroExtend(operand, 128);
  const a = name === 'sqrt' ? b : o.zeroExtend(o.slot('G', width), 128);
  const result = resultOf(o, format, name, a, b);
  const all = scalar ? 1 : (1 << format.count) - 1;
  const lanesFit = everyLane(o, format, fits(o, format, name, a, b, result), all);
  const easy = name === 'min' || name === 'max' ? lanesFit : o.and(lanesFit, roundsEasily(o, -1));
  o.when(easy, () => {
    if (scalar) o.setPart('G', 0, o.truncate(result, width));
    else o.setSlot('G', result);
  }, () => helperOnSource(o, 'ssePacked', [operation, kind], o.slotAddress('G'), operand));
};

function resultOf(o: Ops, format: Lanes, name: Arithmetic, a: V, b: V): V {
  const code = format.operations[name];
  if (name === 'sqrt') return o.vector(code, [b]);
  // MINPS and MAXPS give the second operand for NaNs and equal numbers: the pseudo-minimum of swapped operands.
  return name === 'min' || name === 'max' ? o.vector(code, [b, a]) : o.vector(code, [a, b]);
}

const and = (o: Ops, x: V, y: V): V => o.vector(v.and, [x, y]);
const or = (o: Ops, x: V, y: V): V => o.vector(v.or, [x, y]);
const isZero = (o: Ops, format: Lanes, x: V): V => o.vector(format.equal, [x, zero(o)]);
const magnitudeAtLeast = (o: Ops, format: Lanes, x: V, limit: number): V =>
  o.vector(format.greaterEqual, [o.vector(format.abs, [x]), format.constants(o, limit)]);
const magnitudeBelow = (o: Ops, format: Lanes, x: V, limit: number): V =>
  o.vector(format.less, [o.vector(format.abs, [x]), format.constants(o, limit)]);
/** Neither denormal nor NaN. */
const usual = (o: Ops, format: Lanes, x: V): V => or(o, magnitudeAtLeast(o, format, x, format.smallest), isZero(o, format, x));
const finite = (o: Ops, format: Lanes, x: V): V => magnitudeBelow(o, format, x, format.infinity);

/** Whether the lanes in `lanesNeeded` are all ones. */
const everyLane = (o: Ops, format: Lanes, masks: V, lanesNeeded: number): V =>
  o.eq(o.and(o.vector(format.bitmask, [masks], 32), o.const(32, lanesNeeded)), o.const(32, lanesNeeded));
/** Whether MXCSR, of which `bits` matter, leaves nothing to do but rounding to nearest. */
const roundsEasily = (o: Ops, bits: number): V =>
  o.eq(o.and(o.state(MXCSR, 32), o.const(32, bits & MXCSR_MODE)), o.const(32, bits & MXCSR_EASY));

/** All ones in the lanes whose result is exact but for PE. */
function fits(o: Ops, format: Lanes, name: Arithmetic, a: V, b: V, result: V): V {
  switch (name) {
    case 'min': case 'max': return and(o, usual(o, format, a), usual(o, format, b));
    case 'sqrt': return and(o, usual(o, format, b), finite(o, format, result));
    // Sums in the range of denormals are exact, so the edge of that range needs no care.
    case 'add': case 'sub':
      return and(o, and(o, usual(o, format, a), usual(o, format, b)), and(o, usual(o, format, result), finite(o, format, result)));
    default: {
      const zeroFactor = name === 'mul' ? or(o, isZero(o, format, a), isZero(o, format, b)) : isZero(o, format, a);
      return and(o, and(o, usual(o, format, a), usual(o, format, b)), safe(o, format, result, zeroFactor));
    }
  }
}

/** Finite and away from the smallest normal number, to which a tiny result may round up; zero only from zeros. */
const safe = (o: Ops, format: Lanes, result: V, fromZero: V): V =>
  and(o, or(o, magnitudeAtLeast(o, format, result, format.safe), and(o, isZero(o, format, result), fromZero)), finite(o, format, result));

/** Calls a helper with the address of the source, of which `operand` is the value. */
function helperOnSource(o: Ops, helper: string, numbers: readonly number[], destination: V, operand: V): void {
  if (o.isMemory(1)) o.setState(XSCRATCH, operand);
  const address = o.isMemory(1) ? o.const(32, XSCRATCH) : o.slotAddress('E');
  o.instruction(helper, [...numbers.map(value => o.const(32, value)), destination, address]);
}

/** COMISx and UCOMISx (`quiet`); they differ for NaNs only. */
export const compareOrdered = (wide: boolean, quiet: boolean): Definition => o => {
  const format = wide ? DOUBLES : SINGLES;
  const operand = o.src(1);
  const b = o.zeroExtend(operand, 128);
  const a = o.zeroExtend(o.slot('G', format.width), 128);
  const lane = (code: number): V => o.truncate1(o.and(o.vector(format.bitmask, [o.vector(code, [a, b])], 32), o.const(32, 1)));
  o.when(everyLane(o, format, and(o, usual(o, format, a), usual(o, format, b)), 1),
    () => setZeroAndCarry(o, lane(format.equal), lane(format.less)),
    () => helperOnSource(o, 'sseComis', [wide ? 1 : 0, quiet ? 1 : 0], o.slotAddress('G'), operand));
};

/** CVTSS2SD and CVTPS2PD: exact but for denormals and NaNs. `operation` is the number that `sseConvert` knows. */
export const widenSingles = (scalar: boolean, operation: number): Definition => o => {
  const operand = o.src(1);
  const b = o.zeroExtend(operand, 128);
  o.when(everyLane(o, SINGLES, usual(o, SINGLES, b), scalar ? 1 : 3), () => {
    const result = o.vector(v.f64x2PromoteLowF32x4, [b]);
    if (scalar) o.setPart('G', 0, o.truncate(result, 64));
    else o.setSlot('G', result);
  }, () => helperOnSource(o, 'sseConvert', [operation], o.slotAddress('G'), operand));
};

/** CVTSD2SS. */
export const narrowDouble: Definition = o => {
  const operand = o.src(1);
  const b = o.zeroExtend(operand, 128);
  const result = o.vector(v.f32x4DemoteF64x2Zero, [b]);
  const fitting = o.and(everyLane(o, DOUBLES, usual(o, DOUBLES, b), 1),
    everyLane(o, SINGLES, safe(o, SINGLES, result, isZero(o, DOUBLES, b)), 1));
  o.when(o.and(fitting, roundsEasily(o, -1)), () => o.setPart('G', 0, o.truncate(result, 32)),
    () => helperOnSource(o, 'sseConvert', [3], o.slotAddress('G'), operand));
};

/** High half of the double 2^31. */
const TWO_31 = 0x41e00000;
/** PM and PE: truncation asks nothing else of MXCSR. */
const PRECISION = 0x1020;

/** CVTTSD2SI into a 32-bit register; CVTTSS2SI with its operand widened. `operation` is the number that `sseConvert` knows. */
export const truncateToInteger = (wide: boolean, operation: number): Definition => o => {
  const operand = o.src(1);
  const loaded = o.zeroExtend(operand, 128);
  const b = wide ? loaded : o.vector(v.f64x2PromoteLowF32x4, [loaded]);
  o.when(o.and(everyLane(o, DOUBLES, magnitudeBelow(o, DOUBLES, b, TWO_31), 1), roundsEasily(o, PRECISION)),
    () => o.write(0, o.truncate(o.vector(v.i32x4TruncSatF64x2SZero, [b]), 32)),
    () => {
      helperOnSource(o, 'sseConvert', [operation], o.const(32, 0), operand);
      o.write(0, o.state(ARGUMENTS, 32));
    });
};
