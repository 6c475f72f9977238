/** Where a region keeps the processor state: general registers and lazy flags in wasm locals, the rest in memory. */
import type { FunctionWriter, ValueType } from '../../wasm/writer.ts';
import { I32, I64, op } from '../../wasm/opcodes.ts';
import type { Program, Statement, Width } from '../../isa/ir.ts';
import type { Decoded } from '../../isa/decoder.ts';
import { loadOp, storeOp, storeRegister } from '../widths.ts';
import { F_AUX, F_CX, F_CY, F_RES, GPR, STATE, ZERO } from '../layout.ts';
import type { RegionBlock } from './discover.ts';
import { slotNumber } from './tape.ts';

const GENERAL_REGISTERS = 16;
const GENERAL_END = GENERAL_REGISTERS * 8;
/** Fields of the lazy flags are held as registers behind the general ones. F_AUX and F_PARITY are the halves of one. */
const FLAG_FIELDS = [F_RES, F_CX, F_CY, F_AUX] as const;
const HELD = GENERAL_REGISTERS + FLAG_FIELDS.length;
/** Instructions that use a general register at least where a local is worth what reading it at entry and writing it back at the end cost. */
const HELD_USES = 6;
const FLAGS_BEGIN = F_RES - STATE;
/** What is held, by the eighth of its offset from F_RES. */
const FLAG_AT = [0, 1, 2, -1, 3].map(field => (field < 0 ? -1 : GENERAL_REGISTERS + field));

/** Offset from STATE that a slot, as a number (tape.ts), stands for in one instruction. */
export function slotOffset(decoded: Decoded, slot: number): number {
  switch (slot) {
    case -1: return decoded.g;
    case -2: return decoded.e;
    case -3: return decoded.index;
    case -4: return decoded.segment;
    case -5: return decoded.aux & 0xffff;
    default: return slot;
  }
}

/** The general register that an offset from STATE lies in, else -1. */
function generalAt(offset: number): number {
  return offset >= 0 && offset < GENERAL_END ? offset >> 3 : -1;
}

/** What holds the field of the flags at an offset from STATE, else -1. */
function flagAt(offset: number): number {
  return offset >= FLAGS_BEGIN ? FLAG_AT[(offset - FLAGS_BEGIN) >> 3] ?? -1 : -1;
}

/** Slots that differ from instruction to instruction, as bits of a set: G, E, index, segment, V. */
const OPEN_SLOTS = [-1, -2, -3, -4, -5] as const;

/** What of the state that can be held is touched, as sets of bits: fixed places by number, and slots that differ from instruction to instruction. */
export interface Touches {
  readonly held: number;
  readonly slots: number;
}

export interface StateUse {
  readonly touched: Touches;
  readonly written: Touches;
}

/** What a program touches. */
export function useOf(program: Program): StateUse {
  const touched = { held: 0, slots: 0 };
  const written = { held: 0, slots: 0 };
  const touch = (slot: number, writes: boolean): void => {
    const general = generalAt(slot);
    const held = general >= 0 ? general : flagAt(slot);
    for (const set of writes ? [touched, written] : [touched]) {
      if (OPEN_SLOTS.some(open => open === slot)) set.slots |= 1 << (-1 - slot);
      else if (held >= 0) set.held |= 1 << held;
    }
  };
  const scan = (list: readonly Statement[]): void => {
    for (const statement of list) {
      if (statement.kind === 'let') {
        const { node } = statement;
        if (node.kind === 'slot') touch(slotNumber(node.slot), false);
        else if (node.kind === 'state') touch(node.offset - STATE, false);
      } else if (statement.kind === 'setSlot' || statement.kind === 'setPart') touch(slotNumber(statement.slot), true);
      else if (statement.kind === 'setState') touch(statement.offset - STATE, true);
      else if (statement.kind === 'when') {
        scan(statement.then);
        scan(statement.otherwise);
      }
    }
  };
  scan(program.statements);
  return { touched, written };
}

