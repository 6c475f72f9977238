/** An engine in the test's own process, on a library of its own, with the machine double behind its VM processes. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createClient } from '../../core/contract/index.ts';
import type { Client, ConsoleEvent, VmState } from '../../core/contract/index.ts';
import { Engine } from '../../core/engine/engine.ts';
import { dial, socketPath } from '../../core/engine/socket.ts';
import { forkVmProcess } from '../../core/engine/vm-process.ts';
import { machineDouble } from './command-line.ts';

export interface TestEngine {
  readonly folder: string;
  readonly engine: Engine;
  readonly client: Client;
  /** Another client over the socket. */
  connect(): Promise<Client>;
  /** Ends the engine and begins a new one on the same library. */
  restart(): Promise<TestEngine>;
  end(): Promise<void>;
}

export async function startTestEngine(folder = mkdtempSync(join(tmpdir(), 'vanderpool-engine-')), machineModule = machineDouble): Promise<TestEngine> {
  const engine = new Engine({ folder, launch: forkVmProcess, machineModule, stopped: () => undefined });
  await engine.open();
  const connect = async (): Promise<Client> => {
    const transport = await dial(socketPath(folder));
    if (!transport) throw new Error('the engine does not listen');
    return createClient(transport);
  };
  return {
    folder, engine, client: await connect(), connect,
    restart: async () => {
      await engine.close();
      return startTestEngine(folder, machineModule);
    },
    end: async () => {
      await engine.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Looks again until there is something: what is undefined, null or false is not there yet. */
export async function until<T>(look: () => Promise<T | undefined | null | false> | T | undefined | null | false, what: string, milliseconds = 60_000): Promise<T> {
  const end = performance.now() + milliseconds;
  while (performance.now() < end) {
    const found = await look();
    if (found !== undefined && found !== null && found !== false) return found;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`never happened: ${what}`);
}

export function untilState(client: Client, vm: string, state: VmState): Promise<true> {
  return until(async () => (await client.call('vm.get', { vm })).state === state || undefined, `${vm} is ${state}`);
}

export async function history(client: Client, vm: string, port = 0): Promise<string> {
  return Buffer.from((await client.call('console.history', { vm, port })).data).toString('latin1');
}

export function untilShown(client: Client, vm: string, text: string): Promise<true> {
  return until(async () => (await history(client, vm)).includes(text) || undefined, `the console shows ${text}`);
}

export async function type(client: Client, vm: string, text: string): Promise<void> {
  for (let rest = Buffer.from(text); rest.length > 0;) {
    const { taken } = await client.call('console.write', { vm, port: 0, data: new Uint8Array(rest) });
    rest = rest.subarray(taken);
  }
}

/** The text of a console event. */
export function textOf(event: ConsoleEvent): string {
  return event.kind === 'state' ? '' : Buffer.from(event.data).toString('latin1');
}
