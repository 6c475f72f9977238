/** `exits` and `inspect`: what people and scripts see of a machine, with the built-in monitor as guest. */
import type { ChildProcessWithoutNullStreams as ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RECORDING_LIMITS } from '../../core/contract/index.ts';
import type { ExitRecording } from '../../core/contract/index.ts';
import { connectEngine } from '../../core/engine/connect.ts';
import { start, vanderpool } from '../helpers/command-line.ts';
import type { Outcome } from '../helpers/command-line.ts';

const TEST_MS = 180_000;
let library = '';
let console: ChildProcess | undefined;
let typist: NodeJS.Timeout | undefined;
const command = (...args: string[]): Promise<Outcome> => vanderpool([...args, '--library', library]);
const file = (name: string): string => join(library, name);

beforeAll(async () => {
  library = mkdtempSync(join(tmpdir(), 'vanderpool-watch-'));
  await command('vm', 'create', 'watched', '--memory', '64M');
  await command('vm', 'create', 'stopped', '--memory', '64M');
  await command('vm', 'start', 'watched');
  // A guest that is spoken to has something to do.
  console = start(['console', 'watched', '--library', library]);
  typist = setInterval(() => console?.stdin.write('help\r'), 50);
}, TEST_MS);

afterAll(async () => {
  clearInterval(typist);
  console?.kill();
  await command('engine', 'stop', '--force');
  rmSync(library, { recursive: true, force: true });
});

describe('vanderpool exits', () => {
  it('shows a table of reasons, and the same for programs', async () => {
    const { status, stdout } = await command('exits', 'watched', '--seconds', '2');
    expect(status).toBe(0);
    expect(stdout).toMatch(/^VCPU +LEVEL +REASON +COUNT +PER SECOND +TIME +MIN +MEAN +MAX\n/);
    expect(stdout).toMatch(/^0 +L1 +\w[\w-]* +\d+ +\d+ +\d+\.\d\d % /m);
    const rows = JSON.parse((await command('exits', 'watched', '--seconds', '2', '--json')).stdout) as { readonly share: number; readonly count: number; readonly histogram: number[] }[];
    expect(rows.length).toBeGreaterThan(0);
    for (const { share, count } of rows) expect([share >= 0 && share <= 1.5, count > 0]).toEqual([true, true]);
  }, TEST_MS);

  it('narrows to a level or a reason', async () => {
    expect((await command('exits', 'watched', '--seconds', '1', '--level', '2')).stdout).toBe('No VM exits.\n');
    const { status, stderr } = await command('exits', 'watched', '--level', '3');
    expect([status, stderr]).toEqual([125, expect.stringContaining('"3" is no level')]);
  }, TEST_MS);

  it('opens the newest exit of a kind, to the VMCS by the names of its fields', async () => {
    const { status, stdout } = await command('exits', 'watched', '--reason', 'io-instruction', '--open');
    expect(status).toBe(0);
    expect(stdout).toMatch(/^Exit \d+: io-instruction, (IN|OUT) port 0x[0-9a-f]+, 1 byte\nvCPU 0, L1, RIP 0x[0-9a-f]+, /);
    expect(stdout).toMatch(/^Root mode's VMCS: Controls\n(.*\n)*EPT pointer +0x[0-9a-f]+$/m);
    const exits = JSON.parse((await command('exits', 'watched', '--open', '3', '--json')).stdout) as { readonly sequence: number }[];
    expect(exits.map(({ sequence }) => sequence)).toEqual(exits.map(({ sequence }) => sequence).sort((a, b) => b - a));
    expect(exits).toHaveLength(3);
    expect((await command('exits', 'watched', '--open', '61')).stderr).toContain('--open: 61 is outside 1 to 60');
  }, TEST_MS);

  it('records every exit in a database', async () => {
    const path = file('exits.db');
    const { status, stderr } = await command('exits', 'watched', '--seconds', '2', '--record', path);
    expect([status, stderr]).toEqual([0, expect.stringMatching(/^Recorded \d+ exits in /)]);
    const database = new Database(path, { readonly: true });
    const rows = database.prepare('SELECT sequence, name, rip, registers, vmcs FROM exits ORDER BY sequence').all() as { readonly sequence: number; readonly rip: string; readonly registers: string; readonly vmcs: string }[];
    database.close();
    expect(rows.length).toBe(Number(/\d+/.exec(stderr)?.[0]));
    expect(rows.length).toBeGreaterThan(0);
    const { rip, registers, vmcs } = rows[0]!;
    expect((JSON.parse(registers) as Record<string, string>)['RIP']).toBe(rip);
    expect(JSON.parse(vmcs)).toHaveProperty('Exit reason');
  }, TEST_MS);

  it('records lines of JSON, and ends at its limit', async () => {
    const path = file('exits.jsonl');
    await command('exits', 'watched', '--seconds', '1', '--record', path);
    const lines = readFileSync(path, 'utf8').trimEnd().split('\n').map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines[0]).toMatchObject({ vcpu: 0, level: 1, registers: { CPL: '0' } });
    // What is there is not written over.
    const { status, stderr } = await command('exits', 'watched', '--seconds', '1', '--record', path);
    expect([status, stderr]).toEqual([125, expect.stringContaining('cannot be written')]);
    const short = file('short.jsonl');
    const limited = await command('exits', 'watched', '--record', short, '--limit', '4K');
    expect(limited.stderr).toMatch(/it ended at its limit/);
    expect(statSync(short).size).toBeLessThanOrEqual(4096);
    const database = file('short.db');
    expect((await command('exits', 'watched', '--record', database, '--limit', '128K')).stderr).toMatch(/^Recorded [1-9]\d* exits .* it ended at its limit/);
    expect(statSync(database).size).toBeLessThanOrEqual(128 << 10);
  }, TEST_MS);

  it('says that a stopped VM has none', async () => {
    const { status, stderr } = await command('exits', 'stopped');
    expect([status, stderr]).toEqual([1, expect.stringContaining('The VM "stopped" is stopped: it has no exits.')]);
  }, TEST_MS);
});

