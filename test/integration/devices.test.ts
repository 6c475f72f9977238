import { mkdtempSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { vmDefaults } from '../../core/contract/index.ts';
import type { Vm } from '../../core/contract/index.ts';
import { openLocked } from '../../core/block/open.ts';
import { Devices } from '../../core/engine/devices.ts';
import type { Guest } from '../../core/engine/guest.ts';
import { problemOf } from '../../core/passthrough/availability.ts';
import { findResources } from '../../core/passthrough/resources.ts';
import type { HostResource } from '../../core/passthrough/resources.ts';
import { Library } from '../../core/store/library.ts';

let folder = '';
let library: Library;
let found: HostResource[] = [];
const alive = new Set<string>();

const adapter: HostResource = { id: 'serial:usb:0403:6001:A1', kind: 'serial', name: 'USB adapter', vendor: '0403', product: '6001', serial: 'A1', path: '/dev/ttyUSB0' };
const edu: HostResource = { id: 'edu:0', kind: 'edu', name: 'edu demonstrator 0', vendor: '1234', product: '11e8', serial: '0', path: null };

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'vanderpool-devices-'));
  library = new Library(folder);
  found = [edu, adapter];
  alive.clear();
  plugged.length = takenOut.length = 0;
});
afterEach(async () => {
  await library.close();
  rmSync(folder, { recursive: true, force: true });
});

/** What a running guest was told, and what was taken out of it. */
const plugged: unknown[] = [];
const takenOut: number[] = [];
const guest = { plugDevice: (device: unknown): Promise<void> => { plugged.push(device); return Promise.resolve(); } } as unknown as Guest;
const cards = { freeSlot: (): number => 2, takeOut: (_vm: Vm, _guest: Guest, slot: number): Promise<void> => { takenOut.push(slot); return Promise.resolve(); } };

function devices(): Devices {
  return new Devices(library, { get: (reference) => library.get(reference), list: () => library.list(), isAlive: (id) => alive.has(id), guest: (id) => (alive.has(id) ? guest : null), cards }, () => found);
}

function vm(name: string): Promise<Vm> {
  return library.create({ ...vmDefaults, name });
}

