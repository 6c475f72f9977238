/**
 * Builds the interpreter: one loop around one switch over the hot forms; other forms are functions in a table, called from the
 * switch's default case and emitted when the decoder first meets them.
 *
 * A loop-and-switch function runs two to four times as fast in V8 as one tail-called function per instruction (docs/engine.md).
 */
import type { FunctionType, FunctionWriter } from '../../wasm/writer.ts';
import { ModuleWriter } from '../../wasm/writer.ts';
import { I32, I64, op } from '../../wasm/opcodes.ts';
import type { Program } from '../../isa/ir.ts';
import { Emitter } from '../emitter.ts';
import {
  BUDGET, CODE_PAGE_RIP, CODE_SIZE, CODE_TABLE, CS, EFLAGS, FAULT, FAULT_EXIT, INSTRUCTIONS, INTERRUPT_WINDOW, NEXT_RIP, REGIONS_OFF, REGION_ENTRY, REGION_FIRST, REGION_ORIGINALS, RIP, SEGMENTS, SEGMENT_SIZE, SEG_BASE, STEP_REASON,
  TLB_BASE, TLB_EXECUTE, TLB_EXECUTE_MASK,
} from '../layout.ts';
import { OP_CROSS, OP_FIRST, OP_GOTO, OP_REGION, OP_RELOOKUP, OP_STOP, REGION_DONE, REGION_STALE, REGION_STEP, R_AUX, R_DISPLACEMENT, R_IMMEDIATE, R_OFFSET, R_OP, RECORD_SHIFT, RECORD_SIZE } from '../record.ts';
import type { HelperSignatures } from '../helpers.ts';
import { LocalPool, recordTarget } from './forms.ts';

/** What `run` returns. */
export const RUN_BUDGET = 0; // the slice is used up
export const RUN_EXIT = 1; // a VM exit is pending (EXIT_REASON)
export const RUN_SYNC = 2; // mode, translations or interruptibility may have changed: look before going on
export const RUN_STOP = 3; // the single step is done
export const RUN_STEP = 5; // the next instruction must be carried out alone
export const RUN_REGION = 4; // the slice is used up, in the region whose record is in REGION_ENTRY

const STATUS_FAULT = 1;
const STATUS_JUMP = 2;
const STATUS_EXIT = 3;
const STATUS_SYNC = 4;

export interface InterpreterOptions {
  /** 64-bit code, or all other: each has its own switch, as their hot forms differ. */
  readonly long: boolean;
  /** Address of a table of u32 counters by operation, incremented at each dispatch; 0 = do not count. */
  readonly profile: number;
}

const COLD: FunctionType = { parameters: [I32, I64, I32], results: [I32] };

export interface HotForm {
  readonly program: Program;
}

/** The index of a helper by name; it is imported on first use. */
export function importHelpers(module: ModuleWriter, signatures: HelperSignatures): (name: string) => number {
  const indexes = new Map<string, number>();
  return name => {
    const known = indexes.get(name);
    if (known !== undefined) return known;
    const signature = signatures.get(name);
    if (!signature) throw new Error(`no helper named ${name}`);
    const index = module.importFunction('helpers', name, signature);
    indexes.set(name, index);
    return index;
  };
}

/** A module with one function per cold form, (record, RIP of the page, look-aside base) → STATUS, that puts them into the table from an index on. */
export function buildForms(programs: readonly Program[], signatures: HelperSignatures, first: number): Uint8Array<ArrayBuffer> {
  const module = new ModuleWriter();
  module.importMemory('host', 'memory', 1);
  module.importTable('host', 'cold');
  const helper = importHelpers(module, signatures);
  for (const program of programs) {
    const { code } = module.function(COLD);
    const status = code.local(I32);
    const jumpTarget = code.local(I64);
    const fault = code.block();
    const leave = (value: number): void => {
      code.i32Const(value);
      code.return();
    };
    const target = recordTarget(code, { record: 0, pageRip: 1, tlb: 2 }, new LocalPool(code), {
      faultLabel: () => fault,
      status(): void {
        code.tee(status);
        code.if();
        code.get(status);
        code.return();
        code.end();
      },
      jump(): void {
        code.set(jumpTarget);
        code.i32Const(0);
        code.get(jumpTarget);
        code.memory(op.i64Store, RIP);
        leave(STATUS_JUMP);
      },
      branch(): void {
        code.i32Const(0);
        branchTarget(code, 0, 1);
        code.memory(op.i64Store, RIP);
        leave(STATUS_JUMP);
      },
    }, helper);
    new Emitter(target).program(program);
    leave(0);
    code.end();
    leave(STATUS_FAULT);
    code.op(op.unreachable);
  }
  module.fillTable(first);
  return module.finish();
}

