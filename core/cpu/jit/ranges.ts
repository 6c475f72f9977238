/**
 * Finds the accesses of a block that reach memory near each other from one register: a structure's fields, a stack frame. They share one check
 * that their whole range lies in one page, made at the first of them; the others need neither check nor address.
 *
 * Registers are followed through additions of constants (PUSH, POP, LEA), so that a range belongs to a value that a register had, its origin.
 */
import type { Decoded } from '../../isa/decoder.ts';
import type { Node, Program, Statement } from '../../isa/ir.ts';
import { alwaysTrue, isRare } from '../programUses.ts';
import { ownDisplacement } from '../forms.ts';
import { STATE, ZERO } from '../layout.ts';
import type { IsKnown } from '../target.ts';
import type { RegionInstruction } from './discover.ts';
import { slotOffset } from './registers.ts';
import { slotNumber } from './tape.ts';

/** A range is at most this long, in bytes: one that crosses into another page is left to the interpreter. */
const RANGE_LIMIT = 256;
/** Beyond this an offset is no part of a structure. */
const OFFSET_LIMIT = 1 << 30;
const GENERAL_BYTES = 16 * 8;

/** Accesses from one origin: bytes `low` to `high` relative to it. */
export interface Range {
  low: number;
  high: number;
  write: boolean;
  accesses: number;
  /** Offset of the instruction that it begins with: what it is known by. */
  readonly at: number;
  /** Its accesses are checked one by one, as it lies across two pages. */
  readonly apart: boolean;
  /** Local with the host address of `low`, once the range has been checked. */
  host: number;
}

/** An access of an instruction that shares a range. */
export interface RangeAccess {
  readonly address: Node;
  readonly range: Range;
  /** Bytes from the origin. */
  readonly offset: number;
}

/** What a program does, in order, as far as it matters here. */
export type Effect =
  | { readonly kind: 'access'; readonly address: Node; readonly bytes: number; readonly write: boolean }
  /** A slot as a number (tape.ts); `value` null: something that is not known. One of 32 bits counts in legacy code only. */
  | { readonly kind: 'set'; readonly slot: number; readonly value: Node | null }
  /** Anything may be changed. */
  | { readonly kind: 'barrier' };

/** Legacy code: registers have 32 bits, offsets are linear addresses in plain segments. */
export interface LegacyView {
  plain(decoded: Decoded, segment: number, write: boolean): boolean;
  readonly isKnown: IsKnown;
}

/** A register's value plus a constant; register -1: the constant alone. */
interface Linear {
  readonly register: number;
  readonly offset: number;
}

interface Symbol {
  readonly origin: number;
  readonly offset: number;
}

export function effectsOf(program: Program): readonly Effect[] {
  const effects: Effect[] = [];
  collect(program.statements, effects, false);
  // A program reads registers as they were when it began: behind its first write, what reads mean is no longer followed.
  const first = effects.findIndex(({ kind }) => kind === 'set');
  return effects.flatMap((effect, i): Effect[] => {
    if (effect.kind === 'barrier') return [effect];
    const behind = first >= 0 && i > first;
    if (effect.kind === 'access') return behind ? [] : [effect];
    const { slot, value } = effect;
    if (slot >= GENERAL_BYTES) return [];
    return [{ ...effect, value: value && !behind && mayBeLinear(value) ? value : null }];
  });
}

/** Whether a value may be a register and a constant, with the right operands. */
function mayBeLinear(node: Node): boolean {
  switch (node.kind) {
    case 'const': case 'fact': case 'slot': return true;
    case 'binary': return (node.op === 'add' || node.op === 'sub' || node.op === 'shl') && mayBeLinear(node.a) && (node.op === 'shl' || mayBeLinear(node.b));
    case 'zeroExtend': case 'truncate': case 'select': return mayBeLinear(node.a);
    case 'segment': return mayBeLinear(node.offset);
    default: return false;
  }
}

/** `conditional`: the statements are not always carried out. */
function collect(statements: readonly Statement[], effects: Effect[], conditional: boolean): void {
  for (const statement of statements) {
    switch (statement.kind) {
      case 'let': {
        const { node } = statement;
        if (conditional || (node.kind !== 'load' && node.kind !== 'modify')) break;
        effects.push({ kind: 'access', address: node.address, bytes: node.bytes, write: node.kind === 'modify' });
        break;
      }
      case 'store':
        if (!conditional) effects.push({ kind: 'access', address: statement.address, bytes: statement.bytes, write: true });
        break;
      case 'setSlot':
        effects.push({ kind: 'set', slot: slotNumber(statement.slot), value: conditional || statement.value.width < 32 ? null : statement.value });
        break;
      case 'setPart':
        effects.push({ kind: 'set', slot: slotNumber(statement.slot), value: null });
        break;
      case 'setState':
        effects.push({ kind: 'set', slot: statement.offset - STATE, value: null });
        break;
      case 'instruction':
        if (!isRare(statement)) effects.push({ kind: 'barrier' });
        break;
      case 'when':
        collect(statement.then, effects, true);
        collect(statement.otherwise, effects, true);
        break;
      default:
    }
  }
}

const NO_REGISTER: Linear = { register: -1, offset: 0 };
const REGISTERS: readonly Linear[] = Array.from({ length: GENERAL_BYTES / 8 }, (_, register) => ({ register, offset: 0 }));

