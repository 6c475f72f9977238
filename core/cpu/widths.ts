/** Loads and stores of values by their width. */
import type { FunctionWriter } from '../wasm/writer.ts';
import type { Slot, Width } from '../isa/ir.ts';
import { op, v } from '../wasm/opcodes.ts';
import { STATE, XMM } from './layout.ts';

/** A load of a register or memory value of a width; the address is on the wasm stack. */
export function loadOp(code: FunctionWriter, width: Width, offset: number, signed: boolean): void {
  switch (width) {
    case 8: code.memory(signed ? op.i32Load8S : op.i32Load8U, offset); break;
    case 16: code.memory(signed ? op.i32Load16S : op.i32Load16U, offset); break;
    case 32: code.memory(op.i32Load, offset); break;
    case 64: code.memory(op.i64Load, offset); break;
    case 128: code.simdMemory(v.load, offset); break;
    default: throw new Error(`load of width ${width}`);
  }
}

/** The matching store; `wide`: a 4-byte store takes its value from an i64. */
export function storeOp(code: FunctionWriter, bytes: number, offset: number, wide: boolean): void {
  switch (bytes) {
    case 1: code.memory(op.i32Store8, offset); break;
    case 2: code.memory(op.i32Store16, offset); break;
    case 4: code.memory(wide ? op.i64Store32 : op.i32Store, offset); break;
    case 8: code.memory(op.i64Store, offset); break;
    case 16: code.simdMemory(v.store, offset); break;
    default: throw new Error(`store of ${bytes} bytes`);
  }
}

/** A register write in memory: the address is on the wasm stack already when `value` has been pushed. */
export function storeRegister(code: FunctionWriter, slot: Slot, width: Width, offset: number): void {
  if (width === 32 && !isVectorSlot(slot)) {
    code.op(op.i64ExtendI32U);
    code.memory(op.i64Store, offset);
  } else storeOp(code, width / 8, offset, false);
}

function isVectorSlot(slot: Slot): boolean {
  return typeof slot === 'number' && slot + STATE >= XMM;
}
