/** Debian with four processors: what runs side by side gives the host's results, and a run by the instruction count repeats. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { vanderpool } from '../helpers/command-line.ts';
import { GuestShell, guestOptions, onHost, provideGuest } from '../helpers/guests.ts';

const GUEST_SECONDS = 280;
const TEST_MS = 600_000;
const CPUS = ['--cpus', '4'];

/** What one of eight jobs does with its part of the data: hashes, compression, sorting. A typed line must be short. */
const cut = 'd() { busybox dd if=data.bin bs=100k skip=$1 count=5 2>/dev/null; }';
const job = 'j() { d $1 | busybox sha256sum; d $1 | busybox gzip -c | busybox md5sum; d $1 | busybox od -An -v -tu2 | busybox sort | busybox sha1sum; }';
const numbers = '0 1 2 3 4 5 6 7';
const together = `for n in ${numbers}; do j $n >/out$n & done; wait; busybox cat /out?`;
const oneByOne = [cut, job, `for n in ${numbers}; do j $n; done`].join('; ');
/** Processes that come and go on all processors; each leaves a mark. */
const forks = 'for w in 1 2 3 4 5 6; do (i=0; while [ $i -lt 40 ]; do busybox true && echo $w; i=$((i+1)); done >/w$w) & done; wait; busybox cat /w? | busybox uniq -c | busybox tr -s " "';

describe.each(['amd64', 'i386'] as const)('Debian %s with four processors', (name) => {
  it('works side by side with right results, and its time does not run backwards', async () => {
    const guest = await provideGuest(name);
    const folder = mkdtempSync(join(tmpdir(), 'vanderpool-smp-'));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    writeFileSync(join(folder, 'data.bin'), readFileSync(guest.kernel).subarray(0, 4_000_000));
    const shell = new GuestShell([...guestOptions(guest, 'shell', GUEST_SECONDS), ...CPUS]);
    onTestFinished(() => void shell.child.kill('SIGKILL'));
    await shell.waitFor('# ', await shell.waitFor('GUEST-READY'));
    expect(await shell.ask('busybox grep -c ^processor /proc/cpuinfo')).toBe('4\n');
    expect(await shell.ask(`${cut}; ${job}`)).toBe('');
    expect(await shell.ask(together)).toBe(onHost(guest, folder, oneByOne));
    expect(await shell.ask(forks)).toBe([1, 2, 3, 4, 5, 6].map((worker) => ` 40 ${worker}\n`).join(''));
    const used = await shell.ask('busybox grep "^cpu[0-9]" /proc/stat | busybox awk \'{ print ($2 + $4 > 0) }\'');
    expect(used, 'every processor had work').toBe('1\n1\n1\n1\n');
    const times = await shell.ask('for c in 1 2 4 8 1 4 2 8; do busybox taskset $c busybox cat /proc/uptime; done | busybox cut -d " " -f 1');
    const uptimes = times.trim().split('\n').map(Number);
    expect(uptimes).toEqual(uptimes.toSorted((a, b) => a - b));
    shell.child.stdin.write('poweroff -f\n');
    expect(await shell.ended, shell.errors).toBe(0);
  }, TEST_MS);
});

describe('by the instruction count', () => {
  it('two runs of a Debian with four processors are the same', async () => {
    const guest = await provideGuest('amd64');
    const folder = mkdtempSync(join(tmpdir(), 'vanderpool-smp-'));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const once = async (): Promise<unknown> => {
      const stats = join(folder, 'stats.json');
      const { stdout, status } = await vanderpool([...guestOptions(guest, 'bootonly', GUEST_SECONDS).filter((word) => word !== 'quiet'), ...CPUS, '--clock', 'instructions', '--stats', stats]);
      const { instructions, exits } = JSON.parse(readFileSync(stats, 'utf8')) as { instructions: number; exits: unknown };
      return { stdout, status, instructions, exits };
    };
    expect(await once()).toEqual(await once());
  }, TEST_MS);
});
