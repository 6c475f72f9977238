import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { launcher, machineDouble, start, vanderpool } from '../helpers/command-line.ts';

let folder = '';
const environment = { VANDERPOOL_MACHINE: machineDouble };
const run = (args: readonly string[], input = '') => vanderpool(['run', ...args], { environment, input });

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'vanderpool-run-'));
  writeFileSync(join(folder, 'kernel'), 'a kernel, says the double');
  writeFileSync(join(folder, 'empty'), '');
  writeFileSync(join(folder, 'garbage'), Buffer.alloc(1000, 0xff));
  writeFileSync(join(folder, 'large'), Buffer.alloc(17 * 1024 * 1024));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('the exit status of run', () => {
  it.each([
    ['0 when the guest powers off', 'poweroff\n', 0],
    ['(value << 1) | 1 for the debug-exit port', 'exit 21\n', 43],
    ['126 for a triple fault', 'triple\n', 126],
    ['0 for Ctrl-A x', '\x01x', 0],
  ])('is %s', async (_what, input, status) => {
    expect((await run([], input)).status).toBe(status);
  });

  it('comes with the last state of a guest that ended in a triple fault', async () => {
    const { stderr } = await run([], 'triple\n');
    expect(stderr).toContain('triple fault');
    expect(stderr).toContain('RIP=0000000000007c00');
  });

  it('is 124 at the timeout, and the end of input does not end the guest', async () => {
    const started = performance.now();
    const { status, stderr } = await run(['--timeout', '0.7']);
    expect(status).toBe(124);
    expect(stderr).toContain('0.7 s');
    expect(performance.now() - started).toBeGreaterThan(700);
  });
});

describe('what run refuses with status 125, naming it, with no stack', () => {
  it.each([
    ['a missing kernel', ['--kernel', '/nonexistent/kernel'], '/nonexistent/kernel'],
    ['an empty kernel', ['--kernel', 'empty'], 'empty'],
    ['a folder', ['--kernel', '.'], 'folder'],
    ['what is no kernel', ['--kernel', 'garbage'], 'neither'],
    ['an initrd larger than the guest', ['--kernel', 'kernel', '--initrd', 'large', '--memory', '16M'], 'large'],
    ['an initrd without a kernel', ['--initrd', 'large'], '--kernel'],
    ['an unknown option', ['--kernel', 'kernel', '--no-such-option'], '--no-such-option'],
    ['an argument too many', ['kernel'], 'run'],
    ['no memory', ['--memory', '0'], '0'],
    ['too little memory', ['--memory', '8M'], '16M'],
    ['too much memory', ['--memory', '900G'], '900G'],
    ['a memory of words', ['--memory', 'banana'], 'banana'],
    ['too many processors', ['--cpus', '99'], 'cpus'],
    ['an unknown policy', ['--jit', 'maybe'], 'maybe'],
    ['a timeout of words', ['--timeout', 'soon'], 'soon'],
  ])('%s', async (_what, args, named) => {
    const paths = args.map((arg) => (['empty', 'garbage', 'kernel', 'large', '.'].includes(arg) ? join(folder, arg) : arg));
    const { status, stdout, stderr } = await run(paths);
    expect(stderr).toContain(named);
    expect(stderr).not.toContain('    at ');
    expect(stdout).toBe('');
    expect(status).toBe(125);
  });

  it('as JSON with --json', async () => {
    const { status, stderr } = await run(['--memory', 'banana', '--json']);
    expect(JSON.parse(stderr)).toMatchObject({ error: { code: 'bad-field', field: 'memoryBytes' } });
    expect(status).toBe(125);
  });
});

describe('what the machine itself refuses before it runs', () => {
  /** A Linux setup header whose other sectors are not there. @boot "The real-mode kernel header" */
  const truncated = Buffer.alloc(0x400);
  truncated[0x1f1] = 30;
  truncated.writeUInt16LE(0xaa55, 0x1fe);
  truncated.write('HdrS', 0x202, 'latin1');
  truncated.writeUInt16LE(0x20f, 0x206);
  const gzip = Buffer.concat([Buffer.from([0x1f, 0x8b, 8, 0]), Buffer.alloc(100, 7)]);

  it.each([
    ['random bytes', Buffer.from(Array.from({ length: 100_000 }, (_, i) => (i * 7919 + (i >> 3)) & 255))],
    ['a truncated bzImage', truncated],
    ['a damaged archive', gzip],
    ['one byte', Buffer.of(0)],
  ])('%s', async (what, image) => {
    const kernel = join(folder, what.replaceAll(' ', '-'));
    writeFileSync(kernel, image);
    const { status, stdout, stderr } = await vanderpool(['run', '--kernel', kernel, '--timeout', '20']);
    expect(stderr).toMatch(/^vanderpool: .+\.\n {2}\w.+\n$/);
    expect(stderr).toContain(kernel);
    expect(stderr).not.toContain('    at ');
    expect([status, stdout]).toEqual([125, '']);
  });
});

