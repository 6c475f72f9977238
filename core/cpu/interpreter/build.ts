/**
 * Builds the interpreter: one loop around one switch over the hot forms; other forms are functions in a table (coldForms.ts), called from the
 * switch's default case and emitted when the decoder first meets them.
 *
 * A loop-and-switch function runs two to four times as fast in V8 as one tail-called function per instruction (docs/engine.md).
 */
import { ModuleWriter } from '../../wasm/writer.ts';
import { I32, op } from '../../wasm/opcodes.ts';
import type { Program } from '../../isa/ir.ts';
import { Emitter } from '../emitter.ts';
import { BUDGET, CODE_PAGE_RIP, CODE_SIZE, CODE_TABLE, EFLAGS, INSTRUCTIONS, INTERRUPT_WINDOW, RIP, STEP_REASON, TLB_BASE } from '../layout.ts';
import { OP_FIRST, RECORD_SIZE, R_AUX, R_DISPLACEMENT, R_OP, STATUS_EXIT, STATUS_FAULT } from '../record.ts';
import type { HelperSignatures } from '../helpers.ts';
import { COLD, branchTarget, importProcessor } from './coldForms.ts';
import { HOT_NUMBERS, reachesMemory } from './pairs.ts';
import { LocalPool, recordTarget } from './forms.ts';
import { RUN_BUDGET, RUN_EXIT, RUN_SYNC, RunLoop } from './runLoop.ts';
import { SPECIAL_CASES } from './specialCases.ts';

export interface InterpreterOptions {
  /** 64-bit code, or all other: each has its own switch, as their hot forms differ. */
  readonly long: boolean;
  /** Null: nothing is counted. */
  readonly profile: ProfileTables | null;
}

/** Addresses of tables of u32 counters, incremented at each dispatch: by operation; by two hot operations, one right behind the other. */
export interface ProfileTables {
  readonly operations: number;
  readonly pairs: number;
}

/** What the cases of the switch carry out. */
export interface HotForms {
  readonly singles: readonly Program[];
  readonly pairs: readonly (readonly [first: Program, second: Program])[];
}

/** The main module: `run(record) → code`; `record` 0 starts with a look-up of CS:RIP. */
export function buildInterpreter(hot: HotForms, signatures: HelperSignatures, options: InterpreterOptions): Uint8Array<ArrayBuffer> {
  const module = new ModuleWriter();
  const helper = importProcessor(module, signatures);
  const coldType = module.type(COLD);
  const { code } = module.function({ parameters: [I32], results: [I32] }, 'run');
  const run = new RunLoop(code, helper, options.long, coldType);
  begin(run);
  run.exit = code.block();
  run.relookup = code.loop();
  lookUp(run);
  run.next = code.loop();
  run.fault = code.block();
  switchOver(run, hot, options.profile);
  code.end(); // fault
  run.spillRip();
  run.account(0);
  run.deliver();
  code.end(); // next
  code.end(); // relookup
  code.end(); // exit
  end(run);
  return module.finish();
}

function begin(run: RunLoop): void {
  const { code } = run;
  code.i32Const(0);
  code.memory(op.i64Load, BUDGET);
  code.tee(run.slice);
  code.set(run.budget);
  code.i32Const(0);
  code.memory(op.i32Load, TLB_BASE);
  code.set(run.tlb);
  code.i32Const(0);
  code.memory(op.i64Load, CODE_PAGE_RIP);
  code.set(run.pageRip);
  code.get(run.record);
  code.set(run.entry);
  code.get(run.record);
  code.op(op.i32Eqz);
  code.set(run.cut);
}

