/**
 * Compiles a region to one wasm function: (index, RIP of the page, look-aside base) → STATUS, or REGION_DONE when control goes on at
 * the RIP left in the state. Blocks become structured code. In large regions general registers and flags live in locals and are written back on the
 * way out and around helpers.
 *
 * Small regions stay in V8's baseline code, and are written for it: all state is in memory, as a local costs as much there; few locals, as more than five of a
 * function's own are cleared at each entry by a loop; what is rare is the `else` of an `if`, as both arms end with locals where the first has them.
 */
import type { FunctionType, FunctionWriter } from '../../wasm/writer.ts';
import { ModuleWriter } from '../../wasm/writer.ts';
import { I32, I64, op } from '../../wasm/opcodes.ts';
import type { CodeSize } from '../../isa/decoder.ts';
import { UNAVAILABLE } from '../../isa/prechecks.ts';
import type { HelperSignatures } from '../helpers.ts';
import { importProcessor } from '../interpreter/coldForms.ts';
import { LocalPool } from '../interpreter/forms.ts';
import {
  BUDGET, CODE_GENERATION, CR0, CR4, OPEN_STATUS, REGION_COUNTS, REGION_COUNTS_EACH, REGION_TARGETS, REGION_TARGETS_EACH, REGION_TARGET_OTHER,
  REGION_TARGET_SAME, REGION_TARGET_SIZE,
} from '../layout.ts';
import { REGION_STEP, STATUS_FAULT } from '../record.ts';
import { keyOffset } from './discover.ts';
import type { Region } from './discover.ts';
import type { Flow } from './flow.ts';
import { AVAILABLE_SSE } from './instructions.ts';
import { Player } from './player.ts';
import type { Site, SiteEnds } from './player.ts';
import { rangesOf } from './ranges.ts';
import { RegisterFile } from './registers.ts';
import { INDEX, PAGE_RIP, Transition, pageAddress, pageAddress32 } from './transition.ts';
import type { RegionIdentity } from './transition.ts';
import { COMPLETED_BITS, REGION_TYPE } from './ways.ts';

/** What a region is left with: RIP and the instructions that its budget does not know of; or a place (ways.ts) and a STATUS. */
const LEAVE: FunctionType = { parameters: [], results: [I64, I32] };
const STOP: FunctionType = { parameters: [], results: [I32, I32] };
/** Instructions of a block and those before it that fit into a place. */
const PLACE_LIMIT = (1 << COMPLETED_BITS) - 1;

export function compileRegion(region: Region, flow: Flow, codeSize: CodeSize, signatures: HelperSignatures, identity: RegionIdentity): Uint8Array<ArrayBuffer> {
  const module = new ModuleWriter();
  const labels = { leave: module.type(LEAVE), stop: module.type(STOP) };
  const helper = importProcessor(module, signatures);
  if (identity.moving) module.importGlobal('host', 'moved', I64);
  const { code } = module.function(REGION_TYPE, 'region');
  new RegionCompiler(code, flow, codeSize, helper, identity, labels).compile(region);
  return module.finish();
}

class RegionCompiler implements SiteEnds {
  private readonly code: FunctionWriter;
  private readonly flow: Flow;
  private readonly legacy: boolean;
  private readonly helper: (name: string) => number;
  private readonly identity: RegionIdentity;
  private readonly transition: Transition;
  private readonly player: Player;
  private readonly registers: RegisterFile;
  private readonly pool: LocalPool;
  private readonly labels: { readonly leave: number; readonly stop: number };
  /** Locals. Of large regions: instructions that may still run, which small ones keep in BUDGET. */
  private readonly budget: number;
  /** Where helpers are called: CODE_GENERATION at entry, and whether it has changed since. */
  private readonly generation: number;
  private readonly dropped: number;
  /** Instructions on the way here that have not been taken off the budget yet. */
  private pending = 0;
  /** Labels of the blocks' code by position: of the loop, and of the end of the wasm block before it. */
  private readonly loops = new Map<number, number>();
  private readonly joins = new Map<number, number>();
  private leave = 0;
  /** For places (`leaveFrom`) where the region is left before an instruction: by the interpreter's part, by why. */
  private step = 0;
  private faulted = 0;
  private refused = 0;
  /** What is known to be available (AVAILABLE_*) at this point, and behind each block that has been compiled. */
  private available = 0;
  private readonly availableBehind: number[] = [];
  constructor(
    code: FunctionWriter, flow: Flow, codeSize: CodeSize, helper: (name: string) => number, identity: RegionIdentity,
    labels: { readonly leave: number; readonly stop: number },
  ) {
    this.code = code;
    this.flow = flow;
    this.legacy = codeSize !== 64;
    this.helper = helper;
    this.identity = identity;
    this.labels = labels;
    this.registers = new RegisterFile(code, identity.large ? flow.order : null, this.legacy);
    this.pool = new LocalPool(code);
    this.budget = identity.large ? code.local(I64) : -1;
    const callsHelpers = flow.order.some(block => block.instructions.some(({ form }) => form.callsHelper));
    this.generation = callsHelpers ? code.local(I32) : -1;
    this.dropped = callsHelpers ? code.local(I32) : -1;
    const { legacy, registers, pool } = this;
    this.player = new Player({ code, legacy, identity, registers, pool, ends: this, helper });
    this.transition = new Transition({ code, legacy, identity, helper });
  }

