import { CR0, F_CX, F_CY, F_PARITY, F_RES, FCW, FSW, FTAGS, GPR } from '../layout';
import { readU16, readU32, readU64, writeU16, writeU32, writeU64 } from './memory';
import { IE, PE, raised, setFlags, setRoundedUp, setRoundingMode, signExponent, ZERO } from './softfloat';
import {
  doubleToExtended, extendedToDouble, extendedToInteger, extendedToPackedDecimal, extendedToSingle, integerToExtended,
  packedDecimalToExtended, singleToExtended, doubleOperand, singleOperand,
} from './softfloat-convert';
import { faulted, FAULTED, OK, raise } from './status';
import {
  absolute, arithmeticOperand, arithmeticRegisters, changeSign, compareFlags, compareRegisters, conditionalMove, examine, exchange,
  extract, loadConstant, loadRegister, remainder, roundToInteger, scale, squareRoot, storeRegister, test,
} from './x87-arithmetic';
import {
  initialize, loadControl, loadEnvironment, operandTop, readExtended, restoreState, saveState, storeEnvironment, writeExtended,
} from './x87-environment';
import {
  beginControlled, beginExtended, clearC1, isEmpty, noteOperand, notePointers, pendingException, pop, push, seOf, setEmpty, settle,
  setTop, sigOf, st, stackFault, top, updateSummary, waiting, withholdsStore,
} from './x87-state';
import {
  ARC_TANGENT, COSINE_FUNCTION, LOGARITHM, LOGARITHM_PLUS_ONE, ofTwo, powerMinusOne, SINE_FUNCTION, sineAndCosine, sineOrCosine,
} from './x87-transcendental';

/** The escape opcodes D8 to DF. @sdm 2D A.5 */

const INDEFINITE: u64 = 0xc000000000000000;

/**
 * An x87 instruction with a memory operand.
 * @param opcode 0..7 for D8..DF
 * @param reg ModRM.reg in bits 2:0; bits 15:8 may hold the whole ModRM byte, which then is what FOP records
 * @param linear linear address of the operand; segment checks are done, for 80 bits that are stored those of the first 64
 * @param offset effective address, for FDP
 * @param segment index of the segment register, for FDS
 * @param opSize operand size in bytes (2, 4, 8): format of environments
 */
export function x87Memory(opcode: i32, reg: i32, linear: u64, offset: u64, segment: i32, opSize: i32): i32 {
  const operation = <u32>reg & 7;
  const row = <u32>opcode << 3 | operation;
  if (isControl(row)) return controlMemory(row, linear, opSize);
  if (isUndefinedMemory(row)) return raise(6);
  const status = waiting();
  if (status != OK) return status;
  if ((opcode & 1) == 0) arithmeticMemory(opcode, operation, linear);
  else if (row == 0x1f) storeExtended(linear, offset, segment);
  else if (row == 0x3e) storePackedDecimal(linear, offset, segment);
  else transferMemory(row, linear);
  if (faulted()) return FAULTED;
  notePointers(opcode, reg >> 8 ? reg >> 8 & 0xff : operation << 3);
  noteOperand(offset, segment);
  return OK;
}

/**
 * Whether an unmasked exception keeps a transfer from storing anything. Its address is then not looked at: Intel's processors report the
 * exception, not a fault of the address.
 */
export function x87Withholds(opcode: i32, operation: i32): i32 {
  if ((~load<u16>(FCW) & 0x3f) == 0) return 0;
  if (isEmpty(0)) return i32(!maskedUnderflow());
  const sig = sigOf(st(0));
  const se = seOf(st(0));
  beginExtended();
  switch (<u32>opcode << 3 | <u32>operation) {
    case 0x0a: case 0x0b: extendedToSingle(sig, se); break;
    case 0x2a: case 0x2b: extendedToDouble(sig, se); break;
    case 0x1f: return 0;
    case 0x3e: extendedToPackedDecimal(sig, se); break;
    case 0x19: storedInteger(32, true); break;
    case 0x29: storedInteger(64, true); break;
    case 0x39: storedInteger(16, true); break;
    case 0x1a: case 0x1b: storedInteger(32, false); break;
    case 0x3a: case 0x3b: storedInteger(16, false); break;
    default: storedInteger(64, false);
  }
  return i32(withholdsStore());
}

