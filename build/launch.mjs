/** What `npm run vanderpool` runs: the command line from dist/, built first when its sources are newer. Plain JavaScript, so it starts at once. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import * as modules from 'node:module';
import { join } from 'node:path';
import { root, staleParts } from './parts.mjs';

const NODE_MINIMUM = 24;

if (Number(process.versions.node.split('.')[0]) < NODE_MINIMUM) runOnOurNode();
else await start();

async function start() {
  const needed = process.argv[2] === 'serve' ? ['core', 'wasm', 'renderer'] : ['core', 'wasm'];
  const stale = staleParts(needed);
  if (stale.length > 0) {
    const built = spawnSync(process.execPath, [join(root, 'build/build.ts'), ...stale], { stdio: ['ignore', 'ignore', 'inherit'] });
    if (built.status !== 0) {
      process.stderr.write('vanderpool: the build failed; what it said is above.\n');
      process.exit(125);
    }
  }
  const cache = join(root, 'dist/.cache');
  modules.enableCompileCache?.(cache); // By name: older Nodes lack it, and this file has to load there.
  process.env.NODE_COMPILE_CACHE ??= cache; // For the engine and the VM processes.
  await import('../dist/cli.js');
}

/** The system's Node is too old: the one from node_modules takes over. */
function runOnOurNode() {
  const node = join(root, 'node_modules/node/bin', process.platform === 'win32' ? 'node.exe' : 'node');
  if (!existsSync(node)) {
    process.stderr.write(`vanderpool: Node ${NODE_MINIMUM} is needed and this is ${process.version}. Run \`npm install\`, which brings it.\n`);
    process.exit(125);
  }
  const run = spawnSync(node, process.argv.slice(1), { stdio: 'inherit' });
  process.exit(run.status ?? 125);
}
