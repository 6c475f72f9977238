/** Devices of the host that come to Debian and go while it runs: a USB stick (with a stand-in at the library's boundary), an image, a demonstrator. */
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it, onTestFinished } from 'vitest';
import { vanderpool } from '../helpers/command-line.ts';
import { driverGuest } from '../helpers/driver-guest.ts';
import { GuestShell } from '../helpers/guests.ts';

const MIB = 1 << 20;

/** Answers ARP requests among the frames of a piece: this address is at 02:00:00:00:09:01. */
function answerArp(peer: Socket, data: Buffer): void {
  for (let at = 0; at + 4 < data.length; at += 4 + data.readUInt32BE(at)) {
    const frame = data.subarray(at + 4, at + 4 + data.readUInt32BE(at));
    if (frame.length < 42 || frame.readUInt16BE(12) !== 0x0806 || frame.readUInt16BE(20) !== 1) continue;
    const reply = Buffer.alloc(64);
    reply.writeUInt32BE(60);
    const mine = Buffer.from([2, 0, 0, 0, 9, 1]);
    frame.copy(reply, 4, 6, 12);
    mine.copy(reply, 10);
    frame.copy(reply, 16, 12, 20);
    reply.writeUInt16BE(2, 24);
    mine.copy(reply, 26);
    frame.copy(reply, 32, 38, 42);
    frame.copy(reply, 36, 22, 32);
    peer.write(reply);
  }
}

const stick = 'usb:46f4:0001:stick-1';

const folder = mkdtempSync(join(tmpdir(), 'vanderpool-hot-'));
const library = join(folder, 'library');
afterAll(async () => {
  await vanderpool(['engine', 'stop', '--force', '--library', library]);
  rmSync(folder, { recursive: true, force: true });
});

async function command(...words: readonly string[]): Promise<string> {
  const { stdout, stderr, status } = await vanderpool([...words, '--library', library]);
  expect(status, stderr).toBe(0);
  return stdout;
}

