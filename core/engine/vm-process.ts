/** How the engine starts and holds a VM process, apart from which kind of process it is. */
import { fork } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { ContractError } from '../contract/errors.ts';
import { unwritableBecause } from '../host/reasons.ts';
import { entryUrl } from '../machine/entries.ts';
import { ALLOCATOR_ENVIRONMENT, EXEC_ARGUMENTS } from '../machine/processSettings.ts';

export interface VmProcess {
  readonly processId: number | null;
  send(message: unknown): void;
  onMessage(listener: (message: unknown) => void): void;
  /** Called once, also when the process could not be started. */
  onExit(listener: (how: string) => void): void;
  /** Ends the process at once. */
  kill(): void;
}

/** Starts a VM process; what it writes to its standard error goes to the log file. Electron brings one of utility processes. */
export type VmProcessLauncher = (logFile: string) => VmProcess;

/** The launcher of plain Node: a forked child. */
export const forkVmProcess: VmProcessLauncher = (logFile) => {
  const log = openLog(logFile);
  const env = { ...ALLOCATOR_ENVIRONMENT, ...process.env };
  const child = fork(fileURLToPath(entryUrl('vm')), [], { serialization: 'advanced', execArgv: [...EXEC_ARGUMENTS], env, stdio: ['ignore', log, log, 'ipc'] });
  closeSync(log);
  return {
    processId: child.pid ?? null,
    send: (message) => {
      if (child.connected) child.send(message as object, undefined, undefined, () => undefined);
    },
    onMessage: (listener) => void child.on('message', listener),
    onExit: (listener) => {
      let told = false;
      const tell = (how: string): void => {
        if (!told) listener(how);
        told = true;
      };
      child.on('error', (error) => tell(error.message));
      child.on('exit', (code, signal) => tell(signal ? `signal ${signal}` : `status ${code}`));
    },
    kill: () => void child.kill('SIGKILL'),
  };
};

function openLog(path: string): number {
  try {
    return openSync(path, 'a', 0o600);
  } catch (error) {
    throw new ContractError('file-unreadable', `The machine's log "${path}" cannot be written: ${unwritableBecause(error)}.`, 'Check the space and the permissions of the disk that holds the library.');
  }
}
