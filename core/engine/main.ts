/** The engine process: `engine.js FOLDER`. Tells its parent, when it has one, whether it is ready, and then lives by itself. */
import { surviveFileSizeLimit } from '../block/room.ts';
import { asContractError } from '../contract/errors.ts';
import type { ErrorShape } from '../contract/errors.ts';
import { machineModuleUrl } from '../machine/entries.ts';
import { openParentPort } from '../machine/parent.ts';
import { Engine } from './engine.ts';
import { forkVmProcess } from './vm-process.ts';

export type EngineGreeting = { readonly type: 'ready' } | { readonly type: 'failed'; readonly error: ErrorShape };

/** The next command starts another engine in a quarter of a second: waiting longer for it is not worth the memory. */
const IDLE_MS = 10 * 60_000;

const parent = openParentPort();
const greet = (greeting: EngineGreeting): void => parent?.send(greeting);

async function main(): Promise<void> {
  const folder = process.argv[2];
  if (folder === undefined) throw new Error('The engine needs the folder of its library.');
  const engine = new Engine({ folder, launch: forkVmProcess, machineModule: machineModuleUrl(), idleMs: IDLE_MS, stopped: () => process.exit(0) });
  await engine.open();
  surviveFileSizeLimit();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => void engine.leave().finally(() => process.exit(0)));
  process.on('SIGHUP', () => undefined); // The terminal that it was started from may close.
  greet({ type: 'ready' });
  parent?.close();
}

main().catch((thrown: unknown) => {
  const error = asContractError(thrown);
  console.error(new Date().toISOString(), thrown);
  greet({ type: 'failed', error: error.toShape() });
  process.exitCode = 1;
  parent?.close();
});
