/**
 * What definitions of vector instructions share: operands of the XMM and MMX registers, constants, and operations that WebAssembly's
 * vectors lack. A 64-bit MMX value is worked on in the low half of a vector.
 */
import type { Definition, Ops } from './ops.ts';
import type { Slot, V } from './ir.ts';
import { v } from '../wasm/opcodes.ts';
import { FSW, FTAGS, F_AUX, F_CX, F_CY, F_RES, XSCRATCH } from '../cpu/layout.ts';

/** A function of vectors: (a, b) → result, `a` being the destination. */
export type Lanes = (o: Ops, a: V, b: V) => V;

// ---- constants ----------------------------------------------------------------------------------------------------------------

const repeat = (count: number, of: (i: number) => readonly number[]): number[] => Array.from({ length: count }, (_, i) => of(i)).flat();
/** Bytes of a 32-bit number, sign-extended. */
const littleEndian = (value: number, count: number): number[] => Array.from({ length: count }, (_, i) => (value >> Math.min(31, 8 * i)) & 0xff);

export const bytes = (o: Ops, values: readonly number[]): V => o.vector(v.const, [], 128, values.map(value => value & 0xff));
/** A vector of equal or given lanes of 1, 2, 4 or 8 bytes. */
export const lanes = (o: Ops, size: 1 | 2 | 4 | 8, value: number | readonly number[]): V =>
  bytes(o, repeat(16 / size, i => littleEndian(typeof value === 'number' ? value : value[i]!, size)));
export const zero = (o: Ops): V => lanes(o, 8, 0);
/** 0, 1, ... 15: the identity of a swizzle. */
export const identity = (o: Ops): V => bytes(o, repeat(16, i => [i]));

// ---- operands -----------------------------------------------------------------------------------------------------------------

/** Linear address of a 128-bit memory operand that must be aligned: #GP(0) otherwise. @sdm 1 10.4.1.1 */
export function alignedLinear(o: Ops, write: boolean, size = 16): V {
  const linear = o.operandLinear(size, write);
  o.when(o.ne(o.and(o.truncate(linear, 32), o.const(32, 15)), o.const(32, 0)), () => o.raise(13, o.const(32, 0)));
  return linear;
}

/** Operand `i`; a 128-bit memory operand must be aligned. */
export function source(o: Ops, i: number): V {
  return o.isMemory(i) && o.width(i) === 128 ? o.load(alignedLinear(o, false), 128) : o.src(i);
}

/** Operand `i` as a vector, zero above its width. */
export function vectorSource(o: Ops, i: number): V {
  return o.zeroExtend(source(o, i), 128);
}

/** The instruction's immediate byte, clean. */
export function byteImmediate(o: Ops): V {
  return o.and(o.immediate(32), o.const(32, 0xff));
}

/**
 * Host address of the bytes of operand `i`: the register itself, or XSCRATCH with a copy of the memory operand, whose faults come first.
 * `aligned` false: a 128-bit memory operand may lie anywhere.
 */
export function sourceAddress(o: Ops, i: number, aligned = true): V {
  const operand = o.operand(i);
  if (operand.type === 'register') return o.slotAddress(operand.slot);
  o.setState(XSCRATCH, aligned ? source(o, i) : o.src(i));
  return o.const(32, XSCRATCH);
}

/** An instruction helper of (…, address of the destination register, address of the source). */
export const byAddress = (helper: string, first: (o: Ops) => readonly V[] = () => []): Definition => o => {
  const address = sourceAddress(o, 1);
  o.instruction(helper, [...first(o), o.slotAddress('G'), address]);
};

/** What every MMX instruction does to the x87 state once it can no longer fault: TOP = 0, every register in use. @sdm 1 9.5.1 */
export function enterMmx(o: Ops): void {
  o.setState(FTAGS, o.const(8, 0xff));
  resetTop(o);
}

/** The part of it that a store does before it can fault, as Intel's processors do. */
export function resetTop(o: Ops): void {
  o.setState(FSW, o.and(o.state(FSW, 16), o.const(16, 0xc7ff)));
}

