/** Debian guests for tests: fetched when they are missing, started by the real command line, talked to over their serial console. */
import { execFileSync } from 'node:child_process';
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fetchGuest, guestFiles, guestsFolder } from '../../build/guests/fetch.ts';
import { ProgressBar } from '../../build/guests/progress.ts';
import { guestRows } from '../../build/guests/rows.ts';
import type { GuestRow } from '../../build/guests/rows.ts';
import { root, start } from './command-line.ts';

export interface Guest {
  readonly kernel: string;
  readonly initramfs: string;
  /** The busybox that runs in the guest, as a program of the host. */
  readonly busybox: string;
}

const LOCK_MS = 500;

/** A guest's files; fetches them when they are missing. @throws Error that says what to do where they cannot be had */
export async function provideGuest(name: 'amd64' | 'amd64-full' | 'i386'): Promise<Guest> {
  const { kernel, initramfs } = guestFiles(root, name);
  const busybox = join(root, guestsFolder, name, 'busybox-static', 'bin', 'busybox');
  await fetchOnce(name, () => ![kernel, initramfs, busybox].every((file) => existsSync(file)));
  return { kernel, initramfs, busybox };
}

/** Fetches a row's packages when something of them is missing. Files of tests run side by side: one of them fetches, the others wait for it. */
export async function fetchOnce(name: string, missing: (row: GuestRow) => boolean): Promise<void> {
  const row = guestRows.find((candidate) => candidate.name === name);
  if (!row) throw new Error(`no guest is called ${name}`);
  const folder = join(root, guestsFolder);
  mkdirSync(folder, { recursive: true });
  const lock = join(folder, 'tests.lock');
  while (missing(row)) {
    if (!acquire(lock)) {
      await new Promise((resolve) => setTimeout(resolve, LOCK_MS));
      continue;
    }
    try {
      if (missing(row)) await fetchGuest(root, row, new ProgressBar(process.stderr));
      if (missing(row)) throw new Error(`\`npm run guests\` left no complete guest '${name}' in ${folder}`);
    } finally {
      rmSync(lock, { force: true });
    }
  }
}

/** Takes a lock file that holds its owner's process id; one that a dead process left does not count. */
function acquire(lock: string): boolean {
  try {
    writeFileSync(lock, String(process.pid), { flag: 'wx' });
    return true;
  } catch {
    if (!ownerLives(lock)) rmSync(lock, { force: true });
    return false;
  }
}

function ownerLives(lock: string): boolean {
  try {
    process.kill(Number(readFileSync(lock, 'utf8')), 0);
    return true;
  } catch (error) {
    // The lock went away by itself, or was not written yet: look again.
    return error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'EPERM');
  }
}

/** Options of `run` for a guest; `words` go to its kernel's command line. */
export function guestOptions(guest: Guest, words: string, seconds: number): string[] {
  return ['run', '--kernel', guest.kernel, '--initrd', guest.initramfs, '--append', `console=ttyS0 quiet ${words}`, '--memory', '512M', '--timeout', String(seconds)];
}

/** Runs a shell command on the host with the guest's own busybox. `folder` is scratch space that holds data.bin. */
export function onHost(guest: Guest, folder: string, command: string): string {
  const link = join(folder, 'busybox');
  if (!existsSync(link)) symlinkSync(guest.busybox, link);
  return execFileSync(guest.busybox, ['sh', '-c', command], { cwd: folder, encoding: 'utf8', env: { PATH: folder } });
}

/** A guest at its shell. Lines typed are echoed, answers end lines with CR LF. */
export class GuestShell {
  readonly child: ChildProcessWithoutNullStreams;
  readonly ended: Promise<number | null>;
  output = '';
  errors = '';
  private waiting: (() => void)[] = [];
  private over = false;

  constructor(options: readonly string[], environment: Readonly<Record<string, string>> = {}) {
    this.child = start(options, environment);
    const wake = (): void => this.waiting.splice(0).forEach((resume) => resume());
    this.child.stdout.on('data', (chunk: Buffer) => {
      this.output += chunk.toString('latin1');
      wake();
    });
    this.child.stderr.on('data', (chunk: Buffer) => void (this.errors += chunk.toString()));
    this.ended = new Promise((resolve) => this.child.on('close', (status) => {
      this.over = true;
      wake();
      resolve(status);
    }));
  }

  /** Waits until a text appears behind `from` and returns the position after it. */
  async waitFor(text: string, from = 0): Promise<number> {
    for (;;) {
      const at = this.output.indexOf(text, from);
      if (at >= 0) return at + text.length;
      // Nothing follows a panic but silence.
      if (this.output.includes('Kernel panic')) this.child.kill('SIGKILL');
      if (this.over) throw new Error(`the guest ended before it said '${text}': ${this.output.slice(-2000)}${this.errors}`);
      await new Promise<void>((resolve) => this.waiting.push(resolve));
    }
  }

  /** Types a command and returns what it printed, with plain line ends. */
  async ask(command: string): Promise<string> {
    const from = this.output.length;
    // The quotes keep the echo of the typed line from looking like the marks.
    this.child.stdin.write(`echo ANS''WER; ${command}; echo E''ND\n`);
    const begin = await this.waitFor('ANSWER\r\n', from);
    const end = await this.waitFor('END\r\n', begin);
    await this.waitFor('# ', end);
    return this.output.slice(begin, end - 'END\r\n'.length).replaceAll('\r\n', '\n');
  }
}
