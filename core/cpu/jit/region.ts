/**
 * Compiles a region to one wasm function: (record, RIP of the page, look-aside base) → STATUS, or REGION_DONE when control goes on at
 * the RIP left in the state. Blocks become structured code; general registers and flags live in locals and are written back on the
 * way out and around helpers.
 */
import type { FunctionWriter } from '../../wasm/writer.ts';
import { ModuleWriter } from '../../wasm/writer.ts';
import { I32, I64, op } from '../../wasm/opcodes.ts';
import type { Fact, Slot, Width } from '../../isa/ir.ts';
import type { CodeSize, Decoded } from '../../isa/decoder.ts';
import { Emitter } from '../emitter.ts';
import type { Target } from '../emitter.ts';
import { ownDisplacement } from '../forms.ts';
import { UNAVAILABLE } from '../../isa/prechecks.ts';
import type { HelperSignatures } from '../helpers.ts';
import { importHelpers } from '../interpreter/coldForms.ts';
import { LocalPool } from '../interpreter/forms.ts';
import { AUX_COMPARED, AUX_LOGIC, BUDGET, CODE_GENERATION, CR0, CR4, CS, DS, ES, F_CX, F_CY, F_RES, NEXT_RIP, RIP, SEGMENTS, SEGMENT_SIZE, SEG_LIMIT, STACK_SIZE, STATE, ZERO } from '../layout.ts';
import { REGION_DONE, REGION_STEP, STATUS_FAULT, STATUS_JUMP, STATUS_SYNC } from '../record.ts';
import { rangesOf } from './ranges.ts';
import type { LegacyView, RangeAccess } from './ranges.ts';
import { RegisterFile, StateUse, slotOffset } from './registers.ts';
import { PAGE_RIP, REGION_TYPE, TLB, Transition } from './transition.ts';
import type { RegionIdentity } from './transition.ts';
import { windowAccess, windowOf } from './windowAccess.ts';
import { keyOffset } from './discover.ts';
import type { Region, RegionBlock, RegionInstruction } from './discover.ts';
import type { Flow } from './flow.ts';

const CS_LIMIT = SEGMENTS + CS * SEGMENT_SIZE + SEG_LIMIT;
/** Room for the number of instructions of a block, beside an offset of up to 4 MiB (discover.ts). */
const COMPLETED_BITS = 9;

export function compileRegion(region: Region, flow: Flow, codeSize: CodeSize, signatures: HelperSignatures, identity: RegionIdentity): Uint8Array<ArrayBuffer> {
  const module = new ModuleWriter();
  module.importMemory('host', 'memory', 1);
  module.importTable('host', 'cold');
  const type = module.type(REGION_TYPE);
  const helper = importHelpers(module, signatures);
  const { code } = module.function(REGION_TYPE, 'region');
  new RegionCompiler(code, flow, codeSize, helper, identity, type).compile(region);
  return module.finish();
}

class RegionCompiler {
  private readonly code: FunctionWriter;
  private readonly flow: Flow;
  private readonly legacy: boolean;
  private readonly helper: (name: string) => number;
  private readonly identity: RegionIdentity;
  private readonly transition: Transition;
  private readonly windows: boolean;
  private readonly registers: RegisterFile;
  private readonly pool: LocalPool;
  private readonly budget: number;
  private readonly exitRip: number;
  private readonly status: number;
  /** Where the region is left, as `stopAt` packs it. */
  private readonly place: number;
  private readonly generation: number;
  private readonly dropped: number;
  /** Labels of the blocks' code by position: of the loop, and of the end of the wasm block before it. */
  private readonly loops = new Map<number, number>();
  private readonly joins = new Map<number, number>();
  private leave = 0;
  private stop = 0;
  private step = 0;
  // The instruction being compiled.
  private instruction!: RegionInstruction;
  private block!: RegionBlock;
  private index = 0;
  /** What is known to be available (AVAILABLE_*) at this point, and behind each block that has been compiled. */
  private available = 0;
  private readonly availableBehind: number[] = [];
  /** What the instruction that set the flags last wrote to F_AUX, where that is known. */
  private flagsFrom: number | undefined;
  /** Accesses of the instruction that share a range with others, and locals that hold ranges of the block. */
  private ranges: ReadonlyMap<number, RangeAccess> | undefined;
  private kept: number[] = [];

