/**
 * `npm run yardstick -- disks [--only PATTERN]... [--seed N]`: Debian with its root on ext4 on every kind of disk. It reboots by itself, finds what it
 * wrote, and e2fsck finds nothing; it is killed at a random moment while it writes, the journal mends the rest, what was synced is there, and it boots again.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { driverGuest } from '../helpers/driver-guest.ts';
import { GuestShell, guestOptions } from '../helpers/guests.ts';
import type { Guest } from '../helpers/guests.ts';

type Kernel = Parameters<typeof driverGuest>[0];

interface DiskRow {
  readonly name: string;
  readonly kernel: Kernel;
  readonly bus: string;
  readonly device: string;
  readonly drivers: readonly string[];
}

const buses = [
  { name: 'virtio-blk', bus: 'virtio', device: '/dev/vda', drivers: ['virtio_pci', 'virtio_blk'] }, { name: 'virtio-scsi', bus: 'scsi', device: '/dev/sda', drivers: ['virtio_pci', 'virtio_scsi'] },
  { name: 'NVMe', bus: 'nvme', device: '/dev/nvme0n1', drivers: ['nvme'] }, { name: 'AHCI', bus: 'ahci', device: '/dev/sda', drivers: ['ahci'] },
] as const;
/** The cloud kernel has no AHCI. */
const kernels = [
  { name: 'amd64', kernel: (bus: string): Kernel => (bus === 'ahci' ? 'amd64-full' : 'amd64') }, { name: 'i386', kernel: (): Kernel => 'i386' },
] as const;
export const diskRows: readonly DiskRow[] = kernels.flatMap(({ name, kernel }) => buses.map((bus) => ({ ...bus, name: `${name} ${bus.name}`, kernel: kernel(bus.bus) })));

const IMAGE_BYTES = 96 << 20;
const SECONDS = 280;
/** How long a guest writes before it is killed, at most. */
const KILL_MS = 4000;

const initramfs = (device: string): string => `
for i in $(seq 100); do [ -b ${device} ] && break; sleep 0.1; done
mount -t ext4 ${device} /mnt
exec switch_root /mnt /sbin/init
`;

const init = `#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox --install -s /bin
export PATH=/bin
exec 0</dev/console 1>/dev/console 2>&1
boot=$(($(cat /boots) + 1))
echo $boot > /boots
sync
echo "BOOT $boot"
if grep -q writes /proc/cmdline; then
  n=0
  while true; do
    n=$((n + 1))
    cp /bin/busybox /data/$((n % 6))
    echo $n > /data/mark
    sync
    echo "SYNCED $n"
  done
fi
if [ $boot = 1 ]; then
  cat /bin/busybox /bin/busybox /bin/busybox > /data/file
  md5sum /data/file > /data/sum
  sync
  mount -o remount,ro /
  reboot -f
fi
md5sum -c /data/sum && echo SAME
mount -o remount,ro /
poweroff -f
`;

/** An ext4 file system with busybox and its init. */
function rootImage(folder: string, guest: Guest): string {
  const tree = join(folder, 'root');
  for (const path of ['bin', 'sbin', 'dev', 'proc', 'data']) mkdirSync(join(tree, path), { recursive: true });
  copyFileSync(guest.busybox, join(tree, 'bin/busybox'));
  writeFileSync(join(tree, 'sbin/init'), init);
  writeFileSync(join(tree, 'boots'), '0\n');
  chmodSync(join(tree, 'bin/busybox'), 0o755);
  chmodSync(join(tree, 'sbin/init'), 0o755);
  const image = join(folder, 'root.raw');
  writeFileSync(image, '');
  truncateSync(image, IMAGE_BYTES);
  execFileSync('mke2fs', ['-q', '-t', 'ext4', '-F', '-d', tree, image]);
  rmSync(tree, { recursive: true });
  return image;
}

function check(image: string, mode: '-n' | '-p', allowed: readonly number[]): void {
  const { status, stdout } = spawnSync('e2fsck', ['-f', mode, image], { encoding: 'utf8' });
  if (!allowed.includes(status ?? -1)) throw new Error(`e2fsck ${mode} ended with ${status}: ${stdout}`);
}

function start(guest: Guest, row: DiskRow, image: string, words: string): GuestShell {
  return new GuestShell([...guestOptions(guest, words, SECONDS), '--disk', `${image},format=raw,bus=${row.bus}`]);
}

async function reboots(guest: Guest, row: DiskRow, image: string): Promise<void> {
  const shell = start(guest, row, image, '');
  const status = await shell.ended;
  if (status !== 0 || !/BOOT 1\r?\n[\s\S]*BOOT 2\r?\n[\s\S]*SAME/.test(shell.output)) throw new Error(`the guest ended with ${status}: ${shell.output.slice(-1500)}${shell.errors}`);
  check(image, '-n', [0]);
}

async function isKilled(guest: Guest, row: DiskRow, image: string, moment: number): Promise<string> {
  const shell = start(guest, row, image, 'writes');
  await shell.waitFor('SYNCED 2\r\n');
  await delay(moment);
  shell.child.kill('SIGKILL');
  await shell.ended;
  const synced = Number(/SYNCED (\d+)\r?\n(?![\s\S]*SYNCED \d+\r?\n)/.exec(shell.output)?.[1]);
  check(image, '-p', [0, 1]);
  check(image, '-n', [0]);
  const mark = Number(execFileSync('debugfs', ['-R', 'cat /data/mark', image], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }));
  if (!(mark >= synced)) throw new Error(`the guest was told that ${synced} is on the disk, and ${mark} is`);
  const again = start(guest, row, image, '');
  const status = await again.ended;
  if (status !== 0 || !again.output.includes('SAME')) throw new Error(`the guest did not boot again: ${again.output.slice(-1500)}${again.errors}`);
  return `${synced} synced, killed after ${Math.round(moment)} ms`;
}

/** @returns whether all went well */
export async function runDisks(rows: readonly DiskRow[], seed: number): Promise<boolean> {
  let random = seed >>> 0;
  let well = true;
  for (const row of rows) {
    random = (Math.imul(random, 1664525) + 1013904223) >>> 0;
    const folder = mkdtempSync(join(tmpdir(), 'vanderpool-disks-'));
    try {
      const guest = await driverGuest(row.kernel, folder, initramfs(row.device), [...row.drivers, 'ext4', 'crc32c_generic']);
      const image = rootImage(folder, guest);
      await reboots(guest, row, image);
      console.log(`${row.name}: holds (reboot; ${await isKilled(guest, row, image, (random / 2 ** 32) * KILL_MS)})`);
    } catch (error) {
      well = false;
      console.log(`${row.name}: does not hold: ${error instanceof Error ? error.message : String(error)}`);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }
  return well;
}
