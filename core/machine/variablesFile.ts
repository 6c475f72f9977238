/** The file in a VM's folder that keeps its UEFI variables: what its firmware starts, among others. */
import { readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fitsFlash } from '../devices/flash.ts';

export function variablesPath(folder: string): string {
  return join(folder, 'uefi-variables.fd');
}

/** What a VM has that is off; null: its firmware has not written any, or what is there is none. */
export function readVariables(folder: string): Uint8Array<ArrayBuffer> | null {
  try {
    const path = variablesPath(folder);
    return fitsFlash({ length: statSync(path).size }) ? Uint8Array.from(readFileSync(path)) : null;
  } catch {
    return null;
  }
}

/** Whole or not at all, whatever happens meanwhile. @throws Error of the disk */
export function replaceVariables(path: string, data: Uint8Array): void {
  const part = `${path}.part`;
  writeFileSync(part, data, { mode: 0o600, flush: true });
  renameSync(part, path);
}
