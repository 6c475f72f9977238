/** The I/O thread's side of snapshots: asks the core for its state, has the saver copy the pages, passes the saver's questions to the engine. */
import { Worker } from 'node:worker_threads';
import { asContractError, ContractError } from '../contract/errors.ts';
import { SERIAL_PORTS } from '../contract/limits.ts';
import { CHUNK_BYTES } from '../snapshot/segment.ts';
import { PreserveRing } from '../snapshot/preserve.ts';
import { forgetHistory } from '../snapshot/guestMemory.ts';
import type { GuestMemory } from '../snapshot/guestMemory.ts';
import { PageMap } from '../snapshot/pageMap.ts';
import type { FromSaver, SaverStart, ToSaver } from '../snapshot/saver.ts';
import { entryUrl } from './entries.ts';
import type { LayeredDisks, NamedDisk } from './layeredDisks.ts';
import type { FromVmProcess, ToVmProcess } from './messages.ts';
import type { Runner } from './runner.ts';
import type { RestorePoint } from './types.ts';

/** Progress is told this often. */
const PROGRESS_MS = 100;
/** Fewer pages (32 MiB) than these are copied at once. */
const FIRST_ROUND_PAGES = 8192;
/** A busy host may take long to read the first pages of a snapshot. */
const RESTORE_MS = 30_000;

/** A snapshot that has not come to its moment yet. */
interface Round {
  readonly folder: string;
  /** The disks that go over to new layers at that moment. */
  readonly disks: readonly string[];
  readonly first: boolean;
  /** The longest that the guest stood still so far. */
  readonly pauseMilliseconds: number;
}

export interface TakerOptions {
  readonly runner: Runner;
  readonly disks: LayeredDisks;
  send(message: FromVmProcess): void;
  readonly memoryBytes: number;
  /** The encoded map that the machine was restored from. */
  readonly base: Uint8Array<ArrayBuffer> | null;
}

type Wanted = Extract<ToVmProcess, { type: 'snapshot' }>;
type Answer = Extract<ToVmProcess, { type: 'chunk-places' | 'segment-recorded' | 'cancel-snapshot' }>;

export class SnapshotTaker {
  readonly #runner: Runner;
  readonly #disks: LayeredDisks;
  readonly #send: (message: FromVmProcess) => void;
  readonly #pages: number;
  #base: Uint8Array<ArrayBuffer> | null;
  #saver: Worker | null = null;
  #toldAt = 0;
  /** Set during a first round. */
  #round: Round | null = null;
  #memory: GuestMemory | null = null;
  /** Why the snapshot that is being taken was given up. */
  #refusal: ContractError | null = null;

  constructor({ runner, disks, send, memoryBytes, base }: TakerOptions) {
    this.#runner = runner;
    this.#disks = disks;
    this.#send = send;
    this.#pages = memoryBytes / CHUNK_BYTES;
    this.#base = base;
  }

  /**
   * Begins a snapshot whose new segments go into a folder. The engine asks for one at a time. A machine of which much is to be copied is
   * copied in a first round, whose moment does not count: the snapshot's own then lies near its end, with little left to copy.
   */
  async take({ folder, layers }: Wanted): Promise<void> {
    const saver = this.#start();
    this.#refusal = null;
    await this.#disks.prepareLayers(layers);
    this.#round = { folder, disks: layers.map(({ path }) => path), first: true, pauseMilliseconds: 0 };
    await this.#begin(saver, this.#round);
  }

