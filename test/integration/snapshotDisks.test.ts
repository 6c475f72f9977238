/** Snapshots of VMs that write to disks: a Debian guest whose memory and disk belong together, whichever snapshot it goes back to. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { machineModuleUrl } from '../../core/machine/entries.ts';
import { checkExt4, DebianVm, ext4Image } from '../helpers/debianVm.ts';
import { driverGuest } from '../helpers/driver-guest.ts';
import { startTestEngine } from '../helpers/engine.ts';
import type { TestEngine } from '../helpers/engine.ts';
import type { Guest } from '../helpers/guests.ts';
import { refused } from '../helpers/refusal.ts';

const FETCH_MS = 600_000;
const TEST_MS = 300_000;
const VM = 'Debian';

let folder = '';
let guest: Guest;
let test: TestEngine;
let disk = '';

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'vanderpool-snapshot-disks-'));
  guest = await driverGuest('amd64', folder);
}, FETCH_MS);
afterAll(() => rmSync(folder, { recursive: true, force: true }));
beforeEach(async () => {
  test = await startTestEngine(undefined, machineModuleUrl());
  disk = ext4Image(join(test.folder, 'disk.img'));
});
afterEach(() => test.end());

const { call } = { call: ((operation, input) => test.client.call(operation, input)) as TestEngine['client']['call'] };

async function boot(): Promise<DebianVm> {
  const vm = await DebianVm.create(test.client, VM, guest, { disks: [{ path: disk, kind: 'disk', bus: 'virtio', format: 'raw', readOnly: false }] });
  await vm.boot();
  await vm.ask('mount -t ext4 /dev/vda /mnt');
  return vm;
}

const digest = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex');
/** What e2fsprogs' own reader says of the image. */
const debugfs = (command: string): string => execFileSync('debugfs', ['-R', command, disk], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
const layers = async (vm = VM): Promise<string[]> => readdirSync(join(test.folder, 'vms', (await call('vm.get', { vm })).id)).filter((name) => name.endsWith('.layer'));
const take = (name: string): Promise<unknown> => call('snapshot.take', { vm: VM, name });
const restore = (snapshot: string): Promise<unknown> => call('snapshot.restore', { vm: VM, snapshot, paused: false });

/** What is in a file, read from the disk and not from the guest's cache. */
const stored = (vm: DebianVm, file: string): Promise<string> => vm.ask(`sync; echo 3 > /proc/sys/vm/drop_caches; cat /mnt/${file}`);

describe('a VM that writes to a disk', () => {
  it('goes back to any snapshot with its disk, in its process and in a new one, and the image is left alone', async () => {
    const vm = await boot();
    await vm.ask('echo one > /mnt/file; sync');
    await take('one');
    const frozen = digest(disk);
    await vm.ask('echo two > /mnt/file; head -c 3000000 /dev/urandom > /mnt/large; md5sum /mnt/large > /mnt/sum; sync');
    await take('two');
    await vm.ask('echo three > /mnt/file; rm /mnt/large; sync');
    await take('three');
    expect(await layers()).toHaveLength(1);
    await restore('one');
    expect(await stored(vm, 'file')).toBe('one\n');
    await vm.ask('echo branch > /mnt/file; sync');
    await take('branch');
    test = await test.restart();
    const later = new DebianVm(test.client, VM);
    await restore('two');
    expect(await stored(later, 'file')).toBe('two\n');
    expect(await later.ask('md5sum -c /mnt/sum')).toContain('OK');
    await restore('three');
    expect(await later.ask('cat /mnt/file; ls /mnt')).not.toContain('large');
    await restore('branch');
    expect(await stored(later, 'file')).toBe('branch\n');
    expect(await later.ask('umount /mnt && dmesg | grep -c "EXT4-fs error"')).toBe('0\n');
    expect(digest(disk)).toBe(frozen);
    expect(await call('library.check', { repair: false })).toEqual([]);
    // What it wrote without a flush is there although its process dies as soon as its state is saved.
    await later.ask('head -c 262144 /dev/urandom > /noise; dd if=/noise of=/dev/vda bs=64k seek=512 oflag=direct conv=notrunc 2>/dev/null');
    const { supervisor } = test.engine;
    supervisor.suspended = (id) => supervisor.kill(id, 'As by kill -9.');
    await call('vm.suspend', { vm: VM });
    await call('vm.resume', { vm: VM });
    expect(await later.ask('dd if=/dev/vda bs=64k skip=512 count=4 iflag=direct 2>/dev/null | cmp - /noise && echo same')).toBe('same\n');
  }, TEST_MS);

  it('keeps what it writes after snapshots over stops and starts, and has snapshots while it is off', async () => {
    const vm = await boot();
    await vm.ask('echo one > /mnt/file; umount /mnt; sync');
    await take('running');
    await vm.ask('mount -t ext4 /dev/vda /mnt; echo two > /mnt/file; umount /mnt; sync');
    await call('vm.stop', { vm: VM, force: true });
    expect(await call('snapshot.take', { vm: VM, name: 'off' })).toMatchObject({ power: 'off' });
    await vm.boot();
    await vm.ask('mount -t ext4 /dev/vda /mnt');
    expect(await stored(vm, 'file')).toBe('two\n');
    await vm.ask('echo three > /mnt/file; umount /mnt; sync');
    expect(await call('snapshot.restore', { vm: VM, snapshot: 'off', paused: false })).toMatchObject({ state: 'stopped' });
    await vm.boot();
    await vm.ask('mount -t ext4 /dev/vda /mnt');
    expect(await stored(vm, 'file')).toBe('two\n');
    expect(await layers()).toHaveLength(1);
    await vm.ask('echo four > /mnt/file; umount /mnt; sync');
    await call('vm.stop', { vm: VM, force: true });
    await test.engine.snapshots.mergeDisks();
    expect(debugfs('cat /file')).not.toBe('four\n');
    // Without snapshots the image is the VM's own again, with everything that was written since.
    for (const snapshot of ['running', 'off']) await call('snapshot.remove', { vm: VM, snapshot });
    await test.engine.snapshots.mergeDisks();
    expect(await layers()).toEqual([]);
    expect([checkExt4(disk), debugfs('cat /file')]).toEqual([0, 'four\n']);
    const other = await DebianVm.create(test.client, 'Other', guest, { disks: [{ path: disk, kind: 'disk', bus: 'virtio', format: 'raw', readOnly: false }] });
    await other.boot();
    expect(await other.ask('mount -t ext4 /dev/vda /mnt; cat /mnt/file')).toBe('four\n');
  }, TEST_MS);

  it('has a disk that grows, while it runs and while it is off, and has its old size again in older snapshots', async () => {
    const vm = await boot();
    const sectors = (wanted: number): Promise<string> => vm.ask(`for i in $(seq 50); do [ $(cat /sys/block/vda/size) = ${wanted} ] && break; sleep 0.1; done; cat /sys/block/vda/size`);
    await vm.ask('echo one > /mnt/file; sync');
    await take('small');
    const frozen = digest(disk);
    await vm.ask('echo two > /mnt/file; sync');
    expect(await refused(call('vm.grow', { vm: VM, disk: 0, bytes: 32 << 20 }))).toMatchObject({ code: 'bad-field', field: 'size' });
    await call('vm.grow', { vm: VM, disk: 0, bytes: 96 << 20 });
    expect(await sectors(96 << 11)).toBe(`${96 << 11}\n`);
    await vm.ask('umount /mnt; echo end | dd of=/dev/vda bs=1M seek=95 2>/dev/null; mount -t ext4 /dev/vda /mnt');
    for (let grown = 1; grown <= 8; grown++) await call('vm.grow', { vm: VM, disk: 0, bytes: (96 << 20) + grown * 4096 });
    expect(await sectors((96 << 11) + 64)).toBe(`${(96 << 11) + 64}\n`);
    expect((await layers()).length).toBeLessThanOrEqual(8);
    await take('large');
    await restore('small');
    expect(await vm.ask('cat /sys/block/vda/size')).toBe(`${64 << 11}\n`);
    expect(await stored(vm, 'file')).toBe('one\n');
    await restore('large');
    expect(await vm.ask('cat /sys/block/vda/size; dd if=/dev/vda bs=1M skip=95 2>/dev/null | head -n 1')).toBe(`${(96 << 11) + 64}\nend\n`);
    expect(await stored(vm, 'file')).toBe('two\n');
    await vm.ask('umount /mnt; sync');
    await call('vm.stop', { vm: VM, force: true });
    for (let grown = 9; grown >= 0; grown--) await call('vm.grow', { vm: VM, disk: 0, bytes: (128 << 20) - grown * 4096 });
    expect((await layers()).length).toBeLessThanOrEqual(8);
    await vm.boot();
    expect(await vm.ask('cat /sys/block/vda/size; mount -t ext4 /dev/vda /mnt; cat /mnt/file; umount /mnt')).toBe(`${128 << 11}\ntwo\n`);
    expect(digest(disk)).toBe(frozen);
    await call('vm.stop', { vm: VM, force: true });
    expect(await call('library.check', { repair: false })).toEqual([]);
    // Without snapshots the image itself becomes as large.
    for (const snapshot of ['small', 'large']) await call('snapshot.remove', { vm: VM, snapshot });
    await test.engine.snapshots.mergeDisks();
    expect([await layers(), statSync(disk).size, checkExt4(disk), debugfs('cat /file')]).toEqual([[], 128 << 20, 0, 'two\n']);
  }, TEST_MS);

  it('has clones: linked ones over the same image, full ones and imported ones without it', async () => {
    const vm = await boot();
    await vm.ask('echo one > /mnt/file; sync');
    await take('one');
    await vm.ask('echo two > /mnt/file; sync');
    const file = join(test.folder, 'one.vpsnap');
    await call('snapshot.clone', { vm: VM, snapshot: 'one', name: 'Linked' });
    await call('snapshot.clone', { vm: VM, snapshot: 'one', name: 'Full', full: true });
    await call('snapshot.export', { vm: VM, snapshot: 'one', path: file });
    await call('snapshot.import', { path: file, name: 'Imported' });
    expect(await stored(vm, 'file')).toBe('two\n');
    await call('vm.stop', { vm: VM, force: true });
    const linked = new DebianVm(test.client, 'Linked');
    await call('vm.resume', { vm: 'Linked' });
    expect(await stored(linked, 'file')).toBe('one\n');
    await linked.ask('echo linked > /mnt/file; sync');
    await call('vm.stop', { vm: 'Linked', force: true });
    // Without the image, and without the VM.
    rmSync(disk);
    await call('vm.remove', { vm: VM });
    for (const name of ['Full', 'Imported']) {
      const clone = new DebianVm(test.client, name);
      await call('vm.resume', { vm: name });
      expect(await stored(clone, 'file')).toBe('one\n');
      await call('vm.stop', { vm: name, force: true });
    }
    const error = await refused(call('vm.start', { vm: 'Linked' }));
    expect(error.message).toContain('is not there any more');
    // A clone of a clone, whose image lies in the other one's folder, outlives it.
    await call('vm.clone', { vm: 'Full', name: 'Second' });
    expect(await call('snapshot.list', { vm: 'Full' })).toEqual([]);
    await call('vm.remove', { vm: 'Full' });
    const second = new DebianVm(test.client, 'Second');
    await second.boot();
    expect(await second.ask('mount -t ext4 /dev/vda /mnt; cat /mnt/file; umount /mnt')).toBe('one\n');
    await call('vm.stop', { vm: 'Second', force: true });
    await call('vm.remove', { vm: 'Second' });
    const folders = readdirSync(join(test.folder, 'vms'));
    expect(folders).toHaveLength((await call('vm.list', {})).length);
  }, TEST_MS);

  it('shows which files of its disk differ', async () => {
    const vm = await boot();
    await vm.ask('mkdir /mnt/folder; echo one > /mnt/folder/changed; echo same > /mnt/same; echo gone > /mnt/removed; sync');
    await take('one');
    await vm.ask('echo one and two > /mnt/folder/changed; rm /mnt/removed; echo new > /mnt/added; sync; sleep 6; sync');
    await take('two');
    const { disks: [difference] } = await call('snapshot.diff', { vm: VM, from: 'one', to: 'two' });
    expect(difference).toMatchObject({ path: disk, files: [
      { path: '/added', change: 'added', before: null, after: 4 }, { path: '/folder/changed', change: 'changed', before: 4, after: 12 },
      { path: '/removed', change: 'removed', before: 5, after: null },
    ] });
    expect(difference?.bytes).toBe(difference?.clusters.reduce((sum, { bytes }) => sum + bytes, 0));
    expect((await call('snapshot.diff', { vm: VM, from: 'two', to: null })).disks.flatMap(({ files }) => files)).toEqual([]);
  }, TEST_MS);

  it('refuses an image that was changed behind its snapshots, and other VMs that would change it', async () => {
    await boot();
    await take('one');
    await call('vm.stop', { vm: VM, force: true });
    expect(await call('library.check', { repair: false })).toEqual([]);
    const second = await DebianVm.create(test.client, 'Second', guest, { disks: [{ path: disk, kind: 'disk', bus: 'virtio', format: 'raw', readOnly: false }] });
    expect((await refused(second.client.call('vm.start', { vm: 'Second' }))).message).toContain(`snapshots of the VM "${VM}" need it`);
    const content = readFileSync(disk);
    writeFileSync(disk, content);
    utimesSync(disk, new Date(), new Date(Date.now() + 5000));
    expect((await refused(call('vm.start', { vm: VM }))).message).toContain('was changed');
    expect((await refused(restore('one'))).message).toContain('was changed');
    expect((await call('library.check', { repair: false })).map(({ what }) => what)).toEqual([expect.stringContaining('its image was changed')]);
  }, TEST_MS);
});
