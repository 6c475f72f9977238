/** Code that looks into the execute table (memory.md): from RIP to the record of the instruction there. */
import type { FunctionWriter } from '../../wasm/writer.ts';
import { op } from '../../wasm/opcodes.ts';
import { CS, SEGMENTS, SEGMENT_SIZE, SEG_BASE, TLB_EXECUTE, TLB_EXECUTE_MASK } from '../layout.ts';

export interface ExecuteLocals {
  readonly tlb: number;
  readonly linear: number;
  readonly entry: number;
  readonly offset: number;
  readonly table?: number;
}

/** Takes RIP from the stack; pushes the linear address of the instruction there. `based`: whether CS has a base. */
export function linearOf(code: FunctionWriter, based: boolean): void {
  if (!based) return;
  code.i32Const(0);
  code.memory(op.i64Load, SEGMENTS + CS * SEGMENT_SIZE + SEG_BASE);
  code.op(op.i64Add);
  code.i64Const(-1, 0);
  code.op(op.i64And);
}

/**
 * Takes a linear address from the stack; pushes the record of the instruction there, 0 when none is decoded, and leaves the offset in its page in a local; branches
 * to `miss` when the execute table does not have the page. `tlb` holds the base of the look-aside tables; `table`: local for the page's record table, where that is wanted.
 */
export function executeRecord(code: FunctionWriter, locals: ExecuteLocals, miss: number): void {
  const { tlb, linear, entry, offset, table } = locals;
  code.tee(linear);
  code.op(op.i32WrapI64);
  code.i32Const(8);
  code.op(op.i32ShrU);
  code.i32Const(TLB_EXECUTE_MASK);
  code.op(op.i32And);
  code.get(tlb);
  code.op(op.i32Add);
  code.tee(entry);
  code.memory(op.i64Load, TLB_EXECUTE);
  code.get(linear);
  code.op(op.i64Add);
  code.i64Const(4095);
  code.op(op.i64GtU);
  code.brIf(miss);
  code.get(entry);
  code.memory(op.i32Load, TLB_EXECUTE + 8);
  if (table !== undefined) code.tee(table);
  code.get(linear);
  code.op(op.i32WrapI64);
  code.i32Const(4095);
  code.op(op.i32And);
  code.tee(offset);
  code.i32Const(2);
  code.op(op.i32Shl);
  code.op(op.i32Add);
  code.memory(op.i32Load, 0);
}
