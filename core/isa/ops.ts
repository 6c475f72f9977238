/**
 * `Ops`: what instruction definitions are written in. A definition is an ordinary function; what the decoder knows (sizes, mode, operand
 * kinds) is an ordinary TypeScript value, what only the running processor knows is a `V`. Calling a method appends to the program.
 */
import type { Slot, V, Width, Program } from './ir.ts';
import type { OperandKind } from './operands.ts';
import { FlagOps } from './flagOps.ts';
import type { Form } from './values.ts';
import { CS, GPR, SEGMENTS, SEGMENT_SIZE, SEG_BASE, SEG_LIMIT, SS, STACK_SIZE, STATE } from '../cpu/layout.ts';

export type Definition = (o: Ops) => void;

export class Ops extends FlagOps {
  static build(form: Form, definition: Definition): Program {
    const o = new Ops(form);
    definition(o);
    return o.program;
  }

  // ---- memory -----------------------------------------------------------------------------------------------------------------

  /** Effective address of the ModRM memory operand, wrapped to the address size (64 bits wide). */
  effectiveAddress(): V {
    return this.wrapAddress(this.addressSum());
  }

  /** Wraps an offset of 64 bits, or of 32 where addresses have no more, to the address size: 64 bits wide. */
  wrapAddress(offset: V): V {
    if (this.form.addressSize === 64) return offset;
    return this.zeroExtend(this.truncate(offset, this.form.addressSize), 64);
  }

  /** Of 64 bits, or of 32 where the address size is less. */
  private addressSum(): V {
    if (this.form.addressing === 'rip') return this.fact('target', 64);
    if (this.form.addressing === 'ripFar') return this.add(this.fact('nextRip', 64), this.fact('displacement', 64));
    const width = this.form.addressSize === 64 ? 64 : 32;
    const displacement = this.fact('displacement', width);
    const base = this.slot('base', width);
    if (this.form.addressing === 'base') return this.add(base, displacement);
    return this.add(this.add(base, this.shl(this.slot('index', width), this.fact('scale', width))), displacement);
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

  /** A register that addresses the stack plus `delta`: of 64 bits in 64-bit code, else of 32. Neither wraps at a 16-bit stack's width. */
  private stackSum(register: number, delta: number): V {
    const width = this.long ? 64 : 32;
    return this.add(this.reg(register, width), this.const(width, delta));
  }

  /** Linear address of a sum on the stack. */
  private stackLinear(sum: V, bytes: number, write: boolean): V {
    if (this.long) return sum;
    const offset = this.select(this.stackIs32(), sum, this.and(sum, this.const(32, 0xffff)));
    return this.linear(SEGMENTS - 0x10000 + SS * SEGMENT_SIZE + SEG_BASE, this.zeroExtend(offset, 64), bytes, write);
  }

  private stackIs32(): V {
    return this.truncate1(this.state(STACK_SIZE, 32));
  }

  /** Writes a sum to the stack pointer, at the stack's width. */
  private setStackPointer(sum: V): void {
    if (this.long) {
      this.setReg(4, sum);
      return;
    }
    const upper = this.and(this.reg(4, 32), this.const(32, 0xffff0000 | 0));
    this.setReg(4, this.select(this.stackIs32(), sum, this.or(upper, this.and(sum, this.const(32, 0xffff)))));
  }

  push(value: V): void {
    const sum = this.stackSum(4, -value.width / 8);
    this.store(this.stackLinear(sum, value.width / 8, true), value);
    this.setStackPointer(sum);
  }

  /** Reads the top of the stack without moving RSP: `popped(bytes)` moves it afterwards, when nothing can fault any more. */
  top(width: Width): V {
    return this.load(this.stackLinear(this.stackSum(4, 0), width / 8, false), width);
  }

  popped(bytes: number): void {
    this.setStackPointer(this.stackSum(4, bytes));
  }

  /** POP to memory: the destination is addressed with the stack pointer already moved, which a fault must undo. */
  popMemory(value: V): void {
    const old = this.reg(4, 64);
    this.popped(value.width / 8);
    const offset = this.effectiveAddress();
    const segment = this.long ? this.slot('segment', 64) : this.zeroExtend(this.slotAddress('segment'), 64);
    this.instruction('popToMemory', [segment, offset, this.zeroExtend(value, 64), this.const(32, value.width / 8), old]);
  }

  /** Adds a value of at most 32 bits to the stack pointer, wrapping at the stack's width. */
  addStackPointer(amount: V): void {
    const width = this.long ? 64 : 32;
    this.setStackPointer(this.add(this.reg(4, width), this.resize(amount, width)));
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
    const value = this.load(this.stackLinear(this.stackSum(5, 0), width / 8, false), width);
    this.setStackPointer(this.stackSum(5, width / 8));
    this.setReg(5, value);
  }

  /** A 16-bit field of the structure that a slot names (selector of a segment register). */
  load16AtSlot(slot: Slot, field: number): V {
    return this.call('loadState16', 16, [this.add(this.slotAddress(slot), this.const(32, field))]);
  }
}
