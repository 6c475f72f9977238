/** Where the programs of a build lie: beside one another in dist/, or as sources when Node runs those. */

const sources = {
  cli: '../cli/main.ts',
  engine: '../engine/main.ts',
  vm: './process.ts',
  worker: './worker.ts',
  machine: './create.ts',
  check: './check.ts',
  saver: '../snapshot/saver.ts',
} as const;

/** Each WebAssembly module of a build ends with so many characters, which tell it from other builds. */
export const STAMP_BYTES = 16;

/** Whether this code runs unbundled. */
export const fromSources = import.meta.url.endsWith('.ts');

/** URL of a program's first file. */
export function entryUrl(name: keyof typeof sources): URL {
  return new URL(fromSources ? sources[name] : `./${name}.js`, import.meta.url);
}

/** URL of the module that makes machines. `VANDERPOOL_MACHINE` names another one, for tests of everything around the machine. */
export function machineModuleUrl(): string {
  return process.env['VANDERPOOL_MACHINE'] ?? entryUrl('machine').href;
}
