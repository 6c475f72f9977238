/**
 * Emits one instruction form with its operands read from the predecoded record: as a case of the interpreter's switch or as a
 * function of its own.
 */
import type { FunctionWriter, ValueType } from '../../wasm/writer.ts';
import type { Fact, Slot, Width } from '../../isa/ir.ts';
import type { Target } from '../target.ts';
import { tableAccess } from '../tableAccess.ts';
import { loadOp, storeOp, storeRegister } from '../widths.ts';
import { I32, V128, op } from '../../wasm/opcodes.ts';
import { NEXT_RIP, RIP, STATE } from '../layout.ts';
import {
  R_AUX, R_DISPLACEMENT, R_E, R_G, R_IMMEDIATE, R_INDEX, R_LENGTH, R_OFFSET, R_SCALE, R_SEGMENT,
} from '../record.ts';

const SLOT_FIELD: Record<string, number> = { G: R_G, E: R_E, base: R_E, index: R_INDEX, segment: R_SEGMENT, V: R_AUX };

/** Locals that a form's code reads: the record's address, RIP of the page's first byte, base of the look-aside tables. */
export interface FormLocals {
  readonly record: number;
  readonly pageRip: number;
  readonly tlb: number;
}

/** How a form ends; labels and code of the surrounding function. */
export interface FormEnds {
  faultLabel(): number;
  status(): void;
  jump(): void;
  branch(): void;
}

/** A pool of locals that forms share. */
export class LocalPool {
  private readonly code: FunctionWriter;
  /** Free locals, by how far their type's code is below I32. */
  private readonly free: number[][] = [];

  constructor(code: FunctionWriter) {
    this.code = code;
    for (let type: number = I32; type >= V128; type--) this.free.push([]);
  }

  allocate(type: ValueType): number {
    return this.free[I32 - type]!.pop() ?? this.code.local(type);
  }

  release(type: ValueType, local: number): void {
    this.free[I32 - type]!.push(local);
  }
}

/** A target whose operands are fields of the record. */
export function recordTarget(code: FunctionWriter, locals: FormLocals, pool: LocalPool, ends: FormEnds,
  helper: (name: string) => number): Target {
  const offsetRip = (): void => {
    code.get(locals.pageRip);
    code.get(locals.record);
    code.memory(op.i64Load16U, R_OFFSET);
    code.op(op.i64Add);
  };
  const nextRip = (): void => {
    offsetRip();
    code.get(locals.record);
    code.memory(op.i64Load8U, R_LENGTH);
    code.op(op.i64Add);
  };
  const narrow = (width: Width): void => {
    if (width !== 64) code.op(op.i32WrapI64);
  };
  return {
    code,
    memory: take => tableAccess({ code, tlb: locals.tlb, helper, take }, () => code.brIf(ends.faultLabel())),
    slotBase(slot: Slot): number {
      if (typeof slot === 'number') {
        code.i32Const(0);
        return STATE + slot;
      }
      code.get(locals.record);
      code.memory(op.i32Load16U, SLOT_FIELD[slot]!);
      return STATE;
    },
    fact(fact: Fact, width: Width): void {
      switch (fact) {
        case 'immediate':
          code.get(locals.record);
          code.memory(width === 64 ? op.i64Load : op.i32Load, R_IMMEDIATE);
          break;
        case 'displacement':
          code.get(locals.record);
          code.memory(width === 64 ? op.i64Load32S : op.i32Load, R_DISPLACEMENT);
          break;
        case 'scale':
          code.get(locals.record);
          code.memory(width === 64 ? op.i64Load8U : op.i32Load8U, R_SCALE);
          break;
        case 'length':
          code.get(locals.record);
          code.memory(width === 64 ? op.i64Load8U : op.i32Load8U, R_LENGTH);
          break;
        case 'aux':
          code.get(locals.record);
          code.memory(width === 64 ? op.i64Load32U : op.i32Load, R_AUX);
          break;
        case 'rip': offsetRip(); narrow(width); break;
        case 'nextRip': nextRip(); narrow(width); break;
        case 'target':
          code.get(locals.pageRip);
          code.get(locals.record);
          code.memory(op.i64Load32S, R_DISPLACEMENT);
          code.op(op.i64Add);
          narrow(width);
          break;
      }
    },
    registersInMemory: true,
    readSlot(slot: Slot, width: Width, at: number): void {
      const offset = this.slotBase(slot);
      loadOp(code, width, offset + at, false);
    },
    writeSlot(slot: Slot, width: Width, value: () => void): void {
      const offset = this.slotBase(slot);
      value();
      storeRegister(code, slot, width, offset);
    },
    readState(offset: number, width: Width, signed: boolean): void {
      code.i32Const(0);
      loadOp(code, width, offset, signed);
    },
    writeState(offset: number, bytes: number, wide: boolean, value: () => void): void {
      code.i32Const(0);
      value();
      storeOp(code, bytes, offset, wide);
    },
    helper,
    fault: () => code.br(ends.faultLabel()),
    faultIf: () => code.brIf(ends.faultLabel()),
    spill(): void {
      code.i32Const(0);
      offsetRip();
      code.memory(op.i64Store, RIP);
      code.i32Const(0);
      nextRip();
      code.memory(op.i64Store, NEXT_RIP);
    },
    status: () => ends.status(),
    jump: () => ends.jump(),
    branch: () => ends.branch(),
    allocate: type => pool.allocate(type),
    release: (type, local) => pool.release(type, local),
  };
}
