/** SSE floating point: the helpers of core/cpu/assembly/sse-*.ts work on the bytes of registers and memory operands. */
import type { Definition, Ops } from '../ops.ts';
import type { V } from '../ir.ts';
import type { RowSpec } from '../rows.ts';
import { row } from '../rows.ts';
import { arithmetic, compareOrdered, narrowDouble, truncateToInteger, widenSingles } from '../floats.ts';
import { v } from '../../wasm/opcodes.ts';
import { byAddress, byteImmediate, enterMmx, sourceAddress } from '../vectors.ts';
import { ARGUMENTS } from '../../cpu/layout.ts';

/** Kinds of the helpers, with prefix, suffix, operand letter and feature of SSE and SSE2 arithmetic. */
const KINDS = [
  { kind: 2, prefix: 'NP', suffix: 'PS', width: 'dq', feature: 'sse' },
  { kind: 3, prefix: '66', suffix: 'PD', width: 'dq', feature: 'sse2' },
  { kind: 0, prefix: 'F3', suffix: 'SS', width: 'd', feature: 'sse' },
  { kind: 1, prefix: 'F2', suffix: 'SD', width: 'q', feature: 'sse2' },
] as const;
const [PS, PD, SS, SD] = KINDS;

const number = (o: Ops, value: number): V => o.const(32, value);

// ---- arithmetic ---------------------------------------------------------------------------------------------------------------

/** Opcode, name, operation number of `ssePacked`. */
const operations = [
  ['58', 'add', 0], ['59', 'mul', 1], ['5C', 'sub', 2], ['5D', 'min', 3], ['5E', 'div', 4], ['5F', 'max', 5], ['51', 'sqrt', 6],
] as const;
const reciprocals = [['53', 'RCP', 0], ['52', 'RSQRT', 1]] as const;
const horizontals = [['7C', 'HADD', 0], ['7D', 'HSUB', 1], ['D0', 'ADDSUB', 2]] as const;
const orders = [['2E', 'UCOMI', 1], ['2F', 'COMI', 0]] as const;
const rounds = [['08', PS], ['09', PD], ['0A', SS], ['0B', SD]] as const;
const dots = [['40', 'DPPS', 2], ['41', 'DPPD', 3]] as const;

const withNumbers = (helper: string, ...values: readonly number[]): Definition =>
  byAddress(helper, o => values.map(value => number(o, value)));
/** Predicates EQ to ORD are bits 2:0 of the immediate. */
const compare = (kind: number): Definition => byAddress('sseCompare', o => [o.and(o.immediate(32), number(o, 7)), number(o, kind)]);
const withControl = (helper: string, kind: number): Definition => byAddress(helper, o => [number(o, kind), byteImmediate(o)]);

// ---- conversions --------------------------------------------------------------------------------------------------------------

const convert = (operation: number): Definition => withNumbers('sseConvert', operation);
/** CVTDQ2PD, and CVTSI2SD from 32 bits: every 32-bit integer is a double, whatever MXCSR says. */
const doubles = (o: Ops, integers: V): V => o.vector(v.f64x2ConvertLowI32x4S, [o.zeroExtend(integers, 128)]);
const integerToDouble: Definition = o => {
  if (o.width(1) === 64) convert(19)(o);
  else o.setPart('G', 0, o.truncate(doubles(o, o.src(1)), 64));
};

/**
 * Conversions from and to MMX registers enter MMX mode once the operand is loaded, before their own exceptions; CVTPI2PD from memory does
 * not.
 */
const CVTPI2PD = 11;
const convertMmx = (operation: number): Definition => o => {
  const address = sourceAddress(o, 1);
  if (!o.isMemory(1) || operation !== CVTPI2PD) enterMmx(o);
  o.instruction('sseConvert', [number(o, operation), o.slotAddress('G'), address]);
};
const convertToMmx = (operation: number): Definition => o => {
  convertMmx(operation)(o);
  o.setPart('G', 8, o.const(16, 0xffff));
};
/** `operation` is for 32-bit integers, the next one for 64 bits. */
const convertFromGeneral = (operation: number): Definition => o => convert(operation + (o.width(1) === 64 ? 1 : 0))(o);
const convertToGeneral = (operation: number): Definition => o => {
  const address = sourceAddress(o, 1);
  o.instruction('sseConvert', [number(o, operation + (o.width(0) === 64 ? 1 : 0)), number(o, 0), address]);
  o.write(0, o.state(ARGUMENTS, o.width(0)));
};

const truncate = (wide: boolean, operation: number): Definition => o =>
  (o.width(0) === 64 ? convertToGeneral(operation) : truncateToInteger(wide, operation))(o);

const conversions: readonly (readonly [string, string, string, number])[] = [
  ['66 0F 5A', 'CVTPD2PS', 'Vdq,Wdq', 1], ['NP 0F 5B', 'CVTDQ2PS', 'Vdq,Wdq', 4], ['66 0F 5B', 'CVTPS2DQ', 'Vdq,Wdq', 5],
  ['F3 0F 5B', 'CVTTPS2DQ', 'Vdq,Wdq', 6],
  ['F2 0F E6', 'CVTPD2DQ', 'Vdq,Wdq', 8], ['66 0F E6', 'CVTTPD2DQ', 'Vdq,Wdq', 9],
];

