/** A recording of VM exits: a SQLite database, or a file with one JSON object a line. It ends before it is larger than its limit. */
import { closeSync, openSync, writeSync } from 'node:fs';
import Database from 'better-sqlite3';
import type { ExitRecord } from '../contract/exits.ts';
import { formatMemory } from '../contract/memory.ts';

export interface ExitFile {
  /** Adds exits, and how many were lost before them; false when the limit was reached and the recording is over. */
  add(exits: readonly ExitRecord[], lost: number): boolean;
  readonly recorded: number;
  /** Exits that came too fast. */
  readonly missing: number;
  readonly bytes: number;
  /** The limit was reached. */
  readonly full: boolean;
  /** What was recorded, in a sentence. */
  describe(): string;
  close(): void;
}

/** Where exits are written to; `size` is that of the file in bytes. */
interface Sink {
  /** Writes as many as there is room for, and says how many. */
  write(exits: readonly ExitRecord[]): number;
  size(): number;
  close(): void;
}

const SQLITE_NAME = /\.(db|sqlite|sqlite3)$/i;
const PAGE_BYTES = 4096;
/** What one exit can add to a database: its row's pages, and pages of both trees that split. */
const PAGES_OF_AN_EXIT = 16;

const SCHEMA = `
  CREATE TABLE exits (
    sequence INTEGER PRIMARY KEY, at REAL NOT NULL, ns REAL, vcpu INTEGER NOT NULL, level INTEGER NOT NULL, reason INTEGER NOT NULL,
    name TEXT NOT NULL, summary TEXT NOT NULL, rip TEXT NOT NULL, qualification TEXT NOT NULL, vmcs TEXT NOT NULL, registers TEXT NOT NULL
  ) STRICT;
  CREATE INDEX exits_by_reason ON exits (reason, at);`;

/** @throws Error of the system when the file exists or cannot be written */
export function openExitFile(path: string, limitBytes: number): ExitFile {
  const sink = SQLITE_NAME.test(path) ? openDatabase(path, limitBytes) : openLines(path, limitBytes);
  let recorded = 0;
  let missing = 0;
  let bytes = sink.size();
  let full = false;
  return {
    add(exits, lost) {
      if (full) return false;
      missing += lost;
      const written = sink.write(exits);
      recorded += written;
      bytes = sink.size();
      full = written < exits.length;
      return !full;
    },
    get recorded() { return recorded; },
    get missing() { return missing; },
    get bytes() { return bytes; },
    get full() { return full; },
    describe: () => `Recorded ${recorded} exits in "${path}"${missing > 0 ? `; ${missing} came too fast and are not in it` : ''}${full ? `; it ended at its limit of ${formatMemory(limitBytes)}` : ''}.`,
    close: () => sink.close(),
  };
}

function openDatabase(path: string, limitBytes: number): Sink {
  closeSync(openSync(path, 'wx'));
  const database = new Database(path);
  // A recording that a crash cuts short is worth little; its speed is worth more than its last second.
  database.pragma('synchronous = OFF');
  database.pragma(`page_size = ${PAGE_BYTES}`);
  database.exec(SCHEMA);
  const insert = database.prepare('INSERT OR IGNORE INTO exits VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)');
  const pages = database.prepare('PRAGMA page_count').pluck();
  const size = (): number => Number(pages.get()) * PAGE_BYTES;
  const write = database.transaction((exits: readonly ExitRecord[]): number => {
    for (const [index, exit] of exits.entries()) {
      if (size() + PAGES_OF_AN_EXIT * PAGE_BYTES > limitBytes) return index;
      insert.run(exit.sequence, exit.at, exit.ns, exit.vcpu, exit.level, exit.reason, exit.name, exit.summary, exit.rip, exit.qualification, JSON.stringify(object(exit.vmcs)), JSON.stringify(object(exit.registers)));
    }
    return exits.length;
  });
  return { write, size, close: () => void database.close() };
}

function openLines(path: string, limitBytes: number): Sink {
  const file = openSync(path, 'wx');
  let size = 0;
  return {
    write(exits) {
      const lines: Buffer[] = [];
      for (const { vmcs, registers, fields, ...exit } of exits) {
        const line = Buffer.from(`${JSON.stringify({ ...exit, fields: object(fields), vmcs: object(vmcs), registers: object(registers) })}\n`);
        if (size + line.length > limitBytes) break;
        size += line.length;
        lines.push(line);
      }
      writeAll(file, Buffer.concat(lines));
      return lines.length;
    },
    size: () => size,
    close: () => closeSync(file),
  };
}

/** One write may take less than it was given. */
function writeAll(file: number, bytes: Buffer): void {
  for (let done = 0; done < bytes.length;) done += writeSync(file, bytes, done);
}

function object(values: readonly { readonly name: string; readonly value: string }[]): Record<string, string> {
  return Object.fromEntries(values.map(({ name, value }) => [name, value]));
}
