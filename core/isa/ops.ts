/**
 * `Ops`: what instruction definitions are written in. A definition is an ordinary function; what the decoder knows (sizes, mode, operand
 * kinds) is an ordinary TypeScript value, what only the running processor knows is a `V`. Calling a method appends to the program.
 */
import type { BinaryOp, Fact, Node, NodeKind, Slot, Statement, UnaryOp, V, Width, Program } from './ir.ts';
import { isImpure } from './ir.ts';
import type { OperandKind } from './operands.ts';
import { AF } from './flags.ts';
import {
  AUX_COMPARED, AUX_DERIVED, AUX_LOGIC, EFLAGS, F_AUX, F_CX, F_CY, F_PARITY, F_RES, GPR, SEGMENTS, SEGMENT_SIZE, SEG_BASE, STACK_SIZE, STATE, SS, SEG_LIMIT, CS,
} from '../cpu/layout.ts';

/** What is known of an instruction when it is decoded: the key of its form. */
export interface Form {
  readonly operands: readonly OperandKind[];
  /** Operand size in bits. */
  readonly opSize: 16 | 32 | 64;
  /** Address size in bits. */
  readonly addressSize: 16 | 32 | 64;
  /** Whether the ModRM operand is memory. */
  readonly memory: boolean;
  /** `long` is 64-bit code; `legacy` is all other: segments are checked, addresses wrap at 32 bits. */
  readonly mode: 'long' | 'legacy';
  readonly codeSize: 16 | 32 | 64;
  readonly repeat: 0 | 1 | 2;
  /**
   * How the memory operand is formed: base + index + displacement + segment, base + displacement alone, or relative to RIP: to the page's
   * first byte, or to the next instruction when that does not fit into 32 bits.
   */
  readonly addressing: 'full' | 'base' | 'rip' | 'ripFar';
  readonly rexW: boolean;
}

export type Definition = (o: Ops) => void;

export class Ops {
  readonly form: Form;
  private readonly stack: Statement[][] = [[]];
  private nodes = 0;

  constructor(form: Form) {
    this.form = form;
  }

  static build(form: Form, definition: Definition): Program {
    const o = new Ops(form);
    definition(o);
    return { statements: o.stack[0]!, nodes: o.nodes };
  }

  get opSize(): 16 | 32 | 64 { return this.form.opSize; }
  get long(): boolean { return this.form.mode === 'long'; }

  // ---- building blocks ------------------------------------------------------------------------------------------------------

  private node(width: Width, clean: boolean, body: NodeKind): V {
    const node: Node = { ...body, id: this.nodes++, width, clean };
    if (isImpure(node)) this.emit({ kind: 'let', node });
    return node;
  }

  private emit(statement: Statement): void {
    this.stack[this.stack.length - 1]!.push(statement);
  }

  /** A constant of up to 32 significant bits, sign-extended for 64-bit widths unless `high` is given. */
  const(width: Width, low: number, high: number = low >> 31): V {
    const mask = width >= 32 ? -1 : (1 << width) - 1;
    return this.node(width, true, { kind: 'const', low: low & mask, high: width === 64 ? high | 0 : 0 });
  }

  fact(fact: Fact, width: Width): V {
    return this.node(width, false, { kind: 'fact', fact });
  }

  /** The instruction's immediate, already sign-extended by the decoder. */
  immediate(width: Width): V {
    return this.fact('immediate', width);
  }

  state(offset: number, width: Width, signed = false): V {
    const bytes = width === 1 ? 4 : (width / 8) as 1 | 2 | 4 | 8 | 16;
    return this.node(width, !signed, { kind: 'state', offset, signed, bytes });
  }

  setState(offset: number, value: V): void {
    this.emit({ kind: 'setState', offset, bytes: value.width === 1 ? 4 : (value.width / 8) as 1 | 2 | 4 | 8 | 16, value });
  }

  slot(slot: Slot, width: Width): V {
    return this.node(width, true, { kind: 'slot', slot, at: 0 });
  }