describe('the console of run', () => {
  it('carries input longer than a UART takes at once', async () => {
    const words = Array.from({ length: 3000 }, (_, i) => `say ${i}`).join('\n');
    const { stdout, status } = await run(['--timeout', '30'], `${words}\npoweroff\n`);
    expect(status).toBe(0);
    expect(stdout.match(/^\d+\r$/gm)).toHaveLength(3000);
  });

  it('loses no output to a slow reader, whose guest waits', async () => {
    const child = start(['run', '--timeout', '30'], environment);
    child.stdin.write('flood 3000000\npoweroff\n');
    let dots = 0;
    for await (const chunk of child.stdout) {
      dots += (chunk as Buffer).filter((byte) => byte === 46).length;
      if (dots < 1_000_000) await new Promise((resolve) => setTimeout(resolve, 5));
    }
    expect(dots).toBe(3_000_000);
  });

  it('ends quietly when its reader goes away', async () => {
    const child = start(['run', '--timeout', '30'], environment);
    let stderr = '';
    child.stderr.on('data', (chunk: Buffer) => void (stderr += chunk.toString()));
    child.stdin.write('flood 3000000\n');
    child.stdout.once('data', () => child.stdout.destroy());
    const status = await new Promise((resolve) => child.on('close', resolve));
    expect(status).toBe(1);
    expect(stderr).toBe('');
  });
});

describe.runIf(process.platform === 'linux')('run on a terminal', () => {
  /** `script` gives the command a terminal and passes on what is typed. */
  const onTerminal = (steps: { readonly shown: string; readonly typed: string }[]): Promise<string> => {
    const command = `stty -a | grep -o -- '-\\?icanon'; '${process.execPath}' '${launcher}' run --timeout 20; echo "status=$?"; stty -a | grep -o -- '-\\?icanon'`;
    const child = spawn('script', ['-qec', command, '/dev/null'], { env: { ...process.env, ...environment } });
    let stdout = '';
    child.stdout.on('data', (chunk: Buffer) => {
      stdout += chunk.toString('latin1');
      const next = steps[0];
      if (!next || !stdout.includes(next.shown)) return;
      steps.shift();
      child.stdin.write(next.typed);
    });
    return new Promise((resolve) => child.on('close', () => resolve(stdout)));
  };

  it('passes Ctrl-C to the guest, quits by Ctrl-A x, and leaves the terminal as it was', async () => {
    const stdout = await onTerminal([{ shown: 'READY', typed: '\x03' }, { shown: '\x03', typed: '\x01x' }]);
    expect(stdout).toContain('status=0');
    expect(stdout.match(/-?icanon/g)).toEqual(['icanon', 'icanon']);
  });
});

describe('--stats', () => {
  it('writes times, instructions, exits and peak memory', async () => {
    const file = join(folder, 'stats.json');
    await run(['--stats', file], 'poweroff\n');
    const statistics = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
    expect(statistics).toMatchObject({ ending: { reason: 'power-off', status: 0 }, exits: { HLT: expect.any(Number) }, guestMemoryBytes: 512 * 1024 * 1024 });
    for (const key of ['wallSeconds', 'cpuSeconds', 'instructions', 'peakMemoryBytes']) expect(statistics[key], key).toBeGreaterThan(0);
  });

  it('are refused before the guest starts when they cannot be written', async () => {
    const { status, stdout, stderr } = await run(['--stats', join(folder, 'no-such-folder', 'x.json')]);
    expect([status, stdout]).toEqual([125, '']);
    expect(stderr).toContain('no-such-folder');
  });
});

describe('a halted guest', () => {
  it('uses less than 3 % of a core', async () => {
    const child = start(['run', '--timeout', '30'], environment);
    await new Promise((resolve) => child.stdout.once('data', resolve));
    await new Promise((resolve) => setTimeout(resolve, 300));
    const ticks = (): number => {
      const fields = readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
      return Number(fields[11]) + Number(fields[12]);
    };
    const before = ticks();
    await new Promise((resolve) => setTimeout(resolve, 2000));
    const used = (ticks() - before) / 100 / 2;
    child.stdin.write('poweroff\n');
    await new Promise((resolve) => child.on('close', resolve));
    expect(used).toBeLessThan(0.03);
  });
});

describe('--version', () => {
  it('answers with the version alone', async () => {
    const { stdout, status } = await vanderpool(['--version']);
    expect(stdout).toMatch(/^vanderpool \d+\.\d+\.\d+\n$/);
    expect(status).toBe(0);
  });
});