/** D9 /4../7, DD /4, /6, /7. */
// @ts-ignore: decorator
@inline
function isControl(row: u32): bool {
  return (row & 0x3c) == 0x0c || row == 0x2c || row == 0x2e || row == 0x2f;
}

/** D9 /1, DB /4, DB /6, DD /5. */
// @ts-ignore: decorator
@inline
function isUndefinedMemory(row: u32): bool {
  return row == 0x09 || row == 0x1c || row == 0x1e || row == 0x2d;
}

function controlMemory(row: u32, linear: u64, opSize: i32): i32 {
  const waits = row == 0x0c || row == 0x0d || row == 0x2c;
  if (load<u32>(CR0) & 0xc) return raise(7);
  if (waits && (load<u16>(FSW) & 0x80) != 0) {
    const status = pendingException();
    if (status != OK) return status;
  }
  switch (row) {
    case 0x0c: return loadEnvironment(linear, opSize);
    case 0x0d: {
      const value = readU16(linear);
      if (faulted()) return FAULTED;
      loadControl(value);
      return OK;
    }
    case 0x0e: return storeEnvironment(linear, opSize);
    case 0x0f: writeU16(linear, load<u16>(FCW)); break;
    case 0x2c: return restoreState(linear, opSize);
    case 0x2e: return saveState(linear, opSize);
    default: writeU16(linear, load<u16>(FSW));
  }
  return faulted() ? FAULTED : OK;
}

/** D8, DA, DC, DE: arithmetic with a single, dword, double or word operand. */
function arithmeticMemory(opcode: i32, operation: u32, linear: u64): void {
  let sig: u64 = 0;
  if (opcode == 4) {
    const bits = readU64(linear);
    if (faulted()) return;
    beginControlled();
    sig = doubleOperand(bits);
  } else {
    const bits = opcode == 6 ? readU16(linear) : readU32(linear);
    if (faulted()) return;
    beginControlled();
    sig = opcode == 0 ? singleOperand(bits) : integerToExtended(opcode == 6 ? <i64><i16>bits : <i64><i32>bits);
  }
  arithmeticOperand(operation, sig, signExponent());
}

function transferMemory(row: u32, linear: u64): void {
  switch (row) {
    case 0x08: { const bits = readU32(linear); if (!faulted()) { beginExtended(); loadReal(singleToExtended(bits), signExponent()); } break; }
    case 0x28: { const bits = readU64(linear); if (!faulted()) { beginExtended(); loadReal(doubleToExtended(bits), signExponent()); } break; }
    case 0x1d: { const sig = readExtended(linear); if (!faulted()) loadConstant(sig, operandTop()); break; }
    case 0x18: { const bits = readU32(linear); if (!faulted()) loadInteger(<i64><i32>bits); break; }
    case 0x38: { const bits = readU16(linear); if (!faulted()) loadInteger(<i64><i16>bits); break; }
    case 0x3d: { const bits = readU64(linear); if (!faulted()) loadInteger(<i64>bits); break; }
    case 0x3c: {
      const digits = readExtended(linear);
      if (!faulted()) { const sig = packedDecimalToExtended(digits, operandTop()); loadConstant(sig, signExponent()); }
      break;
    }
    case 0x0a: storeSingle(linear, false); break;
    case 0x0b: storeSingle(linear, true); break;
    case 0x2a: storeDouble(linear, false); break;
    case 0x2b: storeDouble(linear, true); break;
    case 0x19: storeInteger(linear, 32, true, true); break;
    case 0x29: storeInteger(linear, 64, true, true); break;
    case 0x39: storeInteger(linear, 16, true, true); break;
    case 0x1a: storeInteger(linear, 32, false, false); break;
    case 0x1b: storeInteger(linear, 32, false, true); break;
    case 0x3a: storeInteger(linear, 16, false, false); break;
    case 0x3b: storeInteger(linear, 16, false, true); break;
    default: storeInteger(linear, 64, false, true);
  }
}

