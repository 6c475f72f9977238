/** `vanderpool engine ...` and `vanderpool serve`. */
import { hostname, userInfo } from 'node:os';
import { createClient } from '../contract/client.ts';
import { ContractError } from '../contract/errors.ts';
import { connectEngine, findEngine, libraryFolder } from '../engine/connect.ts';
import { wholeNumber } from './machine-options.ts';
import { list, show, time } from './output.ts';
import type { CommonOptions } from './session.ts';
import { badArgument, reportError, Status } from './status.ts';

/** Looks without starting one: an engine that does not run is an answer. */
export async function engineStatus(options: CommonOptions): Promise<number> {
  const folder = libraryFolder(options.library);
  const transport = await findEngine(folder);
  if (!transport) {
    show({ running: false, library: folder }, options.json === true, () => `No engine runs for the library "${folder}".`);
    return Status.ok;
  }
  const client = createClient(transport);
  try {
    const status = await client.call('engine.status', {});
    show(status, options.json === true, ({ version, processId, library, startedAt, running, vms, server }) => list([
      ['Library', library], ['Version', version], ['Process', String(processId)], ['Started', time(startedAt)],
      ['VMs', `${vms}, ${running} running`], ['Server', server.url ?? 'off'],
    ]));
    return Status.ok;
  } finally {
    client.close();
  }
}

export async function stopEngine(options: CommonOptions & { readonly force?: boolean; readonly suspend?: boolean }): Promise<number> {
  const folder = libraryFolder(options.library);
  const transport = await findEngine(folder);
  if (transport) {
    const client = createClient(transport);
    try {
      const gone = new Promise<void>((resolve) => client.onClose(resolve));
      await client.call('engine.stop', { force: options.force === true, suspend: options.suspend === true });
      await gone;
    } finally {
      client.close();
    }
  }
  show({ stopped: transport !== null, library: folder }, options.json === true, () => (transport ? 'The engine has stopped.' : `No engine runs for the library "${folder}".`));
  return Status.ok;
}

/** Who sits at another machine needs a way to this one's loopback. */
function tunnelFor(url: string): string[] {
  const { port } = new URL(url);
  return process.env['SSH_CONNECTION'] === undefined ? [] : [`To open it where you sit, run there: ssh -N -L ${port}:127.0.0.1:${port} ${userInfo().username}@${hostname()}`];
}

/** Serves the interface until Ctrl-C. The engine and its VMs go on. */
export async function serve(options: CommonOptions & { readonly port?: string }): Promise<number> {
  const port = options.port === undefined ? 0 : wholeNumber('--port', options.port);
  if (port > 65535) throw badArgument(`--port: ${port} is no port.`, 'Ports are 1 to 65535; 0 is the one of the last time, where it is free.');
  const client = await connectEngine(libraryFolder(options.library));
  const ended = new Promise<number>((resolve) => {
    client.onClose(() => resolve(reportError(new ContractError('engine-unreachable', 'The engine has stopped.', 'Start it again with `vanderpool serve`.'), options.json === true)));
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => resolve(Status.ok));
  });
  try {
    const info = await client.call('server.start', { port });
    show(info, options.json === true, ({ url }) => [
      `Vanderpool is at ${url}`, ...(url === null ? [] : tunnelFor(url)),
      "The address holds this run's token: whoever has it can use your VMs. Ctrl-C ends the server; running VMs go on.",
    ].join('\n'));
    const status = await ended;
    if (status === Status.ok) await client.call('server.stop', {});
    return status;
  } finally {
    client.close();
  }
}
