import { IE, raiseFlags } from './softfloat';
import { EQUAL, GREATER, LESS, UNORDERED } from './softfloat-extended';
import { ADD, admitDenormal, arithmeticLane, beginSse, endSse, isNan, isSignalling, SUBTRACT } from './sse-lane';
import { OK } from './status';
import { setFlagsFromOrder } from './x87-state';

/**
 * Floating-point instructions of SSE to SSE4.1 on operands in memory: `dst` is the address of an XMM register of 16 bytes, `src`
 * that of as many source bytes as the instruction reads. `kind`: 0 scalar single, 1 scalar double, 2 packed single, 3 packed double.
 * Each returns a STATUS; when it is FAULTED only MXCSR has changed.
 */

/** Results of packed operations until all elements are known to raise no unmasked exception. */
const lanes: u32 = <u32>memory.data(16, 16);

// @ts-ignore: decorator
@inline
export function element(address: u32, index: u32, wide: bool): u64 {
  return wide ? load<u64>(address + (index << 3)) : <u64>load<u32>(address + (index << 2));
}

// @ts-ignore: decorator
@inline
export function putElement(address: u32, index: u32, wide: bool, value: u64): void {
  if (wide) store<u64>(address + (index << 3), value);
  else store<u32>(address + (index << 2), <u32>value);
}

// @ts-ignore: decorator
@inline
export function elementCount(kind: i32): u32 {
  return kind < 2 ? 1 : kind == 2 ? 4 : 2;
}

/** Ends an instruction whose results lie in `lanes`, `count` elements. */
function commit(dst: u32, count: u32, wide: bool): i32 {
  const status = endSse();
  if (status != OK) return status;
  for (let i: u32 = 0; i < count; i++) putElement(dst, i, wide, element(lanes, i, wide));
  return OK;
}

/** ADDx MULx SUBx MINx DIVx MAXx SQRTx (op 0..6) into dst. */
export function ssePacked(op: i32, kind: i32, dst: u32, src: u32): i32 {
  const wide = (kind & 1) != 0;
  beginSse();
  if (kind < 2) {
    const result = arithmeticLane(op, wide, element(dst, 0, wide), element(src, 0, wide));
    const status = endSse();
    if (status == OK) putElement(dst, 0, wide, result);
    return status;
  }
  const count = elementCount(kind);
  for (let i: u32 = 0; i < count; i++) putElement(lanes, i, wide, arithmeticLane(op, wide, element(dst, i, wide), element(src, i, wide)));
  return commit(dst, count, wide);
}

/** Scalar single operation on values; FAULT is set when an unmasked exception occurs, and the result is then not to be used. */
export function sseArith32(op: i32, a: u32, b: u32): u32 {
  beginSse();
  const result = <u32>arithmeticLane(op, false, a, b);
  endSse();
  return result;
}

export function sseArith64(op: i32, a: u64, b: u64): u64 {
  beginSse();
  const result = arithmeticLane(op, true, a, b);
  endSse();
  return result;
}

/** Order of two elements as C3, C2, C0; quiet NaNs raise IE unless `quiet`. */
function orderLane(wide: bool, a: u64, b: u64, quiet: bool): u32 {
  if (isNan(a, wide) || isNan(b, wide)) {
    if (!quiet || isSignalling(a, wide) || isSignalling(b, wide)) raiseFlags(IE);
    return UNORDERED;
  }
  a = admitDenormal(a, wide);
  b = admitDenormal(b, wide);
  const x = wide ? reinterpret<f64>(a) : <f64>reinterpret<f32>(<u32>a);
  const y = wide ? reinterpret<f64>(b) : <f64>reinterpret<f32>(<u32>b);
  return x < y ? LESS : x > y ? GREATER : EQUAL;
}

/** CMPxx: predicate EQ LT LE UNORD NEQ NLT NLE ORD (0..7); LT, LE and their negations signal quiet NaNs. @sdm 2A CMPPS */
export function sseCompare(predicate: i32, kind: i32, dst: u32, src: u32): i32 {
  const wide = (kind & 1) != 0;
  const count = elementCount(kind);
  const relation = predicate & 3;
  const quiet = relation == 0 || relation == 3;
  beginSse();
  for (let i: u32 = 0; i < count; i++) {
    const order = orderLane(wide, element(dst, i, wide), element(src, i, wide), quiet);
    let holds: bool;
    if (relation == 0) holds = order == EQUAL;
    else if (relation == 1) holds = order == LESS;
    else if (relation == 2) holds = order == LESS || order == EQUAL;
    else holds = order == UNORDERED;
    putElement(lanes, i, wide, holds != ((predicate & 4) != 0) ? ~(<u64>0) : 0);
  }
  return commit(dst, count, wide);
}

/** COMISS, COMISD; UCOMISS, UCOMISD when `quiet`. `kind` 0 single, 1 double. EFLAGS stay when an unmasked exception occurs. */
export function sseComis(kind: i32, quiet: i32, dst: u32, src: u32): i32 {
  const wide = kind == 1;
  beginSse();
  const order = orderLane(wide, element(dst, 0, wide), element(src, 0, wide), quiet != 0);
  const status = endSse();
  if (status == OK) setFlagsFromOrder(order);
  return status;
}

/** HADDPx (op 0), HSUBPx (1), ADDSUBPx (2); kind 2 or 3. */
export function sseHorizontal(op: i32, kind: i32, dst: u32, src: u32): i32 {
  const wide = kind == 3;
  const count = elementCount(kind);
  const half = count >> 1;
  beginSse();
  for (let i: u32 = 0; i < count; i++) {
    let value: u64;
    if (op == 2) {
      value = arithmeticLane(i & 1 ? ADD : SUBTRACT, wide, element(dst, i, wide), element(src, i, wide));
    } else {
      const from = i < half ? dst : src;
      const pair = (i < half ? i : i - half) << 1;
      value = arithmeticLane(op == 0 ? ADD : SUBTRACT, wide, element(from, pair, wide), element(from, pair + 1, wide));
    }
    putElement(lanes, i, wide, value);
  }
  return commit(dst, count, wide);
}
