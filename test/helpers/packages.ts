/** Programs of Debian packages for a guest's initramfs: each with its loader and the libraries that it needs. */
import { existsSync, readFileSync, readdirSync, realpathSync } from 'node:fs';
import { basename, join } from 'node:path';
import { guestFiles, guestsFolder } from '../../build/guests/fetch.ts';
import type { CpioEntry } from '../../build/guests/cpio.ts';
import { root } from './command-line.ts';
import { needed } from './elf.ts';
import { fetchOnce } from './guests.ts';

/** Files of a folder of unpacked packages by their path inside the package. */
export class Packages {
  private readonly folder: string;
  private readonly paths: readonly string[];

  constructor(folder: string) {
    this.folder = folder;
    this.paths = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  }

  /** A path on the host whose end is `end`. */
  find(end: string): string {
    const found = this.paths.find((path) => path.endsWith(`/${end}`));
    if (found === undefined) throw new Error(`${this.folder} has no ${end}`);
    // Links between libraries may lead out of the package: /lib is a link to /usr/lib.
    return join(this.folder, found);
  }

  entry(end: string, path: string, executable = false): CpioEntry {
    return { kind: 'file', path, data: readFileSync(realpathSync(this.find(end))), executable };
  }

  /** A program with its loader and all libraries that it needs, where the loader finds them. */
  program(path: string): CpioEntry[] {
    const libraries = new Map<string, string>();
    const add = (file: string): void => {
      for (const name of needed(file)) {
        const base = basename(name);
        if (libraries.has(base)) continue;
        const found = realpathSync(this.find(base));
        libraries.set(base, found);
        add(found);
      }
    };
    add(this.find(path));
    const files = [...libraries].map(([name, from]): CpioEntry => ({
      kind: 'file', path: `${name.startsWith('ld-linux') ? 'lib64' : 'lib/x86_64-linux-gnu'}/${name}`, data: readFileSync(from), executable: true,
    }));
    return [this.entry(path, path, true), ...files];
  }
}

/** The packages of a row of build/guests/rows.ts, unpacked; fetched when they are missing. */
export async function providePackages(name: string): Promise<Packages> {
  const folder = join(root, guestsFolder, name);
  // What a package depends on is unpacked before it.
  await fetchOnce(name, ({ packages, kernel }) => packages.some((each) => !existsSync(join(folder, each))) || (kernel !== undefined && !existsSync(guestFiles(root, name).initramfs)));
  return new Packages(folder);
}

/** Files for an initramfs, behind the folders that they are in. */
export function withFolders(files: readonly CpioEntry[]): CpioEntry[] {
  const parents = files.flatMap(({ path }) => path.split('/').slice(0, -1).map((_, index, parts) => parts.slice(0, index + 1).join('/')));
  return [...[...new Set(parents)].sort().map((path): CpioEntry => ({ kind: 'directory', path })), ...files];
}
