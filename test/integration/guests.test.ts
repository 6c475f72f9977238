/** Unmodified Debian kernels, started by the command line, with a userland whose answers are compared with the host's. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { vanderpool } from '../helpers/command-line.ts';
import { GuestShell, guestOptions, onHost, provideGuest } from '../helpers/guests.ts';
import type { Guest } from '../helpers/guests.ts';

/** Fetching goes over the network. */
const FETCH_MS = 600_000;
/** Far more than any of these takes on a slow machine. */
const GUEST_SECONDS = 280;
const TEST_MS = 300_000;

const architectures = [
  { name: 'amd64', machine: 'x86_64' },
  { name: 'i386', machine: 'i686' },
] as const;

/** Run in the guest and on the host by the same binary: integer code, bit streams, floating point with every digit shown. */
const computations: readonly { readonly what: string; readonly command: string }[] = [
  { what: 'sha256sum', command: 'busybox dd if=/dev/zero bs=64k count=32 2>/dev/null | busybox cat - data.bin | busybox sha256sum' },
  { what: 'gzip and md5sum', command: 'busybox gzip -c <data.bin | busybox md5sum' },
  { what: 'gunzip', command: 'busybox gzip -1 -c <data.bin | busybox gunzip -c | busybox md5sum' },
  { what: 'sort', command: 'busybox od -An -v -tu2 -N200000 data.bin | busybox tr -s " " "\\n" | busybox sort -n | busybox sha1sum' },
  {
    what: 'floating point in awk',
    // Debian's busybox has no mathematical functions in awk: a square root by Newton, an exponential by its series.
    command: `busybox awk 'BEGIN { for (i = 1; i < 400; i++) { x = i * 1.37 - 200.5; y = x * x + 0.1; r = y; for (k = 0; k < 20; k++) r = (r + y / r) / 2; `
      + `e = t = 1; for (k = 1; k < 25; k++) { t *= x / 50 / k; e += t }; s += r / (e + 1e-9); `
      + `printf "%.17g %.17g %.17g %d %.9e\\n", r, e, s, int(s * 1000) % 17, 1 / (x * 1e-200) } }'`,
  },
];

describe.each(architectures)('Debian $name', ({ name, machine }) => {
  let guest: Guest;
  let folder = '';

  beforeAll(async () => {
    guest = await provideGuest(name);
    folder = mkdtempSync(join(tmpdir(), 'vanderpool-guest-'));
    writeFileSync(join(folder, 'data.bin'), readFileSync(guest.kernel).subarray(0, 4_000_000));
  }, FETCH_MS);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it('boots to its init and powers off with status 0', async () => {
    const { stdout, stderr, status } = await vanderpool(guestOptions(guest, 'bootonly', GUEST_SECONDS));
    expect(stderr).toBe('');
    expect(stdout).toMatch(new RegExp(`^GUEST-READY\r\nLinux .* ${machine} `, 'm'));
    expect(status).toBe(0);
  }, TEST_MS);

  it('has a shell that answers as the host does, and powers off with status 0', async () => {
    const shell = new GuestShell(guestOptions(guest, 'shell', GUEST_SECONDS));
    onTestFinished(() => void shell.child.kill('SIGKILL'));
    await shell.waitFor('# ', await shell.waitFor('GUEST-READY'));
    expect(await shell.ask('echo $((6*7))')).toBe('42\n');
    expect(await shell.ask('uname -m')).toBe(`${machine}\n`);
    for (const { what, command } of computations) expect(await shell.ask(command), what).toBe(onHost(guest, folder, command));
    const times = await shell.ask('(while :; do :; done) & i=0; while [ $i -lt 200 ]; do read up rest </proc/uptime; echo $up; date +%s; i=$((i+1)); done; kill $!');
    const [uptimes, dates] = [0, 1].map((parity) => times.trim().split('\n').map(Number).filter((_time, index) => index % 2 === parity));
    expect(uptimes, 'time under load does not run backwards').toEqual(uptimes?.toSorted((a, b) => a - b));
    expect(dates, 'nor does the time of day').toEqual(dates?.toSorted((a, b) => a - b));
    expect(dates).toHaveLength(200);
    shell.child.stdin.write('poweroff -f\n');
    expect(await shell.ended, shell.errors).toBe(0);
  }, TEST_MS);
});
