/** All rows of the MMX, SSE, x87 and related extensions. */
import type { RowSpec } from '../rows.ts';
import { sseIntegerRows } from './sse-integer.ts';
import { sseMoveRows } from './sse-moves.ts';
import { sseShuffleRows } from './sse-shuffle.ts';

export const simdRows: readonly RowSpec[] = [...sseMoveRows, ...sseIntegerRows, ...sseShuffleRows];
