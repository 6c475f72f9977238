/** Finds the engine of a library, or starts one in the background. */
import { fork } from 'node:child_process';
import { closeSync, existsSync, openSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createClient } from '../contract/client.ts';
import type { Client } from '../contract/client.ts';
import { ContractError } from '../contract/errors.ts';
import type { Transport } from '../contract/wire.ts';
import { entryUrl } from '../machine/entries.ts';
import { asLibraryError } from '../store/libraryError.ts';
import { makeLibraryFolder } from '../store/folder.ts';
import type { EngineGreeting } from './main.ts';
import { dial, socketPath } from './socket.ts';

/** Starts an engine and returns when it is ready. @throws ContractError, the engine's own words. */
export type EngineLauncher = (folder: string) => Promise<void>;

const ATTEMPTS = 60;
const ATTEMPT_MS = 50;

/** The library's folder: the one named, VANDERPOOL_HOME, or the platform's place for a person's data. */
export function libraryFolder(named: string | undefined): string {
  const fromEnvironment = process.env['VANDERPOOL_HOME'];
  if (named !== undefined) return resolve(named);
  if (fromEnvironment) return resolve(fromEnvironment);
  if (process.platform === 'win32') return join(process.env['LOCALAPPDATA'] ?? homedir(), 'Vanderpool');
  if (process.platform === 'darwin') return join(homedir(), 'Library/Application Support/Vanderpool');
  return join(process.env['XDG_DATA_HOME'] ?? join(homedir(), '.local/share'), 'vanderpool');
}

/** A connection to the engine that runs on this library; null when none does. */
export async function findEngine(folder: string): Promise<Transport | null> {
  return existsSync(folder) ? dial(socketPath(folder)) : null;
}

/** A connection to the library's engine, which is started when none runs. */
export async function reachEngine(folder: string, launch: EngineLauncher = launchEngine): Promise<Transport> {
  const running = await findEngine(folder);
  if (running) return running;
  try {
    await launch(folder);
  } catch (error) {
    // Somebody else's start was quicker: theirs will answer.
    if (!(error instanceof ContractError) || error.code !== 'library-locked') throw error;
  }
  for (let left = ATTEMPTS; left > 0; left -= 1) {
    const started = await findEngine(folder);
    if (started) return started;
    await new Promise((wait) => setTimeout(wait, ATTEMPT_MS));
  }
  throw new ContractError('engine-unreachable', `The engine of "${folder}" holds its library and does not answer.`, 'End its process and try again; engine.log in that folder may say more.');
}

export async function connectEngine(folder: string, launch?: EngineLauncher): Promise<Client> {
  return createClient(await reachEngine(folder, launch));
}

/** Starts the engine as a process of its own, which outlives this one and its terminal. */
export const launchEngine: EngineLauncher = (folder) => {
  let log: number;
  try {
    makeLibraryFolder(folder);
    log = openSync(join(folder, 'engine.log'), 'a', 0o600);
  } catch (error) {
    return Promise.reject(asLibraryError(error, folder));
  }
  const child = fork(fileURLToPath(entryUrl('engine')), [folder], { detached: true, execArgv: [], stdio: ['ignore', log, log, 'ipc'], cwd: folder });
  closeSync(log);
  return new Promise((done, reject) => {
    child.once('message', (greeting: EngineGreeting) => {
      if (greeting.type === 'ready') done();
      else reject(ContractError.fromShape(greeting.error));
      if (child.connected) child.disconnect();
      child.unref();
    });
    child.once('error', (error) => reject(unstartable(error.message)));
    child.once('exit', (code, signal) => reject(unstartable(`it ended with ${signal ?? `status ${code}`}; see ${join(folder, 'engine.log')}`)));
  });
};

function unstartable(reason: string): ContractError {
  return new ContractError('engine-unreachable', `The engine could not be started: ${reason}.`, 'Try again; if it stays so, look into engine.log in the library folder.');
}