/** The value of a node as a register and a constant, null when it is not of that form: modulo 2^64, in legacy code modulo 2^32. */
function linear(node: Node, decoded: Decoded, legacy: LegacyView | null): Linear | null {
  if (node.width !== 64 && !(legacy && node.width === 32)) return null;
  switch (node.kind) {
    case 'const': return node.width === 32 || node.high === node.low >> 31 ? { register: -1, offset: node.low } : null;
    case 'fact': {
      if (node.fact === 'displacement') return { register: -1, offset: ownDisplacement(decoded) };
      return node.fact === 'immediate' && decoded.immediateHigh === decoded.immediateLow >> 31 ? { register: -1, offset: decoded.immediateLow } : null;
    }
    case 'slot': {
      const place = slotOffset(decoded, slotNumber(node.slot));
      if (place === ZERO - STATE) return NO_REGISTER;
      return node.at === 0 && place < GENERAL_BYTES && (place & 7) === 0 ? REGISTERS[place >> 3]! : null;
    }
    case 'binary': {
      const a = linear(node.a, decoded, legacy);
      if (node.op === 'shl') return a && a.register < 0 && a.offset === 0 ? a : null;
      if (!a || (node.op !== 'add' && node.op !== 'sub')) return null;
      const b = linear(node.b, decoded, legacy);
      if (!b || (a.register >= 0 && b.register >= 0) || (node.op === 'sub' && b.register >= 0)) return null;
      const offset = node.op === 'add' ? a.offset + b.offset : a.offset - b.offset;
      return Math.abs(offset) < OFFSET_LIMIT ? { register: Math.max(a.register, b.register), offset } : null;
    }
    case 'zeroExtend': case 'truncate': return legacy && linear(node.a, decoded, legacy);
    case 'segment': return legacy?.plain(decoded, slotNumber(node.segment), node.write) ? linear(node.offset, decoded, legacy) : null;
    case 'select': return legacy && alwaysTrue(node.condition, legacy.isKnown) ? linear(node.a, decoded, legacy) : null;
    default: return null;
  }
}

/** Accesses of a block's instructions that share ranges, by the number of the instruction; null when there are none. */
export type BlockRanges = readonly (readonly RangeAccess[] | undefined)[] | null;

/** The range that an access shares with others, when there is one. */
export function rangeOf(ranges: readonly RangeAccess[] | undefined, address: Node): RangeAccess | undefined {
  if (ranges) for (const access of ranges) if (access.address === address) return access;
  return undefined;
}

/** Follows a block. `apart`: offsets of the ranges that are known to lie across two pages. */
export function rangesOf(instructions: readonly RegionInstruction[], apart: ReadonlySet<number>, legacy: LegacyView | null): BlockRanges {
  let accesses = 0;
  for (const { form } of instructions) accesses += form.accesses;
  return accesses < 2 ? null : new Follower(apart, legacy).follow(instructions);
}

class Follower {
  private readonly apart: ReadonlySet<number>;
  private readonly legacy: LegacyView | null;
  /** What registers hold, where it has been asked for. */
  private symbols: (Symbol | undefined)[] = [];
  private origins = 0;
  /** Ranges by origin. */
  private open: Range[][] = [];

  constructor(apart: ReadonlySet<number>, legacy: LegacyView | null) {
    this.apart = apart;
    this.legacy = legacy;
  }

  follow(instructions: readonly RegionInstruction[]): BlockRanges {
    const found = instructions.map(({ decoded, form, offset }) => {
      let own: RangeAccess[] | undefined;
      for (const effect of form.effects) {
        if (effect.kind === 'barrier') {
          this.symbols = [];
          this.open = [];
        } else if (effect.kind === 'set') this.set(slotOffset(decoded, effect.slot), effect.value, decoded);
        else own = this.access(own, effect, decoded, offset);
      }
      return own;
    });
    return found.map(own => own?.filter(({ range }) => range.accesses > 1 ));
  }

  private set(place: number, value: Node | null, decoded: Decoded): void {
    if (place >= 0 && place < GENERAL_BYTES) this.symbols[place >> 3] = value && (place & 7) === 0 ? this.valueOf(value, decoded) : undefined;
  }

  private valueOf(node: Node, decoded: Decoded): Symbol | undefined {
    const form = linear(node, decoded, this.legacy);
    if (!form || form.register < 0) return undefined;
    const { origin, offset } = this.symbols[form.register] ??= { origin: this.origins++, offset: 0 };
    return { origin, offset: offset + form.offset };
  }

  private access(own: RangeAccess[] | undefined, access: Extract<Effect, { kind: 'access' }>, decoded: Decoded, instruction: number): RangeAccess[] | undefined {
    const at = this.valueOf(access.address, decoded);
    if (!at) return own;
    const { address } = access;
    const others = own?.filter(known => known.address !== address) ?? [];
    return [...others, { address, range: this.join(at, access, instruction), offset: at.offset }];
  }

  /** The range that an access joins, or begins. */
  private join({ origin, offset }: Symbol, { bytes, write }: Extract<Effect, { kind: 'access' }>, at: number): Range {
    const end = offset + bytes;
    const ranges = this.open[origin] ??= [];
    for (const range of ranges) {
      const low = Math.min(range.low, offset);
      const high = Math.max(range.high, end);
      if (high - low > RANGE_LIMIT) continue;
      range.low = low;
      range.high = high;
      range.write ||= write;
      range.accesses++;
      return range;
    }
    const range = { low: offset, high: end, write, accesses: 1, at, apart: this.apart.has(at), host: -1 };
    ranges.push(range);
    return range;
  }
}