  compile(region: Region): void {
    const { code, budget, generation } = this;
    this.transition.enter(region);
    this.registers.reload();
    if (budget >= 0) {
      code.i32Const(0);
      code.memory(op.i64Load, BUDGET);
      code.set(budget);
    }
    if (generation >= 0) {
      code.i32Const(0);
      code.memory(op.i32Load, CODE_GENERATION);
      code.set(generation);
    }
    this.leave = code.block(op.block, this.labels.leave);
    const stop = code.block(op.block, this.labels.stop);
    this.refused = code.block(op.block, I32);
    this.faulted = code.block(op.block, I32);
    this.step = code.block(op.block, I32);
    this.tree(0);
    code.op(op.unreachable);
    code.end();
    code.i32Const(REGION_STEP);
    code.br(stop);
    code.end();
    code.i32Const(STATUS_FAULT);
    code.br(stop);
    code.end();
    code.i32Const(0);
    code.memory(op.i32Load, OPEN_STATUS);
    code.end();
    this.writeBack();
    code.get(PAGE_RIP);
    code.returnCall(this.helper('stop'));
    code.end();
    this.writeBack();
    this.transition.goOn();
  }

  /** Locals to memory. */
  private writeBack(): void {
    this.registers.spill();
    this.storeBudget();
  }

  private storeBudget(): void {
    if (this.budget < 0) return;
    this.code.i32Const(0);
    this.code.get(this.budget);
    this.code.memory(op.i64Store, BUDGET);
  }

  /** Takes what is pending off the budget, where ways with different numbers meet. */
  private settle(): void {
    const { code, budget, pending } = this;
    this.pending = 0;
    if (pending === 0) return;
    if (budget < 0) code.i32Const(0);
    this.readBudget();
    code.i64Const(-pending);
    code.op(op.i64Add);
    if (budget < 0) code.memory(op.i64Store, BUDGET);
    else code.set(budget);
  }

  private readBudget(): void {
    const { code, budget } = this;
    if (budget >= 0) code.get(budget);
    else {
      code.i32Const(0);
      code.memory(op.i64Load, BUDGET);
    }
  }

  // ---- control flow -------------------------------------------------------------------------------------------------------------

  /** A block and all that it dominates. */
  private tree(position: number): void {
    const { code, flow } = this;
    if (flow.isLoop[position] || flow.isMerge[position]) this.player.flagsFrom = undefined;
    if (flow.isLoop[position]) {
      this.settle();
      this.loops.set(position, code.loop());
      this.within(position, flow.merges[position]!);
      code.end();
    } else this.within(position, flow.merges[position]!);
  }

  private within(position: number, merges: readonly number[]): void {
    const [merge, ...rest] = merges;
    if (merge === undefined) {
      this.body(position);
      return;
    }
    this.joins.set(merge, this.code.block());
    this.within(position, rest);
    this.code.end();
    this.pending = 0;
    this.tree(merge);
  }

