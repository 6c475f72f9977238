/**
 * The intermediate representation that instruction definitions build: value nodes (a graph, each node evaluated once) and an ordered
 * list of statements (everything with an effect). Emitters (interpreter, regions) and the reference evaluator all start from it.
 *
 * Widths: 1 (a truth value, 0 or 1), 8, 16 and 32 are carried in a wasm i32, 64 in an i64, 128 in a v128. Values of width 8 and 16 may
 * carry garbage above their width (`clean` false); consumers that care ask for a clean one.
 */

export type Width = 1 | 8 | 16 | 32 | 64 | 128;

export type BinaryOp =
  | 'add' | 'sub' | 'mul' | 'and' | 'or' | 'xor' | 'shl' | 'shrU' | 'shrS' | 'rotl' | 'rotr'
  | 'divU' | 'remU' | 'divS' | 'remS'
  | 'eq' | 'ne' | 'ltU' | 'ltS' | 'leU' | 'leS';
export type UnaryOp = 'clz' | 'ctz' | 'popcnt' | 'eqz';

/** A register operand: a field of the predecoded record (interpreter) or a constant (regions). Numbers are offsets from STATE. */
export type Slot = 'G' | 'E' | 'base' | 'index' | 'segment' | 'V' | number;

/** Instruction facts that are fixed per form or per instruction, readable as values. */
export type Fact = 'immediate' | 'displacement' | 'scale' | 'length' | 'rip' | 'nextRip' | 'target' | 'aux';

export type NodeKind =
  | { readonly kind: 'const'; readonly low: number; readonly high: number }
  | { readonly kind: 'fact'; readonly fact: Fact }
  /** `at`: byte offset in the register, for parts of vector registers. */
  | { readonly kind: 'slot'; readonly slot: Slot; readonly at: number }
  | { readonly kind: 'slotAddress'; readonly slot: Slot }
  | { readonly kind: 'state'; readonly offset: number; readonly signed: boolean; readonly bytes: 1 | 2 | 4 | 8 | 16 }
  | { readonly kind: 'binary'; readonly op: BinaryOp; readonly a: Node; readonly b: Node }
  | { readonly kind: 'unary'; readonly op: UnaryOp; readonly a: Node }
  | { readonly kind: 'zeroExtend'; readonly a: Node }
  | { readonly kind: 'signExtend'; readonly a: Node }
  | { readonly kind: 'truncate'; readonly a: Node }
  /** The bits of `a` at the top of 64 bits, zeroes below. */
  | { readonly kind: 'top'; readonly a: Node }
  /** A condition code (SDM 2, B.1.4.7) of the status flags, for whoever knows where the flags are from; `generic` for all others. */
  | { readonly kind: 'condition'; readonly code: number; readonly generic: Node }
  | { readonly kind: 'select'; readonly condition: Node; readonly a: Node; readonly b: Node }
  /** Linear address of `offset` in the segment of the record's segment slot or of a fixed segment; no check. */
  | { readonly kind: 'load'; readonly address: Node; readonly bytes: number }
  | { readonly kind: 'segment'; readonly segment: Slot; readonly offset: Node; readonly bytes: number; readonly write: boolean }
  /** Old value of a read-modify-write; the host pointer is kept for the matching commit. */
  | { readonly kind: 'modify'; readonly address: Node; readonly bytes: number }
  | { readonly kind: 'call'; readonly helper: string; readonly args: readonly Node[] }
  /** Vector operations: `code` is the wasm SIMD opcode, `immediate` lane or shuffle bytes. */
  | { readonly kind: 'vector'; readonly code: number; readonly args: readonly Node[]; readonly immediate?: readonly number[] };

export type Node = NodeKind & {
  readonly id: number;
  readonly width: Width;
  /** Whether bits above the width are known to be zero. */
  readonly clean: boolean;
};

export type V = Node;

export type Statement =
  /** An impure value (register, state or memory read, helper call): its place in the order of effects. */
  | { readonly kind: 'let'; readonly node: Node }
  | { readonly kind: 'setSlot'; readonly slot: Slot; readonly value: Node }
  /** Writes just the value's bytes, `at` bytes into the register: parts of vector registers. */
  | { readonly kind: 'setPart'; readonly slot: Slot; readonly at: number; readonly value: Node }
  | { readonly kind: 'setState'; readonly offset: number; readonly bytes: 1 | 2 | 4 | 8 | 16; readonly value: Node }
  | { readonly kind: 'store'; readonly address: Node; readonly bytes: number; readonly value: Node }
  | { readonly kind: 'commit'; readonly modify: Node; readonly value: Node }
  | { readonly kind: 'when'; readonly condition: Node; readonly then: readonly Statement[]; readonly otherwise: readonly Statement[] }
  | { readonly kind: 'raise'; readonly vector: number; readonly error: Node | null }
  /** Calls a helper that returns a STATUS; OK goes on with the next statement. */
  | { readonly kind: 'instruction'; readonly helper: string; readonly args: readonly Node[] }
  /** Goes to an absolute RIP (already wrapped to the operand size and checked). Ends the instruction. */
  | { readonly kind: 'jump'; readonly target: Node }
  /** Goes to the instruction's own direct target. Ends the instruction. */
  | { readonly kind: 'branch' };

export interface Program {
  readonly statements: readonly Statement[];
  readonly nodes: number;
}

/** Children of a node, in evaluation order. */
export function children(node: Node): readonly Node[] {
  switch (node.kind) {
    case 'const': case 'fact': case 'slot': case 'slotAddress': case 'state': return [];
    case 'binary': return [node.a, node.b];
    case 'unary': case 'zeroExtend': case 'signExtend': case 'truncate': case 'top': return [node.a];
    case 'condition': return [node.generic];
    case 'select': return [node.a, node.b, node.condition];
    case 'load': case 'modify': return [node.address];
    case 'segment': return [node.offset];
    case 'call': case 'vector': return node.args;
  }
}

/** Nodes that a statement evaluates itself (not those inside its nested statements). */
export function operands(statement: Statement): readonly Node[] {
  switch (statement.kind) {
    case 'let': return [statement.node];
    case 'setSlot': case 'setPart': case 'setState': return [statement.value];
    case 'store': return [statement.address, statement.value];
    case 'commit': return [statement.modify, statement.value];
    case 'when': return [statement.condition];
    case 'raise': return statement.error ? [statement.error] : [];
    case 'instruction': return statement.args;
    case 'jump': return [statement.target];
    case 'branch': return [];
  }
}

/** Impure nodes depend on the order of effects; they appear in a `let`. */
export function isImpure(node: Node): boolean {
  switch (node.kind) {
    case 'slot': case 'state': case 'load': case 'segment': case 'modify': case 'call': return true;
    default: return false;
  }
}