  /** `width` bits of a register, `at` bytes into it. */
  slotPart(slot: Slot, at: number, width: Width): V {
    return this.node(width, true, { kind: 'slot', slot, at });
  }

  /** Writes just the value's bits, `at` bytes into a register; the rest of the register stays. */
  setPart(slot: Slot, at: number, value: V): void {
    this.emit({ kind: 'setPart', slot, at, value });
  }

  /** Host address of a register operand, for helpers that work on it in place. */
  slotAddress(slot: Slot): V {
    return this.node(32, true, { kind: 'slotAddress', slot });
  }

  /** Writes a register; a 32-bit write to a general register clears its upper half, a 128-bit write is whole. */
  setSlot(slot: Slot, value: V): void {
    this.emit({ kind: 'setSlot', slot, value });
  }

  binary(op: BinaryOp, left: V, right: V): V {
    const compare = op === 'eq' || op === 'ne' || op === 'ltU' || op === 'ltS' || op === 'leU' || op === 'leS';
    const shift = op === 'shl' || op === 'shrU' || op === 'shrS' || op === 'rotl' || op === 'rotr';
    if (!shift && left.width !== right.width) throw new Error(`${op}: widths ${left.width} and ${right.width} differ`);
    let a = left;
    let b = right;
    if (compare) {
      const signed = op === 'ltS' || op === 'leS';
      if (a.width < 32 && a.width > 1) { a = this.promote(a, signed); b = this.promote(b, signed); }
    } else if (op === 'shrU' || op === 'divU' || op === 'remU' || op === 'rotr' || op === 'rotl') {
      if (a.width < 32) a = this.clean(a);
      if (!shift && b.width < 32) b = this.clean(b);
    } else if (op === 'shrS' || op === 'divS' || op === 'remS') {
      if (a.width < 32) throw new Error(`${op} of width ${a.width}: extend first`);
    }
    const width = compare ? 1 : a.width;
    const clean = width >= 32 || compare || (op === 'and' && (a.clean || b.clean)) || ((op === 'or' || op === 'xor') && a.clean && b.clean)
      || (op === 'shrU' && a.clean) || op === 'divU' || op === 'remU';
    const folded = fold(op, a, b, width);
    if (folded) return this.const(width, folded.low, folded.high);
    if (isZero(b) && (op === 'add' || op === 'sub' || op === 'or' || op === 'xor' || shift)) return a;
    return this.node(width, clean, { kind: 'binary', op, a, b });
  }

  add(a: V, b: V): V { return this.binary('add', a, b); }
  sub(a: V, b: V): V { return this.binary('sub', a, b); }
  mul(a: V, b: V): V { return this.binary('mul', a, b); }
  and(a: V, b: V): V { return this.binary('and', a, b); }
  or(a: V, b: V): V { return this.binary('or', a, b); }
  xor(a: V, b: V): V { return this.binary('xor', a, b); }
  eq(a: V, b: V): V { return this.binary('eq', a, b); }
  ne(a: V, b: V): V { return this.binary('ne', a, b); }
  ltU(a: V, b: V): V { return this.binary('ltU', a, b); }
  ltS(a: V, b: V): V { return this.binary('ltS', a, b); }
  /** Shifts: the count is taken modulo 32, or modulo 64 for 64-bit values, by the host; callers mask as the manual says. */
  shl(a: V, count: V): V { return this.binary('shl', a, this.countFor(a, count)); }
  shrU(a: V, count: V): V { return this.binary('shrU', a, this.countFor(a, count)); }
  shrS(a: V, count: V): V { return this.binary('shrS', a, this.countFor(a, count)); }
  rotl(a: V, count: V): V { return this.binary('rotl', a, this.countFor(a, count)); }
  rotr(a: V, count: V): V { return this.binary('rotr', a, this.countFor(a, count)); }

  private countFor(a: V, count: V): V {
    if (a.width === 64) return count.width === 64 ? count : this.zeroExtend(count, 64);
    return count.width === 64 ? this.truncate(count, 32) : this.clean(count);
  }

