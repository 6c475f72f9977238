/** The I/O thread's side of snapshots: asks the core for its state, has the saver copy the pages, passes the saver's questions to the engine. */
import { Worker } from 'node:worker_threads';
import { ContractError } from '../contract/errors.ts';
import { SERIAL_PORTS } from '../contract/limits.ts';
import { CHUNK_BYTES } from '../snapshot/segment.ts';
import { PreserveRing } from '../snapshot/preserve.ts';
import type { FromSaver, SaverStart, ToSaver } from '../snapshot/saver.ts';
import { entryUrl } from './entries.ts';
import type { FromVmProcess, ToVmProcess } from './messages.ts';
import type { Runner } from './runner.ts';
import type { RestorePoint } from './types.ts';

/** Progress is told this often. */
const PROGRESS_MS = 100;
/** A busy host may take long to read the first pages of a snapshot. */
const RESTORE_MS = 30_000;

type Answer = Extract<ToVmProcess, { type: 'chunk-places' | 'segment-recorded' | 'cancel-snapshot' }>;

export class SnapshotTaker {
  readonly #runner: Runner;
  readonly #send: (message: FromVmProcess) => void;
  readonly #pages: number;
  #base: Uint8Array<ArrayBuffer> | null;
  #saver: Worker | null = null;
  #toldAt = 0;

  /** `base`: the map that the machine was restored from. */
  constructor(runner: Runner, send: (message: FromVmProcess) => void, memoryBytes: number, base: Uint8Array<ArrayBuffer> | null) {
    this.#runner = runner;
    this.#send = send;
    this.#pages = memoryBytes / CHUNK_BYTES;
    this.#base = base;
  }

  /** Begins a snapshot whose new segments go into a folder. The engine asks for one at a time. */
  async take(folder: string): Promise<void> {
    const saver = this.#start();
    new PreserveRing(this.#runner.preserved).open();
    const answer = await this.#runner.snapshot();
    if (!answer) return this.#send({ type: 'snapshot-failed', error: busy.toShape() });
    const { point, milliseconds, sent } = answer;
    this.#send({ type: 'snapshot-point', state: point.state, output: sent.slice(0, SERIAL_PORTS).map((count, port) => this.#runner.outputAt(port, count)), pauseMilliseconds: milliseconds, pages: point.pages.length });
    this.#tell(saver, { type: 'take', memory: point.memory, pages: point.pages, folder });
  }

  /** Goes back to a snapshot: what the last one and this one have alike stays where it is. @throws ContractError */
  async restore(point: RestorePoint): Promise<void> {
    await this.#runner.ask('restore', { point, from: this.#base }, RESTORE_MS);
    this.#base = point.map;
    if (this.#saver) this.#tell(this.#saver, { type: 'base', map: point.map });
  }

  /** Passes the engine's answer on. */
  answer(message: Answer): void {
    if (!this.#saver) return;
    switch (message.type) {
      case 'chunk-places': return this.#tell(this.#saver, { type: 'places', segments: message.segments, positions: message.positions });
      case 'segment-recorded': return this.#tell(this.#saver, { type: 'recorded', segment: message.segment });
      case 'cancel-snapshot': return this.#tell(this.#saver, { type: 'cancel' });
    }
  }

  #start(): Worker {
    if (this.#saver) return this.#saver;
    const workerData: SaverStart = { saver: true, ring: this.#runner.preserved, pages: this.#pages, base: this.#base };
    const saver = new Worker(entryUrl('saver'), { workerData, name: 'saver' });
    saver.on('message', (message: FromSaver) => this.#receive(message));
    saver.on('error', (error) => this.#broken(error instanceof Error ? error.message : String(error)));
    this.#saver = saver;
    return saver;
  }

  #tell(saver: Worker, message: ToSaver): void {
    saver.postMessage(message);
  }

  #receive(message: FromSaver): void {
    switch (message.type) {
      case 'lookup': return this.#send({ type: 'chunk-lookup', hashes: message.hashes });
      case 'segment': return this.#send({ type: 'segment', name: message.segment.name });
      case 'progress': return this.#progress(message.done, message.total);
      case 'taken':
        this.#base = message.map;
        return this.#send({ type: 'snapshot-taken', map: message.map, writtenBytes: message.writtenBytes });
      case 'failed': return this.#send({ type: 'snapshot-failed', error: (message.cancelled ? cancelled : failed(message.message)).toShape() });
    }
  }

  #progress(done: number, total: number): void {
    const now = performance.now();
    if (now - this.#toldAt < PROGRESS_MS && done < total) return;
    this.#toldAt = now;
    this.#send({ type: 'snapshot-progress', done, total });
  }

  /** A core that waits for room in the ring must not wait for a thread that is gone. What it kept is lost, so the next saver knows no page. */
  #broken(message: string): void {
    this.#saver = null;
    new PreserveRing(this.#runner.preserved).abandon();
    this.#send({ type: 'snapshot-failed', error: new ContractError('internal', `The saver broke: ${message}`, 'Stop the VM and start it again before the next snapshot.').toShape() });
  }
}

const busy = new ContractError('wrong-state', 'The machine did not answer in time.', 'Try again.');
const cancelled = new ContractError('cancelled', 'The snapshot was cancelled.', '');

function failed(reason: string): ContractError {
  return new ContractError('file-unreadable', `The snapshot could not be written: ${reason}`, 'Check the space and the permissions of the disk that holds the library. The guest goes on.');
}
