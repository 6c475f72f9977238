/** Whole systems on the machine: Debian's KVM with Debian's QEMU, and Xen with a Debian dom0, from packages alone. */
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeCpio } from '../../build/guests/cpio.ts';
import type { CpioEntry } from '../../build/guests/cpio.ts';
import { guestFiles } from '../../build/guests/fetch.ts';
import { root } from '../helpers/command-line.ts';
import { GuestShell } from '../helpers/guests.ts';
import { providePackages, withFolders } from '../helpers/packages.ts';

export interface System {
  readonly name: string;
  readonly title: string;
  /** What was seen, in a few words. @throws Error saying what was not */
  readonly run: (folder: string) => Promise<string>;
}

const SECONDS = 600;
const MIB = 1 << 20;
const DATA = 4 * MIB;

const KVM_MODULES = ['irqbypass', 'kvm', 'kvm-intel'];
const VFIO_MODULES = ['vfio_virqfd', 'vfio', 'vfio_iommu_type1', 'vfio-pci-core', 'vfio-pci'];
const QEMU = 'usr/bin/qemu-system-x86_64';
const QEMU_FILES = ['usr/share/seabios/bios-256k.bin', 'usr/share/seabios/vgabios-stdvga.bin', 'usr/share/qemu/linuxboot_dma.bin', 'usr/share/qemu/kvmvapic.bin'];

function expect(what: string, said: string, pattern: RegExp): RegExpExecArray {
  const found = pattern.exec(said);
  if (!found) throw new Error(`${what}: nothing matches ${String(pattern)} in\n${said}`);
  return found;
}

/** What the guest of the guest does: says who it is, tries the disk if it has one, and powers off. */
const INNER_INIT = `#!/bin/sh
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev 2>/dev/null
exec 0</dev/console 1>/dev/console 2>&1
echo INNER-READY $(uname -r)
dmesg | grep 'Hypervisor detected'
for n in 1 2 3 4 5 6 7 8 9 10; do [ -b /dev/nvme0n1 ] && break; grep -q disk /proc/cmdline || break; sleep 1; done
if [ -b /dev/nvme0n1 ]; then
  dd if=/dev/urandom of=/data bs=1M count=4 2>/dev/null
  dd if=/data of=/dev/nvme0n1 bs=64k conv=fsync 2>/dev/null
  echo 3 >/proc/sys/vm/drop_caches
  echo INNER-WROTE $(sha256sum </data)
  echo INNER-READ $(head -c ${DATA} /dev/nvme0n1 | sha256sum)
fi
echo INNER-DONE
poweroff -f
`;

/** Debian with KVM, VFIO, QEMU and a guest of its own. @returns the shell of the outer guest */
async function hypervisor(folder: string, words: string, options: readonly string[]): Promise<GuestShell> {
  const packages = await providePackages('qemu');
  const debian = await providePackages('amd64');
  const { kernel, initramfs } = guestFiles(root, 'amd64');
  const inner = Buffer.concat([readFileSync(initramfs), writeCpio([{ kind: 'file', path: 'init', data: Buffer.from(INNER_INIT), executable: true }])]);
  const files: CpioEntry[] = [
    ...packages.program(QEMU), ...QEMU_FILES.map((path) => packages.entry(path, path)),
    ...[...KVM_MODULES, ...VFIO_MODULES].map((name) => debian.entry(`${name}.ko`, `mod/${name}.ko`)),
    { kind: 'file', path: 'inner/vmlinuz', data: readFileSync(kernel) }, { kind: 'file', path: 'inner/initramfs', data: inner },
  ];
  const archive = join(folder, 'initramfs.cpio');
  writeFileSync(archive, Buffer.concat([readFileSync(initramfs), writeCpio(withFolders(files))]));
  const shell = new GuestShell([
    'run', '--kernel', kernel, '--initrd', archive, '--append', `console=ttyS0 quiet shell ${words}`, '--memory', '1536M', '--timeout', String(SECONDS), ...options,
  ]);
  await shell.waitFor('# ', await shell.waitFor('GUEST-READY'));
  for (const name of KVM_MODULES) expect(`insmod ${name}`, await shell.ask(`insmod /mod/${name}.ko && echo loaded`), /^loaded$/m);
  expect('EPT', await shell.ask('cat /sys/module/kvm_intel/parameters/ept'), /^Y$/m);
  return shell;
}

/** Starts QEMU with KVM in the outer guest; what it and the inner guest said. */
function qemu(shell: GuestShell, words: string, options: string): Promise<string> {
  return shell.ask(`/${QEMU} -accel kvm -cpu host -nodefaults -no-user-config -display none -serial stdio -no-reboot -m 256 `
    + `-kernel /inner/vmlinuz -initrd /inner/initramfs -append "console=ttyS0 quiet ${words}" ${options} 2>&1`);
}

async function nested(folder: string): Promise<string> {
  const shell = await hypervisor(folder, '', []);
  try {
    const said = await qemu(shell, '', '');
    expect('the inner guest', said, /INNER-DONE/);
    return `${expect('the inner guest', said, /INNER-READY \S+/)[0]}, ${expect('the inner guest', said, /Hypervisor detected: KVM/)[0]}`;
  } finally {
    shell.child.kill('SIGKILL');
  }
}

