/** Records that are no instruction of the guest: what the interpreter's switch does at each. */
import { op } from '../../wasm/opcodes.ts';
import { BUDGET, REGIONS_OFF, REGION_ENTRY, REGION_RESERVE, RIP } from '../layout.ts';
import {
  OP_CROSS, OP_GOTO, OP_REGION, OP_RELOOKUP, OP_STOP, RECORD_SIZE, REGION_DONE, REGION_STALE, REGION_STEP, R_AUX, STATUS_EXIT, STATUS_FAULT,
} from '../record.ts';
import { RUN_BUDGET, RUN_EXIT, RUN_REGION, RUN_STEP, RUN_STOP } from './runLoop.ts';
import type { RunLoop } from './runLoop.ts';

/** Behind what is decoded: what comes is looked up. */
function lookUpAgain(run: RunLoop): void {
  const { code } = run;
  run.spillRip();
  run.account(0);
  code.i32Const(1);
  code.set(run.cut);
  run.lookAgain();
}

/** On to another record. Not an instruction: the base of the count shifts by what was run. */
function goTo(run: RunLoop): void {
  const { code } = run;
  run.account(0);
  code.get(run.record);
  code.memory(op.i32Load, R_AUX);
  code.tee(run.record);
  code.set(run.entry);
  code.br(run.next);
}

/** The single step is done. */
function stop(run: RunLoop): void {
  run.spillRip();
  run.account(0);
  run.leave(RUN_STOP);
}

/** A guard before an instruction that crosses into the next page, whose bytes there may have changed. */
function cross(run: RunLoop): void {
  const { code } = run;
  run.spillRip();
  code.get(run.record);
  code.get(run.pageRip);
  code.i64Const(4096);
  code.op(op.i64Add);
  code.call(run.helper('checkCross'));
  code.tee(run.status);
  code.i32Const(1);
  code.op(op.i32Ne);
  code.if();
  code.get(run.status);
  code.op(op.i32Eqz);
  code.brIf(run.fault);
  run.account(0);
  code.call(run.helper('decodeCross'));
  code.tee(run.record);
  code.op(op.i32Eqz);
  code.if();
  code.i32Const(0);
  code.set(run.entry);
  run.deliver();
  code.end();
  code.get(run.record);
  code.set(run.entry);
  code.br(run.next);
  code.end();
  // The guard is no instruction.
  run.advance();
  code.get(run.entry);
  code.i32Const(RECORD_SIZE);
  code.op(op.i32Add);
  code.set(run.entry);
  code.br(run.next);
}

/** A compiled region, and what it comes back with. */
function region(run: RunLoop): void {
  const { code } = run;
  run.account(0);
  code.i32Const(0);
  code.memory(op.i32Load, REGIONS_OFF);
  code.ifUnlikely();
  run.interpretFirst();
  code.end();
  // Straight-line code may lead here with the budget used up. A region looks at it where it ends, too late for an exact entry (entryBudget.ts).
  code.get(run.budget);
  code.i32Const(0);
  code.memory(op.i64Load, REGION_RESERVE);
  code.op(op.i64Add);
  code.tee(run.target);
  code.i64Const(0);
  code.op(op.i64LeS);
  code.ifUnlikely();
  run.interpretFirst();
  code.end();
  code.i32Const(0);
  code.get(run.target);
  code.memory(op.i64Store, BUDGET);
  code.get(run.record);
  code.memory(op.i32Load, R_AUX);
  code.tee(run.at);
  code.get(run.pageRip);
  code.call(run.helper('mustNotEnter'));
  code.ifUnlikely();
  run.spillRip();
  code.i32Const(0);
  code.get(run.at);
  code.memory(op.i32Store, REGION_ENTRY);
  code.i32Const(REGION_STALE);
  code.set(run.status);
  code.else();
  run.callRegion();
  code.set(run.status);
  code.end();
  code.i32Const(0);
  code.memory(op.i64Load, BUDGET);
  code.i32Const(0);
  code.memory(op.i64Load, REGION_RESERVE);
  code.op(op.i64Sub);
  code.set(run.budget);
  code.get(run.status);
  code.i32Const(REGION_DONE);
  code.op(op.i32Eq);
  code.if();
  code.get(run.budget);
  code.i64Const(0);
  code.op(op.i64LeS);
  code.if();
  // Ended by the budget, or anywhere behind a sample: then what comes next is of interest, which is no region.
  code.i32Const(RUN_REGION);
  code.i32Const(RUN_BUDGET);
  code.i32Const(0);
  code.memory(op.i64Load, BUDGET);
  code.i64Const(0);
  code.op(op.i64LeS);
  code.op(op.select);
  code.set(run.result);
  code.br(run.exit);
  code.end();
  code.i32Const(0);
  code.memory(op.i64Load, RIP);
  code.set(run.target);
  run.farLookup();
  code.end();
  code.get(run.status);
  code.i32Const(REGION_STALE);
  code.op(op.i32Eq);
  code.if();
  code.i32Const(0);
  code.memory(op.i32Load, REGION_ENTRY);
  code.call(run.helper('dropRegion'));
  code.if();
  run.lookAgain();
  code.end();
  run.leave(RUN_STEP);
  code.end();
  code.get(run.status);
  code.i32Const(STATUS_FAULT);
  code.op(op.i32Eq);
  code.if();
  run.deliver();
  code.end();
  code.get(run.status);
  code.i32Const(REGION_STEP);
  code.op(op.i32Eq);
  code.if();
  run.interpretOne();
  run.leave(RUN_STEP);
  code.end();
  code.get(run.status);
  code.i32Const(STATUS_EXIT);
  code.op(op.i32Eq);
  code.if();
  run.leave(RUN_EXIT);
  code.end();
  run.goOn();
}

/** By operation. */
export const SPECIAL_CASES: Readonly<Record<number, (run: RunLoop) => void>> = {
  [OP_RELOOKUP]: lookUpAgain,
  [OP_GOTO]: goTo,
  [OP_STOP]: stop,
  [OP_CROSS]: cross,
  [OP_REGION]: region,
};
