/**
 * The values that definitions compute with (`Ops`): constants, registers, state, arithmetic on them. Calling a method appends to the program.
 */
import type { BinaryOp, Fact, Node, NodeKind, Slot, Statement, UnaryOp, V, Width, Program } from './ir.ts';
import { isImpure } from './ir.ts';
import type { OperandKind } from './operands.ts';

/** What is known of an instruction when it is decoded: the key of its form. */
export interface Form {
  readonly operands: readonly OperandKind[];
  /** Operand size in bits. */
  readonly opSize: 16 | 32 | 64;
  /** Address size in bits. */
  readonly addressSize: 16 | 32 | 64;
  /** Whether the ModRM operand is memory. */
  readonly memory: boolean;
  /** `long` is 64-bit code; `legacy` is all other: segments are checked, addresses wrap at 32 bits. */
  readonly mode: 'long' | 'legacy';
  readonly codeSize: 16 | 32 | 64;
  readonly repeat: 0 | 1 | 2;
  /**
   * How the memory operand is formed: base + index + displacement + segment, base + displacement alone, or relative to RIP: to the page's
   * first byte, or to the next instruction when that does not fit into 32 bits.
   */
  readonly addressing: 'full' | 'base' | 'rip' | 'ripFar';
  readonly rexW: boolean;
}
export abstract class Values {
  readonly form: Form;
  private readonly stack: Statement[][] = [[]];
  private nodes = 0;

  constructor(form: Form) {
    this.form = form;
  }

  /** What has been written so far. */
  protected get program(): Program {
    return { statements: this.stack[0]!, nodes: this.nodes };
  }

  get opSize(): 16 | 32 | 64 { return this.form.opSize; }
  get long(): boolean { return this.form.mode === 'long'; }

  // ---- building blocks ------------------------------------------------------------------------------------------------------

  protected node(width: Width, clean: boolean, body: NodeKind): V {
    const node: Node = { ...body, id: this.nodes++, width, clean };
    if (isImpure(node)) this.emit({ kind: 'let', node });
    return node;
  }

  protected emit(statement: Statement): void {
    this.stack[this.stack.length - 1]!.push(statement);
  }

  /** A constant of up to 32 significant bits, sign-extended for 64-bit widths unless `high` is given. */
  const(width: Width, low: number, high: number = low >> 31): V {
    const mask = width >= 32 ? -1 : (1 << width) - 1;
    return this.node(width, true, { kind: 'const', low: low & mask, high: width === 64 ? high | 0 : 0 });
  }

  fact(fact: Fact, width: Width): V {
    return this.node(width, false, { kind: 'fact', fact });
  }

  /** The instruction's immediate, already sign-extended by the decoder. */
  immediate(width: Width): V {
    return this.fact('immediate', width);
  }

  state(offset: number, width: Width, signed = false): V {
    const bytes = width === 1 ? 4 : (width / 8) as 1 | 2 | 4 | 8 | 16;
    return this.node(width, !signed, { kind: 'state', offset, signed, bytes });
  }

  setState(offset: number, value: V): void {
    this.emit({ kind: 'setState', offset, bytes: value.width === 1 ? 4 : (value.width / 8) as 1 | 2 | 4 | 8 | 16, value });
  }

  slot(slot: Slot, width: Width): V {
    return this.node(width, true, { kind: 'slot', slot, at: 0 });
  }

  /** `width` bits of a register, `at` bytes into it. */
  slotPart(slot: Slot, at: number, width: Width): V {
    return this.node(width, true, { kind: 'slot', slot, at });
  }

  /** Writes just the value's bits, `at` bytes into a register; the rest of the register stays. */
  setPart(slot: Slot, at: number, value: V): void {
    this.emit({ kind: 'setPart', slot, at, value });
  }

  /** Host address of a register operand, for helpers that work on it in place. */
  slotAddress(slot: Slot): V {
    return this.node(32, true, { kind: 'slotAddress', slot });
  }

