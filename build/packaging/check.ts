/** Looks into a finished package: what it holds, what it must not hold, and how its fuses are set. */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { getRawHeader, listPackage, statFile } from '@electron/asar';
import { FuseV1Options, getCurrentFuseWire } from '@electron/fuses';
import { fuses } from './config.ts';

export interface PackageReport {
  /** Paths inside the archive, with `/`. */
  readonly files: readonly string[];
  /** Those of them that lie beside the archive, as real files. */
  readonly unpacked: readonly string[];
  readonly bytes: number;
  /** What is wrong; empty when nothing is. */
  readonly problems: readonly string[];
}

/** Must be there, and where: in the archive, or beside it. */
const required: readonly (readonly [pattern: RegExp, place: 'packed' | 'unpacked', what: string])[] = [
  [/^package\.json$/, 'packed', 'the manifest'],
  [/^LICENSE$/, 'packed', 'the licence'],
  [/^dist\/electron\/main\.js$/, 'packed', 'the main process'],
  [/^dist\/electron\/preload\.cjs$/, 'packed', 'the preload script'],
  [/^dist\/renderer\/index\.html$/, 'packed', 'the page'],
  [/^dist\/renderer\/assets\/.+\.js$/, 'packed', 'the interface'],
  [/^dist\/electron-engine\.js$/, 'unpacked', 'the engine'],
  [/^dist\/vm\.js$/, 'unpacked', 'the VM process'],
  [/^dist\/worker\.js$/, 'unpacked', 'the core thread'],
  [/^dist\/machine\.js$/, 'unpacked', 'the machine'],
  [/^node_modules\/better-sqlite3\/prebuilds\/[\w-]+\.node$/, 'unpacked', 'the native part of SQLite'],
  [/^node_modules\/koffi\/index\.cjs$/, 'unpacked', 'the way to the system\'s library'],
  [/^node_modules\/@node-usb\/usb-[\w-]+\/usb\.[\w-]+\.node$/, 'unpacked', 'the way to USB devices'],
  [/^node_modules\/@koromix\/koffi-[\w-]+\/\w+\/koffi\.node$/, 'unpacked', 'the native part of it'],
];

/** Must not be there. */
const forbidden: readonly (readonly [pattern: RegExp, what: string])[] = [
  [/^(core|electron|renderer|test|build|docs|release)\//, 'sources, tests and documents'],
  [/(^|\/)\.(cache|git|ci)(\/|$)/, 'hidden folders'],
  [/\.(ts|tsx|map|plist)$/, 'sources and maps'],
  [/^node_modules\/(?!(better-sqlite3|usb|@node-usb|koffi|@koromix)(\/|$))[^/]/, 'packages that the bundles hold already'],
  [/^node_modules\/better-sqlite3\/(deps|src|build|binding\.gyp)/, 'sources of the native module'],
  [/\.(img|iso|qcow2|deb|bzImage)$|vmlinuz/, 'guest images'],
];

/** @param folder The unpacked package: its executable, and `resources/` with the archive. */
export async function checkPackage(folder: string, executable: string): Promise<PackageReport> {
  const archive = join(folder, 'resources/app.asar');
  const problems: string[] = [];
  if (!existsSync(archive)) return { files: [], unpacked: [], bytes: 0, problems: [`${archive} is missing: the program is not in an archive.`] };
  const entries = listPackage(archive, { isPack: false }).map((path) => path.replaceAll('\\', '/').replace(/^\//, '')).map((path) => ({ path, entry: statFile(archive, path) }));
  const held = entries.flatMap(({ path, entry }) => ('size' in entry ? [{ path, unpacked: entry.unpacked === true, size: entry.size }] : []));
  for (const [pattern, place, what] of required) {
    const found = held.filter(({ path }) => pattern.test(path));
    if (found.length === 0) problems.push(`${what} is missing (${pattern.source}).`);
    else if (!found.some(({ unpacked }) => unpacked === (place === 'unpacked'))) problems.push(`${what} is ${place === 'packed' ? 'not' : 'only'} in the archive: ${found[0]?.path}.`);
  }
  for (const { path } of held) {
    const rule = forbidden.find(([pattern]) => pattern.test(path));
    if (rule) problems.push(`${path} does not belong into the package: ${rule[1]}.`);
  }
  for (const { path, unpacked } of held) {
    if (unpacked && !existsSync(join(folder, 'resources/app.asar.unpacked', path))) problems.push(`${path} should lie beside the archive and does not.`);
  }
  // Every file carries a hash, which the integrity fuse compares.
  if (!getRawHeader(archive).headerString.includes('"integrity"')) problems.push('The archive has no integrity hashes.');
  problems.push(...(await fuseProblems(join(folder, executable))), ...looseFiles(folder));
  return {
    files: held.map(({ path }) => path).sort(),
    unpacked: held.filter(({ unpacked }) => unpacked).map(({ path }) => path).sort(),
    bytes: held.reduce((sum, { size }) => sum + size, 0),
    problems,
  };
}

const fuseNumbers: Readonly<Record<keyof typeof fuses, FuseV1Options>> = {
  runAsNode: FuseV1Options.RunAsNode,
  enableCookieEncryption: FuseV1Options.EnableCookieEncryption,
  enableNodeOptionsEnvironmentVariable: FuseV1Options.EnableNodeOptionsEnvironmentVariable,
  enableNodeCliInspectArguments: FuseV1Options.EnableNodeCliInspectArguments,
  enableEmbeddedAsarIntegrityValidation: FuseV1Options.EnableEmbeddedAsarIntegrityValidation,
  onlyLoadAppFromAsar: FuseV1Options.OnlyLoadAppFromAsar,
  grantFileProtocolExtraPrivileges: FuseV1Options.GrantFileProtocolExtraPrivileges,
};

/** A fuse on the wire is one character. */
const fuseOn = '1'.charCodeAt(0);
const fuseOff = '0'.charCodeAt(0);

async function fuseProblems(executable: string): Promise<string[]> {
  const wire = await getCurrentFuseWire(executable);
  return (Object.keys(fuses) as (keyof typeof fuses)[]).flatMap((name) => {
    const state = Number(wire[fuseNumbers[name]]);
    return state === (fuses[name] ? fuseOn : fuseOff) ? [] : [`The fuse ${name} is not ${fuses[name] ? 'on' : 'off'}.`];
  });
}

/** Nothing of the project lies openly beside the archive. */
function looseFiles(folder: string): string[] {
  return readdirSync(join(folder, 'resources')).filter((name) => name === 'app' && statSync(join(folder, 'resources', name)).isDirectory())
    .map((name) => `resources/${name} holds the program openly, outside the archive.`);
}
