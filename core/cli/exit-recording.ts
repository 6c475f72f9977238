/** A recording of VM exits: a SQLite database, or a file with one JSON object a line; it ends before it is larger than its limit. */
import { closeSync, openSync, statSync, writeSync } from 'node:fs';
import Database from 'better-sqlite3';
import type { ExitRecord } from '../contract/exits.ts';
import { formatMemory } from '../contract/memory.ts';
import { badArgument } from './status.ts';

export interface Recording {
  /** Adds exits, and how many were lost before them; false when the limit was reached and the recording is over. */
  add(exits: readonly ExitRecord[], lost: number): boolean;
  /** What was recorded, in a sentence. */
  describe(): string;
  close(): void;
}

/** Where exits are written to; `size` is that of the file in bytes. */
interface Sink {
  write(exits: readonly ExitRecord[]): void;
  size(): number;
  close(): void;
}

const SQLITE_NAME = /\.(db|sqlite|sqlite3)$/i;

const SCHEMA = `
  CREATE TABLE exits (
    sequence INTEGER PRIMARY KEY, at REAL NOT NULL, ns REAL, vcpu INTEGER NOT NULL, level INTEGER NOT NULL, reason INTEGER NOT NULL,
    name TEXT NOT NULL, summary TEXT NOT NULL, rip TEXT NOT NULL, qualification TEXT NOT NULL, vmcs TEXT NOT NULL, registers TEXT NOT NULL
  ) STRICT;
  CREATE INDEX exits_by_reason ON exits (reason, at);`;

/** @throws ContractError when the file exists or cannot be written */
export function openRecording(path: string, limitBytes: number): Recording {
  let sink: Sink;
  try {
    sink = SQLITE_NAME.test(path) ? openDatabase(path) : openLines(path);
  } catch (error) {
    throw badArgument(`--record: "${path}" cannot be written: ${error instanceof Error ? error.message : String(error)}.`, 'Name a file that does not exist yet, in a folder you may write to.');
  }
  let recorded = 0;
  let missing = 0;
  let full = false;
  return {
    add(exits, lost) {
      missing += lost;
      if (!full) {
        sink.write(exits);
        recorded += exits.length;
        full = sink.size() >= limitBytes;
      }
      return !full;
    },
    describe: () => `Recorded ${recorded} exits in "${path}"${missing > 0 ? `; ${missing} came too fast and are not in it` : ''}${full ? `; it ended at its limit of ${formatMemory(limitBytes)}` : ''}.`,
    close: () => sink.close(),
  };
}

function openDatabase(path: string): Sink {
  closeSync(openSync(path, 'wx'));
  const database = new Database(path);
  // A recording that a crash cuts short is worth little; its speed is worth more than its last second.
  database.pragma('synchronous = OFF');
  database.exec(SCHEMA);
  const insert = database.prepare('INSERT OR IGNORE INTO exits VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)');
  const write = database.transaction((exits: readonly ExitRecord[]) => {
    for (const exit of exits) {
      insert.run(exit.sequence, exit.at, exit.ns, exit.vcpu, exit.level, exit.reason, exit.name, exit.summary, exit.rip, exit.qualification, JSON.stringify(object(exit.vmcs)), JSON.stringify(object(exit.registers)));
    }
  });
  return { write, size: () => statSync(path).size, close: () => void database.close() };
}

function openLines(path: string): Sink {
  const file = openSync(path, 'wx');
  let size = 0;
  return {
    write(exits) {
      if (exits.length === 0) return;
      const lines = exits.map(({ vmcs, registers, fields, ...exit }) => JSON.stringify({ ...exit, fields: object(fields), vmcs: object(vmcs), registers: object(registers) }));
      size += writeSync(file, `${lines.join('\n')}\n`);
    },
    size: () => size,
    close: () => closeSync(file),
  };
}

function object(values: readonly { readonly name: string; readonly value: string }[]): Record<string, string> {
  return Object.fromEntries(values.map(({ name, value }) => [name, value]));
}
