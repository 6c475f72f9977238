/**
 * Turns a definition's program (core/isa/ir.ts) into WebAssembly. What differs between the interpreter (operands in a predecoded record)
 * and regions (operands left open: jit/recorder.ts) is behind `Target` (target.ts).
 *
 * Register and state reads are evaluated where they are used when nothing in between may change them; loads, segment checks and helper
 * calls are evaluated where they stand. A value that is used twice is kept in a local.
 */
import type { FunctionWriter, ValueType } from '../wasm/writer.ts';
import type { BinaryOp, Node, Program, Slot, Statement, Width } from '../isa/ir.ts';
import { children, isImpure, operands } from '../isa/ir.ts';
import { I32, I64, V128, op, v } from '../wasm/opcodes.ts';
import { F_AUX, F_PARITY, F_RES, SEG_BASE, SEG_FLAT } from './layout.ts';
import { alwaysTrue, count, countRoots, dependsOnLater, isRare, mayChange, neverTrue, nodesOf, usesOf } from './programUses.ts';
import type { MemoryAccess } from './tableAccess.ts';
import type { Target } from './target.ts';
import { loadOp, storeOp } from './widths.ts';

export function valueType(width: Width): ValueType {
  if (width === 64) return I64;
  return width === 128 ? V128 : I32;
}

const BINARY_32: Record<BinaryOp, number> = {
  add: op.i32Add, sub: op.i32Sub, mul: op.i32Mul, and: op.i32And, or: op.i32Or, xor: op.i32Xor, shl: op.i32Shl, shrU: op.i32ShrU,
  shrS: op.i32ShrS, rotl: op.i32Rotl, rotr: op.i32Rotr, divU: op.i32DivU, remU: op.i32RemU, divS: op.i32DivS, remS: op.i32RemS,
  eq: op.i32Eq, ne: op.i32Ne, ltU: op.i32LtU, ltS: op.i32LtS, leU: op.i32LeU, leS: op.i32LeS,
};
const BINARY_64: Record<BinaryOp, number> = {
  add: op.i64Add, sub: op.i64Sub, mul: op.i64Mul, and: op.i64And, or: op.i64Or, xor: op.i64Xor, shl: op.i64Shl, shrU: op.i64ShrU,
  shrS: op.i64ShrS, rotl: op.i64Rotl, rotr: op.i64Rotr, divU: op.i64DivU, remU: op.i64RemU, divS: op.i64DivS, remS: op.i64RemS,
  eq: op.i64Eq, ne: op.i64Ne, ltU: op.i64LtU, ltS: op.i64LtS, leU: op.i64LeU, leS: op.i64LeS,
};

export class Emitter {
  private readonly code: FunctionWriter;
  private readonly target: Target;
  private uses: ReadonlyMap<number, number> = new Map();
  private readonly locals = new Map<number, number>();
  /** How often register and state reads have been evaluated in place. */
  private readonly consumed = new Map<number, number>();
  /** Host pointers of read-modify-writes by node. */
  private readonly pointers = new Map<number, number>();
  private readonly taken: { type: ValueType; local: number }[] = [];
  private pending: Node[] = [];
  /** Depth of `when`s: what happens inside does not always. */
  private nesting = 0;
  private readonly memory: MemoryAccess;

  constructor(target: Target) {
    this.code = target.code;
    this.target = target;
    this.memory = target.memory(type => this.take(type));
  }

  program(program: Program): void {
    this.uses = usesOf(program);
    this.statements(program.statements);
    for (const { type, local } of this.taken) this.target.release(type, local);
  }

  private take(type: ValueType): number {
    const local = this.target.allocate(type);
    this.taken.push({ type, local });
    return local;
  }

  private statements(list: readonly Statement[]): void {
    const outer = this.pending;
    this.pending = [];
    for (const statement of list) this.statement(statement);
    this.pending = outer;
  }

