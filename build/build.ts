/** Builds the parts named on the command line, or all that are stale: `node build/build.ts [core|wasm|renderer|electron]... [--force]`. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { build } from 'esbuild';
import type { BuildOptions } from 'esbuild';
import { iconPng } from './packaging/icon.ts';
import { RAM_BASE } from '../core/cpu/layout.ts';
import { STAMP_BYTES } from '../core/machine/entries.ts';
import { newestSource, parts, root, staleParts } from './parts.mjs';

const dist = join(root, 'dist');
const LOCK_STALE_MS = 120_000;
const CHUNK_KEPT_MS = 3_600_000;
const STAMP_SECTION = 'build';

/** Bundled CommonJS code asks for Node's own modules by `require`. */
const banner = { js: "import { createRequire as vanderpoolRequire } from 'node:module'; const require = vanderpoolRequire(import.meta.url);" };

/** What tells builds of a part apart, in the modules and in the programs that load them. */
const stampOf = (name: string): string => Math.round(newestSource(name) * 1000).toString(16).padStart(STAMP_BYTES, '0');
const stamps = { core: stampOf('core'), wasm: stampOf('wasm') } as const;

const shared: BuildOptions = {
  absWorkingDir: root,
  bundle: true,
  platform: 'node',
  target: 'node24',
  format: 'esm',
  sourcemap: 'linked',
  legalComments: 'none',
  logLevel: 'warning',
  define: { 'process.env.VANDERPOOL_VERSION': JSON.stringify(version()) },
  external: ['electron', 'better-sqlite3', 'koffi', 'usb'],
};

const builders: Readonly<Record<string, () => Promise<void>>> = {
  core: async () => {
    const entryPoints = existing({
      cli: 'core/cli/main.ts', engine: 'core/engine/main.ts', vm: 'core/machine/process.ts', worker: 'core/machine/worker.ts', machine: 'core/machine/create.ts',
      check: 'core/machine/check.ts', saver: 'core/snapshot/saver.ts',
    });
    const define = { ...shared.define, 'process.env.VANDERPOOL_CORE_STAMP': JSON.stringify(stamps.core), 'process.env.VANDERPOOL_WASM_STAMP': JSON.stringify(stamps.wasm) };
    const { outputs } = (await build({ ...shared, define, entryPoints, outdir: dist, splitting: true, chunkNames: 'chunk-[hash]', banner, metafile: true })).metafile;
    sweepChunks(new Set(Object.keys(outputs).map((path) => basename(path))));
  },
  wasm: () => {
    const entry = 'core/cpu/assembly/index.ts';
    if (!existsSync(join(root, entry))) return Promise.resolve();
    run('asc', [
      entry, '--outFile', 'dist/cpu.wasm.part', '-O3', '--noAssert', '--runtime', 'stub', '--importMemory', '--sharedMemory',
      '--initialMemory', String(RAM_BASE >>> 16), '--maximumMemory', '65536', '--memoryBase', '4096',
      '--enable', 'threads', '--enable', 'simd', '--enable', 'bulk-memory', '--enable', 'sign-extension', '--use', 'abort=',
    ]);
    writeModule('cpu.wasm', readFileSync(join(dist, 'cpu.wasm.part')), stamps.wasm);
    return Promise.resolve();
  },
  renderer: () => {
    const config = ['renderer/vite.config.ts', 'build/vite.config.ts'].find((path) => existsSync(join(root, path)));
    if (config) run('vite', ['build', '--config', config, '--logLevel', 'warn']);
    return Promise.resolve();
  },
  electron: async () => {
    const main = existing({ main: 'electron/main.ts' });
    if (main.length > 0) await build({ ...shared, entryPoints: main, outdir: join(dist, 'electron'), banner });
    // Beside the programs that it starts, which it finds by its own place.
    const engine = existing({ 'electron-engine': 'electron/engine.ts' });
    if (engine.length > 0) await build({ ...shared, entryPoints: engine, outdir: dist, banner });
    writeFileSync(join(dist, 'icon.png'), iconPng(64));
    // A sandboxed preload script is CommonJS.
    const preload = existing({ preload: 'electron/preload.ts' });
    if (preload.length > 0) {
      await build({ ...shared, entryPoints: preload, outdir: join(dist, 'electron'), format: 'cjs', outExtension: { '.js': '.cjs' } });
    }
  },
};

