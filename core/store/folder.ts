/** The library's folder. */
import { existsSync, mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { ContractError } from '../contract/errors.ts';
import { unwritableBecause } from '../host/reasons.ts';

/**
 * Makes the folder and those above it, for this person alone. One by one: Node's recursive form never returns where a file system answers
 * a new folder with "no such file", as /proc does.
 * @throws ContractError `library-unusable`.
 */
export function makeLibraryFolder(folder: string): void {
  try {
    const missing: string[] = [];
    for (let path = folder; !existsSync(path); path = dirname(path)) missing.unshift(path);
    for (const path of missing) makeOne(path);
    if (!statSync(folder).isDirectory()) throw new Error('it is a file, not a folder');
  } catch (error) {
    throw new ContractError('library-unusable', `The library folder "${folder}" cannot be used: ${unwritableBecause(error)}.`, 'Choose a folder you may write to with --library.');
  }
}

/** Two commands may make it at once. */
function makeOne(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
  }
}
