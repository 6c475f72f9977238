/**
 * `npm run package [-- linux|mac|windows|dir] [--stand-in]`: builds and packages the desktop program. `dir` leaves it unpacked.
 * Where no Electron can be had, `dir` is made with a stand-in distribution and the report says so. What a package holds is always checked.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build, Platform } from 'electron-builder';
import { checkPackage } from './packaging/check.ts';
import { packagingConfig } from './packaging/config.ts';
import { iconIcns, iconIco, iconPng } from './packaging/icon.ts';
import { makeStandIn } from './packaging/stand-in.ts';
import { root } from './parts.mjs';

const systems = { linux: Platform.LINUX, mac: Platform.MAC, windows: Platform.WINDOWS } as const;
const pngSizes = [16, 32, 48, 64, 128, 256, 512] as const;
const icoSizes = [16, 24, 32, 48, 64, 128, 256] as const;

const args = process.argv.slice(2);
const unknown = args.filter((arg) => !(arg in systems) && arg !== 'dir' && arg !== '--stand-in');
if (unknown.length > 0) fail(`There is no "${unknown.join(' ')}" to package.`, 'Choose linux, mac, windows or dir; --stand-in packages without Electron.');
const electronHere = existsSync(join(root, 'node_modules/electron/path.txt'));
const standIn = args.includes('--stand-in') || (args.length === 0 && !electronHere) || (args.includes('dir') && !electronHere);

await main();

async function main(): Promise<void> {
  const release = join(root, 'release');
  const icons = join(root, 'dist/icons');
  buildAll();
  writeIcons(icons);
  const wanted = args.filter((arg): arg is keyof typeof systems => arg in systems);
  const electronDist = standIn ? makeStandIn(join(root, '.cache/electron-stand-in')) : undefined;
  const config = packagingConfig({ output: release, icons, ...(electronDist === undefined ? {} : { electronDist }) });
  if (standIn) console.log('No Electron here: packaging with a stand-in, to check what the package holds. The result does not run.');
  if (standIn && wanted.length > 0) fail('Installers cannot be made with the stand-in.', 'Package on a machine that can download Electron, or use `dir`.');
  if (wanted.length === 0) {
    await build({ projectDir: root, targets: Platform.LINUX.createTarget('dir'), config });
    await report(join(release, 'linux-unpacked'), 'vanderpool');
  } else {
    for (const name of wanted) await build({ projectDir: root, targets: systems[name].createTarget(), config });
    if (existsSync(join(release, 'linux-unpacked'))) await report(join(release, 'linux-unpacked'), 'vanderpool');
  }
}

function buildAll(): void {
  const built = spawnSync(process.execPath, [join(root, 'build/build.ts')], { cwd: root, stdio: 'inherit' });
  if (built.status !== 0) process.exit(1);
}

function writeIcons(folder: string): void {
  mkdirSync(join(folder, 'png'), { recursive: true });
  for (const size of pngSizes) writeFileSync(join(folder, `png/${size}x${size}.png`), iconPng(size));
  writeFileSync(join(folder, 'icon.ico'), iconIco(icoSizes));
  writeFileSync(join(folder, 'icon.icns'), iconIcns());
}

async function report(folder: string, executable: string): Promise<void> {
  const { files, unpacked, bytes, problems } = await checkPackage(folder, executable);
  const megabytes = (bytes / 1e6).toFixed(1);
  console.log(`The package holds ${files.length} files of ours, ${megabytes} MB; ${unpacked.length} of them beside the archive:`);
  for (const path of unpacked) console.log(`  ${path}`);
  for (const problem of problems) console.error(`problem: ${problem}`);
  if (problems.length > 0) fail('The package is not as it should be.', 'See the problems above.');
  console.log(`${folder} is as it should be${standIn ? ', but for the stand-in in the place of Electron' : ''}.`);
}

function fail(message: string, hint: string): never {
  console.error(`${message} ${hint}`);
  process.exit(1);
}
