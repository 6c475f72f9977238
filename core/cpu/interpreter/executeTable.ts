/** Code that looks into the execute table (memory.md): from RIP to the record of the instruction there. */
import type { FunctionWriter } from '../../wasm/writer.ts';
import { op } from '../../wasm/opcodes.ts';
import { CS, SEGMENTS, SEGMENT_SIZE, SEG_BASE, TLB_EXECUTE, TLB_EXECUTE_MASK } from '../layout.ts';

/**
 * Takes RIP from the stack and leaves the (negated) tag of its execute-table entry there, its linear address and the entry's address in locals.
 * `tlb` holds the base of the look-aside tables.
 */
export function executeTag(code: FunctionWriter, legacy: boolean, locals: { readonly tlb: number; readonly linear: number; readonly entry: number }): void {
  if (legacy) {
    code.i32Const(0);
    code.memory(op.i64Load, SEGMENTS + CS * SEGMENT_SIZE + SEG_BASE);
    code.op(op.i64Add);
    code.i64Const(-1, 0);
    code.op(op.i64And);
  }
  code.tee(locals.linear);
  code.op(op.i32WrapI64);
  code.i32Const(8);
  code.op(op.i32ShrU);
  code.i32Const(TLB_EXECUTE_MASK);
  code.op(op.i32And);
  code.get(locals.tlb);
  code.op(op.i32Add);
  code.tee(locals.entry);
  code.memory(op.i64Load, TLB_EXECUTE);
}

/**
 * Takes RIP from the stack and leaves there the record of the instruction at it, 0 when none is decoded, and the offset in its page in a local;
 * branches to `miss` when the execute table does not have the page. `table`: local for the page's record table, where that is wanted.
 */
export function executeRecord(
  code: FunctionWriter, legacy: boolean,
  locals: { readonly tlb: number; readonly linear: number; readonly entry: number; readonly offset: number; readonly table?: number }, miss: number,
): void {
  const { linear, entry, offset, table } = locals;
  executeTag(code, legacy, locals);
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
