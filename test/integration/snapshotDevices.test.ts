/** What belongs to a snapshot besides memory and disks: the network interface, the CD in the drive, the real-time clock; and what cannot. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { diskDefaults, networkDefaults } from '../../core/contract/hardware.ts';
import { machineModuleUrl } from '../../core/machine/entries.ts';
import { DebianVm } from '../helpers/debianVm.ts';
import { driverGuest } from '../helpers/driver-guest.ts';
import { startTestEngine } from '../helpers/engine.ts';
import type { TestEngine } from '../helpers/engine.ts';
import { refused } from '../helpers/refusal.ts';

const VM = 'Debian';
const FETCH_MS = 600_000;
const TEST_MS = 300_000;
/** The real-time clock is a year behind. */
const YEAR_SECONDS = 365 * 86_400;
const BUSY_HOST_SECONDS = 60;

const server = createServer((_, response) => response.end('answer'));
let folder = '';
let test: TestEngine;
let vm: DebianVm;
let first = '';

/** A medium whose first line says what it is. */
function medium(name: string): string {
  const path = join(folder, name);
  const disc = Buffer.alloc(64 * 2048);
  disc.write(`${name}\n`);
  writeFileSync(path, disc);
  return path;
}

const call = ((operation, input) => test.client.call(operation, input)) as TestEngine['client']['call'];
const fetched = (): Promise<string> => vm.ask(`rm -f /tmp/answer; timeout 30 wget -q -O /tmp/answer http://10.0.2.2:${(server.address() as AddressInfo).port}/; cat /tmp/answer`);
const clock = async (): Promise<number> => Number(await vm.ask('cat /sys/class/rtc/rtc0/since_epoch')) - Date.now() / 1000;
const address = (): Promise<string> => vm.ask('cat /sys/class/net/eth0/address');

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'vanderpool-snapshot-devices-'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  test = await startTestEngine(undefined, machineModuleUrl());
  first = medium('first.iso');
  vm = await DebianVm.create(test.client, VM, await driverGuest('amd64', folder), {
    disks: [{ ...diskDefaults, kind: 'cdrom', bus: 'scsi', path: first, format: 'raw', readOnly: true }], networks: [{ ...networkDefaults, hostLoopback: true }],
  });
  await vm.boot();
}, FETCH_MS);
afterAll(async () => {
  server.close();
  await test.end();
  rmSync(folder, { recursive: true, force: true });
});

describe('a snapshot', () => {
  it('has the network interface, the medium and the real-time clock, in the same process and in a new one', async () => {
    const own = '02:00:00:00:00:77\n';
    await vm.ask(`ifconfig eth0 hw ether ${own.trim()} up && udhcpc -q -n -i eth0 > /dev/null 2>&1`);
    await vm.ask(`date -s @$(($(date +%s) - ${YEAR_SECONDS})) > /dev/null; hwclock -w -u`);
    const offset = await clock();
    expect(Math.abs(offset + YEAR_SECONDS)).toBeLessThan(BUSY_HOST_SECONDS);
    expect(await fetched()).toBe('answer');
    await call('snapshot.take', { vm: VM, name: 'one' });

    for (const newProcess of [false, true]) {
      await call('vm.medium', { vm: VM, disk: 0, path: medium('second.iso'), force: false });
      await call('vm.link', { vm: VM, network: 0, up: false });
      await vm.ask('ifconfig eth0 down; ifconfig eth0 hw ether 02:00:00:00:00:99; ip route flush table main; date -s @1000000000 > /dev/null; hwclock -w -u');
      expect(await vm.ask('head -n 1 /dev/sr0')).toBe('second.iso\n');
      if (newProcess) await call('vm.stop', { vm: VM, force: true });
      await call('snapshot.restore', { vm: VM, snapshot: 'one', paused: false });
      expect(await address()).toBe(own);
      expect(await fetched()).toBe('answer');
      expect(await vm.ask('head -n 1 /dev/sr0')).toBe('first.iso\n');
      expect(Math.abs((await clock()) - offset)).toBeLessThan(BUSY_HOST_SECONDS);
    }
  }, TEST_MS);

  it('of a machine whose network is busy goes on with it, wherever frames were', async () => {
    const { port } = server.address() as AddressInfo;
    await vm.ask(`(while :; do timeout 10 wget -q -O /tmp/busy http://10.0.2.2:${port}/; done) 2> /dev/null & true`);
    await call('snapshot.take', { vm: VM, name: 'busy' });
    for (let i = 0; i < 5; i += 1) {
      await call('snapshot.restore', { vm: VM, snapshot: 'busy', paused: false });
      expect(await fetched()).toBe('answer');
    }
    await vm.ask('kill %1');
  }, TEST_MS);

  it('is compared with names for the memory of the kernel, of processes and of files, by its symbols', async () => {
    const symbols = join(folder, 'kallsyms');
    const names = ['_text', '_stext', '_etext', '__start_rodata', '__end_rodata', '_sdata', '__init_begin', '__init_end', 'entry_SYSCALL_64', 'init_task', 'init_mm', 'init_top_pgt', 'vmemmap_base', 'slab_caches', 'kmem_cache', 'super_blocks', 'vmalloc_base', 'init_stack', 'jiffies', 'jiffies_64', '_end', '__bss_stop', '__smp_locks', '__smp_locks_end', '__start_bss_decrypted_unused', '__end_bss_decrypted'];
    writeFileSync(symbols, await vm.ask(`grep -E ' (${names.join('|')})$' /proc/kallsyms`));
    await call('snapshot.take', { vm: VM, name: 'before' });
    // A million characters that the shell keeps.
    expect(await vm.ask('kept=$(head -c 500000 /dev/zero | od -v -x | head -c 1000000); echo ${#kept}')).toBe('1000000\n');
    await vm.ask('mkdir /noted; head -c 400000 /dev/urandom > /noted/file');
    const name = (await vm.ask('cat /proc/$$/comm')).trim();
    await call('snapshot.take', { vm: VM, name: 'after' });
    const { memory } = await call('snapshot.diff', { vm: VM, from: 'before', to: 'after', symbols });
    expect(memory.flatMap(({ owner }) => owner ?? []).join()).toContain('jiffies');
    const bytesOf = (who: string): number => memory.reduce((sum, { owner, bytes }) => sum + (owner === who ? bytes : 0), 0);
    expect(bytesOf(`process ${name}`)).toBeGreaterThanOrEqual(1_000_000);
    expect(bytesOf('file /noted/file on rootfs')).toBeGreaterThanOrEqual(400_000);
    expect(bytesOf('slab dentry')).toBeGreaterThan(0);
    expect(bytesOf(`kernel stack of ${name}`)).toBeGreaterThan(0);
    expect(bytesOf('descriptors of pages')).toBeGreaterThan(0);
    expect(memory.some(({ owner }) => owner === null)).toBe(true);
    const plain = await call('snapshot.diff', { vm: VM, from: 'before', to: 'after' });
    expect(plain.memory.every(({ owner }) => owner === null)).toBe(true);
    expect(await refused(call('snapshot.diff', { vm: VM, from: 'before', to: 'after', symbols: first }))).toMatchObject({ code: 'bad-field', field: 'symbols' });
  }, TEST_MS);
});
