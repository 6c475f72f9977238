/** All rows of the MMX, SSE, x87, BMI and related extensions. */
import type { RowSpec } from '../rows.ts';
import { bmiRows } from './bmi.ts';
import { cryptoRows } from './crypto.ts';
import { extendedStateRows } from './extended-state.ts';
import { sseFloatRows } from './sse-float.ts';
import { sseIntegerRows } from './sse-integer.ts';
import { sseMoveRows } from './sse-moves.ts';
import { sseShuffleRows } from './sse-shuffle.ts';
import { x87Rows } from './x87.ts';

export const simdRows: readonly RowSpec[] = [
  ...sseMoveRows, ...sseIntegerRows, ...sseShuffleRows, ...sseFloatRows, ...cryptoRows, ...x87Rows, ...extendedStateRows, ...bmiRows,
];
