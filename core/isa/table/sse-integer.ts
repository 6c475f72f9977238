/** Integer arithmetic, comparison and shifts on MMX and XMM registers (SDM 1, 9.4, 10.5, 11.4.2, 12.6, 12.10). */
import type { Definition, Ops } from '../ops.ts';
import type { V } from '../ir.ts';
import type { RowSpec } from '../rows.ts';
import { row } from '../rows.ts';
import { v } from '../../wasm/opcodes.ts';
import { STATE, XMM } from '../../cpu/layout.ts';
import type { Lanes } from '../vectors.ts';
import {
  and, bitselect, byAddress, byteImmediate, enterMmx, everySecond, identity, join, lane, lanes, low, mm, mmJoined, setMmx,
  setZeroAndCarry, shuffle,
  source, splat, swizzle, vectorSource, xmm, xor, zero,
} from '../vectors.ts';

// ---- arithmetic ---------------------------------------------------------------------------------------------------------------

const HIGH_WORDS = everySecond(2, 1);
const EVEN_DWORDS = [0, 1, 2, 3, 8, 9, 10, 11, 0, 1, 2, 3, 8, 9, 10, 11];

/** High halves of the 32-bit products of words. */
const multiplyHigh = (lowProducts: number, highProducts: number): Lanes => (o, a, b) =>
  shuffle(HIGH_WORDS)(o, o.vector(lowProducts, [a, b]), o.vector(highProducts, [a, b]));
/** 64-bit products of the even dwords. */
const multiplyEven = (code: number): Lanes => (o, a, b) => o.vector(code, [shuffle(EVEN_DWORDS)(o, a, a), shuffle(EVEN_DWORDS)(o, b, b)]);

/** PSADBW: sum of absolute differences of the bytes of each half. */
const sumOfDifferences: Lanes = (o, a, b) => {
  const difference = o.vector(v.i8x16Sub, [o.vector(v.i8x16MaxU, [a, b]), o.vector(v.i8x16MinU, [a, b])]);
  const sums = o.vector(v.i32x4ExtaddU, [o.vector(v.i16x8ExtaddU, [difference])]);
  const whole = o.vector(v.i32x4Add, [sums, o.vector(v.i64x2ShrU, [sums, o.const(32, 32)])]);
  return and(o, whole, lanes(o, 8, 0xffff));
};

/** PMULHRSW: as the host's saturating product but for -1 times -1, which wraps. */
const multiplyRounded: Lanes = (o, a, b) => {
  const minimum = lanes(o, 2, 0x8000);
  const both = and(o, o.vector(v.i16x8Eq, [a, minimum]), o.vector(v.i16x8Eq, [b, minimum]));
  return xor(o, o.vector(v.i16x8Q15MulrSatS, [a, b]), both);
};

/** PMADDUBSW: unsigned bytes of the destination times signed ones of the source, neighbours added with saturation. */
const multiplyAddBytes: Lanes = (o, a, b) => {
  const lower = o.vector(v.i16x8Mul, [o.vector(v.i16x8ExtendLowU, [a]), o.vector(v.i16x8ExtendLowS, [b])]);
  const upper = o.vector(v.i16x8Mul, [o.vector(v.i16x8ExtendHighU, [a]), o.vector(v.i16x8ExtendHighS, [b])]);
  return pairwise(2, v.i16x8AddSatS)(o, lower, upper);
};

/** Neighbouring lanes of both operands combined: PHADDx, PHSUBx. */
const pairwise = (size: 2 | 4, code: number): Lanes => (o, a, b) =>
  o.vector(code, [shuffle(everySecond(size, 0))(o, a, b), shuffle(everySecond(size, 1))(o, a, b)]);

/** PSIGNx: negated where the source is negative, zero where it is zero. */
const sign = (size: 1 | 2 | 4, shift: number, subtract: number, equal: number): Lanes => (o, a, b) => {
  const negative = o.vector(shift, [b, o.const(32, size * 8 - 1)]);
  const turned = o.vector(subtract, [xor(o, a, negative), negative]);
  return o.vector(v.andnot, [turned, o.vector(equal, [b, zero(o)])]);
};

/** An operation on the source alone. */
const ofSource = (f: (o: Ops, b: V) => V): Lanes => (o, _a, b) => f(o, b);
const absolute = (code: number): Lanes => ofSource((o, b) => o.vector(code, [b]));