  private statement(statement: Statement): void {
    if (statement.kind === 'let') {
      const node = statement.node;
      if (node.kind === 'slot' || node.kind === 'state') {
        if (this.uses.has(node.id) && !this.isZero(node)) this.pending.push(node);
      } else if (!this.plainOffset(node)) this.evaluateToLocal(node);
      return;
    }
    this.settle(statement);
    switch (statement.kind) {
      case 'setSlot': this.setSlot(statement.slot, statement.value); break;
      case 'setPart': {
        const offset = this.target.slotBase(statement.slot);
        this.value(statement.value);
        storeOp(this.code, statement.value.width / 8, offset + statement.at, false);
        break;
      }
      case 'setState':
        this.target.writeState(statement.offset, statement.bytes, statement.value.width === 64, () => this.value(statement.value));
        if (statement.offset >= F_RES && statement.offset < F_PARITY + 4) {
          const known = statement.offset === F_AUX && statement.value.kind === 'const' && this.nesting === 0;
          this.target.noteFlags?.(known ? statement.value.low : undefined);
        }
        break;
      case 'store': this.store(statement.address, statement.bytes, statement.value); break;
      case 'commit': this.commit(statement.modify, statement.value); break;
      case 'when': this.when(statement); break;
      case 'raise':
        if (this.target.stepInstead) {
          this.target.stepInstead();
          break;
        }
        if (statement.error) {
          this.code.i32Const(statement.vector);
          this.value(statement.error);
          this.code.call(this.target.helper('raiseError'));
        } else {
          this.code.i32Const(statement.vector);
          this.code.call(this.target.helper('raise'));
        }
        this.code.op(op.drop);
        this.target.fault();
        break;
      case 'instruction':
        if (this.target.stepInstead && isRare(statement)) {
          this.target.stepInstead();
          break;
        }
        this.target.spill();
        for (const argument of statement.args) this.value(argument);
        this.code.call(this.target.helper(statement.helper));
        this.target.status();
        break;
      case 'jump':
        this.value(statement.target);
        this.target.jump();
        break;
      case 'branch': this.target.branch(); break;
    }
  }

  /** Before an effect: evaluates those pending reads that it could change and that something after it, or twice, needs. */
  private settle(statement: Exclude<Statement, { kind: 'let' }>): void {
    if (this.pending.length === 0) return;
    const inside = new Map<number, number>();
    countRoots(operands(statement), inside, this.locals);
    const rest: Node[] = [];
    for (const node of this.pending) {
      const total = this.uses.get(node.id) ?? 0;
      if (this.locals.has(node.id) || (this.consumed.get(node.id) ?? 0) >= total) continue;
      const here = inside.get(node.id) ?? 0;
      const onlyHere = here === total && here === 1;
      if (statement.kind === 'when') {
        // Its uses may lie in a branch that is not taken, or behind one that changes it: evaluate now.
        if (!(here === total && here === 1)) this.evaluateToLocal(node);
      } else if (onlyHere || !mayChange(statement, node)) {
        if (!onlyHere) rest.push(node);
      } else this.evaluateToLocal(node);
    }
    this.pending = rest;
  }

  private when(statement: Extract<Statement, { kind: 'when' }>): void {
    if (neverTrue(statement.condition, this.target.isKnown)) {
      this.skip(statement.condition);
      for (const inner of statement.otherwise) this.statement(inner);
      return;
    }
    // A pure value that is needed both inside and outside is computed before the branch, so that its local is set on every path.
    const inThen = new Map<number, number>();
    const inOtherwise = new Map<number, number>();
    count(statement.then, inThen, this.locals);
    count(statement.otherwise, inOtherwise, this.locals);
    const hoist = (list: readonly Statement[], own: Map<number, number>): void => {
      for (const node of nodesOf(list, this.locals)) {
        if (node.kind === 'const' || node.kind === 'fact' || node.kind === 'slotAddress' || isImpure(node)) continue;
        const total = this.uses.get(node.id) ?? 0;
        if ((own.get(node.id) ?? 0) < total && !dependsOnLater(node, this.locals)) this.evaluateToLocal(node);
      }
    };
    hoist(statement.then, inThen);
    hoist(statement.otherwise, inOtherwise);
    this.value(statement.condition);
    this.code.if();
    this.nesting++;
    this.branchBody(statement.then);
    if (statement.otherwise.length > 0) {
      this.code.else();
      this.branchBody(statement.otherwise);
    }
    this.nesting--;
    this.code.end();
  }

  private branchBody(list: readonly Statement[]): void {
    const before = new Set(this.locals.keys());
    this.statements(list);
    // Locals set in a branch hold nothing on the other path.
    for (const id of [...this.locals.keys()]) if (!before.has(id)) this.locals.delete(id);
  }

  private evaluateToLocal(node: Node): void {
    if (this.locals.has(node.id)) return;
    this.compute(node);
    if (!this.uses.has(node.id)) {
      this.code.op(op.drop);
      return;
    }
    const local = this.take(valueType(node.width));
    this.code.set(local);
    this.locals.set(node.id, local);
  }

  /** Pushes a node's value. */
  value(node: Node): void {
    const local = this.locals.get(node.id);
    if (local !== undefined) {
      this.code.get(local);
      return;
    }
    this.compute(node);
    if (this.isZero(node)) return;
    if (node.kind === 'slot' || node.kind === 'state') this.consumed.set(node.id, (this.consumed.get(node.id) ?? 0) + 1);
    if ((this.uses.get(node.id) ?? 0) > 1 && node.kind !== 'const' && node.kind !== 'fact' && node.kind !== 'slotAddress') {
      const kept = this.take(valueType(node.width));
      this.code.tee(kept);
      this.locals.set(node.id, kept);
    }
  }

