/**
 * Evaluates a definition's program (core/isa/ir.ts) over the processor's state with `bigint`s: the reference for the emitted code. Every
 * impure value is read where its `let` stands, with none of the emitter's reordering; every access takes the slow path.
 */
import type { Fact, Node, Program, Slot, Statement } from '../isa/ir.ts';
import { isImpure } from '../isa/ir.ts';
import type { Decoded } from '../isa/decoder.ts';
import { ownDisplacement } from './forms.ts';
import type { HelperSignatures } from './helpers.ts';
import { BOUNCE, NEXT_RIP, RIP, STATE, XMM } from './layout.ts';
import { vectorOperation } from './referenceVector.ts';
import { I64 } from '../wasm/opcodes.ts';

/** STATUS of the instruction helpers. */
export const STATUS = { ok: 0, fault: 1, jump: 2, exit: 3, sync: 4 } as const;

/** What the evaluator works on. */
export interface ReferenceTarget {
  readonly view: DataView;
  readonly helpers: Readonly<Record<string, WebAssembly.ExportValue>>;
  readonly signatures: HelperSignatures;
}

/** How an instruction ends early, as what is thrown: no Error, for the stack that one keeps costs more than the instruction. */
class End {
  readonly status: number;
  constructor(status: number) {
    this.status = status;
  }
}

/** A fault is pending. */
const unwind = new End(STATUS.fault);

const mask = (width: number, value: bigint): bigint => BigInt.asUintN(width, value);

/** One execution of one decoded instruction. */
export class Evaluation {
  private readonly target: ReferenceTarget;
  private readonly decoded: Decoded;
  private readonly aux: number;
  private readonly rip: bigint;
  private readonly values = new Map<number, bigint>();
  private readonly pointers = new Map<number, number>();

  constructor(target: ReferenceTarget, decoded: Decoded, rip: bigint) {
    this.target = target;
    this.decoded = decoded;
    this.rip = rip;
    this.aux = decoded.row.has.string ? decoded.segmentNumber : decoded.aux;
  }

  /** Returns a STATUS; with `jump` RIP is set. */
  run(program: Program): number {
    try {
      this.statements(program.statements);
      return STATUS.ok;
    } catch (error) {
      if (error instanceof End) return error.status;
      throw error;
    }
  }

  private get nextRip(): bigint {
    return mask(64, this.rip + BigInt(this.decoded.length));
  }

  // ---- helpers ----------------------------------------------------------------------------------------------------------------

  private call(name: string, args: readonly bigint[]): bigint {
    const signature = this.target.signatures.get(name);
    const helper = this.target.helpers[name];
    if (!signature || typeof helper !== 'function') throw new Error(`no helper named ${name}`);
    const values = args.map((value, i) => (signature.parameters[i] === I64 ? BigInt.asIntN(64, value) : Number(BigInt.asIntN(32, value))));
    const result = (helper as (...values: (number | bigint)[]) => number | bigint | undefined)(...values) ?? 0;
    return typeof result === 'bigint' ? mask(64, result) : mask(32, BigInt(result));
  }

  private stopOnFault(): void {
    if (this.call('faulted', []) !== 0n) throw unwind;
  }

  // ---- state ------------------------------------------------------------------------------------------------------------------

  private read(at: number, bytes: number): bigint {
    const { view } = this.target;
    switch (bytes) {
      case 1: return BigInt(view.getUint8(at));
      case 2: return BigInt(view.getUint16(at, true));
      case 4: return BigInt(view.getUint32(at, true));
      case 8: return view.getBigUint64(at, true);
      case 16: return view.getBigUint64(at, true) | (view.getBigUint64(at + 8, true) << 64n);
      default: throw new Error(`a read of ${bytes} bytes`);
    }
  }

  private write(at: number, bytes: number, value: bigint): void {
    const { view } = this.target;
    switch (bytes) {
      case 1: view.setUint8(at, Number(mask(8, value))); break;
      case 2: view.setUint16(at, Number(mask(16, value)), true); break;
      case 4: view.setUint32(at, Number(mask(32, value)), true); break;
      case 8: view.setBigUint64(at, mask(64, value), true); break;
      case 16:
        view.setBigUint64(at, mask(64, value), true);
        view.setBigUint64(at + 8, mask(64, value >> 64n), true);
        break;
      default: throw new Error(`a write of ${bytes} bytes`);
    }
  }

