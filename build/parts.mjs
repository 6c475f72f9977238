/** The parts of a build: which sources each is made of, and whether what was built is still fresh. Plain JavaScript: any Node reads it. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Folder of the checkout. */
export const root = fileURLToPath(new URL('..', import.meta.url));

/** @type {Readonly<Record<string, readonly string[]>>} Folders and files that make each part; `!` leaves a folder out. */
export const parts = {
  /** Command line, engine and VM process; what they are built with knows the helpers of the same build. */
  core: ['core', 'build/build.ts', 'package.json'],
  /** Helpers of the processor, AssemblyScript to WebAssembly, and what TypeScript reads as well. */
  wasm: ['core/cpu/assembly', 'core/cpu/layout.ts', 'core/cpu/record.ts', 'core/vmx/control-bits.ts', 'core/vmx/fields.ts', 'build/build.ts'],
  renderer: ['renderer', 'core/contract', 'build/vite.config.ts', 'package.json'],
  electron: ['electron', 'core', 'build/packaging/icon.ts', '!core/cpu/assembly', 'package.json'],
};

/** Newest modification among a part's sources, in milliseconds; folders count too, so that a removed file is seen. 0: it has no sources. */
export function newestSource(part) {
  const all = parts[part];
  const left = new Set(all.filter((path) => path.startsWith('!')).map((path) => join(root, path.slice(1))));
  return Math.max(0, ...all.filter((path) => !path.startsWith('!')).map((path) => newest(join(root, path), left)));
}

/** The parts among `names` whose build is missing or older than its sources. */
export function staleParts(names) {
  let built = {};
  try {
    built = JSON.parse(readFileSync(join(root, 'dist/build.json'), 'utf8'));
  } catch {
    // Nothing was built yet.
  }
  return names.filter((name) => newestSource(name) !== (built[name] ?? -1));
}

function newest(path, left) {
  if (left.has(path)) return 0;
  let status;
  try {
    status = statSync(path);
  } catch {
    return 0;
  }
  if (!status.isDirectory()) return status.mtimeMs;
  let latest = status.mtimeMs;
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    const inner = join(path, entry.name);
    if (entry.isDirectory()) latest = Math.max(latest, newest(inner, left));
    else latest = Math.max(latest, statSync(inner).mtimeMs);
  }
  return latest;
}