const sse = { feature: 'sse' };
const sse2 = { feature: 'sse2' };
const sse3 = { feature: 'sse3' };
const sse41 = { feature: 'sse4.1' };

export const sseFloatRows: readonly RowSpec[] = [
  ...operations.flatMap(([opcode, name, operation]) => KINDS.map(({ kind, prefix, suffix, width, feature }) =>
    row(`${prefix} 0F ${opcode}`, `${name.toUpperCase()}${suffix}`, `V${width},W${width}`, 'sse', arithmetic(name, operation, kind),
      { feature }))),
  ...reciprocals.flatMap(([opcode, name, operation]) => [PS, SS].map(({ kind, prefix, suffix, width }) =>
    row(`${prefix} 0F ${opcode}`, `${name}${suffix}`, `V${width},W${width}`, 'sse', withNumbers('sseReciprocal', operation, kind), sse))),
  ...KINDS.map(({ kind, prefix, suffix, width, feature }) =>
    row(`${prefix} 0F C2`, `CMP${suffix}`, `V${width},W${width},Ib`, 'sse', compare(kind), { feature })),
  ...orders.flatMap(([opcode, name, quiet]) => [
    row(`NP 0F ${opcode}`, `${name}SS`, 'Vd,Wd', 'sse', compareOrdered(false, quiet === 1), sse),
    row(`66 0F ${opcode}`, `${name}SD`, 'Vq,Wq', 'sse', compareOrdered(true, quiet === 1), sse2),
  ]),
  ...horizontals.flatMap(([opcode, name, operation]) => [
    row(`66 0F ${opcode}`, `${name}PD`, 'Vdq,Wdq', 'sse', withNumbers('sseHorizontal', operation, 3), sse3),
    row(`F2 0F ${opcode}`, `${name}PS`, 'Vdq,Wdq', 'sse', withNumbers('sseHorizontal', operation, 2), sse3),
  ]),
  ...rounds.map(([opcode, { kind, suffix, width }]) =>
    row(`66 0F 3A ${opcode}`, `ROUND${suffix}`, `V${width},W${width},Ib`, 'sse', withControl('sseRound', kind), sse41)),
  ...dots.map(([opcode, name, kind]) => row(`66 0F 3A ${opcode}`, name, 'Vdq,Wdq,Ib', 'sse', withControl('sseDot', kind), sse41)),

  ...conversions.map(([opcode, name, operands, operation]) =>
    row(opcode, name, operands, 'sse', convert(operation), sse2)),
  row('NP 0F 5A', 'CVTPS2PD', 'Vdq,Wq', 'sse', widenSingles(false, 0), sse2),
  row('F3 0F 5A', 'CVTSS2SD', 'Vq,Wd', 'sse', widenSingles(true, 2), sse2),
  row('F2 0F 5A', 'CVTSD2SS', 'Vd,Wq', 'sse', narrowDouble, sse2),
  row('F3 0F E6', 'CVTDQ2PD', 'Vdq,Wq', 'sse', o => o.setSlot('G', doubles(o, o.src(1))), sse2),
  row('NP 0F 2A', 'CVTPI2PS', 'Vq,Qq', 'mmx sse', convertMmx(10), sse),
  row('66 0F 2A', 'CVTPI2PD', 'Vdq,Nq', 'mmx sse reg', convertMmx(11), sse2),
  row('66 0F 2A', 'CVTPI2PD', 'Vdq,Mq', 'sse mem', convertMmx(11), sse2),
  row('NP 0F 2D', 'CVTPS2PI', 'Pq,Wq', 'mmx sse', convertToMmx(12), sse),
  row('NP 0F 2C', 'CVTTPS2PI', 'Pq,Wq', 'mmx sse', convertToMmx(13), sse),
  row('66 0F 2D', 'CVTPD2PI', 'Pq,Wdq', 'mmx sse', convertToMmx(14), sse2),
  row('66 0F 2C', 'CVTTPD2PI', 'Pq,Wdq', 'mmx sse', convertToMmx(15), sse2),
  row('F3 0F 2A', 'CVTSI2SS', 'Vd,Ey', 'sse', convertFromGeneral(16), sse),
  row('F2 0F 2A', 'CVTSI2SD', 'Vq,Ey', 'sse', integerToDouble, sse2),
  row('F3 0F 2D', 'CVTSS2SI', 'Gy,Wd', 'sse', convertToGeneral(20), sse),
  row('F3 0F 2C', 'CVTTSS2SI', 'Gy,Wd', 'sse', truncate(false, 22), sse),
  row('F2 0F 2D', 'CVTSD2SI', 'Gy,Wq', 'sse', convertToGeneral(24), sse2),
  row('F2 0F 2C', 'CVTTSD2SI', 'Gy,Wq', 'sse', truncate(true, 26), sse2),
];
