/**
 * How a program uses its values: what the emitter needs to know to evaluate each where it is used, or to keep it in a local.
 */
import type { Node, Program, Statement } from '../isa/ir.ts';
import { children, isImpure, operands } from '../isa/ir.ts';
import { STATE } from './layout.ts';
import type { IsKnown } from './target.ts';

const USES = new WeakMap<Program, ReadonlyMap<number, number>>();

/** How often each node of a program is used; counted once, as regions emit the same program again and again. */
export function usesOf(program: Program): ReadonlyMap<number, number> {
  const known = USES.get(program);
  if (known) return known;
  const uses = new Map<number, number>();
  count(program.statements, uses);
  USES.set(program, uses);
  return uses;
}

/** Counts, over whole statement lists, how often each node is used. */
export function count(statements: readonly Statement[], uses: Map<number, number>, known?: ReadonlyMap<number, number>): void {
  for (const statement of statements) {
    if (statement.kind === 'let') {
      // The `let` itself is no use; its operands are used when it is evaluated.
      if (!uses.has(-1 - statement.node.id)) {
        uses.set(-1 - statement.node.id, 1);
        countRoots(children(statement.node), uses, known);
      }
      continue;
    }
    countRoots(operands(statement), uses, known);
    if (statement.kind === 'when') {
      count(statement.then, uses, known);
      count(statement.otherwise, uses, known);
    }
  }
}

export function countRoots(roots: readonly Node[], uses: Map<number, number>, known?: ReadonlyMap<number, number>): void {
  for (const node of roots) {
    const before = uses.get(node.id) ?? 0;
    uses.set(node.id, before + 1);
    if (before === 0 && !known?.has(node.id) && !uses.has(-1 - node.id)) {
      uses.set(-1 - node.id, 1);
      countRoots(children(node), uses, known);
    }
  }
}

export function* nodesOf(statements: readonly Statement[], known: ReadonlyMap<number, number>): Generator<Node> {
  const seen = new Set<number>();
  const walk = function* (node: Node): Generator<Node> {
    if (seen.has(node.id) || known.has(node.id)) return;
    seen.add(node.id);
    for (const child of children(node)) yield* walk(child);
    yield node;
  };
  for (const statement of statements) {
    if (statement.kind === 'let') for (const child of children(statement.node)) yield* walk(child);
    else for (const node of operands(statement)) yield* walk(node);
    if (statement.kind === 'when') {
      yield* nodesOf(statement.then, known);
      yield* nodesOf(statement.otherwise, known);
    }
  }
}

/** Whether a node needs an impure value that has not been evaluated yet (one that belongs to the branch). */
export function dependsOnLater(node: Node, known: ReadonlyMap<number, number>): boolean {
  if (known.has(node.id)) return false;
  if (isImpure(node)) return true;
  return children(node).some(child => dependsOnLater(child, known));
}

/** Whether an effect may change what a register or state read yields. */
export function mayChange(statement: Statement, read: Node): boolean {
  switch (statement.kind) {
    case 'store': case 'commit': case 'raise': case 'jump': case 'branch': return false;
    case 'setState':
      if (read.kind === 'state') return read.offset < statement.offset + statement.bytes && statement.offset < read.offset + read.bytes;
      return false;
    case 'setSlot': case 'setPart':
      if (read.kind === 'slot') return true;
      return read.kind === 'state' && typeof statement.slot === 'number' && overlaps(statement.slot + STATE, read);
    default: return true;
  }
}

function overlaps(offset: number, read: Extract<Node, { kind: 'state' }>): boolean {
  return offset < read.offset + read.bytes && read.offset < offset + 16;
}

/** Whether a condition says that a field is not 0 which is known to be 1. */
export function alwaysTrue(condition: Node, isKnown: IsKnown | undefined): boolean {
  if (!isKnown || condition.kind !== 'binary' || condition.op !== 'ne' || condition.a.kind !== 'state') return false;
  return condition.b.kind === 'const' && condition.b.low === 0 && isKnown(condition.a.offset, 1);
}

/** Whether a condition says that something is above a field which is known to be as high as can be. */
export function neverTrue(condition: Node, isKnown: IsKnown | undefined): boolean {
  return isKnown !== undefined && condition.kind === 'binary' && condition.op === 'ltU' && condition.a.kind === 'state' && isKnown(condition.a.offset, -1);
}

/** Helpers for what hardly ever happens, which stand before an instruction changes anything. */
export function isRare(statement: Extract<Statement, { kind: 'instruction' }>): boolean {
  return statement.helper === 'checkCanonical';
}
