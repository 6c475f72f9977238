/**
 * A Debian guest that counts, writes files and talks to the network, snapshotted live again and again and put back at random: what it prints
 * goes on without a gap or a repetition, its file system is clean, its clocks do not jump. Now and then it is suspended and resumed, and its process
 * may die as soon as its state is listed. With `nested` it is KVM's guest that counts.
 */
import { spawnSync } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { networkDefaults } from '../../core/contract/hardware.ts';
import { machineModuleUrl } from '../../core/machine/entries.ts';
import { randomFrom } from '../fuzz/snapshots/disk.ts';
import type { Random } from '../fuzz/snapshots/disk.ts';
import { DebianVm, ext4Image } from '../helpers/debianVm.ts';
import { driverGuest } from '../helpers/driver-guest.ts';
import { history, startTestEngine, type, until } from '../helpers/engine.ts';
import type { TestEngine } from '../helpers/engine.ts';
import { kvmGuest, kvmModules } from '../helpers/kvmGuest.ts';

const VM = 'Soak';
/** A restored guest counts on within this time on a busy host. */
const PATIENCE_MS = 60_000;
/** The guest's real-time clock may be off by this much on a busy host. */
const CLOCK_SECONDS = 10;
const COPY_BYTES = 1 << 20;

export interface SoakOptions {
  readonly seed: number;
  readonly snapshots: number;
  readonly restores: number;
  readonly suspensions: number;
  readonly nested: boolean;
  readonly tell: (line: string) => void;
}

/** Counts in memory and on the disk, and says the count and its uptime; the rest is load. */
const programs = (port: number): readonly string[] => [
  // The interrupt key would take lines along that were not printed yet.
  'stty noflsh',
  'mount -t ext4 /dev/vda /mnt', 'ifconfig eth0 up && udhcpc -q -n -i eth0 > /dev/null 2>&1',
  `(while :; do head -c 300000 /dev/urandom > /mnt/load; md5sum < /mnt/load > /mnt/load.md5; sync; done) &`,
  // Debian's busybox has wget without its timeout, and crashes when it is given one.
  `(while :; do timeout 10 wget -q -O /tmp/answer http://10.0.2.2:${port}/ && echo x >> /tmp/answers; usleep 50000; done) 2> /dev/null &`,
];
const counter = 'i=0; while :; do i=$((i+1)); echo $i >> /mnt/count; read up idle < /proc/uptime; echo "COUNT $i $up"; usleep 30000; done';
const nestedCounter = 'kvm 2000';

