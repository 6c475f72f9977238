import { execFile, execFileSync } from 'node:child_process';
import { appendFileSync, chmodSync, mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createClient } from '../../core/contract/index.ts';
import { dial, socketPath } from '../../core/engine/socket.ts';
import { launcher, machineDouble, outcomeOf, root, start, vanderpool } from '../helpers/command-line.ts';
import type { Outcome } from '../helpers/command-line.ts';
import { type, until, untilShown, untilState } from '../helpers/engine.ts';

interface VmAnswer {
  readonly id: string;
  readonly state: string;
  readonly processId: number | null;
  readonly config: { readonly name: string; readonly tags: readonly string[]; readonly memoryBytes: number; readonly boot: { readonly kind: string; readonly kernel?: string } };
  readonly exit: { readonly reason: string } | null;
}

let home = '';
let environment: Record<string, string> = {};
const shell = (script: string): Promise<{ stdout: string; stderr: string }> => promisify(execFile)('bash', ['-c', script], { env: { ...process.env, ...environment } });
/** What a shell prints, line by line in order. */
const inShell = async (program: string, args: readonly string[]): Promise<string> => {
  const { stdout } = await promisify(execFile)(program, args, { cwd: root, env: { ...process.env, ...environment } });
  return stdout.trim().split('\n').toSorted().join('\n');
};
const vp = (...args: readonly string[]) => vanderpool(args, { environment });
const json = async <T>(...args: readonly string[]): Promise<T> => JSON.parse((await vp(...args, '--json')).stdout) as T;
const enginePid = async (): Promise<number> => (await json<{ processId: number }>('engine', 'status')).processId;

/** Presses Ctrl-C when there are news of how far a VM or file, by its id or path, is. */
const interrupted = async (awaited: string, ...args: readonly string[]): Promise<Outcome> => {
  const transport = await dial(socketPath(home));
  if (!transport) throw new Error('the engine does not listen');
  const client = createClient(transport);
  const seen = new Set<string>();
  let toDo = 0;
  client.subscribe('library', {}, {
    event: (event) => {
      if ('total' in event) toDo = event.total;
      seen.add('total' in event && event.total > 0 ? ('path' in event ? event.path : event.vmId) : event.kind);
    },
  });
  await until(() => seen.has('all'), 'the library is followed');
  const child = start(args, environment);
  const ended = outcomeOf(child);
  await until(() => seen.has(awaited), 'it is under way');
  child.kill('SIGINT');
  const outcome = await ended;
  await until(() => toDo === 0, 'its end is told');
  client.close();
  return outcome;
};

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'vanderpool-home-'));
  environment = { VANDERPOOL_HOME: home, VANDERPOOL_MACHINE: machineDouble };
});
afterEach(async () => {
  await vp('engine', 'stop', '--force');
  rmSync(home, { recursive: true, force: true });
});

async function killHard(pid: number): Promise<void> {
  process.kill(pid, 'SIGKILL');
  await until(() => {
    try {
      process.kill(pid, 0);
      return undefined;
    } catch {
      return true;
    }
  }, `the end of process ${pid}`);
}