  private slot(slot: Slot): number {
    const { decoded } = this;
    switch (slot) {
      case 'G': return STATE + decoded.g;
      case 'E': case 'base': return STATE + decoded.e;
      case 'index': return STATE + decoded.index;
      case 'segment': return STATE + decoded.segment;
      case 'V': return STATE + this.aux;
      default: return STATE + slot;
    }
  }

  private fact(fact: Fact): bigint {
    const { decoded } = this;
    switch (fact) {
      case 'immediate': return (BigInt(decoded.immediateHigh) << 32n) | mask(32, BigInt(decoded.immediateLow));
      case 'displacement': return BigInt(ownDisplacement(decoded));
      case 'scale': return BigInt(decoded.scale);
      case 'length': return BigInt(decoded.length);
      case 'aux': return BigInt(this.aux);
      case 'rip': return this.rip;
      case 'nextRip': return this.nextRip;
      case 'target': return this.rip + BigInt(decoded.displacement);
    }
  }

  // ---- values -----------------------------------------------------------------------------------------------------------------

  private value(node: Node): bigint {
    const known = this.values.get(node.id);
    if (known !== undefined) return known;
    if (isImpure(node)) throw new Error(`node ${node.id} (${node.kind}) is used before its place`);
    return this.evaluate(node);
  }

  private evaluate(node: Node): bigint {
    const result = mask(node.width, this.compute(node));
    this.values.set(node.id, result);
    return result;
  }

  private compute(node: Node): bigint {
    switch (node.kind) {
      case 'const': return (BigInt(node.high) << 32n) | mask(32, BigInt(node.low));
      case 'fact': return this.fact(node.fact);
      case 'slot': return this.read(this.slot(node.slot) + node.at, node.width / 8);
      case 'slotAddress': return BigInt(this.slot(node.slot));
      case 'state': {
        const value = this.read(node.offset, node.bytes);
        return node.signed ? BigInt.asIntN(node.bytes * 8, value) : value;
      }
      case 'binary': return this.binary(node);
      case 'unary': return this.unary(node.op, this.value(node.a), node.a.width);
      case 'zeroExtend': case 'truncate': return this.value(node.a);
      case 'top': return mask(node.a.width, this.value(node.a)) << BigInt(64 - node.a.width);
      case 'condition': return this.value(node.generic);
      case 'signExtend': return BigInt.asIntN(node.a.width, this.value(node.a));
      case 'select': {
        const a = this.value(node.a);
        const b = this.value(node.b);
        return this.value(node.condition) !== 0n ? a : b;
      }
      case 'load': return this.read(this.pointer('slowRead', node.address, node.bytes), node.bytes);
      case 'modify': {
        const pointer = this.pointer('slowWrite', node.address, node.bytes);
        this.pointers.set(node.id, pointer);
        return this.read(pointer, node.bytes);
      }
      case 'segment': {
        const linear = this.call('segmentSlot', [BigInt(this.slot(node.segment)), this.value(node.offset), BigInt(node.bytes), node.write ? 1n : 0n]);
        this.stopOnFault();
        return linear;
      }
      case 'call': return this.call(node.helper, node.args.map(argument => this.value(argument)));
      case 'vector': return vectorOperation(node.code, node.args.map(argument => this.value(argument)), node.immediate ?? []);
    }
  }