const args = process.argv.slice(2);
const named = args.filter((name) => name in builders);
const unknown = args.filter((name) => !(name in builders) && name !== '--force');
if (unknown.length > 0) {
  console.error(`There is no part "${unknown.join(' ')}" to build. Parts: ${Object.keys(parts).join(', ')}.`);
  process.exit(2);
}
const wanted = named.length > 0 ? named : Object.keys(builders);
mkdirSync(dist, { recursive: true });
await locked(async () => {
  const due = args.includes('--force') ? wanted : staleParts(wanted);
  for (const name of due) {
    const stamp = newestSource(name);
    const started = performance.now();
    await builders[name]?.();
    record(name, stamp);
    if (stamp > 0) console.log(`built ${name} in ${Math.round(performance.now() - started)} ms`);
  }
  if (due.includes('core') || due.includes('wasm')) await writePrebuilt();
});

/** One build at a time in a checkout: commands that start together wait for the first. */
async function locked(action: () => Promise<void>): Promise<void> {
  const lock = join(dist, '.lock');
  for (;;) {
    try {
      mkdirSync(lock);
      break;
    } catch {
      const age = Date.now() - (statSync(lock, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
      if (age > LOCK_STALE_MS) rmSync(lock, { recursive: true, force: true });
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
  try {
    await action();
  } finally {
    rmSync(lock, { recursive: true, force: true });
  }
}

/** Emits the interpreter, from the sources of core and the helpers' signatures; the last of the two to be built has both. */
async function writePrebuilt(): Promise<void> {
  const helpers = join(dist, 'cpu.wasm');
  if (!existsSync(helpers)) return;
  const { prebuild, prebuiltFiles } = await import('../core/cpu/interpreter/prebuilt.ts');
  const { helperSignatures } = await import('../core/cpu/helpers.ts');
  for (const [name, code] of Object.entries(prebuild(helperSignatures(readFileSync(helpers))))) {
    writeModule(prebuiltFiles[name as keyof typeof prebuiltFiles], code, stamps.core);
  }
}

/** Writes a WebAssembly module with its stamp in a custom section at its end: whoever loads it compares that with its own (core/machine/helperFile.ts). */
function writeModule(name: string, code: Uint8Array, stamp: string): void {
  const file = join(dist, name);
  const content = [STAMP_SECTION.length, ...Buffer.from(STAMP_SECTION + stamp)];
  writeFileSync(`${file}.part`, Buffer.concat([code, Uint8Array.of(0, content.length, ...content)]));
  renameSync(`${file}.part`, file);
}

/** Removes chunks of earlier builds, but not at once: an engine that runs may load one of them yet. */
function sweepChunks(current: ReadonlySet<string>): void {
  for (const name of readdirSync(dist)) {
    const file = join(dist, name);
    if (name.startsWith('chunk-') && !current.has(name) && Date.now() - statSync(file).mtimeMs > CHUNK_KEPT_MS) rmSync(file);
  }
}

function record(name: string, stamp: number): void {
  const file = join(dist, 'build.json');
  const built = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Record<string, number>) : {};
  writeFileSync(`${file}.part`, JSON.stringify({ ...built, [name]: stamp }));
  renameSync(`${file}.part`, file);
}

function existing(entries: Readonly<Record<string, string>>): { in: string; out: string }[] {
  return Object.entries(entries).filter(([, path]) => existsSync(join(root, path))).map(([out, path]) => ({ in: path, out }));
}

function run(tool: string, toolArgs: readonly string[]): void {
  const script = { asc: 'assemblyscript/bin/asc.js', vite: 'vite/bin/vite.js' }[tool] ?? tool;
  const result = spawnSync(process.execPath, [join(root, 'node_modules', script), ...toolArgs], { cwd: root, stdio: 'inherit' });
  if (result.status !== 0) {
    rmSync(join(dist, '.lock'), { recursive: true, force: true });
    console.error(`${tool} failed; what it said is above.`);
    process.exit(1);
  }
}

function version(): string {
  const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { readonly version: string };
  return manifest.version;
}
