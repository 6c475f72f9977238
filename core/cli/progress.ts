/** Commands that take long: how far they are is shown where people look, and Ctrl-C gives them up. */
import type { Client } from '../contract/client.ts';
import type { LibraryEvent } from '../contract/streams.ts';
import { showPercent } from './output.ts';
import { withEngine } from './session.ts';
import type { CommonOptions } from './session.ts';

interface Work {
  /** What an event of the library tells of it; null: nothing. */
  readonly progressOf: (event: LibraryEvent) => { readonly done: number; readonly total: number } | null;
  readonly cancel: () => Promise<unknown>;
}

/**
 * An import or export.
 * @param path of the file, as the action names it
 * @throws ContractError `cancelled` after Ctrl-C, once nothing of it is left; a second Ctrl-C waits for nothing
 */
export function transferring<T>(options: CommonOptions, path: string, action: (client: Client) => Promise<T>): Promise<T> {
  return withEngine(options, (client) => following(client, options, {
    progressOf: (event) => (event.kind === 'transfer-progress' && event.path === path ? event : null),
    cancel: () => client.call('transfer.cancel', { path }),
  }, () => action(client)));
}

/** The same of what makes a snapshot of a VM, or goes through all of its disks. */
export function saving<T>(options: CommonOptions, reference: string, action: (client: Client) => Promise<T>): Promise<T> {
  return withEngine(options, async (client) => {
    const { id } = await client.call('vm.get', { vm: reference });
    return following(client, options, {
      progressOf: (event) => (event.kind === 'snapshot-progress' && event.vmId === id ? event : null),
      cancel: () => client.call('snapshot.cancel', { vm: id }),
    }, () => action(client));
  });
}

async function following<T>(client: Client, options: CommonOptions, work: Work, action: () => Promise<T>): Promise<T> {
  const shown = process.stderr.isTTY && options.json !== true;
  const cancel = (): void => void work.cancel().catch(() => undefined);
  if (shown) await follow(client, work);
  process.once('SIGINT', cancel);
  try {
    return await action();
  } finally {
    process.off('SIGINT', cancel);
    if (shown) process.stderr.write('\r\x1b[K');
  }
}

/** Done when it follows: nothing that begins then is missed. */
function follow(client: Client, { progressOf }: Work): Promise<void> {
  return new Promise((resolve) => client.subscribe('library', {}, {
    event: (event) => {
      if (event.kind === 'all') resolve();
      const progress = progressOf(event);
      if (progress && progress.total > 0) showPercent(progress.done, progress.total);
    },
    end: () => resolve(),
  }));
}
