/** Appliances become VMs of the library with disks of their own; what fails or is cancelled leaves nothing. */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { convertDisk } from '../../core/block/convert.ts';
import type { LibraryEvent } from '../../core/contract/index.ts';
import { writeOva } from '../helpers/appliances.ts';
import { startTestEngine } from '../helpers/engine.ts';
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
