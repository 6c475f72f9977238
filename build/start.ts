/** `npm start`: opens the Electron window; where there is no Electron binary or no display, says so in one line and serves the same interface. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root, staleParts } from './parts.mjs';

if (staleParts(['core', 'wasm', 'renderer', 'electron']).length > 0) {
  const built = spawnSync(process.execPath, [join(root, 'build/build.ts')], { cwd: root, stdio: 'inherit' });
  if (built.status !== 0) process.exit(1);
}
const hasDisplay = process.platform !== 'linux' || Boolean(process.env['DISPLAY'] || process.env['WAYLAND_DISPLAY']);
const binary = electronBinary();
const electron = hasDisplay ? binary : null;
if (binary === null) console.log('No Electron binary is installed here (npx install-electron fetches it): serving the interface to a browser instead.');
else if (!hasDisplay) console.log('There is no display here (DISPLAY and WAYLAND_DISPLAY are empty): serving the interface to a browser instead.');
const command = electron === null ? [process.execPath, join(root, 'build/launch.mjs'), 'serve'] : [electron, root];
const child = spawn(command[0] ?? '', [...command.slice(1), ...process.argv.slice(2)], { stdio: 'inherit' });
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal));
child.on('exit', (code, signal) => process.exit(signal ? 1 : (code ?? 1)));

/** Path of Electron's program when its download is there. Asking the package itself would start the download. */
function electronBinary(): string | null {
  const folder = join(root, 'node_modules/electron');
  const pathFile = join(folder, 'path.txt');
  if (!existsSync(pathFile)) return null;
  const program = join(process.env['ELECTRON_OVERRIDE_DIST_PATH'] ?? join(folder, 'dist'), readFileSync(pathFile, 'utf8').trim());
  return existsSync(program) ? program : null;
}
