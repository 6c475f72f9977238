/** Packing, unpacking, shuffling, inserting, extracting and widening of lanes (SDM 1, 9.4.4 to 9.4.6, 11.4.1.3, 12.10). */
import type { Definition, Ops } from '../ops.ts';
import type { V } from '../ir.ts';
import type { RowSpec } from '../rows.ts';
import { row } from '../rows.ts';
import { v } from '../../wasm/opcodes.ts';
import {
  bitselect, byteImmediate, bytes, enterMmx, high, identity, interleave, join, lane, lanes, low, mmJoined, setMmx, shuffle, source, splat,
  swizzle, xmm,
} from '../vectors.ts';

// ---- packing and unpacking ----------------------------------------------------------------------------------------------------

const packs: readonly (readonly [string, string, number])[] = [
  ['63', 'PACKSSWB', v.i8x16NarrowS], ['67', 'PACKUSWB', v.i8x16NarrowU], ['6B', 'PACKSSDW', v.i16x8NarrowS],
];
const unpacks: readonly (readonly [string, string, string, 1 | 2 | 4])[] = [
  ['60', '68', 'BW', 1], ['61', '69', 'WD', 2], ['62', '6A', 'DQ', 4],
];

/** PUNPCKL of MMX registers reads 32 bits of memory; the rest of its source does not matter. */
const unpackLowMm = (size: 1 | 2 | 4): Definition => o => {
  const b = o.zeroExtend(o.src(1), 128);
  enterMmx(o);
  setMmx(o, 'G', low(o, shuffle(interleave(size, false))(o, o.zeroExtend(o.slot('G', 64), 128), b)));
};
/** PUNPCKH of MMX registers: the upper half of what interleaving 64-bit values gives. */
const unpackHighMm = (size: 1 | 2 | 4): Definition => o => {
  const b = o.zeroExtend(source(o, 1), 128);
  enterMmx(o);
  setMmx(o, 'G', high(o, shuffle(interleave(size, false))(o, o.zeroExtend(o.slot('G', 64), 128), b)));
};

// ---- shuffles by selectors ----------------------------------------------------------------------------------------------------

/** Byte mask that moves dwords: each word selector 2s, 2s+1 becomes 4s ... 4s+3. */
function dwordMask(o: Ops): V {
  const words = o.vector(v.i64x2Splat, [o.immediate(64)]);
  const first = o.vector(v.shuffle, [words, words], 128, [0, 0, 0, 0, 2, 2, 2, 2, 4, 4, 4, 4, 6, 6, 6, 6]);
  return o.vector(v.i8x16Add, [o.vector(v.i8x16Add, [first, first]), lanes(o, 4, 0x03020100)]);
}

const NOTHING_HIGH = [0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255];
const NOTHING_LOW = [255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0];

const pshufd: Definition = o => {
  const b = source(o, 1);
  o.setSlot('G', swizzle(o, b, dwordMask(o)));
};
const pshuflw: Definition = o => {
  const b = source(o, 1);
  o.setSlot('G', swizzle(o, b, o.vector(v.i64x2Replace, [identity(o), o.immediate(64)], 128, [0])));
};
const pshufhw: Definition = o => {
  const b = source(o, 1);
  const upper = o.add(o.immediate(64), o.const(64, 0x08080808, 0x08080808));
  o.setSlot('G', swizzle(o, b, o.vector(v.i64x2Replace, [identity(o), upper], 128, [1])));
};
const pshufw: Definition = o => {
  const b = o.zeroExtend(source(o, 1), 128);
  enterMmx(o);
  setMmx(o, 'G', low(o, swizzle(o, b, o.vector(v.i64x2Splat, [o.immediate(64)]))));
};
/** Two lanes of the destination, then two of the source. */
const shufps: Definition = o => {
  const b = source(o, 1);
  const mask = dwordMask(o);
  const fromA = swizzle(o, o.slot('G', 128), o.vector(v.or, [mask, bytes(o, NOTHING_HIGH)]));
  const fromB = swizzle(o, b, o.vector(v.or, [mask, bytes(o, NOTHING_LOW)]));
  o.setSlot('G', o.vector(v.or, [fromA, fromB]));
};
const shufpd: Definition = o => {
  const b = source(o, 1);
  const a = o.slot('G', 128);
  const bit = (mask: number): V => o.ne(o.and(o.immediate(32), o.const(32, mask)), o.const(32, 0));
  o.setSlot('G', join(o, o.select(bit(1), high(o, a), low(o, a)), o.select(bit(2), high(o, b), low(o, b))));
};

// ---- inserting and extracting -------------------------------------------------------------------------------------------------

interface LaneKind {
  readonly size: 1 | 2 | 4 | 8;
  readonly splat: number;
  readonly equal: number;
  readonly extract: number;
}
const BYTE: LaneKind = { size: 1, splat: v.i8x16Splat, equal: v.i8x16Eq, extract: v.i8x16ExtractU };
const WORD: LaneKind = { size: 2, splat: v.i16x8Splat, equal: v.i16x8Eq, extract: v.i16x8ExtractU };
const DWORD: LaneKind = { size: 4, splat: v.i32x4Splat, equal: v.i32x4Eq, extract: v.i32x4Extract };
const QWORD: LaneKind = { size: 8, splat: v.i64x2Splat, equal: v.i64x2Eq, extract: v.i64x2Extract };

