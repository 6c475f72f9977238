/** Snapshots through the contract, of the built-in monitor on the real machine. */
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ContractError } from '../../core/contract/index.ts';
import type { LibraryEvent } from '../../core/contract/index.ts';
import { machineModuleUrl } from '../../core/machine/entries.ts';
import { history, startTestEngine, type, until, untilState } from '../helpers/engine.ts';
import type { TestEngine } from '../helpers/engine.ts';
import { refused } from '../helpers/refusal.ts';

const VM = 'Monitor';
const PROMPT = 'monitor> ';
/** RAM that neither the monitor nor its tables use. */
const ADDRESS = '0x2000000';

let test: TestEngine;
beforeEach(async () => {
  test = await startTestEngine(undefined, machineModuleUrl());
});
afterEach(() => test.end());

const { call } = { call: ((operation, input) => test.client.call(operation, input)) as TestEngine['client']['call'] };

const prompts = async (vm = VM): Promise<number> => (await history(test.client, vm)).split(PROMPT).length - 1;

async function command(line: string, vm = VM): Promise<string> {
  const before = await prompts(vm);
  await type(test.client, vm, `${line}\r`);
  await until(async () => (await prompts(vm)) > before, `the answer to ${line}`);
  return (await history(test.client, vm)).split(PROMPT).at(-2) ?? '';
}

const poke = (value: number): Promise<string> => command(`poke ${ADDRESS} ${value}`);
const peek = async (vm = VM): Promise<number> => Number.parseInt(/[0-9a-f]+[: ]+([0-9a-f]{2})/i.exec((await command(`peek ${ADDRESS} 1`, vm)).split('\n').slice(1).join('\n'))?.[1] ?? '', 16);

/** What the machine said before it was started is still there: its own prompt is another one. */
async function startMonitor(): Promise<void> {
  const before = await prompts();
  await call('vm.start', { vm: VM });
  await until(async () => (await prompts()) > before, 'the prompt');
}

