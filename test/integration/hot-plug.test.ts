/** Cards that come and go while Debian runs: its own hot-plug driver finds them, uses them, and lets them go. */
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createDisk } from '../../core/block/commands.ts';
import { diskDefaults, networkDefaults } from '../../core/contract/index.ts';
import type { VmConfig } from '../../core/contract/index.ts';
import { machineModuleUrl } from '../../core/machine/entries.ts';
import { DebianVm } from '../helpers/debianVm.ts';
import { driverGuest } from '../helpers/driver-guest.ts';
import { history, startTestEngine, until } from '../helpers/engine.ts';
import type { TestEngine } from '../helpers/engine.ts';
import type { Guest } from '../helpers/guests.ts';
import { refused } from '../helpers/refusal.ts';

const VM = 'Debian';
const TEST_MS = 240_000;
const BOOT_MS = 120_000;

let folder = '';
let guest: Guest;
let test: TestEngine;
let debian: DebianVm;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'vanderpool-hot-plug-'));
  guest = await driverGuest('amd64', folder);
}, 600_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

beforeEach(async () => {
  test = await startTestEngine(undefined, machineModuleUrl());
});
afterEach(() => test.end());

const call: TestEngine['client']['call'] = (operation, input) => test.client.call(operation, input);

async function start(more: Partial<VmConfig> = {}): Promise<void> {
  debian = await DebianVm.create(test.client, VM, guest, more);
  await debian.boot(BOOT_MS);
}

const ask = (command: string): Promise<string> => debian.ask(command);

function appears(path: string, there: boolean): Promise<string> {
  return ask(`for i in $(seq 100); do [ ${there ? '' : '! '}-e ${path} ] && break; sleep 0.1; done; [ -e ${path} ] && echo there || echo gone`);
}

/** Waits until a disk has so many sectors; what it has. */
function sectors(disk: string, count: number): Promise<string> {
  return ask(`for i in $(seq 100); do [ $(cat /sys/block/${disk}/size) = ${count} ] && break; sleep 0.1; done; cat /sys/block/${disk}/size`);
}

/** A file of 16 MiB that begins with a line. */
function image(name: string, line: string): string {
  const path = join(folder, name);
  writeFileSync(path, `${line}\n`);
  truncateSync(path, 16 << 20);
  return path;
}