/** Number of the lane that the immediate names, among `count`. */
const laneNumber = (o: Ops, count: number): V => o.and(o.immediate(32), o.const(32, count - 1));
const numbers = (o: Ops, kind: LaneKind): V => lanes(o, kind.size, Array.from({ length: 16 / kind.size }, (_, i) => i));
const splatLane = (o: Ops, kind: LaneKind, value: V): V => splat(o, kind.splat, kind.size === 8 ? o.zeroExtend(value, 64) : value);

/** `a` with the lane of number `at` replaced. */
function insertLane(o: Ops, kind: LaneKind, a: V, at: V, value: V): V {
  const chosen = o.vector(kind.equal, [splatLane(o, kind, at), numbers(o, kind)]);
  return bitselect(o, splatLane(o, kind, value), a, chosen);
}

/** The lane of number `at`, as 32 bits or 64. */
function extractLane(o: Ops, kind: LaneKind, a: V, at: V): V {
  const mask = o.vector(v.i8x16Add, [identity(o), splat(o, v.i8x16Splat, o.mul(at, o.const(32, kind.size)))]);
  return o.vector(kind.extract, [swizzle(o, a, mask)], kind.size === 8 ? 64 : 32, [0]);
}

const insert = (kind: LaneKind): Definition => o => {
  const value = o.resize(o.src(1), kind.size === 8 ? 64 : 32);
  o.setSlot('G', insertLane(o, kind, o.slot('G', 128), laneNumber(o, 16 / kind.size), value));
};
const extract = (kind: LaneKind, from: 'G' | 'E'): Definition => o =>
  o.write(0, o.resize(extractLane(o, kind, o.slot(from, 128), laneNumber(o, 16 / kind.size)), o.width(0)));
/** PINSRD and PINSRQ, PEXTRD and PEXTRQ: REX.W decides. */
const insertWide: Definition = o => insert(o.width(1) === 64 ? QWORD : DWORD)(o);
const extractWide: Definition = o => extract(o.width(0) === 64 ? QWORD : DWORD, 'G')(o);

const insertWordMm: Definition = o => {
  const value = o.resize(o.src(1), 32);
  enterMmx(o);
  setMmx(o, 'G', low(o, insertLane(o, WORD, o.zeroExtend(o.slot('G', 64), 128), laneNumber(o, 4), value)));
};
const extractWordMm: Definition = o => {
  enterMmx(o);
  o.write(0, o.resize(extractLane(o, WORD, o.zeroExtend(o.slot('E', 64), 128), laneNumber(o, 4)), o.width(0)));
};

/** INSERTPS: source lane in bits 7:6 (registers only), destination lane in 5:4, lanes to clear in 3:0. */
const insertps: Definition = o => {
  const field = (shift: number): V => o.and(o.shrU(byteImmediate(o), o.const(32, shift)), o.const(32, 3));
  const value = o.isMemory(1) ? o.src(1) : extractLane(o, DWORD, o.slot('E', 128), field(6));
  const inserted = insertLane(o, DWORD, o.slot('G', 128), field(4), value);
  const bitsOfLanes = lanes(o, 4, [1, 2, 4, 8]);
  const cleared = o.vector(v.i32x4Eq, [o.vector(v.and, [splat(o, v.i32x4Splat, byteImmediate(o)), bitsOfLanes]), bitsOfLanes]);
  o.setSlot('G', o.vector(v.andnot, [inserted, cleared]));
};

// ---- widening -----------------------------------------------------------------------------------------------------------------

/** Opcode's low digit, name, source letters, steps for signed and unsigned values. */
const widenings: readonly (readonly [string, string, string, readonly number[], readonly number[]])[] = [
  ['0', 'BW', 'Wq', [v.i16x8ExtendLowS], [v.i16x8ExtendLowU]],
  ['1', 'BD', 'Wd', [v.i16x8ExtendLowS, v.i32x4ExtendLowS], [v.i16x8ExtendLowU, v.i32x4ExtendLowU]],
  ['2', 'BQ', 'Ww', [v.i16x8ExtendLowS, v.i32x4ExtendLowS, v.i64x2ExtendLowS], [v.i16x8ExtendLowU, v.i32x4ExtendLowU, v.i64x2ExtendLowU]],
  ['3', 'WD', 'Wq', [v.i32x4ExtendLowS], [v.i32x4ExtendLowU]],
  ['4', 'WQ', 'Wd', [v.i32x4ExtendLowS, v.i64x2ExtendLowS], [v.i32x4ExtendLowU, v.i64x2ExtendLowU]],
  ['5', 'DQ', 'Wq', [v.i64x2ExtendLowS], [v.i64x2ExtendLowU]],
];
const widen = (steps: readonly number[]): Definition => o => {
  const value = o.zeroExtend(o.src(1), 128);
  o.setSlot('G', steps.reduce((result, code) => o.vector(code, [result]), value));
};

