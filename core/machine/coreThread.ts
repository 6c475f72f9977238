/** The core thread before it has a machine: its programs are being loaded, and it waits to be told what to run. */
import { MessageChannel, Worker } from 'node:worker_threads';
import type { MessagePort } from 'node:worker_threads';
import { entryUrl } from './entries.ts';
import type { WorkerData, WorkerStart } from './worker.ts';

/** The core thread's objects live long or die at once: V8's usual 32 MB for the young ones would only lie about. */
const HEAP = { maxYoungGenerationSizeMb: 6 } as const;

export class CoreThread {
  readonly worker: Worker;
  readonly #start: MessagePort;

  /**
   * @param machineModule URL of the module that exports `createMachine`
   * @param rehearse nobody waits for the machine yet
   */
  constructor(machineModule: string, rehearse = false) {
    const { port1, port2 } = new MessageChannel();
    this.#start = port1;
    const workerData: WorkerData = { machineModule, rehearse, start: port2 };
    this.worker = new Worker(entryUrl('worker'), { workerData, transferList: [port2], resourceLimits: HEAP, name: 'core' });
  }

  /** Once. @param transfer memory that moves to the thread instead of being copied */
  start(start: WorkerStart, transfer: readonly ArrayBuffer[]): void {
    this.#start.postMessage(start, [...transfer]);
  }
}
