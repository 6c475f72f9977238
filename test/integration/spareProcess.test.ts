/** The VM process that an engine keeps ready: what it becomes, and that it ends with whoever made it. */
import { fork } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { createClient } from '../../core/contract/index.ts';
import type { Client } from '../../core/contract/index.ts';
import { Engine } from '../../core/engine/engine.ts';
import { dial, socketPath } from '../../core/engine/socket.ts';
import { forkVmProcess } from '../../core/engine/vm-process.ts';
import { entryUrl } from '../../core/machine/entries.ts';
import { machineDouble, root } from '../helpers/command-line.ts';
import { type, until, untilShown, untilState } from '../helpers/engine.ts';

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'vanderpool-spare-'));
  folders.push(folder);
  return folder;
}

async function connect(folder: string): Promise<Client> {
  const transport = await dial(socketPath(folder));
  if (!transport) throw new Error('the engine does not listen');
  return createClient(transport);
}

/** What died and was not waited for yet is gone, too. */
function isAlive(processId: number): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${processId}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

async function withEngine(machineModule: string, action: (client: Client, engine: Engine) => Promise<void>): Promise<void> {
  const folder = newFolder();
  const engine = new Engine({ folder, launch: forkVmProcess, machineModule, spare: true, stopped: () => undefined });
  await engine.open();
  try {
    await action(await connect(folder), engine);
  } finally {
    await engine.close();
  }
}

const waiting = (engine: Engine, not: readonly number[] = []): Promise<number> => {
  engine.spare?.prepareSoon();
  return until(() => {
    const id = engine.spare?.processId ?? null;
    return id !== null && !not.includes(id) && id;
  }, 'a process that waits');
};

describe('the process that waits', () => {
  it('becomes that of the next VM, is never another one\'s, and ends with the engine', async () => {
    const seen: number[] = [];
    await withEngine(machineDouble, async (client, engine) => {
      await client.call('vm.create', { config: { name: 'other' } });
      const first = await waiting(engine);
      expect((await client.call('vm.start', { vm: 'Monitor' })).processId).toBe(first);
      await untilShown(client, 'Monitor', 'READY');
      const second = await waiting(engine, [first]);
      expect((await client.call('vm.start', { vm: 'other' })).processId).toBe(second);
      await client.call('vm.stop', { vm: 'Monitor', force: true });
      const third = await waiting(engine, [first, second]);
      expect((await client.call('vm.start', { vm: 'Monitor' })).processId).toBe(third);
      seen.push(first, second, third, await waiting(engine, [first, second, third]));
    });
    await until(() => !seen.some(isAlive), 'their ends');
  });

  it('may be killed: the next VM has a process of its own', async () => {
    await withEngine(machineDouble, async (client, engine) => {
      const first = await waiting(engine);
      process.kill(first, 'SIGKILL');
      await until(() => engine.spare?.processId === null, 'the engine notices');
      await client.call('vm.start', { vm: 'Monitor' });
      await untilShown(client, 'Monitor', 'READY');
    });
  });

  it('runs a machine as any other does, and what it says is in the VM\'s log', async () => {
    await withEngine(entryUrl('machine').href, async (client, engine) => {
      const first = await waiting(engine);
      const vm = await client.call('vm.start', { vm: 'Monitor' });
      expect(vm.processId).toBe(first);
      await untilShown(client, 'Monitor', '> ');
      await client.call('vm.suspend', { vm: 'Monitor' });
      await untilState(client, 'Monitor', 'suspended');
      const second = await waiting(engine, [first]);
      expect((await client.call('vm.resume', { vm: 'Monitor' })).processId).toBe(second);
      await type(client, 'Monitor', 'help\r');
      await untilShown(client, 'Monitor', 'memtest');
      expect(readFileSync(join(engine.library.vmFolder(vm.id), 'process.log'), 'utf8')).toBe('');
    });
  }, 180_000);

  it('ends when its engine is killed', async () => {
    const folder = newFolder();
    const engine = fork(join(root, 'core/engine/main.ts'), [folder], { execArgv: [], stdio: ['ignore', 'ignore', 'inherit', 'ipc'], env: { ...process.env, VANDERPOOL_MACHINE: machineDouble, VANDERPOOL_SPARE: 'on' } });
    await new Promise((resolve) => engine.once('message', resolve));
    const client = await connect(folder);
    await client.call('vm.start', { vm: 'Monitor' });
    const { processId } = await client.call('vm.get', { vm: 'Monitor' });
    const children = (): number[] => readFileSync(`/proc/${engine.pid}/task/${engine.pid}/children`, 'utf8').trim().split(' ').map(Number);
    const spare = await until(() => children().find((child) => child !== processId), 'a process that waits');
    expect(isAlive(spare)).toBe(true);
    engine.kill('SIGKILL');
    await until(() => !isAlive(spare), 'its end');
  }, 180_000);
});