/** @throws Error that says what went wrong, and the seed */
export async function soak(options: SoakOptions): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'vanderpool-soak-'));
  const engine = await startTestEngine(undefined, machineModuleUrl());
  const server = createServer((_, response) => response.end('answer'));
  try {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    return await new Soak(options, engine, folder, port).run();
  } catch (error) {
    throw new Error(`seed ${options.seed}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  } finally {
    server.closeAllConnections();
    server.close();
    await engine.end();
    rmSync(folder, { recursive: true, force: true });
  }
}

class Soak {
  readonly #options: SoakOptions;
  readonly #engine: TestEngine;
  readonly #folder: string;
  readonly #port: number;
  readonly #random: Random;
  readonly #names: string[] = [];
  readonly #pauses: number[] = [];

  constructor(options: SoakOptions, engine: TestEngine, folder: string, port: number) {
    this.#options = options;
    this.#engine = engine;
    this.#folder = folder;
    this.#port = port;
    this.#random = randomFrom(options.seed);
  }

  async run(): Promise<string> {
    const { snapshots, restores, suspensions, tell } = this.#options;
    await this.#start();
    let left = restores;
    for (let number = 1; number <= snapshots; number += 1) {
      await sleep(this.#random() * 400);
      await this.#take(`snapshot ${number}`);
      // Restores are spread among the snapshots, so that they branch.
      while (left > 0 && left > restores * (1 - number / snapshots)) {
        await this.#restore();
        left -= 1;
      }
      if (Math.floor((number * suspensions) / snapshots) > Math.floor(((number - 1) * suspensions) / snapshots)) await this.#suspend();
      if (number % 10 === 0) tell(`${number} snapshots, ${restores - left} restores`);
    }
    await this.#check();
    const findings = await this.#engine.client.call('library.check', { repair: false });
    if (findings.length > 0) throw new Error(`the library is not whole: ${findings.map(({ what }) => what).join(' ')}`);
    const median = this.#pauses.toSorted((a, b) => a - b)[this.#pauses.length >> 1] ?? 0;
    return `${snapshots} snapshots (the guest stood still for ${median.toFixed(1)} ms, median), ${restores} restores, ${suspensions} suspensions: the count went on each time, file systems clean, clocks sane`;
  }

  async #start(): Promise<void> {
    const { client } = this.#engine;
    const plain = await driverGuest('amd64', this.#folder);
    const guest = this.#options.nested ? kvmGuest(plain, this.#folder) : plain;
    const disk = ext4Image(join(this.#folder, 'disk.img'));
    const vm = await DebianVm.create(client, VM, guest, {
      disks: [{ path: disk, kind: 'disk', bus: 'virtio', format: 'raw', readOnly: false }], networks: [{ ...networkDefaults, hostLoopback: true }],
    });
    await vm.boot();
    for (const program of programs(this.#port)) await vm.ask(program.replace(/ &$/, ' & true'));
    if (this.#options.nested) for (const name of kvmModules) await vm.ask(`insmod /mod/${name}.ko`);
    await type(client, VM, `${this.#options.nested ? nestedCounter : counter}\n`);
    await until(async () => (await this.#counts()).length > 3, 'the guest counts', PATIENCE_MS);
  }

  async #take(name: string): Promise<void> {
    const { pauseMilliseconds } = await this.#engine.client.call('snapshot.take', { vm: VM, name });
    this.#pauses.push(pauseMilliseconds);
    this.#names.push(name);
    if (this.#names.length <= 100) return;
    const [oldest] = this.#names.splice(Math.floor(this.#random() * this.#names.length), 1);
    if (oldest !== undefined) await this.#engine.client.call('snapshot.remove', { vm: VM, snapshot: oldest });
  }

  /** Some are restored in the running process, some in a new one. */
  async #restore(): Promise<void> {
    const { client } = this.#engine;
    const name = this.#names[Math.floor(this.#random() * this.#names.length)] ?? '';
    if (this.#random() < 0.3) await client.call('vm.stop', { vm: VM, force: true });
    await client.call('snapshot.restore', { vm: VM, snapshot: name, paused: true });
    await this.#resume(`"${name}"`);
  }

  /** Its process ends as it should, or dies as soon as the state is listed. */
  async #suspend(): Promise<void> {
    const { client, engine: { supervisor } } = this.#engine;
    const end = supervisor.suspended.bind(supervisor);
    if (this.#random() < 0.5) supervisor.suspended = (id) => supervisor.kill(id, 'As by kill -9.');
    try {
      await client.call('vm.suspend', { vm: VM });
    } finally {
      supervisor.suspended = end;
    }
    await this.#resume('its suspended state');
  }

  /** It counts on from where it was held. */
  async #resume(from: string): Promise<void> {
    const before = await this.#counts();
    await this.#engine.client.call('vm.resume', { vm: VM });
    // What the ports held at the moment is printed first.
    const after = await until(async () => {
      const counts = await this.#counts();
      return counts.length >= before.length + 5 && counts;
    }, `the guest counts on from ${from}`, PATIENCE_MS);
    const last = before.at(-1)?.count ?? 0;
    if ((after[before.length]?.count ?? 0) - last > 1) throw new Error(`${from} was taken at ${last} and goes on at ${after[before.length]?.count ?? 0}`);
  }

  /** Everything that the console holds: numbers that follow one another, at times that do not go back. */
  async #counts(): Promise<{ readonly count: number; readonly uptime: number }[]> {
    const text = (await history(this.#engine.client, VM)).replaceAll('\r', '');
    const counts = [...text.matchAll(/^(?:COUNT|L2) (\d+)(?: ([\d.]+))?\n/gm)].map((match) => ({ count: Number(match[1]), uptime: Number(match[2] ?? 0) }));
    for (const [index, { count, uptime }] of counts.entries()) {
      const last = counts[index - 1];
      if (last && (count !== last.count + 1 || uptime < last.uptime)) throw new Error(`after ${last.count} (up ${last.uptime} s) the guest said ${count} (up ${uptime} s)`);
    }
    return counts;
  }

  /** The guest's own look at itself, then its disk from outside. */
  async #check(): Promise<void> {
    const { client } = this.#engine;
    const counts = await this.#counts();
    await until(async () => {
      await type(client, VM, '\x03');
      await sleep(1000);
      return (await history(client, VM)).slice(-20).includes('# ');
    }, 'the shell', PATIENCE_MS);
    const vm = new DebianVm(client, VM);
    if (!this.#options.nested) {
      const stored = Number(await vm.ask('tail -n 1 /mnt/count'));
      const count = (await this.#counts()).at(-1)?.count ?? 0;
      if (Math.abs(stored - count) > 1) throw new Error(`the disk has ${stored}, the console ${count}`);
    }
    const late = Math.abs(Number(await vm.ask('cat /sys/class/rtc/rtc0/since_epoch')) - Date.now() / 1000);
    if (late > CLOCK_SECONDS) throw new Error(`the real-time clock is off by ${late} s`);
    if (!/^[1-9]/.test(await vm.ask('wc -l < /tmp/answers'))) throw new Error('the network never answered');
    await vm.ask('rm -f /tmp/answers');
    await until(async () => /^[1-9]/.test(await vm.ask('sleep 1; wc -l < /tmp/answers')), 'the network answers still', PATIENCE_MS);
    if ((await vm.ask('dmesg | grep -c -e "EXT4-fs error" -e "I/O error" -e "blocked for more"')).trim() !== '0') throw new Error(`the kernel complains: ${await vm.ask('dmesg | tail -5')}`);
    if (counts.length === 0) throw new Error('the guest did not count');
    await client.call('vm.stop', { vm: VM, force: true });
    for (const name of this.#names.filter(() => this.#random() < 5 / this.#names.length)) await this.#checkDisk(name);
  }

  /** A second system looks at a snapshot's file system: its journal mends it, and nothing else is to be mended. */
  async #checkDisk(name: string): Promise<void> {
    const { library, supervisor } = this.#engine.engine;
    const { id } = await supervisor.get(VM);
    const { config, disks } = library.snapshots.load(library.snapshots.get(id, name).id);
    const [saved] = disks;
    if (!saved) throw new Error(`"${name}" has no disk`);
    const path = join(this.#folder, 'look', 'disk.raw');
    mkdirSync(join(this.#folder, 'look'), { recursive: true });
    const { disk, close } = await supervisor.disks.openSaved(config, saved);
    const file = openSync(path, 'w');
    const piece = new Uint8Array(COPY_BYTES);
    for (let at = 0; at < disk.size; at += piece.length) {
      await disk.read(at, piece);
      writeSync(file, piece);
    }
    closeSync(file);
    await close();
    const mended = spawnSync('e2fsck', ['-p', path]);
    const looked = spawnSync('e2fsck', ['-f', '-n', path], { encoding: 'utf8' });
    if ((mended.status ?? 8) > 1 || looked.status !== 0) throw new Error(`the file system of "${name}" is not clean: ${looked.stdout}`);
  }
}