/** Pushes a converted operand; the conversion may have raised IE, which withholds it when unmasked, or DE, which never does. */
function loadReal(sig: u64, se: u32): void {
  if (!isEmpty(7)) {
    if (stackFault(true)) push(INDEFINITE, 0xffff);
    return;
  }
  const invalid = (raised() & IE & ~(<u32>load<u16>(FCW))) != 0;
  settle();
  if (!invalid) push(sig, se);
}

function loadInteger(value: i64): void {
  const sig = integerToExtended(value);
  loadConstant(sig, signExponent());
}

/** Masked response of a store from an empty ST(0), or nothing: true when the destination is written. */
// @ts-ignore: decorator
@inline
function maskedUnderflow(): bool {
  return (load<u16>(FCW) & 1) != 0;
}

/** Ends a store: the memory is written (or withheld), then FSW moves and the stack pops. */
function finishStore(empty: bool, withheld: bool, popping: bool): void {
  if (empty) {
    if (stackFault(false) && popping) pop();
    return;
  }
  if (withheld) {
    // Nothing has been rounded that could be inexact.
    setFlags(raised() & ~PE);
    setRoundedUp(false);
  }
  settle();
  if (popping && !withheld) pop();
}

function storeSingle(linear: u64, popping: bool): void {
  const empty = isEmpty(0);
  beginExtended();
  const value = empty ? 0xffc00000 : extendedToSingle(sigOf(st(0)), seOf(st(0)));
  const withheld = empty ? !maskedUnderflow() : withholdsStore();
  if (!withheld) writeU32(linear, value);
  if (!faulted()) finishStore(empty, withheld, popping);
}

function storeDouble(linear: u64, popping: bool): void {
  const empty = isEmpty(0);
  beginExtended();
  const value = empty ? 0xfff8000000000000 : extendedToDouble(sigOf(st(0)), seOf(st(0)));
  const withheld = empty ? !maskedUnderflow() : withholdsStore();
  if (!withheld) writeU64(linear, value);
  if (!faulted()) finishStore(empty, withheld, popping);
}

function storeExtended(linear: u64, offset: u64, segment: i32): void {
  const empty = isEmpty(0);
  beginExtended();
  if (!empty) writeExtended(linear, segment, offset, sigOf(st(0)), seOf(st(0)));
  else if (maskedUnderflow()) writeExtended(linear, segment, offset, INDEFINITE, 0xffff);
  if (!faulted()) finishStore(empty, false, true);
}

function storePackedDecimal(linear: u64, offset: u64, segment: i32): void {
  const empty = isEmpty(0);
  beginExtended();
  const digits = empty ? INDEFINITE : extendedToPackedDecimal(sigOf(st(0)), seOf(st(0)));
  const withheld = empty ? !maskedUnderflow() : withholdsStore();
  if (!withheld) writeExtended(linear, segment, offset, digits, empty ? 0xffff : signExponent());
  if (!faulted()) finishStore(empty, withheld, true);
}

function storedInteger(bits: i32, truncate: bool): i64 {
  if (truncate) setRoundingMode(ZERO);
  return extendedToInteger(sigOf(st(0)), seOf(st(0)), bits);
}

function storeInteger(linear: u64, bits: i32, truncate: bool, popping: bool): void {
  const empty = isEmpty(0);
  beginExtended();
  const value = empty ? <i64>(~(<u64>0) << (bits - 1)) : storedInteger(bits, truncate);
  const withheld = empty ? !maskedUnderflow() : withholdsStore();
  if (!withheld) {
    if (bits == 16) writeU16(linear, <u32>value & 0xffff);
    else if (bits == 32) writeU32(linear, <u32>value);
    else writeU64(linear, <u64>value);
  }
  if (!faulted()) finishStore(empty, withheld, popping);
}