describe('assignable devices', () => {
  it('are listed with a requester ID and a group of their own that they keep', async () => {
    const before = await devices().list();
    expect(before.map(({ id, present, vm: owner }) => [id, present, owner])).toEqual([['edu:0', true, null], [adapter.id, true, null]]);
    expect(new Set(before.map(({ requester }) => requester)).size).toBe(2);
    found = [adapter];
    await library.close();
    library = new Library(folder);
    const after = await devices().list();
    expect(after.map(({ requester, group }) => [requester, group])).toEqual(before.map(({ requester, group }) => [requester, group]));
    expect(after.map(({ present }) => present)).toEqual([false, true]);
  });

  it('belong to one VM, across engines, until they are released', async () => {
    const [one, two] = [await vm('one'), await vm('two')];
    await devices().assign('edu:0', 'one');
    await library.close();
    library = new Library(folder);
    await expect(devices().assign('edu:0', 'two')).rejects.toMatchObject({ code: 'device-taken' });
    expect(await devices().forStart(one, false)).toMatchObject([{ id: 'edu:0', kind: 'edu', requester: 0x8000 }]);
    await devices().release('edu:0');
    await devices().assign('edu:0', 'two');
    expect((await devices().forStart(two, false)).map(({ id }) => id)).toEqual(['edu:0']);
    expect(await devices().forStart(one, false)).toEqual([]);
  });

  it('come and go while their VM runs', async () => {
    const one = await vm('one');
    const all = devices();
    await all.assign('edu:0', 'one');
    expect(await all.forStart(one, false)).toMatchObject([{ id: 'edu:0', slot: 5 }]);
    alive.add(one.id);
    expect(await all.get('edu:0')).toMatchObject({ inUse: true });
    expect(await all.assign(adapter.id, 'one')).toMatchObject({ inUse: true });
    expect(plugged).toEqual([{ id: adapter.id, kind: 'serial', name: 'USB adapter', path: '/dev/ttyUSB0', requester: 0x8001, slot: 2 }]);
    expect(all.slotsOf(one.id)).toEqual([5, 2]);
    await all.release(adapter.id);
    expect(takenOut).toEqual([2]);
    // The guest itself lets one go: it stays assigned, and there is nothing to take out when it is released.
    all.left(one.id, 5);
    expect(await all.get('edu:0')).toMatchObject({ vm: { name: 'one' } });
    await all.release('edu:0');
    expect(takenOut).toEqual([2]);
  });

  it('that the host does not have are refused by a VM that runs', async () => {
    const one = await vm('one');
    const all = devices();
    await all.list();
    alive.add(one.id);
    found = [edu];
    await expect(all.assign(adapter.id, 'one')).rejects.toMatchObject({ code: 'device-missing' });
  });

  it('that another program holds give the same choice', async () => {
    const one = await vm('one');
    const image = join(folder, 'image.raw');
    writeFileSync(image, new Uint8Array(4096));
    await devices().add('disk', image, undefined);
    await devices().assign(image, 'one');
    const { storage, lock } = openLocked(image, false);
    await expect(devices().forStart(one, false)).rejects.toMatchObject({ code: 'device-missing', message: expect.stringContaining('image.raw is in use') as string });
    expect(await devices().forStart(one, true)).toEqual([]);
    lock.release();
    await storage.close();
    expect(await devices().forStart(one, false)).toHaveLength(1);
    // Programs that dial out leave their process id beside the port.
    const port = { id: adapter.id, kind: 'serial', path: '/dev/ttyUSB0' } as const;
    expect(await problemOf(port, folder)).toBeNull();
    writeFileSync(join(folder, 'LCK..ttyUSB0'), `      ${process.pid}\n`);
    expect(await problemOf(port, folder)).toBe(`is in use by process ${process.pid}`);
    // 2^22 and above is no process.
    writeFileSync(join(folder, 'LCK..ttyUSB0'), '99999999\n');
    expect(await problemOf(port, folder)).toBeNull();
  });

  it('that are missing give a choice at the start, and are there again under another name', async () => {
    const one = await vm('one');
    await devices().list();
    await devices().assign(adapter.id, 'one');
    await devices().assign('edu:0', 'one');
    found = [edu];
    await expect(devices().forStart(one, false)).rejects.toMatchObject({ code: 'device-missing' });
    expect((await devices().forStart(one, true)).map(({ id }) => id)).toEqual(['edu:0']);
    found = [edu, { ...adapter, path: '/dev/ttyUSB7' }];
    expect((await devices().forStart(one, false)).find(({ kind }) => kind === 'serial')?.path).toBe('/dev/ttyUSB7');
  });

  it('are free again when their VM is removed', async () => {
    const one = await vm('one');
    await devices().list();
    await devices().assign('edu:0', 'one');
    library.remove(one);
    expect((await devices().get('edu:0')).vm).toBeNull();
  });

  it('are refused with what to do when they are no devices', async () => {
    await expect(devices().add('serial', join(folder, 'library.db'), undefined)).rejects.toMatchObject({ code: 'file-unreadable', field: 'path' });
    await expect(devices().get('nothing')).rejects.toMatchObject({ code: 'not-found' });
    const null0 = await devices().add('serial', '/dev/null', 'a hole');
    expect(null0).toMatchObject({ id: 'serial:/dev/null', name: 'a hole', present: true });
    await devices().forget(null0.id);
    expect((await devices().list()).map(({ id }) => id)).not.toContain(null0.id);
  });
});

describe('serial ports of the host', () => {
  it('are those with hardware behind them, USB adapters by vendor, product and serial number', () => {
    const classes = join(folder, 'class');
    const files = join(folder, 'dev');
    mkdirSync(files);
    for (const name of ['ttyS0', 'ttyS1', 'ttyUSB0', 'tty1']) {
      mkdirSync(join(classes, 'tty', name, 'device'), { recursive: true });
      writeFileSync(join(files, name), '');
    }
    writeFileSync(join(classes, 'tty/ttyS0/type'), '4\n');
    writeFileSync(join(classes, 'tty/ttyS1/type'), '0\n');
    for (const [name, value] of [['idVendor', '0403'], ['idProduct', '6001'], ['serial', 'A1'], ['product', 'FT232R']] as const) {
      writeFileSync(join(classes, 'tty/ttyUSB0/device', name), `${value}\n`);
    }
    const serial = findResources({ devices: files, classes }).filter(({ kind }) => kind === 'serial');
    expect(serial.map(({ id, name }) => [id, name])).toEqual([[`serial:${join(files, 'ttyS0')}`, 'serial port ttyS0'], ['serial:usb:0403:6001:A1', 'FT232R']]);
  });
});