describe('vm commands', () => {
  it('create, list, show, edit and remove', async () => {
    const kernel = join(home, 'kernel');
    writeFileSync(kernel, 'x');
    expect((await vp('vm', 'create', 'one', '--kernel', kernel, '--append', 'a b', '--memory', '64M')).status).toBe(0);
    expect((await vp('vm', 'list')).stdout).toMatch(/one +stopped +64M/);
    const changed = await json<VmAnswer>('vm', 'edit', 'one', '--memory', '1G', '--name', 'two');
    expect(changed.config).toMatchObject({ name: 'two', memoryBytes: 2 ** 30, boot: { kind: 'image', kernel, append: 'a b' } });
    expect((await vp('vm', 'show', 'TWO')).stdout).toContain('1G');
    expect((await json<VmAnswer>('vm', 'edit', 'two', '--monitor')).config.boot).toEqual({ kind: 'monitor' });
    expect((await vp('vm', 'rm', 'two')).status).toBe(0);
    expect(await json<VmAnswer[]>('vm', 'list')).toHaveLength(1);
  });

  it('name groups, which the list shows where there are any', async () => {
    expect((await vp('vm', 'list')).stdout).not.toContain('GROUP');
    await vp('vm', 'create', 'node', '--group', 'Cluster 1');
    expect((await vp('vm', 'list')).stdout).toMatch(/GROUP[^]*node +stopped +512M +Cluster 1/);
    expect((await vp('vm', 'edit', 'node', '--group', 'none')).status).toBe(0);
    expect((await vp('vm', 'list')).stdout).not.toContain('GROUP');
    expect(await vp('vm', 'edit', 'node', '--group', 'x'.repeat(41))).toMatchObject({ status: 125, stderr: expect.stringContaining('--group: a group') });
  });

  it('have tags, which stay with their clones and exports', async () => {
    expect((await vp('vm', 'list')).stdout).not.toContain('TAGS');
    expect((await vp('vm', 'tag', 'Monitor', 'web', 'Production', 'WEB')).stdout).toBe('"Monitor" has the tags web, Production.\n');
    expect((await vp('vm', 'tag', 'Monitor', 'production', 'env:test')).stdout).toBe('"Monitor" has the tags web, Production, env:test.\n');
    expect((await vp('vm', 'list')).stdout).toMatch(/TAGS[^]*web Production env:test/);
    expect((await vp('vm', 'show', 'Monitor')).stdout).toMatch(/Tags: +web Production env:test/);
    await vp('vm', 'clone', 'Monitor', 'Twin');
    const file = join(home, 'tagged.vpsnap');
    await vp('export', 'Monitor', file);
    await vp('import', file, '--name', 'Third');
    expect((await vp('vm', 'untag', 'Monitor', 'Web', 'env:test')).stdout).toBe('"Monitor" has the tags Production.\n');
    expect((await json<VmAnswer[]>('vm', 'list')).map(({ config: { name, tags } }) => [name, tags])).toEqual([
      ['Monitor', ['Production']], ['Twin', ['web', 'Production', 'env:test']], ['Third', ['web', 'Production', 'env:test']],
    ]);
    expect(await vp('vm', 'untag', 'Monitor', 'web')).toMatchObject({ status: 1, stderr: expect.stringContaining('"Monitor" has no tag "web"') });
    for (const wrong of ['x'.repeat(33), 'two words', '<b>', '', 'a\nb', '../b']) {
      expect(await vp('vm', 'tag', 'Monitor', wrong), wrong).toMatchObject({ status: 125, stderr: expect.stringContaining('tags: a tag') });
    }
    const many = Array.from({ length: 17 }, (_, index) => `t${index}`);
    expect(await vp('vm', 'tag', 'Twin', ...many)).toMatchObject({ status: 125, stderr: expect.stringContaining('at most 16 tags') });
  });

  it('are cloned, by way of a snapshot that does not stay', async () => {
    expect((await vp('vm', 'clone', 'Monitor', 'Twin', '--full')).stdout).toBe('Created "Twin"; it is stopped.\n');
    expect(await json('snapshot', 'list', 'Monitor')).toEqual([]);
    expect((await vp('vm', 'clone', 'Monitor', 'twin')).status).toBe(1);
    expect(await json('snapshot', 'list', 'Monitor')).toEqual([]);
  });

  it('have their console by either name', async () => {
    expect([await vp('vm', 'console', 'Monitor', '--history'), await vp('console', 'Monitor', '--history')].map(({ status }) => status)).toEqual([0, 0]);
  });

  it('go from one library to another in one file', async () => {
    const file = join(home, 'monitor.vpsnap');
    expect((await vp('export', 'Monitor', file)).stdout).toMatch(/^Exported "Monitor" to ".*monitor\.vpsnap", /);
    expect(await json('snapshot', 'list', 'Monitor')).toEqual([]);
    expect(await json<VmAnswer>('import', file, '--name', 'Second')).toMatchObject({ config: { name: 'Second', boot: { kind: 'monitor' } } });
    expect(await vp('import', join(home, 'no.ova'))).toMatchObject({ status: 125, stderr: expect.stringContaining('no.ova') });
  });

  it('have their groups and tags from the start, and are given others', async () => {
    expect((await json<VmAnswer>('vm', 'create', 'node', '--group', 'Cluster', '--tags', 'web, env:test,WEB')).config).toMatchObject({ group: 'Cluster', tags: ['web', 'env:test'] });
    expect((await json<VmAnswer>('vm', 'edit', 'node', '--tags', 'db')).config).toMatchObject({ group: 'Cluster', tags: ['db'] });
    expect((await json<VmAnswer>('vm', 'edit', 'node', '--tags', 'none')).config.tags).toEqual([]);
    expect(await vp('vm', 'create', 'other', '--tags', 'two words')).toMatchObject({ status: 125, stderr: expect.stringContaining('tags: a tag') });
  });

  it('are told what can be imported when a file is nothing of the kind', async () => {
    const file = join(home, 'disk.qcow2');
    writeFileSync(file, 'QFI\xfb'.repeat(40));
    expect(await vp('import', file)).toMatchObject({ status: 125, stderr: expect.stringMatching(/no snapshot of Vanderpool[^]*\.ova, \.ovf, \.vmdk and \.vdi[^]*needs no import/) });
  });

  it('go on, without a snapshot, when Ctrl-C cancels one that is being taken, or a suspension', async () => {
    await vp('vm', 'create', 'busy', '--memory', '256M');
    const { id } = await json<VmAnswer>('vm', 'start', 'busy');
    const transport = await dial(socketPath(home));
    if (!transport) throw new Error('the engine does not listen');
    const client = createClient(transport);
    await type(client, 'busy', 'write\n');
    await untilShown(client, 'busy', 'WRITTEN');
    expect(await interrupted(id, 'snapshot', 'take', 'busy', 'never')).toMatchObject({ status: 1, stderr: expect.stringContaining('cancelled') });
    expect(await interrupted(id, 'vm', 'suspend', 'busy')).toMatchObject({ status: 1, stderr: expect.stringContaining('cancelled') });
    await untilState(client, 'busy', 'running');
    await type(client, 'busy', 'say still here\n');
    await untilShown(client, 'busy', 'still here\r');
    expect(await json('snapshot', 'list', 'busy')).toEqual([]);
    expect((await vp('vm', 'suspend', 'busy')).stdout).toBe('Suspended "busy".\n');
    client.close();
  });

  it('are left as they are, and no file, when Ctrl-C cancels an export, an import or a full clone', async () => {
    // Both take minutes: a large disk of zeros, and a large file of which only the ends are an archive's.
    const [disk, archive, file] = [join(home, 'large.img'), join(home, 'large.vpsnap'), join(home, 'new.vpsnap')];
    for (const path of [disk, archive]) writeFileSync(path, path === archive ? 'VPSNAP01' : '');
    for (const path of [disk, archive]) truncateSync(path, 2 ** 36);
    appendFileSync(archive, 'VPSNAP01');
    await vp('vm', 'create', 'large', '--disk', disk);
    expect(await interrupted(file, 'export', 'large', file)).toMatchObject({ status: 1, stderr: expect.stringContaining('The export was cancelled.') });
    expect(await json('snapshot', 'list', 'large')).toEqual([]);
    expect(await interrupted(archive, 'import', archive)).toMatchObject({ status: 1, stderr: expect.stringContaining('The import was cancelled.') });
    const { id } = await json<VmAnswer>('vm', 'show', 'large');
    expect(await interrupted(id, 'vm', 'clone', 'large', 'twin', '--full')).toMatchObject({ status: 1, stderr: expect.stringContaining('cancelled') });
    expect(readdirSync(home).filter((name) => name.includes('vpsnap'))).toEqual(['large.vpsnap']);
    expect(await json<VmAnswer[]>('vm', 'list')).toHaveLength(2);
  });

  it('move in the list', async () => {
    await vp('vm', 'create', 'second');
    expect((await vp('vm', 'move', 'second', '1')).status).toBe(0);
    expect((await json<VmAnswer[]>('vm', 'list')).map(({ config }) => config.name)).toEqual(['second', 'Monitor']);
    expect((await vp('vm', 'move', 'second', '0')).status).toBe(125);
  });

  it('show and change settings, by the names and within the bounds of the contract', async () => {
    expect(await json('settings', 'quitting', 'suspend')).toEqual({ quitting: 'suspend' });
    expect(await json('settings', 'confirmStop', 'off')).toEqual({ confirmStop: false });
    expect(await json('settings')).toMatchObject({ quitting: 'suspend', confirmStop: false, consoleFontSize: 13 });
    expect((await vp('settings', 'theme')).stdout).toMatch(/^theme: +system\n$/);
    expect(await vp('settings', 'confirmStop', 'maybe')).toMatchObject({ status: 125, stderr: expect.stringContaining('confirmStop is "on" or "off", not "maybe".') as unknown });
    const wrong = await Promise.all([vp('settings', 'volume'), vp('settings', 'consoleFontSize', '5000'), vp('settings', 'theme', 'on')]);
    expect(wrong.map(({ status }) => status)).toEqual([125, 125, 125]);
  });

  it('end with 125 for a bad argument and 1 for a refusal, without a stack', async () => {
    const outcomes = await Promise.all([
      vp('vm', 'create', 'x', '--memory', 'banana'), vp('vm', 'create', '../x'), vp('vm', 'create', 'x', '--cpu', 'z80'), vp('vm', 'edit', 'Monitor'),
      vp('vm', 'start', 'nobody'), vp('vm', 'create', 'monitor'), vp('vm', 'pause', 'Monitor'),
    ]);
    expect(outcomes.map(({ status }) => status)).toEqual([125, 125, 125, 125, 1, 1, 1]);
    for (const { stderr } of outcomes) expect(stderr).toMatch(/^vanderpool: .+\n {2}.+/);
    const refused = await vp('vm', 'start', 'nobody', '--json');
    expect(JSON.parse(refused.stderr)).toMatchObject({ error: { code: 'not-found', field: 'vm' } });
  });

  it('point to the help of the command that was given', async () => {
    const hints = await Promise.all([vp('vm', 'create', 'x', '--cpus', 'two'), vp('exits', 'Monitor', '--bogus'), vp('vm', 'creat'), vp('nonsense')]);
    expect(hints.map(({ stderr }) => /See `(.*) --help`/.exec(stderr)?.[1])).toEqual(['vanderpool vm create', 'vanderpool exits', 'vanderpool vm', 'vanderpool']);
  });

  it('name the option that is wrong, not the field that it sets', async () => {
    expect((await vp('vm', 'create', 'x', '--cpus', '99')).stderr).toBe('vanderpool: --cpus: at most 8 processors are supported.\n  See `vanderpool vm create --help`.\n');
    expect((await vp('run', '--cpus', '99')).stderr).toContain('vanderpool: --cpus: at most 8');
  });

  it('say what a VM does not have yet', async () => {
    const { status, stdout } = await vp('vm', 'create', 'x', '--kernel', join(home, 'vmlinuz'), '--disk', join(home, 'disk.img'));
    expect(status).toBe(0);
    expect(stdout).toBe(['Created "x".', ...['vmlinuz', 'disk.img'].map((name) => `It does not start without "${join(home, name)}", which is not there.`), ''].join('\n'));
  });

  it('say why a file cannot be written, in words', async () => {
    const path = join(home, 'nowhere', 'stats.json');
    expect((await vp('run', '--stats', path)).stderr).toContain(`"${path}" cannot be written: there is no such folder.`);
  });

  it('refuse to start what cannot boot, naming the file', async () => {
    await vp('vm', 'create', 'bad', '--kernel', join(home, 'no-such-kernel'));
    const { status, stderr } = await vp('vm', 'start', 'bad');
    expect(status).toBe(125);
    expect(stderr).toContain('no-such-kernel');
  });
});

