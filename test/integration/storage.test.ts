/** Debian guests on virtual disks: file systems that survive power-off and kill. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { convertDisk } from '../../core/block/convert.ts';
import { driverGuest } from '../helpers/driver-guest.ts';
import { GuestShell, guestOptions } from '../helpers/guests.ts';
import type { Guest } from '../helpers/guests.ts';

const FETCH_MS = 600_000;
const GUEST_SECONDS = 280;
const TEST_MS = 300_000;

let folder = '';
let amd64: Guest;
let i386: Guest;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'vanderpool-storage-'));
  amd64 = await driverGuest('amd64', folder);
  i386 = await driverGuest('i386', folder);
}, FETCH_MS);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function boot(guest: Guest, ...options: readonly string[]): GuestShell {
  const shell = new GuestShell([...guestOptions(guest, '', GUEST_SECONDS), ...options]);
  onTestFinished(() => void shell.child.kill('SIGKILL'));
  return shell;
}

async function ready(shell: GuestShell): Promise<void> {
  await shell.waitFor('# ', await shell.waitFor('GUEST-READY'));
}

/** A file of 64 MiB with an empty ext4 file system. */
function fileSystem(name: string): string {
  const path = join(folder, name);
  writeFileSync(path, '');
  truncateSync(path, 64 * 1024 * 1024);
  execFileSync('mke2fs', ['-q', '-t', 'ext4', '-F', path]);
  return path;
}

/** e2fsck's exit status: 0 is clean, 1 mended. */
function check(path: string, mode: '-n' | '-p'): number | null {
  return spawnSync('e2fsck', ['-f', mode, path]).status;
}

const disks = [
  { what: 'virtio, raw', device: '/dev/vda', bus: 'virtio', guest: 'amd64', qcow2: false }, { what: 'virtio, qcow2', device: '/dev/vda', bus: 'virtio', guest: 'amd64', qcow2: true },
  { what: 'NVMe', device: '/dev/nvme0n1', bus: 'nvme', guest: 'amd64', qcow2: false }, { what: 'AHCI', device: '/dev/sda', bus: 'ahci', guest: 'i386', qcow2: false },
] as const;

describe.each(disks)('a disk by $what', ({ device, bus, guest, qcow2 }) => {
  it('keeps what the guest wrote, over a power-off', async () => {
    const raw = fileSystem(`${bus}.raw`);
    const image = qcow2 ? join(folder, `${bus}.qcow2`) : raw;
    if (qcow2) await convertDisk(raw, image, { from: 'raw', to: 'qcow2', compressed: false });
    const shell = boot(guest === 'i386' ? i386 : amd64, '--disk', `${image},bus=${bus}`);
    await ready(shell);
    const written = await shell.ask(`mount -t ext4 ${device} /mnt && cat /bin/busybox /bin/busybox /bin/busybox > /mnt/data && sync && md5sum < /mnt/data`);
    expect(await shell.ask(`umount /mnt && mount -t ext4 ${device} /mnt && md5sum < /mnt/data && umount /mnt`)).toBe(written);
    shell.child.stdin.write('poweroff -f\n');
    expect(await shell.ended).toBe(0);
    if (qcow2) {
      rmSync(raw);
      await convertDisk(image, raw, { from: 'qcow2', to: 'raw', compressed: false });
    }
    expect(check(raw, '-n')).toBe(0);
    expect(execFileSync('debugfs', ['-R', 'cat /data', raw], { maxBuffer: 1 << 26, stdio: ['ignore', 'pipe', 'ignore'] }).length).toBeGreaterThan(1_000_000);
  }, TEST_MS);
});

it('what was synced survives kill -9 in the middle of writing, and the journal mends the rest', async () => {
  const image = fileSystem('killed.raw');
  const shell = boot(amd64, '--disk', image);
  await ready(shell);
  await shell.ask('mount -t ext4 /dev/vda /mnt && cp /bin/busybox /mnt/synced && sync');
  const from = shell.output.length;
  shell.child.stdin.write('n=0; while true; do cp /bin/busybox /mnt/f$n; n=$((n+1)); [ $n = 5 ] && echo WRI""TING; [ $n = 20 ] && n=0; done\n');
  await shell.waitFor('WRITING', from);
  shell.child.kill('SIGKILL');
  await shell.ended;
  expect([0, 1]).toContain(check(image, '-p'));
  expect(check(image, '-n')).toBe(0);
  const synced = execFileSync('debugfs', ['-R', 'cat /synced', image], { maxBuffer: 1 << 26, stdio: ['ignore', 'pipe', 'ignore'] });
  expect(Buffer.compare(synced, execFileSync('cat', [amd64.busybox], { maxBuffer: 1 << 26 }))).toBe(0);
}, TEST_MS);

it('a second guest is refused an image that a first one writes to', async () => {
  const image = fileSystem('shared.raw');
  const first = boot(amd64, '--disk', image);
  await first.waitFor('GUEST-READY');
  const second = boot(amd64, '--disk', image);
  expect(await second.ended).toBe(125);
  expect(second.errors).toContain('in use');
}, TEST_MS);
