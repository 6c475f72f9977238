/** A disk as a virtio device. @virtio 5.2 */

import { SECTOR } from '../../block/blockDevice.ts';
import { configurationBytes, readBytes } from './device.ts';
import { diskTransfer } from '../diskTransfer.ts';
import { gather, scatter, slice, totalLength } from '../segments.ts';
import type { AccessSize } from '../../platform/device.ts';
import type { Chain, VirtQueue } from './queue.ts';
import type { Disk, DiskOperation } from '../../block/link.ts';
import type { Segment } from '../segments.ts';
import type { VirtioKind, VirtioRun } from './device.ts';

const blkFeature = { segments: 1n << 2n, readOnly: 1n << 5n, blockSize: 1n << 6n, flush: 1n << 9n, topology: 1n << 10n, discard: 1n << 13n, writeZeroes: 1n << 14n } as const;
const requestType = { in: 0, out: 1, flush: 4, getId: 8, discard: 11, writeZeroes: 13 } as const;
const outcome = { ok: 0, error: 1, unsupported: 2 } as const;

const HEADER_BYTES = 16;
const ID_BYTES = 20;
const QUEUE_SIZE = 256;
/** Data segments in one request: what is left of a queue's descriptors. */
const SEGMENTS = QUEUE_SIZE - 2;
/** Longer requests than this have no honest use. */
const REQUEST_BYTES_MAXIMUM = 64 * 1024 * 1024;
const DISCARD_SECTORS = 0x3fffff;
const DISCARD_BYTES = 16;

const RANGE_OPERATIONS: Readonly<Record<number, DiskOperation>> = { [requestType.discard]: 'discard', [requestType.writeZeroes]: 'zero' };

/** One request in work: its pieces on the disk, and where its answer goes. */
interface Request {
  readonly chain: Chain;
  /** Bytes that the device writes before the status byte. */
  readonly written: number;
  left: number;
  status: number;
}

export class VirtioBlk implements VirtioKind {
  readonly name: string;
  readonly deviceType = 2;
  readonly classCode = 0x010000;
  readonly features: bigint;
  readonly queueSizes = [QUEUE_SIZE];
  readonly #disk: Disk;
  readonly #serial: string;
  readonly #configuration: DataView;
  /** Of the request that begins. */
  readonly #header = new Uint8Array(HEADER_BYTES);
  readonly #view = new DataView(this.#header.buffer);
  readonly #status = new Uint8Array(1);
  #run: VirtioRun | null = null;
  /** Requests are being taken from the queue. */
  #taking = false;
  /** Rises with each stop: answers to requests of an earlier run are dropped. */
  #epoch = 0;