describe('the console command', () => {
  it('attaches, types, detaches, and finds the history again', async () => {
    await vp('vm', 'start', 'Monitor');
    const child = start(['console', 'Monitor'], environment);
    let shown = '';
    child.stdout.on('data', (chunk: Buffer) => void (shown += chunk.toString()));
    await until(() => shown.includes('READY') || undefined, 'the replay');
    child.stdin.write('say over the console\n');
    await until(() => shown.includes('over the console\r\n') || undefined, 'the answer');
    child.stdin.write('\x01x');
    expect(await new Promise((resolve) => child.on('close', resolve))).toBe(0);
    expect((await json<VmAnswer>('vm', 'show', 'Monitor')).state).toBe('running');
    expect((await vp('console', 'Monitor', '--history')).stdout).toBe(shown);
  });

  it('ends when the guest does', async () => {
    await vp('vm', 'start', 'Monitor');
    const { status, stdout } = await vanderpool(['console', 'Monitor'], { environment, input: 'say bye\npoweroff\n', keepOpen: true });
    expect(status).toBe(0);
    expect(stdout).toContain('bye\r\n');
  });
});

describe('the engine', () => {
  it('starts once, however many commands start it together', async () => {
    const lists = await Promise.all(Array.from({ length: 4 }, () => vp('vm', 'list')));
    expect(lists.map(({ status }) => status)).toEqual([0, 0, 0, 0]);
  });

  it('is not started by a question whether it runs', async () => {
    expect(await json('engine', 'status')).toMatchObject({ running: false });
    expect(await json('engine', 'status')).toMatchObject({ running: false });
  });

  it('refuses to stop while a VM runs, unless forced', async () => {
    await vp('vm', 'start', 'Monitor');
    expect((await vp('engine', 'stop')).status).toBe(1);
    expect((await vp('engine', 'stop', '--force')).status).toBe(0);
    expect((await json<VmAnswer>('vm', 'show', 'Monitor')).exit).toMatchObject({ reason: 'killed' });
  });

  it('loses nothing to kill -9: the VM shows as crashed, its history is there, and it starts again', async () => {
    await vp('vm', 'start', 'Monitor');
    await until(async () => (await vp('console', 'Monitor', '--history')).stdout.includes('READY') || undefined, 'output');
    const guest = (await json<VmAnswer>('vm', 'show', 'Monitor')).processId ?? 0;
    await killHard(await enginePid());
    const after = await json<VmAnswer>('vm', 'show', 'Monitor');
    expect(after).toMatchObject({ state: 'crashed', processId: null });
    expect((await vp('console', 'Monitor', '--history')).stdout).toContain('READY');
    await until(() => {
      try {
        process.kill(guest, 0);
        return undefined;
      } catch {
        return true;
      }
    }, 'the end of the orphaned VM process');
    expect((await json<VmAnswer>('vm', 'start', 'Monitor')).state).toBe('running');
  });

  it('shows a VM whose process was killed as crashed, and starts it again', async () => {
    const { processId } = await json<VmAnswer>('vm', 'start', 'Monitor');
    await killHard(processId ?? 0);
    await until(async () => (await json<VmAnswer>('vm', 'show', 'Monitor')).state === 'crashed' || undefined, 'crashed');
    expect((await vp('events', 'Monitor')).stdout).toContain('crashed');
    expect((await json<VmAnswer>('vm', 'start', 'Monitor')).state).toBe('running');
  });
});

