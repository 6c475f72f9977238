/** Debian suspends to RAM and wakes: its memory, disk and network are as before. */
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { driverGuest } from '../helpers/driver-guest.ts';
import { grubIso } from '../helpers/isoImages.ts';
import { GuestShell, guestOptions } from '../helpers/guests.ts';
import type { Guest } from '../helpers/guests.ts';

const TEST_MS = 200_000;
/** An alarm that comes before the system sleeps keeps it awake: once more then. */
const suspend = 'until echo 0 > /sys/class/rtc/rtc0/wakealarm; echo +4 > /sys/class/rtc/rtc0/wakealarm; echo mem > /sys/power/state; do :; done 2>/dev/null';
let folder = '';
let guest: Guest;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'vanderpool-suspend-'));
  guest = await driverGuest('amd64', folder);
}, 600_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it('started by a BIOS, which finds the way back', async () => {
  const iso = grubIso({ folder, guest, append: 'console=ttyS0 quiet' });
  const shell = new GuestShell(['run', '--firmware', 'bios', '--cdrom', iso, '--memory', '512M', '--timeout', '180']);
  onTestFinished(() => void shell.child.kill('SIGKILL'));
  await shell.waitFor('# ', await shell.waitFor('GUEST-READY'));
  await shell.ask('echo in memory > /tmp/file');
  expect(await shell.ask('cat /sys/power/mem_sleep')).toContain('[deep]');
  await shell.ask(suspend);
  expect(await shell.ask('cat /sys/power/suspend_stats/success; cat /tmp/file')).toBe('1\nin memory\n');
}, TEST_MS);

it.each([1, 2])('with %i processors, woken by the alarm of its clock', async (cpus) => {
  const disk = join(folder, `disk-${cpus}.raw`);
  writeFileSync(disk, 'on the disk\n');
  truncateSync(disk, 16 << 20);
  const shell = new GuestShell([...guestOptions(guest, '', 180), '--cpus', String(cpus), '--disk', disk, '--net', 'user']);
  onTestFinished(() => void shell.child.kill('SIGKILL'));
  await shell.waitFor('# ', await shell.waitFor('GUEST-READY'));
  await shell.ask('ifconfig eth0 up; udhcpc -i eth0 -n -q >/dev/null 2>&1; echo in memory > /tmp/file');
  expect(await shell.ask('cat /sys/power/mem_sleep')).toContain('[deep]');
  await shell.ask(suspend);
  expect(await shell.ask('cat /sys/power/suspend_stats/success')).toBe('1\n');
  expect(await shell.ask('echo 3 > /proc/sys/vm/drop_caches; head -n 1 /dev/vda; cat /tmp/file')).toBe('on the disk\nin memory\n');
  expect(await shell.ask('ping -c 1 -W 5 10.0.2.2 | grep -c "1 packets received"')).toBe('1\n');
  expect(await shell.ask('grep -c ^processor /proc/cpuinfo')).toBe(`${cpus}\n`);
}, TEST_MS);