it('a USB stick, an image and a demonstrator come and go', async () => {
  const [image, contents] = [join(folder, 'image.raw'), join(folder, 'stick')];
  writeFileSync(image, Buffer.alloc(8 * MIB));
  writeFileSync(contents, Buffer.alloc(4 * MIB, 'stick '));
  process.env['VANDERPOOL_USB'] = join(import.meta.dirname, '../doubles/usbLibrary.ts');
  process.env['VANDERPOOL_USB_FILE'] = contents;
  const guest = await driverGuest('i386', folder, undefined, ['usbcore', 'xhci-hcd', 'xhci-pci', 'usb-storage', 'nvme', 'e1000e']);
  await command('vm', 'create', 'debian', '--kernel', guest.kernel, '--initrd', guest.initramfs, '--append', 'console=ttyS0 quiet');
  await command('device', 'assign', stick, 'debian');
  await command('vm', 'start', 'debian');
  const shell = new GuestShell(['console', 'debian', '--library', library]);
  onTestFinished(() => void shell.child.kill('SIGKILL'));
  await shell.waitFor('# ', await shell.waitFor('GUEST-READY'));
  const until = (what: string, condition: string): Promise<string> => shell.ask(`n=0; while ! (${condition}) && [ $n -lt 100 ]; do usleep 200000; n=$((n+1)); done; (${condition}) && echo ${what}`);

  // The stick of the start: read through its own host controller, behind the workstation's remapping unit.
  expect(await until('THERE', 'test -b /dev/sda')).toContain('THERE');
  expect(await shell.ask('head -c 18 /dev/sda; echo')).toContain('stick stick stick ');
  expect(await shell.ask('echo hello | dd of=/dev/sda conv=fsync 2>/dev/null; echo written')).toContain('written');
  expect(readFileSync(contents, 'latin1').slice(0, 6)).toBe('hello\n');
  expect(await command('iommu', 'show', 'debian')).toMatch(/01:00\.0 +Vanderpool Stick +80:/);
  // It is pulled out of the host, and returns.
  renameSync(contents, `${contents}.away`);
  expect(await until('GONE', '! test -b /dev/sda')).toContain('GONE');
  renameSync(`${contents}.away`, contents);
  expect(await until('THERE', 'ls /dev/sd?')).toContain('THERE');

  // An image, at once; the guest makes a file system in it.
  await command('device', 'add', 'disk', image);
  expect(await command('device', 'assign', image, 'debian')).toContain('it is there now');
  expect(await until('THERE', 'test -b /dev/nvme0n1')).toContain('THERE');
  expect(await shell.ask('mke2fs /dev/nvme0n1 >/dev/null 2>&1; sync; echo made')).toContain('made');
  expect(await command('device', 'list')).toMatch(/disk .*in use +debian/);
  await command('device', 'release', image);
  expect(await until('GONE', '! test -b /dev/nvme0n1')).toContain('GONE');
  expect(readFileSync(image).readUInt16LE(1024 + 56)).toBe(0xef53);

  // A socket, which is a network card in the guest; its peer answers who has which address.
  const server = createServer((peer) => peer.on('data', (data: Buffer) => answerArp(peer, data)).on('error', () => undefined));
  const socket = join(folder, 'socket');
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  onTestFinished(() => void server.close());
  await command('device', 'add', 'nic', socket);
  await command('device', 'assign', socket, 'debian');
  expect(await until('THERE', 'test -d /sys/class/net/eth0')).toContain('THERE');
  expect(await shell.ask('ifconfig eth0 10.9.9.2 up; n=0; while ! grep -q 02:00:00:00:09:01 /proc/net/arp && [ $n -lt 10 ]; do ping -c 1 -W 1 10.9.9.1 >/dev/null; n=$((n+1)); done; cat /proc/net/arp')).toMatch(/10\.9\.9\.1 .*02:00:00:00:09:01/);
  await command('device', 'release', socket, '--force');

  // A demonstrator, pulled out by force.
  await command('device', 'assign', 'edu:0', 'debian');
  expect(await until('THERE', 'grep -q 0x11e8 /sys/bus/pci/devices/*/device')).toContain('THERE');
  await command('device', 'release', 'edu:0', '--force');
  expect(await until('GONE', '! grep -q 0x11e8 /sys/bus/pci/devices/*/device')).toContain('GONE');

  // The stick, which was there from the start, and comes back.
  await command('device', 'release', stick);
  expect(await until('GONE', '! ls /dev/sd? 2>/dev/null')).toContain('GONE');
  await command('device', 'assign', stick, 'debian');
  expect(await until('THERE', 'ls /dev/sd?')).toContain('THERE');

  // The machine crashes: nothing holds its device any more.
  const { processId } = JSON.parse(await command('vm', 'show', 'debian', '--json')) as { readonly processId: number };
  process.kill(processId, 'SIGKILL');
  await expect.poll(() => command('device', 'show', stick)).toMatch(/^State: +assigned$/m);
  await command('device', 'release', stick);
}, 240_000);

it('a machine that is put back to a snapshot keeps its devices, which the snapshot does not know', async () => {
  await command('vm', 'create', 'watched', '--memory', '64M');
  await command('vm', 'start', 'watched');
  await command('snapshot', 'take', 'watched', 'before');
  await command('device', 'assign', 'edu:1', 'watched');
  for (let time = 0; time < 2; time++) {
    await command('snapshot', 'restore', 'watched', 'before');
    expect(await command('vm', 'show', 'watched')).toMatch(/running/);
    expect(await command('device', 'show', 'edu:1')).toMatch(/^State: +in use$/m);
    expect(await command('iommu', 'show', 'watched')).toMatch(/edu demonstrator 1 +80:/);
  }
  await command('device', 'release', 'edu:1', '--force');
  await command('snapshot', 'restore', 'watched', 'before');
  expect(await command('vm', 'show', 'watched')).toMatch(/running/);
});