describe('a library that cannot be used', () => {
  it('is refused when a newer Vanderpool wrote it', async () => {
    await vp('vm', 'list');
    await vp('engine', 'stop');
    const database = new Database(join(home, 'library.db'));
    database.pragma('user_version = 4711');
    database.close();
    const { status, stderr } = await vp('vm', 'list');
    expect(status).toBe(1);
    expect(stderr).toContain('4711');
    expect(stderr).not.toContain('    at ');
  });

  it('is refused when it is a file', async () => {
    const file = join(home, 'file');
    writeFileSync(file, '');
    const { status, stderr } = await vp('vm', 'list', '--library', file);
    expect([status, stderr.includes(file)]).toEqual([1, true]);
  });

  it.runIf(process.getuid?.() === 0)('is refused when its file system is read-only', async () => {
    const { status, stderr } = await vp('vm', 'list', '--library', '/proc/vanderpool');
    expect([status, stderr.includes('/proc/vanderpool')]).toEqual([1, true]);
    expect(stderr).not.toContain('    at ');
  });

  it.runIf(process.getuid?.() !== 0)('is refused when its folder is read-only', async () => {
    chmodSync(home, 0o500);
    const { status, stderr } = await vp('vm', 'list');
    chmodSync(home, 0o700);
    expect([status, stderr.includes(home)]).toEqual([1, true]);
  });

  it.runIf(process.getuid?.() === 0 && process.platform === 'linux')('is refused when its disk is full, and what was committed stays', async (context) => {
    const small = mkdtempSync(join(tmpdir(), 'vanderpool-full-'));
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=400k', 'tmpfs', small], { stdio: 'ignore' });
    } catch {
      rmSync(small, { recursive: true });
      return context.skip('mounting is not permitted here');
    }
    try {
      const on = (...args: readonly string[]) => vp(...args, '--library', small);
      expect((await on('vm', 'create', 'kept')).status).toBe(0);
      try {
        writeFileSync(join(small, 'filler'), Buffer.alloc(400_000));
      } catch {
        // Full is what it was meant to be.
      }
      const { status, stderr } = await on('vm', 'create', 'lost', '--notes', 'n'.repeat(9000));
      expect(stderr).toContain('full');
      expect(status).toBe(1);
      rmSync(join(small, 'filler'));
      expect((await on('vm', 'list')).stdout).toContain('kept');
      await on('engine', 'stop', '--force');
    } finally {
      execFileSync('umount', ['-l', small]);
      rmSync(small, { recursive: true });
    }
    return undefined;
  });
});