  constructor(code: FunctionWriter, flow: Flow, codeSize: CodeSize, helper: (name: string) => number, identity: RegionIdentity, type: number) {
    this.code = code;
    this.flow = flow;
    this.legacy = codeSize !== 64;
    this.helper = helper;
    this.identity = identity;
    this.windows = identity.windows;
    const use = new StateUse();
    for (const block of flow.order) for (const { decoded, program } of block.instructions) use.scan(decoded, program.statements);
    this.registers = new RegisterFile(code, use);
    this.pool = new LocalPool(code);
    this.budget = code.local(I64);
    this.exitRip = code.local(I64);
    this.status = code.local(I32);
    this.place = code.local(I32);
    this.generation = code.local(I32);
    this.dropped = code.local(I32);
    const { legacy, exitRip, status, budget } = this;
    this.transition = new Transition({ code, legacy, identity, type, helper, exitRip, status, budget });
  }

  compile(region: Region): void {
    const { code } = this;
    this.transition.enter(region);
    this.registers.reload();
    code.i32Const(0);
    code.memory(op.i64Load, BUDGET);
    code.set(this.budget);
    code.i32Const(0);
    code.memory(op.i32Load, CODE_GENERATION);
    code.set(this.generation);
    this.leave = code.block();
    this.stop = code.block();
    this.step = code.block();
    this.tree(0);
    code.op(op.unreachable);
    code.end();
    code.i32Const(REGION_STEP);
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
    if (flow.isLoop[position] || flow.isMerge[position]) this.flagsFrom = undefined;
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
    this.available = position === 0 ? 0 : this.availableBehind[this.flow.dominator[position]!]!;
    const count = instructions.length;
    const ranges = this.identity.ranges ? rangesOf(instructions, this.legacy ? this.legacyView() : null) : undefined;
    const kept: number[] = [];
    instructions.forEach((instruction, index) => {
      this.block = block;
      this.instruction = instruction;
      this.index = index;
      this.ranges = ranges?.get(index);
      this.kept = kept;
      const last = index === count - 1;
      const transfers = last && (instruction.decoded.row.has.relative || instruction.decoded.row.has.ends);
      if (transfers && !hasFaults(instruction, this.legacy)) this.account(count);
      if (last) this.availableBehind[position] = instruction.callsHelper ? 0 : this.available | availability(instruction);
      this.checkAvailable(instruction);
      new Emitter(this.target(instruction, position)).program(instruction.program);
      this.afterHelper(instruction, index);
    });
    for (const local of kept) this.pool.release(I32, local);
    const final = instructions[count - 1]!;
    const { row } = final.decoded;
    if (row.has.ends) {
      // Reached where a helper that may change everything came back with OK.
      this.account(count);
      this.leaveAt(() => this.pageAddress(final.offset + final.decoded.length), REGION_DONE);
      return;
    }
    if (!row.has.relative || hasFaults(final, this.legacy)) this.account(count);
    this.go(position, block.next, block.end);
  }

  /** Where no instruction before has made sure of it: what the x87 or SSE state is not available for, the interpreter refuses. */
  private checkAvailable(instruction: RegionInstruction): void {
    const needed = availability(instruction);
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
    this.stopAt(this.step, instruction.offset, this.index);
    code.end();
    this.available |= needed;
  }

  /** After a helper: when code was dropped or a segment register loaded, this region may be stale. */
  private afterHelper(instruction: RegionInstruction, index: number): void {
    if (!instruction.callsHelper || instruction.decoded.row.has.ends) return;
    const { code } = this;
    code.get(this.dropped);
    code.ifUnlikely();
    this.account(index + 1);
    this.leaveAt(() => this.pageAddress(instruction.offset + instruction.decoded.length), REGION_DONE);
    code.end();
  }

