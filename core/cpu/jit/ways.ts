/**
 * Ways out of regions, which all of them share: to the next region, and back to the interpreter. They are optimised code that is always in the processor's
 * caches, where the same at the end of every region would be baseline code, which is long and cold.
 */
import { ModuleWriter } from '../../wasm/writer.ts';
import type { FunctionType, FunctionWriter } from '../../wasm/writer.ts';
import { I32, I64, op } from '../../wasm/opcodes.ts';
import type { HelperSignatures } from '../helpers.ts';
import { importProcessor } from '../interpreter/coldForms.ts';
import { executeRecord, linearOf } from '../interpreter/executeTable.ts';
import { BUDGET, EXECUTE_EPOCH, REGION_ENTRY, REGION_LINKED, REGION_LINKS, REGION_LINKS_SIZE, REGION_LINK_SIZE, RIP } from '../layout.ts';
import { OP_REGION, REGION_DONE, REGION_STALE, R_AUX, R_OP, STATUS_JUMP, STATUS_SYNC } from '../record.ts';

/** Regions are functions (their index, RIP of the page's first byte, base of the look-aside tables) → STATUS. */
export const REGION_TYPE: FunctionType = { parameters: [I32, I64, I32], results: [I32] };

/** Room for the number of instructions of a block in a place of a region, beside an offset of up to 4 MiB (discover.ts). */
export const COMPLETED_BITS = 9;

/** What a way is emitted with: the type of regions, helpers by name. */
interface WayModule {
  readonly region: number;
  helper(name: string): number;
}

interface Way {
  /** That regions import it by. */
  readonly name: string;
  readonly type: FunctionType;
  emit(code: FunctionWriter, module: WayModule): void;
}

/** RIP, instructions that BUDGET does not know of, index of the region, base of the look-aside tables. */
const GO_ON: FunctionType = { parameters: [I64, I32, I32, I32], results: [I32] };

/** Where CS may have a base, others are used. */
export const WAYS: readonly Way[] = [
  { name: 'goOn', type: GO_ON, emit: (code, module) => { goOn(code, module, false); } },
  { name: 'goOnInSegment', type: GO_ON, emit: (code, module) => { goOn(code, module, true); } },
  { name: 'stop', type: { parameters: [I32, I32, I64], results: [I32] }, emit: stop },
  { name: 'stopAfterHelper', type: { parameters: [I32, I32], results: [I32] }, emit: stopAfterHelper },
  { name: 'stale', type: { parameters: [I32, I64], results: [I32] }, emit: stale },
];

export interface WaysHost {
  readonly memory: WebAssembly.Memory;
  /** Of regions and forms. */
  readonly table: WebAssembly.Table;
  readonly helpers: WebAssembly.ModuleImports;
  readonly signatures: HelperSignatures;
}

/** What regions may call: a processor's helpers, and ways. */
export function regionImports({ memory, table, helpers, signatures }: WaysHost): WebAssembly.ModuleImports {
  const ways = new WebAssembly.Instance(new WebAssembly.Module(buildWays(signatures)), { host: { memory, cold: table }, helpers });
  return { ...helpers, ...ways.exports as WebAssembly.ModuleImports };
}

function buildWays(signatures: HelperSignatures): Uint8Array<ArrayBuffer> {
  const module = new ModuleWriter();
  const region = module.type(REGION_TYPE);
  const helper = importProcessor(module, signatures);
  for (const { name, type, emit } of WAYS) emit(module.function(type, name).code, { region, helper });
  return module.finish();
}

/** `left`: a local (i64) for what is left of it, where that is wanted. */
function takeOffBudget(code: FunctionWriter, instructions: () => void, left?: number): void {
  code.i32Const(0);
  code.i32Const(0);
  code.memory(op.i64Load, BUDGET);
  instructions();
  code.op(op.i64Sub);
  if (left !== undefined) code.tee(left);
  code.memory(op.i64Store, BUDGET);
}

/** Back to the interpreter, which is to know where and from which region. */
function back(code: FunctionWriter, rip: number, index: number, status: number): void {
  code.i32Const(0);
  code.get(rip);
  code.memory(op.i64Store, RIP);
  code.i32Const(0);
  code.get(index);
  code.memory(op.i32Store, REGION_ENTRY);
  code.i32Const(status);
}

/** Leaves where the link of a linear address lies, less REGION_LINKS, in a local: different ones for the addresses of a page, and of neighbouring pages. */
function linkOf(code: FunctionWriter, linear: number, link: number): void {
  code.get(linear);
  code.op(op.i32WrapI64);
  code.tee(link);
  code.get(link);
  code.i32Const(11);
  code.op(op.i32ShrU);
  code.op(op.i32Xor);
  code.i32Const(Math.log2(REGION_LINK_SIZE));
  code.op(op.i32Shl);
  code.i32Const(REGION_LINKS_SIZE - REGION_LINK_SIZE);
  code.op(op.i32And);
  code.set(link);
}

/** Pushes EXECUTE_EPOCH and TLB_BASE. */
function epoch(code: FunctionWriter): void {
  code.i32Const(0);
  code.memory(op.i64Load, EXECUTE_EPOCH);
}