  constructor(name: string, disk: Disk, serial: string) {
    this.name = name;
    this.#disk = disk;
    this.#serial = serial;
    const { segments, blockSize, flush, topology, discard, writeZeroes, readOnly } = blkFeature;
    this.features = segments | blockSize | flush | topology | (disk.readOnly ? readOnly : discard | writeZeroes);
    this.#configuration = configurationBytes(60, [
      [0, 8, disk.size / SECTOR], [12, 4, SEGMENTS], [20, 4, SECTOR],
      // Topology: physical blocks of 2^3 sectors, whole alignment.
      [24, 1, 3], [34, 2, 1], [36, 4, DISCARD_SECTORS], [40, 4, 1], [44, 4, 8], [48, 4, DISCARD_SECTORS], [52, 4, 1], [56, 1, 1],
    ]);
  }

  /** The disk is larger than it was: the driver is told, and looks. */
  sizeChanged(): void {
    this.#configuration.setBigUint64(0, BigInt(this.#disk.size / SECTOR), true);
    this.#run?.configurationChanged();
  }

  get configurationLength(): number {
    return this.#configuration.byteLength;
  }

  readConfiguration(offset: number, size: AccessSize): number {
    return readBytes(this.#configuration, offset, size);
  }

  writeConfiguration(): void {}

  start(run: VirtioRun): void {
    this.#run = run;
    const queue = this.#queue;
    for (const chain of queue?.retake() ?? []) this.#begin(chain);
    this.notify();
  }

  notify(): void {
    const queue = this.#queue;
    if (!queue) return;
    this.#taking = true;
    try {
      for (let chain = queue.take(); chain; chain = queue.take()) this.#begin(chain);
    } finally {
      this.#taking = false;
    }
    queue.signal();
  }

  stop(): void {
    this.#run = null;
    this.#epoch += 1;
    this.#disk.abandon();
  }

  saveState(): Readonly<Record<string, unknown>> {
    return {};
  }

  readState(): () => void {
    return () => {};
  }

  get #queue(): VirtQueue | undefined {
    return this.#run?.queues[0];
  }

  #begin(chain: Chain): void {
    const run = this.#run;
    if (!run) return;
    const room = totalLength(chain.writable);
    if (room < 1 || !gather(run.memory, chain.readable, 0, this.#header)) return run.fail('a block request without header or status byte');
    const view = this.#view;
    const sector = view.getUint32(12, true) * 2 ** 32 + view.getUint32(8, true);
    const type = view.getUint32(0, true);
    const outBytes = totalLength(chain.readable) - HEADER_BYTES;
    switch (type) {
      case requestType.in: return this.#transfer(chain, 'read', sector, room - 1, slice(chain.writable, 0, room - 1));
      case requestType.out: return this.#transfer(chain, 'write', sector, outBytes, slice(chain.readable, HEADER_BYTES, outBytes));
      case requestType.flush: return this.#submit({ chain, written: 0, left: 1, status: outcome.ok }, 'flush', 0, 0);
      case requestType.getId: return this.#identify(chain, room - 1);
      case requestType.discard: case requestType.writeZeroes: return this.#ranges(chain, type, outBytes);
      default: return this.#finish({ chain, written: 0, left: 0, status: outcome.unsupported });
    }
  }

  #transfer(chain: Chain, operation: 'read' | 'write', sector: number, length: number, segments: readonly Segment[]): void {
    const request: Request = { chain, written: operation === 'read' ? length : 0, left: 1, status: outcome.ok };
    const fits = length % SECTOR === 0 && length <= REQUEST_BYTES_MAXIMUM && sector * SECTOR + length <= this.#disk.size;
    if (!fits || (operation === 'write' && this.#disk.readOnly)) return this.#finish({ ...request, status: outcome.error });
    if (length === 0) return this.#finish(request);
    this.#submit(request, operation, sector * SECTOR, length, segments);
  }

  #identify(chain: Chain, room: number): void {
    const id = new Uint8Array(Math.min(ID_BYTES, room));
    new TextEncoder().encodeInto(this.#serial, id);
    const ok = this.#run !== null && scatter(this.#run.memory, chain.writable, 0, id);
    this.#finish({ chain, written: id.length, left: 0, status: ok ? outcome.ok : outcome.error });
  }

  /** Discard and write zeroes: one segment of sector, count and flags, as the configuration says. */
  #ranges(chain: Chain, type: number, length: number): void {
    const request: Request = { chain, written: 0, left: 1, status: outcome.ok };
    const bytes = new Uint8Array(DISCARD_BYTES);
    const run = this.#run;
    if (!run || length !== DISCARD_BYTES || !gather(run.memory, chain.readable, HEADER_BYTES, bytes)) return this.#finish({ ...request, status: outcome.error });
    const view = new DataView(bytes.buffer);
    const offset = (view.getUint32(4, true) * 2 ** 32 + view.getUint32(0, true)) * SECTOR;
    const count = view.getUint32(8, true) * SECTOR;
    const flags = view.getUint32(12, true);
    const operation = RANGE_OPERATIONS[type];
    if (!operation || (flags & ~1) !== 0 || (type === requestType.discard && flags !== 0)) return this.#finish({ ...request, status: outcome.unsupported });
    if (this.#disk.readOnly || offset + count > this.#disk.size || count > DISCARD_SECTORS * SECTOR) return this.#finish({ ...request, status: outcome.error });
    this.#submit(request, operation, offset, count);
  }

  #submit(request: Request, operation: DiskOperation, offset: number, length: number, segments: readonly Segment[] = []): void {
    const epoch = this.#epoch;
    const { memory } = this.#run ?? {};
    if (!memory) return;
    const data = diskTransfer(operation, memory, segments);
    this.#disk.submit({
      operation, offset, length, transfer: data.transfer, views: data.views,
      done: failure => {
        if (epoch === this.#epoch) this.#answered(request, failure === null && data.reached);
      },
    });
  }

  #answered(request: Request, well: boolean): void {
    if (!well) request.status = outcome.error;
    this.#finish(request);
    // Those that are answered at once are told of together.
    if (!this.#taking) this.#queue?.signal();
  }

  #finish({ chain, written, status }: Request): void {
    const run = this.#run;
    if (!run) return;
    const last = totalLength(chain.writable) - 1;
    this.#status[0] = status;
    scatter(run.memory, chain.writable, last, this.#status);
    try {
      this.#queue?.give(chain.head, (status === outcome.ok ? written : 0) + 1);
    } catch (error) {
      run.fail(error);
    }
  }
}