describe('a snapshot of a running VM', () => {
  it('brings back memory, screen and state, and the VM runs on from there', async () => {
    await startMonitor();
    await poke(0x11);
    const taken = await call('snapshot.take', { vm: VM, name: 'one', notes: 'first' });
    expect(taken).toMatchObject({ name: 'one', notes: 'first', power: 'running', parentId: null, current: true });
    expect(taken.screen).toContain(PROMPT.trim());
    const shown = await history(test.client, VM);
    await poke(0x22);
    expect(await peek()).toBe(0x22);
    const { processId } = await call('vm.get', { vm: VM });
    // The configuration is the same: the process stays.
    expect(await call('snapshot.restore', { vm: VM, snapshot: 'one', paused: false })).toMatchObject({ state: 'running', processId });
    expect(await history(test.client, VM)).toBe(shown);
    expect(await peek()).toBe(0x11);
  });

  it('has a small picture of what its display showed', async () => {
    await call('vm.edit', { vm: VM, changes: { display: 'vga' } });
    await startMonitor();
    expect(await call('snapshot.take', { vm: VM, name: 'shown' })).toMatchObject({ hasPicture: true });
    const { png } = await call('snapshot.picture', { vm: VM, snapshot: 'shown' });
    const header = Buffer.from(png ?? []);
    expect([header.toString('latin1', 1, 4), header.readUInt32BE(16) <= 480, header.readUInt32BE(20) <= 360]).toEqual(['PNG', true, true]);
    const path = join(test.folder, 'shown.vpsnap');
    await call('snapshot.export', { vm: VM, snapshot: 'shown', path });
    const { id } = await call('snapshot.import', { path });
    expect(await call('snapshot.picture', { vm: id, snapshot: null }), 'of the suspended VM that was imported').toEqual({ png });
    expect(await call('snapshot.picture', { vm: VM, snapshot: null })).toEqual({ png: null });
    await call('vm.stop', { vm: VM, force: true });
    expect(await call('snapshot.take', { vm: VM, name: 'off' })).toMatchObject({ hasPicture: false });
    expect(await call('snapshot.picture', { vm: VM, snapshot: 'off' })).toEqual({ png: null });
  });

  it('is held when it is restored so, and goes on when it is resumed', async () => {
    await startMonitor();
    await poke(0x31);
    await call('snapshot.take', { vm: VM, name: 'one' });
    await call('snapshot.restore', { vm: VM, snapshot: 'one', paused: true });
    await untilState(test.client, VM, 'paused');
    await call('vm.resume', { vm: VM });
    expect(await peek()).toBe(0x31);
  });

  it('is one of a tree: branches go on from where they began, and children of a deleted one from its parent', async () => {
    await startMonitor();
    await poke(1);
    const one = await call('snapshot.take', { vm: VM, name: 'one' });
    await poke(2);
    const two = await call('snapshot.take', { vm: VM, name: 'two' });
    await call('snapshot.restore', { vm: VM, snapshot: 'one', paused: false });
    await poke(3);
    const branch = await call('snapshot.take', { vm: VM, name: 'branch' });
    expect([two.parentId, branch.parentId]).toEqual([one.id, one.id]);
    await call('snapshot.remove', { vm: VM, snapshot: 'one' });
    expect((await call('snapshot.list', { vm: VM })).map(({ name, parentId }) => [name, parentId])).toEqual([['two', null], ['branch', null]]);
    await call('snapshot.restore', { vm: VM, snapshot: 'two', paused: false });
    expect(await peek()).toBe(2);
    await call('snapshot.restore', { vm: VM, snapshot: 'branch', paused: false });
    expect(await peek()).toBe(3);
  });

  it('that the library cannot go back to, clone or give up is refused before anything has changed, of a machine that needs a new process, too', async () => {
    await startMonitor();
    await poke(0x41);
    await call('snapshot.take', { vm: VM, name: 'one' });
    await call('vm.stop', { vm: VM, force: true });
    await call('vm.edit', { vm: VM, changes: { memoryBytes: 128 << 20 } });
    const before = await prompts();
    await call('vm.start', { vm: VM });
    await until(async () => (await prompts()) > before, 'the prompt of the larger machine');
    await poke(0x42);
    const restore = (): Promise<unknown> => call('snapshot.restore', { vm: VM, snapshot: 'one', paused: false });
    const database = new Database(join(test.folder, 'library.db'));
    database.exec("CREATE TRIGGER refuses BEFORE UPDATE OF snapshot_id ON vms BEGIN SELECT RAISE(ABORT, 'as on a full disk'); END");
    expect(await refused(restore())).toMatchObject({ code: 'library-unusable' });
    expect(await peek()).toBe(0x42);
    await call('vm.suspend', { vm: VM });
    expect(await refused(restore())).toMatchObject({ code: 'library-unusable' });
    expect(await call('vm.get', { vm: VM })).toMatchObject({ state: 'suspended', config: { memoryBytes: 128 << 20 } });
    database.exec("CREATE TRIGGER keeps BEFORE DELETE ON snapshots BEGIN SELECT RAISE(ABORT, 'as of a library that is read-only'); END");
    expect(await refused(call('vm.resume', { vm: VM }))).toMatchObject({ code: 'library-unusable' });
    expect(await call('vm.get', { vm: VM })).toMatchObject({ state: 'suspended', processId: null });
    database.exec('DROP TRIGGER keeps');
    await call('vm.resume', { vm: VM });
    expect(await peek()).toBe(0x42);
    database.exec("CREATE TRIGGER refusesMore BEFORE INSERT ON snapshots BEGIN SELECT RAISE(ABORT, 'as on a full disk'); END");
    expect(await refused(call('snapshot.clone', { vm: VM, snapshot: 'one', name: 'Clone', full: false }))).toMatchObject({ code: 'library-unusable' });
    expect((await call('vm.list', {})).map(({ config }) => config.name)).toEqual([VM]);
    database.exec('DROP TRIGGER refuses; DROP TRIGGER refusesMore');
    database.close();
    await restore();
    expect(await peek()).toBe(0x41);
    expect((await call('vm.get', { vm: VM })).config.memoryBytes).toBe(64 << 20);
  });

  it('shares its pages with the one before: the second writes little', async () => {
    await startMonitor();
    const files = (): number => readdirSync(join(test.folder, 'chunks')).reduce((sum, name) => sum + statSync(join(test.folder, 'chunks', name)).size, 0);
    await call('snapshot.take', { vm: VM, name: 'one' });
    const first = files();
    await call('snapshot.take', { vm: VM, name: 'two' });
    expect(files() - first).toBeLessThan(first / 2);
    const used = (await call('snapshot.list', { vm: VM })).map(({ usedBytes }) => usedBytes);
    expect(used[1]).toBeGreaterThanOrEqual(used[0] ?? 0);
  });

  it('is compared with another one and with the present by page, field and key', async () => {
    await startMonitor();
    await poke(1);
    await call('snapshot.take', { vm: VM, name: 'one' });
    await poke(2);
    await call('snapshot.take', { vm: VM, name: 'two' });
    const address = Number(ADDRESS);
    const holds = ({ memory }: { readonly memory: readonly { readonly address: number; readonly bytes: number }[] }): boolean => memory.some((run) => run.address <= address && address < run.address + run.bytes);
    const difference = await call('snapshot.diff', { vm: VM, from: 'one', to: 'two' });
    expect(holds(difference)).toBe(true);
    expect(difference.state.map(({ field }) => field)).toContain('vcpu 0.instructions');
    expect(difference.configuration).toEqual([]);
    expect(holds(await call('snapshot.diff', { vm: VM, from: 'two', to: null }))).toBe(false);
    await poke(5);
    expect(holds(await call('snapshot.diff', { vm: VM, from: 'two', to: null }))).toBe(true);
  });

  it('is compared with the present while the machine is compared again, saved and suspended: each waits for its turn', async () => {
    await startMonitor();
    await call('snapshot.take', { vm: VM, name: 'one' });
    const compare = (): Promise<unknown> => call('snapshot.diff', { vm: VM, from: 'one', to: null });
    const comparisons = [compare(), compare()];
    expect(await call('vm.suspend', { vm: VM })).toMatchObject({ state: 'suspended' });
    expect(await Promise.all(comparisons)).toHaveLength(2);
  });

  it('is cloned: the clone goes on by itself', async () => {
    await startMonitor();
    await poke(7);
    await call('snapshot.take', { vm: VM, name: 'one' });
    await poke(8);
    expect(await call('snapshot.clone', { vm: VM, snapshot: 'one', name: 'Second' })).toMatchObject({ state: 'suspended' });
    await call('vm.resume', { vm: 'Second' });
    expect(await peek('Second')).toBe(7);
    expect(await peek()).toBe(8);
  });

  it('survives the death of every process', async () => {
    await startMonitor();
    await poke(0x44);
    await call('snapshot.take', { vm: VM, name: 'one' });
    test = await test.restart();
    await call('snapshot.restore', { vm: VM, snapshot: 'one', paused: false });
    expect(await peek()).toBe(0x44);
  });

  it('takes the configuration back, but not the name', async () => {
    await startMonitor();
    await call('snapshot.take', { vm: VM, name: 'one' });
    await call('vm.stop', { vm: VM, force: true });
    await call('vm.edit', { vm: VM, changes: { memoryBytes: 128 << 20, name: 'Renamed' } });
    const back = await call('snapshot.restore', { vm: 'Renamed', snapshot: 'one', paused: false });
    expect(back.config).toMatchObject({ memoryBytes: 64 << 20, name: 'Renamed' });
  });
});