async function nestedVfio(folder: string): Promise<string> {
  const disk = join(folder, 'disk.raw');
  writeFileSync(disk, Buffer.alloc(16 * MIB));
  const shell = await hypervisor(folder, 'intel_iommu=on', ['--machine', 'iommu=on', '--disk', `${disk},bus=nvme,format=raw`]);
  try {
    await shell.ask(VFIO_MODULES.map((name) => `insmod /mod/${name}.ko`).join('; '));
    const address = expect('the NVMe controller', await shell.ask('basename $(dirname $(grep -l 0x010802 /sys/bus/pci/devices/*/class))'), /\S+:\S+/)[0];
    const device = `/sys/bus/pci/devices/${address}`;
    await shell.ask(`echo ${address} >${device}/driver/unbind; echo vfio-pci >${device}/driver_override; echo ${address} >/sys/bus/pci/drivers_probe`);
    expect('vfio-pci', await shell.ask(`busybox readlink ${device}/driver`), /vfio-pci/);
    const said = await qemu(shell, 'disk', `-device vfio-pci,host=${address}`);
    const [, written] = expect('the inner guest', said, /INNER-WROTE ([0-9a-f]{64})/);
    const [, read] = expect('the inner guest', said, /INNER-READ ([0-9a-f]{64})/);
    expect('the outer guest', `faults: ${await shell.ask('dmesg | grep -c "DMAR: .DMA"')}`, /faults: 0/);
    shell.child.stdin.write('poweroff -f\n');
    await shell.ended;
    const found = createHash('sha256').update(readFileSync(disk).subarray(0, DATA)).digest('hex');
    if (read !== written || found !== written) throw new Error(`written ${written}, read back ${read}, in the image ${found}`);
    return `${address}: 4 MiB written, read back and found in the image`;
  } finally {
    shell.child.kill('SIGKILL');
  }
}

/** @param said what Xen must have printed besides */
async function xen(words: string, options: readonly string[], said: readonly RegExp[]): Promise<string> {
  const image = (await providePackages('xen')).find('boot/xen-4.17-amd64.gz');
  await providePackages('amd64-full');
  const { kernel, initramfs } = guestFiles(root, 'amd64-full');
  const shell = new GuestShell([
    'run', '--kernel', image, '--append', `com1=115200,8n1 console=com1 noreboot dom0_mem=512M ${words}`, '--module', `${kernel} console=hvc0 quiet shell`,
    '--module', initramfs, '--memory', '1024M', '--timeout', String(SECONDS), ...options,
  ]);
  try {
    const prompt = await shell.waitFor('# ', await shell.waitFor('GUEST-READY'));
    // Xen ends lines with a carriage return of its own.
    shell.child.stdin.write('stty -onlcr\n');
    await shell.waitFor('# ', prompt);
    for (const pattern of [/VMX: Supported/, /HVM: VMX enabled/, ...said]) expect('Xen', shell.output, pattern);
    expect('dom0', await shell.ask('cat /sys/hypervisor/type'), /^xen$/m);
    const capabilities = expect('dom0', await shell.ask('cat /sys/hypervisor/properties/capabilities'), /hvm-3\.0-x86_64/)[0];
    const sum = await shell.ask('dd if=/dev/zero bs=1M count=16 2>/dev/null | sha256sum');
    expect('dom0', sum, new RegExp(createHash('sha256').update(Buffer.alloc(16 * MIB)).digest('hex')));
    shell.child.stdin.write('poweroff -f\n');
    const status = await shell.ended;
    if (status !== 0) throw new Error(`powered off with status ${String(status)}: ${shell.output.slice(-500)}`);
    return `dom0's shell answers, Xen offers ${capabilities}`;
  } finally {
    shell.child.kill('SIGKILL');
  }
}

export const SYSTEMS: readonly System[] = [
  { name: 'nested', title: 'Debian, KVM, QEMU: Debian in it', run: nested },
  { name: 'nested-vfio', title: 'the same, with an NVMe controller assigned through VT-d', run: nestedVfio },
  { name: 'xen', title: 'Xen, Debian as dom0', run: () => xen('', [], []) },
  { name: 'xen-iommu', title: 'the same with iommu=force', run: () => xen('iommu=force', ['--machine', 'iommu=on'], [/I\/O virtualisation enabled/]) },
];

/** Runs systems one after the other; false when one did not do as it should. */
export async function runSystems(systems: readonly System[]): Promise<boolean> {
  let good = true;
  for (const { name, title, run } of systems) {
    const folder = mkdtempSync(join(tmpdir(), 'vanderpool-system-'));
    const started = performance.now();
    let outcome: string;
    try {
      outcome = `pass: ${await run(folder)}`;
    } catch (error) {
      good = false;
      outcome = `FAIL: ${error instanceof Error ? error.message : String(error)}`;
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
    console.log(`${name} (${title}), ${((performance.now() - started) / 1000).toFixed(0)} s: ${outcome}`);
  }
  return good;
}
