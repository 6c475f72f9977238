/** By the instruction clock, a Debian guest with a disk does after a restore bit for bit what it did without one. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { machineModuleUrl } from '../../core/machine/entries.ts';
import { DebianVm, ext4Image } from '../helpers/debianVm.ts';
import { driverGuest } from '../helpers/driver-guest.ts';
import { history, startTestEngine, type, until } from '../helpers/engine.ts';
import type { TestEngine } from '../helpers/engine.ts';
import type { Guest } from '../helpers/guests.ts';

const FETCH_MS = 600_000;
const TEST_MS = 300_000;
const VM = 'Debian';

let folder = '';
let guest: Guest;
let test: TestEngine;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'vanderpool-snapshot-repeats-'));
  guest = await driverGuest('amd64', folder);
  test = await startTestEngine(undefined, machineModuleUrl());
}, FETCH_MS);
afterAll(async () => {
  await test.end();
  rmSync(folder, { recursive: true, force: true });
});

/** Writes, reads from the disk itself, sleeps; says its uptime and a checksum of all counts of interrupts. */
const ROUND = 'head -c 40000 /dev/vda >> /mnt/x; sync; echo 3 > /proc/sys/vm/drop_caches; cat /proc/uptime; md5sum < /proc/interrupts; md5sum < /mnt/x; sleep 1';

describe('a Debian guest with a disk, by the instruction clock', () => {
  it('does the same again after a restore, in its process and in a new one: times, interrupts, files', async () => {
    const disk = ext4Image(join(test.folder, 'disk.img'));
    const vm = await DebianVm.create(test.client, VM, guest, { clock: 'instructions', disks: [{ path: disk, kind: 'disk', bus: 'virtio', format: 'raw', readOnly: false }] });
    await vm.boot();
    await vm.ask('mount -t ext4 /dev/vda /mnt');
    const shown = async (): Promise<string> => (await history(test.client, VM)).replaceAll('\r', '');
    const ended = async (): Promise<string> => {
      const text = await until(async () => ((await shown()).includes('LAST') ? shown() : undefined), 'the last line', TEST_MS);
      return text.slice(text.indexOf('FIRST'), text.indexOf('LAST'));
    };
    const restore = (): Promise<unknown> => test.client.call('snapshot.restore', { vm: VM, snapshot: 'one', paused: false });
    await type(test.client, VM, `echo FI''RST; for i in 1 2 3 4 5 6 7 8 9 10 11 12; do ${ROUND}; done; echo LA''ST\n`);
    await until(async () => (await shown()).split('FIRST')[1]?.includes('-'), 'the first line');
    await test.client.call('snapshot.take', { vm: VM, name: 'one' });
    const original = await ended();
    expect(original.split('\n').length).toBeGreaterThan(30);
    await restore();
    expect(await ended()).toBe(original);
    await test.client.call('vm.stop', { vm: VM, force: true });
    await restore();
    expect(await ended()).toBe(original);
  }, TEST_MS);
});
