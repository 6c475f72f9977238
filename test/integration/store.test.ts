import { spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MIB, vmDefaults } from '../../core/contract/index.ts';
import type { VmConfig } from '../../core/contract/index.ts';
import { openDatabase } from '../../core/store/database.ts';
import { Library } from '../../core/store/library.ts';
import { lockLibrary } from '../../core/store/lock.ts';
import { migrations } from '../../core/store/migrations.ts';
import type { Migration } from '../../core/store/migrations.ts';
import { refusal } from '../helpers/refusal.ts';

let folder = '';
beforeEach(() => void (folder = mkdtempSync(join(tmpdir(), 'vanderpool-store-'))));
afterEach(() => {
  chmodSync(folder, 0o700);
  rmSync(folder, { recursive: true, force: true });
});

const debian: VmConfig = {
  name: 'Debian', ...vmDefaults, memoryBytes: 256 * MIB, group: 'Lab', tags: ['web', 'Größe/2'], notes: 'a note',
  boot: { kind: 'image', kernel: '/boot/vmlinuz', initrd: null, append: 'quiet', modules: [{ path: '/m', commandLine: 'a b' }] },
};

describe('migrations', () => {
  it('are numbered from 1 without a gap', () => {
    expect(migrations.map(({ version }) => version)).toEqual(migrations.map((_, index) => index + 1));
  });

  it('bring every table as STRICT, in WAL mode, with foreign keys on', async () => {
    const { sqlite, close } = openDatabase(folder);
    const tables = sqlite.prepare("SELECT name, strict FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite_%'").all();
    expect(tables.length).toBeGreaterThan(4);
    expect(tables.filter((table) => (table as { strict: number }).strict !== 1)).toEqual([]);
    expect(sqlite.pragma('journal_mode', { simple: true })).toBe('wal');
    expect(sqlite.pragma('foreign_keys', { simple: true })).toBe(1);
    await close();
  });

  const next: Migration = { version: migrations.length + 1, what: 'a column', statements: ["ALTER TABLE vms ADD COLUMN colour TEXT NOT NULL DEFAULT 'none'"] };

  it('keep what was there, after a backup copy', async () => {
    const library = new Library(folder);
    await library.create(debian);
    await library.close();
    const { sqlite, close } = openDatabase(folder, [...migrations, next]);
    expect(sqlite.prepare('SELECT name, colour FROM vms ORDER BY position').all()).toEqual([{ name: 'Monitor', colour: 'none' }, { name: 'Debian', colour: 'none' }]);
    await close();
    const backup = new Database(join(folder, `library.db.backup-${migrations.length}`), { readonly: true });
    expect(backup.prepare('SELECT count(*) FROM vms').pluck().get()).toBe(2);
    expect(backup.pragma('user_version', { simple: true })).toBe(migrations.length);
    backup.close();
  });

  it('that fail change nothing', async () => {
    const library = new Library(folder);
    await library.close();
    const broken: Migration = { ...next, statements: [...next.statements, 'CREATE TABLE vms (x)'] };
    expect(refusal(() => openDatabase(folder, [...migrations, broken])).code).toBe('library-unusable');
    const again = new Library(folder);
    expect(await again.list()).toHaveLength(1);
    await again.close();
  });

  it('refuse a database from a newer version without touching it', async () => {
    const library = new Library(folder);
    await library.close();
    const raw = new Database(join(folder, 'library.db'));
    raw.pragma('user_version = 999');
    raw.pragma('journal_mode = DELETE');
    raw.close();
    const before = readFileSync(join(folder, 'library.db'));
    const files = readdirSync(folder);
    const error = refusal(() => new Library(folder));
    expect(error.code).toBe('library-newer');
    expect(error.message).toContain('999');
    expect(readFileSync(join(folder, 'library.db')).equals(before)).toBe(true);
    expect(readdirSync(folder)).toEqual(files);
  });

  it('refuse a file that is no database, naming it', () => {
    writeFileSync(join(folder, 'library.db'), 'this is a letter to my aunt, not a database '.repeat(100));
    const error = refusal(() => new Library(folder));
    expect([error.code, error.message.includes('library.db')]).toEqual(['library-unusable', true]);
  });
});