  private body(position: number): void {
    const block = this.flow.order[position]!;
    const { instructions } = block;
    if (this.identity.counted.has(position)) this.countBlock(REGION_COUNTS + position * 4);
    this.available = position === 0 ? 0 : this.availableBehind[this.flow.dominator[position]!]!;
    const count = instructions.length;
    if (this.pending + count > PLACE_LIMIT) this.settle();
    const before = this.pending;
    const ranges = rangesOf(instructions, this.identity.apart, this.legacy ? this.player : null);
    const kept: number[] = [];
    instructions.forEach((instruction, index) => {
      const { form } = instruction;
      const site: Site = { instruction, position, completed: before + index, ranges: ranges?.[index], kept };
      const last = index === count - 1;
      if (last) this.availableBehind[position] = form.callsHelper ? 0 : this.available | form.needs;
      this.checkAvailable(site);
      this.player.play(site);
      this.afterHelper(site);
    });
    for (const local of kept) this.pool.release(I32, local);
    this.pending = before + count;
    const final = instructions[count - 1]!;
    if (final.decoded.row.has.ends) {
      // Reached where a helper that may change everything came back with OK.
      this.leaveAt(final.offset + final.decoded.length);
      return;
    }
    this.go(position, block.next, block.end);
  }

  private countBlock(at: number): void {
    const { code } = this;
    // Twice, as a local costs more (above).
    for (let i = 0; i < 2; i++) {
      code.get(INDEX);
      code.i32Const(Math.log2(REGION_COUNTS_EACH));
      code.op(op.i32Shl);
    }
    code.memory(op.i32Load, at);
    code.i32Const(1);
    code.op(op.i32Add);
    code.memory(op.i32Store, at);
  }

  /** Where no instruction before has made sure of it: what the x87 or SSE state is not available for, the interpreter refuses. */
  private checkAvailable(site: Site): void {
    const needed = site.instruction.form.needs;
    if ((needed & ~this.available) === 0) return;
    const { code } = this;
    const { cr0, cr4Clear } = needed & AVAILABLE_SSE ? UNAVAILABLE.sse : UNAVAILABLE.x87;
    code.i32Const(0);
    code.memory(op.i32Load, CR0);
    code.i32Const(cr0);
    code.op(op.i32And);
    if (cr4Clear !== 0) {
      code.i32Const(0);
      code.memory(op.i32Load, CR4);
      code.i32Const(-1);
      code.op(op.i32Xor);
      code.i32Const(cr4Clear);
      code.op(op.i32And);
      code.op(op.i32Or);
    }
    code.ifUnlikely();
    this.stepInstead(site);
    code.end();
    this.available |= needed;
  }

  /** After a helper: when code was dropped or a segment register loaded, this region may be stale. */
  private afterHelper({ instruction: { offset, decoded, form }, completed }: Site): void {
    if (!form.callsHelper || decoded.row.has.ends) return;
    const { code } = this;
    code.get(this.dropped);
    code.ifUnlikely();
    this.pending = completed + 1;
    this.leaveAt(offset + decoded.length);
    code.end();
  }

  /** Goes from a block to the one with a key, inside the region where that is possible, else to `offset`. */
  private go(from: number, key: number, offset: number): void {
    const { code, flow } = this;
    const position = flow.position.get(key);
    const edge = position === undefined ? 'leave' : flow.edge(from, position);
    if (position === undefined || edge === 'leave') {
      this.leaveAt(offset);
    } else if (edge === 'back') {
      this.settle();
      this.readBudget();
      code.i64Const(0);
      code.op(op.i64GtS);
      code.brIf(this.loops.get(position)!);
      this.leaveAt(offset);
    } else if (flow.isMerge[position]) {
      this.settle();
      code.br(this.joins.get(position)!);
    } else {
      const { flagsFrom } = this.player;
      this.tree(position);
      this.player.flagsFrom = flagsFrom;
    }
  }

  /** The same from within an instruction, which goes on elsewhere where it does not come here. */
  private goFrom({ position, completed }: Site, key: number, offset: number): void {
    const { pending } = this;
    this.pending = completed + 1;
    this.go(position, key, offset);
    this.pending = pending;
  }

  /** Leaves for an offset of the page. */
  private leaveAt(offset: number): void {
    pageAddress(this.code, offset);
    this.leaveForTarget();
  }

  /** Leaves for the RIP on the wasm stack. */
  private leaveForTarget(): void {
    this.code.i32Const(this.pending);
    this.code.br(this.leave);
  }

