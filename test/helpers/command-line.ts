/** Runs the built command line as a person's shell would. */
import { spawn } from 'node:child_process';
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url));
/** The script that `npm run vanderpool` runs. */
export const launcher = fileURLToPath(new URL('../../build/launch.mjs', import.meta.url));
/** URL of the machine without a processor. */
export const machineDouble = new URL('../doubles/machine.ts', import.meta.url).href;

export interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandOptions {
  /** Typed on standard input, which then ends unless `keepOpen`. */
  readonly input?: string;
  readonly keepOpen?: boolean;
  readonly environment?: Readonly<Record<string, string>>;
}

export function start(args: readonly string[], environment: Readonly<Record<string, string>> = {}): ChildProcessWithoutNullStreams {
  return spawn(process.execPath, [launcher, ...args], { env: { ...process.env, ...environment } });
}

/** Runs to the end and returns what was said. */
export function vanderpool(args: readonly string[], options: CommandOptions = {}): Promise<Outcome> {
  const child = start(args, options.environment);
  if (options.input !== undefined) child.stdin.write(options.input);
  if (options.keepOpen !== true) child.stdin.end();
  return outcomeOf(child);
}

/** What a command that was started says, once it has ended. */
export function outcomeOf(child: ChildProcessWithoutNullStreams): Promise<Outcome> {
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => void (stdout += chunk.toString('latin1')));
  child.stderr.on('data', (chunk: Buffer) => void (stderr += chunk.toString()));
  return new Promise((resolve) => child.on('close', (status) => resolve({ status, stdout, stderr })));
}
