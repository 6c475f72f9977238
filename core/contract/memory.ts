/** Sizes of memory and disks as people write them: `512M`, `1G`, `1536M`. */
import { ContractError } from './errors.ts';
import { GIB, MEMORY_MAXIMUM, MEMORY_MINIMUM, MIB } from './limits.ts';

const units: Readonly<Record<string, number>> = { '': MIB, K: 1024, M: MIB, G: GIB, T: 1024 * GIB };

/**
 * Reads a guest memory size in bytes. A bare number counts mebibytes.
 * @throws ContractError `bad-field` on `memoryBytes` when it is no size, not a whole number of MiB, or outside the limits.
 */
export function parseMemory(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?$/i.exec(text.trim());
  const unit = units[(match?.[2] ?? '?').toUpperCase()];
  if (!match || unit === undefined) {
    throw memoryError(`"${text}" is not a memory size.`, 'Write a number with a unit, such as 512M or 1G.');
  }
  return checkMemory(Number(match[1]) * unit, text);
}

/** Refuses sizes outside the limits; `written` is what the person typed. */
export function checkMemory(bytes: number, written = formatMemory(bytes)): number {
  const range = `Choose from ${formatMemory(MEMORY_MINIMUM)} to ${formatMemory(MEMORY_MAXIMUM)}.`;
  if (bytes < MEMORY_MINIMUM) throw memoryError(`Guest memory of ${written} is too small.`, range);
  if (bytes > MEMORY_MAXIMUM) throw memoryError(`Guest memory of ${written} is more than the supported ${formatMemory(MEMORY_MAXIMUM)}.`, range);
  if (bytes % MIB !== 0) throw memoryError(`Guest memory of ${written} is not a whole number of MiB.`, 'Write it in M, such as 512M.');
  return bytes;
}

/** `536870912` becomes `512M`; whole gibibytes become `1G`. */
export function formatMemory(bytes: number): string {
  if (bytes >= GIB && bytes % GIB === 0) return `${bytes / GIB}G`;
  return bytes % MIB === 0 ? `${bytes / MIB}M` : `${(bytes / MIB).toFixed(1)}M`;
}

const diskUnits: Readonly<Record<string, number>> = { ...units, '': 1 };

/** The bytes of a disk's size: `20G`, `512M`; a bare number counts bytes. Null: it is no size. */
export function parseSize(text: string): number | null {
  const match = /^(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?$/i.exec(text.trim());
  const bytes = Number(match?.[1]) * (diskUnits[(match?.[2] ?? '').toUpperCase()] ?? Number.NaN);
  return Number.isSafeInteger(bytes) ? bytes : null;
}

/** `20G`, `1.5M`, `512 bytes`. */
export function formatSize(bytes: number): string {
  const unit = ['T', 'G', 'M', 'K'].find((name) => bytes >= (diskUnits[name] ?? 1)) ?? '';
  const count = bytes / (diskUnits[unit] ?? 1);
  return `${Number.isInteger(count) ? count : count.toFixed(1)}${unit === '' ? ' bytes' : unit}`;
}

function memoryError(message: string, hint: string): ContractError {
  return new ContractError('bad-field', message, hint, 'memoryBytes');
}
