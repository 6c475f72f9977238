/** What is measured side by side, as rows: how each starts a guest. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { root } from '../helpers/command-line.ts';
import type { Guest } from '../helpers/guests.ts';

export interface Peer {
  readonly name: string;
  /** Guests it can run. */
  readonly guests: readonly string[];
  command(guest: Guest, append: string): readonly string[];
  /** Variables that it is started with, beside those of this process. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Runs before those that are measured. */
  readonly before?: number;
  /** Its version, for the report. */
  version(): string;
}

const BOTH = ['amd64', 'i386'];
/** A guest that hangs ends the run. */
const LIMIT_SECONDS = 900;

/** The project's own command line, with the options that choose a tier. */
export function ours(name: string, options: readonly string[], more: Pick<Peer, 'environment' | 'before'> = {}): Peer {
  return {
    name, guests: BOTH, ...more,
    command: (guest, append) => [
      process.execPath, join(root, 'build/launch.mjs'), 'run', '--kernel', guest.kernel, '--initrd', guest.initramfs, '--append', append, '--memory', '512M',
      '--timeout', String(LIMIT_SECONDS), ...options,
    ],
    version: () => `${output('git', ['-C', root, 'describe', '--always', '--dirty'])}, Node ${process.version}`,
  };
}

const QEMU = 'qemu-system-x86_64';

/** QEMU's translator with one thread; for measuring only. */
export const qemu: Peer = {
  name: 'qemu', guests: BOTH,
  command: (guest, append) => [
    QEMU, '-accel', 'tcg,thread=single', '-m', '512', '-nographic', '-no-reboot', '-kernel', guest.kernel, '-initrd', guest.initramfs, '-append', append,
  ],
  version: () => output(QEMU, ['--version']).split('\n')[0] ?? '',
};

/** v86 in Node: installed below .cache when it is asked for. It has no 64-bit mode. */
export const v86: Peer = {
  name: 'v86', guests: ['i386'],
  command: (guest, append) => [process.execPath, join(root, 'test/bench/v86.ts'), guest.kernel, guest.initramfs, append],
  version: () => `v86 ${/"version": "([^"]+)"/.exec(readFileSync(join(v86Folder, 'node_modules/v86/package.json'), 'utf8'))?.[1] ?? ''}`,
};

export const v86Folder = join(root, '.cache/peers');

/** Sees that a peer's programs are there. @throws Error that says what to install */
export function provide(peer: Peer): void {
  if (peer === qemu && !inPath(QEMU)) {
    if (process.getuid?.() !== 0 || !inPath('apt-get')) throw new Error(`${QEMU} is not installed; on Debian: sudo apt-get install qemu-system-x86, or measure with --peers none`);
    console.error('Installing from Debian: qemu-system-x86.');
    const installed = spawnSync('apt-get', ['install', '-y', '-q', '--no-install-recommends', 'qemu-system-x86'], { stdio: ['ignore', 2, 2], env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } });
    if (installed.status !== 0) throw new Error('apt-get could not install qemu-system-x86; what it said is above');
  }
  if (peer === v86 && !existsSync(join(v86Folder, 'node_modules/v86'))) {
    const installed = spawnSync('npm', ['install', '--prefix', v86Folder, '--no-save', '--no-audit', '--no-fund', 'v86'], { stdio: ['ignore', 2, 2] });
    if (installed.status !== 0) throw new Error('npm could not install v86; what it said is above');
  }
}

function output(program: string, args: readonly string[]): string {
  return spawnSync(program, args, { encoding: 'utf8' }).stdout?.trim() ?? '';
}

function inPath(program: string): boolean {
  return (process.env['PATH'] ?? '').split(delimiter).some((folder) => existsSync(join(folder, program)));
}
