/** `vanderpool console`: attaches this terminal to a VM's serial port, or prints what the port has shown. */
import { createClient } from '../contract/client.ts';
import type { Client } from '../contract/client.ts';
import type { ContractError } from '../contract/errors.ts';
import { CONSOLE_WRITE_BYTES } from '../contract/limits.ts';
import type { ConsoleEvent } from '../contract/streams.ts';
import { libraryFolder, reachEngine } from '../engine/connect.ts';
import { show } from './output.ts';
import { withEngine } from './session.ts';
import type { CommonOptions } from './session.ts';
import { badArgument, reportError, Status } from './status.ts';
import { Terminal, writeOutput } from './terminal.ts';

export interface ConsoleOptions extends CommonOptions {
  readonly history?: boolean;
  readonly port?: string;
}

export async function openConsole(reference: string, options: ConsoleOptions): Promise<number> {
  const port = parsePort(options.port ?? 'COM1');
  if (options.history !== true) return attach(reference, port, options);
  const history = await withEngine(options, (client) => client.call('console.history', { vm: reference, port }));
  if (options.json === true) show(history, true, () => '');
  else await new Promise((done) => process.stdout.write(history.data, done));
  return Status.ok;
}

async function attach(reference: string, port: number, options: ConsoleOptions): Promise<number> {
  const client = createClient(await reachEngine(libraryFolder(options.library)));
  try {
    const vm = await client.call('vm.get', { vm: reference });
    if (process.stderr.isTTY) process.stderr.write(`Attached to COM${port + 1} of "${vm.config.name}" (${vm.state}). Ctrl-A x detaches; the VM goes on.\n`);
    return await follow(client, vm.id, port, options.json === true);
  } finally {
    client.close();
  }
}

/** Until Ctrl-A x, the end of the VM's run, or the loss of the engine. */
function follow(client: Client, id: string, port: number, json: boolean): Promise<number> {
  return new Promise((resolve) => {
    const sender = createSender(client, id, port);
    const finish = (status: number): void => {
      subscription.close();
      terminal.stop();
      resolve(status);
    };
    const terminal = new Terminal({ send: sender, quit: () => finish(Status.ok), sendBreak: () => void client.call('console.break', { vm: id, port }).catch(() => undefined) });
    let ran = false;
    const subscription = client.subscribe('console', { vm: id, port }, {
      event: async (event) => {
        if (event.kind !== 'state') await write(event);
        if (event.kind === 'data') return;
        if (event.state === 'running') ran = true;
        if (event.kind === 'state' && ran && (event.state === 'stopped' || event.state === 'crashed')) finish(Status.ok);
        else if (event.kind === 'replay' && event.state !== 'stopped' && event.state !== 'crashed') ran = true;
      },
      end: (error: ContractError | null) => finish(error ? reportError(error, json) : Status.ok),
    });
    process.stdout.on('error', () => finish(Status.refused));
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => finish(Status.ok));
  });
}

function write(event: Exclude<ConsoleEvent, { kind: 'state' }>): Promise<void> {
  return new Promise((done) => {
    if (event.data.length === 0 || writeOutput(event.data, done)) done();
  });
}

/** One write at a time is on its way, so that bytes stay in order; meanwhile nothing more is taken. */
function createSender(client: Client, vm: string, port: number): (bytes: Uint8Array) => number {
  let busy = false;
  let owed = 0;
  return (bytes) => {
    if (busy) return 0;
    if (owed > 0) {
      const taken = owed;
      owed = 0;
      return taken;
    }
    busy = true;
    client.call('console.write', { vm, port, data: bytes.slice(0, CONSOLE_WRITE_BYTES) }).then(
      ({ taken }) => {
        owed = taken;
        busy = false;
      },
      () => {
        owed = bytes.length; // Nobody listens: what was typed is gone, as on a line without a peer.
        busy = false;
      },
    );
    return 0;
  };
}

function parsePort(text: string): number {
  if (!/^COM[1-4]$/i.test(text)) throw badArgument(`--port: "${text}" is no serial port.`, 'Ports are COM1 to COM4.');
  return Number(text.at(-1)) - 1;
}