describe('a snapshot in one file', () => {
  it('becomes a VM of another library that goes on from it', async () => {
    await startMonitor();
    await poke(0x66);
    await call('snapshot.take', { vm: VM, name: 'one', notes: 'to go' });
    const path = join(test.folder, 'one.vpsnap');
    const { bytes } = await call('snapshot.export', { vm: VM, snapshot: 'one', path });
    expect(statSync(path).size).toBe(bytes);
    const other = await startTestEngine(undefined, machineModuleUrl());
    try {
      const imported = await other.client.call('snapshot.import', { path });
      expect(imported).toMatchObject({ state: 'suspended', config: { name: 'Monitor (2)' } });
      expect(await other.client.call('library.check', { repair: false })).toEqual([]);
      await other.client.call('vm.resume', { vm: imported.id });
      const first = test;
      test = other;
      expect(await peek('Monitor (2)')).toBe(0x66);
      test = first;
    } finally {
      await other.end();
    }
  });

  it('is refused when any part of it is another, and nothing of it stays', async () => {
    await startMonitor();
    await call('snapshot.take', { vm: VM, name: 'one' });
    const path = join(test.folder, 'one.vpsnap');
    await call('snapshot.export', { vm: VM, snapshot: 'one', path });
    const whole = readFileSync(path);
    for (const at of [3, 5000, whole.length >> 1, whole.length - 60, whole.length - 20]) {
      const bytes = Uint8Array.from(whole);
      bytes[at] = bytes[at]! ^ 0x10;
      writeFileSync(path, bytes);
      expect(await refused(call('snapshot.import', { path, name: 'Damaged' }))).toMatchObject({ code: 'file-unreadable', field: 'path' });
    }
    writeFileSync(path, whole.subarray(0, whole.length - 100));
    expect((await refused(call('snapshot.import', { path, name: 'Damaged' }))).message).toMatch(/cut short/);
    expect(await refused(call('vm.get', { vm: 'Damaged' }))).toMatchObject({ code: 'not-found' });
    expect(await call('library.check', { repair: false })).toEqual([]);
  });

  it('is given up at any point of its writing and of its reading, and nothing of it stays', async () => {
    await startMonitor();
    await call('snapshot.take', { vm: VM, name: 'one' });
    const path = join(test.folder, 'one.vpsnap');
    const { snapshots } = test.engine;
    const files = (): readonly string[] => [...readdirSync(test.folder), ...readdirSync(join(test.folder, 'chunks'))].sort();
    writeFileSync(path, 'what an export replaces stays until it is whole');
    const before = [files(), readFileSync(path, 'utf8')];
    /** Cancels at the given time of being told. */
    const cancelAt = (nth: number) => {
      let calls = 0;
      return (done: number, total: number): void => {
        expect(done).toBeLessThanOrEqual(total);
        if ((calls += 1) === nth) throw new ContractError('cancelled', 'cancelled', '');
      };
    };
    const points = async (work: (progress: ReturnType<typeof cancelAt>) => Promise<unknown>, step: number): Promise<number> => {
      for (let nth = 1; ; nth += step) {
        const error = await work(cancelAt(nth)).then(() => null, (thrown: unknown) => thrown);
        if (error === null) return (nth - 1) / step;
        expect(error).toMatchObject({ code: 'cancelled' });
        expect([files(), readFileSync(path, 'utf8')]).toEqual(before);
        expect(await call('vm.list', {})).toHaveLength(1);
      }
    };
    expect(await points((progress) => snapshots.exportTo(VM, 'one', path, progress), 5)).toBeGreaterThan(3);
    before.splice(0, 2, files(), readFileSync(path, 'utf8'));
    expect(await points((progress) => snapshots.importFrom(path, 'Imported', progress), 1)).toBeGreaterThan(3);
    expect(await call('library.check', { repair: false })).toEqual([]);
  });

  it('shows how far it is, and is cancelled by its file', async () => {
    await startMonitor();
    await call('snapshot.take', { vm: VM, name: 'one' });
    const path = join(test.folder, 'one.vpsnap');
    const events: LibraryEvent[] = [];
    let follows = false;
    test.client.subscribe('library', {}, { event: (event) => void (event.kind === 'all' ? (follows = true) : event.kind === 'transfer-progress' && events.push(event)) });
    await until(() => follows, 'the library is followed');
    const works = {
      'snapshot.export': () => call('snapshot.export', { vm: VM, snapshot: 'one', path }),
      'vm.export': () => call('vm.export', { vm: VM, path }),
      'snapshot.import': () => call('snapshot.import', { path, name: 'Imported' }),
    };
    for (const [name, work] of Object.entries(works)) {
      if (name === 'snapshot.import') await call('snapshot.export', { vm: VM, snapshot: 'one', path });
      events.length = 0;
      const [cancelled, twice] = [refused(work()), refused(work())];
      await call('transfer.cancel', { path });
      expect(await twice, name).toMatchObject({ code: 'wrong-state', field: 'path' });
      expect(await cancelled, name).toMatchObject({ code: 'cancelled' });
      await until(() => events.length > 1, 'the progress is told');
      expect([events[0], events.at(-1)], name).toEqual([{ kind: 'transfer-progress', path, done: 0, total: 1 }, { kind: 'transfer-progress', path, done: 0, total: 0 }]);
      expect(readdirSync(test.folder).filter((file) => file.startsWith('one.vpsnap')), name).toEqual(name === 'snapshot.import' ? ['one.vpsnap'] : []);
    }
    expect((await call('snapshot.list', { vm: VM })).map(({ name }) => name)).toEqual(['one']);
    expect(await call('vm.list', {})).toHaveLength(1);
  });
});

