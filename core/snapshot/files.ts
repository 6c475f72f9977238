/** The few file operations that snapshots are made of, behind an interface: tests put a failing disk there. */
import { closeSync, fsyncSync, openSync, readSync, renameSync, rmSync, writeSync } from 'node:fs';

/** What a writer of segments does to a disk. Every method may throw what Node's file functions throw. */
export interface SegmentFiles {
  /** Makes a new file for writing; it must not exist. Returns its handle. */
  create(path: string): number;
  write(handle: number, bytes: Uint8Array): void;
  /** Done when the file's content is on the disk. */
  sync(handle: number): void;
  close(handle: number): void;
  rename(from: string, to: string): void;
  /** Done when the names in the folder are on the disk. */
  syncFolder(path: string): void;
  remove(path: string): void;
}

export const diskFiles: SegmentFiles = {
  create: (path) => openSync(path, 'wx', 0o600),
  write: (handle, bytes) => {
    for (let at = 0; at < bytes.length;) at += writeSync(handle, bytes, at);
  },
  sync: (handle) => fsyncSync(handle),
  close: (handle) => closeSync(handle),
  rename: (from, to) => renameSync(from, to),
  syncFolder: (path) => {
    // Windows has no handle of a folder; its file systems order the names themselves.
    if (process.platform === 'win32') return;
    const folder = openSync(path, 'r');
    try {
      fsyncSync(folder);
    } finally {
      closeSync(folder);
    }
  },
  remove: (path) => rmSync(path, { force: true }),
};

/** Reads exactly `length` bytes at `position`. @throws Error when the file is shorter. */
export function readExactly(handle: number, position: number, length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length;) {
    const count = readSync(handle, bytes, at, length - at, position + at);
    if (count === 0) throw new Error('the file is cut short');
    at += count;
  }
  return bytes;
}
