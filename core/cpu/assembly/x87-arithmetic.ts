import { FSW } from '../layout';
import {
  extendedAdd, extendedCompare, extendedDivide, extendedExponent, extendedMultiply, extendedRemainder, extendedRoundToInteger,
  extendedScale, extendedSquareRoot, extendedSubtract, CLASS_DENORMAL, CLASS_INFINITY, CLASS_QNAN, CLASS_SNAN, CLASS_UNSUPPORTED,
  CLASS_ZERO, classify, normalSignificand, propagateOne, remainderFinished, remainderPartial, remainderQuotient, UNORDERED,
} from './softfloat-extended';
import { DE, INTEGER_BIT, raiseFlags, signExponent, ZE } from './softfloat';
import {
  beginControlled, beginExtended, C0, C1, C2, C3, clearC1, hasOperands, isEmpty, pop, push, put, putDefault, seOf, setConditions, setFull,
  settle, sigOf, st, stackFault, setFlagsFromOrder,
} from './x87-state';

/** Instructions between registers of the stack; each leaves FSW, tags and registers as the manual has them after it. */

/** Rows 0..7 of D8: add, multiply, compare (not here), subtract, reverse subtract, divide, reverse divide. */
function compute(operation: u32, sigA: u64, seA: u32, sigB: u64, seB: u32): u64 {
  switch (operation) {
    case 0: return extendedAdd(sigA, seA, sigB, seB);
    case 1: return extendedMultiply(sigA, seA, sigB, seB);
    case 4: return extendedSubtract(sigA, seA, sigB, seB);
    case 5: return extendedSubtract(sigB, seB, sigA, seA);
    case 6: return extendedDivide(sigA, seA, sigB, seB);
    default: return extendedDivide(sigB, seB, sigA, seA);
  }
}

/** ST(0) op operand into ST(0); the caller has begun the arithmetic, and the conversion of the operand may have raised flags. */
export function arithmeticOperand(operation: u32, sig: u64, se: u32): void {
  if ((operation & 6) == 2) {
    compareOperand(sig, se, operation == 3);
    return;
  }
  const destination = st(0);
  if (!hasOperands(0)) return;
  const result = compute(operation, sigOf(destination), seOf(destination), sig, se);
  if (settle()) put(destination, result, signExponent());
}

/** The order is reported even when an unmasked exception keeps the instruction from popping. */
function compareOperand(sig: u64, se: u32, popping: bool): void {
  if (isEmpty(0)) {
    const masked = stackFault(false);
    setConditions(UNORDERED);
    if (!masked) return;
  } else {
    const source = st(0);
    setConditions(extendedCompare(sigOf(source), seOf(source), sig, se, false));
    if (!settle()) return;
  }
  if (popping) pop();
}

/** ST(0) op ST(i) into ST(destination), then a pop when asked. */
export function arithmeticRegisters(operation: u32, i: u32, destination: u32, popping: bool): void {
  const target = st(destination);
  if (isEmpty(0) || isEmpty(i)) {
    if (!stackFault(false)) return;
    putDefault(target);
    setFull(destination);
  } else {
    beginControlled();
    const other = st(i);
    const source = st(0);
    const result = compute(operation, sigOf(source), seOf(source), sigOf(other), seOf(other));
    if (!settle()) return;
    put(target, result, signExponent());
  }
  if (popping) pop();
}

/** What orderWith found; UNORDERED where a register is empty. It is reported even when an unmasked exception keeps the instruction from popping. */
let order: u32 = 0;

/** Compares ST(0) with ST(i). False: an exception is not masked. */
function orderWith(i: u32, quiet: bool): bool {
  if (isEmpty(0) || isEmpty(i)) {
    order = UNORDERED;
    return stackFault(false);
  }
  beginExtended();
  const source = st(0);
  const other = st(i);
  order = extendedCompare(sigOf(source), seOf(source), sigOf(other), seOf(other), quiet);
  return settle();
}

/** FCOM and FUCOM (quiet) of ST(0) with ST(i), with up to two pops. */
export function compareRegisters(i: u32, quiet: bool, pops: i32): void {
  const settled = orderWith(i, quiet);
  setConditions(order);
  if (!settled) return;
  if (pops > 0) pop();
  if (pops > 1) pop();
}

/** FCOMI and FUCOMI. */
export function compareFlags(i: u32, quiet: bool, popping: bool): void {
  const settled = orderWith(i, quiet);
  setFlagsFromOrder(order);
  if (settled && popping) pop();
}

export function loadRegister(i: u32): void {
  const source = st(i);
  const missing = isEmpty(i);
  if (missing || !isEmpty(7)) {
    if (stackFault(!missing)) push(0xc000000000000000, 0xffff);
  } else {
    push(sigOf(source), seOf(source));
    clearC1();
  }
}

export function loadConstant(sig: u64, se: u32): void {
  if (!isEmpty(7)) {
    if (stackFault(true)) push(0xc000000000000000, 0xffff);
    return;
  }
  push(sig, se);
  clearC1();
}