/** PHMINPOSUW: the smallest word and its index. */
const minimumPosition: Lanes = ofSource((o, b) => {
  let least = b;
  for (const distance of [8, 4, 2]) {
    least = o.vector(v.i16x8MinU, [least, shuffle(Array.from({ length: 16 }, (_, i) => i ^ distance))(o, least, least)]);
  }
  const index = o.unary('ctz', o.vector(v.i16x8Bitmask, [o.vector(v.i16x8Eq, [b, least])], 32));
  const value = o.vector(v.i16x8ExtractU, [least], 32, [0]);
  return o.zeroExtend(o.or(value, o.shl(index, o.const(32, 16))), 128);
});

/** MMX and SSE2 alike: opcode, name, meaning, feature of the MMX form. */
const both: readonly (readonly [string, string, Lanes, string?])[] = [
  ['FC', 'PADDB', lane(v.i8x16Add)], ['FD', 'PADDW', lane(v.i16x8Add)], ['FE', 'PADDD', lane(v.i32x4Add)],
  ['D4', 'PADDQ', lane(v.i64x2Add), 'sse2'],
  ['EC', 'PADDSB', lane(v.i8x16AddSatS)], ['ED', 'PADDSW', lane(v.i16x8AddSatS)], ['DC', 'PADDUSB', lane(v.i8x16AddSatU)],
  ['DD', 'PADDUSW', lane(v.i16x8AddSatU)],
  ['F8', 'PSUBB', lane(v.i8x16Sub)], ['F9', 'PSUBW', lane(v.i16x8Sub)], ['FA', 'PSUBD', lane(v.i32x4Sub)],
  ['FB', 'PSUBQ', lane(v.i64x2Sub), 'sse2'],
  ['E8', 'PSUBSB', lane(v.i8x16SubSatS)], ['E9', 'PSUBSW', lane(v.i16x8SubSatS)], ['D8', 'PSUBUSB', lane(v.i8x16SubSatU)],
  ['D9', 'PSUBUSW', lane(v.i16x8SubSatU)],
  ['E0', 'PAVGB', lane(v.i8x16AvgU), 'sse'], ['E3', 'PAVGW', lane(v.i16x8AvgU), 'sse'],
  ['DA', 'PMINUB', lane(v.i8x16MinU), 'sse'], ['DE', 'PMAXUB', lane(v.i8x16MaxU), 'sse'], ['EA', 'PMINSW', lane(v.i16x8MinS), 'sse'],
  ['EE', 'PMAXSW', lane(v.i16x8MaxS), 'sse'],
  ['D5', 'PMULLW', lane(v.i16x8Mul)], ['E5', 'PMULHW', multiplyHigh(v.i32x4ExtmulLowS, v.i32x4ExtmulHighS)],
  ['E4', 'PMULHUW', multiplyHigh(v.i32x4ExtmulLowU, v.i32x4ExtmulHighU), 'sse'], ['F5', 'PMADDWD', lane(v.i32x4DotI16x8S)],
  ['F4', 'PMULUDQ', multiplyEven(v.i64x2ExtmulLowU), 'sse2'], ['F6', 'PSADBW', sumOfDifferences, 'sse'],
  ['74', 'PCMPEQB', lane(v.i8x16Eq)], ['75', 'PCMPEQW', lane(v.i16x8Eq)], ['76', 'PCMPEQD', lane(v.i32x4Eq)],
  ['64', 'PCMPGTB', lane(v.i8x16GtS)], ['65', 'PCMPGTW', lane(v.i16x8GtS)], ['66', 'PCMPGTD', lane(v.i32x4GtS)],
  ['38 04', 'PMADDUBSW', multiplyAddBytes, 'ssse3'], ['38 0B', 'PMULHRSW', multiplyRounded, 'ssse3'],
  ['38 08', 'PSIGNB', sign(1, v.i8x16ShrS, v.i8x16Sub, v.i8x16Eq), 'ssse3'],
  ['38 09', 'PSIGNW', sign(2, v.i16x8ShrS, v.i16x8Sub, v.i16x8Eq), 'ssse3'],
  ['38 0A', 'PSIGND', sign(4, v.i32x4ShrS, v.i32x4Sub, v.i32x4Eq), 'ssse3'],
  ['38 1C', 'PABSB', absolute(v.i8x16Abs), 'ssse3'], ['38 1D', 'PABSW', absolute(v.i16x8Abs), 'ssse3'],
  ['38 1E', 'PABSD', absolute(v.i32x4Abs), 'ssse3'],
];

