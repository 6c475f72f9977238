/** Debian's KVM in a guest of ours, and a program that runs a guest of its own with it. */
import { spawnSync } from 'node:child_process';
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { writeCpio } from '../../build/guests/cpio.ts';
import { GuestShell, guestOptions, provideGuest } from '../helpers/guests.ts';
import type { Guest } from '../helpers/guests.ts';

const MODULES = ['irqbypass', 'kvm', 'kvm-intel'];
const TEST_MS = 300_000;

describe('KVM in a Debian guest', () => {
  let guest: Guest;
  let folder = '';

  beforeAll(async () => {
    const plain = await provideGuest('amd64');
    folder = mkdtempSync(join(tmpdir(), 'vanderpool-kvm-'));
    const program = join(folder, 'kvm');
    const compiled = spawnSync('gcc', ['-O1', '-static', '-o', program, join(import.meta.dirname, '../guests/kvm.c')], { encoding: 'utf8' });
    expect(compiled.stderr).toBe('');
    // The kernel unpacks archives one after the other.
    const more = writeCpio([
      { kind: 'directory', path: 'mod' }, { kind: 'file', path: 'bin/kvm', data: readFileSync(program), executable: true },
      ...MODULES.map(name => ({ kind: 'file', path: `mod/${name}.ko`, data: readFileSync(moduleFile(plain, name)), executable: false }) as const),
    ]);
    const initramfs = join(folder, 'initramfs.cpio');
    writeFileSync(initramfs, Buffer.concat([readFileSync(plain.initramfs), more]));
    guest = { ...plain, initramfs };
  }, 600_000);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it('finds VT-x and runs 16-bit, 32-bit and 64-bit code, an exit for each of a thousand port writes', async () => {
    const shell = new GuestShell(guestOptions(guest, 'shell', 280));
    onTestFinished(() => void shell.child.kill('SIGKILL'));
    await shell.waitFor('# ', await shell.waitFor('GUEST-READY'));
    for (const name of MODULES) expect(await shell.ask(`insmod /mod/${name}.ko && echo loaded`)).toBe('loaded\n');
    expect(await shell.ask('kvm')).toBe('L2 16-bit: 1000 exits\nL2 32-bit: 1000 exits\nL2 64-bit: 1000 exits\n');
    shell.child.stdin.write('poweroff -f\n');
    expect(await shell.ended, shell.errors).toBe(0);
  }, TEST_MS);
});

/** The module of the guest's kernel, from the package that the kernel came with. */
function moduleFile({ kernel }: Guest, name: string): string {
  const found = globSync(`${dirname(kernel)}/**/${name}.ko`)[0];
  if (found === undefined) throw new Error(`the package of ${kernel} has no module ${name}.ko`);
  return found;
}