describe('the doctor', () => {
  it('names damaged files and the snapshots that need them, and removes what belongs to nothing', async () => {
    await startMonitor();
    await call('snapshot.take', { vm: VM, name: 'one' });
    const folder = join(test.folder, 'chunks');
    const [file = ''] = readdirSync(folder);
    writeFileSync(join(folder, '00000000-0000-4000-8000-000000000000.chunks.part'), 'half');
    expect(await call('library.check', { repair: false })).toMatchObject([{ severity: 'warning', repaired: false }]);
    const bytes = readFileSync(join(folder, file));
    writeFileSync(join(folder, file), bytes.fill(0xaa, 100, 2000));
    const findings = await call('library.check', { repair: true });
    expect(findings.map(({ what }) => what)).toEqual([expect.stringContaining(file), expect.stringContaining('"one" of "Monitor"'), expect.stringContaining('belong to nothing')]);
    expect(readdirSync(folder)).toEqual([file]);
    // The next one does not build on it: it is whole.
    await call('vm.stop', { vm: VM, force: true });
    await startMonitor();
    await call('snapshot.take', { vm: VM, name: 'two' });
    expect((await call('snapshot.restore', { vm: VM, snapshot: 'two', paused: false })).state).toBe('running');
  });
});

describe('a VM that is off', () => {
  const flash = (value: number): Buffer => Buffer.alloc(8192, value);
  const variablesOf = (id: string): string => {
    mkdirSync(join(test.folder, 'vms', id), { recursive: true });
    return join(test.folder, 'vms', id, 'uefi-variables.fd');
  };
  const change = (sql: string): void => {
    const database = new Database(join(test.folder, 'library.db'));
    database.exec(sql);
    database.close();
  };
  const take = (name: string): Promise<unknown> => call('snapshot.take', { vm: VM, name });
  const restore = (snapshot: string): Promise<unknown> => call('snapshot.restore', { vm: VM, snapshot, paused: false });
  const ownVariables = async (): Promise<string> => variablesOf((await call('vm.get', { vm: VM })).id);
  const clonedVariables = async (snapshot: string): Promise<string> => variablesOf((await call('snapshot.clone', { vm: VM, snapshot, name: `Clone of ${snapshot}` })).id);

  it('has snapshots of its configuration, and is off when it is put back', async () => {
    const taken = await call('snapshot.take', { vm: VM, name: 'off' });
    expect(taken).toMatchObject({ power: 'off', usedBytes: 0 });
    await call('vm.edit', { vm: VM, changes: { memoryBytes: 32 << 20 } });
    expect(await call('snapshot.restore', { vm: VM, snapshot: 'off', paused: false })).toMatchObject({ state: 'stopped', config: { memoryBytes: 64 << 20 } });
  });

  it('has its UEFI variables in its snapshots', async () => {
    const path = await ownVariables();
    await take('without');
    writeFileSync(path, flash(1));
    await take('one');
    writeFileSync(path, flash(2));
    expect(readFileSync(await clonedVariables('one'))).toEqual(flash(1));
    await restore('one');
    expect(readFileSync(path)).toEqual(flash(1));
    await restore('without');
    expect(existsSync(path)).toBe(false);
    expect(existsSync(await clonedVariables('without'))).toBe(false);
  });

  it('goes back to all of a snapshot, however long its variables take: it does not start before, and a new engine goes on with them', async () => {
    const path = await ownVariables();
    writeFileSync(path, flash(1));
    await take('one');
    writeFileSync(path, flash(2));
    // Nothing can be written there.
    mkdirSync(`${path}.part`);
    expect(await refused(restore('one'))).toMatchObject({ code: 'file-unreadable', message: expect.stringContaining('UEFI variables') });
    for (const early of [() => call('vm.start', { vm: VM }), () => take('early'), () => call('vm.clone', { vm: VM, name: 'Early' })]) expect(await refused(early())).toMatchObject({ code: 'file-unreadable' });
    await call('snapshot.remove', { vm: VM, snapshot: 'one' });
    test = await test.restart();
    rmSync(`${path}.part`, { recursive: true });
    await startMonitor();
    expect(readFileSync(path)).toEqual(flash(1));
    await call('vm.stop', { vm: VM, force: true });
    writeFileSync(path, flash(3));
    await startMonitor();
    expect(readFileSync(path)).toEqual(flash(3));
  });

  it('keeps what it has where a snapshot of an older Vanderpool knows nothing of it', async () => {
    const path = await ownVariables();
    writeFileSync(path, flash(1));
    await take('old');
    writeFileSync(path, flash(2));
    change('UPDATE snapshots SET variables = NULL');
    await restore('old');
    expect(readFileSync(path)).toEqual(flash(2));
    expect(readFileSync(await clonedVariables('old'))).toEqual(flash(2));
  });

  it('is told of variables that are damaged, and stays as it is', async () => {
    const path = await ownVariables();
    writeFileSync(path, flash(1));
    await take('one');
    change("UPDATE snapshots SET variables = x'0011'");
    expect(await refused(restore('one'))).toMatchObject({ code: 'snapshot-damaged', message: expect.stringContaining('UEFI variables') });
    expect(readFileSync(path)).toEqual(flash(1));
    expect(await call('library.check', { repair: false })).toContainEqual(expect.objectContaining({ severity: 'error', what: expect.stringContaining('UEFI variables') }));
  });
});