describe('what is printed', () => {
  it('may be cut off by its reader', async () => {
    const { stdout, stderr } = await shell(`"${process.execPath}" "${launcher}" vm create --help | head -n 1`);
    expect([stdout, stderr]).toEqual(['Usage: vanderpool vm create [options] <name>\n', '']);
  });
});

describe('completion', () => {
  it('offers bash commands, options, and the names of the library, quoted', async () => {
    await vp('vm', 'create', 'Debian 12');
    const complete = (...words: readonly string[]): Promise<{ stdout: string }> => shell([
      `vanderpool() { "${process.execPath}" "${launcher}" "$@"; }`, 'eval "$(vanderpool completion bash)"',
      `COMP_WORDS=(${['vanderpool', ...words].map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length}; _vanderpool; printf '%s,' "\${COMPREPLY[@]}"`,
    ].join('\n'));
    expect((await complete('vm', 'start', 'deb')).stdout).toBe('Debian\\ 12,');
    expect((await complete('snapshot', 'e')).stdout).toBe('edit,export,');
  });

  // The names of the library where they belong, and files where nothing else can stand.
  const lines: readonly (readonly [readonly string[], string])[] = [
    [['vm', 'start', 'Deb'], 'Debian 12'], [['vm', 'stop', '--f'], '--force'], [['snapshot', 'e'], 'edit\nexport'], [['disk', 'info', 'pack'], 'package-lock.json\npackage.json'],
  ];

  it('offers the same in zsh', async () => {
    await vp('vm', 'create', 'Debian 12');
    const found = await Promise.all(lines.map(([words]) => inShell('zsh', ['-f', '-c', [
      `vanderpool() { "${process.execPath}" "${launcher}" "$@" }`, 'compdef() { }', 'compadd() { print -rl -- $found }', '_files() { print -rl -- ${words[CURRENT]}* }',
      'eval "$(vanderpool completion zsh)"', `words=(vanderpool ${words.join(' ')}); CURRENT=${words.length + 1}; _vanderpool`,
    ].join('\n')])));
    expect(found).toEqual(lines.map(([, offered]) => offered));
  });

  it('offers the same in fish', async () => {
    await vp('vm', 'create', 'Debian 12');
    const found = await Promise.all(lines.map(([words]) => inShell('fish', ['--no-config', '-c', [
      `function vanderpool; "${process.execPath}" "${launcher}" $argv; end`, 'vanderpool completion fish | source', `complete -C 'vanderpool ${words.join(' ')}'`,
    ].join('\n')])));
    expect(found).toEqual(lines.map(([, offered]) => offered));
  });
});

