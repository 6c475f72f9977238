/** Runs after `npm install`: builds everything with the Node that the install brought. Plain JavaScript: the system's Node may be older. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './parts.mjs';

const bundled = join(root, 'node_modules/node/bin', process.platform === 'win32' ? 'node.exe' : 'node');
const node = existsSync(bundled) ? bundled : process.execPath;

if (!existsSync(join(root, 'node_modules/esbuild'))) {
  console.log('vanderpool: development dependencies are not installed; nothing is built.');
} else {
  const built = spawnSync(node, [join(root, 'build/build.ts')], { stdio: 'inherit' });
  process.exit(built.status ?? 1);
}
