import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SpareProcess } from '../../../core/engine/spareProcess.ts';
import type { VmProcess } from '../../../core/engine/vm-process.ts';
import { until } from '../../helpers/engine.ts';

const GIB = 1024 ** 3;

interface Launched extends VmProcess {
  readonly logFile: string;
  readonly sent: unknown[];
  killed: boolean;
  exit(how: string): void;
}

let folder: string;
let launched: Launched[];
let spare: SpareProcess;
let available: number;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'vanderpool-spare-'));
  launched = [];
  available = 8 * GIB;
  spare = new SpareProcess({ launch, machineModule: 'file:///machine.js', folder, availableBytes: () => available, delayMs: 5 });
});
afterEach(() => {
  spare.close();
  rmSync(folder, { recursive: true, force: true });
});

function launch(logFile: string): Launched {
  const exits: ((how: string) => void)[] = [];
  writeFileSync(logFile, '', { flag: 'a' });
  const made: Launched = {
    processId: 1000 + launched.length, logFile, sent: [], killed: false,
    send: (message) => void made.sent.push(message),
    onMessage: () => undefined,
    onExit: (listener) => void exits.push(listener),
    kill: () => void (made.killed = true),
    exit: (how) => exits.forEach((listener) => listener(how)),
  };
  launched.push(made);
  return made;
}

const log = (): string => join(folder, 'process.log');

describe('a spare process', () => {
  it('is told to load the machine, is given to the first VM that wants one, and then another waits', async () => {
    spare.keep(true);
    expect(launched[0]?.sent).toEqual([{ type: 'prepare', machineModule: 'file:///machine.js' }]);
    expect(spare.take(log())).toBe(launched[0]);
    expect(spare.processId).toBeNull();
    await until(() => launched.length === 2, 'the next one');
    expect(spare.take(log())).toBe(launched[1]);
  });

  it('is one: whoever comes before the next waits gets a process of its own', () => {
    spare.keep(true);
    spare.keep(true);
    expect(launched).toHaveLength(1);
    spare.take(log());
    expect(spare.take(join(folder, 'other.log'))).toMatchObject({ logFile: join(folder, 'other.log') });
  });

  it('is not made where memory is short, and goes when it becomes short', () => {
    available = GIB - 1;
    spare.keep(true);
    expect(launched).toHaveLength(0);
    available = GIB;
    spare.keep(true);
    expect(launched).toHaveLength(1);
    available = GIB - 1;
    spare.keep(true);
    expect(launched[0]?.killed).toBe(true);
    expect(spare.processId).toBeNull();
  });

  it('goes when nobody wants one, and when the engine closes, after which none comes', async () => {
    spare.keep(true);
    spare.keep(false);
    spare.keep(true);
    spare.prepareSoon();
    spare.close();
    expect(launched.map(({ killed }) => killed)).toEqual([true, true]);
    expect(existsSync(join(folder, 'spare.log'))).toBe(false);
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(launched).toHaveLength(2);
  });

  it('that has died is given to nobody', () => {
    spare.keep(true);
    launched[0]?.exit('signal SIGKILL');
    expect(spare.take(log())).toBe(launched[1]);
    expect(launched[1]?.logFile).toBe(log());
  });

  it('writes to the VM\'s log from then on, behind what that held', () => {
    writeFileSync(log(), 'earlier\n');
    spare.keep(true);
    spare.take(log());
    expect(readFileSync(log(), 'utf8')).toBe('earlier\n');
    expect(existsSync(join(folder, 'spare.log'))).toBe(false);
  });

  it('makes way for a new one, which says why, where the log cannot be written', () => {
    mkdirSync(log());
    spare.keep(true);
    expect(() => spare.take(log())).toThrow(/EISDIR/);
    expect(launched[0]?.killed).toBe(true);
  });
});