/** Pushes the absolute RIP of a direct branch: page + displacement, wrapped by the mask in R_IMMEDIATE. */
function branchTarget(code: FunctionWriter, record: number, pageRip: number): void {
  code.get(pageRip);
  code.get(record);
  code.memory(op.i64Load, R_DISPLACEMENT);
  code.op(op.i64Add);
  code.get(record);
  code.memory(op.i64Load, R_IMMEDIATE);
  code.op(op.i64And);
}

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

/** The main module: `run(record) → code`; `record` 0 starts with a look-up of CS:RIP. */
export function buildInterpreter(hot: readonly HotForm[], signatures: HelperSignatures, options: InterpreterOptions): Uint8Array<ArrayBuffer> {
  const module = new ModuleWriter();
  module.importMemory('host', 'memory', 1);
  module.importTable('host', 'cold');
  const helper = importHelpers(module, signatures);
  const coldType = module.type(COLD);
  const { code } = module.function({ parameters: [I32], results: [I32] }, 'run');
  const record = 0;
  const pageRip = code.local(I64);
  const table = code.local(I32);
  const entry = code.local(I32);
  const tlb = code.local(I32);
  const budget = code.local(I64);
  const slice = code.local(I64);
  const target = code.local(I64);
  const offset = code.local(I32);
  const status = code.local(I32);
  const result = code.local(I32);
  const linear = code.local(I64);
  const at = code.local(I32);
  // Where a run of records was cut, the budget is not looked at: cuts lie where code happened to be decoded, the ends of entries must not.
  const cut = code.local(I32);
  const pool = new LocalPool(code);

  const spillRip = (): void => {
    code.i32Const(0);
    code.get(pageRip);
    code.get(record);
    code.memory(op.i64Load16U, R_OFFSET);
    code.op(op.i64Add);
    code.memory(op.i64Store, RIP);
  };
  const advance = (): void => {
    code.get(record);
    code.i32Const(RECORD_SIZE);
    code.op(op.i32Add);
    code.set(record);
  };
  /** budget -= instructions since `entry`, `plus` for the current one. */
  const account = (plus: number): void => {
    code.get(budget);
    code.get(record);
    code.get(entry);
    code.op(op.i32Sub);
    code.i32Const(RECORD_SHIFT);
    code.op(op.i32ShrS);
    if (plus) {
      code.i32Const(plus);
      code.op(op.i32Add);
    }
    code.op(op.i64ExtendI32S);
    code.op(op.i64Sub);
    code.set(budget);
  };
  const leaveWith = (value: number, label: number): void => {
    code.i32Const(value);
    code.set(result);
    code.br(label);
  };

  code.i32Const(0);
  code.memory(op.i64Load, BUDGET);
  code.tee(slice);
  code.set(budget);
  code.i32Const(0);
  code.memory(op.i32Load, TLB_BASE);
  code.set(tlb);
  code.i32Const(0);
  code.memory(op.i64Load, CODE_PAGE_RIP);
  code.set(pageRip);
  code.get(record);
  code.set(entry);
  code.get(record);
  code.op(op.i32Eqz);
  code.set(cut);

  const exit = code.block();
  const relookup = code.loop();
  code.get(record);
  code.op(op.i32Eqz);
  code.if();
  {
    const faultIn = code.block();
    code.i32Const(0);
    code.memory(op.i32Load, TLB_BASE);
    code.set(tlb);
    code.get(budget);
    code.i64Const(0);
    code.op(op.i64LeS);
    code.get(cut);
    code.op(op.i32Eqz);
    code.op(op.i32And);
    code.if();
    leaveWith(RUN_BUDGET, exit);
    code.end();
    code.i32Const(0);
    code.set(cut);
    code.i32Const(0);
    code.memory(op.i32Load, CODE_SIZE);
    code.i32Const(2);
    code.op(options.long ? op.i32Ne : op.i32Eq);
    code.if();
    leaveWith(RUN_SYNC, exit);
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
    leaveWith(RUN_SYNC, exit);
    code.end();
    code.call(helper('lookup'));
    code.tee(record);
    code.op(op.i32Eqz);
    code.brIf(faultIn);
    code.get(record);
    code.set(entry);
    code.i32Const(0);
    code.memory(op.i32Load, CODE_TABLE);
    code.set(table);
    code.i32Const(0);
    code.memory(op.i64Load, CODE_PAGE_RIP);
    code.set(pageRip);
    code.br(relookup);
    code.end();
    // The fetch itself faulted; RIP is in place.
    deliver(relookup);
  }
  code.end();

  const next = code.loop();
  const fault = code.block();
  const statusBlock = code.block();
  const jump = code.block();
  const direct = code.block();
  const cold = code.block();
  const cases: number[] = [];
  const caseCount = OP_FIRST + hot.length;
  for (let i = 0; i < caseCount; i++) cases.push(code.block());
  cases.reverse();
  if (options.profile) {
    code.get(record);
    code.memory(op.i32Load16U, R_OP);
    code.i32Const(2);
    code.op(op.i32Shl);
    code.tee(at);
    code.get(at);
    code.memory(op.i32Load, options.profile);
    code.i32Const(1);
    code.op(op.i32Add);
    code.memory(op.i32Store, options.profile);
  }
  code.get(record);
  code.memory(op.i32Load16U, R_OP);
  code.brTable(cases, cold);

  const formTarget = recordTarget(code, { record, pageRip, tlb }, pool, {
    faultLabel: () => fault,
    status(): void {
      code.tee(status);
      code.brIf(statusBlock);
    },
    jump(): void {
      code.set(target);
      code.br(jump);
    },
    branch(): void {
      code.br(direct);
    },
  }, helper);

  for (let i = 0; i < caseCount; i++) {
    code.end();
    switch (i) {
      case OP_RELOOKUP:
        spillRip();
        account(0);
        code.i32Const(1);
        code.set(cut);
        code.i32Const(0);
        code.set(record);
        code.br(relookup);
        break;
      case OP_GOTO:
        // Not an instruction: shift the base of the count by what was run.
        account(0);
        code.get(record);
        code.memory(op.i32Load, R_AUX);
        code.tee(record);
        code.set(entry);
        code.br(next);
        break;
      case OP_STOP:
        spillRip();
        account(0);
        leaveWith(RUN_STOP, exit);
        break;
      case OP_CROSS:
        spillRip();
        code.get(record);
        code.get(pageRip);
        code.i64Const(4096);
        code.op(op.i64Add);
        code.call(helper('checkCross'));
        code.tee(status);
        code.i32Const(1);
        code.op(op.i32Ne);
        code.if();
        code.get(status);
        code.op(op.i32Eqz);
        code.brIf(fault);
        account(0);
        code.call(helper('decodeCross'));
        code.tee(record);
        code.op(op.i32Eqz);
        code.if();
        code.i32Const(0);
        code.set(entry);
        deliver(relookup);
        code.end();
        code.get(record);
        code.set(entry);
        code.br(next);
        code.end();
        // The guard is no instruction.
        advance();
        code.get(entry);
        code.i32Const(RECORD_SIZE);
        code.op(op.i32Add);
        code.set(entry);
        code.br(next);
        break;
      case OP_REGION:
        account(0);
        code.i32Const(0);
        code.memory(op.i32Load, REGIONS_OFF);
        code.ifUnlikely();
        interpretFirst();
        code.end();
        code.i32Const(0);
        code.get(budget);
        code.memory(op.i64Store, BUDGET);
        code.get(record);
        code.get(pageRip);
        code.get(tlb);
        code.get(record);
        code.memory(op.i32Load, R_AUX);
        code.op(op.callIndirect);
        code.u32(coldType);
        code.u8(0);
        code.set(status);
        code.i32Const(0);
        code.memory(op.i64Load, BUDGET);
        code.set(budget);
        code.get(status);
        code.i32Const(REGION_DONE);
        code.op(op.i32Eq);
        code.if();
        code.get(budget);
        code.i64Const(0);
        code.op(op.i64LeS);
        code.if();
        leaveWith(RUN_REGION, exit);
        code.end();
        code.i32Const(0);
        code.memory(op.i64Load, RIP);
        code.set(target);
        farLookup();
        code.end();
        code.get(status);
        code.i32Const(REGION_STALE);
        code.op(op.i32Eq);
        code.if();
        code.i32Const(0);
        code.memory(op.i32Load, REGION_ENTRY);
        code.call(helper('dropRegion'));
        code.i32Const(0);
        code.set(record);
        code.br(relookup);
        code.end();
        code.get(status);
        code.i32Const(STATUS_FAULT);
        code.op(op.i32Eq);
        code.if();
        deliver(relookup);
        code.end();
        code.get(status);
        code.i32Const(REGION_STEP);
        code.op(op.i32Eq);
        code.if();
        interpretOne();
        leaveWith(RUN_STEP, exit);
        code.end();
        code.get(status);
        code.i32Const(STATUS_EXIT);
        code.op(op.i32Eq);
        code.if();
        leaveWith(RUN_EXIT, exit);
        code.end();
        goOn();
        break;
      default:
        new Emitter(formTarget).program(hot[i - OP_FIRST]!.program);
        advance();
        code.br(next);
    }
  }

  code.end(); // cold
  code.get(record);
  code.get(pageRip);
  code.get(tlb);
  code.get(record);
  code.memory(op.i32Load16U, R_OP);
  code.op(op.callIndirect);
  code.u32(coldType);
  code.u8(0);
  code.tee(status);
  code.brIf(statusBlock);
  advance();
  code.br(next);

  code.end(); // direct
  account(1);
  code.get(record);
  code.memory(op.i32Load, R_DISPLACEMENT);
  code.tee(offset);
  code.i32Const(4096);
  code.op(op.i32LtU);
  code.if();
  {
    code.get(budget);
    code.i64Const(0);
    code.op(op.i64GtS);
    code.if();
    code.get(table);
    code.get(offset);
    code.i32Const(2);
    code.op(op.i32Shl);
    code.op(op.i32Add);
    code.memory(op.i32Load, 0);
    code.tee(at);
    code.if();
    code.get(at);
    code.tee(record);
    code.set(entry);
    code.br(next);
    code.end();
    code.end();
    code.i32Const(0);
    code.get(pageRip);
    code.get(offset);
    code.op(op.i64ExtendI32U);
    code.op(op.i64Add);
    code.memory(op.i64Store, RIP);
    code.i32Const(0);
    code.set(record);
    code.br(relookup);
  }
  code.end();
  branchTarget(code, record, pageRip);
  code.set(target);
  farLookup();

  code.end(); // jump
  account(1);
  farLookup();

  code.end(); // statusBlock: the STATUS of an instruction helper is not OK
  code.get(status);
  code.i32Const(STATUS_FAULT);
  code.op(op.i32Eq);
  code.brIf(fault);
  code.get(status);
  code.i32Const(STATUS_EXIT);
  code.op(op.i32Eq);
  code.if();
  account(0);
  leaveWith(RUN_EXIT, exit);
  code.end();
  account(1);
  goOn();

  code.end(); // fault
  spillRip();
  account(0);
  deliver(relookup);
  code.end(); // next
  code.end(); // relookup
  code.end(); // exit
  code.i32Const(0);
  code.i32Const(0);
  code.memory(op.i64Load, INSTRUCTIONS);
  code.get(slice);
  code.get(budget);
  code.op(op.i64Sub);
  code.op(op.i64Add);
  code.memory(op.i64Store, INSTRUCTIONS);
  code.i32Const(0);
  code.get(budget);
  code.memory(op.i64Store, BUDGET);
  code.get(result);
  return module.finish();

  /** After a STATUS of JUMP or SYNC: goes on at RIP, or leaves with NEXT_RIP in it. */
  function goOn(): void {
    code.get(status);
    code.i32Const(STATUS_SYNC);
    code.op(op.i32Eq);
    code.if();
    code.i32Const(0);
    code.i32Const(0);
    code.memory(op.i64Load, NEXT_RIP);
    code.memory(op.i64Store, RIP);
    leaveWith(RUN_SYNC, exit);
    code.end();
    code.i32Const(0);
    code.set(record);
    code.br(relookup);
  }

  /** In place of a region: its first instruction, from a copy of the record as it was, and on behind it. */
  function interpretFirst(): void {
    for (let field = 0; field < RECORD_SIZE; field += 8) {
      code.i32Const(REGION_FIRST);
      code.get(record);
      code.memory(op.i64Load, field);
      code.memory(op.i64Store, field);
    }
    code.get(record);
    code.memory(op.i32Load, R_AUX);
    code.i32Const(3);
    code.op(op.i32Shl);
    code.set(at);
    for (const [from, field, store] of [[0, R_AUX, op.i32Store], [4, R_OP, op.i32Store16]] as const) {
      code.i32Const(REGION_FIRST);
      code.get(at);
      code.memory(op.i32Load, REGION_ORIGINALS + from);
      code.memory(store, field);
    }
    code.i32Const(REGION_FIRST + RECORD_SIZE);
    code.i32Const(OP_GOTO);
    code.memory(op.i32Store16, R_OP);
    code.i32Const(REGION_FIRST + RECORD_SIZE);
    code.get(record);
    code.i32Const(RECORD_SIZE);
    code.op(op.i32Add);
    code.memory(op.i32Store, R_AUX);
    code.i32Const(REGION_FIRST);
    code.tee(record);
    code.set(entry);
    code.br(next);
  }

  /** Delivers the pending exception, or leaves when a VM exit is pending. */
  function deliver(label: number): void {
    code.i32Const(0);
    code.memory(op.i32Load, FAULT);
    code.i32Const(FAULT_EXIT);
    code.op(op.i32Eq);
    code.if();
    code.i32Const(0);
    code.i32Const(0);
    code.memory(op.i32Store, FAULT);
    leaveWith(RUN_EXIT, exit);
    code.end();
    code.call(helper('deliverPending'));
    code.i32Const(STATUS_EXIT);
    code.op(op.i32Eq);
    code.if();
    leaveWith(RUN_EXIT, exit);
    code.end();
    code.i32Const(0);
    code.set(record);
    code.br(label);
  }

  /** Goes on in the interpreter where a region was left before an instruction; falls through where that is the entry of a region. */
  function interpretOne(): void {
    const none = code.block();
    code.i32Const(0);
    code.memory(op.i64Load, RIP);
    code.tee(target);
    executeRecord(code, !options.long, { tlb, linear, entry: at, offset, table }, none);
    code.tee(at);
    code.op(op.i32Eqz);
    code.brIf(none);
    for (const operation of [OP_REGION, OP_GOTO]) {
      code.get(at);
      code.memory(op.i32Load16U, R_OP);
      code.i32Const(operation);
      code.op(op.i32Eq);
      code.brIf(none);
    }
    goToRecord();
    code.end();
  }

  /** Goes on at the record in `at`, which is that of the RIP in `target`, `offset` bytes into its page. */
  function goToRecord(): void {
    code.get(target);
    code.get(offset);
    code.op(op.i64ExtendI32U);
    code.op(op.i64Sub);
    code.set(pageRip);
    code.get(at);
    code.tee(record);
    code.set(entry);
    code.br(next);
  }

  /** Goes to the RIP in `target`: execute table first, `lookup` when it misses. */
  function farLookup(): void {
    const slow = code.block();
    code.get(budget);
    code.i64Const(0);
    code.op(op.i64LeS);
    code.brIf(slow);
    code.get(target);
    executeRecord(code, !options.long, { tlb, linear, entry: at, offset, table }, slow);
    code.tee(at);
    code.op(op.i32Eqz);
    code.brIf(slow);
    goToRecord();
    code.end();
    code.i32Const(0);
    code.get(target);
    code.memory(op.i64Store, RIP);
    code.i32Const(0);
    code.set(record);
    code.br(relookup);
  }
}
