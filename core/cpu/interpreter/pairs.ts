/**
 * Pairs of forms that often follow each other. One case of the interpreter's switch carries out both, which saves a dispatch: an indirect jump
 * that cold code mispredicts once in three.
 *
 * The record of the first instruction names the pair; that of the second stays as it is, for whoever comes to it otherwise. So nothing else
 * of the interpreter knows of pairs: positions, counts and faults are those of the two records.
 */
import type { Program, Statement } from '../../isa/ir.ts';
import { isImpure } from '../../isa/ir.ts';
import { OP_FIRST } from '../record.ts';
import { nodesOf } from '../programUses.ts';

/** Between the names of the two forms. */
const AND = ' + ';
/** Numbers of hot forms are below. */
export const HOT_NUMBERS = 256;

/** The names of a pair's forms. */
export function membersOf(pair: string): readonly [first: string, second: string] {
  const [first, second] = pair.split(AND);
  if (first === undefined || second === undefined) throw new Error(`'${pair}' names no pair of forms`);
  return [first, second];
}

export function pairName(first: string, second: string): string {
  return first + AND + second;
}

/** Whether something can follow in the same case: control may go on behind the instruction, and no helper carries it out. */
export function canBeFirst(program: Program): boolean {
  const helped = (statement: Statement): boolean => statement.kind === 'instruction'
    || (statement.kind === 'when' && (statement.then.some(helped) || statement.otherwise.some(helped)));
  return !program.statements.some(statement => helped(statement) || statement.kind === 'jump' || statement.kind === 'branch');
}

/** Whether what a program does may change or drop decoded code: it reaches memory, or calls a helper. */
export function reachesMemory(program: Program): boolean {
  const reaches = (statement: Statement): boolean => statement.kind === 'store' || statement.kind === 'commit'
    || (statement.kind === 'when' && (statement.then.some(reaches) || statement.otherwise.some(reaches)));
  return program.statements.some(reaches) || [...nodesOf(program.statements, new Map())].some(isImpure);
}

/** Numbers of the pairs of one of the interpreters, and of their first forms. */
export class PairNumbers {
  private readonly byMembers = new Uint16Array(HOT_NUMBERS * HOT_NUMBERS);
  private readonly firsts: readonly number[];
  private readonly start: number;

  /** @param numbers of forms (namedForms.ts); `hot`: how many of them are cases of this interpreter's switch, behind which the pairs come */
  constructor(numbers: ReadonlyMap<string, number>, hot: number, pairs: readonly string[]) {
    this.start = OP_FIRST + hot;
    if (this.start > HOT_NUMBERS) throw new Error(`${hot} hot forms are too many`);
    this.firsts = pairs.map((pair, index) => {
      const [first, second] = membersOf(pair).map(name => numbers.get(name) ?? HOT_NUMBERS) as [number, number];
      if (first >= HOT_NUMBERS || second >= HOT_NUMBERS) throw new Error(`'${pair}' names a form that is not hot`);
      this.byMembers[first * HOT_NUMBERS + second] = this.start + index;
      return first;
    });
  }

  /** The number of the pair of two operations, 0 when it is none. */
  of(first: number, second: number): number {
    return first < HOT_NUMBERS && second < HOT_NUMBERS ? this.byMembers[first * HOT_NUMBERS + second]! : 0;
  }

  /** The operation of an instruction alone, whose record may name a pair. */
  single(operation: number): number {
    return this.firsts[operation - this.start] ?? operation;
  }
}