describe('vanderpool inspect', () => {
  it('shows registers and the code around RIP', async () => {
    const { status, stdout } = await command('inspect', 'watched');
    expect(status).toBe(0);
    expect(stdout).toMatch(/^RIP +0x[0-9a-f]{16} +64-bit code$/m);
    expect(stdout).toMatch(/^CR0 .*\bPG$/m);
    expect(stdout).toMatch(/^> +0x[0-9a-f]{16} /m);
  }, TEST_MS);

  it('answers programs with objects, running or paused', async () => {
    await command('vm', 'pause', 'watched');
    const asked = async (): Promise<unknown> => JSON.parse((await command('inspect', 'watched', '--registers', '--walk', '100000', '--root', 'fee00000', '--map', '--json')).stdout) as unknown;
    const first = await asked();
    expect(first).toEqual(expect.arrayContaining([expect.objectContaining({ title: 'Walk of 0x100000: 4-level paging', rows: expect.arrayContaining([expect.objectContaining({ Level: 'result', At: '0x100000' })]) })]));
    expect(first).toContainEqual(expect.objectContaining({ title: 'Root mode: EPT walk of 0xfee00000', note: 'Not mapped: the access exits.' }));
    expect(await asked()).toEqual(first);
    await command('vm', 'resume', 'watched');
  }, TEST_MS);

  it('refuses what is no address, and says why nothing is there', async () => {
    expect((await command('inspect', 'watched', '--memory', 'rip')).stderr).toContain('"rip" is no address');
    const { status, stderr } = await command('inspect', 'watched', '--physical', 'fee00000');
    expect([status, stderr]).toEqual([125, expect.stringContaining('no memory at the physical address 0xfee00000')]);
  }, TEST_MS);
});

describe('a recording that the engine writes', () => {
  it('goes on without whoever asked for it, and ends with the VM', async () => {
    const client = await connectEngine(library);
    const path = file('engine.db');
    try {
      await expect(client.call('exits.record', { vm: 'stopped', path, limitBytes: RECORDING_LIMITS.least })).rejects.toThrow('it has no exits');
      const begun = await client.call('exits.record', { vm: 'watched', path, limitBytes: RECORDING_LIMITS.least });
      expect(begun).toMatchObject({ path, running: true, recorded: 0, problem: null });
      await expect(client.call('exits.record', { vm: 'watched', path: file('other.db'), limitBytes: RECORDING_LIMITS.least })).rejects.toThrow('are being recorded already');
    } finally {
      client.close();
    }
    const again = await connectEngine(library);
    try {
      const recording = async (): Promise<ExitRecording | null> => (await again.call('exits.recording', { vm: 'watched' })).recording;
      await expect.poll(async () => (await recording())?.recorded).toBeGreaterThan(0);
      await again.call('vm.stop', { vm: 'watched', force: true });
      await expect.poll(async () => (await recording())?.running).toBe(false);
      const { recorded, bytes } = (await recording())!;
      const database = new Database(path, { readonly: true });
      expect(database.prepare('SELECT count(*) FROM exits').pluck().get()).toBe(recorded);
      database.close();
      expect([bytes, bytes <= RECORDING_LIMITS.least]).toEqual([statSync(path).size, true]);
    } finally {
      again.close();
    }
  }, TEST_MS);
});