/** Pairs of neighbours: the MMX form works on both registers joined. */
const horizontal: readonly (readonly [string, string, Lanes])[] = [
  ['01', 'PHADDW', pairwise(2, v.i16x8Add)], ['02', 'PHADDD', pairwise(4, v.i32x4Add)], ['03', 'PHADDSW', pairwise(2, v.i16x8AddSatS)],
  ['05', 'PHSUBW', pairwise(2, v.i16x8Sub)], ['06', 'PHSUBD', pairwise(4, v.i32x4Sub)], ['07', 'PHSUBSW', pairwise(2, v.i16x8SubSatS)],
];

/** XMM registers only, 66 0F 38. */
const sse4: readonly (readonly [string, string, Lanes])[] = [
  ['28', 'PMULDQ', multiplyEven(v.i64x2ExtmulLowS)], ['29', 'PCMPEQQ', lane(v.i64x2Eq)], ['40', 'PMULLD', lane(v.i32x4Mul)],
  ['41', 'PHMINPOSUW', minimumPosition],
  ['38', 'PMINSB', lane(v.i8x16MinS)], ['39', 'PMINSD', lane(v.i32x4MinS)], ['3A', 'PMINUW', lane(v.i16x8MinU)],
  ['3B', 'PMINUD', lane(v.i32x4MinU)],
  ['3C', 'PMAXSB', lane(v.i8x16MaxS)], ['3D', 'PMAXSD', lane(v.i32x4MaxS)], ['3E', 'PMAXUW', lane(v.i16x8MaxU)],
  ['3F', 'PMAXUD', lane(v.i32x4MaxU)],
];

// ---- shifts -------------------------------------------------------------------------------------------------------------------

interface Shift {
  readonly code: number;
  readonly bits: 16 | 32 | 64;
  /** Arithmetic shifts fill with the sign for counts that are too large, logical ones give zero. */
  readonly arithmetic: boolean;
}

/** Shifts every lane by a 64-bit count. */
function shiftLanes(o: Ops, shift: Shift, a: V, count: V): V {
  const fits = o.ltU(count, o.const(64, shift.bits));
  if (shift.arithmetic) return o.vector(shift.code, [a, o.truncate(o.select(fits, count, o.const(64, shift.bits - 1)), 32)]);
  return o.select(fits, o.vector(shift.code, [a, o.truncate(count, 32)]), zero(o));
}

const shiftXmm = (shift: Shift): Definition => o => {
  const count = low(o, source(o, 1));
  o.setSlot('G', shiftLanes(o, shift, o.slot('G', 128), count));
};
const shiftMm = (shift: Shift): Definition => o => {
  const count = source(o, 1);
  enterMmx(o);
  setMmx(o, 'G', low(o, shiftLanes(o, shift, o.zeroExtend(o.slot('G', 64), 128), count)));
};
const shiftXmmImmediate = (shift: Shift): Definition => o =>
  o.setSlot('E', shiftLanes(o, shift, o.slot('E', 128), o.zeroExtend(byteImmediate(o), 64)));
const shiftMmImmediate = (shift: Shift): Definition => o => {
  enterMmx(o);
  setMmx(o, 'E', low(o, shiftLanes(o, shift, o.zeroExtend(o.slot('E', 64), 128), o.zeroExtend(byteImmediate(o), 64))));
};

/** Opcode with a count in a register, opcode and digit with an immediate. */
const shifts: readonly (readonly [string, string, string, Shift])[] = [
  ['F1', '71 /6', 'PSLLW', { code: v.i16x8Shl, bits: 16, arithmetic: false }],
  ['F2', '72 /6', 'PSLLD', { code: v.i32x4Shl, bits: 32, arithmetic: false }],
  ['F3', '73 /6', 'PSLLQ', { code: v.i64x2Shl, bits: 64, arithmetic: false }],
  ['D1', '71 /2', 'PSRLW', { code: v.i16x8ShrU, bits: 16, arithmetic: false }],
  ['D2', '72 /2', 'PSRLD', { code: v.i32x4ShrU, bits: 32, arithmetic: false }],
  ['D3', '73 /2', 'PSRLQ', { code: v.i64x2ShrU, bits: 64, arithmetic: false }],
  ['E1', '71 /4', 'PSRAW', { code: v.i16x8ShrS, bits: 16, arithmetic: true }],
  ['E2', '72 /4', 'PSRAD', { code: v.i32x4ShrS, bits: 32, arithmetic: true }],
];

