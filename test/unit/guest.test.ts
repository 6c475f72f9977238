import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { vmDefaults } from '../../core/contract/index.ts';
import type { Vm, VmExit } from '../../core/contract/index.ts';
import { Console } from '../../core/engine/console.ts';
import { Guest } from '../../core/engine/guest.ts';
import { Scrollback } from '../../core/engine/scrollback.ts';

/** A VM process that the test plays: it says what it likes. */
interface Played {
  readonly guest: Guest;
  readonly consoles: readonly Console[];
  readonly sent: { readonly type: string }[];
  readonly exits: VmExit[];
  readonly killed: () => boolean;
  say(message: unknown): void;
  exit(how: string): void;
}

let folder = '';
let consoles: Console[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'vanderpool-guest-'));
  consoles = Array.from({ length: 4 }, (_, port) => new Console(new Scrollback(join(folder, `${port}.log`))));
});
afterEach(() => {
  for (const console of consoles) console.close();
  rmSync(folder, { recursive: true });
});

const vm: Vm = {
  id: '00000000-0000-4000-8000-000000000000', config: { name: 'x', ...vmDefaults }, state: 'stopped', exit: null, position: 0, createdAt: 0, startedAt: null, processId: null, problem: null,
};

function play(): Played {
  const sent: { readonly type: string }[] = [];
  const exits: VmExit[] = [];
  let killed = false;
  let say: (message: unknown) => void = () => undefined;
  let exit: (how: string) => void = () => undefined;
  const guest = new Guest({
    vm, devices: [], disks: [], folder, machineModule: '', consoles, keepCode: true,
    launch: () => ({
      processId: 1,
      send: (message) => void sent.push(message as { type: string }),
      onMessage: (listener) => void (say = listener),
      onExit: (listener) => void (exit = listener),
      kill: () => {
        killed = true;
        exit('signal SIGKILL');
      },
    }),
    events: { state: () => undefined, metrics: () => undefined, exits: () => undefined, problem: () => undefined, released: () => undefined, ended: (how) => void exits.push(how) },
  });
  return { guest, consoles, sent, exits, killed: () => killed, say: (message) => say(message), exit: (how) => exit(how) };
}

describe('a VM process', () => {
  it.each([
    ['nothing of the protocol', 'hello'],
    ['an unknown type', { type: 'shell', command: 'rm' }],
    ['a port that there is not', { type: 'output', port: 9, data: new Uint8Array(1) }],
    ['text for bytes', { type: 'output', port: 0, data: 'x' }],
    ['a field too many', { type: 'started', id: 'other' }],
  ])('that says %s is ended', (_what, message) => {
    const { say, killed, exits } = play();
    say(message);
    expect(killed()).toBe(true);
    expect(exits).toMatchObject([{ reason: 'killed', detail: expect.stringContaining('protocol') }]);
  });

  it('is granted as much output as was shown, and is ended when it sends more than that', () => {
    const { say, sent, killed, exits } = play();
    say({ type: 'started' });
    for (let i = 0; i < 100; i += 1) say({ type: 'output', port: 0, data: new Uint8Array(32_768) });
    expect(killed()).toBe(false);
    expect(sent.filter(({ type }) => type === 'credit')).toHaveLength(100);
    consoles[1]?.attach(() => undefined); // A viewer that never acknowledges: no more credit comes.
    for (let i = 0; i < 20 && !killed(); i += 1) say({ type: 'output', port: 1, data: new Uint8Array(32_768) });
    expect(exits).toMatchObject([{ reason: 'killed', detail: expect.stringContaining('granted') }]);
  });

  it('that ends before it ran fails the start with its own words', async () => {
    const { guest, say, exit } = play();
    say({ type: 'failed', error: { code: 'bad-image', message: 'The kernel is a poem.', hint: 'Choose a kernel.' } });
    exit('status 0');
    await expect(guest.started()).rejects.toMatchObject({ code: 'bad-image', message: 'The kernel is a poem.' });
  });

  it('takes no more input than it has room for', () => {
    const { say } = play();
    say({ type: 'started' });
    const console = consoles[0];
    expect(console?.write(new Uint8Array(100_000))).toBe(65_536);
    expect(console?.write(new Uint8Array(1))).toBe(0);
    say({ type: 'taken', port: 0, bytes: 10 });
    expect(console?.write(new Uint8Array(100))).toBe(10);
  });
});
