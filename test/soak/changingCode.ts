/** A guest whose code changes all the time: what the process needs must not grow. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { writeCpio } from '../../build/guests/cpio.ts';
import { GuestShell, guestOptions, provideGuest } from '../helpers/guests.ts';

export interface ChangingCode {
  /** Functions and programs that were made, run, checked and deleted. */
  readonly rounds: number;
  /** Resident megabytes of the process, by time. */
  readonly samples: readonly number[];
  /** Largest of the first quarter, whose first samples are a process that warms up, and of the last. */
  readonly early: number;
  readonly late: number;
}

const SAMPLES = 120;
const SLACK_SECONDS = 600;

/** Runs it for so many seconds. @throws Error when a function had a wrong result */
export async function changingCode(seconds: number, tell: (line: string) => void): Promise<ChangingCode> {
  const folder = mkdtempSync(join(tmpdir(), 'vanderpool-churn-'));
  try {
    const program = join(folder, 'churn');
    const compiled = spawnSync('gcc', ['-O1', '-static', '-o', program, join(import.meta.dirname, '../guests/churn.c')], { encoding: 'utf8' });
    if (compiled.status !== 0) throw new Error(`test/guests/churn.c does not compile: ${compiled.stderr}`);
    const guest = await provideGuest('amd64');
    const initramfs = join(folder, 'initramfs.cpio');
    // The kernel unpacks archives one after the other.
    const more = writeCpio([{ kind: 'directory', path: 'tmp' }, { kind: 'file', path: 'bin/churn', data: readFileSync(program), executable: true }]);
    writeFileSync(initramfs, Buffer.concat([readFileSync(guest.initramfs), more]));
    const shell = new GuestShell(guestOptions({ ...guest, initramfs }, 'shell', seconds * 2 + SLACK_SECONDS), { VANDERPOOL_RUNTIME: folder });
    await shell.waitFor('GUEST-READY');
    let over = false;
    const answer = shell.ask(`churn ${seconds}`).finally(() => void (over = true));
    const samples: number[] = [];
    while (!over) {
      await Promise.race([sleep((seconds * 1000) / SAMPLES), answer]);
      samples.push(residentMegabytes(shell.child.pid!));
      tell(`${samples.length} of ${SAMPLES}: ${samples.at(-1)} MB, round ${/churn (\d+)\r\n(?![^]*churn \d+\r\n)/.exec(shell.output)?.[1] ?? '?'}`);
    }
    const ended = /churn ended after (\d+)/.exec(await answer);
    if (!ended) throw new Error(`a function had a wrong result: ${shell.output.slice(-200)}`);
    await shell.ask('poweroff -f').catch(() => undefined);
    const quarter = Math.ceil(samples.length / 4);
    return { rounds: Number(ended[1]), samples, early: Math.max(...samples.slice(0, quarter)), late: Math.max(...samples.slice(-quarter)) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function residentMegabytes(process: number): number {
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${process}/status`, 'latin1'))?.[1] ?? 0) / 1024);
}
