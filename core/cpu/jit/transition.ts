/**
 * How a region is entered and left: what must still hold of the code it was made from, and the way on (ways.ts).
 */
import type { FunctionWriter } from '../../wasm/writer.ts';
import { op } from '../../wasm/opcodes.ts';
import { CS, PLAIN_SEGMENTS } from '../layout.ts';
import { keyOffset } from './discover.ts';
import type { Region } from './discover.ts';
import type { MovingAddresses } from './translation.ts';

/** Parameters. */
export const INDEX = 0;
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

/** The processor's state that a region is made for. */
export interface MadeFor {
  /** Legacy code: PLAIN_SEGMENTS. */
  readonly plain: number;
  /** Legacy code: STACK_SIZE, which PLAIN_SEGMENTS has too. */
  readonly stackSize: number;
  /** CPL 3. */
  readonly user: boolean;
}

/** What a region is made for. */
export interface RegionIdentity extends MadeFor {
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
  helper(name: string): number;
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

  /** At the entry, before anything was done. All that a region is made for was looked at when the way here was found, but segments may have changed since. */
  enter(region: Region): void {
    if (!this.context.legacy) return;
    const { code } = this;
    this.segmentsDiffer();
    code.ifUnlikely();
    code.get(INDEX);
    pageAddress(code, keyOffset(region.entry));
    code.returnCall(this.context.helper('stale'));
    code.end();
  }

  /** Pushes a truth value: nonzero when segments are other than what the region was made for. */
  segmentsDiffer(): void {
    const { code } = this;
    code.i32Const(0);
    code.memory(op.i32Load, PLAIN_SEGMENTS);
    code.i32Const(this.context.identity.plain);
    code.op(op.i32Ne);
  }

  /** Takes RIP, and the instructions that BUDGET does not know of, from the wasm stack, and goes on there. */
  goOn(): void {
    const { code } = this;
    code.get(INDEX);
    code.get(TLB);
    code.returnCall(this.context.helper(this.hasBase ? 'goOnInSegment' : 'goOn'));
  }
}
