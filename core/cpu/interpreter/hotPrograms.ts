/** Turns names of forms (hot.ts) back into programs and numbers them. */
import type { Program } from '../../isa/ir.ts';
import type { Form } from '../../isa/values.ts';
import { Ops } from '../../isa/ops.ts';
import { withPrechecks } from '../../isa/prechecks.ts';
import { operandKinds } from '../../isa/rows.ts';
import type { Row } from '../../isa/rows.ts';
import { rows } from '../../isa/table/index.ts';
import { OP_FIRST } from '../record.ts';

export interface HotPrograms {
  readonly long: readonly { readonly program: Program }[];
  readonly legacy: readonly { readonly program: Program }[];
  /** Case of the switch by the form's name. */
  readonly operations: ReadonlyMap<string, number>;
}

export function hotPrograms(names: { readonly long: readonly string[]; readonly legacy: readonly string[] }): HotPrograms {
  const byName = new Map<string, Row>();
  for (const row of rows) {
    const key = `${row.opcode} ${row.operands || '-'}`;
    if (!byName.has(key)) byName.set(key, row);
  }
  const operations = new Map<string, number>();
  const build = (list: readonly string[]): { program: Program }[] => {
    const programs: { program: Program }[] = [];
    for (const name of list) {
      operations.set(name, OP_FIRST + programs.length);
      programs.push({ program: programOf(name, byName) });
    }
    return programs;
  };
  return { long: build(names.long), legacy: build(names.legacy), operations };
}

/** Parses a name made by `formName`. */
function programOf(name: string, byName: ReadonlyMap<string, Row>): Program {
  const match = /^(16|32|64) (.+) (\S+) (16|32|64) (r|m:(full|base|rip)(16|32|64))( rep([12]))?( w)?$/.exec(name);
  const row = match && byName.get(`${match[2]} ${match[3]}`);
  if (!match || !row) throw new Error(`hot form '${name}' names no row`);
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
