/** Folders that are one person's alone, in places that are everybody's. */
import { lstatSync, mkdirSync } from 'node:fs';

/** Makes a folder that nobody else may enter. False: it is there already, and others own it or could reach into it. */
export function makeOwnFolder(path: string): boolean {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  const found = lstatSync(path);
  return found.isDirectory() && (process.getuid === undefined || (found.uid === process.getuid() && (found.mode & 0o077) === 0));
}
