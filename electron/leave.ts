/** What happens when the person leaves: closing the window stops no VM; quitting asks while some run. */
import { dialog } from 'electron';
import { createClient } from '../core/contract/index.ts';
import type { Client, Transport } from '../core/contract/index.ts';

export type Leaving = 'stay' | 'background' | 'suspend' | 'quit';

/** Asks what becomes of running VMs. */
export async function askLeaving(running: number): Promise<Leaving> {
  if (running === 0) return 'quit';
  const answers: readonly Leaving[] = ['background', 'suspend', 'quit', 'stay'];
  const { response } = await dialog.showMessageBox({
    type: 'question',
    title: 'Vanderpool',
    message: running === 1 ? 'A machine is running.' : `${running} machines are running.`,
    detail: 'They can go on in the background: open Vanderpool again to see them. Suspended, they are saved and go on where they were when they are resumed. Stopping pulls their plugs: what they have not written to disk is lost.',
    buttons: ['Keep running', 'Suspend and quit', 'Stop and quit', 'Cancel'],
    defaultId: 0,
    cancelId: 3,
    noLink: true,
  });
  return answers[response] ?? 'stay';
}

/** VMs that run in the library; 0 when no engine answers. */
export async function countRunning(open: () => Promise<Transport | null>): Promise<number> {
  return withClient(open, async (client) => (await client.call('engine.status', {})).running, 0);
}

/** Stops the engine and what it runs, suspending it first when `suspend` is set. False when a machine could not be suspended: nothing was stopped then. */
export async function stopEngine(open: () => Promise<Transport | null>, suspend: boolean): Promise<boolean> {
  return withClient(open, async (client) => {
    await client.call('engine.stop', { force: !suspend, suspend });
    return true;
  }, false);
}

/** Says that the window stays, and why. */
export async function tellUnsuspended(): Promise<void> {
  await dialog.showMessageBox({
    type: 'warning', title: 'Vanderpool', message: 'A machine could not be suspended.', detail: 'Nothing was stopped. Its own window says why when you suspend it there.', buttons: ['Close'],
  });
}

async function withClient<T>(open: () => Promise<Transport | null>, use: (client: Client) => Promise<T>, otherwise: T): Promise<T> {
  const transport = await open().catch(() => null);
  if (!transport) return otherwise;
  const client = createClient(transport);
  try {
    return await use(client);
  } catch {
    return otherwise;
  } finally {
    client.close();
  }
}