/** What an instruction touches: bits by general register, and fields of the flags behind them. */
function resolve(decoded: Decoded, { held, slots }: Touches): number {
  let all = held;
  for (let rest = slots, slot = -1; rest !== 0; rest >>= 1, slot--) {
    const general = rest & 1 ? generalAt(slotOffset(decoded, slot)) : -1;
    if (general >= 0) all |= 1 << general;
  }
  return all;
}

function numbersOf(bits: number): readonly number[] {
  const numbers: number[] = [];
  for (let held = 0; held < HELD; held++) if (bits & (1 << held)) numbers.push(held);
  return numbers;
}

export class RegisterFile {
  private readonly code: FunctionWriter;
  private readonly holds: boolean;
  /** What general registers are held as: legacy code sees 32 bits of them, and has zeroes above (descriptors.ts). */
  private readonly general: ValueType;
  /** Registers and flags that the region touches, and that it writes. */
  private readonly touched: readonly number[];
  private readonly written: readonly number[];
  /** Local of what is held; -1: it is not touched. */
  private readonly locals: number[] = new Array<number>(HELD).fill(-1);

  /** @param blocks code whose state is held in locals; null: everything stays in memory */
  constructor(code: FunctionWriter, blocks: readonly RegionBlock[] | null, legacy: boolean) {
    this.code = code;
    this.holds = blocks !== null;
    this.general = legacy ? I32 : I64;
    let touched = 0;
    let written = 0;
    const uses = new Array<number>(HELD).fill(0);
    for (const { instructions } of blocks ?? []) {
      for (const { decoded, form: { use } } of instructions) {
        const used = resolve(decoded, use.touched);
        touched |= used;
        written |= resolve(decoded, use.written);
        for (let rest = used; rest !== 0; rest &= rest - 1) uses[31 - Math.clz32(rest & -rest)]!++;
      }
    }
    for (let general = 0; general < GENERAL_REGISTERS; general++) if (uses[general]! < HELD_USES) touched &= ~(1 << general);
    this.touched = numbersOf(touched);
    this.written = numbersOf(written & touched);
    for (const held of this.touched) this.locals[held] = code.local(this.typeOf(held));
  }

  private typeOf(held: number): ValueType {
    return held < GENERAL_REGISTERS ? this.general : I64;
  }

  /** Memory to locals: at entry and after a helper that may have changed anything. */
  reload(): void {
    for (const held of this.touched) this.load(held);
  }

  /** Locals to memory: whatever the region writes anywhere, as this point may be reached again from behind. */
  spill(): void {
    for (const held of this.written) this.store(held);
  }

  private load(held: number): void {
    this.code.i32Const(0);
    this.code.memory(this.typeOf(held) === I32 ? op.i32Load : op.i64Load, placeOf(held));
    this.code.set(this.locals[held]!);
  }

  private store(held: number): void {
    this.code.i32Const(0);
    this.code.get(this.locals[held]!);
    if (this.typeOf(held) === I32) this.code.op(op.i64ExtendI32U);
    this.code.memory(op.i64Store, placeOf(held));
  }

  /** The local of the general register at an offset from STATE, -1 when there is none. */
  private generalLocal(offset: number): number {
    const general = generalAt(offset);
    return general < 0 ? -1 : this.locals[general]!;
  }

  private flagLocal(offset: number): number {
    const held = flagAt(offset - STATE);
    return held < 0 ? -1 : this.locals[held]!;
  }

  readSlot(offset: number, width: Width): void {
    const { code } = this;
    if (offset === ZERO - STATE) {
      if (width === 64) code.i64Const(0, 0);
      else code.i32Const(0);
      return;
    }
    const local = this.generalLocal(offset);
    if (local < 0) {
      code.i32Const(0);
      loadOp(code, width, STATE + offset, false);
      return;
    }
    code.get(local);
    this.narrow(offset & 7, width, this.general);
  }

  /** A value of a type on the stack → the part at byte `at` of a width. */
  private narrow(at: number, width: Width, type: ValueType): void {
    const { code } = this;
    if (width === 64) {
      if (type === I32) code.op(op.i64ExtendI32U);
      return;
    }
    if (at === 4) {
      code.i64Const(32);
      code.op(op.i64ShrU);
    }
    if (type === I64) code.op(op.i32WrapI64);
    if (at === 1) {
      code.i32Const(8);
      code.op(op.i32ShrU);
    }
    if (width === 8 || width === 16) {
      code.i32Const(width === 8 ? 0xff : 0xffff);
      code.op(op.i32And);
    }
  }

