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

/**
 * Takes RIP from the stack and leaves there the place in its page's record table of the instruction at it, and the offset in its page in a local;
 * branches to `miss` when the execute table does not have the page. `based`: whether CS has a base; `tlb` holds the base of the look-aside
 * tables; `table`: local for the page's record table, where that is wanted.
 */
export function executePlace(code: FunctionWriter, based: boolean, locals: ExecuteLocals, miss: number): void {
  const { tlb, linear, entry, offset, table } = locals;
  if (based) {
    code.i32Const(0);
    code.memory(op.i64Load, SEGMENTS + CS * SEGMENT_SIZE + SEG_BASE);
    code.op(op.i64Add);
    code.i64Const(-1, 0);
    code.op(op.i64And);
  }
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
}

/** The same, and reads from there the record of the instruction, 0 when none is decoded. */
export function executeRecord(code: FunctionWriter, based: boolean, locals: ExecuteLocals, miss: number): void {
  executePlace(code, based, locals, miss);
  code.memory(op.i32Load, 0);
}