  unary(op: UnaryOp, a: V): V {
    const source = a.width < 32 ? this.clean(a) : a;
    return this.node(op === 'eqz' ? 1 : a.width, true, { kind: 'unary', op, a: source });
  }

  isZero(a: V): V { return this.unary('eqz', a); }
  not(a: V): V { return this.xor(a, this.const(a.width, -1)); }
  negate(a: V): V { return this.sub(this.const(a.width, 0), a); }

  /** The same value with nothing above its width. */
  clean(a: V): V {
    if (a.clean || a.width >= 32) return a;
    return this.node(a.width, true, { kind: 'zeroExtend', a });
  }

  private promote(a: V, signed: boolean): V {
    return signed ? this.signExtend(a, 32) : this.zeroExtend(a, 32);
  }

  zeroExtend(a: V, width: Width): V {
    if (a.width === width) return this.clean(a);
    if (a.kind === 'const') return this.const(width, a.low, 0);
    return this.node(width, true, { kind: 'zeroExtend', a });
  }

  signExtend(a: V, width: Width): V {
    if (a.width === width) return a;
    if (a.kind === 'const') return this.const(width, signExtend(a.low, a.width));
    return this.node(width, width >= 32, { kind: 'signExtend', a });
  }

  truncate(a: V, width: Width): V {
    if (a.width === width) return a;
    if (a.kind === 'const') return this.const(width, a.low);
    if (a.kind === 'zeroExtend' && a.a.width === width) return a.a;
    return this.node(width, width >= 32, { kind: 'truncate', a });
  }

  /** Truncates or zero-extends to a width. */
  resize(a: V, width: Width): V {
    return a.width > width ? this.truncate(a, width) : this.zeroExtend(a, width);
  }

  select(condition: V, a: V, b: V): V {
    if (a.width !== b.width) throw new Error(`select: widths ${a.width} and ${b.width} differ`);
    if (condition.kind === 'const') return condition.low ? a : b;
    return this.node(a.width, a.clean && b.clean, { kind: 'select', condition, a, b });
  }

  vector(code: number, args: readonly V[], width: Width = 128, immediate?: readonly number[]): V {
    return this.node(width, width >= 32, immediate ? { kind: 'vector', code, args, immediate } : { kind: 'vector', code, args });
  }

  /** Calls a pure helper that returns a value. */
  call(helper: string, width: Width, args: readonly V[]): V {
    return this.node(width, width >= 32, { kind: 'call', helper, args });
  }

  /** Calls an instruction helper that returns a STATUS; statements after it run only when it is OK. */
  instruction(helper: string, args: readonly V[] = []): void {
    this.emit({ kind: 'instruction', helper, args });
  }

  when(condition: V, then: () => void, otherwise?: () => void): void {
    if (condition.kind === 'const') {
      if (condition.low) then();
      else otherwise?.();
      return;
    }
    this.stack.push([]);
    then();
    const thenStatements = this.stack.pop()!;
    this.stack.push([]);
    otherwise?.();
    const otherwiseStatements = this.stack.pop()!;
    this.emit({ kind: 'when', condition, then: thenStatements, otherwise: otherwiseStatements });
  }

  raise(vector: number, error: V | null = null): void {
    this.emit({ kind: 'raise', vector, error });
  }

  // ---- memory -----------------------------------------------------------------------------------------------------------------

  /** Effective address of the ModRM memory operand, wrapped to the address size (64 bits wide). */
  effectiveAddress(): V {
    return this.wrapAddress(this.addressSum());
  }

  /** Wraps a 64-bit offset to the address size. */
  wrapAddress(offset: V): V {
    if (this.form.addressSize === 64) return offset;
    if (this.form.addressSize === 32) return this.zeroExtend(this.truncate(offset, 32), 64);
    return this.zeroExtend(this.truncate(offset, 16), 64);
  }

