/** What the parts of the interpreter's `run` share: its locals and labels, and the ways from one instruction to the next. */
import type { FunctionWriter } from '../../wasm/writer.ts';
import { I32, I64, op } from '../../wasm/opcodes.ts';
import { FAULT, FAULT_EXIT, NEXT_RIP, REGION_FIRST, REGION_ORIGINALS, RIP } from '../layout.ts';
import { OP_GOTO, OP_REGION, RECORD_SHIFT, RECORD_SIZE, R_AUX, R_OFFSET, R_OP, STATUS_EXIT, STATUS_SYNC } from '../record.ts';
import { executeRecord, linearOf } from './executeTable.ts';
import type { ExecuteLocals } from './executeTable.ts';

/** What `run` returns. */
export const RUN_BUDGET = 0; // the slice is used up
export const RUN_EXIT = 1; // a VM exit is pending (EXIT_REASON)
export const RUN_SYNC = 2; // mode, translations or interruptibility may have changed: look before going on
export const RUN_STOP = 3; // the single step is done
export const RUN_STEP = 5; // the next instruction must be carried out alone
export const RUN_REGION = 4; // the slice is used up, in the region whose index is in REGION_ENTRY

export class RunLoop {
  readonly code: FunctionWriter;
  readonly helper: (name: string) => number;
  /** For 64-bit code. */
  readonly long: boolean;
  /** Index in the module of the type of forms and regions. */
  readonly coldType: number;
  readonly record = 0;
  readonly pageRip: number;
  readonly table: number;
  readonly entry: number;
  readonly tlb: number;
  readonly budget: number;
  readonly slice: number;
  readonly target: number;
  readonly offset: number;
  readonly status: number;
  readonly result: number;
  readonly linear: number;
  readonly at: number;
  /** Where a run of records was cut, the budget is not looked at: cuts lie where code happened to be decoded, the ends of entries must not. */
  readonly cut: number;
  /** Labels: out of `run`; to look CS:RIP up when `record` is 0; to go on at `record`; to deliver the pending fault of the instruction. */
  exit = 0;
  relookup = 0;
  next = 0;
  fault = 0;

  constructor(code: FunctionWriter, helper: (name: string) => number, long: boolean, coldType: number) {
    this.code = code;
    this.helper = helper;
    this.long = long;
    this.coldType = coldType;
    this.pageRip = code.local(I64);
    this.table = code.local(I32);
    this.entry = code.local(I32);
    this.tlb = code.local(I32);
    this.budget = code.local(I64);
    this.slice = code.local(I64);
    this.target = code.local(I64);
    this.offset = code.local(I32);
    this.status = code.local(I32);
    this.result = code.local(I32);
    this.linear = code.local(I64);
    this.at = code.local(I32);
    this.cut = code.local(I32);
  }

  private get lookup(): ExecuteLocals {
    const { tlb, linear, at, offset, table } = this;
    return { tlb, linear, entry: at, offset, table };
  }

  spillRip(): void {
    const { code } = this;
    code.i32Const(0);
    code.get(this.pageRip);
    code.get(this.record);
    code.memory(op.i64Load16U, R_OFFSET);
    code.op(op.i64Add);
    code.memory(op.i64Store, RIP);
  }

  advance(): void {
    const { code } = this;
    code.get(this.record);
    code.i32Const(RECORD_SIZE);
    code.op(op.i32Add);
    code.set(this.record);
  }

  /** budget -= instructions since `entry`, `plus` for the current one. */
  account(plus: number): void {
    const { code } = this;
    code.get(this.budget);
    code.get(this.record);
    code.get(this.entry);
    code.op(op.i32Sub);
    code.i32Const(RECORD_SHIFT);
    code.op(op.i32ShrS);
    if (plus) {
      code.i32Const(plus);
      code.op(op.i32Add);
    }
    code.op(op.i64ExtendI32S);
    code.op(op.i64Sub);
    code.set(this.budget);
  }

  /** Calls the form of the record, by its index; leaves its STATUS on the stack. */
  callForm(): void {
    const { code } = this;
    code.get(this.record);
    this.call(() => {
      code.get(this.record);
      code.memory(op.i32Load16U, R_OP);
    });
  }

  /** Calls the region whose index is in `at`; leaves its STATUS on the stack. */
  callRegion(): void {
    const { code } = this;
    code.get(this.at);
    this.call(() => { code.get(this.at); });
  }

  /** The first parameter is on the stack. */
  private call(index: () => void): void {
    const { code } = this;
    code.get(this.pageRip);
    code.get(this.tlb);
    index();
    code.op(op.callIndirect);
    code.u32(this.coldType);
    code.u8(0);
  }

