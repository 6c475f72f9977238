/** Forms by their names (hot.ts, cold.ts): their programs and their numbers. */
import type { Program } from '../../isa/ir.ts';
import type { Form } from '../../isa/values.ts';
import { Ops } from '../../isa/ops.ts';
import { withPrechecks } from '../../isa/prechecks.ts';
import { operandKinds } from '../../isa/rows.ts';
import type { Row } from '../../isa/rows.ts';
import { rows } from '../../isa/table/index.ts';
import { OP_FIRST } from '../record.ts';

/** Cases of the interpreter's switch by the form's name, and indexes of the table of other forms, the first of which is `first`. */
export function numberForms(hot: readonly (readonly string[])[], cold: readonly string[], first: number): ReadonlyMap<string, number> {
  const numbers = new Map<string, number>();
  for (const list of hot) for (const [index, name] of list.entries()) numbers.set(name, OP_FIRST + index);
  for (const [index, name] of cold.entries()) numbers.set(name, first + index);
  return numbers;
}

/** @throws Error when a name is of no row, or of several that differ */
export function programsOf(names: readonly string[]): Program[] {
  const byName = Map.groupBy(rows, row => `${row.opcode} ${row.operands || '-'}`);
  return names.map(name => programOf(name, byName));
}

/** Parses a name made by `formName`. */
function programOf(name: string, byName: ReadonlyMap<string, readonly Row[]>): Program {
  const match = /^(16|32|64) (.+) (\S+) (16|32|64) (r|m:(full|base|rip)(16|32|64))( rep([12]))?( w)?$/.exec(name);
  const [row, ...others] = (match && byName.get(`${match[2]} ${match[3]}`)) ?? [];
  if (!match || !row) throw new Error(`form '${name}' names no row`);
  // Those of one `+r` opcode are alike.
  if (others.some(other => other.define !== row.define || other.flags !== row.flags)) throw new Error(`form '${name}' names several rows`);
  const codeSize = Number(match[1]) as 16 | 32 | 64;
  const memory = match[5] !== 'r';
  const mode = codeSize === 64 ? 'long' : 'legacy';
  const opSize = Number(match[4]) as 16 | 32 | 64;
  const rexW = match[10] !== undefined;
  const form: Form = {
    operands: operandKinds(row, { opSize, rexW, memory, mode }), opSize, addressSize: memory ? Number(match[7]) as 16 | 32 | 64 : codeSize,
    memory, mode, codeSize, repeat: Number(match[9] ?? 0) as 0 | 1 | 2, addressing: (match[6] ?? 'full') as Form['addressing'], rexW,
  };
  return Ops.build(form, withPrechecks(row));
}
