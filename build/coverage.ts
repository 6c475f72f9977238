/**
 * `node build/coverage.ts`: prints the instructions that the opcode rows define, by group, as a table in Markdown. With `--write` it also
 * replaces the table in docs/instructions.md.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { RowSpec } from '../core/isa/rows.ts';
import { arithmeticRows } from '../core/isa/table/arithmetic.ts';
import { bitRows } from '../core/isa/table/bits.ts';
import { controlRows } from '../core/isa/table/control.ts';
import { dataRows } from '../core/isa/table/data.ts';
import { rows } from '../core/isa/table/index.ts';
import { root } from './parts.mjs';

/** Groups of rows that need no feature, then features in the order of their appearance in processors. */
const BASE: readonly (readonly [string, readonly RowSpec[]])[] = [
  ['Integer arithmetic and logic', arithmeticRows], ['Shifts, rotates and bits', bitRows], ['Moves, stack and strings', dataRows],
  ['Control transfer, I/O and system', controlRows],
];
const FEATURE_TITLES: Readonly<Record<string, string>> = {
  fpu: 'x87', mmx: 'MMX', fxsr: 'FXSAVE', sse: 'SSE', sse2: 'SSE2', sse3: 'SSE3', ssse3: 'SSSE3', 'sse4.1': 'SSE4.1', 'sse4.2': 'SSE4.2', aes: 'AES',
  pclmulqdq: 'PCLMULQDQ', sha: 'SHA', xsave: 'XSAVE', bmi1: 'BMI1', bmi2: 'BMI2', popcnt: 'POPCNT', lzcnt: 'LZCNT', movbe: 'MOVBE', adx: 'ADX',
};
/** One row stands for all sixteen conditions. */
const CONDITIONAL: Readonly<Record<string, string>> = { J: 'Jcc', SET: 'SETcc', CMOV: 'CMOVcc' };

const START = '<!-- coverage: written by build/coverage.ts -->';
const END = '<!-- end of coverage -->';

interface Group {
  readonly title: string;
  readonly members: readonly { readonly name: string }[];
}

function groups(): Group[] {
  const base = BASE.map(([title, specs]) => ({ title, members: specs.filter(spec => spec.feature === undefined) }));
  const known = new Set(BASE.flatMap(([, specs]) => specs.map(spec => spec.define)));
  const others = rows.filter(row => row.feature === undefined && !known.has(row.define) && row.name !== 'UD');
  const features = [...new Set([...Object.keys(FEATURE_TITLES), ...rows.flatMap(row => row.feature ?? [])])];
  return [
    ...base, { title: 'Other', members: others },
    ...features.map(feature => ({ title: FEATURE_TITLES[feature] ?? feature.toUpperCase(), members: rows.filter(row => row.feature === feature) })),
  ].filter(group => group.members.length > 0);
}

function table(): string {
  const lines = ['| group | encodings | instructions |', '|---|---|---|'];
  for (const { title, members } of groups()) {
    const names = [...new Set(members.map(member => CONDITIONAL[member.name] ?? member.name))].sort();
    lines.push(`| ${title} | ${members.length} | ${names.join(', ')} |`);
  }
  return lines.join('\n');
}

const text = table();
console.log(text);
if (process.argv.includes('--write')) {
  const path = join(root, 'docs', 'instructions.md');
  const page = readFileSync(path, 'utf8');
  const from = page.indexOf(START);
  const to = page.indexOf(END);
  if (from < 0 || to < from) throw new Error(`${path} has no lines '${START}' and '${END}' for the table to go between.`);
  writeFileSync(path, `${page.slice(0, from + START.length)}\n${text}\n${page.slice(to)}`);
}
