/** What SQLite and the file system say of a library, as an error of the contract. Commands that find an engine load this and no database. */
import { ContractError } from '../contract/errors.ts';

const causes: Readonly<Record<string, string>> = {
  SQLITE_NOTADB: 'it is no database, or it is damaged',
  SQLITE_CORRUPT: 'it is damaged',
  SQLITE_READONLY: 'the folder or the file is read-only',
  SQLITE_CANTOPEN: 'it cannot be opened: the folder is read-only, or it is no file',
  SQLITE_FULL: 'the disk is full',
  SQLITE_IOERR: 'the disk reports errors',
};

/** Says which file, why, and what to do, for what SQLite reports. */
export function asLibraryError(error: unknown, path: string): ContractError {
  if (error instanceof ContractError) return error;
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  const known = Object.keys(causes).find((name) => code.startsWith(name));
  const reason = (known && causes[known]) ?? (error instanceof Error ? error.message : String(error));
  return new ContractError('library-unusable', `The library's database "${path}" cannot be used: ${reason}.`, adviceFor(code));
}

function adviceFor(code: string): string {
  if (code.startsWith('SQLITE_NOTADB') || code.startsWith('SQLITE_CORRUPT')) return 'Put a backup (library.db.backup-N) in its place, or choose another library folder.';
  if (code.startsWith('SQLITE_FULL')) return 'Free some space and try again; what was committed is safe.';
  return 'Check the permissions of the folder and the space on its disk, or choose another one with --library.';
}
