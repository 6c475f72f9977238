/** Debian behind VT-d: a disk's transfers and interrupts go through the guest's unit, and through the workstation's where the disk is assigned. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { writeCpio } from '../../build/guests/cpio.ts';
import { vanderpool } from '../helpers/command-line.ts';
import { driverGuest } from '../helpers/driver-guest.ts';
import { GuestShell, guestOptions, provideGuest } from '../helpers/guests.ts';
import type { Guest } from '../helpers/guests.ts';

const GUEST_SECONDS = 200;
const TEST_MS = 240_000;
const MIB = 1 << 20;

let guest: Guest;
/** The same with the drivers of its network card. */
let drivers: Guest;
let folder = '';
let disk = '';

beforeAll(async () => {
  guest = await provideGuest('amd64');
  folder = mkdtempSync(join(tmpdir(), 'vanderpool-remapping-'));
  drivers = await driverGuest('amd64', folder);
  disk = join(folder, 'disk.raw');
}, 600_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Writes four megabytes of random bytes to the disk and reads them back from it; returns both checksums. */
async function load(shell: GuestShell): Promise<readonly string[]> {
  const answer = await shell.ask('dd if=/dev/urandom of=/tmp/data bs=1M count=4 2>/dev/null; dd if=/tmp/data of=/dev/nvme0n1 bs=64k conv=fsync 2>/dev/null; echo 3 >/proc/sys/vm/drop_caches; md5sum </tmp/data; head -c 4194304 /dev/nvme0n1 | md5sum');
  return [...answer.matchAll(/\b[0-9a-f]{32}\b/g)].map(([sum]) => sum);
}

/** Twenty megabytes on a loopback address of the host, as the guest calls it. */
async function webServer(): Promise<{ readonly url: string; readonly sum: string }> {
  const body = Buffer.alloc(20_000_000, crypto.getRandomValues(new Uint8Array(65_521)));
  const server = createServer((_request, response) => void response.end(body));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  return { url: `http://10.0.2.2:${(server.address() as AddressInfo).port}/`, sum: createHash('md5').update(body).digest('hex') };
}

describe.each([
  ['scalable mode, lazy', 'intel_iommu=on,sm_on'],
  ['scalable mode, strict', 'intel_iommu=on,sm_on iommu.strict=1'],
  ['legacy mode, lazy', 'intel_iommu=on,sm_off'],
  ['legacy mode, strict', 'intel_iommu=on,sm_off iommu.strict=1'],
])('Debian with VT-d in %s', (_, words) => {
  it('writes and reads a disk and the network, with remapped interrupts and x2APIC, and no fault', async () => {
    writeFileSync(disk, Buffer.alloc(16 * MIB));
    const shell = new GuestShell([...guestOptions(drivers, words, GUEST_SECONDS), '--machine', 'iommu=on', '--disk', `${disk},bus=nvme,format=raw`, '--net', 'user,host-loopback']);
    onTestFinished(() => void shell.child.kill('SIGKILL'));
    await shell.waitFor('# ', await shell.waitFor('GUEST-READY'));
    const [written, read] = await load(shell);
    expect(written).toMatch(/^[0-9a-f]{32}$/);
    expect(read).toBe(written);
    const { url, sum } = await webServer();
    expect(await shell.ask(`ifconfig eth0 up && udhcpc -i eth0 -q -n -f -t 10 >/dev/null 2>&1; wget -q -O - ${url} | md5sum`)).toContain(sum);
    const said = await shell.ask('dmesg | grep -i -e DMAR -e x2apic; grep -e nvme -e virtio /proc/interrupts; cat /sys/kernel/iommu_groups/*/type');
    expect(said).toContain('Enabled IRQ remapping in x2apic mode');
    expect(said).not.toMatch(/DMAR: \[/);
    expect(said).toMatch(/IR-PCI-MSI.*nvme0q1/);
    expect(said).toMatch(/IR-PCI-MSI.*virtio\d-input/);
    expect(said).toMatch(words.includes('strict') ? /^DMA$/m : /^DMA-FQ$/m);
    shell.child.stdin.write('poweroff -f\n');
    expect(await shell.ended, shell.errors).toBe(0);
  }, TEST_MS);
});

describe('Debian with a unit for hypervisors, and memory that firmware keeps for a device', () => {
  it('is told of caching mode, and keeps the USB controller\'s region mapped', async () => {
    writeFileSync(disk, Buffer.alloc(16 * MIB));
    const shell = new GuestShell([...guestOptions(guest, 'shell intel_iommu=on', GUEST_SECONDS), '--machine', 'iommu=on,caching-mode=on,usb=on', '--disk', `${disk},bus=nvme,format=raw`]);
    onTestFinished(() => void shell.child.kill('SIGKILL'));
    await shell.waitFor('# ', await shell.waitFor('GUEST-READY'));
    const [written, read] = await load(shell);
    expect(read).toBe(written);
    const said = await shell.ask('dmesg | grep -i DMAR; cat /sys/bus/pci/devices/0000:00:04.0/class; cat /sys/bus/pci/devices/0000:00:04.0/iommu_group/reserved_regions; cat /sys/class/iommu/dmar0/intel-iommu/cap');
    expect(said).toContain('RMRR base: 0x000000000ff000');
    expect(said).toContain('0x0c0330');
    expect(said).toMatch(/0x0+ff000 0x0+fffff direct/);
    expect(said).not.toMatch(/DMAR: \[DMA/);
    // Bit 7 of the capabilities.
    const capabilities = /^([0-9a-f]{8,16})$/m.exec(said)?.[1] ?? '0';
    expect((BigInt(`0x${capabilities}`) >> 7n) & 1n).toBe(1n);
  }, TEST_MS);
});

describe('vfio-pci in Debian', () => {
  /** Modules of the kernel's own package, in the order in which they need each other, and the program. */
  function archive(): string {
    const program = join(folder, 'vfio');
    execFileSync('gcc', ['-O1', '-static', '-o', program, join(import.meta.dirname, '../helpers/vfio.c')], { stdio: 'pipe' });
    const names = ['irqbypass', 'vfio_virqfd', 'vfio', 'vfio_iommu_type1', 'vfio-pci-core', 'vfio-pci'];
    const packaged = dirname(guest.kernel);
    const files = readdirSync(packaged, { recursive: true, encoding: 'utf8' });
    const modules = names.map((name, index) => {
      const file = files.find((path) => path.endsWith(`/${name}.ko`));
      if (file === undefined) throw new Error(`the kernel's package has no module ${name}`);
      return { kind: 'file', path: `mod/${index}.ko`, data: readFileSync(join(packaged, file)) } as const;
    });
    const initrd = join(folder, 'initrd');
    // The kernel unpacks one archive after another.
    writeFileSync(initrd, Buffer.concat([readFileSync(guest.initramfs), writeCpio([...modules, { kind: 'file', path: 'bin/vfio', data: readFileSync(program), executable: true }])]));
    return initrd;
  }

  it('gives a device to a program, which reaches what it has mapped and nothing else', async () => {
    const shell = new GuestShell([...guestOptions({ ...guest, initramfs: archive() }, 'shell intel_iommu=on', GUEST_SECONDS), '--machine', 'iommu=on', '--test-devices']);
    onTestFinished(() => void shell.child.kill('SIGKILL'));
    await shell.waitFor('# ', await shell.waitFor('GUEST-READY'));
    await shell.ask('for n in 0 1 2 3 4 5; do insmod /mod/$n.ko; done');
    await shell.ask('cd /sys/bus/pci; echo vfio-pci >devices/0000:00:1e.0/driver_override; echo 0000:00:1e.0 >drivers_probe');
    const said = await shell.ask('G=$(busybox readlink devices/0000:00:1e.0/iommu_group); /bin/vfio 0000:00:1e.0 ${G##*/}');
    expect(said).toContain('group viable 1');
    expect(said).toContain('moved: through the IOMMU');
    expect(said).toContain('beyond the mapping: untouched');
    // The guest's driver has had the fault's interrupt and read its record.
    const faults = await shell.ask('dmesg | grep "DMAR: .DMA"');
    expect(faults).toMatch(/DMA Write.*Request device \[00:1e\.0\].*fault addr 0x40001000/);
  }, TEST_MS);
});

describe('an image of the host that is assigned to a machine', () => {
  it('is an NVMe controller to the guest, and the host reads what the guest wrote', async () => {
    writeFileSync(disk, Buffer.alloc(16 * MIB));
    const library = join(folder, 'library');
    const command = async (...words: readonly string[]): Promise<string> => {
      const { stdout, stderr, status } = await vanderpool([...words, '--library', library]);
      expect(status, stderr).toBe(0);
      return stdout;
    };
    onTestFinished(() => void vanderpool(['engine', 'stop', '--force', '--library', library]));
    await command('vm', 'create', 'debian', '--kernel', guest.kernel, '--initrd', guest.initramfs, '--append', 'console=ttyS0 quiet shell intel_iommu=on', '--machine', 'iommu=on');
    await command('device', 'add', 'disk', disk);
    await command('device', 'assign', disk, 'debian');
    await command('vm', 'start', 'debian');
    const shell = new GuestShell(['console', 'debian', '--library', library]);
    onTestFinished(() => void shell.child.kill('SIGKILL'));
    await shell.waitFor('# ', await shell.waitFor('GUEST-READY'));
    const [written, read] = await load(shell);
    expect(read).toBe(written);
    const made = await shell.ask('mke2fs /dev/nvme0n1 >/dev/null 2>&1; mkdir -p /mnt; mount -t ext4 /dev/nvme0n1 /mnt && seq 1 100000 >/mnt/numbers && md5sum </mnt/numbers; umount /mnt');
    const sum = /\b[0-9a-f]{32}\b/.exec(made)?.[0];
    expect(await command('iommu', 'show', 'debian')).toMatch(/01:00\.0 +disk .* +80:00\.\d +\d{2,} +0 +\d+/);
    await command('vm', 'stop', 'debian', '--force');
    execFileSync('e2fsck', ['-f', '-n', disk], { stdio: 'pipe' });
    const numbers = execFileSync('debugfs', ['-R', 'cat /numbers', disk], { stdio: ['ignore', 'pipe', 'ignore'], maxBuffer: MIB });
    expect(createHash('md5').update(numbers).digest('hex')).toBe(sum);
    expect(numbers.toString()).toMatch(/^1\n2\n[^]*\n100000\n$/);
  }, TEST_MS);
});
