/** A VM process that has loaded its programs and waits for a machine: whoever starts, resumes or restores one next need not wait for that. */
import { appendFileSync, existsSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { VmProcess, VmProcessLauncher } from './vm-process.ts';
import type { ToVmProcess } from '../machine/messages.ts';

/** It costs 60 MB of memory: where the host has less than this for everybody, machines need it more. */
const AVAILABLE_MINIMUM = 1024 ** 3;
/** The machine that has just begun has the processors first. */
const DELAY_MS = 1000;
/** In the library folder: what the process says before it has a VM's log. */
const LOG_FILE = 'spare.log';
/** So much of a log goes on in the next one. */
const LOG_KEPT = 1024 ** 2;

export interface SpareOptions {
  readonly launch: VmProcessLauncher;
  readonly machineModule: string;
  /** The library's. */
  readonly folder: string;
  readonly availableBytes?: () => number;
  readonly delayMs?: number;
}

export class SpareProcess {
  readonly #options: SpareOptions;
  readonly #log: string;
  #process: VmProcess | null = null;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: SpareOptions) {
    this.#options = options;
    this.#log = join(options.folder, LOG_FILE);
  }

  /** Of the process that waits; null: there is none. */
  get processId(): number | null {
    return this.#process?.processId ?? null;
  }

  /** A process for a VM: the one that waits, or a new one; soon another will wait. @throws ContractError when the log cannot be written */
  readonly take: VmProcessLauncher = (logFile) => {
    const ready = this.#process;
    this.#process = null;
    this.prepareSoon();
    if (!ready) return this.#options.launch(logFile);
    try {
      this.#handLog(logFile);
      return ready;
    } catch {
      ready.kill();
      return this.#options.launch(logFile);
    }
  };

  prepareSoon(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.keep(true), this.#options.delayMs ?? DELAY_MS);
    this.#timer.unref();
  }

  /** Has a process wait while it is wanted and the host has memory for it, and none otherwise. */
  keep(wanted: boolean): void {
    const { availableBytes = () => process.availableMemory() } = this.#options;
    if (!wanted || this.#closed || availableBytes() < AVAILABLE_MINIMUM) this.#drop();
    else if (!this.#process) this.#launch();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#drop();
  }

  #launch(): void {
    const { launch, machineModule } = this.#options;
    try {
      rmSync(this.#log, { force: true });
      const made = launch(this.#log);
      this.#process = made;
      made.onExit(() => {
        if (this.#process === made) this.#process = null;
      });
      made.send({ type: 'prepare', machineModule } satisfies ToVmProcess);
    } catch {
      // Machines start without it, and say themselves what is wrong.
    }
  }

  #drop(): void {
    this.#process?.kill();
    this.#process = null;
    rmSync(this.#log, { force: true });
  }

  /** The process goes on writing to the file that it has: that becomes the VM's log, behind what the log held. */
  #handLog(logFile: string): void {
    if (existsSync(logFile)) appendFileSync(this.#log, readFileSync(logFile).subarray(-LOG_KEPT));
    renameSync(this.#log, logFile);
  }
}
