/**
 * How a region is entered and left: what must still hold of the code it was made from, and the way straight on to the next region. Regions
 * are functions (record, RIP of the page's first byte, base of the look-aside tables) → STATUS.
 */
import type { FunctionType, FunctionWriter } from '../../wasm/writer.ts';
import { I32, I64, op } from '../../wasm/opcodes.ts';
import { executeRecord } from '../interpreter/executeTable.ts';
import {
  CS, EXECUTE_EPOCH, PLAIN_SEGMENTS, REGION_CHECKS, REGION_CHECK_SIZE, REGION_ENTRY, RIP, SEGMENTS, SEGMENT_SIZE, SEG_BASE,
} from '../layout.ts';
import { OP_REGION, REGION_DONE, REGION_STALE, R_AUX, R_OP } from '../record.ts';
import { keyOffset } from './discover.ts';
import type { Region } from './discover.ts';
import type { MovingAddresses } from './translation.ts';

export const REGION_TYPE: FunctionType = { parameters: [I32, I64, I32], results: [I32] };
/** Parameters. */
export const RECORD = 0;
export const PAGE_RIP = 1;
export const TLB = 2;

/** Pushes RIP of an offset relative to the page. */
export function pageAddress(code: FunctionWriter, offset: number): void {
  code.get(PAGE_RIP);
  // A branch or an operand may reach a little further than 32 bits.
  code.i64Const(offset | 0, Math.floor(offset / 2 ** 32));
  code.op(op.i64Add);
}

/** The same, its low 32 bits. */
export function pageAddress32(code: FunctionWriter, offset: number): void {
  code.get(PAGE_RIP);
  code.op(op.i32WrapI64);
  code.i32Const(offset);
  code.op(op.i32Add);
}

/** What a region is made for. */
export interface RegionIdentity {
  /** Legacy code: PLAIN_SEGMENTS, for which the region is made. */
  readonly plain: number;
  /** Legacy code: STACK_SIZE, which PLAIN_SEGMENTS has too. */
  readonly stackSize: number;
  /** Made for V8's optimising compiler: registers in locals, windows for all base registers and not the stack pointer alone. */
  readonly large: boolean;
  /** Ranges of accesses that share no check (ranges.ts). */
  readonly apart: ReadonlySet<number>;
  /** Places where it is noted where indirect jumps and calls go, by the keys of their blocks (targetPlaces); of small regions alone. */
  readonly targets: ReadonlyMap<number, number>;
  /** Positions of blocks whose runs are counted (branches.ts); of small regions alone. */
  readonly counted: ReadonlySet<number>;
  /** Finds the addresses that are other ones when the region is kept for another run (translation.ts); null: it is not kept. */
  readonly moving: MovingAddresses | null;
}

/** Whether a value of PLAIN_SEGMENTS says that a segment is the whole linear address space, for reads or for writes. */
export function isPlain(plain: number, segment: number, write: boolean): boolean {
  return ((plain >> (segment * 2)) & (write ? 2 : 1)) !== 0;
}

export interface TransitionContext {
  readonly code: FunctionWriter;
  /** Whether the code is not 64-bit code. */
  readonly legacy: boolean;
  readonly identity: RegionIdentity;
  /** Index of REGION_TYPE in the module. */
  readonly type: number;
  helper(name: string): number;
  /** Locals: where control goes on (i64), why the region is left (i32), instructions that may still run (i64). */
  readonly exitRip: number;
  readonly status: number;
  readonly budget: number;
}

export class Transition {
  private readonly context: TransitionContext;
  private readonly code: FunctionWriter;

  constructor(context: TransitionContext) {
    this.context = context;
    this.code = context.code;
  }

  /** Whether RIP may differ from the linear address. */
  private get hasBase(): boolean {
    return this.context.legacy && !isPlain(this.context.identity.plain, CS, false);
  }

