/** Debian packages without root: an apt state of our own for each architecture, downloads that apt checks, unpacking by dpkg. */

import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { spawn } from 'node:child_process';

/** Something a person can cause or mend: no network, no apt, an unknown package. */
export class GuestError extends Error {
  override readonly name = 'GuestError';
}

/** Called with percent done while something is fetched. */
export type Progress = (percent: number) => void;

/** How long package lists are taken for current. */
const listsAgeMs = 24 * 3600 * 1000;

interface Finished {
  readonly code: number;
  readonly output: string;
  readonly errors: string;
}

/** Runs a program; apt's progress messages arrive on descriptor 3. */
function run(program: string, args: readonly string[], folder: string, progress: Progress): Promise<Finished> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe', 'pipe'], env: { ...process.env, LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' } });
    let output = '';
    let errors = '';
    child.stdout?.on('data', (chunk: Buffer) => (output += chunk.toString()));
    child.stderr?.on('data', (chunk: Buffer) => (errors += chunk.toString()));
    child.stdio[3]?.on('data', (chunk: Buffer) => {
      // dlstatus:ITEM:PERCENT:TEXT
      for (const [, percent] of chunk.toString().matchAll(/^dlstatus:\d+:([0-9.]+):/gm)) progress(Number(percent));
    });
    child.on('error', error => {
      const missing = 'code' in error && error.code === 'ENOENT';
      reject(missing ? new GuestError(`${program} is not on this machine: guests are fetched from Debian packages, on Debian or a relative of it`) : error);
    });
    child.on('close', code => resolve({ code: code ?? 1, output, errors }));
  });
}

/** The last lines a failed program wrote, for an error message. */
function lastLines({ output, errors }: Finished): string {
  const lines = (errors.trim() === '' ? output : errors).trim().split('\n');
  return lines.slice(-3).join('\n  ');
}

/** The packages of one architecture. */
export class Apt {
  private readonly folder: string;
  private readonly architecture: string;
  private readonly options: readonly string[];

  /** @param folder a folder of this object's own, kept between runs, @param sources a list of sources instead of the machine's own */
  constructor(folder: string, architecture: string, sources?: string) {
    this.folder = folder;
    this.architecture = architecture;
    const settings = {
      'Dir::State': join(folder, 'state'), 'Dir::State::lists': join(folder, 'lists'), 'Dir::State::status': join(folder, 'status'),
      'Dir::Cache': join(folder, 'cache'), 'APT::Architecture': architecture, 'APT::Architectures': architecture, 'APT::Sandbox::User': '',
      'Acquire::Languages': 'none', 'APT::Status-Fd': '3', 'Acquire::Retries': '2',
      ...(sources === undefined ? {} : { 'Dir::Etc::SourceList': sources, 'Dir::Etc::SourceParts': '/dev/null' }),
    };
    this.options = Object.entries(settings).flatMap(([key, value]) => ['-o', `${key}=${value}`]);
  }

  /**
   * Brings the package lists up to date, unless they are. A list that apt refused (a mirror that is being updated, say) leaves the
   * others usable: returns what apt said about it, or null when all is well. apt checks every list and package against signed checksums.
   */
  async update(progress: Progress): Promise<string | null> {
    const stamp = join(this.folder, 'updated');
    if (existsSync(stamp) && Date.now() - statSync(stamp).mtimeMs < listsAgeMs) return null;
    for (const part of ['lists/partial', 'cache/archives/partial', 'state', 'downloads']) mkdirSync(join(this.folder, part), { recursive: true });
    writeFileSync(join(this.folder, 'status'), '');
    const result = await run('apt-get', [...this.options, 'update', '--error-on=any'], this.folder, progress);
    if (result.code === 0) {
      writeFileSync(stamp, '');
      return null;
    }
    if (!readdirSync(join(this.folder, 'lists')).some(file => file.includes('_Packages'))) {
      throw new GuestError(`the ${this.architecture} package lists could not be fetched; is there a network, and does /etc/apt name a mirror?\n  ${lastLines(result)}`);
    }
    return result.errors.split('\n').find(line => line.startsWith('E: ')) ?? lastLines(result);
  }

  /** The versioned package that a kernel's meta package depends on. */
  async kernelPackage(meta: string): Promise<string> {
    const result = await run('apt-cache', [...this.options, 'depends', meta], this.folder, () => {});
    const found = /Depends: (linux-image-\d[^\s:]*)/.exec(result.output)?.[1];
    if (found === undefined) throw new GuestError(`the package lists know no kernel package ${meta} for ${this.architecture}; guests come from Debian 12`);
    return found;
  }

  /** The packages and all that they depend on, without what is only recommended. */
  async withDependencies(packages: readonly string[]): Promise<string[]> {
    const result = await run('apt-get', [...this.options, '--simulate', '--no-install-recommends', 'install', ...packages], this.folder, () => {});
    if (result.code !== 0) throw new GuestError(`apt finds no way to install ${packages.join(', ')}\n  ${lastLines(result)}`);
    return [...result.output.matchAll(/^Inst (\S+)/gm)].map(([, name]) => name!);
  }

  /** Every package that the lists know, as they describe it. */
  async available(): Promise<string> {
    return (await run('apt-cache', [...this.options, 'dumpavail'], this.folder, () => {})).output;
  }

  /** Fetches a package; returns where its file is. @throws GuestError */
  async download(name: string, progress: Progress = () => {}): Promise<string> {
    const result = await this.fetch([name], progress);
    const file = this.downloaded(name);
    if (result.code === 0 && file !== undefined) return file;
    // Lists that promise a package the mirror has replaced are too old: the next run fetches them anew.
    rmSync(join(this.folder, 'updated'), { force: true });
    throw new GuestError(`the package ${name} (${this.architecture}) could not be fetched; run the command again when there is a network\n  ${lastLines(result)}`);
  }

  /** Fetches packages of which the mirror may lack some: returns where the files of the others are. */
  async downloadSome(names: readonly string[]): Promise<ReadonlyMap<string, string>> {
    if (names.length > 0) await this.fetch(names, () => {});
    return new Map(names.flatMap(name => {
      const file = this.downloaded(name);
      return file === undefined ? [] : [[name, file] as const];
    }));
  }

  private fetch(names: readonly string[], progress: Progress): Promise<Finished> {
    const downloads = join(this.folder, 'downloads');
    mkdirSync(downloads, { recursive: true });
    return run('apt-get', [...this.options, 'download', ...names], downloads, progress);
  }

  private downloaded(name: string): string | undefined {
    const downloads = join(this.folder, 'downloads');
    const file = readdirSync(downloads).find(entry => entry.startsWith(`${name}_`) && /\.u?deb$/.test(entry));
    return file === undefined ? undefined : join(downloads, file);
  }

  /**
   * Fetches a package and unpacks it into `target`, which exists afterwards only when it is complete.
   * A run that was interrupted goes on where it stopped.
   */
  async unpack(name: string, target: string, progress: Progress): Promise<void> {
    if (existsSync(target)) return;
    const file = await this.download(name, progress);
    const part = `${target}.part`;
    rmSync(part, { recursive: true, force: true });
    mkdirSync(part, { recursive: true });
    const unpacked = await run('dpkg', ['-x', file, part], this.folder, () => {});
    if (unpacked.code !== 0) throw new GuestError(`the package ${file} could not be unpacked; is the disk full?\n  ${lastLines(unpacked)}`);
    renameSync(part, target);
    rmSync(file, { force: true });
  }
}
