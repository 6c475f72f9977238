/** Appliances become VMs of the library with disks of their own; what fails or is cancelled leaves nothing. */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { convertDisk } from '../../core/block/convert.ts';
import { diskDefaults, networkDefaults } from '../../core/contract/index.ts';
import type { LibraryEvent } from '../../core/contract/index.ts';
import { writeOva } from '../helpers/appliances.ts';
import { startTestEngine, until } from '../helpers/engine.ts';
import type { TestEngine } from '../helpers/engine.ts';
import { refused } from '../helpers/refusal.ts';

const content = Buffer.alloc(9 << 20);
for (let at = 0; at < content.length; at += 4096) content.write(`at ${at}`, at);

let folder = '';
let test: TestEngine;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'vanderpool-appliances-'));
  test = await startTestEngine();
});
afterAll(async () => {
  await test.end();
  rmSync(folder, { recursive: true });
});

const call = ((operation, input) => test.client.call(operation, input)) as TestEngine['client']['call'];
const names = async (): Promise<readonly string[]> => (await call('vm.list', {})).map(({ config }) => config.name);
const variablesOf = (id: string): string => {
  const own = join(test.folder, 'vms', id);
  mkdirSync(own, { recursive: true });
  return join(own, 'uefi-variables.fd');
};
const leftOver = (): readonly string[] => (existsSync(join(test.folder, 'incoming')) ? readdirSync(join(test.folder, 'incoming')) : []);

it('an OVA becomes a VM with the machine that it describes, and its disks to the byte', async () => {
  const path = writeOva(folder, content);
  expect(await call('appliance.describe', { path })).toEqual({ name: 'Web server', description: '2 processors, 1G, BIOS, 2 disks.' });
  const events: LibraryEvent[] = [];
  test.client.subscribe('library', {}, { event: (event) => void events.push(event) });
  const vm = await call('appliance.import', { path });
  expect(vm.config).toMatchObject({
    name: 'Web server', notes: 'Serves the web & more.', cpus: 2, memoryBytes: 2 ** 30, firmware: 'bios', display: 'vga', networks: [{ model: 'e1000e', attach: 'user' }],
    disks: [{ bus: 'virtio', format: 'qcow2' }, { bus: 'ahci', format: 'qcow2' }, { kind: 'cdrom', path: '' }],
  });
  const disk = vm.config.disks[0]?.path ?? '';
  expect(dirname(disk)).toBe(join(test.folder, 'vms', vm.id));
  await convertDisk(disk, join(folder, 'back.img'), { from: 'qcow2', to: 'raw', compressed: false });
  expect(readFileSync(join(folder, 'back.img')).equals(content)).toBe(true);
  expect(events.filter(({ kind }) => kind === 'transfer-progress').at(-1)).toEqual({ kind: 'transfer-progress', path, done: 0, total: 0 });
  // Another one gets another name, and goes with its disks when it is removed.
  const second = await call('appliance.import', { path });
  expect(second.config.name).toBe('Web server (2)');
  await call('vm.remove', { vm: second.id });
  expect(existsSync(dirname(second.config.disks[0]?.path ?? ''))).toBe(false);
  expect(existsSync(disk)).toBe(true);
});

it('the disk of another program becomes a machine around it', async () => {
  writeFileSync(join(folder, 'old.img'), content);
  execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'vdi', join(folder, 'old.img'), join(folder, 'Old PC.vdi')]);
  const { config } = await call('appliance.import', { path: join(folder, 'Old PC.vdi') });
  expect(config).toMatchObject({ name: 'Old PC', firmware: 'bios', disks: [{ bus: 'ahci' }] });
  expect(await refused(call('appliance.import', { path: join(folder, 'old.img') }))).toMatchObject({ code: 'bad-image', hint: expect.stringContaining('needs no import') });
});

