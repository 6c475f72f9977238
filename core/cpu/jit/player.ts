/** Emits the code of a region's instructions: plays the tapes of their forms (tape.ts) with the operands of each. */
import type { FunctionWriter, ValueType } from '../../wasm/writer.ts';
import { I32, op } from '../../wasm/opcodes.ts';
import type { Width } from '../../isa/ir.ts';
import type { Decoded } from '../../isa/decoder.ts';
import { ownDisplacement } from '../forms.ts';
import type { LocalPool } from '../interpreter/forms.ts';
import { storeOp } from '../widths.ts';
import { AUX_COMPARED, AUX_LOGIC, CS, DS, ES, F_CX, F_CY, F_RES, NEXT_RIP, RIP, SEGMENTS, SEGMENT_SIZE, SEG_LIMIT, STACK_SIZE, STATE, ZERO } from '../layout.ts';
import type { RegionInstruction } from './discover.ts';
import { rangeOf } from './ranges.ts';
import type { LegacyView, RangeAccess } from './ranges.ts';
import { FACTS, record } from './recorder.ts';
import { slotOffset } from './registers.ts';
import type { RegisterFile } from './registers.ts';
import { ACCESS_OFFSET, findTape, step } from './tape.ts';
import type { Question, Tape } from './tape.ts';
import { TLB, isPlain, pageAddress, pageAddress32 } from './transition.ts';
import type { RegionIdentity } from './transition.ts';
import { WindowAccess, windowOf } from './windowAccess.ts';
import type { Access } from './windowAccess.ts';

const CS_LIMIT = SEGMENTS + CS * SEGMENT_SIZE + SEG_LIMIT;

/** Condition codes 0 to 14, by pairs, as comparisons of two fields of the flags, or of a field with 0; those that are missing have no short form. */
type Test = readonly [field: number, compare: number, other: number];
const AFTER_COMPARE: readonly (Test | undefined)[] = [
  undefined, [F_CX, op.i64LtU, F_CY], [F_RES, op.i64Eq, 0], [F_CX, op.i64LeU, F_CY], [F_RES, op.i64LtS, 0], undefined,
  [F_CX, op.i64LtS, F_CY], [F_CX, op.i64LeS, F_CY],
];
const AFTER_LOGIC: readonly (Test | undefined)[] = [
  undefined, undefined, [F_RES, op.i64Eq, 0], [F_RES, op.i64Eq, 0], [F_RES, op.i64LtS, 0], undefined, [F_RES, op.i64LtS, 0], [F_RES, op.i64LeS, 0],
];

function testOf(from: number, condition: number): Test | undefined {
  if (from & AUX_COMPARED) return AFTER_COMPARE[condition >> 1];
  return from & AUX_LOGIC ? AFTER_LOGIC[condition >> 1] : undefined;
}

/** An instruction, and where in the region it stands. */
export interface Site {
  readonly instruction: RegionInstruction;
  /** Position of its block, and how many of the block's instructions are before it. */
  readonly position: number;
  readonly completed: number;
  /** Its accesses that share a range with others, and locals that hold ranges of the block. */
  readonly ranges: readonly RangeAccess[] | undefined;
  readonly kept: number[];
}

/** How an instruction ends, other than by going on with the next: what the code around it does. */
export interface SiteEnds {
  /** Leaves before the instruction, for the interpreter to carry it out. */
  stepInstead(site: Site): void;
  /** Leaves with a fault pending; the instruction has done nothing. */
  fault(site: Site): void;
  /** The same for the STATUS on the wasm stack when it is not OK. */
  leaveUnlessOk(site: Site): void;
  /** Handles the STATUS of a helper that may have changed anything. */
  helperStatus(site: Site): void;
  /** The target is on the wasm stack. */
  jump(site: Site): void;
  branch(site: Site): void;
}

export interface PlayerContext {
  readonly code: FunctionWriter;
  readonly legacy: boolean;
  readonly identity: RegionIdentity;
  readonly registers: RegisterFile;
  readonly pool: LocalPool;
  readonly ends: SiteEnds;
  helper(name: string): number;
}

export class Player implements LegacyView {
  /** What the instruction that set the flags last wrote to F_AUX, where that is known. */
  flagsFrom: number | undefined;
  private readonly context: PlayerContext;
  private readonly code: FunctionWriter;
  private readonly registers: RegisterFile;
  private readonly accesses: WindowAccess;
  private site!: Site;
  /** Locals of the tapes that are played, and all that are free when the instructions end with their types: a branch plays others in between. */
  private readonly locals: number[] = [];
  private readonly taken: number[] = [];
  /** What the last access left for whoever carries it out. */
  private offset = 0;

