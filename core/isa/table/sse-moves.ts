/** Moves of the MMX and XMM registers, and the bitwise operations, which are the same for integers and numbers. */
import type { Definition } from '../ops.ts';
import type { RowSpec } from '../rows.ts';
import { row } from '../rows.ts';
import { v } from '../../wasm/opcodes.ts';
import { FTAGS } from '../../cpu/layout.ts';
import {
  alignedLinear, and, enterMmx, interleave, mm, or, resetTop, setMmx, shuffle, source, swapped, lane, xmm, xor,
} from '../vectors.ts';

const moveAligned: Definition = o => o.setSlot('G', source(o, 1));
const moveUnaligned: Definition = o => o.setSlot('G', o.src(1));
const storeAligned: Definition = o => {
  if (o.isMemory(0)) o.store(alignedLinear(o, true), o.slot('G', 128));
  else o.write(0, o.slot('G', 128));
};
const storeUnaligned: Definition = o => o.write(0, o.slot('G', 128));

/** MOVSS and MOVSD: a load clears the rest of the register, a move between registers keeps it. */
const moveScalar: Definition = o => {
  if (o.isMemory(1)) o.setSlot('G', o.zeroExtend(o.src(1), 128));
  else o.setPart('G', 0, o.src(1));
};
const storeScalar: Definition = o => {
  const value = o.slot('G', o.width(0));
  if (o.isMemory(0)) o.write(0, value);
  else o.setPart('E', 0, value);
};
/** Loads a value and clears the rest of the register: MOVD, MOVQ. */
const moveZeroing: Definition = o => o.setSlot('G', o.zeroExtend(o.src(1), 128));
const storeLow: Definition = o => o.write(0, o.slot('G', o.width(0)));
const loadHalf = (at: number): Definition => o => o.setPart('G', at, o.src(1));
const storeHalf = (at: number): Definition => o => o.write(0, o.slotPart('G', at, 64));

const UNPCKL4 = interleave(4, false);
const UNPCKH4 = interleave(4, true);
const UNPCKL8 = interleave(8, false);
const UNPCKH8 = interleave(8, true);
const MOVSLDUP = [0, 1, 2, 3, 0, 1, 2, 3, 8, 9, 10, 11, 8, 9, 10, 11];
const MOVSHDUP = [4, 5, 6, 7, 4, 5, 6, 7, 12, 13, 14, 15, 12, 13, 14, 15];
/** A permutation of the source alone. */
const permuted = (mask: readonly number[]): Definition => o => {
  const value = source(o, 1);
  o.setSlot('G', o.vector(v.shuffle, [value, value], 128, mask));
};
/** MOVMSKPx: the signs of the lanes. */
const signMask = (code: number): Definition => o => o.write(0, o.resize(o.vector(code, [o.slot('E', 128)], 32), o.width(0)));

const sse = { feature: 'sse' };
const sse2 = { feature: 'sse2' };
const sse3 = { feature: 'sse3' };
const mmx = { feature: 'mmx' };

/** PANDN and its like: not destination, and source. */
const andNot = swapped(lane(v.andnot));

const bitwise = [['54', 'AND', and], ['55', 'ANDN', andNot], ['56', 'OR', or], ['57', 'XOR', xor]] as const;
const integerBitwise = [['DB', 'PAND', and], ['DF', 'PANDN', andNot], ['EB', 'POR', or], ['EF', 'PXOR', xor]] as const;