/** On to the region that begins at RIP, when there is one and the budget is not used up; else back with REGION_DONE. */
function goOn(code: FunctionWriter, module: WayModule, based: boolean): void {
  const [rip, instructions, index, tlb] = [0, 1, 2, 3];
  const budget = code.local(I64);
  const link = code.local(I32);
  const next = code.local(I32);
  const linear = based ? code.local(I64) : rip;
  const none = code.block();
  takeOffBudget(code, () => {
    code.get(instructions);
    code.op(op.i64ExtendI32U);
  }, budget);
  code.get(budget);
  code.i64Const(0);
  code.op(op.i64LeS);
  code.brIf(none);
  if (based) {
    code.get(rip);
    linearOf(code, true);
    code.set(linear);
  }
  linkOf(code, linear, link);
  code.get(link);
  code.memory(op.i64Load, REGION_LINKS);
  code.get(linear);
  code.op(op.i64Ne);
  code.get(link);
  code.memory(op.i64Load, REGION_LINKS + 8);
  epoch(code);
  code.op(op.i64Ne);
  code.op(op.i32Or);
  // Not rare: in cold code, two ways out of five lead to no region.
  code.if();
  findRegion(code, module, { rip, linear, tlb, next }, none);
  code.get(link);
  code.get(linear);
  code.memory(op.i64Store, REGION_LINKS);
  code.get(link);
  epoch(code);
  code.memory(op.i64Store, REGION_LINKS + 8);
  code.get(link);
  code.get(next);
  code.memory(op.i32Store, REGION_LINKS + 16);
  code.i32Const(0);
  code.i32Const(1);
  code.memory(op.i32Store, REGION_LINKED);
  code.end();
  code.get(link);
  code.memory(op.i32Load, REGION_LINKS + 16);
  code.tee(next);
  pageOf(code, rip, linear);
  code.get(tlb);
  code.get(next);
  code.op(op.returnCallIndirect);
  code.u32(module.region);
  code.u8(0);
  code.end();
  back(code, rip, index, REGION_DONE);
}

/** Pushes RIP of the first byte of the page that an instruction lies in. */
function pageOf(code: FunctionWriter, rip: number, linear: number): void {
  code.get(rip);
  if (rip === linear) {
    code.i64Const(-4096);
    code.op(op.i64And);
    return;
  }
  code.get(linear);
  code.i64Const(4095);
  code.op(op.i64And);
  code.op(op.i64Sub);
}

/** What leads from one region to the next, as locals. */
interface Onward {
  readonly rip: number;
  readonly linear: number;
  readonly tlb: number;
  readonly next: number;
}

/**
 * Leaves the index of the region that begins at RIP in `next`, by the record there; branches to `none` where there is none. Goes back where the region must
 * not be entered.
 */
function findRegion(code: FunctionWriter, { helper }: WayModule, { rip, linear, tlb, next }: Onward, none: number): void {
  const record = code.local(I32);
  code.get(linear);
  executeRecord(code, { tlb, linear, entry: record, offset: code.local(I32) }, none);
  code.tee(record);
  // Address 0 holds no record: it reads as another operation.
  code.memory(op.i32Load16U, R_OP);
  code.i32Const(OP_REGION);
  code.op(op.i32Ne);
  code.brIf(none);
  code.get(record);
  code.memory(op.i32Load, R_AUX);
  code.tee(next);
  pageOf(code, rip, linear);
  code.call(helper('mustNotEnter'));
  code.ifUnlikely();
  back(code, rip, next, REGION_STALE);
  code.return();
  code.end();
}

/** Back from a place before an instruction, with a STATUS; the third parameter is RIP of the page. */
function stop(code: FunctionWriter): void {
  const [place, status, pageRip] = [0, 1, 2];
  code.i32Const(0);
  code.get(place);
  code.i32Const(COMPLETED_BITS);
  code.op(op.i32ShrS);
  code.op(op.i64ExtendI32S);
  code.get(pageRip);
  code.op(op.i64Add);
  code.memory(op.i64Store, RIP);
  takeOffBudget(code, () => {
    code.get(place);
    code.i32Const((1 << COMPLETED_BITS) - 1);
    code.op(op.i32And);
    code.op(op.i64ExtendI32U);
  });
  code.get(status);
}

/** Back after an instruction's helper, with its STATUS, which is not OK, and the instructions before it that BUDGET does not know of. */
function stopAfterHelper(code: FunctionWriter): void {
  const [status, completed] = [0, 1];
  takeOffBudget(code, () => {
    code.get(completed);
    // JUMP and SYNC completed the instruction; a fault and an exit did not.
    code.get(status);
    code.i32Const(STATUS_JUMP);
    code.op(op.i32Eq);
    code.get(status);
    code.i32Const(STATUS_SYNC);
    code.op(op.i32Eq);
    code.op(op.i32Or);
    code.op(op.i32Add);
    code.op(op.i64ExtendI32U);
  });
  code.get(status);
}

/** Back at once: the region is not what the guest has there. */
function stale(code: FunctionWriter): void {
  const [index, rip] = [0, 1];
  back(code, rip, index, REGION_STALE);
}