  constructor(context: PlayerContext) {
    this.context = context;
    this.code = context.code;
    this.registers = context.registers;
    this.accesses = new WindowAccess({
      code: context.code, tlb: TLB, user: context.identity.user, windows: context.identity.large,
      helper: name => context.helper(name),
      take: type => this.take(type),
      keep: () => {
        const local = context.pool.allocate(I32);
        this.site.kept.push(local);
        return local;
      },
      leaveUnlessOk: () => context.ends.leaveUnlessOk(this.site),
    });
  }

  /** Emits an instruction. */
  play(site: Site): void {
    const { site: outer, locals, taken } = this;
    this.site = site;
    const { form } = site.instruction;
    const firstLocal = locals.length;
    const firstTaken = taken.length;
    this.steps(findTape(form.variants, this.ask) ?? record(form, this.ask), firstLocal);
    for (let i = firstTaken; i < taken.length; i += 2) this.context.pool.release(taken[i] as ValueType, taken[i + 1]!);
    locals.length = firstLocal;
    taken.length = firstTaken;
    this.site = outer;
  }

  private take(type: ValueType): number {
    const local = this.context.pool.allocate(type);
    this.taken.push(type, local);
    return local;
  }

  private steps({ steps, bytes, addresses, helpers }: Tape, first: number): void {
    const { code, registers, locals, site } = this;
    const { ends } = this.context;
    const { decoded, offset } = site.instruction;
    for (let i = 0; i < steps.length;) {
      switch (steps[i++]!) {
        case step.bytes: code.copy(bytes, steps[i++]!, steps[i++]!); break;
        case step.take: locals.push(this.take(steps[i++] as ValueType)); break;
        case step.get: code.get(locals[first + steps[i++]!]!); break;
        case step.set: code.set(locals[first + steps[i++]!]!); break;
        case step.tee: code.tee(locals[first + steps[i++]!]!); break;
        case step.if: code.if(); break;
        case step.ifUnlikely: code.ifUnlikely(); break;
        case step.end: code.end(); break;
        case step.call: code.call(this.context.helper(helpers[steps[i++]!]!)); break;
        case step.memory: code.memory(steps[i++]!, this.open(steps[i++]!, steps[i++]!)); break;
        case step.simdMemory: code.simdMemory(steps[i++]!, this.open(steps[i++]!, steps[i++]!)); break;
        case step.constant: code.i32Const(this.open(steps[i++]!, steps[i++]!)); break;
        case step.readSlot: {
          const place = slotOffset(decoded, steps[i++]!);
          const width = steps[i++] as Width;
          registers.readSlot(place + steps[i++]!, width);
          break;
        }
        case step.beginSlot: registers.beginSlot(slotOffset(decoded, steps[i++]!), steps[i++] as Width); break;
        case step.endSlot: registers.endSlot(slotOffset(decoded, steps[i++]!), steps[i++] as Width); break;
        case step.readState: this.readState(steps[i++]!, steps[i++] as Width, steps[i++] !== 0); break;
        case step.beginState: registers.beginState(steps[i++]!, steps[i++]!); break;
        case step.endState: registers.endState(steps[i++]!, steps[i++]!, steps[i++] !== 0); break;
        case step.fact: this.fact(steps[i++]!, steps[i++] as Width, decoded, offset); break;
        case step.condition: this.condition(steps[i++]!); break;
        case step.read: case step.beginStore: {
          const write = steps[i - 1] === step.beginStore;
          this.offset = this.accesses.reach(this.access(write, addresses[steps[i++]!]!, steps[i++]!, steps[i++]!, first));
          break;
        }
        case step.endStore: storeOp(code, steps[i++]!, this.offset, steps[i++] !== 0); break;
        case step.modify:
          this.modify(this.access(true, addresses[steps[i++]!]!, steps[i++]!, steps[i++]!, first), locals[first + steps[i++]!]!);
          break;
        case step.noteFlags: this.flagsFrom = steps[i++]!; break;
        case step.stepInstead: ends.stepInstead(site); break;
        case step.fault: ends.fault(site); break;
        case step.faultIf:
          code.ifUnlikely();
          ends.fault(site);
          code.end();
          break;
        case step.spill: this.spill(offset, decoded); break;
        case step.status: ends.helperStatus(site); break;
        case step.jump: ends.jump(site); break;
        case step.branch: ends.branch(site); break;
        default: throw new Error('a tape with an unknown step');
      }
    }
  }

  /** The value of an open number. */
  private open(start: number, plus: number): number {
    return (start === ACCESS_OFFSET ? this.offset : slotOffset(this.site.instruction.decoded, -start)) + plus;
  }

  // ---- questions ----------------------------------------------------------------------------------------------------------------------

