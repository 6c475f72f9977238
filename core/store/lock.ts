/** One engine a library: a lock that the operating system gives back when its holder dies, however it dies. */
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { ContractError } from '../contract/errors.ts';
import { asLibraryError } from './libraryError.ts';

export const LOCK_FILE = 'engine.lock';

export interface LibraryLock {
  release(): void;
}

/**
 * Takes the library's lock: an exclusive transaction that is never committed, on a small database of its own. SQLite holds it through
 * the system's file locks, on every platform.
 * @throws ContractError `library-locked` when another engine has it, `library-unusable` when the folder cannot be written to.
 */
export function lockLibrary(folder: string): LibraryLock {
  const path = join(folder, LOCK_FILE);
  let database: Database.Database | undefined;
  try {
    database = new Database(path, { timeout: 0 });
    // No journal file: this database never holds anything.
    database.pragma('journal_mode = MEMORY');
    database.exec('BEGIN EXCLUSIVE');
    const held = database;
    return { release: () => held.close() };
  } catch (error) {
    database?.close();
    if (error instanceof Error && 'code' in error && String(error.code).startsWith('SQLITE_BUSY')) {
      throw new ContractError('library-locked', `Another engine runs on the library "${folder}".`, 'Use it, or stop it with `vanderpool engine stop`.');
    }
    throw asLibraryError(error, path);
  }
}