/** Where no record is known: that of CS:RIP. Here the end of the slice is seen, and that something outside has to be looked at. */
function lookUp(run: RunLoop): void {
  const { code } = run;
  code.get(run.record);
  code.op(op.i32Eqz);
  code.if();
  const faultIn = code.block();
  code.i32Const(0);
  code.memory(op.i32Load, TLB_BASE);
  code.set(run.tlb);
  code.get(run.budget);
  code.i64Const(0);
  code.op(op.i64LeS);
  code.get(run.cut);
  code.op(op.i32Eqz);
  code.op(op.i32And);
  code.if();
  run.leave(RUN_BUDGET);
  code.end();
  code.i32Const(0);
  code.set(run.cut);
  code.i32Const(0);
  code.memory(op.i32Load, CODE_SIZE);
  code.i32Const(2);
  code.op(run.long ? op.i32Ne : op.i32Eq);
  code.if();
  run.leave(RUN_SYNC);
  code.end();
  // Somebody waits for the interrupt window, or instructions must be stepped: the outer loop goes on.
  code.i32Const(0);
  code.memory(op.i32Load, INTERRUPT_WINDOW);
  code.i32Const(0);
  code.memory(op.i32Load, EFLAGS);
  code.i32Const(0x200);
  code.op(op.i32And);
  code.i32Const(0);
  code.op(op.i32Ne);
  code.op(op.i32And);
  code.i32Const(0);
  code.memory(op.i32Load, STEP_REASON);
  code.op(op.i32Or);
  code.if();
  run.leave(RUN_SYNC);
  code.end();
  code.call(run.helper('lookup'));
  code.tee(run.record);
  code.op(op.i32Eqz);
  code.brIf(faultIn);
  code.get(run.record);
  code.set(run.entry);
  code.i32Const(0);
  code.memory(op.i32Load, CODE_TABLE);
  code.set(run.table);
  code.i32Const(0);
  code.memory(op.i64Load, CODE_PAGE_RIP);
  code.set(run.pageRip);
  code.br(run.relookup);
  code.end();
  // The fetch itself faulted; RIP is in place.
  run.deliver();
  code.end();
}

/** The switch, and where its cases lead. */
function switchOver(run: RunLoop, { singles, pairs }: HotForms, profile: ProfileTables | null): void {
  const { code } = run;
  const notOk = code.block();
  const jump = code.block();
  const direct = code.block();
  const cold = code.block();
  const cases: number[] = [];
  const caseCount = OP_FIRST + singles.length + pairs.length;
  for (let i = 0; i < caseCount; i++) cases.push(code.block());
  cases.reverse();
  if (profile) count(run, profile);
  code.get(run.record);
  code.memory(op.i32Load16U, R_OP);
  code.brTable(cases, cold);
  const formTarget = recordTarget(code, run, new LocalPool(code), {
    faultLabel: () => run.fault,
    status(): void {
      code.tee(run.status);
      code.brIf(notOk);
    },
    jump(): void {
      code.set(run.target);
      code.br(jump);
    },
    branch(): void {
      code.br(direct);
    },
  }, run.helper);
  for (let i = 0; i < caseCount; i++) {
    code.end();
    const special = SPECIAL_CASES[i];
    if (special) {
      special(run);
      continue;
    }
    const single = singles[i - OP_FIRST];
    const [first, last] = single ? [null, single] : pairs[i - OP_FIRST - singles.length]!;
    if (first) {
      new Emitter(formTarget).program(first);
      run.advance();
      if (reachesMemory(first)) dispatchIfDropped(run);
    }
    new Emitter(formTarget).program(last);
    run.advance();
    code.br(run.next);
  }
  code.end(); // cold
  callForm(run, notOk);
  code.end(); // direct
  branchDirect(run);
  code.end(); // jump
  run.account(1);
  run.farLookup();
  code.end(); // notOk
  afterHelper(run);
}

/** The code that the next record stands for may have been changed by what came before: then the record says so (lookUpAgain). */
function dispatchIfDropped(run: RunLoop): void {
  const { code } = run;
  code.get(run.record);
  code.memory(op.i32Load16U, R_OP);
  code.op(op.i32Eqz);
  code.brIf(run.next);
}