it('a machine is written as an OVA that others read, and comes back as it was', async () => {
  const [raw, second] = [join(folder, 'root.img'), join(folder, 'read-only.qcow2')];
  // Longer than what one table of grains is for, and not of whole grains.
  const bytes = Buffer.alloc((33 << 20) + 512 * 3);
  for (let at = 0; at < bytes.length; at += 3 << 20) randomBytes(5000).copy(bytes, at);
  bytes.write('the end', bytes.length - 512);
  writeFileSync(raw, bytes);
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', second, '3G']);
  const { id } = await call('vm.create', { config: {
    name: 'Müller (1)', notes: 'First <line> & "more"\nsecond \u0007line', cpus: 3, memoryBytes: 768 << 20, firmware: 'uefi', networks: [{ ...networkDefaults, model: 'virtio' }, { ...networkDefaults, model: 'e1000e' }],
    disks: [{ ...diskDefaults, path: raw, bus: 'nvme', format: 'raw' }, { path: '', kind: 'cdrom', bus: 'ahci', format: 'raw', readOnly: true }, { ...diskDefaults, path: second, readOnly: true, format: 'qcow2' }],
  } });
  const variables = randomBytes(8192);
  writeFileSync(variablesOf(id), variables);
  const path = join(folder, 'out.ova');
  const { bytes: length } = await call('vm.export', { vm: id, path });
  expect(statSync(path).size).toBe(length);
  expect(readdirSync(folder).filter((name) => name.endsWith('.part'))).toEqual([]);
  expect(await call('snapshot.list', { vm: id })).toEqual([]);
  // Others: tar, the digests that it says, qemu-img, and a reader of XML that knows nothing of ours.
  const others = mkdtempSync(join(folder, 'others-'));
  execFileSync('tar', ['-xf', path, '-C', others]);
  expect(execFileSync('tar', ['-tf', path], { encoding: 'utf8' }).trim().split('\n')).toEqual(['out.ovf', 'out-disk1.vmdk', 'out-disk2.vmdk', 'out-uefi-variables.fd', 'out.mf']);
  const digests = readFileSync(join(others, 'out.mf'), 'utf8').replaceAll(/^SHA256\((.*)\)= (.*)$/gm, '$2  $1');
  expect(execFileSync('sha256sum', ['-c'], { cwd: others, input: digests, encoding: 'utf8' }).match(/: OK$/gm)).toHaveLength(4);
  const back = join(others, 'back.img');
  execFileSync('qemu-img', ['convert', '-f', 'vmdk', '-O', 'raw', join(others, 'out-disk1.vmdk'), back]);
  expect(readFileSync(back).equals(bytes)).toBe(true);
  execFileSync('qemu-img', ['check', '-f', 'vmdk', join(others, 'out-disk2.vmdk')]);
  expect(JSON.parse(execFileSync('qemu-img', ['info', '--output=json', join(others, 'out-disk2.vmdk')], { encoding: 'utf8' }))).toMatchObject({ 'virtual-size': 3 * 2 ** 30, format: 'vmdk' });
  const { id: backId, config } = await call('appliance.import', { path, name: 'Back' });
  expect(readFileSync(variablesOf(backId)).equals(variables)).toBe(true);
  expect(await call('appliance.describe', { path })).toMatchObject({ name: 'Müller (1)' });
  expect(config).toMatchObject({
    name: 'Back', notes: 'First <line> & "more"\nsecond line', cpus: 3, memoryBytes: 768 << 20, firmware: 'uefi', networks: [{ model: 'virtio' }, { model: 'e1000e' }],
    disks: [{ bus: 'nvme' }, { bus: 'virtio' }, { kind: 'cdrom' }],
  });
  rmSync(back);
  await convertDisk(config.disks[0]?.path ?? '', back, { from: 'qcow2', to: 'raw', compressed: false });
  expect(readFileSync(back).equals(bytes)).toBe(true);
});

it('UEFI variables come along with a machine that is off: to clones, in archives and appliances; what cannot be any is refused', async () => {
  const { id } = await call('vm.create', { config: { name: 'Template', firmware: 'uefi' } });
  const variables = randomBytes(540_672);
  writeFileSync(variablesOf(id), variables);
  const archive = join(folder, 'template.vpsnap');
  await call('vm.export', { vm: id, path: archive });
  const made = [await call('vm.clone', { vm: id, name: 'Linked' }), await call('vm.clone', { vm: id, name: 'Full', full: true }), await call('snapshot.import', { path: archive, name: 'Imported' })];
  for (const vm of made) expect(readFileSync(variablesOf(vm.id)).equals(variables), vm.config.name).toBe(true);
  writeFileSync(variablesOf(id), 'no flash holds this');
  const { id: without } = await call('vm.clone', { vm: id, name: 'Without' });
  expect(existsSync(variablesOf(without))).toBe(false);

  const path = join(folder, 'hostile.ova');
  writeFileSync(variablesOf(id), variables);
  await call('vm.export', { vm: id, path });
  const others = mkdtempSync(join(folder, 'hostile-'));
  execFileSync('tar', ['-xf', path, '-C', others]);
  rmSync(join(others, 'hostile.mf'));
  writeFileSync(join(others, 'hostile-uefi-variables.fd'), Buffer.alloc(5000));
  const before = await names();
  expect(await refused(call('appliance.import', { path: join(others, 'hostile.ovf'), name: 'Hostile' }))).toMatchObject({ code: 'bad-image', message: expect.stringContaining('holds no UEFI variables') });
  rmSync(join(others, 'hostile-uefi-variables.fd'));
  expect(await refused(call('appliance.import', { path: join(others, 'hostile.ovf'), name: 'Hostile' }))).toMatchObject({ code: 'bad-image', message: expect.stringContaining('lacks its file') });
  expect(await names()).toEqual(before);
});