  /** Writes a register; a 32-bit write to a general register clears its upper half, a 128-bit write is whole. */
  setSlot(slot: Slot, value: V): void {
    this.emit({ kind: 'setSlot', slot, value });
  }

  binary(op: BinaryOp, left: V, right: V): V {
    const compare = op === 'eq' || op === 'ne' || op === 'ltU' || op === 'ltS' || op === 'leU' || op === 'leS';
    const shift = op === 'shl' || op === 'shrU' || op === 'shrS' || op === 'rotl' || op === 'rotr';
    if (!shift && left.width !== right.width) throw new Error(`${op}: widths ${left.width} and ${right.width} differ`);
    let a = left;
    let b = right;
    if (compare) {
      const signed = op === 'ltS' || op === 'leS';
      if (a.width < 32 && a.width > 1) { a = this.promote(a, signed); b = this.promote(b, signed); }
    } else if (op === 'shrU' || op === 'divU' || op === 'remU' || op === 'rotr' || op === 'rotl') {
      if (a.width < 32) a = this.clean(a);
      if (!shift && b.width < 32) b = this.clean(b);
    } else if (op === 'shrS' || op === 'divS' || op === 'remS') {
      if (a.width < 32) throw new Error(`${op} of width ${a.width}: extend first`);
    }
    const width = compare ? 1 : a.width;
    const clean = width >= 32 || compare || (op === 'and' && (a.clean || b.clean)) || ((op === 'or' || op === 'xor') && a.clean && b.clean)
      || (op === 'shrU' && a.clean) || op === 'divU' || op === 'remU';
    const folded = fold(op, a, b, width);
    if (folded) return this.const(width, folded.low, folded.high);
    if (isZero(b) && (op === 'add' || op === 'sub' || op === 'or' || op === 'xor' || shift)) return a;
    return this.node(width, clean, { kind: 'binary', op, a, b });
  }

  add(a: V, b: V): V { return this.binary('add', a, b); }
  sub(a: V, b: V): V { return this.binary('sub', a, b); }
  mul(a: V, b: V): V { return this.binary('mul', a, b); }
  and(a: V, b: V): V { return this.binary('and', a, b); }
  or(a: V, b: V): V { return this.binary('or', a, b); }
  xor(a: V, b: V): V { return this.binary('xor', a, b); }
  eq(a: V, b: V): V { return this.binary('eq', a, b); }
  ne(a: V, b: V): V { return this.binary('ne', a, b); }
  ltU(a: V, b: V): V { return this.binary('ltU', a, b); }
  ltS(a: V, b: V): V { return this.binary('ltS', a, b); }
  /** Shifts: the count is taken modulo 32, or modulo 64 for 64-bit values, by the host; callers mask as the manual says. */
  shl(a: V, count: V): V { return this.binary('shl', a, this.countFor(a, count)); }
  shrU(a: V, count: V): V { return this.binary('shrU', a, this.countFor(a, count)); }
  shrS(a: V, count: V): V { return this.binary('shrS', a, this.countFor(a, count)); }
  rotl(a: V, count: V): V { return this.binary('rotl', a, this.countFor(a, count)); }
  rotr(a: V, count: V): V { return this.binary('rotr', a, this.countFor(a, count)); }

  private countFor(a: V, count: V): V {
    if (a.width === 64) return count.width === 64 ? count : this.zeroExtend(count, 64);
    return count.width === 64 ? this.truncate(count, 32) : this.clean(count);
  }

  unary(op: UnaryOp, a: V): V {
    const source = a.width < 32 ? this.clean(a) : a;
    return this.node(op === 'eqz' ? 1 : a.width, true, { kind: 'unary', op, a: source });
  }

  isZero(a: V): V { return this.unary('eqz', a); }
  not(a: V): V { return this.xor(a, this.const(a.width, -1)); }
  negate(a: V): V { return this.sub(this.const(a.width, 0), a); }