  private readonly ask = (question: Question): boolean => {
    const { decoded } = this.site.instruction;
    switch (question.about) {
      case 'zeroSlot': return slotOffset(decoded, question.slot) === ZERO - STATE;
      case 'zeroDisplacement': return ownDisplacement(decoded) === 0;
      case 'zeroScale': return decoded.scale === 0;
      case 'plain': return this.context.legacy && this.isPlain(slotOffset(decoded, question.slot), question.write);
      case 'known': return this.isKnown(question.offset, question.value);
      case 'condition': {
        const test = testOf(question.from ?? this.flagsFrom ?? 0, question.code);
        return test !== undefined && this.registers.hasFlag(test[0]);
      }
      case 'address': {
        const { ranges } = this.site;
        const range = rangeOf(ranges, question.address)?.range;
        return !range || range.apart || (range.host < 0 && !question.before.some(address => rangeOf(ranges, address)?.range === range));
      }
    }
  };

  /** Whether an offset in a segment, given by its structure, is the linear address. */
  private isPlain(structure: number, write: boolean): boolean {
    const index = (structure - (SEGMENTS - STATE)) / SEGMENT_SIZE;
    return index >= ES && index <= DS && isPlain(this.context.identity.plain, index, write);
  }

  plain(decoded: Decoded, segment: number, write: boolean): boolean {
    return this.isPlain(slotOffset(decoded, segment), write);
  }

  /** What legacy code is made for: the width of the stack, and the limit of a plain CS, with which checks of branch targets fold away. */
  readonly isKnown = (offset: number, value: number): boolean => {
    const { legacy, identity } = this.context;
    if (!legacy) return false;
    return offset === STACK_SIZE ? value === identity.stackSize : offset === CS_LIMIT && value === -1 && isPlain(identity.plain, CS, false);
  };

  // ---- steps --------------------------------------------------------------------------------------------------------------------------

  private access(write: boolean, address: Tape['addresses'][number], bytes: number, linear: number, first: number): Access {
    const window = windowOf(this.site.instruction.decoded, address);
    return { write, bytes, window, linear: linear < 0 ? -1 : this.locals[first + linear]!, shared: rangeOf(this.site.ranges, address) };
  }

  private modify(access: Access, pointer: number): void {
    const { code } = this;
    const offset = this.accesses.reach(access);
    if (offset !== 0) {
      code.i32Const(offset);
      code.op(op.i32Add);
    }
    code.set(pointer);
  }

  private readState(offset: number, width: Width, signed: boolean): void {
    const { legacy, identity } = this.context;
    if (legacy && offset === STACK_SIZE) this.code.i32Const(identity.stackSize);
    else this.registers.readState(offset, width, signed);
  }

  /** A condition code of flags whose source is known: the comparison itself, instead of flags that it leaves. */
  private condition(number: number): void {
    const { code, registers } = this;
    const [field, compare, other] = testOf(this.flagsFrom ?? 0, number)!;
    registers.readFlag(field);
    if (other === 0) code.i64Const(0);
    else registers.readFlag(other);
    code.op(compare);
    if (number & 1) code.op(op.i32Eqz);
  }

  /** Registers and RIP for a helper that looks at them. */
  private spill(offset: number, decoded: Decoded): void {
    const { code } = this;
    this.registers.spill();
    code.i32Const(0);
    pageAddress(code, offset);
    code.memory(op.i64Store, RIP);
    code.i32Const(0);
    pageAddress(code, offset + decoded.length);
    code.memory(op.i64Store, NEXT_RIP);
  }

  private fact(index: number, width: Width, decoded: Decoded, offset: number): void {
    switch (FACTS[index]!) {
      case 'immediate': this.operand('immediate', width, decoded.immediateLow, decoded.immediateHigh); break;
      case 'displacement': {
        const displacement = ownDisplacement(decoded);
        this.operand('displacement', width, displacement, displacement >> 31);
        break;
      }
      case 'scale': this.constant(width, decoded.scale, 0); break;
      case 'length': this.constant(width, decoded.length, 0); break;
      case 'aux': this.constant(width, decoded.row.has.string ? decoded.segmentNumber : decoded.aux, 0); break;
      case 'rip': this.relative(width, offset); break;
      case 'nextRip': this.relative(width, offset + decoded.length); break;
      case 'target':
        this.relative(width, offset + decoded.displacement);
        if (width !== 64 || this.context.identity.moving?.stays(this.site.instruction) !== true) break;
        this.code.globalGet(0);
        this.code.op(op.i64Sub);
        break;
    }
  }

  private operand(which: 'immediate' | 'displacement', width: Width, low: number, high: number): void {
    this.constant(width, low, high);
    if (width !== 64 || this.context.identity.moving?.moves(this.site.instruction, which, low, high) !== true) return;
    this.code.globalGet(0);
    this.code.op(op.i64Add);
  }

  private constant(width: Width, low: number, high: number): void {
    if (width === 64) this.code.i64Const(low, high);
    else this.code.i32Const(low);
  }

  private relative(width: Width, to: number): void {
    if (width === 64) pageAddress(this.code, to);
    else pageAddress32(this.code, to);
  }
}