  /** Notes that a value is not needed: its reads are no longer waited for. */
  private skip(node: Node): void {
    // What is used elsewhere too is computed there.
    if (this.locals.has(node.id) || (node.kind !== 'slot' && node.kind !== 'state' && (this.uses.get(node.id) ?? 0) > 1)) return;
    if (node.kind === 'slot' || node.kind === 'state') this.consumed.set(node.id, (this.consumed.get(node.id) ?? 0) + 1);
    else for (const child of children(node)) this.skip(child);
  }

  private compute(node: Node): void {
    const code = this.code;
    switch (node.kind) {
      case 'const':
        if (node.width === 64) code.i64Const(node.low, node.high);
        else code.i32Const(node.low);
        break;
      case 'fact': this.target.fact(node.fact, node.width); break;
      case 'slot': this.target.readSlot(node.slot, node.width, node.at); break;
      case 'slotAddress': {
        const offset = this.target.slotBase(node.slot);
        code.i32Const(offset);
        code.op(op.i32Add);
        break;
      }
      case 'state':
        this.target.readState(node.offset, node.width === 1 ? 32 : node.width, node.signed);
        break;
      case 'binary': this.binary(node.op, node.a, node.b); break;
      case 'unary': {
        this.value(node.a);
        this.unary(node.op, node.a.width);
        break;
      }
      case 'zeroExtend': this.zeroExtend(node.a, node.width); break;
      case 'signExtend': this.signExtend(node.a, node.width); break;
      case 'truncate':
        this.value(node.a);
        if (node.a.width === 64) code.op(op.i32WrapI64);
        else if (node.a.width === 128) {
          code.simd(node.width === 64 ? v.i64x2Extract : v.i32x4Extract);
          code.u8(0);
        }
        break;
      case 'top':
        this.value(node.a);
        code.op(op.i64ExtendI32U);
        code.i64Const(64 - node.a.width);
        code.op(op.i64Shl);
        break;
      case 'condition':
        if (this.target.condition?.(node.code)) this.skip(node.generic);
        else this.value(node.generic);
        break;
      case 'select':
        if (alwaysTrue(node.condition, this.target.isKnown)) {
          this.value(node.a);
          this.skip(node.b);
          this.skip(node.condition);
          break;
        }
        this.value(node.a);
        this.value(node.b);
        this.value(node.condition);
        code.op(op.select);
        break;
      case 'load': this.load(node.address, node.bytes, node.width); break;
      case 'segment': this.segment(node); break;
      case 'modify': this.modify(node); break;
      case 'call':
        for (const argument of node.args) this.value(argument);
        code.call(this.target.helper(node.helper));
        break;
      case 'vector':
        for (const argument of node.args) this.value(argument);
        code.simd(node.code);
        for (const byte of node.immediate ?? []) code.u8(byte);
        break;
    }
  }

  private binary(kind: BinaryOp, a: Node, b: Node): void {
    if (a.width === 128) throw new Error('binary on a vector');
    if (this.isZero(b) && (kind === 'add' || kind === 'shl')) {
      this.value(a);
      return;
    }
    if (this.isZero(a) && kind === 'add') {
      this.value(b);
      return;
    }
    this.value(a);
    this.value(b);
    this.code.op(a.width === 64 ? BINARY_64[kind] : BINARY_32[kind]);
  }

  /** Whether a value is known to be zero when the code is made: a displacement or index that is not there. */
  private isZero(node: Node): boolean {
    switch (node.kind) {
      case 'const': return node.low === 0 && node.high === 0;
      case 'fact': case 'slot': return this.target.isZero?.(node) ?? false;
      case 'binary': return node.op === 'shl' && this.isZero(node.a);
      default: return false;
    }
  }

  private unary(kind: 'clz' | 'ctz' | 'popcnt' | 'eqz', width: Width): void {
    const wide = width === 64;
    const code = this.code;
    switch (kind) {
      case 'eqz': code.op(wide ? op.i64Eqz : op.i32Eqz); break;
      case 'popcnt': code.op(wide ? op.i64Popcnt : op.i32Popcnt); break;
      case 'ctz':
        if (width < 32) {
          code.i32Const(1 << width);
          code.op(op.i32Or);
        }
        code.op(wide ? op.i64Ctz : op.i32Ctz);
        break;
      case 'clz':
        code.op(wide ? op.i64Clz : op.i32Clz);
        if (width < 32) {
          code.i32Const(32 - width);
          code.op(op.i32Sub);
        }
        break;
    }
  }