const sse = { feature: 'sse' };
const sse2 = { feature: 'sse2' };
const sse41 = { feature: 'sse4.1' };
const mmx = { feature: 'mmx' };

export const sseShuffleRows: readonly RowSpec[] = [
  ...packs.flatMap(([opcode, name, code]) => [
    row(`NP 0F ${opcode}`, name, 'Pq,Qq', 'mmx', mmJoined((o, joined) => o.vector(code, [joined, joined])), mmx),
    row(`66 0F ${opcode}`, name, 'Vdq,Wdq', 'sse', xmm(lane(code)), sse2),
  ]),
  row('66 0F 38 2B', 'PACKUSDW', 'Vdq,Wdq', 'sse', xmm(lane(v.i16x8NarrowU)), sse41),
  ...unpacks.flatMap(([lower, upper, suffix, size]) => [
    row(`NP 0F ${lower}`, `PUNPCKL${suffix}`, 'Pq,Qd', 'mmx', unpackLowMm(size), mmx),
    row(`NP 0F ${upper}`, `PUNPCKH${suffix}`, 'Pq,Qq', 'mmx', unpackHighMm(size), mmx),
    row(`66 0F ${lower}`, `PUNPCKL${suffix}`, 'Vdq,Wdq', 'sse', xmm(shuffle(interleave(size, false))), sse2),
    row(`66 0F ${upper}`, `PUNPCKH${suffix}`, 'Vdq,Wdq', 'sse', xmm(shuffle(interleave(size, true))), sse2),
  ]),
  row('66 0F 6C', 'PUNPCKLQDQ', 'Vdq,Wdq', 'sse', xmm(shuffle(interleave(8, false))), sse2),
  row('66 0F 6D', 'PUNPCKHQDQ', 'Vdq,Wdq', 'sse', xmm(shuffle(interleave(8, true))), sse2),

  row('66 0F 70', 'PSHUFD', 'Vdq,Wdq,Ib', 'sse selectors', pshufd, sse2),
  row('F2 0F 70', 'PSHUFLW', 'Vdq,Wdq,Ib', 'sse selectors', pshuflw, sse2),
  row('F3 0F 70', 'PSHUFHW', 'Vdq,Wdq,Ib', 'sse selectors', pshufhw, sse2),
  row('NP 0F 70', 'PSHUFW', 'Pq,Qq,Ib', 'mmx selectors', pshufw, sse),
  row('NP 0F C6', 'SHUFPS', 'Vdq,Wdq,Ib', 'sse selectors', shufps, sse), row('66 0F C6', 'SHUFPD', 'Vdq,Wdq,Ib', 'sse', shufpd, sse2),

  row('66 0F C4', 'PINSRW', 'Vdq,Ew,Ib', 'sse', insert(WORD), sse2), row('NP 0F C4', 'PINSRW', 'Pq,Ew,Ib', 'mmx', insertWordMm, sse),
  row('66 0F C5', 'PEXTRW', 'Gy,Udq,Ib', 'sse reg', extract(WORD, 'E'), sse2),
  row('NP 0F C5', 'PEXTRW', 'Gy,Nq,Ib', 'mmx reg', extractWordMm, sse),
  row('66 0F 3A 14', 'PEXTRB', 'Ry,Vdq,Ib', 'sse reg', extract(BYTE, 'G'), sse41),
  row('66 0F 3A 14', 'PEXTRB', 'Mb,Vdq,Ib', 'sse mem', extract(BYTE, 'G'), sse41),
  row('66 0F 3A 15', 'PEXTRW', 'Ry,Vdq,Ib', 'sse reg', extract(WORD, 'G'), sse41),
  row('66 0F 3A 15', 'PEXTRW', 'Mw,Vdq,Ib', 'sse mem', extract(WORD, 'G'), sse41),
  row('66 0F 3A 16', 'PEXTRD', 'Ey,Vdq,Ib', 'sse', extractWide, sse41),
  row('66 0F 3A 17', 'EXTRACTPS', 'Ed,Vdq,Ib', 'sse', extract(DWORD, 'G'), sse41),
  row('66 0F 3A 20', 'PINSRB', 'Vdq,Rd,Ib', 'sse reg', insert(BYTE), sse41),
  row('66 0F 3A 20', 'PINSRB', 'Vdq,Mb,Ib', 'sse mem', insert(BYTE), sse41),
  row('66 0F 3A 22', 'PINSRD', 'Vdq,Ey,Ib', 'sse', insertWide, sse41),
  row('66 0F 3A 21', 'INSERTPS', 'Vdq,Udq,Ib', 'sse reg', insertps, sse41),
  row('66 0F 3A 21', 'INSERTPS', 'Vdq,Md,Ib', 'sse mem', insertps, sse41),

  ...widenings.flatMap(([digit, suffix, letters, signed, unsigned]) => [
    row(`66 0F 38 2${digit}`, `PMOVSX${suffix}`, `Vdq,${letters}`, 'sse', widen(signed), sse41),
    row(`66 0F 38 3${digit}`, `PMOVZX${suffix}`, `Vdq,${letters}`, 'sse', widen(unsigned), sse41),
  ]),
];
