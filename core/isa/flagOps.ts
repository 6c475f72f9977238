/** The status flags, as core/cpu/layout.ts keeps them: what instructions leave in them, and conditions. */
import type { V } from './ir.ts';
import { AF } from './flags.ts';
import { Values, isZero } from './values.ts';
import { AUX_COMPARED, AUX_DERIVED, AUX_DOWN, AUX_LOGIC, AUX_STEPPED, AUX_SHORT, EFLAGS, F_AUX, F_CX, F_CY, F_PARITY, F_RES } from '../cpu/layout.ts';

export abstract class FlagOps extends Values {
  private setResult(result: V): void {
    this.setState(F_RES, this.signExtend(result, 64));
  }

  /** A value's bits at the top of 64. */
  private shiftedUp(a: V): V {
    if (a.width === 64) return a;
    return isZero(a) ? this.const(64, 0) : this.node(64, true, { kind: 'top', a });
  }

  /** CF, OF and AF as those of x - y. `compared`: all flags are those of comparing x with y. */
  private setDifference(x: V, y: V, compared: boolean): void {
    this.setState(F_CX, this.signExtend(x, 64));
    this.setState(F_CY, this.signExtend(y, 64));
    this.setAux(AUX_DERIVED | (compared ? AUX_COMPARED : 0) | ((64 - x.width) << AUX_SHORT));
  }

  /** The store clears F_PARITY, too. */
  private setAux(aux: number): void {
    this.setState(F_AUX, this.const(64, aux, 0));
  }

  /** Sets AF to bit 4 of a value. */
  private setAdjust(bits: V): void {
    this.setState(F_AUX, this.and(this.resize(bits, 64), this.const(64, AF)));
  }

  flagsAdd(a: V, b: V, result: V): void {
    this.setResult(result);
    this.setDifference(result, a, false);
  }

  flagsSub(a: V, b: V, result: V): void {
    this.setResult(result);
    this.setDifference(a, b, true);
  }

  /** ADC: the carry out is the top bit of the carry vector. */
  flagsAddCarry(a: V, b: V, result: V): void {
    const carries = this.or(this.and(a, b), this.and(this.or(a, b), this.not(result)));
    this.setResult(result);
    this.setTopCarryOverflow(this.topBit(carries), this.shiftedUp(this.and(this.xor(a, result), this.xor(b, result))));
    this.setAdjust(this.xor(this.xor(a, b), result));
  }

  flagsSubBorrow(a: V, b: V, result: V): void {
    const borrows = this.or(this.and(this.not(a), b), this.and(this.or(this.not(a), b), result));
    this.setResult(result);
    this.setTopCarryOverflow(this.topBit(borrows), this.shiftedUp(this.and(this.xor(a, b), this.xor(a, result))));
    this.setAdjust(this.xor(this.xor(a, b), result));
  }

  /** AND, OR, XOR, TEST: CF and OF clear, AF (undefined by the manual) clear. */
  flagsLogic(result: V): void {
    this.setResult(result);
    const zero = this.const(64, 0);
    this.setState(F_CX, zero);
    this.setState(F_CY, zero);
    this.setAux(AUX_LOGIC);
  }

  /** INC: like ADD of 1 but CF stays: that of F_CX and F_CY. */
  flagsInc(a: V, result: V): void {
    this.flagsStep(a, result, AUX_STEPPED);
  }

  flagsDec(a: V, result: V): void {
    this.flagsStep(a, result, AUX_STEPPED | AUX_DOWN);
  }

  private flagsStep(a: V, result: V, step: number): void {
    const adjust = this.zeroExtend(this.and(this.xor(a, result), this.const(a.width, AF)), 64);
    this.setResult(result);
    this.setState(F_AUX, this.or(adjust, this.const(64, step | ((64 - a.width) << AUX_SHORT), 0)));
  }

  /** SF, ZF, PF from a result, AF clear. */
  flagsResult(result: V): void {
    this.setResult(result);
    this.setAux(0);
  }

  /** CF and OF are carry and overflow of u + u: bit 63 of u, and bits 63 and 62 differ. */
  private setDoubled(u: V): void {
    this.setState(F_CX, this.shl(u, this.const(32, 1)));
    this.setState(F_CY, u);
  }

  /** Sets CF to bit 63 of one value, whose other bits are zero, and OF to bit 63 of another. */
  private setTopCarryOverflow(carry: V, overflow: V): void {
    this.setDoubled(this.or(carry, this.shrU(this.xor(carry, overflow), this.const(32, 1))));
  }

  private topBit(a: V): V {
    return this.and(this.shiftedUp(a), this.const(64, 0, 0x80000000 | 0));
  }

  /** Sets CF to a truth value (any width; nonzero must mean 1) and clears OF. */
  setCarryOnly(bit: V): void {
    this.setState(F_CX, this.const(64, 0));
    this.setState(F_CY, this.resize(bit, 64));
  }

  /** Sets CF and OF to the same truth value. */
  setCarryAndOverflow(bit: V): void {
    this.setState(F_CX, this.const(64, 0));
    this.setState(F_CY, this.shl(this.resize(bit, 64), this.const(32, 63)));
  }

  /** Sets CF to a truth value, OF to the sign of a value. */
  setCarryOverflow(carry: V, overflow: V): void {
    this.setTopCarryOverflow(this.shl(this.resize(carry, 64), this.const(32, 63)), this.shiftedUp(overflow));
  }

