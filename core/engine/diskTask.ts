/** Makes chunks of the disks of a VM that does not run: the engine's own saver thread. */
import { Worker } from 'node:worker_threads';
import { asContractError, ContractError } from '../contract/errors.ts';
import type { Vm } from '../contract/vm.ts';
import { entryUrl } from '../machine/entries.ts';
import type { WantedDisk } from '../snapshot/disk/saveDisks.ts';
import { createPreserveBuffer } from '../snapshot/preserve.ts';
import type { FromSaver, SaverStart, ToSaver } from '../snapshot/saver.ts';
import type { DiskMap } from './diskStates.ts';
import { nowAndThen } from './progress.ts';
import type { ChunkLibrary } from './snapshotTask.ts';
import type { Supervisor } from './supervisor.ts';

export class DiskTask {
  readonly #worker: Worker;
  readonly #library: ChunkLibrary;
  readonly #result = Promise.withResolvers<readonly DiskMap[]>();
  readonly #progress: (done: number, total: number) => void;

  constructor(library: ChunkLibrary, disks: readonly WantedDisk[], progress: (done: number, total: number) => void) {
    this.#library = library;
    this.#progress = progress;
    const workerData: SaverStart = { saver: true, ring: createPreserveBuffer(), pages: 0, base: null };
    this.#worker = new Worker(entryUrl('saver'), { workerData, name: 'saver' });
    this.#worker.on('message', (message: FromSaver) => this.#receive(message));
    this.#worker.on('error', (error) => this.#result.reject(asContractError(error)));
    this.#worker.on('exit', () => this.#result.reject(new ContractError('internal', 'The saver ended by itself.', 'This is a defect of Vanderpool.')));
    this.#tell({ type: 'take', memory: null, folder: library.prepare(), disks: true });
    this.#tell({ type: 'disks', disks });
  }

  /** The new maps. @throws ContractError `cancelled`, or why it could not be done */
  get result(): Promise<readonly DiskMap[]> {
    return this.#result.promise.finally(() => void this.#worker.terminate());
  }

  cancel(): void {
    this.#tell({ type: 'cancel' });
  }

  #tell(message: ToSaver): void {
    this.#worker.postMessage(message);
  }

  #receive(message: FromSaver): void {
    try {
      switch (message.type) {
        case 'lookup': return this.#tell({ type: 'places', ...this.#library.lookup(message.hashes) });
        case 'segment': return this.#tell({ type: 'recorded', segment: this.#library.recordSegment(message.segment.name) });
        case 'progress': return this.#progress(message.done, message.total);
        case 'taken': return this.#result.resolve(message.disks);
        case 'failed': return this.#result.reject(message.cancelled ? new ContractError('cancelled', 'The snapshot was cancelled.', '') : unwritten(message.message));
      }
    } catch (error) {
      this.#result.reject(asContractError(error));
    }
  }
}

/** Those of all VMs, which everybody sees progress. */
export class DiskTasks {
  readonly #library: ChunkLibrary;
  readonly #supervisor: Supervisor;
  readonly #tasks = new Map<string, DiskTask>();

  constructor(library: ChunkLibrary, supervisor: Supervisor) {
    this.#library = library;
    this.#supervisor = supervisor;
  }

  /** Makes chunks of what lies in disks of a VM that does not run. @throws ContractError as `DiskTask.result` */
  async save(vm: Vm, wanted: readonly WantedDisk[]): Promise<readonly DiskMap[]> {
    if (wanted.length === 0) return [];
    const task = new DiskTask(this.#library, wanted, nowAndThen((done, total) => this.#supervisor.tell({ kind: 'snapshot-progress', vmId: vm.id, done, total })));
    this.#tasks.set(vm.id, task);
    try {
      return await task.result;
    } finally {
      this.#tasks.delete(vm.id);
      this.#supervisor.tell({ kind: 'snapshot-progress', vmId: vm.id, done: 0, total: 0 });
    }
  }

  /** False when nothing is being made of a VM. */
  cancel(vmId: string): boolean {
    const task = this.#tasks.get(vmId);
    task?.cancel();
    return task !== undefined;
  }
}

function unwritten(reason: string): ContractError {
  return new ContractError('file-unreadable', `The snapshot could not be written: ${reason.replace(/\.$/, '')}.`, 'Check the space and the permissions of the disk that holds the library.');
}
