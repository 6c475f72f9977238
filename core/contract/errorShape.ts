/** The schema of an error that travels. */
import * as z from 'zod';
import { errorCodes } from './errors.ts';
import type { ErrorShape } from './errors.ts';

export const errorShape = z.strictObject({ code: z.enum(errorCodes), message: z.string().min(1), hint: z.string(), field: z.string().optional() }) satisfies z.ZodType<ErrorShape>;
