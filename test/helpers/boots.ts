/** Systems that start from firmware or in its place, each to where it shows that it works. A boot throws when it does not get there. */
import { spawnSync } from 'node:child_process';
import { closeSync, copyFileSync, existsSync, openSync, readFileSync, readSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { diskDefaults, networkDefaults } from '../../core/contract/index.ts';
import { machineModuleUrl } from '../../core/machine/entries.ts';
import { guestsFolder } from '../../build/guests/fetch.ts';
import { root } from './command-line.ts';
import { driverGuest } from './driver-guest.ts';
import { startTestEngine, until } from './engine.ts';
import { gptDisk, rootPartition } from './gptDisk.ts';
import { fetchOnce, GuestShell, provideGuest } from './guests.ts';
import { grubIso } from './isoImages.ts';
import { installerAnswers, partitionDisk } from './installer.ts';
import { serveInstallerMirror } from './installerMirror.ts';
import { readFont, screenText } from './screen.ts';

export interface Boot {
  readonly name: string;
  readonly title: string;
  /** Minutes, or seconds. */
  readonly slow: boolean;
  /** @param folder scratch space, @param report told of how far it is */
  readonly run: (folder: string, report: (line: string) => void) => Promise<void>;
}

/** The unpacked files of a package; fetched when they are missing. */
async function packageFiles(guest: string, name: string): Promise<string> {
  const folder = join(root, guestsFolder, guest, name);
  await fetchOnce(guest, () => !existsSync(folder));
  return folder;
}

function expectEqual(what: string, found: unknown, wanted: unknown): void {
  if (found !== wanted) throw new Error(`${what}: ${String(found)} instead of ${String(wanted)}`);
}

async function ended(shell: GuestShell): Promise<void> {
  expectEqual('exit status', await shell.ended, 0);
}

/** GRUB starts Debian from a GPT disk; the root is written to, survives a reset, and is clean. */
async function grubOnGpt(folder: string): Promise<void> {
  const guest = await provideGuest('amd64');
  const script = 'if [ -e /second ]; then echo SECOND-TIME; cat /second; else echo written before > /second; sync; umount -a -r; reboot -f; sleep 100; fi';
  const disk = gptDisk({ folder, guest, script });
  const shell = new GuestShell(['run', '--firmware', 'uefi', '--disk', `${disk},bus=nvme`, '--timeout', '300']);
  await shell.waitFor('written before', await shell.waitFor('SECOND-TIME', await shell.waitFor('ROOT-READY')));
  await ended(shell);
  const copy = join(folder, 'checked.ext4');
  const file = openSync(disk, 'r');
  const bytes = Buffer.alloc(rootPartition.bytes);
  readSync(file, bytes, 0, bytes.length, rootPartition.first);
  closeSync(file);
  writeFileSync(copy, bytes);
  expectEqual('e2fsck', spawnSync('e2fsck', ['-f', '-n', copy]).status, 0);
}

/** Without a disk OVMF comes to its shell, which knows the firmware's version and powers off. */
async function uefiShell(): Promise<void> {
  const shell = new GuestShell(['run', '--firmware', 'uefi', '--timeout', '120']);
  await shell.waitFor('Shell> ');
  shell.child.stdin.write('ver\r');
  const at = await shell.waitFor('UEFI v2.', shell.output.length - 1);
  await shell.waitFor('Shell> ', at);
  shell.child.stdin.write('reset -s\r');
  await ended(shell);
}

/** SeaBIOS looks at the serial line 18 times a second, and holds few keys: each waits for its echo. Returns where the echo ends. */
async function typeSlowly(shell: GuestShell, line: string): Promise<number> {
  let at = shell.output.length;
  for (const letter of line) {
    shell.child.stdin.write(letter);
    at = await shell.waitFor(letter, at);
  }
  shell.child.stdin.write('\r');
  return at;
}

/** Debian sleeps in memory, and OVMF brings it back. */
async function suspendUnderUefi(folder: string): Promise<void> {
  const guest = await driverGuest('amd64', folder, 'echo +10 > /sys/class/rtc/rtc0/wakealarm; echo mem > /sys/power/state; echo SUSPENDED $(cat /sys/power/suspend_stats/success)');
  const shell = new GuestShell(['run', '--firmware', 'uefi', '--cdrom', grubIso({ folder, guest, append: 'console=ttyS0 quiet' }), '--timeout', '200']);
  await shell.waitFor('SUSPENDED 1', await shell.waitFor('GUEST-READY'));
  await ended(shell);
}

/** iPXE has an address, takes kernel and initramfs from a web server on the host, and starts them. */
async function ipxe(): Promise<void> {
  const guest = await provideGuest('amd64');
  const files = new Map([['/vmlinuz', guest.kernel], ['/initrd', guest.initramfs]]);
  const server = createServer((request, response) => {
    const path = files.get(request.url ?? '');
    response.writeHead(path === undefined ? 404 : 200).end(path === undefined ? '' : readFileSync(path));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const base = `http://10.0.2.2:${(server.address() as AddressInfo).port}`;
  const image = join(await packageFiles('ipxe', 'ipxe'), 'usr/lib/ipxe/ipxe.iso');
  const shell = new GuestShell(['run', '--firmware', 'bios', '--display', 'vga', '--cdrom', image, '--net', 'user,host-loopback', '--timeout', '200']);
  try {
    await shell.waitFor('Ctrl-B');
    shell.child.stdin.write('\x02');
    let at = await shell.waitFor('iPXE> ');
    for (const command of ['dhcp', `kernel ${base}/vmlinuz console=ttyS0 quiet bootonly`, `initrd ${base}/initrd`]) {
      at = await shell.waitFor('iPXE> ', await shell.waitFor('ok', await typeSlowly(shell, command)));
    }
    at = await typeSlowly(shell, 'boot');
    await shell.waitFor('GUEST-READY', at);
    await ended(shell);
  } finally {
    server.close();
  }
}

/** Without a disk firmware fetches iPXE's script by TFTP, that kernel and initramfs, and Debian starts. */
async function netBoot(folder: string, firmware: 'bios' | 'uefi', model: 'virtio' | 'e1000e'): Promise<void> {
  const guest = await provideGuest('amd64');
  await packageFiles('ipxe', 'ipxe-qemu');
  copyFileSync(guest.kernel, join(folder, 'vmlinuz'));
  copyFileSync(guest.initramfs, join(folder, 'initrd'));
  const script = join(folder, 'boot.ipxe');
  writeFileSync(script, '#!ipxe\nkernel vmlinuz initrd=initrd console=ttyS0 quiet bootonly\ninitrd initrd\nboot\n');
  const shell = new GuestShell(['run', '--firmware', firmware, '--net', `user,model=${model},boot=last,boot-file=${script}`, '--timeout', '200']);
  await shell.waitFor('GUEST-READY', await shell.waitFor('tftp://10.0.2.2/boot.ipxe... ok'));
  await ended(shell);
}

/** All tests over 256 MB, once through, without an error. */
async function memtest(_folder: string, report: (line: string) => void): Promise<void> {
  const image = join(await packageFiles('memtest', 'memtest86+'), 'boot/memtest86+x64.bin');
  const shell = new GuestShell(['run', '--kernel', image, '--append', 'console=ttyS0,115200', '--memory', '256M', '--timeout', '3000']);
  // Fields are written at their places on the screen.
  await shell.waitFor('Pass:  1');
  const errors = [...shell.output.matchAll(/Errors: *(\d+)/g)].at(-1)?.[1];
  report(`time by its own clock ${[...shell.output.matchAll(/Time: *([\d:]+)/g)].at(-1)?.[1] ?? ''}`);
  shell.child.kill('SIGKILL');
  expectEqual('errors', errors, '0');
}

const installerPackage = 'debian-installer-13-netboot-amd64';
const installerImages = 'usr/lib/debian-installer/images/13/amd64/text/debian-installer/amd64';
const INSTALLER_PATIENCE_MS = 600_000;

/** What guided partitioning leaves: a partition table, and an ext4 file system in the first partition. */
function checkPartitioned(disk: string): void {
  const file = openSync(disk, 'r');
  const sector = Buffer.alloc(512);
  readSync(file, sector, 0, 512, 0);
  expectEqual('signature of the partition table', sector.readUInt16LE(510), 0xaa55);
  const magic = Buffer.alloc(2);
  readSync(file, magic, 0, 2, sector.readUInt32LE(446 + 8) * 512 + 1024 + 56);
  closeSync(file);
  expectEqual('magic number of the file system', magic.readUInt16LE(0), 0xef53);
}

function emptyDisk(folder: string): string {
  const disk = join(folder, 'installed.raw');
  writeFileSync(disk, '');
  truncateSync(disk, 8 * 2 ** 30);
  return disk;
}

async function installerOnSerial(folder: string, report: (line: string) => void): Promise<void> {
  const images = join(await packageFiles('installer', installerPackage), installerImages);
  const disk = emptyDisk(folder);
  const mirror = await serveInstallerMirror(join(images, 'linux'), report);
  const shell = new GuestShell([
    'run', '--kernel', join(images, 'linux'), '--initrd', join(images, 'initrd.gz'), '--append', `console=ttyS0,115200n8 ${installerAnswers} ${mirror.answers}`, '--memory', '1G',
    '--disk', disk, '--net', 'user,host-loopback', '--timeout', '3600',
  ]);
  let read = 0;
  try {
    await partitionDisk({
      // eslint-disable-next-line no-control-regex -- terminal control sequences
      text: async () => shell.output.slice(read).replace(/\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\x0e|\x0f/g, ''),
      press: async (key) => {
        read = shell.output.length;
        shell.child.stdin.write(key === 'Enter' ? '\r' : '\x1b[D');
      },
    }, INSTALLER_PATIENCE_MS, report);
  } finally {
    mirror.close();
    shell.child.kill('SIGKILL');
    await shell.ended;
  }
  checkPartitioned(disk);
}

async function installerOnDisplay(folder: string, report: (line: string) => void): Promise<void> {
  const images = join(await packageFiles('installer', installerPackage), installerImages);
  const disk = emptyDisk(folder);
  const font = readFont();
  const mirror = await serveInstallerMirror(join(images, 'linux'), report);
  const { client, end } = await startTestEngine(undefined, machineModuleUrl());
  const vm = 'Installer';
  const boot = { kind: 'image' as const, kernel: join(images, 'linux'), initrd: join(images, 'initrd.gz'), append: `fb=false ${installerAnswers} ${mirror.answers}`, modules: [] };
  try {
    await client.call('vm.create', { config: { name: vm, boot, memoryBytes: 1 << 30, display: 'vga', disks: [{ ...diskDefaults, path: disk, bus: 'ahci' }], networks: [{ ...networkDefaults, hostLoopback: true }] } });
    await client.call('vm.start', { vm });
    await partitionDisk({
      text: async () => screenText((await client.call('display.capture', { vm })).png, font),
      // The console's font draws these in another way than the VGA's.
      unreadable: /[fmwTMW]/g,
      press: async (code) => {
        for (const down of [true, false]) await client.call('display.input', { vm, input: { keys: [{ code, down }] } });
      },
    }, INSTALLER_PATIENCE_MS, report);
    await client.call('vm.stop', { vm, force: true });
    await until(async () => (await client.call('vm.get', { vm })).processId === null, 'the process is gone');
  } finally {
    mirror.close();
    await end();
  }
  checkPartitioned(disk);
}

export const boots: readonly Boot[] = [
  { name: 'uefi-shell', title: 'OVMF to its shell, which powers off', slow: false, run: uefiShell },
  { name: 'grub-gpt', title: 'OVMF, GRUB on a GPT disk, Debian on ext4, over a reset, fsck clean', slow: false, run: grubOnGpt },
  { name: 'ipxe', title: 'SeaBIOS, iPXE from an ISO image, Debian over HTTP', slow: false, run: ipxe },
  { name: 'netboot-bios', title: 'SeaBIOS, iPXE in the option ROM of virtio-net, Debian over TFTP', slow: false, run: (folder) => netBoot(folder, 'bios', 'virtio') },
  { name: 'netboot-uefi', title: 'OVMF, iPXE in the option ROM of an e1000e, Debian over TFTP', slow: true, run: (folder) => netBoot(folder, 'uefi', 'e1000e') },
  { name: 'suspend-uefi', title: 'OVMF, GRUB from an ISO image, Debian suspended to RAM and woken', slow: true, run: suspendUnderUefi },
  { name: 'memtest', title: 'memtest86+, a full pass over 256 MB', slow: true, run: memtest },
  { name: 'installer-serial', title: 'Debian\'s installer on COM1, to a partitioned virtio disk', slow: true, run: installerOnSerial },
  { name: 'installer-display', title: 'Debian\'s installer on the display, to a partitioned AHCI disk', slow: true, run: installerOnDisplay },
];
