/** Two writers would destroy an image: a lock on each open image, which the operating system gives back when its holder dies. */
import { mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import type Database from 'better-sqlite3';
import { ContractError } from '../contract/errors.ts';
import { unwritableBecause } from '../host/reasons.ts';

export interface ImageLock {
  release(): void;
  /** The holder writes no more: others may read beside it. */
  share(): void;
}

/** Read-only holders share an image with one another; a writer has it alone. */
export type LockMode = 'shared' | 'exclusive';

/**
 * Locks a file by what it is, not by its name: hard links and symbolic links meet the same lock. As the library's lock it is a
 * transaction on a small database of its own, because SQLite knows each system's file locks.
 * @param identity of the file, made of characters that file names may have
 * @throws ContractError `image-in-use`
 */
export function lockImage(path: string, identity: string, mode: LockMode): ImageLock {
  const folder = join(tmpdir(), `vanderpool-locks-${userInfo().username.replaceAll(/[^\w-]/g, '_')}`);
  let database: Database.Database | undefined;
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    // A machine without disks starts sooner when it does not load SQLite.
    const Sqlite = createRequire(import.meta.url)('better-sqlite3') as typeof Database;
    database = new Sqlite(join(folder, identity), { timeout: 0 });
    database.pragma('journal_mode = MEMORY');
    database.exec(mode === 'exclusive' ? 'BEGIN EXCLUSIVE' : 'BEGIN');
    // A transaction takes its shared lock when it first reads.
    if (mode === 'shared') database.prepare('SELECT count(*) FROM sqlite_master').get();
    const held = database;
    const share = (): void => {
      held.exec('COMMIT');
      held.exec('BEGIN');
      held.prepare('SELECT count(*) FROM sqlite_master').get();
    };
    return { release: () => held.close(), share };
  } catch (error) {
    database?.close();
    if (error instanceof Error && 'code' in error && String(error.code).startsWith('SQLITE_BUSY')) throw inUse(path, mode);
    throw new ContractError('image-in-use', `The disk image "${path}" cannot be locked in "${folder}": ${unwritableBecause(error)}.`, 'Make that folder writable for yourself.');
  }
}

function inUse(path: string, mode: LockMode): ContractError {
  const message = `The disk image "${path}" is in use${mode === 'shared' ? ' by a VM that writes to it' : ''}.`;
  return new ContractError('image-in-use', message, 'Stop the VM that uses it, or give this one a copy.');
}