/** PSRLDQ: indexes beyond the register select zero. */
const shiftBytesRight: Definition = o =>
  o.setSlot('E', swizzle(o, o.slot('E', 128), o.vector(v.i8x16AddSatU, [identity(o), splat(o, v.i8x16Splat, byteImmediate(o))])));
/** PSLLDQ: negative indexes are large ones. */
const shiftBytesLeft: Definition = o => {
  const count = byteImmediate(o);
  const limited = o.select(o.ltU(count, o.const(32, 16)), count, o.const(32, 16));
  o.setSlot('E', swizzle(o, o.slot('E', 128), o.vector(v.i8x16Sub, [identity(o), splat(o, v.i8x16Splat, limited)])));
};

/** PALIGNR of XMM registers: bytes of destination:source from the immediate on. */
const alignXmm: Definition = o => {
  const b = source(o, 1);
  const a = o.slot('G', 128);
  const count = byteImmediate(o);
  const fromSource = swizzle(o, b, o.vector(v.i8x16AddSatU, [identity(o), splat(o, v.i8x16Splat, count)]));
  const fromDestination = swizzle(o, a, o.vector(v.i8x16Add, [identity(o), splat(o, v.i8x16Splat, o.sub(count, o.const(32, 16)))]));
  o.setSlot('G', o.vector(v.or, [fromSource, fromDestination]));
};
const alignMm: Definition = o => {
  const b = source(o, 1);
  enterMmx(o);
  const mask = o.vector(v.i8x16AddSatU, [identity(o), splat(o, v.i8x16Splat, byteImmediate(o))]);
  setMmx(o, 'G', low(o, swizzle(o, join(o, b, o.slot('G', 64)), mask)));
};

// ---- tests and masks ----------------------------------------------------------------------------------------------------------

const ptest: Definition = o => {
  const b = vectorSource(o, 1);
  const a = o.slot('G', 128);
  const none = (value: V): V => o.isZero(o.vector(v.anyTrue, [value], 32));
  setZeroAndCarry(o, none(and(o, a, b)), none(o.vector(v.andnot, [b, a])));
};

const moveMask = (width: 64 | 128): Definition => o => {
  if (width === 64) enterMmx(o);
  const mask = o.vector(v.i8x16Bitmask, [o.zeroExtend(o.slot('E', width), 128)], 32);
  o.write(0, o.resize(mask, o.width(0)));
};

/** MASKMOVDQU and MASKMOVQ: bytes of the first register whose mask byte is negative go to DS:rDI. */
const maskedMove = (size: 8 | 16): Definition => o => {
  const linear = o.linear('segment', o.wrapAddress(o.reg(7, 64)), size, true);
  o.instruction('storeMasked', [linear, o.slotAddress('G'), o.slotAddress('E'), o.const(32, size)]);
  if (size === 8) enterMmx(o);
};

/** PSHUFB: an index with its top bit set gives zero; other bits above the index are ignored. */
const shuffleBytes: Lanes = (o, a, b) => swizzle(o, a, and(o, b, lanes(o, 1, 0x8f)));
const shuffleBytesMm: Lanes = (o, a, b) => swizzle(o, a, and(o, b, lanes(o, 1, 0x87)));

const XMM0 = XMM - STATE;

/** Blends by the top bits of XMM0. */
const blendVariable = (code: number, bits: number): Definition => o => {
  const b = vectorSource(o, 1);
  const mask = o.vector(code, [o.slot(XMM0, 128), o.const(32, bits - 1)]);
  o.setSlot('G', bitselect(o, b, o.slot('G', 128), mask));
};

/** Blends by bits of the immediate. */
const blendImmediate = (size: 2 | 4 | 8, splatCode: number, equal: number): Definition => o => {
  const b = vectorSource(o, 1);
  const masks = lanes(o, size, Array.from({ length: 16 / size }, (_, i) => 1 << i));
  const immediate = size === 8 ? o.zeroExtend(byteImmediate(o), 64) : byteImmediate(o);
  const chosen = o.vector(equal, [and(o, o.vector(splatCode, [immediate]), masks), masks]);
  o.setSlot('G', bitselect(o, b, o.slot('G', 128), chosen));
};

const sse41 = { feature: 'sse4.1' };

