/**
 * Finds the accesses of a block that reach memory near each other from one register: a structure's fields, a stack frame. They share one check
 * that their whole range lies in one page, made at the first of them; the others need neither check nor address.
 *
 * Registers are followed through additions of constants (PUSH, POP, LEA), so that a range belongs to a value that a register had, its origin.
 */
import type { Decoded } from '../../isa/decoder.ts';
import type { Node, Program, Slot, Statement } from '../../isa/ir.ts';
import { alwaysTrue, isRare } from '../programUses.ts';
import { ownDisplacement } from '../forms.ts';
import { STATE, ZERO } from '../layout.ts';
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
  /** Local with the host address of `low`, once the range has been checked. */
  host: number;
}

export interface RangeAccess {
  readonly range: Range;
  /** Bytes from the origin. */
  readonly offset: number;
}

/** What a program does, in order, as far as it matters here. */
type Effect =
  | { readonly kind: 'access'; readonly address: Node; readonly bytes: number; readonly write: boolean }
  /** `value` null: something that is not known. One of 32 bits counts in legacy code only. */
  | { readonly kind: 'set'; readonly slot: Slot; readonly value: Node | null }
  /** Anything may be changed. */
  | { readonly kind: 'barrier' };

/** Legacy code: registers have 32 bits, offsets are linear addresses in plain segments. */
export interface LegacyView {
  plain(decoded: Decoded, segment: number, write: boolean): boolean;
  /** A field of the processor state, where it is known. */
  knownState(offset: number): number | undefined;
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

const EFFECTS = new WeakMap<Program, readonly Effect[]>();

function effectsOf(program: Program): readonly Effect[] {
  const known = EFFECTS.get(program);
  if (known) return known;
  const all: Effect[] = [];
  collect(program.statements, all, false);
  // A program reads registers as they were when it began: behind its first write of one, what reads mean is no longer followed.
  const first = all.findIndex(({ kind }) => kind === 'set');
  const effects = first < 0 ? all : all.flatMap((effect, i): Effect[] => {
    if (i <= first || effect.kind === 'barrier') return [effect];
    return effect.kind === 'set' ? [{ ...effect, value: null }] : [];
  });
  EFFECTS.set(program, effects);
  return effects;
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
        effects.push({ kind: 'set', slot: statement.slot, value: conditional || statement.value.width < 32 ? null : statement.value });
        break;
      case 'setPart':
        effects.push({ kind: 'set', slot: statement.slot, value: null });
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
      if (place === ZERO - STATE) return { register: -1, offset: 0 };
      return node.at === 0 && place < GENERAL_BYTES && (place & 7) === 0 ? { register: place >> 3, offset: 0 } : null;
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
    case 'select': return legacy && alwaysTrue(node.condition, at => legacy.knownState(at)) ? linear(node.a, decoded, legacy) : null;
    default: return null;
  }
}

/** Follows a block; returns, for each of its instructions that has any, its accesses in shared ranges by the id of their address. */
export function rangesOf(instructions: readonly RegionInstruction[], legacy: LegacyView | null): ReadonlyMap<number, ReadonlyMap<number, RangeAccess>> {
  const symbols = new Map<number, Symbol>();
  const open = new Map<number, Range[]>();
  const found = new Map<number, Map<number, RangeAccess>>();
  let origins = 0;
  const symbolOf = (register: number): Symbol => {
    const known = symbols.get(register);
    if (known) return known;
    const fresh = { origin: origins++, offset: 0 };
    symbols.set(register, fresh);
    return fresh;
  };
  const valueOf = (node: Node, decoded: Decoded): Symbol | null => {
    const form = linear(node, decoded, legacy);
    if (!form || form.register < 0) return null;
    const { origin, offset } = symbolOf(form.register);
    return { origin, offset: offset + form.offset };
  };
  instructions.forEach(({ decoded, form }, index) => {
    for (const effect of effectsOf(form.program)) {
      if (effect.kind === 'barrier') {
        symbols.clear();
        open.clear();
      } else if (effect.kind === 'set') {
        const place = slotOffset(decoded, slotNumber(effect.slot));
        if (place < 0 || place >= GENERAL_BYTES) continue;
        const value = effect.value && (place & 7) === 0 ? valueOf(effect.value, decoded) : null;
        if (value) symbols.set(place >> 3, value);
        else symbols.delete(place >> 3);
      } else {
        const at = valueOf(effect.address, decoded);
        if (at) join(open, found, index, at, effect);
      }
    }
  });
  for (const accesses of found.values()) for (const [id, { range }] of accesses) if (range.accesses < 2) accesses.delete(id);
  return found;
}

function join(open: Map<number, Range[]>, found: Map<number, Map<number, RangeAccess>>, index: number, at: Symbol, access: Extract<Effect, { kind: 'access' }>): void {
  const { offset } = at;
  const ranges = open.get(at.origin) ?? [];
  open.set(at.origin, ranges);
  let range = ranges.find(({ low, high }) => Math.max(high, offset + access.bytes) - Math.min(low, offset) <= RANGE_LIMIT);
  if (range) {
    range.low = Math.min(range.low, offset);
    range.high = Math.max(range.high, offset + access.bytes);
    range.write ||= access.write;
    range.accesses++;
  } else {
    range = { low: offset, high: offset + access.bytes, write: access.write, accesses: 1, host: -1 };
    ranges.push(range);
  }
  const own = found.get(index) ?? new Map<number, RangeAccess>();
  found.set(index, own);
  own.set(access.address.id, { range, offset });
}