  /** Ends `run` with one of its results. */
  leave(result: number): void {
    const { code } = this;
    code.i32Const(result);
    code.set(this.result);
    code.br(this.exit);
  }

  /** Goes on at CS:RIP. */
  lookAgain(): void {
    const { code } = this;
    code.i32Const(0);
    code.set(this.record);
    code.br(this.relookup);
  }

  /** After a STATUS of JUMP or SYNC: goes on at RIP, or leaves with NEXT_RIP in it. */
  goOn(): void {
    const { code } = this;
    code.get(this.status);
    code.i32Const(STATUS_SYNC);
    code.op(op.i32Eq);
    code.if();
    code.i32Const(0);
    code.i32Const(0);
    code.memory(op.i64Load, NEXT_RIP);
    code.memory(op.i64Store, RIP);
    this.leave(RUN_SYNC);
    code.end();
    this.lookAgain();
  }

  /** In place of a region: its first instruction, from a copy of the record as it was, and on behind it. */
  interpretFirst(): void {
    const { code } = this;
    for (let field = 0; field < RECORD_SIZE; field += 8) {
      code.i32Const(REGION_FIRST);
      code.get(this.record);
      code.memory(op.i64Load, field);
      code.memory(op.i64Store, field);
    }
    code.get(this.record);
    code.memory(op.i32Load, R_AUX);
    code.i32Const(3);
    code.op(op.i32Shl);
    code.set(this.at);
    for (const [from, field, store] of [[0, R_AUX, op.i32Store], [4, R_OP, op.i32Store16]] as const) {
      code.i32Const(REGION_FIRST);
      code.get(this.at);
      code.memory(op.i32Load, REGION_ORIGINALS + from);
      code.memory(store, field);
    }
    code.i32Const(REGION_FIRST + RECORD_SIZE);
    code.i32Const(OP_GOTO);
    code.memory(op.i32Store16, R_OP);
    code.i32Const(REGION_FIRST + RECORD_SIZE);
    code.get(this.record);
    code.i32Const(RECORD_SIZE);
    code.op(op.i32Add);
    code.memory(op.i32Store, R_AUX);
    code.i32Const(REGION_FIRST);
    code.tee(this.record);
    code.set(this.entry);
    code.br(this.next);
  }

  /** Delivers the pending exception, or leaves when a VM exit is pending. */
  deliver(): void {
    const { code } = this;
    code.i32Const(0);
    code.memory(op.i32Load, FAULT);
    code.i32Const(FAULT_EXIT);
    code.op(op.i32Eq);
    code.if();
    code.i32Const(0);
    code.i32Const(0);
    code.memory(op.i32Store, FAULT);
    this.leave(RUN_EXIT);
    code.end();
    code.call(this.helper('deliverPending'));
    code.i32Const(STATUS_EXIT);
    code.op(op.i32Eq);
    code.if();
    this.leave(RUN_EXIT);
    code.end();
    this.lookAgain();
  }

  /** Goes on in the interpreter where a region was left before an instruction; falls through where that is the entry of a region. */
  interpretOne(): void {
    const { code } = this;
    const none = code.block();
    code.i32Const(0);
    code.memory(op.i64Load, RIP);
    code.tee(this.target);
    linearOf(code, !this.long);
    executeRecord(code, this.lookup, none);
    code.tee(this.at);
    code.op(op.i32Eqz);
    code.brIf(none);
    for (const operation of [OP_REGION, OP_GOTO]) {
      code.get(this.at);
      code.memory(op.i32Load16U, R_OP);
      code.i32Const(operation);
      code.op(op.i32Eq);
      code.brIf(none);
    }
    this.goToRecord();
    code.end();
  }

  /** Goes on at the record in `at`, which is that of the RIP in `target`, `offset` bytes into its page. */
  goToRecord(): void {
    const { code } = this;
    code.get(this.target);
    code.get(this.offset);
    code.op(op.i64ExtendI32U);
    code.op(op.i64Sub);
    code.set(this.pageRip);
    code.get(this.at);
    code.tee(this.record);
    code.set(this.entry);
    code.br(this.next);
  }

  /** Goes to the RIP in `target`: execute table first, `lookup` when it misses. */
  farLookup(): void {
    const { code } = this;
    const slow = code.block();
    code.get(this.budget);
    code.i64Const(0);
    code.op(op.i64LeS);
    code.brIf(slow);
    code.get(this.target);
    linearOf(code, !this.long);
    executeRecord(code, this.lookup, slow);
    code.tee(this.at);
    code.op(op.i32Eqz);
    code.brIf(slow);
    this.goToRecord();
    code.end();
    code.i32Const(0);
    code.get(this.target);
    code.memory(op.i64Store, RIP);
    this.lookAgain();
  }
}