function count(run: RunLoop, { operations, pairs }: ProfileTables): void {
  const { code } = run;
  const operation = (record: number): void => {
    code.get(record);
    code.memory(op.i32Load16U, R_OP);
  };
  const increment = (table: number): void => {
    code.i32Const(2);
    code.op(op.i32Shl);
    code.tee(run.at);
    code.get(run.at);
    code.memory(op.i32Load, table);
    code.i32Const(1);
    code.op(op.i32Add);
    code.memory(op.i32Store, table);
  };
  operation(run.record);
  increment(operations);
  const last = code.local(I32);
  code.get(run.record);
  code.i32Const(RECORD_SIZE);
  code.op(op.i32Sub);
  code.get(last);
  code.op(op.i32Eq);
  operation(last);
  operation(run.record);
  code.op(op.i32Or);
  code.i32Const(HOT_NUMBERS);
  code.op(op.i32LtU);
  code.op(op.i32And);
  code.if();
  operation(last);
  code.i32Const(HOT_NUMBERS);
  code.op(op.i32Mul);
  operation(run.record);
  code.op(op.i32Or);
  increment(pairs);
  code.end();
  code.get(run.record);
  code.set(last);
}

/** A form that has no case. */
function callForm(run: RunLoop, notOk: number): void {
  const { code } = run;
  run.callForm();
  code.tee(run.status);
  code.brIf(notOk);
  run.advance();
  code.br(run.next);
}

/** A direct branch: within its page by the page's table. */
function branchDirect(run: RunLoop): void {
  const { code } = run;
  run.account(1);
  code.get(run.record);
  code.memory(op.i32Load, R_DISPLACEMENT);
  code.tee(run.offset);
  code.i32Const(4096);
  code.op(op.i32LtU);
  code.if();
  {
    code.get(run.budget);
    code.i64Const(0);
    code.op(op.i64GtS);
    code.if();
    // Where it leads has been found before: records of a page are dropped together.
    code.get(run.record);
    code.memory(op.i32Load, R_AUX);
    code.tee(run.at);
    code.op(op.i32Eqz);
    code.if();
    code.get(run.table);
    code.get(run.offset);
    code.i32Const(2);
    code.op(op.i32Shl);
    code.op(op.i32Add);
    code.memory(op.i32Load, 0);
    code.set(run.at);
    code.get(run.record);
    code.get(run.at);
    code.memory(op.i32Store, R_AUX);
    code.end();
    code.get(run.at);
    code.if();
    code.get(run.at);
    code.tee(run.record);
    code.set(run.entry);
    code.br(run.next);
    code.end();
    code.end();
    code.i32Const(0);
    code.get(run.pageRip);
    code.get(run.offset);
    code.op(op.i64ExtendI32U);
    code.op(op.i64Add);
    code.memory(op.i64Store, RIP);
    run.lookAgain();
  }
  code.end();
  branchTarget(code, run.record, run.pageRip);
  code.set(run.target);
  run.farLookup();
}

/** The STATUS of an instruction's helper is not OK. */
function afterHelper(run: RunLoop): void {
  const { code } = run;
  code.get(run.status);
  code.i32Const(STATUS_FAULT);
  code.op(op.i32Eq);
  code.brIf(run.fault);
  code.get(run.status);
  code.i32Const(STATUS_EXIT);
  code.op(op.i32Eq);
  code.if();
  run.account(0);
  run.leave(RUN_EXIT);
  code.end();
  run.account(1);
  run.goOn();
}

function end(run: RunLoop): void {
  const { code } = run;
  code.i32Const(0);
  code.i32Const(0);
  code.memory(op.i64Load, INSTRUCTIONS);
  code.get(run.slice);
  code.get(run.budget);
  code.op(op.i64Sub);
  code.op(op.i64Add);
  code.memory(op.i64Store, INSTRUCTIONS);
  code.i32Const(0);
  code.get(run.budget);
  code.memory(op.i64Store, BUDGET);
  code.get(run.result);
}
