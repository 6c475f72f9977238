/**
 * How emitted code reaches linear memory: the look-aside table inline, all else by helpers that leave BOUNCE or a fault. Regions have a way
 * of their own (jit/windowAccess.ts).
 */
import type { FunctionWriter, ValueType } from '../wasm/writer.ts';
import type { Node } from '../isa/ir.ts';
import { I32, op } from '../wasm/opcodes.ts';
import { BOUNCE, TLB_DATA_MASK, TLB_READ, TLB_WRITE } from './layout.ts';
import { storeOp } from './widths.ts';

/** Emits accesses of up to 64 bytes. `address` is the address as the definition has it; `linear` computes it into a local (i64), which it returns. */
export interface MemoryAccess {
  /** Whether a store's value is pushed more than once. */
  readonly valueTwice: boolean;
  /** Pushes the host address of what is read, less the offset that is returned. */
  read(address: Node, linear: () => number, bytes: number): number;
  /** Emits a store; `value` pushes what is stored (`wide`: a 4-byte store of an i64). */
  store(address: Node, linear: () => number, bytes: number, wide: boolean, value: () => void): void;
  /** Makes what is at an address ready to be read and written; returns the local with its host address. A `finish` must follow the write. */
  modify(address: Node, linear: () => number, bytes: number): number;
  finish(pointer: number): void;
}

/** What the code around an access provides. */
export interface AccessContext {
  readonly code: FunctionWriter;
  /** Local with the base of the look-aside tables. */
  readonly tlb: number;
  helper(name: string): number;
  /** A local that is free until the instruction ends. */
  take(type: ValueType): number;
}

/** Leaves the address of an address' entry, less that of its table, in local `entry`. */
export function entryOf(context: AccessContext, linear: number, entry: number): void {
  const { code } = context;
  code.get(linear);
  code.op(op.i32WrapI64);
  code.i32Const(8);
  code.op(op.i32ShrU);
  code.i32Const(TLB_DATA_MASK);
  code.op(op.i32And);
  code.get(context.tlb);
  code.op(op.i32Add);
  code.set(entry);
}

/** The same; pushes a truth value: nonzero when the access misses. */
export function tableMiss(context: AccessContext, table: number, linear: number, entry: number, bytes: number): void {
  const { code } = context;
  entryOf(context, linear, entry);
  code.get(entry);
  code.memory(op.i64Load, table);
  code.get(linear);
  code.op(op.i64Add);
  code.i64Const(4096 - bytes);
  code.op(op.i64GtU);
}

/** Pushes the host address that an entry in local `entry` stands for. */
export function hostAddress(code: FunctionWriter, linear: number, entry: number, addend: number): void {
  code.get(linear);
  code.op(op.i32WrapI64);
  code.get(entry);
  code.memory(op.i32Load, addend);
  code.op(op.i32Add);
}

/** Carries out a write that was prepared in BOUNCE. */
export function commitIfBounced(context: AccessContext, pointer: number): void {
  const { code } = context;
  code.get(pointer);
  code.i32Const(BOUNCE);
  code.op(op.i32Eq);
  code.ifUnlikely();
  code.call(context.helper('commitWrite'));
  code.end();
}

/** `faultIf` leaves the instruction when the truth value on the wasm stack is nonzero. */
export function tableAccess(context: AccessContext, faultIf: () => void): MemoryAccess {
  const { code } = context;
  const slow = (helper: string, linear: number, bytes: number, pointer: number): void => {
    code.get(linear);
    code.i32Const(bytes);
    code.call(context.helper(helper));
    code.tee(pointer);
    code.op(op.i32Eqz);
    faultIf();
  };
  const point = (table: number, helper: string, linear: number, bytes: number): number => {
    const pointer = context.take(I32);
    tableMiss(context, table, linear, pointer, bytes);
    code.ifUnlikely();
    slow(helper, linear, bytes, pointer);
    code.else();
    hostAddress(code, linear, pointer, table + 8);
    code.set(pointer);
    code.end();
    return pointer;
  };
  return {
    valueTwice: true,
    read(_address, address, bytes) {
      code.get(point(TLB_READ, 'slowRead', address(), bytes));
      return 0;
    },
    store(_address, address, bytes, wide, value) {
      const linear = address();
      const pointer = context.take(I32);
      tableMiss(context, TLB_WRITE, linear, pointer, bytes);
      code.ifUnlikely();
      slow('slowStore', linear, bytes, pointer);
      code.get(pointer);
      value();
      storeOp(code, bytes, 0, wide);
      commitIfBounced(context, pointer);
      code.else();
      hostAddress(code, linear, pointer, TLB_WRITE + 8);
      value();
      storeOp(code, bytes, 0, wide);
      code.end();
    },
    modify: (_address, address, bytes) => point(TLB_WRITE, 'slowWrite', address(), bytes),
    finish: pointer => commitIfBounced(context, pointer),
  };
}