/**
 * An x87 instruction of which ModRM names a register.
 * @param opcode 0..7 for D8..DF
 * @param modrm C0..FF
 */
export function x87Register(opcode: i32, modrm: i32): i32 {
  const i = <u32>modrm & 7;
  const operation = <u32>modrm >> 3 & 7;
  const row = <u32>opcode << 3 | operation;
  if (row == 0x1c) return controlRegister(i);
  if (row == 0x3c) {
    if (i != 0) return raise(6);
    if (load<u32>(CR0) & 0xc) return raise(7);
    store<u16>(GPR, load<u16>(FSW));
    return OK;
  }
  if (isUndefinedRegister(row, i)) return raise(6);
  const status = waiting();
  if (status != OK) return status;
  // FNOP, FINCSTP and FDECSTP count as non-control instructions.
  notePointers(opcode, modrm);
  executeRegister(row, operation, i);
  return OK;
}

/** DB E0..E7: FENI, FDISI and FSETPM of older processors do nothing. */
function controlRegister(i: u32): i32 {
  if (i > 4) return raise(6);
  if (load<u32>(CR0) & 0xc) return raise(7);
  if (i == 2) {
    store<u16>(FSW, load<u16>(FSW) & 0x7f00);
    updateSummary();
  } else if (i == 3) {
    initialize();
  }
  return OK;
}

function isUndefinedRegister(row: u32, i: u32): bool {
  switch (row) {
    case 0x0a: return i != 0;
    case 0x0c: return i == 2 || i == 3 || i > 5;
    case 0x0d: return i == 7;
    case 0x14: case 0x16: case 0x17: case 0x1f: case 0x2e: case 0x2f: case 0x3f: return true;
    case 0x15: return i != 1;
    case 0x33: return i != 1;
    default: return false;
  }
}

function executeRegister(row: u32, operation: u32, i: u32): void {
  switch (row) {
    case 0x00: case 0x01: case 0x04: case 0x05: case 0x06: case 0x07: arithmeticRegisters(operation, i, 0, false); break;
    case 0x20: case 0x21: case 0x24: case 0x25: case 0x26: case 0x27: arithmeticRegisters(operation, i, i, false); break;
    case 0x30: case 0x31: case 0x34: case 0x35: case 0x36: case 0x37: arithmeticRegisters(operation, i, i, true); break;
    case 0x02: case 0x22: compareRegisters(i, false, 0); break;
    case 0x03: case 0x23: case 0x32: compareRegisters(i, false, 1); break;
    case 0x33: compareRegisters(1, false, 2); break;
    case 0x15: compareRegisters(1, true, 2); break;
    case 0x2c: compareRegisters(i, true, 0); break;
    case 0x2d: compareRegisters(i, true, 1); break;
    case 0x1d: compareFlags(i, true, false); break;
    case 0x1e: compareFlags(i, false, false); break;
    case 0x3d: compareFlags(i, true, true); break;
    case 0x3e: compareFlags(i, false, true); break;
    case 0x08: loadRegister(i); break;
    case 0x09: case 0x29: case 0x39: exchange(i); break;
    case 0x0a: break;
    case 0x2a: storeRegister(i, false); break;
    case 0x0b: storeUnchecked(i); break;
    case 0x2b: case 0x3a: case 0x3b: storeRegister(i, true); break;
    case 0x0c: unary(i); break;
    case 0x0d: constant(i); break;
    case 0x0e: functions(i); break;
    case 0x0f: moreFunctions(i); break;
    case 0x28: setEmpty(i); clearC1(); break;
    case 0x38: setEmpty(i); clearC1(); pop(); break;
    default: conditionalMove(i, condition(row));
  }
}

/** D9 D8 to DF, which the manual reserves: FSTP to Intel's processors, but an empty ST(0) is popped without an exception and not stored. */
function storeUnchecked(i: u32): void {
  if (!isEmpty(0)) {
    storeRegister(i, true);
    return;
  }
  clearC1();
  pop();
}

