/** A command's connection to the engine of its library. */
import type { Command } from 'commander';
import type { Client } from '../contract/client.ts';

export interface CommonOptions {
  readonly library?: string;
  readonly json?: boolean;
}

export function addCommonOptions(command: Command): Command {
  return command
    .option('--library <folder>', 'library folder (default: VANDERPOOL_HOME, or the place for your data)')
    .option('--json', 'print the answer, or the error, as JSON');
}

/** Connects, starting the engine when none runs; hangs up when the action is done. */
export async function withEngine<T>(options: CommonOptions, action: (client: Client) => Promise<T>): Promise<T> {
  // `run` needs no engine, and is spared all that is said to one.
  const { connectEngine, libraryFolder } = await import('../engine/connect.ts');
  const client = await connectEngine(libraryFolder(options.library));
  try {
    return await action(client);
  } finally {
    client.close();
  }
}