describe('a VM that is kept', () => {
  it('starts with the engine, and has the newest of its scheduled snapshots', async () => {
    await call('vm.edit', { vm: VM, changes: { autostart: true, schedule: { minutes: 5, keep: 2 } } });
    test = await test.restart();
    await untilState(test.client, VM, 'running');
    await until(async () => (await prompts()) > 0, 'the prompt');
    const { snapshots } = test.engine;
    const minute = 60_000;
    for (const now of [0, 1, 6, 7, 12]) await snapshots.takeScheduled(Date.now() + now * minute);
    // Each is dated by the clock of this machine: the second wanted one comes five minutes later.
    expect(await call('snapshot.list', { vm: VM })).toHaveLength(2);
    await call('snapshot.take', { vm: VM, name: 'by hand' });
    await snapshots.takeScheduled(Date.now() + 20 * minute);
    expect((await call('snapshot.list', { vm: VM })).filter(({ name }) => name.startsWith('Scheduled'))).toHaveLength(2);
    expect((await call('snapshot.list', { vm: VM })).some(({ name }) => name === 'by hand')).toBe(true);
    await call('vm.suspend', { vm: VM });
    test = await test.restart();
    await untilState(test.client, VM, 'running');
  });
});

describe('a VM with a device of the host', () => {
  /** Vendor and device of what is at device 16 of bus 0: the port of the first slot for devices. */
  const firstPort = async (): Promise<string> => {
    await command('out 0xcf8 0x80008000 d');
    return command('in 0xcfc d');
  };

  it('is not saved, and says why; when the device is released its snapshots go on with the empty slot, in any process', async () => {
    await call('snapshot.take', { vm: VM, name: 'without slot' });
    await call('device.assign', { device: 'edu:0', vm: VM });
    await startMonitor();
    await poke(0x77);
    for (const attempt of [() => call('snapshot.take', { vm: VM, name: 'one' }), () => call('vm.suspend', { vm: VM })]) {
      expect(await refused(attempt())).toMatchObject({ code: 'wrong-state', message: expect.stringMatching(/^The device edu demonstrator 0 is assigned to the VM "Monitor"/), hint: expect.stringContaining('release') });
    }
    expect(await call('vm.get', { vm: VM })).toMatchObject({ state: 'running' });
    expect(await call('snapshot.list', { vm: VM })).toHaveLength(1);
    await call('device.release', { device: 'edu:0', force: true });
    await call('snapshot.take', { vm: VM, name: 'one' });
    expect(await firstPort()).toContain('34208086');

    for (const newProcess of [false, true]) {
      await poke(0x11);
      if (newProcess) {
        await call('vm.stop', { vm: VM, force: true });
        await startMonitor();
        expect(await firstPort()).toContain('ffffffff');
      }
      await call('snapshot.restore', { vm: VM, snapshot: 'one', paused: false });
      expect(await peek()).toBe(0x77);
      expect(await firstPort()).toContain('34208086');
    }
    await call('vm.suspend', { vm: VM });
    await call('vm.resume', { vm: VM });
    expect(await firstPort()).toContain('34208086');
  });
});

