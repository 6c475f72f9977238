/** Changes of the library's database: each is on the disk as a whole when it is done, or not at all. */
import type Database from 'better-sqlite3';
import { asLibraryError } from './libraryError.ts';
import type { Reserve } from './reserve.ts';

export class Transactions {
  readonly #sqlite: Database.Database;
  readonly #path: string;
  readonly #reserve: Reserve;

  /** @param path of the database, for messages */
  constructor(sqlite: Database.Database, path: string, reserve: Reserve) {
    this.#sqlite = sqlite;
    this.#path = path;
    this.#reserve = reserve;
  }

  /** Within another transaction, a part of that. @throws ContractError */
  write<T>(action: () => T): T {
    if (this.#sqlite.inTransaction) return action();
    return this.guard(() => this.#sqlite.transaction(action).immediate());
  }

  /** The same for what makes room in the end: where there is none left, the reserve is spent on it, unless it is a part of another transaction. @throws ContractError */
  giveUp<T>(action: () => T): T {
    if (this.#sqlite.inTransaction) return action();
    try {
      return this.#sqlite.transaction(action).immediate();
    } catch (error) {
      if (!isFull(error) || !this.#reserve.spend()) throw asLibraryError(error, this.#path);
      return this.write(action);
    }
  }

  /** @throws ContractError for what SQLite says */
  guard<T>(action: () => T): T {
    try {
      return action();
    } catch (error) {
      throw asLibraryError(error, this.#path);
    }
  }
}

/** Whether there is no room: the database or its log cannot grow, or the memory that readers of the log share. */
export function isFull(error: unknown): boolean {
  return error instanceof Error && 'code' in error && /^SQLITE_(FULL|IOERR_(WRITE|SHM))/.test(String(error.code));
}