describe('a library', () => {
  it('starts with the built-in monitor, and does not bring it back once it was removed', async () => {
    let library = new Library(folder);
    const vms = await library.list();
    expect(vms.map(({ config }) => [config.name, config.boot.kind])).toEqual([['Monitor', 'monitor']]);
    for (const vm of vms) await library.remove(vm);
    await library.close();
    library = new Library(folder);
    expect(await library.list()).toEqual([]);
    await library.close();
  });

  it('gives back a configuration as it was stored, also to the next engine', async () => {
    let library = new Library(folder);
    const { id } = await library.create(debian);
    await library.close();
    library = new Library(folder);
    expect((await library.get('debian')).config).toEqual(debian);
    expect((await library.get(id)).state).toBe('stopped');
    const edited = await library.edit(await library.get(id), { ...debian, boot: { kind: 'monitor' }, memoryBytes: 64 * MIB });
    expect(edited.config).toEqual({ ...debian, boot: { kind: 'monitor' }, memoryBytes: 64 * MIB });
    await library.close();
  });

  it('refuses a name that is taken, whatever its case', async () => {
    const library = new Library(folder);
    await library.create(debian);
    await expect(library.create({ ...debian, name: 'DEBIAN' })).rejects.toMatchObject({ code: 'name-taken', field: 'name' });
    await expect(library.get('Fedora')).rejects.toMatchObject({ code: 'not-found' });
    await library.close();
  });

  it('marks what ran when its engine died as crashed, and only that', async () => {
    const library = new Library(folder);
    const vm = await library.create(debian);
    await library.record(vm.id, { state: 'running', startedAt: 1 }, 'started');
    expect(await library.recordLostVms(5)).toEqual([vm.id]);
    expect(await library.get(vm.id)).toMatchObject({ state: 'crashed', startedAt: null, exit: { reason: 'crashed', at: 5 } });
    expect((await library.get('Monitor')).state).toBe('stopped');
    await library.close();
  });

  it('keeps an audit trail that outlives the VM', async () => {
    const library = new Library(folder);
    const vm = await library.create(debian);
    await library.record(vm.id, { state: 'running' }, 'started');
    await library.remove(await library.get(vm.id));
    const events = (await library.events(null, 10)).filter(({ vmName }) => vmName === 'Debian');
    expect(events.map(({ kind }) => kind)).toEqual(['removed', 'started', 'created']);
    await library.close();
  });

  it('keeps settings, and ignores one that it does not understand', async () => {
    const library = new Library(folder);
    await library.changeSettings({ theme: 'dark' });
    await library.close();
    const raw = new Database(join(folder, 'library.db'));
    raw.prepare("INSERT INTO settings VALUES ('consoleFontSize', '\"huge\"'), ('colour', '1')").run();
    raw.close();
    const again = new Library(folder);
    expect(await again.settings()).toMatchObject({ theme: 'dark', consoleFontSize: 13 });
    await again.close();
  });

  it('moves a VM within the list', async () => {
    const library = new Library(folder);
    for (const name of ['a', 'b', 'c']) await library.create({ ...debian, name });
    await library.move(await library.get('c'), 0);
    expect((await library.list()).map(({ config }) => config.name)).toEqual(['c', 'Monitor', 'a', 'b']);
    await library.close();
  });

  it('says what to do about a folder it may not write to', () => {
    if (process.getuid?.() === 0) chmodSync(folder, 0o500); // Root passes by permissions: use a folder that cannot be.
    const target = process.getuid?.() === 0 ? '/proc/self' : folder;
    const error = refusal(() => new Library(target));
    expect(error.code).toBe('library-unusable');
    expect(error.message).toContain(target);
    expect(error.hint).toContain('--library');
  });
});

describe('the lock of a library', () => {
  it('refuses a second engine and is free again after release', () => {
    const lock = lockLibrary(folder);
    expect(refusal(() => lockLibrary(folder)).code).toBe('library-locked');
    lock.release();
    lockLibrary(folder).release();
  });

  it('is free again after its holder was killed', async () => {
    const module = new URL('../../core/store/lock.ts', import.meta.url).href;
    const script = `const { lockLibrary } = await import('${module}'); globalThis.held = lockLibrary(${JSON.stringify(folder)}); console.log('held'); setInterval(() => {}, 1000);`;
    const holder = spawn(process.execPath, ['--input-type=module', '-e', script], { cwd: join(import.meta.dirname, '../..') });
    await new Promise((resolve) => holder.stdout.once('data', resolve));
    expect(refusal(() => lockLibrary(folder)).code).toBe('library-locked');
    const gone = new Promise((resolve) => holder.once('exit', resolve));
    holder.kill('SIGKILL');
    await gone;
    lockLibrary(folder).release();
  });
});
