/**
 * Compiles a region to one wasm function: (record, RIP of the page, look-aside base) → STATUS, or REGION_DONE when control goes on at
 * the RIP left in the state. Blocks become structured code; general registers and flags live in locals and are written back on the
 * way out and around helpers.
 */
import type { FunctionWriter } from '../../wasm/writer.ts';
import { ModuleWriter } from '../../wasm/writer.ts';
import { I32, I64, op } from '../../wasm/opcodes.ts';
import type { CodeSize } from '../../isa/decoder.ts';
import { UNAVAILABLE } from '../../isa/prechecks.ts';
import type { HelperSignatures } from '../helpers.ts';
import { importProcessor } from '../interpreter/coldForms.ts';
import { LocalPool } from '../interpreter/forms.ts';
import {
  BUDGET, CODE_GENERATION, CR0, CR4, CS, OPEN_STATUS, REGION_COUNTS, REGION_COUNTS_EACH, REGION_TARGETS, REGION_TARGETS_EACH, REGION_TARGET_OTHER,
  REGION_TARGET_SAME, REGION_TARGET_SIZE, RIP,
} from '../layout.ts';
import { REGION_DONE, REGION_STEP, R_AUX, STATUS_FAULT, STATUS_JUMP, STATUS_SYNC } from '../record.ts';
import { keyOffset } from './discover.ts';
import type { Region } from './discover.ts';
import type { Flow } from './flow.ts';
import { AVAILABLE_SSE } from './instructions.ts';
import type { RegionForm } from './instructions.ts';
import { Player } from './player.ts';
import type { Site, SiteEnds } from './player.ts';
import { rangesOf } from './ranges.ts';
import { RegisterFile } from './registers.ts';
import { PAGE_RIP, RECORD, REGION_TYPE, Transition, isPlain, pageAddress, pageAddress32 } from './transition.ts';
import type { RegionIdentity } from './transition.ts';

/** Room for the number of instructions of a block, beside an offset of up to 4 MiB (discover.ts). */
const COMPLETED_BITS = 9;