  /** CF and OF of shifting left: of doubling `before`, the bits before the last step at the top of 64 bits. */
  setShiftedOut(before: V): void {
    this.setDoubled(before);
  }

  /** CF and OF of a rotation, from its result; AF stays. */
  flagsRotated(result: V, left: boolean): void {
    this.keepAdjust();
    const top = this.shiftedUp(result);
    // To the left: the bit that came around is CF, and differs from the top bit when OF is set.
    this.setDoubled(left ? this.or(this.shl(this.resize(this.clean(result), 64), this.const(32, 63)), this.shrU(top, this.const(32, 1))) : top);
  }

  /** Changes CF or OF alone, to a truth value. */
  setCarry(bit: V): void {
    const overflow = this.overflowWord();
    this.keepAdjust();
    this.setTopCarryOverflow(this.shl(this.resize(bit, 64), this.const(32, 63)), overflow);
  }

  setOverflow(bit: V): void {
    this.keepAdjust();
    const carry = this.zeroExtend(this.carry(), 64);
    this.setTopCarryOverflow(this.shl(carry, this.const(32, 63)), this.shl(this.resize(bit, 64), this.const(32, 63)));
  }

  /** Changes CF and OF alone, to truth values. */
  replaceCarryOverflow(carry: V, overflow: V): void {
    this.keepAdjust();
    this.setTopCarryOverflow(this.shl(this.resize(carry, 64), this.const(32, 63)), this.shl(this.resize(overflow, 64), this.const(32, 63)));
  }

  /** Before F_CX and F_CY change: keeps an AF that follows from them. */
  private keepAdjust(): void {
    this.setState(F_AUX, this.and(this.adjustWord(), this.const(32, AF)));
  }

  /** A value (32 bits wide) whose bit 4 is AF. */
  private adjustWord(): V {
    const aux = this.state(F_AUX, 32);
    const cx = this.state(F_CX, 64);
    const cy = this.state(F_CY, 64);
    const derived = this.truncate(this.xor(this.xor(cx, cy), this.sub(cx, cy)), 32);
    return this.select(this.ne(this.and(aux, this.const(32, AUX_DERIVED)), this.const(32, 0)), derived, aux);
  }

  /** A value (64 bits wide) whose sign is OF. */
  private overflowWord(): V {
    const cx = this.state(F_CX, 64);
    const cy = this.state(F_CY, 64);
    const aux = this.state(F_AUX, 32);
    const short = this.shrU(aux, this.const(32, AUX_SHORT));
    const ofPair = this.shl(this.and(this.xor(cx, cy), this.xor(cx, this.sub(cx, cy))), short);
    // The inverse of what DEC overflows to is what INC overflows to.
    const stepped = this.xor(this.state(F_RES, 64), this.signExtend(this.shrS(aux, this.const(32, 31)), 64));
    const ofStep = this.eq(this.shl(stepped, short), this.const(64, 0, 0x80000000 | 0));
    return this.select(this.truncate1(this.and(aux, this.const(32, AUX_STEPPED))), this.shl(this.zeroExtend(ofStep, 64), this.const(32, 63)), ofPair);
  }

  carry(): V {
    return this.ltU(this.state(F_CX, 64), this.state(F_CY, 64));
  }

  zero(): V {
    return this.isZero(this.state(F_RES, 64));
  }

  /** Whether a condition code holds: bits 3:1 say of what, bit 0 negates. @sdm 2 B.1.4.7 */
  condition(code: number): V {
    return this.node(1, true, { kind: 'condition', code, generic: this.genericCondition(code) });
  }

  private genericCondition(code: number): V {
    const negated = (code & 1) !== 0;
    let value: V;
    switch (code >> 1) {
      case 0: value = this.ltS(this.overflowWord(), this.const(64, 0)); break;
      case 1: value = this.carry(); break;
      case 2: value = this.zero(); break;
      case 3: value = this.or(this.carry(), this.zero()); break;
      case 4: value = this.sign(); break;
      case 5: value = this.parity(); break;
      case 6: value = this.less(); break;
      default: value = this.or(this.less(), this.zero()); break;
    }
    return negated ? this.isZero(value) : value;
  }

  private signWord(): V {
    return this.xor(this.state(F_RES + 4, 32), this.state(F_PARITY, 32));
  }

  sign(): V {
    return this.ltS(this.signWord(), this.const(32, 0));
  }

  private less(): V {
    return this.ltS(this.xor(this.signWord(), this.truncate(this.shrU(this.overflowWord(), this.const(32, 32)), 32)), this.const(32, 0));
  }

  parity(): V {
    const low = this.xor(this.zeroExtend(this.state(F_RES, 8), 32), this.state(F_PARITY, 32));
    const bits = this.unary('popcnt', this.and(low, this.const(32, 0xff)));
    return this.isZero(this.and(bits, this.const(32, 1)));
  }

  adjust(): V {
    return this.truncate1(this.and(this.shrU(this.adjustWord(), this.const(32, 4)), this.const(32, 1)));
  }

  /** Marks a 32-bit value that is known to be 0 or 1 as a truth value. */
  truncate1(a: V): V {
    return this.ne(a, this.const(a.width, 0));
  }

  direction(): V {
    return this.truncate1(this.and(this.state(EFLAGS, 32), this.const(32, 0x400)));
  }
}
