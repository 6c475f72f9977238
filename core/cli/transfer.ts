/** Imports and exports by command: how far they are is shown where people look, and Ctrl-C gives them up. */
import type { Client } from '../contract/client.ts';
import { withEngine } from './session.ts';
import type { CommonOptions } from './session.ts';

/** @param path of the file, as the action names it. @throws ContractError `cancelled` after Ctrl-C, once nothing of it is left; a second Ctrl-C waits for nothing */
export function transferring<T>(options: CommonOptions, path: string, action: (client: Client) => Promise<T>): Promise<T> {
  return withEngine(options, async (client) => {
    const shown = process.stderr.isTTY && options.json !== true;
    const cancel = (): void => void client.call('transfer.cancel', { path }).catch(() => undefined);
    if (shown) await follow(client, path);
    process.once('SIGINT', cancel);
    try {
      return await action(client);
    } finally {
      process.off('SIGINT', cancel);
      if (shown) process.stderr.write('\r\x1b[K');
    }
  });
}

/** Done when it follows: nothing that begins then is missed. */
function follow(client: Client, path: string): Promise<void> {
  return new Promise((resolve) => client.subscribe('library', {}, {
    event: (event) => {
      if (event.kind === 'all') resolve();
      if (event.kind === 'transfer-progress' && event.path === path && event.total > 0) process.stderr.write(`\r${Math.floor((100 * event.done) / event.total)} %`);
    },
    end: () => resolve(),
  }));
}
