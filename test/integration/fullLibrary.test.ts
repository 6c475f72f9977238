/**
 * A library on a file system that is really full (a small tmpfs, which only root can mount): whatever is refused is refused with the reason, nothing
 * that is listed is lost, and nothing is damaged. `npm run fuzz -- --snapshots` does the same at every step, with a disk that says it is full.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { LibraryEvent } from '../../core/contract/index.ts';
import { machineModuleUrl } from '../../core/machine/entries.ts';
import { checkExt4, DebianVm, ext4Image } from '../helpers/debianVm.ts';
import { driverGuest } from '../helpers/driver-guest.ts';
import { startTestEngine, until } from '../helpers/engine.ts';
import type { TestEngine } from '../helpers/engine.ts';

const VM = 'Debian';
const FETCH_MS = 600_000;
const TEST_MS = 300_000;
const KIB = 1024;
/** Bytes that are left: none, less than the database wants, less than the memory wants, enough. */
const ROOMS = [0, 40 * KIB, 200 * KIB, 8000 * KIB] as const;
const ENOUGH = ROOMS.at(-1);

let folder = '';
let room = '';
let disk = '';
let test: TestEngine;
let vm: DebianVm;

const call = ((operation, input) => test.client.call(operation, input)) as TestEngine['client']['call'];

/** Fills the file system up to so many bytes. */
function leave(bytes: number): void {
  const { bavail, bsize } = statfsSync(room);
  writeFileSync(join(room, 'ballast'), Buffer.alloc(Math.max(0, bavail * bsize - bytes)));
}

function makeRoom(): void {
  rmSync(join(room, 'ballast'), { force: true });
}

/** Whether it was done. What is refused for want of room says so. */
async function attempt(what: Promise<unknown>): Promise<boolean> {
  const error: unknown = await what.then(() => null, (thrown: unknown) => thrown);
  if (error !== null) expect(String(error)).toMatch(/no space|is full|no room/i);
  return error === null;
}

/** What the guest reads from its disk, and not from its memory. */
const stored = (): Promise<string> => vm.ask('echo 3 > /proc/sys/vm/drop_caches; cat /mnt/file');

describe.skipIf(process.getuid?.() !== 0)('a library whose file system is full (as root: a tmpfs is mounted)', () => {
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'vanderpool-full-library-'));
    room = join(folder, 'room');
    mkdirSync(room);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256m', 'vanderpool-test', room]);
    disk = ext4Image(join(room, 'disk.img'));
    test = await startTestEngine(join(room, 'library'), machineModuleUrl());
    vm = await DebianVm.create(test.client, VM, await driverGuest('amd64', folder), { disks: [{ path: disk, kind: 'disk', bus: 'virtio', format: 'raw', readOnly: false }] });
    await vm.boot();
    await vm.ask('mount -t ext4 /dev/vda /mnt; echo first > /mnt/file; sync');
    await call('snapshot.take', { vm: VM, name: 'first' });
  }, FETCH_MS);
  afterAll(async () => {
    await test.end();
    execFileSync('umount', ['-l', room]);
    rmSync(folder, { recursive: true, force: true });
  });

  it('takes, restores, suspends, resumes and deletes what fits, refuses the rest, and has lost nothing', async () => {
    const listed = new Map([['first', 'first\n']]);
    const done: string[] = [];
    const fits = async (name: string, what: Promise<unknown>): Promise<boolean> => {
      if (!(await attempt(what))) return false;
      done.push(name);
      return true;
    };
    const check = async (snapshot: string): Promise<void> => {
      await call('snapshot.restore', { vm: VM, snapshot, paused: false });
      expect(await stored(), snapshot).toBe(listed.get(snapshot));
    };
    for (const bytes of ROOMS) {
      const [name, spare] = [`room ${bytes}`, `spare ${bytes}`];
      await call('snapshot.take', { vm: VM, name: spare });
      listed.set(spare, 'first\n');
      await vm.ask(`echo ${name} > /mnt/file; head -c 300000 /dev/urandom > /mnt/noise; sync`);
      leave(bytes);
      if (await fits(`take ${bytes}`, call('snapshot.take', { vm: VM, name }))) listed.set(name, `${name}\n`);
      if (await fits(`remove ${bytes}`, call('snapshot.remove', { vm: VM, snapshot: spare }))) listed.delete(spare);
      await fits(`restore ${bytes}`, call('snapshot.restore', { vm: VM, snapshot: 'first', paused: false }));
      if (await fits(`suspend ${bytes}`, call('vm.suspend', { vm: VM }))) await attempt(call('vm.resume', { vm: VM }));
      makeRoom();
      if ((await call('vm.get', { vm: VM })).state === 'suspended') await call('vm.resume', { vm: VM });
      await until(async () => (await call('vm.get', { vm: VM })).problem === null, 'there is room');
      await test.engine.snapshots.collect();
      expect(await call('library.check', { repair: false })).toEqual([]);
      expect((await call('snapshot.list', { vm: VM })).map((snapshot) => snapshot.name).toSorted()).toEqual([...listed.keys()].toSorted());
      await check([...listed.keys()].at(-1) ?? '');
      await check('first');
    }
    for (const snapshot of listed.keys()) await check(snapshot);
    expect(done).toEqual(expect.arrayContaining([`take ${ENOUGH}`, `restore ${ENOUGH}`, `suspend ${ENOUGH}`]));
    // What makes room is never refused.
    expect(done).toEqual(expect.arrayContaining(ROOMS.map((bytes) => `remove ${bytes}`)));
    expect(done).not.toContain('take 0');
  }, TEST_MS);

  it('writes a disk back into its image when there is room, and says when there is none', async () => {
    await vm.ask('head -c 3000000 /dev/urandom > /mnt/noise; echo last > /mnt/file; sync; umount /mnt');
    await call('vm.stop', { vm: VM, force: true });
    const events: LibraryEvent[] = [];
    const stop = test.client.subscribe('library', {}, { event: (event) => void events.push(event) });
    for (const { id } of await call('snapshot.list', { vm: VM })) await call('snapshot.remove', { vm: VM, snapshot: id });
    await test.engine.snapshots.collect();
    leave(100 * KIB);
    await test.engine.snapshots.mergeDisks();
    const told = await until(() => events.find((event) => event.kind === 'error'), 'it says so');
    expect(told).toMatchObject({ error: { message: expect.stringMatching(/no space|is full|no room/i) } });
    makeRoom();
    expect(await call('library.check', { repair: false })).toEqual([]);
    // It is tried again after the next change.
    await call('snapshot.take', { vm: VM, name: 'again' });
    await call('snapshot.remove', { vm: VM, snapshot: 'again' });
    await test.engine.snapshots.mergeDisks();
    expect(checkExt4(disk)).toBe(0);
    expect(execFileSync('debugfs', ['-R', 'cat /file', disk], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })).toBe('last\n');
    stop.close();
  }, TEST_MS);
});
