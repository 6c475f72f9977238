/** A Debian guest whose initramfs brings the drivers of disks and networks: they are modules of its kernel. */
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { writeCpio } from '../../build/guests/cpio.ts';
import type { CpioEntry } from '../../build/guests/cpio.ts';
import { guestsFolder } from '../../build/guests/fetch.ts';
import { root } from './command-line.ts';
import { provideGuest } from './guests.ts';
import type { Guest } from './guests.ts';

const drivers: Readonly<Record<'amd64' | 'amd64-full' | 'i386', readonly string[]>> = {
  // NVMe and ext4 are part of the cloud kernel.
  amd64: ['virtio_pci', 'virtio_blk', 'virtio_net', 'virtio_rng', 'virtio_scsi', 'sd_mod', 'sr_mod', 'isofs'],
  'amd64-full': ['ahci', 'sd_mod', 'sr_mod', 'isofs', 'crc32c_generic', 'ext4'],
  i386: ['ahci', 'sd_mod', 'sr_mod', 'isofs', 'crc32c_generic', 'ext4'],
};

const init = (script: string): string => `#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
exec 0</dev/console 1>/dev/console 2>&1
for module in $(cat /modules); do insmod /mod/$module; done
echo GUEST-READY
${script}
poweroff -f
`;

const lease = `#!/bin/sh
[ $1 = bound ] || { ifconfig $interface 0.0.0.0; exit; }
ifconfig $interface $ip netmask $subnet
[ -z "$router" ] || route add default gw $router
[ -z "$dns" ] || echo nameserver $dns > /etc/resolv.conf
`;

/** The guest of that name with its drivers loaded before it is ready. @param folder where its initramfs goes, @param script what it runs then, @param more drivers besides those of its disks */
export async function driverGuest(name: keyof typeof drivers, folder: string, script = 'setsid cttyhack sh', more: readonly string[] = []): Promise<Guest> {
  const guest = await provideGuest(name);
  const modules = orderedModules(modulePaths(join(root, guestsFolder, name)), [...drivers[name], ...more]);
  const folders = ['bin', 'dev', 'proc', 'sys', 'tmp', 'mod', 'mnt', 'root', 'etc', 'etc/udhcpc'].map((path): CpioEntry => ({ kind: 'directory', path }));
  const archive = writeCpio([
    ...folders,
    { kind: 'device', path: 'dev/console', major: 5, minor: 1 },
    { kind: 'file', path: 'bin/busybox', data: readFileSync(guest.busybox), executable: true },
    { kind: 'file', path: 'init', data: Buffer.from(init(script)), executable: true },
    { kind: 'file', path: 'etc/udhcpc/default.script', data: Buffer.from(lease), executable: true },
    { kind: 'file', path: 'modules', data: Buffer.from(modules.map((path) => `${basename(path)}\n`).join('')) },
    ...modules.map((path): CpioEntry => ({ kind: 'file', path: `mod/${basename(path)}`, data: readFileSync(path) })),
  ]);
  mkdirSync(folder, { recursive: true });
  const initramfs = join(folder, `${name}-drivers.cpio`);
  writeFileSync(initramfs, archive);
  return { ...guest, initramfs };
}

/** Modules of the kernel package by their names. */
function modulePaths(folder: string): Map<string, string> {
  const kernel = readdirSync(folder).find((entry) => entry.startsWith('linux-image-'));
  if (kernel === undefined) throw new Error(`no kernel package in ${folder}`);
  const files = readdirSync(join(folder, kernel, 'lib/modules'), { recursive: true, encoding: 'utf8' });
  return new Map(files.filter((file) => file.endsWith('.ko')).map((file) => [moduleName(basename(file, '.ko')), join(folder, kernel, 'lib/modules', file)]));
}

/** Each module behind those that it depends on, as its own description says. */
function orderedModules(paths: ReadonlyMap<string, string>, wanted: readonly string[]): string[] {
  const ordered: string[] = [];
  const add = (name: string): void => {
    const path = paths.get(moduleName(name));
    if (path === undefined || ordered.includes(path)) return;
    const depends = /\0depends=([^\0]*)\0/.exec(readFileSync(path, 'latin1'))?.[1] ?? '';
    for (const dependency of depends.split(',').filter((word) => word !== '')) add(dependency);
    ordered.push(path);
  };
  wanted.forEach(add);
  return ordered;
}

function moduleName(text: string): string {
  return text.replaceAll('-', '_');
}