  private account(instructions: number): void {
    if (instructions === 0) return;
    this.code.get(this.budget);
    this.code.i64Const(instructions);
    this.code.op(op.i64Sub);
    this.code.set(this.budget);
  }

  /** Goes from a block to the one with a key, inside the region where that is possible, else to `offset`. */
  private go(from: number, key: number, offset: number): void {
    const { code, flow } = this;
    const position = flow.position.get(key);
    const edge = position === undefined ? 'leave' : flow.edge(from, position);
    if (position === undefined || edge === 'leave') {
      this.leaveAt(() => this.pageAddress(offset), REGION_DONE);
    } else if (edge === 'back') {
      code.get(this.budget);
      code.i64Const(0);
      code.op(op.i64GtS);
      code.brIf(this.loops.get(position)!);
      this.leaveAt(() => this.pageAddress(offset), REGION_DONE);
    } else if (flow.isMerge[position]) code.br(this.joins.get(position)!);
    else {
      const { flagsFrom } = this;
      this.tree(position);
      this.flagsFrom = flagsFrom;
    }
  }

  /** Pushes RIP of an offset relative to the page, wrapped as the mode does. */
  private pageAddress(offset: number): void {
    const { code } = this;
    code.get(PAGE_RIP);
    // A branch or an operand may reach a little further than 32 bits.
    code.i64Const(offset | 0, Math.floor(offset / 2 ** 32));
    code.op(op.i64Add);
  }

  private leaveAt(rip: () => void, status: number): void {
    const { code } = this;
    rip();
    code.set(this.exitRip);
    code.i32Const(status);
    code.set(this.status);
    code.br(this.leave);
  }

  /**
   * Leaves at an offset of the page with `completed` instructions of the block done: at the label `stop` with the status in its local, at
   * `step` for the interpreter to carry out the instruction there. There are many such places; each is as short as can be.
   */
  private stopAt(label: number, offset: number, completed: number): void {
    this.stopPlace(offset, completed);
    this.code.br(label);
  }

  private stopPlace(offset: number, completed: number): void {
    this.code.i32Const((offset << COMPLETED_BITS) | completed);
    this.code.set(this.place);
  }

  /** Where `stopAt` leads. */
  private stopped(): void {
    const { code } = this;
    code.get(this.budget);
    code.get(this.place);
    code.i32Const((1 << COMPLETED_BITS) - 1);
    code.op(op.i32And);
    code.op(op.i64ExtendI32U);
    code.op(op.i64Sub);
    code.set(this.budget);
    code.get(PAGE_RIP);
    code.get(this.place);
    code.i32Const(COMPLETED_BITS);
    code.op(op.i32ShrS);
    code.op(op.i64ExtendI32S);
    code.op(op.i64Add);
    code.set(this.exitRip);
  }

  // ---- one instruction --------------------------------------------------------------------------------------------------------