/** DA and DB C0..DF: B, E, BE, U and their negations. */
function condition(row: u32): bool {
  const carry = load<u64>(F_CX) < load<u64>(F_CY);
  const zero = load<u64>(F_RES) == 0;
  let holds: bool;
  switch (row & 3) {
    case 0: holds = carry; break;
    case 1: holds = zero; break;
    case 2: holds = carry || zero; break;
    default: holds = (popcnt((<u32>load<u64>(F_RES) ^ load<u32>(F_PARITY)) & 0xff) & 1) == 0;
  }
  return holds != (row >= 0x18);
}

function unary(i: u32): void {
  switch (i) {
    case 0: changeSign(); break;
    case 1: absolute(); break;
    case 4: test(); break;
    default: examine();
  }
}

/** FLD1 FLDL2T FLDL2E FLDPI FLDLG2 FLDLN2 FLDZ: the significands rounded as RC says. @sdm 1 8.3.4 */
function constant(i: u32): void {
  const mode = <u32>load<u16>(FCW) >> 10 & 3;
  const up: u64 = mode == 2 ? 1 : 0;
  const down: u64 = mode == 1 || mode == 3 ? 1 : 0;
  switch (i) {
    case 0: loadConstant(0x8000000000000000, 0x3fff); break;
    case 1: loadConstant(0xd49a784bcd1b8afe + up, 0x4000); break;
    case 2: loadConstant(0xb8aa3b295c17f0bc - down, 0x3fff); break;
    case 3: loadConstant(0xc90fdaa22168c235 - down, 0x4000); break;
    case 4: loadConstant(0x9a209a84fbcff799 - down, 0x3ffd); break;
    case 5: loadConstant(0xb17217f7d1cf79ac - down, 0x3ffe); break;
    default: loadConstant(0, 0);
  }
}

function functions(i: u32): void {
  switch (i) {
    case 0: powerMinusOne(); break;
    case 1: ofTwo(LOGARITHM); break;
    case 2: sineAndCosine(true); break;
    case 3: ofTwo(ARC_TANGENT); break;
    case 4: extract(); break;
    case 5: remainder(true); break;
    case 6: setTop(top() - 1); clearC1(); break;
    default: setTop(top() + 1); clearC1();
  }
}

function moreFunctions(i: u32): void {
  switch (i) {
    case 0: remainder(false); break;
    case 1: ofTwo(LOGARITHM_PLUS_ONE); break;
    case 2: squareRoot(); break;
    case 3: sineAndCosine(false); break;
    case 4: roundToInteger(); break;
    case 5: scale(); break;
    case 6: sineOrCosine(SINE_FUNCTION); break;
    default: sineOrCosine(COSINE_FUNCTION);
  }
}

/** FWAIT: #NM when CR0.MP and CR0.TS are set, then pending exceptions. */
export function fwait(): i32 {
  if ((load<u32>(CR0) & 0xa) == 0xa) return raise(7);
  return load<u16>(FSW) & 0x80 ? pendingException() : OK;
}

/**
 * What every MMX instruction does first: #UD, #NM, #MF; then TOP = 0 and all tags valid. The instruction itself sets the sign and
 * exponent of a register it writes to ones. @sdm 1 9.5.1
 */
export function mmxEnter(): i32 {
  const control = load<u32>(CR0);
  if (control & 4) return raise(6);
  if (control & 8) return raise(7);
  if (load<u16>(FSW) & 0x80) {
    const status = pendingException();
    if (status != OK) return status;
  }
  store<u16>(FSW, load<u16>(FSW) & 0xc7ff);
  store<u8>(FTAGS, 0xff);
  return OK;
}

/** EMMS. */
export function emms(): i32 {
  const status = mmxEnter();
  if (status != OK) return status;
  store<u8>(FTAGS, 0);
  return OK;
}