  async #begin(saver: Worker, round: Round): Promise<void> {
    const { folder, disks } = round;
    new PreserveRing(this.#runner.preserved).open();
    // Disks have one moment: that of the second round.
    const withDisks = disks.length > 0 && !round.first;
    const answer = await this.#runner.snapshot(withDisks);
    if (!answer) return this.#fail(busy);
    const { point, sent } = answer;
    const milliseconds = Math.max(round.pauseMilliseconds, answer.milliseconds);
    this.#memory = point.memory;
    if (round.first && (disks.length > 0 || point.pages.length > FIRST_ROUND_PAGES)) {
      this.#round = { ...round, first: false, pauseMilliseconds: milliseconds };
      return this.#tell(saver, { type: 'take', memory: point, folder, disks: false });
    }
    this.#round = null;
    if (!withDisks && !(await this.#flushDisks())) return;
    this.#send({ type: 'snapshot-point', state: point.state, output: sent.slice(0, SERIAL_PORTS).map((count, port) => this.#runner.outputAt(port, count)), pauseMilliseconds: milliseconds, pages: point.pages.length });
    this.#tell(saver, { type: 'take', memory: point, folder, disks: withDisks });
    if (withDisks) await this.#tellDisks(saver, disks);
  }

  /** Disks that have no moment of their own are as the guest left them when it is suspended: what it has written must not be lost with this process. */
  async #flushDisks(): Promise<boolean> {
    try {
      await this.#disks.flush();
      return true;
    } catch (error) {
      this.#fail(asContractError(error));
      return false;
    }
  }

  /** The disks as they were at the moment. One that cannot be written out ends the snapshot. */
  async #tellDisks(saver: Worker, paths: readonly string[]): Promise<void> {
    try {
      this.#tell(saver, { type: 'disks', disks: await this.#disks.sealed(paths) });
    } catch (error) {
      this.#refusal = asContractError(error);
      this.#tell(saver, { type: 'cancel' });
    }
  }

  /** Goes back to a snapshot: what the last one and this one have alike stays where it is. @throws ContractError */
  async restore(point: RestorePoint, disks: readonly NamedDisk[]): Promise<void> {
    await this.#disks.prepareContents(disks);
    await this.#runner.ask('restore', { point, from: this.#base }, RESTORE_MS);
    await this.#disks.switchedContents(disks);
    this.#base = point.map;
    if (this.#saver) this.#tell(this.#saver, { type: 'base', map: point.map });
  }

  /** What the last snapshot made of the disks' layers takes their place. @throws ContractError */
  rebase(disks: readonly Pick<NamedDisk, 'path' | 'map' | 'segments'>[]): Promise<void> {
    return this.#disks.rebase(disks);
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
        if (this.#round && this.#saver) return void this.#begin(this.#saver, this.#round).catch((error: unknown) => this.#fail(asContractError(error)));
        this.#base = message.map;
        return this.#send({ type: 'snapshot-taken', map: message.map, disks: [...message.disks], writtenBytes: message.writtenBytes });
      case 'failed': return this.#fail(this.#refusal ?? (message.cancelled ? cancelled : failed(message.message)));
    }
  }

  /** The engine gives back what this snapshot has written: nothing may build on it. */
  #fail(error: ContractError): void {
    this.#round = null;
    this.#base = null;
    if (this.#memory) forgetHistory(this.#memory);
    if (this.#saver) this.#tell(this.#saver, { type: 'base', map: new PageMap(this.#pages).encode() });
    this.#send({ type: 'snapshot-failed', error: error.toShape() });
  }

  #progress(done: number, total: number): void {
    const now = performance.now();
    if (now - this.#toldAt < PROGRESS_MS && done < total) return;
    this.#toldAt = now;
    this.#send({ type: 'snapshot-progress', done, total });
  }

  /** A core that waits for room in the ring must not wait for a thread that is gone. */
  #broken(message: string): void {
    this.#saver = null;
    new PreserveRing(this.#runner.preserved).abandon();
    this.#fail(new ContractError('internal', `The saver broke: ${message}`, 'This is a defect of Vanderpool; the guest goes on, and the next snapshot starts anew.'));
  }
}

const busy = new ContractError('wrong-state', 'The machine did not answer in time.', 'Try again.');
const cancelled = new ContractError('cancelled', 'The snapshot was cancelled.', '');

function failed(reason: string): ContractError {
  return new ContractError('file-unreadable', `The snapshot could not be written: ${reason.replace(/\.$/, '')}.`, 'Check the space and the permissions of the disk that holds the library. The guest goes on.');
}
