/** Where the ports of a switch find each other: a folder for its owner alone, with a socket for each port. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ContractError } from '../contract/errors.ts';
import { makeOwnFolder } from '../host/ownFolder.ts';

/** Makes the folder of a switch. @throws ContractError when others could reach into it */
export function switchFolder(name: string): string {
  const uid = process.getuid?.() ?? 0;
  const runtime = process.env['VANDERPOOL_RUNTIME'] ?? process.env['XDG_RUNTIME_DIR'];
  const base = runtime === undefined ? join(tmpdir(), `vanderpool-${uid}`) : join(runtime, 'vanderpool');
  if (!makeOwnFolder(base)) {
    throw new ContractError('bad-field', `The folder of switches, ${base}, is not yours alone.`, 'Remove it, or name another one in VANDERPOOL_RUNTIME.', 'switchName');
  }
  const folder = join(base, 'switches', name);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  return folder;
}

/** The socket of a port, and the entry in the folder that tells of it: the same file where sockets are files. */
export function endpointOf(folder: string, id: string): { readonly path: string; readonly mark: string } {
  const mark = join(folder, id);
  return { mark, path: process.platform === 'win32' ? `\\\\.\\pipe\\vanderpool-switch-${id}` : mark };
}

export function markEndpoint(folder: string, id: string): void {
  if (process.platform === 'win32') writeFileSync(join(folder, id), '');
}