  /** At the entry, before anything was done. */
  enter(region: Region): void {
    const entry = keyOffset(region.entry);
    if (this.context.legacy) {
      this.segmentsDiffer();
      this.code.ifUnlikely();
      this.leaveStale(entry);
      this.code.end();
    }
    if (region.foreign.size > 0) this.checkPages(entry);
  }

  /** Pushes a truth value: nonzero when segments are other than what the region was made for. */
  segmentsDiffer(): void {
    const { code } = this;
    code.i32Const(0);
    code.memory(op.i32Load, PLAIN_SEGMENTS);
    code.i32Const(this.context.identity.plain);
    code.op(op.i32Ne);
  }

  private leaveStale(entryOffset: number): void {
    const { code } = this;
    code.i32Const(0);
    code.get(PAGE_RIP);
    code.i64Const(entryOffset);
    code.op(op.i64Add);
    code.memory(op.i64Store, RIP);
    this.noteEntry();
    code.i32Const(REGION_STALE);
    code.return();
  }

  /** Says which region returns to the interpreter. */
  noteEntry(): void {
    const { code } = this;
    code.i32Const(0);
    code.get(RECORD);
    code.memory(op.i32Store, REGION_ENTRY);
  }

  /** Goes straight to the region that begins where control goes on, when there is one and the budget is not used up. */
  chain(): void {
    const { code } = this;
    const { status, exitRip, budget, type } = this.context;
    const linear = code.local(I64);
    const at = code.local(I32);
    const none = code.block();
    code.get(status);
    code.i32Const(REGION_DONE);
    code.op(op.i32Ne);
    code.brIf(none);
    code.get(budget);
    code.i64Const(0);
    code.op(op.i64LeS);
    code.brIf(none);
    code.get(exitRip);
    executeRecord(code, this.hasBase, { tlb: TLB, linear, entry: at, offset: at }, none);
    code.tee(status);
    // Address 0 holds no record: it reads as another operation.
    code.memory(op.i32Load16U, R_OP);
    code.i32Const(OP_REGION);
    code.op(op.i32Ne);
    code.if();
    code.i32Const(REGION_DONE);
    code.set(status);
    code.br(none);
    code.end();
    code.get(status);
    code.get(exitRip);
    code.get(at);
    code.op(op.i64ExtendI32U);
    code.op(op.i64Sub);
    code.get(TLB);
    code.get(status);
    code.memory(op.i32Load, R_AUX);
    code.op(op.returnCallIndirect);
    code.u32(type);
    code.u8(0);
    code.end();
  }

  /**
   * Code on other pages than the entry's is checked when the region is entered for the first time, and again when a translation has
   * changed since, the entry's page is at another address, or at another privilege level.
   */
  private checkPages(entry: number): void {
    const { code } = this;
    const page = this.context.exitRip;
    const check = this.context.status;
    code.get(RECORD);
    code.memory(op.i32Load, R_AUX);
    code.i32Const(Math.log2(REGION_CHECK_SIZE));
    code.op(op.i32Shl);
    code.tee(check);
    code.memory(op.i64Load, REGION_CHECKS);
    code.get(PAGE_RIP);
    if (this.hasBase) {
      code.i32Const(0);
      code.memory(op.i64Load, SEGMENTS + CS * SEGMENT_SIZE + SEG_BASE);
      code.op(op.i64Add);
    }
    code.tee(page);
    code.op(op.i64Ne);
    code.get(check);
    code.memory(op.i64Load, REGION_CHECKS + 8);
    code.i32Const(0);
    code.memory(op.i64Load, EXECUTE_EPOCH);
    code.op(op.i64Ne);
    code.op(op.i32Or);
    code.ifUnlikely();
    code.get(page);
    code.get(RECORD);
    code.memory(op.i32Load, R_AUX);
    code.call(this.context.helper('holdsPages'));
    code.op(op.i32Eqz);
    code.if();
    this.leaveStale(entry);
    code.end();
    code.end();
  }
}
