/** Debian's KVM in a guest of ours, and a program that runs a guest of its own with it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { GuestShell, guestOptions, provideGuest } from '../helpers/guests.ts';
import type { Guest } from '../helpers/guests.ts';
import { kvmGuest, kvmModules } from '../helpers/kvmGuest.ts';

const TEST_MS = 300_000;

describe('KVM in a Debian guest', () => {
  let guest: Guest;
  let folder = '';

  beforeAll(async () => {
    const plain = await provideGuest('amd64');
    folder = mkdtempSync(join(tmpdir(), 'vanderpool-kvm-'));
    guest = kvmGuest(plain, folder);
  }, 600_000);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it('finds VT-x and runs 16-bit, 32-bit and 64-bit code, an exit for each of a thousand port writes', async () => {
    const shell = new GuestShell(guestOptions(guest, 'shell', 280));
    onTestFinished(() => void shell.child.kill('SIGKILL'));
    await shell.waitFor('# ', await shell.waitFor('GUEST-READY'));
    for (const name of kvmModules) expect(await shell.ask(`insmod /mod/${name}.ko && echo loaded`)).toBe('loaded\n');
    expect(await shell.ask('kvm')).toBe('L2 16-bit: 1000 exits\nL2 32-bit: 1000 exits\nL2 64-bit: 1000 exits\n');
    shell.child.stdin.write('poweroff -f\n');
    expect(await shell.ended, shell.errors).toBe(0);
  }, TEST_MS);
});
