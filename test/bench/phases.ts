/** Runs one guest to its end and times the phases that its init marks with BEGIN and END. */
import { spawn } from 'node:child_process';
import { usageOf } from './processes.ts';

export interface Measure {
  readonly cpu: number;
  readonly wall: number;
}

export interface GuestRun {
  /** By phase; `boot` is from the start of the process to GUEST-READY. */
  readonly phases: Readonly<Record<string, Measure>>;
  readonly peakBytes: number;
}

/** Peak memory is looked at this often; CPU time is read when a mark arrives. */
const SAMPLE_MS = 250;

/** @throws Error with the last lines of output when the guest does not get through its phases */
export async function measure(command: readonly string[], environment: Readonly<Record<string, string>> = {}): Promise<GuestRun> {
  const [program = '', ...args] = command;
  const started = performance.now();
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...environment } });
  const id = child.pid;
  if (id === undefined) throw new Error(`${program} could not be started`);
  const phases: Record<string, Measure> = {};
  const begun = new Map<string, Measure>();
  let peakBytes = 0;
  let done = false;
  let tail = '';
  const now = (): Measure => {
    const { cpuSeconds, peakBytes: peak } = usageOf(id);
    peakBytes = Math.max(peakBytes, peak);
    return { cpu: cpuSeconds, wall: (performance.now() - started) / 1000 };
  };
  const line = (text: string): void => {
    const [, mark, name = ''] = /(GUEST-READY|GUEST-DONE|BEGIN|END) ?(\w*)$/.exec(text.trim()) ?? [];
    if (mark === 'GUEST-READY') phases['boot'] = now();
    else if (mark === 'GUEST-DONE') done = true;
    else if (mark === 'BEGIN') begun.set(name, now());
    else if (mark === 'END') {
      const at = now();
      const from = begun.get(name);
      if (from) phases[name] = { cpu: at.cpu - from.cpu, wall: at.wall - from.wall };
    }
  };
  const timer = setInterval(now, SAMPLE_MS);
  let rest = '';
  child.stdout.on('data', (chunk: Buffer) => {
    const lines = (rest + chunk.toString('latin1')).split('\n');
    rest = lines.pop() ?? '';
    lines.forEach(line);
    tail = (tail + chunk.toString('latin1')).slice(-1500);
  });
  child.stderr.on('data', (chunk: Buffer) => void (tail = (tail + chunk.toString()).slice(-1500)));
  await new Promise((resolve) => child.on('close', resolve));
  clearInterval(timer);
  if (!done) throw new Error(`the guest did not get through its phases:\n${tail}`);
  return { phases, peakBytes };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? (sorted[middle] ?? NaN) : ((sorted[middle - 1] ?? NaN) + (sorted[middle] ?? NaN)) / 2;
}