  /** In front of the code that pushes what is written to a slot. */
  beginSlot(offset: number, width: Width): void {
    const { code } = this;
    const local = this.generalLocal(offset);
    if (local < 0) code.i32Const(0);
    else if (width === 8 || width === 16) {
      const rest = ~(maskOf(width) << ((offset & 7) * 8));
      code.get(local);
      if (this.general === I32) {
        code.i32Const(rest);
        code.op(op.i32And);
      } else {
        code.i64Const(rest);
        code.op(op.i64And);
      }
    }
  }

  /** Behind that code. */
  endSlot(offset: number, width: Width): void {
    const { code } = this;
    const local = this.generalLocal(offset);
    if (local < 0) {
      storeRegister(code, offset, width, STATE + offset);
      return;
    }
    if (width === 8 || width === 16) this.insert((offset & 7) * 8, maskOf(width));
    else if (width === 32 && this.general === I64) code.op(op.i64ExtendI32U);
    else if (width === 64 && this.general === I32) code.op(op.i32WrapI64);
    code.set(local);
  }

  /** Adds the value on the stack to the rest of its register, below it. */
  private insert(shift: number, mask: number): void {
    const { code } = this;
    code.i32Const(mask);
    code.op(op.i32And);
    if (shift) {
      code.i32Const(shift);
      code.op(op.i32Shl);
    }
    if (this.general === I64) code.op(op.i64ExtendI32U);
    code.op(this.general === I32 ? op.i32Or : op.i64Or);
  }

  /** Whether one of the lazy flags' 64-bit fields can be read: a region that holds some holds those that it touches. */
  hasFlag(offset: number): boolean {
    return !this.holds || this.flagLocal(offset) >= 0;
  }

  /** Pushes a field of the lazy flags, which `hasFlag`. */
  readFlag(offset: number): void {
    const local = this.flagLocal(offset);
    if (local >= 0) this.code.get(local);
    else {
      this.code.i32Const(0);
      this.code.memory(op.i64Load, offset);
    }
  }

  readState(offset: number, width: Width, signed: boolean): void {
    const { code } = this;
    const flag = this.flagLocal(offset);
    const local = flag < 0 ? this.generalLocal(offset - GPR) : flag;
    if (local < 0) {
      code.i32Const(0);
      loadOp(code, width, offset, signed);
      return;
    }
    code.get(local);
    this.narrow((offset - STATE) & 7, width, flag < 0 ? this.general : I64);
  }

  /** In front of the code that pushes what is written to a field of the state. */
  beginState(offset: number, bytes: number): void {
    const { code } = this;
    const local = this.flagLocal(offset);
    if (local < 0) code.i32Const(0);
    else if (bytes !== 8) {
      code.get(local);
      const upper = (offset & 7) !== 0;
      code.i64Const(upper ? -1 : 0, upper ? 0 : -1);
      code.op(op.i64And);
    }
  }

  /** Behind that code; `wide`: the value is an i64. */
  endState(offset: number, bytes: number, wide: boolean): void {
    const { code } = this;
    const local = this.flagLocal(offset);
    if (local < 0) {
      storeOp(code, bytes, offset, wide);
      return;
    }
    if (bytes !== 8) {
      if (!wide) code.op(op.i64ExtendI32U);
      if ((offset & 7) !== 0) {
        code.i64Const(32);
        code.op(op.i64Shl);
      }
      code.op(op.i64Or);
    }
    code.set(local);
  }
}

/** Where what is held lies in memory. */
function placeOf(held: number): number {
  return held < GENERAL_REGISTERS ? GPR + held * 8 : FLAG_FIELDS[held - GENERAL_REGISTERS]!;
}

function maskOf(width: Width): number {
  return width === 8 ? 0xff : 0xffff;
}
