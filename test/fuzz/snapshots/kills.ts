/** `kill -9` of the engine or of a VM's process, which has a disk, at any moment of take, restore, delete, suspend and resume: nothing that was listed is lost. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '../../../core/contract/client.ts';
import { connectEngine } from '../../../core/engine/connect.ts';
import { randomFrom } from './disk.ts';
import type { Random } from './disk.ts';

const VM = 'Monitor';
const KEPT = 6;
const DISK_BYTES = 1 << 20;
/** A machine of another size needs a new process to go back to a snapshot of this one. */
const SIZES = [64 << 20, 65 << 20] as const;

/** Runs `kills` kills on one library and returns a line about them. @throws Error saying what was lost, with the seed */
export async function fuzzKills(seed: number, kills: number): Promise<string> {
  const random = randomFrom(seed);
  const folder = mkdtempSync(join(tmpdir(), 'vanderpool-kills-'));
  const counts = { engine: 0, machine: 0, restored: 0 };
  /** Snapshots whose taking was answered and whose deletion was never asked for. */
  const promised = new Set<string>();
  try {
    const longest = await begin(folder, random, promised);
    for (let kill = 0; kill < kills; kill += 1) {
      const client = await connectEngine(folder);
      try {
        await prepare(client, random);
        const acting = act(client, random, `snapshot ${kill}`, promised).catch(() => undefined);
        await sleep(random() * longest);
        const { processId } = await client.call('vm.get', { vm: VM });
        const engine = (await client.call('engine.status', {})).processId;
        const victim = random() < 0.5 || processId === null ? engine : processId;
        counts[victim === engine ? 'engine' : 'machine'] += 1;
        await killNow(victim);
        await acting;
      } finally {
        client.close();
      }
      counts.restored += await verify(folder, random, promised);
    }
  } catch (error) {
    throw new Error(`seed ${seed}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  } finally {
    await stop(folder);
    rmSync(folder, { recursive: true, force: true });
  }
  return `${kills} kills (${counts.engine} of the engine, ${counts.machine} of the machine): every listed snapshot was there, ${counts.restored} were restored and ran`;
}

/** Takes a first snapshot. Returns the time in milliseconds within which the actions to come begin and end on this host as it is now. */
async function begin(folder: string, random: Random, promised: Set<string>): Promise<number> {
  const client = await connectEngine(folder);
  const path = join(folder, 'disk.img');
  writeFileSync(path, new Uint8Array(DISK_BYTES));
  try {
    await client.call('vm.edit', { vm: VM, changes: { disks: [{ path, kind: 'disk', bus: 'virtio', format: 'raw', readOnly: false }] } });
    await prepare(client, random);
    const begun = performance.now();
    promised.add((await client.call('snapshot.take', { vm: VM, name: 'first' })).id);
    return (performance.now() - begun) * 2;
  } finally {
    client.close();
  }
}

/** Kills and waits until nothing is left of the process: its sockets go before it and one after the other. */
async function killNow(id: number): Promise<void> {
  try {
    process.kill(id, 'SIGKILL');
    for (;;) {
      await sleep(5);
      process.kill(id, 0);
    }
  } catch (error) {
    // A machine's process may have ended by itself before, because the VM was put back to a snapshot or suspended.
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}

/** The machine runs, with one size or another when it did not. */
async function prepare(client: Client, random: Random): Promise<void> {
  const { state } = await client.call('vm.get', { vm: VM });
  if (state === 'suspended') await client.call('vm.start', { vm: VM });
  if (state !== 'stopped' && state !== 'crashed') return;
  await client.call('vm.edit', { vm: VM, changes: { memoryBytes: random() < 0.5 ? SIZES[0] : SIZES[1] } });
  await client.call('vm.start', { vm: VM });
}

async function act(client: Client, random: Random, name: string, promised: Set<string>): Promise<void> {
  const kind = random();
  const listed = await client.call('snapshot.list', { vm: VM });
  const one = listed[Math.floor(random() * listed.length)];
  if (kind < 0.5 || !one) {
    promised.add((await client.call('snapshot.take', { vm: VM, name })).id);
  } else if (kind < 0.65 || listed.length > KEPT) {
    promised.delete(one.id);
    await client.call('snapshot.remove', { vm: VM, snapshot: one.id });
  } else if (kind < 0.85) await client.call('snapshot.restore', { vm: VM, snapshot: one.id, paused: false });
  else {
    await client.call('vm.suspend', { vm: VM });
    await client.call('vm.resume', { vm: VM });
  }
}

/** The library opens, is whole, lists what it promised, and one of its snapshots runs. */
async function verify(folder: string, random: Random, promised: ReadonlySet<string>): Promise<number> {
  const client = await connectEngine(folder);
  try {
    const findings = await client.call('library.check', { repair: false });
    if (findings.some(({ severity }) => severity === 'error')) throw new Error(findings.map(({ what }) => what).join(' '));
    const listed = await client.call('snapshot.list', { vm: VM });
    for (const id of promised) if (!listed.some((one) => one.id === id)) throw new Error('a snapshot that was taken is not listed');
    const one = listed[Math.floor(random() * listed.length)];
    if (!one) return 0;
    const { state } = await client.call('snapshot.restore', { vm: VM, snapshot: one.id, paused: false });
    if (state !== 'running') throw new Error(`the restored machine is ${state}`);
    return 1;
  } finally {
    client.close();
  }
}

async function stop(folder: string): Promise<void> {
  const client = await connectEngine(folder);
  const gone = new Promise<void>((resolve) => client.onClose(resolve));
  await client.call('engine.stop', { force: true });
  await gone;
}