/** Writes an MMX register; its sign and exponent become ones. */
export function setMmx(o: Ops, slot: Slot, value: V): void {
  o.setPart(slot, 0, value);
  o.setPart(slot, 8, o.const(16, 0xffff));
}

// ---- definitions --------------------------------------------------------------------------------------------------------------

/** XMM destination, XMM or aligned memory source. */
export const xmm = (f: Lanes): Definition => o => {
  const b = vectorSource(o, 1);
  o.setSlot('G', f(o, o.slot('G', 128), b));
};

/** MMX destination, MMX or memory source; `f` sees both in the low halves of vectors. */
export const mm = (f: Lanes): Definition => o => {
  const b = vectorSource(o, 1);
  enterMmx(o);
  setMmx(o, 'G', low(o, f(o, o.zeroExtend(o.slot('G', 64), 128), b)));
};

/** As `mm`, for operations that treat destination and source as one 128-bit value, destination low. */
export const mmJoined = (f: (o: Ops, joined: V) => V): Definition => o => {
  const b = source(o, 1);
  enterMmx(o);
  setMmx(o, 'G', low(o, f(o, join(o, o.slot('G', 64), b))));
};

// ---- operations ---------------------------------------------------------------------------------------------------------------

/** One WebAssembly operation on two vectors. */
export const lane = (code: number): Lanes => (o, a, b) => o.vector(code, [a, b]);
/** The same with the operands swapped. */
export const swapped = (f: Lanes): Lanes => (o, a, b) => f(o, b, a);
export const shuffle = (mask: readonly number[]): Lanes => (o, a, b) => o.vector(v.shuffle, [a, b], 128, mask);

export const and: Lanes = lane(v.and);
export const or: Lanes = lane(v.or);
export const xor: Lanes = lane(v.xor);

export const low = (o: Ops, a: V): V => o.truncate(a, 64);
export const high = (o: Ops, a: V): V => o.vector(v.i64x2Extract, [a], 64, [1]);
/** A vector of two 64-bit halves. */
export const join = (o: Ops, lowHalf: V, highHalf: V): V =>
  o.vector(v.i64x2Replace, [o.vector(v.i64x2Splat, [lowHalf]), highHalf], 128, [1]);
/** Bits of `a` where the mask is set, of `b` elsewhere. */
export const bitselect = (o: Ops, a: V, b: V, mask: V): V => o.vector(v.bitselect, [a, b, mask]);
/** Byte i of the result is byte `mask[i]` of `a`, 0 when that is 16 or more. */
export const swizzle = (o: Ops, a: V, mask: V): V => o.vector(v.swizzle, [a, mask]);
export const splat = (o: Ops, code: number, value: V): V => o.vector(code, [o.clean(value)]);
/** Interleaves the lanes of `size` bytes of the low or the high halves. */
export function interleave(size: 1 | 2 | 4 | 8, upper: boolean): readonly number[] {
  const start = upper ? 8 : 0;
  return repeat(8 / size, i => [...repeat(size, j => [start + i * size + j]), ...repeat(size, j => [16 + start + i * size + j])]);
}
/** Every second lane of `size` bytes of the two operands, from lane `first` on. */
export function everySecond(size: 1 | 2 | 4, first: 0 | 1): readonly number[] {
  return repeat(16 / size, i => repeat(size, j => [(2 * i + first) * size + j]));
}

/** ZF and CF as given, the other status flags clear: PTEST. A zero result would set PF, which F_PARITY turns back. */
export function setZeroAndCarry(o: Ops, isZero: V, carry: V): void {
  const nothing = o.const(64, 0);
  o.setState(F_RES, o.zeroExtend(o.isZero(isZero), 64));
  o.setState(F_AUX, o.shl(o.zeroExtend(isZero, 64), o.const(32, 32)));
  o.setState(F_CX, nothing);
  o.setState(F_CY, o.zeroExtend(carry, 64));
}