describe('serve', () => {
  it('says how to come from another machine, to who came from one', async () => {
    const child = start(['serve'], { ...environment, SSH_CONNECTION: '192.0.2.1 50000 192.0.2.2 22' });
    let shown = '';
    child.stdout.on('data', (chunk: Buffer) => void (shown += chunk.toString()));
    await until(() => shown.includes('Ctrl-C') || undefined, 'the address');
    const [, port = ''] = /127\.0\.0\.1:(\d+)\//.exec(shown) ?? [];
    expect(shown).toContain(`ssh -N -L ${port}:127.0.0.1:${port} `);
    child.kill('SIGINT');
    expect(await new Promise((resolve) => child.on('close', resolve))).toBe(0);
  });

  it('prints an address with a token that answers, and ends with Ctrl-C while the engine goes on', async () => {
    const child = start(['serve', '--json'], environment);
    let shown = '';
    child.stdout.on('data', (chunk: Buffer) => void (shown += chunk.toString()));
    await until(() => shown.includes('}') || undefined, 'the address');
    const { url } = JSON.parse(shown) as { readonly url: string };
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/\?token=[\w-]{32}$/);
    expect((await fetch(url)).headers.get('content-security-policy')).toContain("default-src 'none'");
    child.kill('SIGINT');
    expect(await new Promise((resolve) => child.on('close', resolve))).toBe(0);
    await expect(fetch(url)).rejects.toThrow();
    expect(await json('engine', 'status')).toMatchObject({ server: { running: false } });
  });
});
