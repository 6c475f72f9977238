/** Where a region keeps the processor state: general registers and lazy flags in wasm locals, the rest in memory. */
import type { FunctionWriter } from '../../wasm/writer.ts';
import { I64, op } from '../../wasm/opcodes.ts';
import type { Slot, Statement, Width } from '../../isa/ir.ts';
import type { Decoded } from '../../isa/decoder.ts';
import { loadOp, storeOp, storeRegister } from '../widths.ts';
import { F_AUX, F_CX, F_CY, F_PARITY, F_RES, GPR, STATE, ZERO } from '../layout.ts';

const FLAG_FIELDS = [F_RES, F_CX, F_CY, F_AUX] as const;

/** Offset from STATE that a slot stands for in one instruction. */
export function slotOffset(decoded: Decoded, slot: Slot): number {
  switch (slot) {
    case 'G': return decoded.g;
    case 'E': case 'base': return decoded.e;
    case 'index': return decoded.index;
    case 'segment': return decoded.segment;
    case 'V': return decoded.aux & 0xffff;
    default: return slot;
  }
}

const GENERAL_END = 16 * 8;

function generalOf(offset: number): number {
  return offset < GENERAL_END ? offset >> 3 : -1;
}

function flagField(offset: number): number {
  return offset >= F_RES && offset < F_PARITY + 4 ? FLAG_FIELDS.findIndex(field => offset >= field && offset < field + 8) : -1;
}

/** Which state a region touches. */
export class StateUse {
  readonly general = new Set<number>();
  readonly generalWritten = new Set<number>();
  readonly flags = new Set<number>();
  readonly flagsWritten = new Set<number>();

  scan(decoded: Decoded, statements: readonly Statement[]): void {
    for (const statement of statements) {
      if (statement.kind === 'let') {
        const { node } = statement;
        if (node.kind === 'slot') this.touch(slotOffset(decoded, node.slot), false);
        else if (node.kind === 'state') this.touchState(node.offset, false);
      } else if (statement.kind === 'setSlot' || statement.kind === 'setPart') this.touch(slotOffset(decoded, statement.slot), true);
      else if (statement.kind === 'setState') this.touchState(statement.offset, true);
      else if (statement.kind === 'when') {
        this.scan(decoded, statement.then);
        this.scan(decoded, statement.otherwise);
      }
    }
  }

  private touch(offset: number, written: boolean): void {
    const register = generalOf(offset);
    if (register < 0) return;
    this.general.add(register);
    if (written) this.generalWritten.add(register);
  }

  private touchState(offset: number, written: boolean): void {
    const field = flagField(offset);
    if (field >= 0) {
      this.flags.add(field);
      if (written) this.flagsWritten.add(field);
    } else this.touch(offset - STATE, written);
  }
}

export class RegisterFile {
  private readonly code: FunctionWriter;
  private readonly use: StateUse;
  private readonly general = new Map<number, number>();
  private readonly flags = new Map<number, number>();

  constructor(code: FunctionWriter, use: StateUse) {
    this.code = code;
    this.use = use;
    for (const register of use.general) this.general.set(register, code.local(I64));
    for (const field of use.flags) this.flags.set(field, code.local(I64));
  }

  /** Memory to locals: at entry and after a helper that may have changed anything. */
  reload(): void {
    for (const [register, local] of this.general) this.load(GPR + register * 8, local);
    for (const [field, local] of this.flags) this.load(FLAG_FIELDS[field]!, local);
  }

  /** Locals to memory: whatever the region writes anywhere, as this point may be reached again from behind. */
  spill(): void {
    for (const register of this.use.generalWritten) this.store(GPR + register * 8, this.general.get(register)!);
    for (const field of this.use.flagsWritten) this.store(FLAG_FIELDS[field]!, this.flags.get(field)!);
  }

  private load(offset: number, local: number): void {
    this.code.i32Const(0);
    this.code.memory(op.i64Load, offset);
    this.code.set(local);
  }

  private store(offset: number, local: number): void {
    this.code.i32Const(0);
    this.code.get(local);
    this.code.memory(op.i64Store, offset);
  }

  readSlot(offset: number, width: Width): void {
    const { code } = this;
    if (offset === ZERO - STATE) {
      if (width === 64) code.i64Const(0, 0);
      else code.i32Const(0);
      return;
    }
    const local = this.general.get(generalOf(offset));
    if (local === undefined || generalOf(offset) < 0) {
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

  writeSlot(offset: number, width: Width, value: () => void): void {
    const { code } = this;
    const local = generalOf(offset) >= 0 ? this.general.get(generalOf(offset)) : undefined;
    if (local === undefined) {
      code.i32Const(0);
      value();
      storeRegister(code, offset, width, STATE + offset);
      return;
    }
    if (width === 64) value();
    else if (width === 32) {
      value();
      code.op(op.i64ExtendI32U);
    } else this.insert(local, (offset & 7) * 8, width, value);
    code.set(local);
  }

  private insert(local: number, shift: number, width: Width, value: () => void): void {
    const { code } = this;
    const mask = (width === 8 ? 0xff : 0xffff) << shift;
    code.get(local);
    code.i64Const(~mask);
    code.op(op.i64And);
    value();
    code.i32Const(width === 8 ? 0xff : 0xffff);
    code.op(op.i32And);
    if (shift) {
      code.i32Const(shift);
      code.op(op.i32Shl);
    }
    code.op(op.i64ExtendI32U);
    code.op(op.i64Or);
  }

  /** Pushes the local that holds one of the lazy flags' 64-bit fields; false when the region does not touch that. */
  flagField(offset: number): boolean {
    const local = this.flags.get(flagField(offset));
    if (local === undefined) return false;
    this.code.get(local);
    return true;
  }

  readState(offset: number, width: Width, signed: boolean): void {
    const { code } = this;
    const field = flagField(offset);
    const local = field >= 0 ? this.flags.get(field) : undefined;
    if (local === undefined) {
      const register = offset >= GPR && offset < GPR + GENERAL_END ? this.general.get((offset - GPR) >> 3) : undefined;
      if (register !== undefined) {
        code.get(register);
        this.narrow((offset - GPR) & 7, width);
        return;
      }
      code.i32Const(0);
      loadOp(code, width, offset, signed);
      return;
    }
    code.get(local);
    this.narrow(offset - FLAG_FIELDS[field]!, width);
  }

  writeState(offset: number, bytes: number, wide: boolean, value: () => void): void {
    const { code } = this;
    const field = flagField(offset);
    const local = field >= 0 ? this.flags.get(field) : undefined;
    if (local === undefined) {
      code.i32Const(0);
      value();
      storeOp(code, bytes, offset, wide);
      return;
    }
    if (bytes === 8) {
      value();
      code.set(local);
      return;
    }
    // F_AUX and F_PARITY are the halves of one field.
    const upper = offset !== FLAG_FIELDS[field];
    code.get(local);
    code.i64Const(upper ? -1 : 0, upper ? 0 : -1);
    code.op(op.i64And);
    value();
    if (!wide) code.op(op.i64ExtendI32U);
    if (upper) {
      code.i64Const(32);
      code.op(op.i64Shl);
    }
    code.op(op.i64Or);
    code.set(local);
  }
}