it('what no appliance can say is refused, and an export that is cancelled leaves what was there', async () => {
  const path = join(folder, 'kept.ova');
  writeFileSync(path, 'kept');
  const refusal = (vm: string, file = path): Promise<{ readonly code: string }> => refused(call('vm.export', { vm, path: file }));
  expect(await refusal('Monitor')).toMatchObject({ code: 'bad-field', message: expect.stringContaining('kernel of its own') });
  await call('vm.create', { config: { name: 'off', firmware: 'bios' } });
  expect(await refusal('off', join(folder, 'x.vmdk'))).toMatchObject({ code: 'bad-field', hint: expect.stringContaining('.ova') });
  await call('vm.start', { vm: 'Monitor' });
  expect(await refusal('Monitor')).toMatchObject({ code: 'wrong-state', message: expect.stringContaining('holds no memory') });
  await call('snapshot.take', { vm: 'Monitor', name: 'running' });
  expect(await refused(call('snapshot.export', { vm: 'Monitor', snapshot: 'running', path }))).toMatchObject({ code: 'wrong-state' });
  await call('vm.stop', { vm: 'Monitor', force: true });
  const large = join(folder, 'large.qcow2');
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', large, '500G']);
  await call('vm.create', { config: { name: 'large', firmware: 'bios', disks: [{ ...diskDefaults, path: large }] } });
  const cancelled = refusal('large');
  const events: LibraryEvent[] = [];
  test.client.subscribe('library', {}, { event: (event) => void events.push(event) });
  await until(() => events.some((event) => event.kind === 'transfer-progress' && event.total > 1), 'it is under way');
  await call('transfer.cancel', { path });
  expect((await cancelled).code).toBe('cancelled');
  expect(readFileSync(path, 'utf8')).toBe('kept');
  expect(existsSync(`${path}.part`)).toBe(false);
  expect(await refusal('off', join(folder, 'nowhere', 'x.ova'))).toMatchObject({ code: 'file-unreadable', message: expect.stringContaining('nowhere') });
});

it('what is damaged, taken or cancelled leaves no machine and no file', async () => {
  const before = await names();
  const damaged = writeOva(folder, content, { damaged: true, name: 'Damaged' });
  expect(await refused(call('appliance.import', { path: damaged }))).toMatchObject({ code: 'bad-image', field: 'path' });
  const whole = writeOva(folder, content, { name: 'Taken' });
  expect(await refused(call('appliance.import', { path: whole, name: 'web SERVER' }))).toMatchObject({ code: 'name-taken' });
  const cancelled = refused(call('appliance.import', { path: whole }));
  const twice = refused(call('appliance.import', { path: whole }));
  await call('transfer.cancel', { path: whole });
  expect((await twice).code).toBe('wrong-state');
  expect((await cancelled).code).toBe('cancelled');
  expect(await names()).toEqual(before);
  expect(leftOver()).toEqual([]);
});

it('one that is larger than the room of the library is refused, and gives the room back', async () => {
  const room = join(folder, 'room');
  mkdirSync(room);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', room]);
  const small = await startTestEngine(join(room, 'library'));
  try {
    const path = writeOva(folder, randomBytes(32 << 20));
    const { bfree } = statfsSync(room);
    expect(await refused(small.client.call('appliance.import', { path }))).toMatchObject({ code: 'disk-full' });
    expect((await small.client.call('vm.list', {})).map(({ config }) => config.name)).toEqual(['Monitor']);
    // The database may have grown by a page or two.
    expect(bfree - statfsSync(room).bfree).toBeLessThan(64);
  } finally {
    await small.end();
    execFileSync('umount', ['-l', room]);
  }
});
