/** What happens when the person leaves: closing the window stops no VM; quitting does as was chosen, or asks while some run. */
import { dialog } from 'electron';
import { createClient } from '../core/contract/index.ts';
import type { Client, Settings, Transport } from '../core/contract/index.ts';

export type Leaving = 'stay' | 'background' | 'suspend' | 'quit';

/** What decides over leaving. */
export interface Stay {
  /** VMs that run in the library. */
  readonly running: number;
  readonly quitting: Settings['quitting'];
}

const nothingRuns: Stay = { running: 0, quitting: 'ask' };

/** What becomes of running VMs: as the settings have it, or else as the person answers. @param remember is told of an answer that is to hold from now on */
export async function askLeaving({ running, quitting }: Stay, remember: (quitting: Settings['quitting']) => void): Promise<Leaving> {
  if (running === 0) return 'quit';
  if (quitting !== 'ask') return quitting;
  const answers: readonly Leaving[] = ['background', 'suspend', 'quit', 'stay'];
  const { response, checkboxChecked } = await dialog.showMessageBox({
    type: 'question',
    title: 'Vanderpool',
    message: running === 1 ? 'A machine is running.' : `${running} machines are running.`,
    detail: 'They can go on in the background: open Vanderpool again to see them. Suspended, they are saved and go on where they were when they are resumed. Stopping pulls their plugs: what they have not written to disk is lost.',
    buttons: ['Keep running', 'Suspend and quit', 'Stop and quit', 'Cancel'],
    checkboxLabel: 'Do not ask again',
    defaultId: 0,
    cancelId: 3,
    noLink: true,
  });
  const answer = answers[response] ?? 'stay';
  // Whoever pulls plugs is asked every time.
  if (checkboxChecked && (answer === 'background' || answer === 'suspend')) remember(answer);
  return answer;
}

/** What an engine says of its library; nothing runs when none answers. */
export async function whatRuns(open: () => Promise<Transport | null>): Promise<Stay> {
  return withClient(open, async (client) => {
    const [{ running }, { quitting }] = await Promise.all([client.call('engine.status', {}), client.call('settings.get', {})]);
    return { running, quitting };
  }, nothingRuns);
}

export async function rememberLeaving(open: () => Promise<Transport | null>, quitting: Settings['quitting']): Promise<void> {
  await withClient(open, async (client) => void (await client.call('settings.set', { changes: { quitting } })), undefined);
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