  /** Shifts and rotations of less than 64 bits are those of 32-bit values. */
  private binary(node: Extract<Node, { kind: 'binary' }>): bigint {
    const a = this.value(node.a);
    const b = this.value(node.b);
    const width = node.a.width;
    const host = width === 64 ? 64 : 32;
    const count = b % BigInt(host);
    const signedA = BigInt.asIntN(width, a);
    const signedB = BigInt.asIntN(width, b);
    switch (node.op) {
      case 'add': return a + b;
      case 'sub': return a - b;
      case 'mul': return a * b;
      case 'and': return a & b;
      case 'or': return a | b;
      case 'xor': return a ^ b;
      case 'shl': return a << count;
      case 'shrU': return a >> count;
      case 'shrS': return signedA >> count;
      case 'rotl': return (a << count) | (a >> (BigInt(host) - count));
      case 'rotr': return (a >> count) | (a << (BigInt(host) - count));
      case 'divU': return a / b;
      case 'remU': return a % b;
      case 'divS': return signedA / signedB;
      case 'remS': return signedA % signedB;
      case 'eq': return a === b ? 1n : 0n;
      case 'ne': return a !== b ? 1n : 0n;
      case 'ltU': return a < b ? 1n : 0n;
      case 'leU': return a <= b ? 1n : 0n;
      case 'ltS': return signedA < signedB ? 1n : 0n;
      case 'leS': return signedA <= signedB ? 1n : 0n;
    }
  }

  private unary(op: 'clz' | 'ctz' | 'popcnt' | 'eqz', a: bigint, width: number): bigint {
    const digits = a.toString(2).padStart(width, '0');
    switch (op) {
      case 'eqz': return a === 0n ? 1n : 0n;
      case 'popcnt': return BigInt(digits.replaceAll('0', '').length);
      case 'clz': return BigInt(a === 0n ? width : digits.indexOf('1'));
      case 'ctz': return BigInt(a === 0n ? width : width - 1 - digits.lastIndexOf('1'));
    }
  }

  /** Host address of a memory operand by way of a slow path. */
  private pointer(helper: 'slowRead' | 'slowWrite' | 'slowStore', address: Node, bytes: number): number {
    const pointer = Number(this.call(helper, [this.value(address), BigInt(bytes)]));
    if (pointer === 0) throw unwind;
    return pointer;
  }

  private writeMemory(pointer: number, bytes: number, value: bigint): void {
    this.write(pointer, bytes, value);
    if (pointer === BOUNCE) this.call('commitWrite', []);
  }

  // ---- statements -------------------------------------------------------------------------------------------------------------

  private statements(list: readonly Statement[]): void {
    for (const statement of list) this.statement(statement);
  }

  private statement(statement: Statement): void {
    switch (statement.kind) {
      case 'let': this.evaluate(statement.node); break;
      case 'setSlot': {
        const at = this.slot(statement.slot);
        const value = this.value(statement.value);
        // 32 bits to a general register clear its upper half.
        this.write(at, statement.value.width === 32 && at < XMM ? 8 : statement.value.width / 8, value);
        break;
      }
      case 'setPart': this.write(this.slot(statement.slot) + statement.at, statement.value.width / 8, this.value(statement.value)); break;
      case 'setState': this.write(statement.offset, statement.bytes, this.value(statement.value)); break;
      case 'store': {
        const value = this.value(statement.value);
        this.writeMemory(this.pointer('slowStore', statement.address, statement.bytes), statement.bytes, value);
        break;
      }
      case 'commit': this.writeMemory(this.pointers.get(statement.modify.id)!, statement.value.width / 8, this.value(statement.value)); break;
      case 'when': this.statements(this.value(statement.condition) !== 0n ? statement.then : statement.otherwise); break;
      case 'raise':
        if (statement.error) this.call('raiseError', [BigInt(statement.vector), this.value(statement.error)]);
        else this.call('raise', [BigInt(statement.vector)]);
        throw unwind;
      case 'instruction': {
        this.write(RIP, 8, this.rip);
        this.write(NEXT_RIP, 8, this.nextRip);
        const status = Number(this.call(statement.helper, statement.args.map(argument => this.value(argument))));
        if (status !== STATUS.ok) throw new End(status);
        break;
      }
      case 'jump': this.jump(this.value(statement.target)); break;
      case 'branch': {
        const wrap = (BigInt(this.decoded.immediateHigh) << 32n) | mask(32, BigInt(this.decoded.immediateLow));
        this.jump((this.rip + BigInt(this.decoded.displacement)) & wrap);
        break;
      }
    }
  }

  private jump(target: bigint): never {
    this.write(RIP, 8, target);
    throw new End(STATUS.jump);
  }
}