  /**
   * Leaves before an instruction: at the label `step` for the interpreter to carry it out, at `faulted` with a fault pending, at `refused`
   * where a helper has said why. There are many such places; each is as short as can be.
   */
  private leaveFrom({ instruction: { offset }, completed }: Site, label: number): void {
    this.code.i32Const((offset << COMPLETED_BITS) | completed);
    this.code.br(label);
  }

  // ---- ends of instructions -----------------------------------------------------------------------------------------------------

  stepInstead(site: Site): void {
    this.leaveFrom(site, this.step);
  }

  fault(site: Site): void {
    this.leaveFrom(site, this.faulted);
  }

  leaveUnlessOk(site: Site): void {
    this.code.if();
    this.leaveFrom(site, this.refused);
    this.code.end();
  }

  jump(site: Site): void {
    const { code, pool } = this;
    const { key, likely } = this.flow.order[site.position]!;
    const place = this.identity.targets.get(key);
    this.pending = site.completed + 1;
    if (place !== undefined || likely >= 0) {
      const target = pool.allocate(I64);
      code.set(target);
      if (place !== undefined) this.noteTarget(place, target);
      if (likely >= 0) this.predict(site, likely, target);
      code.get(target);
      pool.release(I64, target);
    }
    this.leaveForTarget();
  }

  /** Notes where control goes, for the large region that may take this one's place. */
  private noteTarget(place: number, to: number): void {
    const { code } = this;
    const at = REGION_TARGETS + place * REGION_TARGET_SIZE;
    const target = this.pool.allocate(I32);
    const other = this.pool.allocate(I32);
    code.get(INDEX);
    code.i32Const(Math.log2(REGION_TARGETS_EACH * REGION_TARGET_SIZE));
    code.op(op.i32Shl);
    code.tee(target);
    code.memory(op.i64Load, at);
    code.get(to);
    code.op(op.i64Ne);
    code.i32Const(Math.log2(REGION_TARGET_OTHER - REGION_TARGET_SAME));
    code.op(op.i32Shl);
    code.get(target);
    code.op(op.i32Add);
    code.tee(other);
    code.get(other);
    code.memory(op.i32Load, at + REGION_TARGET_SAME);
    code.i32Const(1);
    code.op(op.i32Add);
    code.memory(op.i32Store, at + REGION_TARGET_SAME);
    this.pool.release(I32, other);
    code.get(target);
    code.get(to);
    code.memory(op.i64Store, at);
    this.pool.release(I32, target);
  }

  /** Goes on in the region where that is where control goes. */
  private predict(site: Site, key: number, target: number): void {
    const { code } = this;
    const offset = keyOffset(key);
    code.get(target);
    if (this.legacy) {
      code.op(op.i32WrapI64);
      pageAddress32(code, offset);
      code.op(op.i32Eq);
    } else {
      pageAddress(code, offset);
      code.op(op.i64Eq);
    }
    code.if();
    this.goFrom(site, key, offset);
    code.end();
  }

  /** The state is in memory. Anything but OK leaves at once, past the write-back. */
  helperStatus({ completed }: Site): void {
    const { code, pool } = this;
    const status = pool.allocate(I32);
    code.tee(status);
    code.ifUnlikely();
    this.storeBudget();
    code.get(status);
    code.i32Const(completed);
    code.returnCall(this.helper('stopAfterHelper'));
    code.end();
    pool.release(I32, status);
    this.registers.reload();
    this.available = 0;
    this.player.flagsFrom = undefined;
    // Helpers store, too: string instructions most of all.
    this.noteDropped();
  }

  private noteDropped(): void {
    const { code } = this;
    code.i32Const(0);
    code.memory(op.i32Load, CODE_GENERATION);
    code.get(this.generation);
    code.op(op.i32Ne);
    if (this.legacy) {
      this.transition.segmentsDiffer();
      code.op(op.i32Or);
    }
    code.set(this.dropped);
  }

  branch(site: Site): void {
    const { code } = this;
    const { offset, decoded } = site.instruction;
    const target = offset + decoded.displacement;
    const { taken } = this.flow.order[site.position]!;
    if (taken >= 0) {
      this.goFrom(site, taken, target);
      return;
    }
    pageAddress(code, target);
    if (this.legacy) {
      code.i64Const(decoded.immediateLow, decoded.immediateHigh);
      code.op(op.i64And);
    }
    code.i32Const(site.completed + 1);
    code.br(this.leave);
  }
}
