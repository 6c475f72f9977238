/** All rows. */
import type { Row, RowSpec } from '../rows.ts';
import { parseRows, row } from '../rows.ts';
import { arithmeticRows } from './arithmetic.ts';
import { bitRows } from './bits.ts';
import { controlRows } from './control.ts';
import { dataRows } from './data.ts';
import { saveRows } from './save.ts';
import { simdRows } from './simd.ts';
import { x87Rows } from './x87.ts';

/** What undefined encodings decode to. */
const invalidSpec: RowSpec = row('0F 0A', 'UD', '', 'ends', o => o.raise(6));

export const rows: readonly Row[] = parseRows([...arithmeticRows, ...bitRows, ...dataRows, ...controlRows, ...simdRows, ...x87Rows, ...saveRows, invalidSpec]);
export const invalidRow: Row = rows[rows.length - 1]!;