  private zeroExtend(a: Node, width: Width): void {
    if (this.target.registersInMemory && width === 128 && a.kind === 'slot' && (a.width === 64 || a.width === 32) && this.uses.get(a.id) === 1 && !this.locals.has(a.id)) {
      const offset = this.target.slotBase(a.slot);
      this.code.simdMemory(a.width === 64 ? v.load64Zero : v.load32Zero, offset + a.at);
      return;
    }
    this.value(a);
    if (a.width < 32 && !a.clean) {
      this.code.i32Const((1 << a.width) - 1);
      this.code.op(op.i32And);
    }
    if (width === 64) this.code.op(op.i64ExtendI32U);
    if (width === 128) {
      if (a.width < 64) this.code.op(op.i64ExtendI32U);
      this.code.simd(v.i64x2Splat);
      this.code.simd(v.const);
      for (let i = 0; i < 16; i++) this.code.u8(i < 8 ? 0xff : 0);
      this.code.simd(v.and);
    }
  }

  private signExtend(a: Node, width: Width): void {
    const code = this.code;
    if (a.width === 1) {
      code.i32Const(0);
      this.value(a);
      code.op(op.i32Sub);
    } else {
      this.value(a);
      if (a.width === 8) code.op(op.i32Extend8S);
      else if (a.width === 16) code.op(op.i32Extend16S);
    }
    if (width === 64) code.op(op.i64ExtendI32S);
  }

  private setSlot(slot: Slot, value: Node): void {
    this.target.writeSlot(slot, value.width, () => this.value(value));
  }

  // ---- memory -------------------------------------------------------------------------------------------------------------------

  private addressLocal(address: Node): number {
    const known = this.locals.get(address.id);
    if (known !== undefined) return known;
    const plain = this.plainOffset(address);
    if (plain) return this.addressLocal(plain);
    this.compute(address);
    const local = this.take(I64);
    this.code.set(local);
    this.locals.set(address.id, local);
    return local;
  }

  private load(address: Node, bytes: number, width: Width): void {
    const offset = this.memory.read(address, () => this.addressLocal(address), bytes);
    this.skip(address);
    loadOp(this.code, width, offset, false);
  }

  private store(address: Node, bytes: number, value: Node): void {
    if (this.memory.valueTwice && !this.locals.has(value.id) && value.kind !== 'const') {
      this.addressLocal(address);
      this.compute(value);
      const kept = this.take(valueType(value.width));
      this.code.set(kept);
      this.locals.set(value.id, kept);
    }
    this.memory.store(address, () => this.addressLocal(address), bytes, value.width === 64, () => this.value(value));
    this.skip(address);
  }

  private modify(node: Extract<Node, { kind: 'modify' }>): void {
    const pointer = this.memory.modify(node.address, () => this.addressLocal(node.address), node.bytes);
    this.skip(node.address);
    this.pointers.set(node.id, pointer);
    this.code.get(pointer);
    loadOp(this.code, node.width, 0, false);
  }

  private commit(modify: Node, value: Node): void {
    const pointer = this.pointers.get(modify.id);
    if (pointer === undefined) throw new Error('commit before modify');
    this.code.get(pointer);
    this.value(value);
    storeOp(this.code, value.width / 8, 0, false);
    this.memory.finish(pointer);
  }

  /** The offset of an address in a segment that is the whole linear address space: it is the address. */
  private plainOffset(node: Node): Node | null {
    return node.kind === 'segment' && this.target.plain?.(node.segment, node.write) ? node.offset : null;
  }

  /** Legacy segmentation: flat segments take the short arm. */
  private segment(node: Extract<Node, { kind: 'segment' }>): void {
    const code = this.code;
    const plain = this.plainOffset(node);
    if (plain) {
      this.value(plain);
      return;
    }
    const offset = this.addressLocal(node.offset);
    const base = this.take(I32);
    const result = this.take(I64);
    const displacement = this.target.slotBase(node.segment);
    code.set(base);
    code.get(base);
    code.memory(op.i32Load, displacement + SEG_FLAT);
    code.i32Const(node.write ? 2 : 1);
    code.op(op.i32And);
    code.if();
    code.get(offset);
    code.op(op.i32WrapI64);
    code.get(base);
    code.memory(op.i32Load, displacement + SEG_BASE);
    code.op(op.i32Add);
    code.op(op.i64ExtendI32U);
    code.set(result);
    code.else();
    code.get(base);
    code.i32Const(displacement);
    code.op(op.i32Add);
    code.get(offset);
    code.i32Const(node.bytes);
    code.i32Const(node.write ? 1 : 0);
    code.call(this.target.helper('segmentSlot'));
    code.set(result);
    this.faultCheck();
    code.end();
    code.get(result);
  }

  private faultCheck(): void {
    this.code.call(this.target.helper('faulted'));
    this.target.faultIf();
  }
}
