import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { provideGuest } from '../helpers/guests.ts';
import type { Guest } from '../helpers/guests.ts';
import { start, vanderpool } from '../helpers/command-line.ts';
import { lockstep } from '../lockstep/lockstep.ts';
import type { LockstepOptions } from '../lockstep/lockstep.ts';

/** Debian's kernel, which lies elsewhere at each boot, in processes of their own: what one has compiled is of use to the next. */
const TEST_MS = 240_000;
const folder = mkdtempSync(join(tmpdir(), 'vanderpool-'));
const place = join(folder, 'kept');
let guest: Guest;

beforeAll(async () => {
  guest = await provideGuest('amd64');
}, 600_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Boot {
  readonly status: number | null;
  readonly stdout: string;
  readonly engine: Readonly<Record<string, number>>;
}

async function boot(translations: string, initrd = guest.initramfs): Promise<Boot> {
  const stats = join(folder, 'stats.json');
  const { status, stdout } = await vanderpool(['run', '--kernel', guest.kernel, '--initrd', initrd, '--append', 'console=ttyS0 quiet bootonly', '--memory', '256M', '--timeout', '120', '--stats', stats],
    { environment: { VANDERPOOL_TRANSLATIONS: translations } });
  return { status, stdout, engine: (JSON.parse(readFileSync(stats, 'utf8')) as { engine: Record<string, number> }).engine };
}

describe('a guest that is run again', () => {
  it('goes on in what was compiled before', async () => {
    const first = await boot(place);
    expect(first).toMatchObject({ status: 0, engine: { kept: 0 } });
    expect(first.stdout).toContain('GUEST-READY');
    const [name] = readdirSync(place);
    const second = await boot(place);
    expect(second).toMatchObject({ status: 0 });
    expect(second.stdout).toContain('GUEST-READY');
    expect(second.engine['kept']).toBeGreaterThan(50);
    expect(second.engine['regionInstructions']).toBeLessThan(first.engine['regionInstructions']! / 2);
    expect(readdirSync(place)).toEqual([name]);
  }, TEST_MS);

  it('begins with what another machine has left, and keeps its own', async () => {
    const shared = join(folder, 'shared');
    mkdirSync(shared, { mode: 0o700 });
    for (const name of readdirSync(place)) copyFileSync(join(place, name), join(shared, name));
    const other = join(folder, 'other.cpio');
    copyFileSync(guest.initramfs, other);
    const first = await boot(shared, other);
    expect(first).toMatchObject({ status: 0 });
    expect(first.stdout).toContain('GUEST-READY');
    expect(first.engine['kept']).toBeGreaterThan(50);
    expect(readdirSync(shared)).toHaveLength(2);
  }, TEST_MS);

  it('leaves what was there when it is killed', async () => {
    const [name] = readdirSync(place);
    const before = readFileSync(join(place, name!));
    const child = start(['run', '--kernel', guest.kernel, '--initrd', guest.initramfs, '--append', 'console=ttyS0 quiet', '--memory', '256M'], { VANDERPOOL_TRANSLATIONS: place });
    await new Promise<void>((resolve) => {
      let said = '';
      child.stdout.on('data', (chunk: Buffer) => {
        said += chunk.toString('latin1');
        if (said.includes('GUEST-READY')) resolve();
      });
    });
    const closed = new Promise((resolve) => child.on('close', resolve));
    child.kill('SIGKILL');
    await closed;
    expect(readFileSync(join(place, name!)).equals(before)).toBe(true);
  }, TEST_MS);

  it('starts as ever where the file is damaged, or where it is to do without', async () => {
    const [name] = readdirSync(place);
    const file = join(place, name!);
    const bytes = readFileSync(file);
    for (let at = 100; at < bytes.length; at += 997) bytes[at]! ^= 1;
    writeFileSync(file, bytes);
    const damaged = await boot(place);
    expect(damaged).toMatchObject({ status: 0, engine: { kept: 0 } });
    expect(damaged.stdout).toContain('GUEST-READY');

    expect(await boot('off')).toMatchObject({ status: 0, engine: { kept: 0 } });
    expect(readdirSync(place)).toEqual([name]);
  }, TEST_MS);

  it('is kept for a VM and its clones until somebody wants it gone', async () => {
    const translations = join(folder, 'library-kept');
    const library = join(folder, 'library');
    const command = async (...args: string[]): Promise<string> => {
      const { status, stdout, stderr } = await vanderpool([...args, '--library', library], { environment: { VANDERPOOL_TRANSLATIONS: translations } });
      if (status !== 0) throw new Error(`${args.join(' ')}: ${stderr}`);
      return stdout;
    };
    const bootOnce = async (): Promise<void> => {
      await command('vm', 'start', 'debian');
      await expect.poll(async () => (JSON.parse(await command('vm', 'show', 'debian', '--json')) as { state: string }).state, { timeout: 120_000, interval: 500 }).toBe('stopped');
    };
    try {
      await command('vm', 'create', 'debian', '--kernel', guest.kernel, '--initrd', guest.initramfs, '--append', 'console=ttyS0 quiet bootonly', '--memory', '256M');
      await bootOnce();
      const [name] = readdirSync(translations);
      await command('vm', 'clone', 'debian', 'twin');
      const [twin] = readdirSync(translations).filter((other) => other !== name);
      expect(readFileSync(join(translations, twin!)).equals(readFileSync(join(translations, name!)))).toBe(true);
      await command('settings', 'keepCode', 'off');
      expect(readdirSync(translations)).toEqual([]);
      await bootOnce();
      expect(readdirSync(translations)).toEqual([]);
    } finally {
      await command('engine', 'stop', '--force');
    }
  }, TEST_MS);

  it('does what the interpreter does', async () => {
    const options: LockstepOptions = {
      tier: 'on', instructions: 200e6,
      config: () => ({
        memoryBytes: 128 << 20, cpuModel: '', translations: join(folder, 'lockstep'),
        boot: { kind: 'image', kernel: readFileSync(guest.kernel), initrd: readFileSync(guest.initramfs), append: 'console=ttyS0 quiet', modules: [] },
      }),
    };
    expect(await lockstep(options)).toMatchObject({ kind: 'agreed', kept: 0 });
    const again = await lockstep(options);
    expect(again).toMatchObject({ kind: 'agreed' });
    expect(again.kind === 'agreed' && again.kept).toBeGreaterThan(10);
  }, TEST_MS);
});
