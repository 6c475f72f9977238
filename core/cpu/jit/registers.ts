/** Where a region keeps the processor state: general registers and lazy flags in wasm locals, the rest in memory. */
import type { FunctionWriter } from '../../wasm/writer.ts';
import { I64, op } from '../../wasm/opcodes.ts';
import type { Statement, Width } from '../../isa/ir.ts';
import type { Decoded } from '../../isa/decoder.ts';
import { loadOp, storeOp, storeRegister } from '../widths.ts';
import { F_AUX, F_CX, F_CY, F_RES, GPR, STATE, ZERO } from '../layout.ts';
import { slotNumber } from './tape.ts';

const GENERAL_REGISTERS = 16;
const GENERAL_END = GENERAL_REGISTERS * 8;
/** Fields of the lazy flags are held as registers behind the general ones. F_AUX and F_PARITY are the halves of one. */
const FLAG_FIELDS = [F_RES, F_CX, F_CY, F_AUX] as const;
const HELD = GENERAL_REGISTERS + FLAG_FIELDS.length;
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

/** State that a program touches, in order. */
export interface Touch {
  /** As a number (tape.ts), or an offset from STATE. */
  readonly slot: number;
  readonly written: boolean;
}

export function touchesOf(statements: readonly Statement[]): readonly Touch[] {
  const touches: Touch[] = [];
  const touch = (slot: number, written: boolean): void => {
    if (!touches.some(known => known.slot === slot && known.written === written)) touches.push({ slot, written });
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
  scan(statements);
  // Other state is in memory anyway.
  return touches.filter(({ slot }) => slot < 0 || generalAt(slot) >= 0 || flagAt(slot) >= 0);
}

/** Which registers and flags a region touches, each in the order of its first touch. */
export class StateUse {
  readonly general: number[] = [];
  readonly flags: number[] = [];
  readonly generalWritten: number[] = [];
  readonly flagsWritten: number[] = [];
  private touched = 0;
  private written = 0;

  add(decoded: Decoded, touches: readonly Touch[]): void {
    for (const { slot, written } of touches) {
      const offset = slotOffset(decoded, slot);
      const general = generalAt(offset);
      const held = general >= 0 ? general : slot < 0 ? -1 : flagAt(offset);
      if (held < 0) continue;
      const bit = 1 << held;
      if ((this.touched & bit) === 0) (general >= 0 ? this.general : this.flags).push(held);
      this.touched |= bit;
      if (!written) continue;
      if ((this.written & bit) === 0) (general >= 0 ? this.generalWritten : this.flagsWritten).push(held);
      this.written |= bit;
    }
  }
}

export class RegisterFile {
  private readonly code: FunctionWriter;
  private readonly use: StateUse;
  /** Local of what is held; -1: it is not touched. */
  private readonly locals: number[] = new Array<number>(HELD).fill(-1);

  constructor(code: FunctionWriter, use: StateUse) {
    this.code = code;
    this.use = use;
    for (const held of use.general) this.locals[held] = code.local(I64);
    for (const held of use.flags) this.locals[held] = code.local(I64);
  }

  /** Memory to locals: at entry and after a helper that may have changed anything. */
  reload(): void {
    for (const held of this.use.general) this.load(held);
    for (const held of this.use.flags) this.load(held);
  }

  /** Locals to memory: whatever the region writes anywhere, as this point may be reached again from behind. */
  spill(): void {
    for (const held of this.use.generalWritten) this.store(held);
    for (const held of this.use.flagsWritten) this.store(held);
  }

  private load(held: number): void {
    this.code.i32Const(0);
    this.code.memory(op.i64Load, placeOf(held));
    this.code.set(this.locals[held]!);
  }

  private store(held: number): void {
    this.code.i32Const(0);
    this.code.get(this.locals[held]!);
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
    this.narrow(offset & 7, width);
  }

  /** i64 on the stack → the part at byte `at` of a width. */
  private narrow(at: number, width: Width): void {
    const { code } = this;
    if (width === 64) return;
    if (at === 4) {
      code.i64Const(32);
      code.op(op.i64ShrU);
    }
    code.op(op.i32WrapI64);
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
      code.get(local);
      code.i64Const(~(maskOf(width) << ((offset & 7) * 8)));
      code.op(op.i64And);
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
    if (width === 32) code.op(op.i64ExtendI32U);
    else if (width !== 64) this.insert((offset & 7) * 8, maskOf(width));
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
    code.op(op.i64ExtendI32U);
    code.op(op.i64Or);
  }

  /** Whether the region touches one of the lazy flags' 64-bit fields. */
  hasFlag(offset: number): boolean {
    return this.flagLocal(offset) >= 0;
  }

  /** Pushes a field of the lazy flags that the region touches. */
  readFlag(offset: number): void {
    this.code.get(this.flagLocal(offset));
  }

  readState(offset: number, width: Width, signed: boolean): void {
    const { code } = this;
    let local = this.flagLocal(offset);
    if (local < 0) local = this.generalLocal(offset - GPR);
    if (local < 0) {
      code.i32Const(0);
      loadOp(code, width, offset, signed);
      return;
    }
    code.get(local);
    this.narrow((offset - STATE) & 7, width);
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