export const sseMoveRows: readonly RowSpec[] = [
  row('NP 0F 10', 'MOVUPS', 'Vdq,Wdq', 'sse', moveUnaligned, sse), row('66 0F 10', 'MOVUPD', 'Vdq,Wdq', 'sse', moveUnaligned, sse2),
  row('F3 0F 10', 'MOVSS', 'Vd,Wd', 'sse', moveScalar, sse), row('F2 0F 10', 'MOVSD', 'Vq,Wq', 'sse', moveScalar, sse2),
  row('NP 0F 11', 'MOVUPS', 'Wdq,Vdq', 'sse', storeUnaligned, sse), row('66 0F 11', 'MOVUPD', 'Wdq,Vdq', 'sse', storeUnaligned, sse2),
  row('F3 0F 11', 'MOVSS', 'Wd,Vd', 'sse', storeScalar, sse), row('F2 0F 11', 'MOVSD', 'Wq,Vq', 'sse', storeScalar, sse2),
  row('NP 0F 12', 'MOVLPS', 'Vq,Mq', 'sse mem', loadHalf(0), sse), row('66 0F 12', 'MOVLPD', 'Vq,Mq', 'sse mem', loadHalf(0), sse2),
  row('NP 0F 12', 'MOVHLPS', 'Vq,Uq', 'sse reg', o => o.setPart('G', 0, o.slotPart('E', 8, 64)), sse),
  row('NP 0F 13', 'MOVLPS', 'Mq,Vq', 'sse mem', storeHalf(0), sse), row('66 0F 13', 'MOVLPD', 'Mq,Vq', 'sse mem', storeHalf(0), sse2),
  row('NP 0F 16', 'MOVHPS', 'Vq,Mq', 'sse mem', loadHalf(8), sse), row('66 0F 16', 'MOVHPD', 'Vq,Mq', 'sse mem', loadHalf(8), sse2),
  row('NP 0F 16', 'MOVLHPS', 'Vq,Uq', 'sse reg', o => o.setPart('G', 8, o.slotPart('E', 0, 64)), sse),
  row('NP 0F 17', 'MOVHPS', 'Mq,Vq', 'sse mem', storeHalf(8), sse), row('66 0F 17', 'MOVHPD', 'Mq,Vq', 'sse mem', storeHalf(8), sse2),
  row('F3 0F 12', 'MOVSLDUP', 'Vdq,Wdq', 'sse', permuted(MOVSLDUP), sse3),
  row('F3 0F 16', 'MOVSHDUP', 'Vdq,Wdq', 'sse', permuted(MOVSHDUP), sse3),
  row('F2 0F 12', 'MOVDDUP', 'Vq,Wq', 'sse', o => o.setSlot('G', o.vector(v.i64x2Splat, [o.src(1)])), sse3),
  row('NP 0F 14', 'UNPCKLPS', 'Vdq,Wdq', 'sse', xmm(shuffle(UNPCKL4)), sse),
  row('66 0F 14', 'UNPCKLPD', 'Vdq,Wdq', 'sse', xmm(shuffle(UNPCKL8)), sse2),
  row('NP 0F 15', 'UNPCKHPS', 'Vdq,Wdq', 'sse', xmm(shuffle(UNPCKH4)), sse),
  row('66 0F 15', 'UNPCKHPD', 'Vdq,Wdq', 'sse', xmm(shuffle(UNPCKH8)), sse2),
  row('NP 0F 28', 'MOVAPS', 'Vdq,Wdq', 'sse', moveAligned, sse), row('66 0F 28', 'MOVAPD', 'Vdq,Wdq', 'sse', moveAligned, sse2),
  row('NP 0F 29', 'MOVAPS', 'Wdq,Vdq', 'sse', storeAligned, sse), row('66 0F 29', 'MOVAPD', 'Wdq,Vdq', 'sse', storeAligned, sse2),
  row('NP 0F 2B', 'MOVNTPS', 'Mdq,Vdq', 'sse mem', storeAligned, sse), row('66 0F 2B', 'MOVNTPD', 'Mdq,Vdq', 'sse mem', storeAligned, sse2),
  row('66 0F 6F', 'MOVDQA', 'Vdq,Wdq', 'sse', moveAligned, sse2), row('F3 0F 6F', 'MOVDQU', 'Vdq,Wdq', 'sse', moveUnaligned, sse2),
  row('66 0F 7F', 'MOVDQA', 'Wdq,Vdq', 'sse', storeAligned, sse2), row('F3 0F 7F', 'MOVDQU', 'Wdq,Vdq', 'sse', storeUnaligned, sse2),
  row('66 0F E7', 'MOVNTDQ', 'Mdq,Vdq', 'sse mem', storeAligned, sse2),
  row('66 0F 38 2A', 'MOVNTDQA', 'Vdq,Mdq', 'sse mem', moveAligned, { feature: 'sse4.1' }),
  row('F2 0F F0', 'LDDQU', 'Vdq,Mdq', 'sse mem', moveUnaligned, sse3),
  row('66 0F 6E', 'MOVD', 'Vdq,Ey', 'sse', moveZeroing, sse2), row('66 0F 7E', 'MOVD', 'Ey,Vdq', 'sse', storeLow, sse2),
  row('F3 0F 7E', 'MOVQ', 'Vdq,Wq', 'sse', moveZeroing, sse2),
  row('66 0F D6', 'MOVQ', 'Wq,Vq', 'sse', o => {
    const value = o.slot('G', 64);
    if (o.isMemory(0)) o.write(0, value);
    else o.setSlot('E', o.zeroExtend(value, 128));
  }, sse2),

  ...bitwise.flatMap(([opcode, name, f]) => [
    row(`NP 0F ${opcode}`, `${name}PS`, 'Vdq,Wdq', 'sse', xmm(f), sse), row(`66 0F ${opcode}`, `${name}PD`, 'Vdq,Wdq', 'sse', xmm(f), sse2),
  ]),
  ...integerBitwise.flatMap(([opcode, name, f]) => [
    row(`NP 0F ${opcode}`, name, 'Pq,Qq', 'mmx', mm(f), mmx), row(`66 0F ${opcode}`, name, 'Vdq,Wdq', 'sse', xmm(f), sse2),
  ]),

  row('NP 0F 6E', 'MOVD', 'Pq,Ey', 'mmx', o => {
    const value = o.zeroExtend(o.src(1), 64);
    enterMmx(o);
    setMmx(o, 'G', value);
  }, mmx),
  row('NP 0F 7E', 'MOVD', 'Ey,Pq', 'mmx', o => {
    resetTop(o);
    storeLow(o);
    enterMmx(o);
  }, mmx),
  row('NP 0F 6F', 'MOVQ', 'Pq,Qq', 'mmx', o => {
    const value = o.src(1);
    enterMmx(o);
    setMmx(o, 'G', value);
  }, mmx),
  row('NP 0F 7F', 'MOVQ', 'Qq,Pq', 'mmx', o => {
    const value = o.slot('G', 64);
    resetTop(o);
    if (o.isMemory(0)) o.write(0, value);
    else setMmx(o, 'E', value);
    enterMmx(o);
  }, mmx),
  row('NP 0F E7', 'MOVNTQ', 'Mq,Pq', 'mmx mem', o => {
    resetTop(o);
    storeLow(o);
    enterMmx(o);
  }, sse),
  row('F3 0F D6', 'MOVQ2DQ', 'Vdq,Nq', 'mmx sse reg', o => {
    enterMmx(o);
    o.setSlot('G', o.zeroExtend(o.slot('E', 64), 128));
  }, sse2),
  row('F2 0F D6', 'MOVDQ2Q', 'Pq,Uq', 'mmx sse reg', o => {
    enterMmx(o);
    setMmx(o, 'G', o.slot('E', 64));
  }, sse2),
  row('NP 0F 77', 'EMMS', '', 'mmx', o => {
    enterMmx(o);
    o.setState(FTAGS, o.const(8, 0));
  }, mmx),
  row('NP 0F 50', 'MOVMSKPS', 'Gy,Udq', 'sse reg', signMask(v.i32x4Bitmask), sse),
  row('66 0F 50', 'MOVMSKPD', 'Gy,Udq', 'sse reg', signMask(v.i64x2Bitmask), sse2),
];