describe('a hot-plug slot', () => {
  it('takes an NVMe disk while Debian runs, and gives it back when Debian has let it go', async () => {
    await start();
    expect(await ask('cat /sys/bus/pci/slots/*/power')).toBe('0\n0\n0\n0\n');
    const path = image('nvme.raw', 'plugged in');
    const plugged = await call('vm.plug', { vm: VM, card: { kind: 'disk', disk: { ...diskDefaults, bus: 'nvme', path } } });
    expect(plugged.config.disks).toMatchObject([{ path, slot: 1 }]);
    expect(await appears('/dev/nvme0n1', true)).toBe('there\n');
    expect(await ask('head -n 1 /dev/nvme0n1; cat /sys/bus/pci/slots/1/power')).toBe('plugged in\n1\n');
    expect(await ask('dd if=/dev/nvme0n1 of=/dev/nvme0n1 bs=1M count=4 seek=8 2>/dev/null; sync; cat /proc/interrupts | grep -c pciehp')).toBe('4\n');
    await call('vm.grow', { vm: VM, disk: 0, bytes: 24 << 20 });
    expect(await sectors('nvme0n1', 24 << 11)).toBe(`${24 << 11}\n`);
    expect(await ask('dd if=/dev/nvme0n1 of=/dev/nvme0n1 bs=1M count=4 seek=20 2>/dev/null; sync; dd if=/dev/nvme0n1 bs=1M skip=20 count=1 2>/dev/null | head -n 1')).toBe('plugged in\n');
    expect(await refused(call('vm.grow', { vm: VM, disk: 0, bytes: 16 << 20 }))).toMatchObject({ code: 'bad-field', field: 'size' });
    const unplugged = await call('vm.unplug', { vm: VM, slot: 1, force: false });
    expect(unplugged.config.disks).toEqual([]);
    expect(await appears('/dev/nvme0n1', false)).toBe('gone\n');
    expect(await ask('cat /sys/bus/pci/slots/1/power')).toBe('0\n');
  }, TEST_MS);

  it('takes disks and interfaces by virtio, and loses them without being asked', async () => {
    await start();
    const path = join(folder, 'blk.qcow2');
    await createDisk(path, { format: 'qcow2', size: 16 << 20 });
    await call('vm.plug', { vm: VM, card: { kind: 'disk', disk: { ...diskDefaults, path, slot: 3 } } });
    expect(await appears('/dev/vda', true)).toBe('there\n');
    expect(await ask('dd if=/dev/urandom of=/dev/vda bs=1M count=16 2>/dev/null; sync; md5sum < /dev/vda > /tmp/sum')).toBe('');
    await call('vm.grow', { vm: VM, disk: 0, bytes: 4096 * 2 ** 20 });
    expect(await sectors('vda', 4096 << 11)).toBe(`${4096 << 11}\n`);
    expect(await ask('echo 3 > /proc/sys/vm/drop_caches; head -c 16777216 /dev/vda | md5sum | cmp - /tmp/sum && echo end > /tmp/end; dd if=/tmp/end of=/dev/vda bs=512 seek=8388600 2>/dev/null; sync; dd if=/dev/vda bs=512 skip=8388600 count=1 2>/dev/null | head -n 1')).toBe('end\n');
    expect(await refused(call('vm.plug', { vm: VM, card: { kind: 'network', network: { ...networkDefaults, slot: 3 } } }))).toMatchObject({ code: 'wrong-state', field: 'slot' });
    await call('vm.plug', { vm: VM, card: { kind: 'network', network: networkDefaults } });
    expect(await appears('/sys/class/net/eth0', true)).toBe('there\n');
    expect(await ask('ifconfig eth0 up && udhcpc -i eth0 -n -q -t 10 >/dev/null 2>&1; ping -c 1 -W 5 10.0.2.2 | grep -c "1 packets received"')).toBe('1\n');
    await call('vm.unplug', { vm: VM, slot: 3, force: true });
    expect(await appears('/dev/vda', false)).toBe('gone\n');
    expect((await call('vm.get', { vm: VM })).config).toMatchObject({ disks: [], networks: [{ slot: 1 }] });
  }, TEST_MS);

  it('keeps its card over suspending, and from one start to the next', async () => {
    await start();
    await call('vm.plug', { vm: VM, card: { kind: 'disk', disk: { ...diskDefaults, bus: 'nvme', path: image('kept.raw', 'kept') } } });
    expect(await appears('/dev/nvme0n1', true)).toBe('there\n');
    await call('vm.suspend', { vm: VM });
    expect(await refused(call('vm.unplug', { vm: VM, slot: 1, force: true }))).toMatchObject({ code: 'wrong-state' });
    await call('vm.resume', { vm: VM });
    expect(await ask('echo 3 > /proc/sys/vm/drop_caches; head -n 1 /dev/nvme0n1')).toBe('kept\n');
    await call('vm.unplug', { vm: VM, slot: 1, force: false });
    expect(await appears('/dev/nvme0n1', false)).toBe('gone\n');
    await call('vm.stop', { vm: VM, force: true });
    await call('vm.plug', { vm: VM, card: { kind: 'disk', disk: { ...diskDefaults, bus: 'nvme', path: join(folder, 'kept.raw'), slot: 2 } } });
    await call('console.clear', { vm: VM, port: 0 });
    await call('vm.start', { vm: VM });
    await until(async () => (await history(test.client, VM)).includes('GUEST-READY'), 'the guest is ready', BOOT_MS);
    expect(await ask('head -n 1 /dev/nvme0n1; cat /sys/bus/pci/slots/2/power')).toBe('kept\n1\n');
  }, TEST_MS);
});

describe('a network cable', () => {
  it('is pulled and plugged in while Debian runs, which notices', async () => {
    await start({ networks: [networkDefaults] });
    const carrier = (wanted: string): Promise<string> => ask(`ifconfig eth0 up; for i in $(seq 100); do [ $(cat /sys/class/net/eth0/carrier) = ${wanted} ] && break; sleep 0.1; done; cat /sys/class/net/eth0/carrier`);
    expect(await carrier('1')).toBe('1\n');
    const pulled = await call('vm.link', { vm: VM, network: 0, up: false });
    expect(pulled.config.networks[0]?.linkUp).toBe(false);
    expect(await carrier('0')).toBe('0\n');
    await call('vm.link', { vm: VM, network: 0, up: true });
    expect(await carrier('1')).toBe('1\n');
    expect(await ask('udhcpc -i eth0 -q -n -f 2>&1 | tail -1')).toContain('10.0.2.15');
    expect(await refused(call('vm.link', { vm: VM, network: 1, up: true }))).toMatchObject({ code: 'bad-field', field: 'network' });
  }, TEST_MS);
});
