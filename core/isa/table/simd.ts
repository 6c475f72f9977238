/** All rows of the MMX, SSE, x87 and related extensions. */
import type { RowSpec } from '../rows.ts';
import { sseMoveRows } from './sse-moves.ts';

export const simdRows: readonly RowSpec[] = [...sseMoveRows];