  private target(instruction: RegionInstruction, position: number): Target {
    const { code, registers } = this;
    const { decoded, offset } = instruction;
    const place = (slot: Slot): number => slotOffset(decoded, slot);
    const completed = this.index;
    const fault = (): void => {
      code.i32Const(STATUS_FAULT);
      code.set(this.status);
      this.stopAt(this.stop, offset, completed);
    };
    return {
      code,
      memory: take => windowAccess({
        code, tlb: TLB, helper: this.helper, take, windows: this.windows, windowOf: address => windowOf(decoded, address),
        rangeOf: address => this.ranges?.get(address.id),
        keep: () => {
          const local = this.pool.allocate(I32);
          this.kept.push(local);
          return local;
        },
        index: this.identity.index,
        leaveUnlessOk: () => {
          this.stopPlace(offset, completed);
          code.tee(this.status);
          code.brIf(this.stop);
        },
      }),
      slotBase: slot => {
        code.i32Const(0);
        return STATE + place(slot);
      },
      readSlot: (slot, width, at) => registers.readSlot(place(slot) + at, width),
      writeSlot: (slot, width, value) => registers.writeSlot(place(slot), width, value),
      readState: (at, width, signed) => {
        const known = width === 32 ? this.knownState(at) : undefined;
        if (known !== undefined) code.i32Const(known);
        else registers.readState(at, width, signed);
      },
      plain: (segment, write) => this.legacy && this.plain(place(segment), write),
      writeState: (at, bytes, wide, value) => registers.writeState(at, bytes, wide, value),
      condition: number => this.condition(number),
      noteFlags: aux => {
        this.flagsFrom = aux;
      },
      fact: (fact, width) => this.fact(fact, width, decoded, offset),
      isZero: node => {
        if (node.kind === 'slot') return place(node.slot) === ZERO - STATE;
        if (node.kind !== 'fact') return false;
        return (node.fact === 'displacement' && ownDisplacement(decoded) === 0) || (node.fact === 'scale' && decoded.scale === 0);
      },
      knownState: at => this.knownState(at),
      stepInstead: () => this.stopAt(this.step, offset, completed),
      helper: this.helper,
      fault,
      faultIf: () => {
        code.ifUnlikely();
        fault();
        code.end();
      },
      spill: () => {
        registers.spill();
        code.i32Const(0);
        this.pageAddress(offset);
        code.memory(op.i64Store, RIP);
        code.i32Const(0);
        this.pageAddress(offset + decoded.length);
        code.memory(op.i64Store, NEXT_RIP);
      },
      status: () => this.helperStatus(completed),
      jump: () => {
        // The target is on the stack; the instruction is complete.
        code.set(this.exitRip);
        if (hasFaults(instruction, this.legacy)) this.account(completed + 1);
        if (this.returnBlock(position) >= 0) this.predictReturn(position);
        code.i32Const(REGION_DONE);
        code.set(this.status);
        code.br(this.leave);
      },
      branch: () => this.branch(instruction, position, completed),
      allocate: type => this.pool.allocate(type),
      release: (type, local) => this.pool.release(type, local),
    };
  }

  /** Whether an offset in a segment, given by its structure, is the linear address. */
  private plain(structure: number, write: boolean): boolean {
    const index = (structure - (SEGMENTS - STATE)) / SEGMENT_SIZE;
    return index >= ES && index <= DS && ((this.identity.plain >> (index * 2)) & (write ? 2 : 1)) !== 0;
  }

  /** What legacy code is made for: the width of the stack, and the limit of a plain CS, with which checks of branch targets fold away. */
  private knownState(at: number): number | undefined {
    if (!this.legacy) return undefined;
    if (at === STACK_SIZE) return this.identity.stackSize;
    return at === CS_LIMIT && this.plain(SEGMENTS + CS * SEGMENT_SIZE - STATE, false) ? -1 : undefined;
  }

  /** What the following of registers (ranges.ts) needs to know of legacy code. */
  private legacyView(): LegacyView {
    return {
      plain: (decoded, segment, write) => this.plain(slotOffset(decoded, segment), write),
      knownState: at => this.knownState(at),
    };
  }

  private returnBlock(position: number): number {
    return this.flow.order[position]!.returns;
  }

  /** A return from a callee that was compiled in goes on behind its call, when it does go there. */
  private predictReturn(position: number): void {
    const { code } = this;
    const key = this.returnBlock(position);
    const offset = keyOffset(key);
    code.get(this.exitRip);
    this.pageAddress(offset);
    if (this.legacy) {
      code.i64Const(-1, 0);
      code.op(op.i64And);
    }
    code.op(op.i64Eq);
    code.if();
    this.go(position, key, offset);
    code.end();
  }