export const sseIntegerRows: readonly RowSpec[] = [
  ...both.flatMap(([opcode, name, f, feature]) => [
    row(`NP 0F ${opcode}`, name, 'Pq,Qq', 'mmx', mm(f), { feature: feature ?? 'mmx' }),
    row(`66 0F ${opcode}`, name, 'Vdq,Wdq', 'sse', xmm(f), { feature: feature === 'ssse3' ? 'ssse3' : 'sse2' }),
  ]),
  ...horizontal.flatMap(([opcode, name, f]) => [
    row(`NP 0F 38 ${opcode}`, name, 'Pq,Qq', 'mmx', mmJoined((o, joined) => f(o, joined, joined)), { feature: 'ssse3' }),
    row(`66 0F 38 ${opcode}`, name, 'Vdq,Wdq', 'sse', xmm(f), { feature: 'ssse3' }),
  ]),
  ...sse4.map(([opcode, name, f]) => row(`66 0F 38 ${opcode}`, name, 'Vdq,Wdq', 'sse', xmm(f), sse41)),
  row('66 0F 38 37', 'PCMPGTQ', 'Vdq,Wdq', 'sse', xmm(lane(v.i64x2GtS)), { feature: 'sse4.2' }),

  ...shifts.flatMap(([opcode, immediate, name, shift]) => [
    row(`NP 0F ${opcode}`, name, 'Pq,Qq', 'mmx', shiftMm(shift), { feature: 'mmx' }),
    row(`66 0F ${opcode}`, name, 'Vdq,Wdq', 'sse', shiftXmm(shift), { feature: 'sse2' }),
    row(`NP 0F ${immediate}`, name, 'Nq,Ib', 'mmx reg', shiftMmImmediate(shift), { feature: 'mmx' }),
    row(`66 0F ${immediate}`, name, 'Udq,Ib', 'sse reg', shiftXmmImmediate(shift), { feature: 'sse2' }),
  ]),
  row('66 0F 73 /3', 'PSRLDQ', 'Udq,Ib', 'sse reg', shiftBytesRight, { feature: 'sse2' }),
  row('66 0F 73 /7', 'PSLLDQ', 'Udq,Ib', 'sse reg', shiftBytesLeft, { feature: 'sse2' }),
  row('66 0F 3A 0F', 'PALIGNR', 'Vdq,Wdq,Ib', 'sse', alignXmm, { feature: 'ssse3' }),
  row('NP 0F 3A 0F', 'PALIGNR', 'Pq,Qq,Ib', 'mmx', alignMm, { feature: 'ssse3' }),
  row('66 0F 38 00', 'PSHUFB', 'Vdq,Wdq', 'sse', xmm(shuffleBytes), { feature: 'ssse3' }),
  row('NP 0F 38 00', 'PSHUFB', 'Pq,Qq', 'mmx', mm(shuffleBytesMm), { feature: 'ssse3' }),

  row('66 0F 38 17', 'PTEST', 'Vdq,Wdq', 'sse', ptest, sse41),
  row('66 0F D7', 'PMOVMSKB', 'Gy,Udq', 'sse reg', moveMask(128), { feature: 'sse2' }),
  row('NP 0F D7', 'PMOVMSKB', 'Gy,Nq', 'mmx reg', moveMask(64), { feature: 'sse' }),
  row('66 0F F7', 'MASKMOVDQU', 'Vdq,Udq', 'sse reg addr', maskedMove(16), { feature: 'sse2' }),
  row('NP 0F F7', 'MASKMOVQ', 'Pq,Nq', 'mmx reg addr', maskedMove(8), { feature: 'sse' }),
  row('66 0F 38 10', 'PBLENDVB', 'Vdq,Wdq', 'sse', blendVariable(v.i8x16ShrS, 8), sse41),
  row('66 0F 38 14', 'BLENDVPS', 'Vdq,Wdq', 'sse', blendVariable(v.i32x4ShrS, 32), sse41),
  row('66 0F 38 15', 'BLENDVPD', 'Vdq,Wdq', 'sse', blendVariable(v.i64x2ShrS, 64), sse41),
  row('66 0F 3A 0C', 'BLENDPS', 'Vdq,Wdq,Ib', 'sse', blendImmediate(4, v.i32x4Splat, v.i32x4Eq), sse41),
  row('66 0F 3A 0D', 'BLENDPD', 'Vdq,Wdq,Ib', 'sse', blendImmediate(8, v.i64x2Splat, v.i64x2Eq), sse41),
  row('66 0F 3A 0E', 'PBLENDW', 'Vdq,Wdq,Ib', 'sse', blendImmediate(2, v.i16x8Splat, v.i16x8Eq), sse41),
  row('66 0F 3A 42', 'MPSADBW', 'Vdq,Wdq,Ib', 'sse', byAddress('mpsadbw', o => [byteImmediate(o)]), sse41),
];
