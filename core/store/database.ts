/** Opens a library's database: checks its version, backs it up and migrates it, or refuses it untouched. */
import { existsSync, openSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import Database from 'better-sqlite3';
import { Kysely, SqliteDialect } from 'kysely';
import { ContractError } from '../contract/errors.ts';
import { diskFiles } from '../snapshot/files.ts';
import { asLibraryError } from './libraryError.ts';
import { Reserve } from './reserve.ts';
import { isFull, Transactions } from './transactions.ts';
import { migrations, newestVersion } from './migrations.ts';
import type { Migration } from './migrations.ts';
import type { Tables } from './tables.ts';

export type Sqlite = Database.Database;

export const DATABASE_FILE = 'library.db';

export interface OpenedDatabase {
  readonly sqlite: Sqlite;
  readonly tables: Kysely<Tables>;
  readonly transactions: Transactions;
  readonly reserve: Reserve;
  close(): Promise<void>;
}

/**
 * Opens `library.db` in a folder, creating or migrating it.
 * @throws ContractError `library-newer` (nothing was touched) or `library-unusable`.
 */
export function openDatabase(folder: string, history: readonly Migration[] = migrations): OpenedDatabase {
  const path = join(folder, DATABASE_FILE);
  const newest = history.at(-1)?.version ?? newestVersion;
  const reserve = new Reserve(folder);
  const open = (): OpenedDatabase => {
    refuseNewer(path, newest);
    const sqlite = new Database(path);
    try {
      sqlite.pragma('journal_mode = WAL');
      // A committed change is on the disk, not in a cache, when the answer goes out.
      sqlite.pragma('synchronous = FULL');
      sqlite.pragma('foreign_keys = ON');
      migrate(sqlite, path, history);
      const tables = new Kysely<Tables>({ dialect: new SqliteDialect({ database: sqlite }) });
      const close = async (): Promise<void> => {
        await tables.destroy();
        sqlite.close(); // Kysely closes only what it has used.
      };
      reserve.renew();
      return { sqlite, tables, transactions: new Transactions(sqlite, path, reserve), reserve, close };
    } catch (error) {
      sqlite.close();
      throw error;
    }
  };
  try {
    return open();
  } catch (error) {
    if (!isFull(error) || !reserve.spend()) throw asLibraryError(error, path);
  }
  try {
    return open();
  } catch (error) {
    throw asLibraryError(error, path);
  }
}

/** Looks at the version through a read-only connection, so that a newer database stays as it is, byte for byte. */
function refuseNewer(path: string, newest: number): void {
  if (!existsSync(path)) return;
  const reader = new Database(path, { readonly: true });
  let version: number;
  try {
    version = userVersion(reader);
  } finally {
    reader.close();
  }
  if (version <= newest) return;
  throw new ContractError(
    'library-newer',
    `The library's database "${path}" has version ${version}; this Vanderpool knows versions up to ${newest}.`,
    'Use the newer Vanderpool that wrote it, or choose another library folder. Nothing was changed.',
  );
}

function migrate(sqlite: Sqlite, path: string, history: readonly Migration[]): void {
  const version = userVersion(sqlite);
  const due = history.filter((migration) => migration.version > version);
  if (due.length === 0) return;
  if (version > 0) backUp(sqlite, `${path}.backup-${version}`);
  sqlite.transaction(() => {
    for (const migration of due) {
      for (const statement of migration.statements) sqlite.exec(statement);
      sqlite.pragma(`user_version = ${migration.version}`);
    }
    const broken = sqlite.pragma('foreign_key_check') as unknown[];
    if (broken.length > 0) throw new Error(`${broken.length} rows refer to rows that are not there`);
  }).exclusive();
}

/** A whole copy beside the database, complete and on the disk before it takes its name. */
function backUp(sqlite: Sqlite, target: string): void {
  const part = `${target}.part`;
  rmSync(part, { force: true });
  sqlite.prepare('VACUUM INTO ?').run(part);
  const copy = openSync(part, 'r+');
  diskFiles.sync(copy);
  diskFiles.close(copy);
  diskFiles.rename(part, target);
  diskFiles.syncFolder(dirname(target));
}

function userVersion(sqlite: Sqlite): number {
  return Number(sqlite.pragma('user_version', { simple: true }));
}
