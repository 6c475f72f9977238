/** Exit statuses of the command line, and how failures are shown. */
import { asContractError, ContractError } from '../contract/errors.ts';
import type { ErrorCode } from '../contract/errors.ts';

export const Status = {
  ok: 0,
  /** The engine refused: no such VM, wrong state, name taken. */
  refused: 1,
  timeout: 124,
  /** A bad argument, image or file; nothing was started. */
  badArgument: 125,
  tripleFault: 126,
} as const;

const badArgumentCodes: readonly ErrorCode[] = ['bad-request', 'bad-field', 'bad-image', 'file-unreadable', 'image-in-use'];

/** The options that set fields of a configuration, where they are not named alike. */
const options: Readonly<Record<string, string>> = { memoryBytes: 'memory', cpuModel: 'cpu', disks: 'disk', networks: 'net', shares: 'share', boot: 'kernel', iommu: 'machine' };

/** A configuration's field that the contract refuses is an option here; the rest stays as it is. */
export function inOptions(error: ContractError): ContractError {
  const [, field, part] = /^(?:(?:config|changes)\.)?(([A-Za-z]+)[\w.]*)$/.exec(error.field ?? '') ?? [];
  const said = error.message.startsWith(`${error.field ?? ''}: `) ? error.message.slice((error.field ?? '').length + 2) : null;
  if (error.code !== 'bad-field' || field === undefined || part === undefined || said === null) return error;
  return new ContractError(error.code, `${part === 'name' || part === 'tags' ? part : `--${options[part] ?? part}`}: ${said}`, '', error.field);
}

/** Prints an error for a person, or as JSON, on standard error and returns the exit status. No stack: it helps nobody here. */
export function reportError(thrown: unknown, json: boolean): number {
  const error = asContractError(thrown);
  if (json) process.stderr.write(`${JSON.stringify({ error: error.toShape() })}\n`);
  else process.stderr.write(`vanderpool: ${error.message}\n${error.hint === '' ? '' : `  ${error.hint}\n`}`);
  return badArgumentCodes.includes(error.code) ? Status.badArgument : Status.refused;
}

/** Without a hint of its own it points to the help of the command that was given. */
export function badArgument(message: string, hint = ''): ContractError {
  return new ContractError('bad-request', message, hint);
}
