/** All rows. */
import type { Row, RowSpec } from '../rows.ts';
import { parseRows, row } from '../rows.ts';
import { arithmeticRows } from './arithmetic.ts';
import { bitRows } from './bits.ts';
import { controlRows } from './control.ts';
import { dataRows } from './data.ts';
import { simdRows } from './simd.ts';
import { vmxRows } from './vmx.ts';

/** What undefined encodings decode to. */
const invalidSpec: RowSpec = row('0F 0A', 'UD', '', 'ends', o => o.raise(6));

export const rows: readonly Row[] = parseRows([...arithmeticRows, ...bitRows, ...dataRows, ...controlRows, ...simdRows, ...vmxRows, invalidSpec]);
export const invalidRow: Row = rows[rows.length - 1]!;

/** The rows of a processor with these CPUID features; without a list, all. What is left out decodes as it did before it existed. */
export function rowsOf(features: ReadonlySet<string> | undefined): readonly Row[] {
  return features ? rows.filter(({ feature }) => feature === undefined || features.has(feature)) : rows;
}