describe('a suspended VM', () => {
  it('has no process, survives the engine, and goes on where it was', async () => {
    await startMonitor();
    await poke(0x55);
    expect(await call('vm.suspend', { vm: VM })).toMatchObject({ state: 'suspended', processId: null, exit: { reason: 'suspended' } });
    test = await test.restart();
    expect((await call('vm.get', { vm: VM })).state).toBe('suspended');
    expect((await call('vm.resume', { vm: VM })).state).toBe('running');
    expect(await peek()).toBe(0x55);
    await call('vm.stop', { vm: VM, force: true });
    expect((await call('vm.get', { vm: VM })).state).toBe('stopped');
  });

  it('is what a running one becomes when the engine is asked to suspend and stop, or the system goes down', async () => {
    await startMonitor();
    await poke(0x59);
    await test.engine.leave();
    test = await startTestEngine(test.folder, machineModuleUrl());
    expect((await call('vm.get', { vm: VM })).state).toBe('suspended');
    expect((await call('vm.start', { vm: VM })).state).toBe('running');
    expect(await peek()).toBe(0x59);
  });

  it('loses its state when its plug is pulled, and its memory is given back', async () => {
    await startMonitor();
    await call('vm.suspend', { vm: VM });
    expect((await call('vm.stop', { vm: VM, force: true })).state).toBe('stopped');
    await until(() => readdirSync(join(test.folder, 'chunks')).length === 0, 'the chunks are collected');
  });
});

