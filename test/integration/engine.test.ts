import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MIB } from '../../core/contract/index.ts';
import type { ConsoleEvent, LibraryEvent, MetricsEvent } from '../../core/contract/index.ts';
import { Engine } from '../../core/engine/engine.ts';
import { dial, socketPath } from '../../core/engine/socket.ts';
import { forkVmProcess } from '../../core/engine/vm-process.ts';
import { machineDouble } from '../helpers/command-line.ts';
import { history, startTestEngine, textOf, type, until, untilShown, untilState } from '../helpers/engine.ts';
import type { TestEngine } from '../helpers/engine.ts';

let test: TestEngine;
beforeEach(async () => void (test = await startTestEngine()));
afterEach(() => test.end());

const start = async (vm = 'Monitor') => {
  const started = await test.client.call('vm.start', { vm });
  await untilShown(test.client, vm, 'READY');
  return started;
};

describe('the life of a VM', () => {
  it('starts, powers off by its button, and keeps how it ended', async () => {
    const vm = await start();
    expect(vm.state).toBe('running');
    expect(vm.processId).not.toBe(process.pid);
    await test.client.call('vm.stop', { vm: 'Monitor', force: false });
    await untilState(test.client, 'Monitor', 'stopped');
    const after = await test.client.call('vm.get', { vm: 'Monitor' });
    expect(after).toMatchObject({ exit: { reason: 'power-off' }, processId: null, startedAt: null });
    expect(await history(test.client, 'Monitor')).toContain('POWER BUTTON');
  });

  it('ends at once by force, also while its guest is busy', async () => {
    await start();
    await type(test.client, 'Monitor', 'spin\n');
    const vm = await test.client.call('vm.stop', { vm: 'Monitor', force: true });
    expect(vm).toMatchObject({ state: 'stopped', exit: { reason: 'killed' } });
  });

  it('pauses and resumes: a paused guest does not answer, a resumed one does', async () => {
    await start();
    expect((await test.client.call('vm.pause', { vm: 'Monitor' })).state).toBe('paused');
    await type(test.client, 'Monitor', 'say hello\n');
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(await history(test.client, 'Monitor')).not.toContain('hello');
    expect((await test.client.call('vm.resume', { vm: 'Monitor' })).state).toBe('running');
    await untilShown(test.client, 'Monitor', 'hello');
  });

  it('pauses and resumes without a commit: what is stored is that it lives', async () => {
    await start();
    const database = new Database(join(test.folder, 'library.db'), { readonly: true });
    const commits = (): unknown => database.pragma('data_version', { simple: true });
    const before = commits();
    for (const operation of ['vm.pause', 'vm.resume'] as const) await test.client.call(operation, { vm: 'Monitor' });
    expect((await test.client.call('vm.get', { vm: 'Monitor' })).state).toBe('running');
    expect(commits()).toBe(before);
    database.close();
  });

  it('resets without leaving its process', async () => {
    const { processId } = await start();
    await test.client.call('vm.reset', { vm: 'Monitor' });
    await until(async () => (await history(test.client, 'Monitor')).split('READY').length === 3 || undefined, 'a second start');
    expect((await test.client.call('vm.get', { vm: 'Monitor' })).processId).toBe(processId);
  });

  it.each([
    ['exit 21\n', 'stopped', { reason: 'debug-exit', value: 21 }],
    ['triple\n', 'crashed', { reason: 'triple-fault', detail: expect.stringContaining('RIP=') }],
    ['throw\n', 'crashed', { reason: 'crashed' }],
    ['die\n', 'crashed', { reason: 'crashed', detail: expect.stringContaining('SIGKILL') }],
  ] as const)('after %j is shown with its reason, can be started again, and costs no other VM', async (word, state, exit) => {
    await test.client.call('vm.create', { config: { name: 'other', memoryBytes: 32 * MIB } });
    await start('other');
    await start();
    await type(test.client, 'Monitor', word);
    await untilState(test.client, 'Monitor', state);
    expect((await test.client.call('vm.get', { vm: 'Monitor' })).exit).toMatchObject(exit);
    expect((await test.client.call('vm.get', { vm: 'other' })).state).toBe('running');
    expect((await test.client.call('vm.start', { vm: 'Monitor' })).state).toBe('running');
  });

  it('refuses what its state does not allow, saying so', async () => {
    await expect(test.client.call('vm.pause', { vm: 'Monitor' })).rejects.toMatchObject({ code: 'wrong-state', message: expect.stringContaining('stopped') });
    await start();
    await expect(test.client.call('vm.start', { vm: 'Monitor' })).rejects.toMatchObject({ code: 'wrong-state' });
    await expect(test.client.call('vm.remove', { vm: 'Monitor' })).rejects.toMatchObject({ code: 'wrong-state' });
    await expect(test.client.call('vm.edit', { vm: 'Monitor', changes: { memoryBytes: 32 * MIB } })).rejects.toMatchObject({ code: 'wrong-state' });
    expect((await test.client.call('vm.edit', { vm: 'Monitor', changes: { notes: 'kept' } })).config.notes).toBe('kept');
    await expect(test.client.call('engine.stop', { force: false })).rejects.toMatchObject({ code: 'wrong-state' });
  });

  it('two starts at once are one start', async () => {
    const results = await Promise.allSettled([test.client.call('vm.start', { vm: 'Monitor' }), test.client.call('vm.start', { vm: 'Monitor' })]);
    expect(results.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected']);
  });

  it('that cannot be made is refused with what is wrong with its image', async () => {
    const kernel = join(test.folder, 'garbage');
    writeFileSync(kernel, Buffer.alloc(100, 0xff));
    const boot = { kind: 'image', kernel, initrd: null, append: '', modules: [] } as const;
    await test.client.call('vm.create', { config: { name: 'bad', boot: { ...boot, modules: [] } } });
    await expect(test.client.call('vm.start', { vm: 'bad' })).rejects.toMatchObject({ code: 'bad-image' });
    await untilState(test.client, 'bad', 'stopped');
    await test.client.call('vm.edit', { vm: 'bad', changes: { boot: { ...boot, kernel: '/nonexistent', modules: [] } } });
    await expect(test.client.call('vm.start', { vm: 'bad' })).rejects.toMatchObject({ code: 'file-unreadable', field: 'boot.kernel' });
    await expect(test.client.call('boot.check', { boot: { ...boot, modules: [] }, memoryBytes: 64 * MIB })).rejects.toMatchObject({ code: 'bad-image' });
  });
});

describe('a console', () => {
  it('replays what was shown, then follows', async () => {
    await start();
    const events: ConsoleEvent[] = [];
    const viewer = await test.connect();
    viewer.subscribe('console', { vm: 'Monitor', port: 0 }, { event: (event) => void events.push(event) });
    await until(() => events.length > 0 || undefined, 'a replay');
    expect(events[0]).toMatchObject({ kind: 'replay', truncated: false, state: 'running' });
    await type(test.client, 'Monitor', 'say later\n');
    await until(() => events.map(textOf).join('').includes('later\r\n') || undefined, 'what follows');
    expect(events.map(textOf).join('')).toBe(await history(test.client, 'Monitor'));
    viewer.close();
  });

  it('keeps its history over a restart of the engine', async () => {
    await start();
    await type(test.client, 'Monitor', 'say remember me\n');
    await untilShown(test.client, 'Monitor', 'remember me\r\n');
    test = await test.restart();
    expect(await history(test.client, 'Monitor')).toContain('remember me\r\n');
  });

  it('holds the guest back for a slow viewer and loses nothing', async () => {
    await start();
    const total = 2_000_000;
    let dots = 0;
    const viewer = await test.connect();
    viewer.subscribe('console', { vm: 'Monitor', port: 0 }, {
      event: async (event) => {
        dots += textOf(event).split('.').length - 1;
        await new Promise((resolve) => setTimeout(resolve, 60)); // The whole takes longer than a stuck viewer is waited for.
      },
    });
    await type(test.client, 'Monitor', `flood ${total}\n`);
    await until(() => dots >= total || undefined, 'every byte', 120_000);
    expect(dots).toBe(total);
    viewer.close();
  });

  it('gives up on a viewer that is stuck, and shows it everything again when it is back', async () => {
    await start();
    const events: ConsoleEvent[] = [];
    let release: () => void = () => undefined;
    const stuck = new Promise<void>((resolve) => void (release = resolve));
    const viewer = await test.connect();
    viewer.subscribe('console', { vm: 'Monitor', port: 0 }, {
      event: (event) => {
        events.push(event);
        return events.length === 2 ? stuck : undefined;
      },
    });
    await until(() => events.length > 0 || undefined, 'a replay');
    await type(test.client, 'Monitor', 'flood 3000000\n');
    await type(test.client, 'Monitor', 'say the end\n');
    await untilShown(test.client, 'Monitor', 'the end\r\n');
    release();
    await until(() => events.filter(({ kind }) => kind === 'replay').length === 2 || undefined, 'a second replay');
    const last = events.at(-1);
    expect(last && textOf(last)).toContain('the end\r\n');
    expect(last).toMatchObject({ truncated: true });
    viewer.close();
  });

  it('keeps only so much, the newest', async () => {
    await start();
    await type(test.client, 'Monitor', 'flood 2500000\nsay newest\n');
    await untilShown(test.client, 'Monitor', 'newest\r\n');
    const { data, truncated } = await test.client.call('console.history', { vm: 'Monitor', port: 0 });
    expect([data.length, truncated]).toEqual([MIB, true]);
  });

  it('takes no input while nothing runs', async () => {
    await expect(test.client.call('console.write', { vm: 'Monitor', port: 0, data: new Uint8Array(1) })).rejects.toMatchObject({ code: 'wrong-state' });
  });
});

describe('events', () => {
  it('tell every follower what another client did', async () => {
    const events: LibraryEvent[] = [];
    const viewer = await test.connect();
    viewer.subscribe('library', {}, { event: (event) => void events.push(event) });
    await until(() => events.length > 0 || undefined, 'the library');
    expect(events[0]).toMatchObject({ kind: 'all', vms: [{ config: { name: 'Monitor' } }] });
    await test.client.call('vm.create', { config: { name: 'new' } });
    await start('new');
    await test.client.call('vm.stop', { vm: 'new', force: true });
    await test.client.call('vm.remove', { vm: 'new' });
    await test.client.call('settings.set', { changes: { theme: 'light' } });
    await until(() => events.some(({ kind }) => kind === 'settings-changed') || undefined, 'the settings');
    const states = events.flatMap((event) => (event.kind === 'vm-changed' && event.vm.config.name === 'new' ? [event.vm.state] : []));
    expect(states.filter((state, index) => state !== states[index - 1])).toEqual(['stopped', 'starting', 'running', 'stopped']);
    expect(events.some(({ kind }) => kind === 'vm-removed')).toBe(true);
    viewer.close();
  });

  it('sample a running VM: instructions, exits, processor time, memory', async () => {
    await start();
    const samples: MetricsEvent[] = [];
    test.client.subscribe('metrics', { vm: 'Monitor' }, { event: (sample) => void samples.push(sample) });
    await type(test.client, 'Monitor', 'spin\n');
    const sample = await until(() => samples.find(({ instructionsPerSecond }) => instructionsPerSecond > 0), 'a rate');
    expect(sample.residentBytes).toBeGreaterThan(10 * MIB);
    expect(sample.exits).toHaveProperty('HLT');
  });
});

describe('an engine', () => {
  it('is alone on its library', () => {
    const second = () => new Engine({ folder: test.folder, launch: forkVmProcess, machineModule: machineDouble, stopped: () => undefined });
    expect(second).toThrow(/Another engine runs/);
  });

  it('refuses what is not of the contract, and names it', async () => {
    const { client } = test;
    await expect(client.call('vm.create', { config: { name: 'x', cpuModel: 'z80' } })).rejects.toMatchObject({ code: 'bad-field', field: 'cpuModel' });
    await expect(client.call('host.folder', { path: '/nonexistent' })).rejects.toMatchObject({ code: 'file-unreadable' });
    expect((await client.call('host.folder', { path: test.folder })).entries.map(({ name }) => name)).toContain('library.db');
    expect((await client.call('host.info', {})).cpuModels.filter(({ isDefault }) => isDefault)).toHaveLength(1);
  });

  it.each([
    ['nobody has needed it for its idle time', (): void => undefined],
    ['its library is removed', (folder: string): void => rmSync(folder, { recursive: true })],
  ])('ends by itself when %s, and not while a client is there', async (_when, cause) => {
    const folder = mkdtempSync(join(tmpdir(), 'vanderpool-idle-'));
    let ended = false;
    const engine = new Engine({ folder, launch: forkVmProcess, machineModule: machineDouble, idleMs: 300, stopped: () => void (ended = true) });
    await engine.open();
    const client = await dial(socketPath(folder));
    await new Promise((resolve) => setTimeout(resolve, 900));
    expect(ended).toBe(false);
    client?.close();
    cause(folder);
    await until(() => ended || undefined, 'its end');
    rmSync(folder, { recursive: true, force: true });
  });

  it('removes a VM with its folder', async () => {
    const vm = await test.client.call('vm.create', { config: { name: 'gone' } });
    await start('gone');
    await test.client.call('vm.stop', { vm: 'gone', force: true });
    expect(readFileSync(join(test.folder, 'vms', vm.id, 'console-0.log'), 'utf8')).toContain('READY');
    await test.client.call('vm.remove', { vm: 'gone' });
    expect(() => readFileSync(join(test.folder, 'vms', vm.id, 'console-0.log'))).toThrow(/ENOENT/);
  });
});