export function compileRegion(region: Region, flow: Flow, codeSize: CodeSize, signatures: HelperSignatures, identity: RegionIdentity): Uint8Array<ArrayBuffer> {
  const module = new ModuleWriter();
  const type = module.type(REGION_TYPE);
  const helper = importProcessor(module, signatures);
  if (identity.moving) module.importGlobal('host', 'moved', I64);
  const { code } = module.function(REGION_TYPE, 'region');
  new RegionCompiler(code, flow, codeSize, helper, identity, type).compile(region);
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
  private readonly budget: number;
  private readonly exitRip: number;
  private readonly status: number;
  private readonly generation: number;
  private readonly dropped: number;
  /** Where the region's counters are. */
  private readonly counts: number;
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
  constructor(code: FunctionWriter, flow: Flow, codeSize: CodeSize, helper: (name: string) => number, identity: RegionIdentity, type: number) {
    this.code = code;
    this.flow = flow;
    this.legacy = codeSize !== 64;
    this.helper = helper;
    this.identity = identity;
    // A small region stays in baseline code, where a local costs what a field of the state does, and entries and ends of both are many.
    this.registers = new RegisterFile(code, identity.large ? flow.order : null, this.legacy);
    this.pool = new LocalPool(code);
    this.budget = code.local(I64);
    this.exitRip = code.local(I64);
    this.status = code.local(I32);
    this.generation = code.local(I32);
    this.dropped = code.local(I32);
    this.counts = code.local(I32);
    const { legacy, registers, pool, exitRip, status, budget } = this;
    this.player = new Player({ code, legacy, identity, registers, pool, ends: this, helper });
    this.transition = new Transition({ code, legacy, identity, type, helper, exitRip, status, budget });
  }

  compile(region: Region): void {
    const { code } = this;
    this.transition.enter(region);
    this.registers.reload();
    code.i32Const(0);
    code.memory(op.i64Load, BUDGET);
    code.set(this.budget);
    if (this.identity.counted.size > 0) {
      code.get(RECORD);
      code.memory(op.i32Load, R_AUX);
      code.i32Const(Math.log2(REGION_COUNTS_EACH));
      code.op(op.i32Shl);
      code.set(this.counts);
    }
    if (this.flow.order.some(block => block.instructions.some(({ form }) => form.callsHelper))) {
      code.i32Const(0);
      code.memory(op.i32Load, CODE_GENERATION);
      code.set(this.generation);
    }
    this.leave = code.block();
    const stop = code.block(op.block, I32);
    this.refused = code.block(op.block, I32);
    this.faulted = code.block(op.block, I32);
    this.step = code.block(op.block, I32);
    this.tree(0);
    code.op(op.unreachable);
    code.end();
    code.i32Const(REGION_STEP);
    code.set(this.status);
    code.br(stop);
    code.end();
    code.i32Const(STATUS_FAULT);
    code.set(this.status);
    code.br(stop);
    code.end();
    code.i32Const(0);
    code.memory(op.i32Load, OPEN_STATUS);
    code.set(this.status);
    code.end();
    this.stopped();
    code.end();
    this.registers.spill();
    code.i32Const(0);
    code.get(this.exitRip);
    code.memory(op.i64Store, RIP);
    this.storeBudget();
    this.transition.chain();
    this.transition.noteEntry();
    code.get(this.status);
  }

  private storeBudget(): void {
    this.code.i32Const(0);
    this.code.get(this.budget);
    this.code.memory(op.i64Store, BUDGET);
  }

  // ---- control flow -------------------------------------------------------------------------------------------------------------

  /** A block and all that it dominates. */
  private tree(position: number): void {
    const { code, flow } = this;
    if (flow.isLoop[position] || flow.isMerge[position]) this.player.flagsFrom = undefined;
    if (flow.isLoop[position]) {
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
    this.tree(merge);
  }

  private body(position: number): void {
    const block = this.flow.order[position]!;
    const { instructions } = block;
    if (this.identity.counted.has(position)) this.countBlock(REGION_COUNTS + position * 4);
    this.available = position === 0 ? 0 : this.availableBehind[this.flow.dominator[position]!]!;
    const count = instructions.length;
    const ranges = rangesOf(instructions, this.identity.apart, this.legacy ? this.player : null);
    const kept: number[] = [];
    instructions.forEach((instruction, index) => {
      const { decoded: { row }, form } = instruction;
      const site: Site = { instruction, position, completed: index, ranges: ranges?.[index], kept };
      const last = index === count - 1;
      if (last && !this.mayFault(form) && (row.has.relative || row.has.ends)) this.account(count);
      if (last) this.availableBehind[position] = form.callsHelper ? 0 : this.available | form.needs;
      this.checkAvailable(site);
      this.player.play(site);
      this.afterHelper(site);
    });
    for (const local of kept) this.pool.release(I32, local);
    const final = instructions[count - 1]!;
    const { row } = final.decoded;
    if (row.has.ends) {
      // Reached where a helper that may change everything came back with OK.
      this.account(count);
      this.leaveAt(final.offset + final.decoded.length);
      return;
    }
    if (!row.has.relative || this.mayFault(final.form)) this.account(count);
    this.go(position, block.next, block.end);
  }

  private countBlock(at: number): void {
    const { code, counts } = this;
    code.get(counts);
    code.get(counts);
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
    this.account(completed + 1);
    this.leaveAt(offset + decoded.length);
    code.end();
  }

  /** Whether an instruction may fault before it transfers control: it is counted behind its checks. Legacy code checks the limit of CS. */
  private mayFault({ branchesSafely }: RegionForm): boolean {
    return !branchesSafely || (this.legacy && !isPlain(this.identity.plain, CS, false));
  }

  private account(instructions: number): void {
    if (instructions === 0) return;
    this.code.get(this.budget);
    this.code.i64Const(-instructions);
    this.code.op(op.i64Add);
    this.code.set(this.budget);
  }

  /** Goes from a block to the one with a key, inside the region where that is possible, else to `offset`. */
  private go(from: number, key: number, offset: number): void {
    const { code, flow } = this;
    const position = flow.position.get(key);
    const edge = position === undefined ? 'leave' : flow.edge(from, position);
    if (position === undefined || edge === 'leave') {
      this.leaveAt(offset);
    } else if (edge === 'back') {
      code.get(this.budget);
      code.i64Const(0);
      code.op(op.i64GtS);
      code.brIf(this.loops.get(position)!);
      this.leaveAt(offset);
    } else if (flow.isMerge[position]) code.br(this.joins.get(position)!);
    else {
      const { flagsFrom } = this.player;
      this.tree(position);
      this.player.flagsFrom = flagsFrom;
    }
  }

  /** Leaves for an offset of the page. */
  private leaveAt(offset: number): void {
    pageAddress(this.code, offset);
    this.leaveForTarget();
  }

  /** Leaves for the RIP on the wasm stack. */
  private leaveForTarget(): void {
    const { code } = this;
    code.set(this.exitRip);
    code.i32Const(REGION_DONE);
    code.set(this.status);
    code.br(this.leave);
  }

  /**
   * Leaves before an instruction: at the label `step` for the interpreter to carry it out, at `faulted` with a fault pending, at `refused`
   * where a helper has said why. There are many such places; each is as short as can be.
   */
  private leaveFrom({ instruction: { offset }, completed }: Site, label: number): void {
    this.code.i32Const((offset << COMPLETED_BITS) | completed);
    this.code.br(label);
  }

  /** Where `leaveFrom` leads: the place is on the wasm stack. */
  private stopped(): void {
    const { code } = this;
    const place = this.pool.allocate(I32);
    code.tee(place);
    code.i32Const(COMPLETED_BITS);
    code.op(op.i32ShrS);
    code.op(op.i64ExtendI32S);
    code.get(PAGE_RIP);
    code.op(op.i64Add);
    code.set(this.exitRip);
    code.get(this.budget);
    code.get(place);
    code.i32Const((1 << COMPLETED_BITS) - 1);
    code.op(op.i32And);
    code.op(op.i64ExtendI32U);
    code.op(op.i64Sub);
    code.set(this.budget);
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

  jump({ instruction: { form }, position, completed }: Site): void {
    this.code.set(this.exitRip);
    if (this.mayFault(form)) this.account(completed + 1);
    const { key, likely } = this.flow.order[position]!;
    const place = this.identity.targets.get(key);
    if (place !== undefined) this.noteTarget(place);
    if (likely >= 0) this.predict(position, likely);
    this.code.i32Const(REGION_DONE);
    this.code.set(this.status);
    this.code.br(this.leave);
  }

  /** Notes where control goes, for the large region that may take this one's place. */
  private noteTarget(place: number): void {
    const { code, exitRip } = this;
    const at = REGION_TARGETS + place * REGION_TARGET_SIZE;
    const target = this.pool.allocate(I32);
    const other = this.pool.allocate(I32);
    code.get(RECORD);
    code.memory(op.i32Load, R_AUX);
    code.i32Const(Math.log2(REGION_TARGETS_EACH * REGION_TARGET_SIZE));
    code.op(op.i32Shl);
    code.tee(target);
    code.memory(op.i64Load, at);
    code.get(exitRip);
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
    code.get(exitRip);
    code.memory(op.i64Store, at);
    this.pool.release(I32, target);
  }

  /** Goes on in the region where that is where control goes. */
  private predict(position: number, key: number): void {
    const { code } = this;
    const offset = keyOffset(key);
    code.get(this.exitRip);
    if (this.legacy) {
      code.op(op.i32WrapI64);
      pageAddress32(code, offset);
      code.op(op.i32Eq);
    } else {
      pageAddress(code, offset);
      code.op(op.i64Eq);
    }
    code.if();
    this.go(position, key, offset);
    code.end();
  }

  /** The state is in memory. Anything but OK leaves at once, past the write-back. */
  helperStatus({ completed }: Site): void {
    const { code } = this;
    code.tee(this.status);
    code.ifUnlikely();
    // JUMP and SYNC completed the instruction; a fault and an exit did not.
    code.get(this.budget);
    code.i64Const(completed);
    code.op(op.i64Sub);
    code.get(this.status);
    code.i32Const(STATUS_JUMP);
    code.op(op.i32Eq);
    code.get(this.status);
    code.i32Const(STATUS_SYNC);
    code.op(op.i32Eq);
    code.op(op.i32Or);
    code.op(op.i64ExtendI32U);
    code.op(op.i64Sub);
    code.set(this.budget);
    this.storeBudget();
    code.get(this.status);
    code.return();
    code.end();
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

  branch({ instruction: { offset, decoded, form }, position, completed }: Site): void {
    const target = offset + decoded.displacement;
    if (this.mayFault(form)) this.account(completed + 1);
    const { taken } = this.flow.order[position]!;
    if (taken >= 0) {
      this.go(position, taken, target);
      return;
    }
    pageAddress(this.code, target);
    if (this.legacy) {
      this.code.i64Const(decoded.immediateLow, decoded.immediateHigh);
      this.code.op(op.i64And);
    }
    this.leaveForTarget();
  }
}