describe('a large snapshot', () => {
  it('that is cancelled, or was, leaves a machine whose next snapshot is whole', async () => {
    await startMonitor();
    await poke(0x21);
    const cancelled = call('snapshot.take', { vm: VM, name: 'cancelled' }).then(() => null, (error: unknown) => error);
    await until(() => call('snapshot.cancel', { vm: VM }).then(() => true, () => undefined), 'there is something to cancel');
    // It may have been quicker.
    const error = await cancelled;
    if (error !== null) expect(error).toMatchObject({ code: 'cancelled' });
    await poke(0x22);
    await call('snapshot.take', { vm: VM, name: 'whole' });
    await poke(0x23);
    await call('vm.stop', { vm: VM, force: true });
    await call('snapshot.restore', { vm: VM, snapshot: 'whole', paused: false });
    expect(await peek()).toBe(0x22);
    expect(await call('library.check', { repair: false })).toEqual([]);
  });
});

describe('disks', () => {
  const withDisk = async (readOnly: boolean): Promise<string> => {
    const path = join(test.folder, 'disk.img');
    writeFileSync(path, new Uint8Array(1 << 20));
    await call('vm.edit', { vm: VM, changes: { disks: [{ path, kind: 'disk', bus: 'virtio', format: 'raw', readOnly }] } });
    await startMonitor();
    return path;
  };
  it('that are only read are no reason to refuse one', async () => {
    await withDisk(true);
    expect(await call('snapshot.take', { vm: VM, name: 'one' })).toMatchObject({ power: 'running' });
    expect((await call('snapshot.restore', { vm: VM, snapshot: 'one', paused: false })).state).toBe('running');
  });
  it('are given free by a suspended VM, which goes on only while they are as it left them', async () => {
    const path = await withDisk(false);
    await poke(0x77);
    await call('vm.suspend', { vm: VM });
    await call('vm.resume', { vm: VM });
    expect(await peek()).toBe(0x77);
    await call('vm.suspend', { vm: VM });
    writeFileSync(path, new Uint8Array(1 << 20).fill(1));
    const error = await refused(call('vm.resume', { vm: VM }));
    expect(error.message).toMatch(/was changed after the VM was suspended/);
    expect((await call('vm.get', { vm: VM })).state).toBe('suspended');
  });
});

