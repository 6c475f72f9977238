/** One snapshot while a VM process takes it: answers what the process asks of the library and gathers what it sends. */
import { asContractError, ContractError } from '../contract/errors.ts';
import type { FromVmProcess, PortOutput, ToVmProcess } from '../machine/messages.ts';
import type { NewLayer } from '../machine/layeredDisks.ts';
import type { DiskMap } from './diskStates.ts';
import type { Scrollback } from './scrollback.ts';

/** What of the library a snapshot in the making needs. */
export interface ChunkLibrary {
  /** Makes the folder of the segments. */
  prepare(): string;
  lookup(hashes: Uint8Array): { readonly segments: Uint32Array<ArrayBuffer>; readonly positions: Uint32Array<ArrayBuffer> };
  recordSegment(name: string): number;
}

export interface TakenSnapshot {
  readonly state: unknown;
  readonly map: Uint8Array<ArrayBuffer>;
  readonly consoles: readonly Uint8Array[];
  readonly pauseMilliseconds: number;
  /** Maps of the disks that went over to new layers. */
  readonly disks: readonly DiskMap[];
  /** What the display showed, small, as a PNG file; null: there is none. */
  readonly picture: Uint8Array | null;
  /** Bytes of new segments. */
  readonly writtenBytes: number;
}

/** What is known from the moment of the snapshot on. */
type Point = Pick<TakenSnapshot, 'state' | 'consoles' | 'pauseMilliseconds'>;

export interface SnapshotTaskOptions {
  readonly library: ChunkLibrary;
  readonly scrollbacks: readonly Scrollback[];
  /** Files for what the disks are written from the moment of the snapshot on. */
  readonly layers: readonly NewLayer[];
  /** What the display shows now. */
  thumbnail(): Promise<Uint8Array | null>;
  send(message: ToVmProcess): void;
  progress(done: number, total: number): void;
}

export type SnapshotMessage = Extract<FromVmProcess, { type: 'snapshot-point' | 'chunk-lookup' | 'segment' | 'snapshot-progress' | 'snapshot-taken' | 'snapshot-failed' }>;

export class SnapshotTask {
  readonly #options: SnapshotTaskOptions;
  readonly #result: PromiseWithResolvers<TakenSnapshot> = Promise.withResolvers();
  #point: Point | null = null;
  #picture: Promise<Uint8Array | null> = Promise.resolve(null);
  #refused: ContractError | null = null;

  constructor(options: SnapshotTaskOptions) {
    this.#options = options;
    this.#result.promise.catch(() => undefined); // Whoever asked hears of it.
    options.send({ type: 'snapshot', folder: options.library.prepare(), layers: [...options.layers] });
  }

  /** @throws ContractError `cancelled`, or why it could not be taken. */
  get result(): Promise<TakenSnapshot> {
    return this.#result.promise;
  }

  cancel(): void {
    this.#options.send({ type: 'cancel-snapshot' });
  }

  /** The process is gone. */
  fail(error: ContractError): void {
    this.#result.reject(error);
  }

  receive(message: SnapshotMessage): void {
    switch (message.type) {
      case 'snapshot-point': {
        const consoles = this.#options.scrollbacks.map((scrollback, port) => shown(scrollback, message.output[port]));
        this.#point = { state: message.state, consoles, pauseMilliseconds: message.pauseMilliseconds };
        this.#picture = this.#options.thumbnail();
        return;
      }
      case 'chunk-lookup': return this.#answer(() => ({ type: 'chunk-places', ...this.#options.library.lookup(message.hashes) }));
      case 'segment': return this.#answer(() => ({ type: 'segment-recorded', segment: this.#options.library.recordSegment(message.name) }));
      case 'snapshot-progress': return this.#options.progress(message.done, message.total);
      case 'snapshot-failed': return this.#result.reject(this.#refused ?? ContractError.fromShape(message.error));
      case 'snapshot-taken':
        if (!this.#point) return this.#result.reject(new ContractError('internal', 'The machine sent memory without its state.', 'This is a defect of Vanderpool.'));
        return void this.#finish(this.#point, message);
    }
  }

  async #finish(point: Point, { map, disks, writtenBytes }: Extract<SnapshotMessage, { type: 'snapshot-taken' }>): Promise<void> {
    this.#result.resolve({ ...point, map, disks, writtenBytes, picture: await this.#picture });
  }

  /** What the library refuses ends the snapshot: the process waits for an answer and is told to give up. */
  #answer(make: () => ToVmProcess): void {
    try {
      this.#options.send(make());
    } catch (error) {
      this.#refused = asContractError(error);
      this.#result.reject(this.#refused);
      this.cancel();
    }
  }
}

/** What a port had shown at the moment of the snapshot. */
function shown(scrollback: Scrollback, output: PortOutput | undefined): Uint8Array {
  const { data } = scrollback.read();
  if (!output) return data;
  const { unread, surplus } = output;
  return Buffer.concat([data.subarray(0, Math.max(0, data.length - surplus)), unread]);
}