  private addressSum(): V {
    if (this.form.addressing === 'rip') return this.fact('target', 64);
    if (this.form.addressing === 'ripFar') return this.add(this.fact('nextRip', 64), this.fact('displacement', 64));
    const displacement = this.fact('displacement', 64);
    const base = this.slot('base', 64);
    if (this.form.addressing === 'base') return this.add(base, displacement);
    return this.add(this.add(base, this.shl(this.slot('index', 64), this.fact('scale', 64))), displacement);
  }

  /** Linear address of `offset` in a segment, with the checks that the mode asks for. */
  linear(segment: Slot, offset: V, bytes: number, write: boolean): V {
    if (this.long) {
      if (typeof segment === 'number' || this.form.addressing === 'base') return offset;
      return this.add(offset, this.slot('segment', 64));
    }
    return this.node(64, true, { kind: 'segment', segment, offset, bytes, write });
  }

  /** Linear address of the memory operand. `bytes` and `write` say what will be done there. */
  operandLinear(bytes: number, write: boolean): V {
    return this.linear('segment', this.effectiveAddress(), bytes, write);
  }

  load(address: V, width: Width): V {
    return this.node(width, true, { kind: 'load', address, bytes: width / 8 });
  }

  store(address: V, value: V): void {
    this.emit({ kind: 'store', address, bytes: value.width / 8, value });
  }

  modify(address: V, width: Width): V {
    return this.node(width, true, { kind: 'modify', address, bytes: width / 8 });
  }

  commit(modify: V, value: V): void {
    this.emit({ kind: 'commit', modify, value });
  }

  // ---- operands ---------------------------------------------------------------------------------------------------------------

  operand(i: number): OperandKind {
    const operand = this.form.operands[i];
    if (!operand) throw new Error(`no operand ${i}`);
    return operand;
  }

  isMemory(i: number): boolean {
    return this.operand(i).type === 'memory';
  }

  width(i: number): Width {
    return this.operand(i).width;
  }

  /** Reads operand `i`. */
  src(i: number): V {
    const operand = this.operand(i);
    switch (operand.type) {
      case 'register': return this.slot(operand.slot, operand.width);
      case 'memory': return this.load(this.operandLinear(operand.width / 8, false), operand.width);
      case 'immediate': return this.immediate(operand.width);
      case 'constant': return this.const(operand.width, operand.value);
    }
  }

  /** Writes operand `i`. */
  write(i: number, value: V): void {
    const operand = this.operand(i);
    if (operand.type === 'register') this.setSlot(operand.slot, this.resize(value, operand.width));
    else if (operand.type === 'memory') this.store(this.operandLinear(operand.width / 8, true), value);
    else throw new Error('operand cannot be written');
  }

  /** Reads operand `i`, computes, writes the result back; a memory operand is checked for writing before anything else happens. */
  update(i: number, compute: (old: V) => V): void {
    const operand = this.operand(i);
    if (operand.type === 'memory') {
      const handle = this.modify(this.operandLinear(operand.width / 8, true), operand.width);
      this.commit(handle, compute(handle));
    } else this.write(i, compute(this.src(i)));
  }

  /** A general register by number, `width` bits (8: the low byte). */
  reg(number: number, width: Width): V {
    return this.slot(GPR - 0x10000 + number * 8, width);
  }

  setReg(number: number, value: V): void {
    this.setSlot(GPR - 0x10000 + number * 8, value);
  }

  // ---- status flags -----------------------------------------------------------------------------------------------------------

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
    this.setState(F_CX, this.shiftedUp(x));
    this.setState(F_CY, this.shiftedUp(y));
    this.setAux(AUX_DERIVED | (compared ? AUX_COMPARED : 0) | (64 - x.width));
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

  /** INC: like ADD of 1 but CF stays. */
  flagsInc(a: V, result: V): void {
    this.flagsStep(a, result, this.and(this.not(a), result));
  }

  flagsDec(a: V, result: V): void {
    this.flagsStep(a, result, this.and(a, this.not(result)));
  }

