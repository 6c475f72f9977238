/** The engine in a utility process of Electron: `engine.js FOLDER`. The same engine as everywhere, with another way to start VMs. */
import { asContractError } from '../core/contract/index.ts';
import { Engine } from '../core/engine/engine.ts';
import { machineModuleUrl } from '../core/machine/entries.ts';
import { openParentPort } from '../core/machine/parent.ts';
import type { ParentPort } from '../core/machine/parent.ts';
import type { EngineNews } from './engine-messages.ts';
import { createVmLauncher } from './vm-launcher.ts';

async function main(parent: ParentPort, folder: string): Promise<void> {
  const greet = (news: EngineNews): void => parent.send(news);
  try {
    const engine = new Engine({ folder, launch: createVmLauncher(parent), machineModule: machineModuleUrl(), stopped: () => process.exit(0) });
    await engine.open();
    greet({ type: 'ready' });
  } catch (thrown) {
    console.error(new Date().toISOString(), thrown);
    greet({ type: 'failed', error: asContractError(thrown).toShape() });
    process.exitCode = 1;
    setTimeout(() => process.exit(), 200);
  }
}

const parent = openParentPort();
const folder = process.argv[2];
if (parent && folder !== undefined) void main(parent, folder);
else {
  console.error('This program is started by the Vanderpool window.');
  process.exitCode = 125;
}
