/** The one shape of every error a person can cause, on every side of the contract. */
import type * as z from 'zod';

/** Codes are stable: scripts and the GUI decide by them, people read `message` and `hint`. */
export const errorCodes = [
  'bad-request', 'bad-field', 'unknown-operation', 'not-found', 'name-taken', 'wrong-state', 'bad-image', 'file-unreadable', 'image-in-use',
  'device-taken', 'device-missing',
  'library-unusable', 'library-locked', 'library-newer', 'engine-unreachable', 'engine-stopping', 'vm-crashed', 'disk-full', 'cancelled', 'snapshot-damaged', 'forbidden', 'internal',
] as const;

export type ErrorCode = (typeof errorCodes)[number];

/** The plain object that travels; its schema is in errorShape.ts, for this file is also where no schema is: in the core thread. */
export interface ErrorShape {
  readonly code: ErrorCode;
  /** What is wrong, and where. */
  readonly message: string;
  /** What to do about it. */
  readonly hint: string;
  /** Path of the input field at fault, such as `memoryBytes` or `boot.kernel`. */
  readonly field?: string | undefined;
}

/** An error of the contract; everything else that is thrown is a defect and travels as `internal`. */
export class ContractError extends Error {
  readonly code: ErrorCode;
  readonly hint: string;
  readonly field: string | undefined;

  constructor(code: ErrorCode, message: string, hint: string, field?: string) {
    super(message);
    this.name = 'ContractError';
    this.code = code;
    this.hint = hint;
    this.field = field;
  }

  toShape(): ErrorShape {
    const shape = { code: this.code, message: this.message, hint: this.hint };
    return this.field === undefined ? shape : { ...shape, field: this.field };
  }

  static fromShape(shape: ErrorShape): ContractError {
    return new ContractError(shape.code, shape.message, shape.hint, shape.field);
  }
}

/** Turns anything thrown into a contract error. What is not one already becomes `internal`, with its message and no stack. */
export function asContractError(thrown: unknown): ContractError {
  if (thrown instanceof ContractError) return thrown;
  if (isZodError(thrown)) return fromZod(thrown);
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new ContractError('internal', message || 'Something failed without saying why.', 'This is a defect of Vanderpool; the engine log has more.');
}

/** By its name, so that nothing of the schemas is loaded for it. */
function isZodError(thrown: unknown): thrown is z.ZodError {
  return thrown instanceof Error && thrown.name === 'ZodError' && 'issues' in thrown;
}

/** Names the first field that a schema refused. */
export function fromZod(error: z.ZodError): ContractError {
  const issue = error.issues[0];
  const field = issue?.path.map(String).join('.') ?? '';
  const reason = issue?.message ?? 'the value is not valid';
  if (field === '') return new ContractError('bad-request', `The request is not valid: ${reason}.`, 'Check the arguments against the documentation.');
  return new ContractError('bad-field', `${field}: ${reason}.`, `Correct ${field} and try again.`, field);
}

/** Parses with a schema and throws a `ContractError` that names the field at fault. */
export function parseWith<T extends z.ZodType>(schema: T, value: unknown): z.output<T> {
  const result = schema.safeParse(value);
  if (!result.success) throw fromZod(result.error);
  return result.data;
}