export function storeRegister(i: u32, popping: bool): void {
  const target = st(i);
  if (isEmpty(0)) {
    if (!stackFault(false)) return;
    putDefault(target);
  } else {
    const source = st(0);
    put(target, sigOf(source), seOf(source));
    clearC1();
  }
  setFull(i);
  if (popping) pop();
}

export function exchange(i: u32): void {
  const a = st(0);
  const b = st(i);
  if (isEmpty(0) || isEmpty(i)) {
    if (!stackFault(false)) return;
    if (isEmpty(0)) putDefault(a);
    if (isEmpty(i)) putDefault(b);
    setFull(0);
    setFull(i);
  } else {
    clearC1();
  }
  const sig = sigOf(a);
  const se = seOf(a);
  put(a, sigOf(b), seOf(b));
  put(b, sig, se);
}

/** FCMOVcc with the condition already evaluated; an empty register faults whatever the condition. */
export function conditionalMove(i: u32, condition: bool): void {
  const target = st(0);
  if (!hasOperands(i)) return;
  if (condition) put(target, sigOf(st(i)), seOf(st(i)));
}

export function changeSign(): void {
  if (!hasOperands(0)) return;
  clearC1();
  store<u16>(st(0) + 8, seOf(st(0)) ^ 0x8000);
}

export function absolute(): void {
  if (!hasOperands(0)) return;
  clearC1();
  store<u16>(st(0) + 8, seOf(st(0)) & 0x7fff);
}

export function test(): void {
  beginExtended();
  compareOperand(0, 0, false);
}

/** FXAM. @sdm 2A FXAM */
export function examine(): void {
  const source = st(0);
  const se = seOf(source);
  let bits = C3 | C0;
  if (!isEmpty(0)) {
    switch (classify(sigOf(source), se)) {
      case CLASS_UNSUPPORTED: bits = 0; break;
      case CLASS_QNAN: case CLASS_SNAN: bits = C0; break;
      case CLASS_INFINITY: bits = C2 | C0; break;
      case CLASS_ZERO: bits = C3; break;
      case CLASS_DENORMAL: bits = C3 | C2; break;
      default: bits = C2;
    }
  }
  store<u16>(FSW, (load<u16>(FSW) & ~(C0 | C1 | C2 | C3)) | bits | (se & 0x8000 ? C1 : 0));
}

export function squareRoot(): void {
  if (!hasOperands(0)) return;
  beginControlled();
  const target = st(0);
  const result = extendedSquareRoot(sigOf(target), seOf(target));
  if (settle()) put(target, result, signExponent());
}

export function roundToInteger(): void {
  if (!hasOperands(0)) return;
  beginExtended();
  const target = st(0);
  const result = extendedRoundToInteger(sigOf(target), seOf(target));
  if (settle()) put(target, result, signExponent());
}

export function scale(): void {
  const target = st(0);
  if (!hasOperands(1)) return;
  beginExtended();
  const result = extendedScale(sigOf(target), seOf(target), sigOf(st(1)), seOf(st(1)));
  if (settle()) put(target, result, signExponent());
}

/** FPREM and FPREM1: C2 = partial, else C0 C3 C1 = quotient bits 2, 1, 0; without a quotient C0 and C3 stay. */
export function remainder(nearest: bool): void {
  const target = st(0);
  store<u16>(FSW, load<u16>(FSW) & ~C2);
  if (!hasOperands(1)) return;
  beginExtended();
  const result = extendedRemainder(sigOf(target), seOf(target), sigOf(st(1)), seOf(st(1)), nearest);
  if (!settle()) return;
  put(target, result, signExponent());
  const quotient = <u32>remainderQuotient();
  let status = <u32>load<u16>(FSW);
  if (remainderFinished()) {
    status &= ~(C0 | C1 | C3);
    status |= remainderPartial() ? C2 : (quotient & 1 ? C1 : 0) | (quotient & 2 ? C3 : 0) | (quotient & 4 ? C0 : 0);
  }
  store<u16>(FSW, status);
}

/** FXTRACT: exponent to ST(0), then the significand is pushed. */
export function extract(): void {
  if (isEmpty(0) || !isEmpty(7)) {
    const overflow = !isEmpty(0);
    if (!stackFault(overflow)) return;
    putDefault(st(0));
    setFull(0);
    push(0xc000000000000000, 0xffff);
    return;
  }
  beginExtended();
  const target = st(0);
  const sig = sigOf(target);
  const se = seOf(target);
  const kind = classify(sig, se);
  if (kind >= CLASS_QNAN) {
    const result = propagateOne(kind, sig, se);
    const word = signExponent();
    if (!settle()) return;
    put(target, result, word);
    push(result, word);
    return;
  }
  if (kind == CLASS_ZERO) raiseFlags(ZE);
  if (kind == CLASS_DENORMAL) raiseFlags(DE);
  if (!settle()) return;
  if (kind == CLASS_ZERO || kind == CLASS_INFINITY) {
    put(target, INTEGER_BIT, kind == CLASS_ZERO ? 0xffff : 0x7fff);
    push(sig, se);
    return;
  }
  const power = extendedExponent(sig, se);
  put(target, power, signExponent());
  push(normalSignificand(sig), (se & 0x8000) | 0x3fff);
}