  private flagsStep(a: V, result: V, overflow: V): void {
    const carry = this.zeroExtend(this.carry(), 64);
    this.setResult(result);
    this.setTopCarryOverflow(this.shl(carry, this.const(32, 63)), this.shiftedUp(overflow));
    this.setAdjust(this.xor(this.xor(a, this.const(a.width, 1)), result));
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
    this.keepAdjust();
    const overflow = this.overflowWord();
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
    const borrows = this.xor(this.xor(cx, cy), this.sub(cx, cy));
    const derived = this.truncate(this.shrU(borrows, this.and(aux, this.const(32, 63))), 32);
    return this.select(this.ne(this.and(aux, this.const(32, AUX_DERIVED)), this.const(32, 0)), derived, aux);
  }

  /** A value (64 bits wide) whose sign is OF. */
  private overflowWord(): V {
    const cx = this.state(F_CX, 64);
    const cy = this.state(F_CY, 64);
    return this.and(this.xor(cx, cy), this.xor(cx, this.sub(cx, cy)));
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

  // ---- control transfer and stack ---------------------------------------------------------------------------------------------

  /** The instruction's own relative target, known when decoded. */
  branch(): void {
    this.emit({ kind: 'branch' });
  }

  /** #GP(0) unless a near target is canonical (64-bit code), or within CS (all other). */
  checkTarget(target: V): void {
    if (this.long) {
      this.checkCanonical(target);
      return;
    }
    const limit = this.state(SEGMENTS + CS * SEGMENT_SIZE + SEG_LIMIT, 32);
    this.when(this.ltU(limit, this.resize(target, 32)), () => this.raise(13, this.const(32, 0)));
  }

  /** Goes to an absolute near target of operand-size width, which was checked. */
  jump(target: V): void {
    this.emit({ kind: 'jump', target: this.zeroExtend(target, 64) });
  }

  /** Stack pointer after adding `delta`, wrapped to the stack's width, as 64 bits. */
  private stackOffset(delta: number): V {
    const sp = this.reg(4, 64);
    const moved = this.add(sp, this.const(64, delta));
    return this.long ? moved : this.stackWidth(moved);
  }

  private stackLinear(offset: V, bytes: number, write: boolean): V {
    if (this.long) return offset;
    return this.linear(SEGMENTS - 0x10000 + SS * SEGMENT_SIZE + SEG_BASE, offset, bytes, write);
  }

  /** Writes the stack pointer at the stack's width. */
  setStackPointer(offset: V): void {
    if (this.long) {
      this.setReg(4, offset);
      return;
    }
    const is32 = this.truncate1(this.state(STACK_SIZE, 32));
    const old = this.reg(4, 32);
    const merged = this.select(is32, this.truncate(offset, 32),
      this.or(this.and(old, this.const(32, 0xffff0000 | 0)), this.and(this.truncate(offset, 32), this.const(32, 0xffff))));
    this.setReg(4, merged);
  }

  push(value: V): void {
    const offset = this.stackOffset(-value.width / 8);
    this.store(this.stackLinear(offset, value.width / 8, true), value);
    this.setStackPointer(offset);
  }

  /** Reads the top of the stack without moving RSP: `popped(bytes)` moves it afterwards, when nothing can fault any more. */
  top(width: Width): V {
    return this.load(this.stackLinear(this.stackOffset(0), width / 8, false), width);
  }

  popped(bytes: number): void {
    this.setStackPointer(this.stackOffset(bytes));
  }

  /** POP to memory: the destination is addressed with the stack pointer already moved, which a fault must undo. */
  popMemory(value: V): void {
    const old = this.reg(4, 64);
    this.popped(value.width / 8);
    const offset = this.effectiveAddress();
    const segment = this.long ? this.slot('segment', 64) : this.zeroExtend(this.slotAddress('segment'), 64);
    this.instruction('popToMemory', [segment, offset, this.zeroExtend(value, 64), this.const(32, value.width / 8), old]);
  }

  /** Adds to the stack pointer, wrapping at the stack's width. */
  addStackPointer(amount: V): void {
    const moved = this.add(this.reg(4, 64), amount);
    this.setStackPointer(this.long ? moved : this.stackWidth(moved));
  }

  /** #GP(0) unless a 64-bit code address is canonical; only what 48 bits cannot hold needs the helper, which knows CR4.LA57. */
  checkCanonical(target: V): void {
    const extended = this.shrS(this.shl(target, this.const(32, 16)), this.const(32, 16));
    this.when(this.ne(extended, target), () => this.instruction('checkCanonical', [target]));
  }

  /** Upper 64 bits of an unsigned product, from 32-bit halves. */
  multiplyHigh(a: V, b: V): V {
    const half = this.const(32, 32);
    const mask = this.const(64, -1, 0);
    const aLow = this.and(a, mask);
    const aHigh = this.shrU(a, half);
    const bLow = this.and(b, mask);
    const bHigh = this.shrU(b, half);
    const middle = this.add(this.mul(aHigh, bLow), this.shrU(this.mul(aLow, bLow), half));
    const other = this.add(this.mul(aLow, bHigh), this.and(middle, mask));
    return this.add(this.add(this.mul(aHigh, bHigh), this.shrU(middle, half)), this.shrU(other, half));
  }

  multiplyHighSigned(a: V, b: V): V {
    const sign = (value: V, other: V): V => this.and(this.shrS(value, this.const(32, 63)), other);
    return this.sub(this.sub(this.multiplyHigh(a, b), sign(a, b)), sign(b, a));
  }

  /** Linear address of the memory operand without any check (INVLPG). */
  unsegmentedLinear(): V {
    const sum = this.add(this.effectiveAddress(), this.slot('segment', 64));
    return this.long ? sum : this.zeroExtend(this.truncate(sum, 32), 64);
  }

  /** The number that the decoder put into a slot that names no register of the state (control and debug registers). */
  slotAddressNumber(slot: Slot): V {
    return this.sub(this.slotAddress(slot), this.const(32, STATE));
  }

  /** LEAVE: RSP = RBP, then RBP = pop, at the stack's width and the operand size. */
  leave(): void {
    const width = this.opSize;
    const frame = this.long ? this.reg(5, 64) : this.stackWidth(this.reg(5, 64));
    const value = this.load(this.stackLinear(frame, width / 8, false), width);
    const moved = this.add(frame, this.const(64, width / 8));
    this.setStackPointer(this.long ? moved : this.stackWidth(moved));
    this.setReg(5, value);
  }

  private stackWidth(offset: V): V {
    const wide = this.truncate(offset, 32);
    const is32 = this.truncate1(this.state(STACK_SIZE, 32));
    return this.zeroExtend(this.select(is32, wide, this.and(wide, this.const(32, 0xffff))), 64);
  }

  /** A 16-bit field of the structure that a slot names (selector of a segment register). */
  load16AtSlot(slot: Slot, field: number): V {
    return this.call('loadState16', 16, [this.add(this.slotAddress(slot), this.const(32, field))]);
  }
}

function isZero(node: Node): boolean {
  return node.kind === 'const' && node.low === 0 && node.high === 0;
}

function signExtend(value: number, width: number): number {
  return width >= 32 ? value | 0 : (value << (32 - width)) >> (32 - width);
}

/** Folds 32-bit and narrower constants; 64-bit ones only for add (addresses of regions). */
function fold(op: BinaryOp, a: Node, b: Node, width: Width): { low: number; high: number } | null {
  if (a.kind !== 'const' || b.kind !== 'const' || a.width > 32) return null;
  const mask = width >= 32 ? -1 : (1 << width) - 1;
  switch (op) {
    case 'add': return { low: (a.low + b.low) & mask, high: 0 };
    case 'sub': return { low: (a.low - b.low) & mask, high: 0 };
    case 'and': return { low: a.low & b.low & mask, high: 0 };
    case 'or': return { low: (a.low | b.low) & mask, high: 0 };
    case 'xor': return { low: (a.low ^ b.low) & mask, high: 0 };
    case 'eq': return { low: a.low === b.low ? 1 : 0, high: 0 };
    case 'ne': return { low: a.low !== b.low ? 1 : 0, high: 0 };
    default: return null;
  }
}
