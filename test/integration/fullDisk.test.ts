/** A guest whose disk lies where there is no room any more waits, and goes on when there is. The room is a limit of the size of files. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { LibraryEvent } from '../../core/contract/index.ts';
import { machineModuleUrl } from '../../core/machine/entries.ts';
import { DebianVm, ext4Image } from '../helpers/debianVm.ts';
import { driverGuest } from '../helpers/driver-guest.ts';
import { startTestEngine, type, until, untilState } from '../helpers/engine.ts';
import type { TestEngine } from '../helpers/engine.ts';
import { refused } from '../helpers/refusal.ts';

const VM = 'Debian';
const FETCH_MS = 600_000;
const TEST_MS = 300_000;

let folder = '';
let test: TestEngine;
let vm: DebianVm;

/** How large a file of the VM's process may become; null: as large as it wants. */
async function limitFiles(bytes: number | null): Promise<void> {
  const { processId } = await test.client.call('vm.get', { vm: VM });
  execFileSync('prlimit', ['--pid', String(processId), `--fsize=${bytes ?? 'unlimited'}:unlimited`]);
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'vanderpool-full-disk-'));
  test = await startTestEngine(undefined, machineModuleUrl());
  vm = await DebianVm.create(test.client, VM, await driverGuest('amd64', folder), {
    disks: [{ path: ext4Image(join(folder, 'disk.img')), kind: 'disk', bus: 'virtio', format: 'raw', readOnly: false }],
  });
  await vm.boot();
  await vm.ask('mount -t ext4 /dev/vda /mnt');
}, FETCH_MS);
afterAll(async () => {
  await test.end();
  rmSync(folder, { recursive: true, force: true });
});

describe('a VM whose disk finds no room on the host', () => {
  it('waits, says why, and goes on when there is room: the guest never hears of it', async () => {
    const events: LibraryEvent[] = [];
    const stop = test.client.subscribe('library', {}, { event: (event) => void events.push(event) });
    await limitFiles(1 << 20);
    await type(test.client, VM, 'head -c 6000000 /dev/urandom > /mnt/file; md5sum /mnt/file > /mnt/sum; sync; echo WRIT""TEN\n');
    await untilState(test.client, VM, 'paused');
    const { problem } = await test.client.call('vm.get', { vm: VM });
    expect(problem).toContain('disk.img');
    expect(events).toContainEqual(expect.objectContaining({ kind: 'error', error: expect.objectContaining({ code: 'disk-full' }) }));
    expect(await refused(test.client.call('vm.resume', { vm: VM }))).toMatchObject({ code: 'disk-full' });
    await limitFiles(null);
    await untilState(test.client, VM, 'running');
    expect(await vm.ask('echo 3 > /proc/sys/vm/drop_caches; md5sum -c /mnt/sum; dmesg | grep -c "I/O error"')).toBe('/mnt/file: OK\n0\n');
    expect((await test.client.call('vm.get', { vm: VM })).problem).toBeNull();
    stop.close();
  }, TEST_MS);

  it('does not go on by itself when a person has paused it meanwhile', async () => {
    await limitFiles(1 << 20);
    await type(test.client, VM, 'head -c 6000000 /dev/urandom > /mnt/file; sync\n');
    await until(async () => (await test.client.call('vm.get', { vm: VM })).problem, 'there is no room');
    await untilState(test.client, VM, 'paused');
    // Of a paused VM the engine refuses it; a restore or the end of a snapshot asks the process for it.
    const guest = test.engine.supervisor.guest((await test.client.call('vm.get', { vm: VM })).id);
    guest?.pause();
    // What is asked behind it is answered when the process knows of it.
    const answer = (): Promise<string> => until(() => guest?.describe(), 'the machine answers');
    await answer();
    await limitFiles(null);
    await until(async () => (await test.client.call('vm.get', { vm: VM })).problem === null, 'there is room');
    // A guest that goes on says so before it has answered twice.
    for (let times = 0; times < 2; times += 1) await answer();
    expect(await test.client.call('vm.get', { vm: VM })).toMatchObject({ state: 'paused' });
    await test.client.call('vm.resume', { vm: VM });
    expect(await vm.ask('wc -c < /mnt/file')).toBe('6000000\n');
  }, TEST_MS);
});