describe('what cannot be done says why', () => {
  it('names a taken name, a missing snapshot, a missing file', async () => {
    await startMonitor();
    await call('snapshot.take', { vm: VM, name: 'one' });
    expect(await refused(call('snapshot.take', { vm: VM, name: 'ONE' }))).toMatchObject({ code: 'name-taken' });
    expect(await refused(call('snapshot.restore', { vm: VM, snapshot: 'none', paused: false }))).toMatchObject({ code: 'not-found' });
    expect(await refused(call('snapshot.cancel', { vm: VM }))).toMatchObject({ code: 'wrong-state' });
  });

  it('a damaged file of memory is reported when it is needed, and the other snapshots are not touched', async () => {
    await startMonitor();
    await call('snapshot.take', { vm: VM, name: 'one' });
    await call('vm.stop', { vm: VM, force: true });
    const folder = join(test.folder, 'chunks');
    const [file = ''] = readdirSync(folder);
    copyFileSync(join(folder, file), join(test.folder, 'kept'));
    const bytes = readFileSync(join(folder, file));
    writeFileSync(join(folder, file), bytes.fill(0xaa, 100, 2000));
    const error = await refused(call('snapshot.restore', { vm: VM, snapshot: 'one', paused: false }));
    expect(error.message).toMatch(/damaged/);
    expect(error.message).toContain(file);
    copyFileSync(join(test.folder, 'kept'), join(folder, file));
    expect((await call('snapshot.restore', { vm: VM, snapshot: 'one', paused: false })).state).toBe('running');
    rmSync(join(test.folder, 'kept'));
  });
});