  /** The same value with nothing above its width. */
  clean(a: V): V {
    if (a.clean || a.width >= 32) return a;
    return this.node(a.width, true, { kind: 'zeroExtend', a });
  }

  private promote(a: V, signed: boolean): V {
    return signed ? this.signExtend(a, 32) : this.zeroExtend(a, 32);
  }

  zeroExtend(a: V, width: Width): V {
    if (a.width === width) return this.clean(a);
    if (a.kind === 'const') return this.const(width, a.low, 0);
    return this.node(width, true, { kind: 'zeroExtend', a });
  }

  signExtend(a: V, width: Width): V {
    if (a.width === width) return a;
    if (a.kind === 'const') return this.const(width, signExtend(a.low, a.width));
    return this.node(width, width >= 32, { kind: 'signExtend', a });
  }

  truncate(a: V, width: Width): V {
    if (a.width === width) return a;
    if (a.kind === 'const') return this.const(width, a.low);
    if (a.kind === 'zeroExtend' && a.a.width === width) return a.a;
    return this.node(width, width >= 32, { kind: 'truncate', a });
  }

  /** Truncates or zero-extends to a width. */
  resize(a: V, width: Width): V {
    return a.width > width ? this.truncate(a, width) : this.zeroExtend(a, width);
  }

  select(condition: V, a: V, b: V): V {
    if (a.width !== b.width) throw new Error(`select: widths ${a.width} and ${b.width} differ`);
    if (condition.kind === 'const') return condition.low ? a : b;
    return this.node(a.width, a.clean && b.clean, { kind: 'select', condition, a, b });
  }

  vector(code: number, args: readonly V[], width: Width = 128, immediate?: readonly number[]): V {
    return this.node(width, width >= 32, immediate ? { kind: 'vector', code, args, immediate } : { kind: 'vector', code, args });
  }

  /** Calls a pure helper that returns a value. */
  call(helper: string, width: Width, args: readonly V[]): V {
    return this.node(width, width >= 32, { kind: 'call', helper, args });
  }

  /** Calls an instruction helper that returns a STATUS; statements after it run only when it is OK. */
  instruction(helper: string, args: readonly V[] = []): void {
    this.emit({ kind: 'instruction', helper, args });
  }

  when(condition: V, then: () => void, otherwise?: () => void): void {
    if (condition.kind === 'const') {
      if (condition.low) then();
      else otherwise?.();
      return;
    }
    this.stack.push([]);
    then();
    const thenStatements = this.stack.pop()!;
    this.stack.push([]);
    otherwise?.();
    const otherwiseStatements = this.stack.pop()!;
    this.emit({ kind: 'when', condition, then: thenStatements, otherwise: otherwiseStatements });
  }

  raise(vector: number, error: V | null = null): void {
    this.emit({ kind: 'raise', vector, error });
  }
}

export function isZero(node: Node): boolean {
  return node.kind === 'const' && node.low === 0 && node.high === 0;
}

function signExtend(value: number, width: number): number {
  return width >= 32 ? value | 0 : (value << (32 - width)) >> (32 - width);
}

/** Folds 32-bit and narrower constants; 64-bit ones only for add (addresses of regions). */
function fold(op: BinaryOp, a: Node, b: Node, width: Width): { low: number; high: number } | null {
  if (a.kind !== 'const' || b.kind !== 'const' || a.width > 32) return null;
  const mask = width >= 32 ? -1 : (1 << width) - 1;
  switch (op) {
    case 'add': return { low: (a.low + b.low) & mask, high: 0 };
    case 'sub': return { low: (a.low - b.low) & mask, high: 0 };
    case 'and': return { low: a.low & b.low & mask, high: 0 };
    case 'or': return { low: (a.low | b.low) & mask, high: 0 };
    case 'xor': return { low: (a.low ^ b.low) & mask, high: 0 };
    case 'eq': return { low: a.low === b.low ? 1 : 0, high: 0 };
    case 'ne': return { low: a.low !== b.low ? 1 : 0, high: 0 };
    default: return null;
  }
}
