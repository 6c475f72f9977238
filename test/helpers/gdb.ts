/** Debian's GDB, driven by a script of commands. */
import { spawn } from 'node:child_process';

const GDB = 'gdb';

/** Runs GDB's commands to the end and returns what it said; once it has said `interruptAt`, Ctrl-C is pressed. */
export function runGdb(commands: readonly string[], interruptAt?: string): Promise<string> {
  const setup = ['set pagination off', 'set confirm off', 'set tcp connect-timeout 30'];
  const child = spawn(GDB, ['-nx', '-batch', ...[...setup, ...commands].flatMap((command) => ['-ex', command])]);
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => {
    said += chunk.toString();
    if (interruptAt === undefined || !said.includes(interruptAt)) return;
    interruptAt = undefined;
    setTimeout(() => child.kill('SIGINT'), 500);
  });
  return new Promise((resolve) => child.on('close', () => resolve(said)));
}