  /** The STATUS is on the stack, the state is in memory. Anything but OK leaves at once, past the write-back. */
  private helperStatus(completed: number): void {
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
    this.flagsFrom = undefined;
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

  private branch(instruction: RegionInstruction, position: number, completed: number): void {
    const { decoded } = instruction;
    if (hasFaults(instruction, this.legacy)) this.account(completed + 1);
    if (this.block.taken >= 0) {
      this.go(position, this.block.taken, instruction.offset + decoded.displacement);
      return;
    }
    this.leaveAt(() => {
      this.pageAddress(instruction.offset + decoded.displacement);
      if (this.legacy) {
        this.code.i64Const(decoded.immediateLow, decoded.immediateHigh);
        this.code.op(op.i64And);
      }
    }, REGION_DONE);
  }

  /** A condition code of flags whose source is known: the comparison itself, instead of flags that it leaves. */
  private condition(number: number): boolean {
    const from = this.flagsFrom ?? 0;
    const test = (from & AUX_COMPARED ? AFTER_COMPARE : from & AUX_LOGIC ? AFTER_LOGIC : undefined)?.[number >> 1];
    if (test === undefined) return false;
    const { code, registers } = this;
    const [field, compare, other] = test;
    if (!registers.flagField(field)) return false;
    if (other === 0) code.i64Const(0);
    else registers.flagField(other);
    code.op(compare);
    if (number & 1) code.op(op.i32Eqz);
    return true;
  }

  private fact(fact: Fact, width: Width, decoded: Decoded, offset: number): void {
    const { code } = this;
    const constant = (low: number, high: number): void => {
      if (width === 64) code.i64Const(low, high);
      else code.i32Const(low);
    };
    const relative = (to: number): void => {
      this.pageAddress(to);
      if (width !== 64) code.op(op.i32WrapI64);
    };
    const { row } = decoded;
    switch (fact) {
      case 'immediate': constant(decoded.immediateLow, decoded.immediateHigh); break;
      case 'displacement': {
        const displacement = ownDisplacement(decoded);
        constant(displacement, displacement >> 31);
        break;
      }
      case 'scale': constant(decoded.scale, 0); break;
      case 'length': constant(decoded.length, 0); break;
      case 'aux': constant(row.has.string ? decoded.segmentNumber : decoded.aux, 0); break;
      case 'rip': relative(offset); break;
      case 'nextRip': relative(offset + decoded.length); break;
      case 'target': relative(decoded.displacement + offset); break;
    }
  }
}

const AVAILABLE_X87 = 1;
const AVAILABLE_SSE = 2;

/** Condition codes 0 to 14, by pairs, as comparisons of two fields of the flags, or of a field with 0; those that are missing have no short form. */
type Test = readonly [field: number, compare: number, other: number];
const AFTER_COMPARE: Readonly<Record<number, Test>> = {
  1: [F_CX, op.i64LtU, F_CY], 2: [F_RES, op.i64Eq, 0], 3: [F_CX, op.i64LeU, F_CY], 4: [F_RES, op.i64LtS, 0],
  6: [F_CX, op.i64LtS, F_CY], 7: [F_CX, op.i64LeS, F_CY],
};
const AFTER_LOGIC: Readonly<Record<number, Test>> = {
  2: [F_RES, op.i64Eq, 0], 3: [F_RES, op.i64Eq, 0], 4: [F_RES, op.i64LtS, 0], 6: [F_RES, op.i64LtS, 0], 7: [F_RES, op.i64LeS, 0],
};

/** What an instruction needs to be available; SSE needs all that the x87 does. */
function availability({ decoded: { row } }: RegionInstruction): number {
  return row.has.sse ? AVAILABLE_SSE | AVAILABLE_X87 : row.has.x87 ? AVAILABLE_X87 : 0;
}

/** Whether an instruction that transfers control may fault before it does: it is counted behind its checks. Legacy code checks the limit of CS. */
function hasFaults(instruction: RegionInstruction, legacy: boolean): boolean {
  const { name } = instruction.decoded.row;
  return legacy || !(name === 'J' || (name === 'JMP' && instruction.decoded.row.has.relative) || name === 'JCXZ' || name.startsWith('LOOP'));
}
