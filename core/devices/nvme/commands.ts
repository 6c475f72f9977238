/** Admin and I/O commands. @nvme 5, 6 */

import { SECTOR } from '../../block/blockDevice.ts';
import { ENTRIES_MAXIMUM } from './queues.ts';
import { TRANSFER_PAGES_LOG2, identifyController, identifyNamespace, namespaceDescriptors, namespaceList, namespaceNotices } from './identify.ts';
import { diskTransfer } from '../diskTransfer.ts';
import { gather, scatter } from '../segments.ts';
import { prpSegments } from './prp.ts';
import type { BlockFailure } from '../../block/blockDevice.ts';
import type { CompletionQueue, SubmissionQueue } from './queues.ts';
import type { Disk, DiskOperation } from '../../block/link.ts';
import type { GuestMemoryAccess } from '../segments.ts';
import type { StateReader } from '../../platform/state.ts';

/** Status codes with their type in bits 8 to 10. */
export const status = {
  ok: 0, invalidOpcode: 0x001, invalidField: 0x002, dataTransfer: 0x004, internal: 0x006, abortedByQueueDeletion: 0x008, invalidNamespace: 0x00b, outOfRange: 0x080,
  capacity: 0x081, completionQueueInvalid: 0x100, queueIdentifierInvalid: 0x101, queueSizeInvalid: 0x102, asyncEventLimit: 0x105, interruptVectorInvalid: 0x108,
  invalidLogPage: 0x109, featureNotSaveable: 0x10d, invalidQueueDeletion: 0x10c, writeFault: 0x280, unrecoveredRead: 0x281, writeProtected: 0x182,
} as const;
/** Do not retry. */
const final = 0x4000;

const admin = { deleteSubmission: 0, createSubmission: 1, getLogPage: 2, deleteCompletion: 4, createCompletion: 5, identify: 6, abort: 8, setFeatures: 9, getFeatures: 10, asyncEvent: 12, keepAlive: 24 } as const;
const io = { flush: 0, write: 1, read: 2, writeZeroes: 8, dataSetManagement: 9 } as const;
const feature = { arbitration: 1, powerManagement: 2, temperature: 4, errorRecovery: 5, writeCache: 6, queues: 7, coalescing: 8, vectorConfiguration: 9, atomicity: 10, asyncEvents: 11 } as const;
const plainFeatures: readonly number[] = [feature.arbitration, feature.powerManagement, feature.temperature, feature.errorRecovery, feature.writeCache, feature.coalescing, feature.vectorConfiguration, feature.atomicity, feature.asyncEvents];

const NAMESPACE = 1;
const BROADCAST = 0xffffffff;
const TRANSFER_BYTES_MAXIMUM = 4096 * 2 ** TRANSFER_PAGES_LOG2;
const ASYNC_EVENTS = 4;
const RANGES_MAXIMUM = 256;
const logPage = { changedNamespaces: 4 } as const;
const retainEvent = 0x8000;
/** Type and information of an event. */
const notice = { type: 2, namespaceChanged: 0 } as const;

export type Done = (code: number, result?: number) => void;

/** What admin commands do to the controller's queues. */
export interface QueueOwner {
  readonly vectors: number;
  readonly queues: number;
  submission(id: number): SubmissionQueue | undefined;
  completion(id: number): CompletionQueue | undefined;
  createSubmission(queue: SubmissionQueue): void;
  createCompletion(queue: CompletionQueue): void;
  deleteSubmission(id: number): void;
  deleteCompletion(id: number): void;
}

export class NvmeCommands {
  readonly #disk: Disk;
  readonly #serial: string;
  readonly #memory: GuestMemoryAccess;
  readonly #owner: QueueOwner;
  /** Features that are remembered and change nothing. */
  #features: number[] = new Array<number>(16).fill(0);
  /** Requests for events, oldest first. */
  #asyncEvents: Done[] = [];
  /** The namespace is another than the host knows; `told` of it until the host has read the log. */
  #changed = { pending: false, told: false };

  constructor(disk: Disk, serial: string, memory: GuestMemoryAccess, owner: QueueOwner) {
    this.#disk = disk;
    this.#serial = serial;
    this.#memory = memory;
    this.#owner = owner;
    this.stop();
  }

  stop(): void {
    this.#features.fill(0);
    this.#features[feature.writeCache] = 1;
    this.#asyncEvents = [];
    this.#changed = { pending: false, told: false };
  }

  /** The disk is larger than it was: a host that asked for it is told, and looks. @nvme 5.2 */
  namespaceChanged(): void {
    this.#changed.pending = true;
    this.#notice();
  }

  saveState(): Readonly<Record<string, unknown>> {
    return { features: [...this.#features] };
  }

  /** Requests for events are among the commands that begin anew. */
  readState(reader: StateReader): () => void {
    const features = reader.uints('features', 32, 16);
    return () => {
      this.#features = features;
      this.#asyncEvents = [];
    };
  }

  admin(command: Uint32Array, done: Done): void {
    switch ((command[0] ?? 0) & 0xff) {
      case admin.identify: return this.#identify(command, done);
      case admin.createCompletion: return done(this.#createCompletion(command));
      case admin.createSubmission: return done(this.#createSubmission(command));
      case admin.deleteSubmission: return done(this.#deleteSubmission((command[10] ?? 0) & 0xffff));
      case admin.deleteCompletion: return done(this.#deleteCompletion((command[10] ?? 0) & 0xffff));
      case admin.setFeatures: return this.#setFeatures(command, done);
      case admin.getFeatures: return this.#getFeatures(command, done);
      case admin.getLogPage: return this.#logPage(command, done);
      // The command to be aborted was too fast: it goes on.
      case admin.abort: return done(status.ok, 1);
      case admin.keepAlive: return done(status.ok);
      case admin.asyncEvent:
        if (this.#asyncEvents.length >= ASYNC_EVENTS) return done(status.asyncEventLimit | final);
        this.#asyncEvents.push(done);
        return this.#notice();
      default: return done(status.invalidOpcode | final);
    }
  }

  io(command: Uint32Array, done: Done): void {
    const namespace = command[1] ?? 0;
    const code = (command[0] ?? 0) & 0xff;
    if (namespace !== NAMESPACE && !(code === io.flush && namespace === BROADCAST)) return done(status.invalidNamespace | final);
    switch (code) {
      case io.flush: return this.#submit('flush', 0, 0, done);
      case io.read: case io.write: return this.#transfer(command, code === io.read ? 'read' : 'write', done);
      case io.writeZeroes: return this.#writeZeroes(command, done);
      case io.dataSetManagement: return this.#manage(command, done);
      default: return done(status.invalidOpcode | final);
    }
  }

  #notice(): void {
    const { pending, told } = this.#changed;
    if (!pending || told || ((this.#features[feature.asyncEvents] ?? 0) & namespaceNotices) === 0) return;
    const done = this.#asyncEvents.shift();
    if (done === undefined) return;
    this.#changed.told = true;
    done(status.ok, notice.type | (notice.namespaceChanged << 8) | (logPage.changedNamespaces << 16));
  }

  // ---- Admin --------------------------------------------------------------------------------------------------------

  #identify(command: Uint32Array, done: Done): void {
    const namespace = command[1] ?? 0;
    const what = (command[10] ?? 0) & 0xff;
    if ((what === 0 || what === 3) && namespace !== NAMESPACE) return done((namespace === BROADCAST && what === 0 ? status.invalidField : status.invalidNamespace) | final);
    const answers: Readonly<Record<number, () => Uint8Array>> = {
      0: () => identifyNamespace(this.#disk), 1: () => identifyController(this.#serial), 2: () => namespaceList(namespace), 3: () => namespaceDescriptors(this.#serial),
    };
    const bytes = answers[what]?.();
    return bytes ? this.#answer(command, bytes, done) : done(status.invalidField | final);
  }

  #answer(command: Uint32Array, bytes: Uint8Array, done: Done): void {
    const segments = prpSegments(this.#memory, pointer(command, 6), pointer(command, 8), bytes.length);
    if (segments === null) return done(status.invalidField | final);
    return done(scatter(this.#memory, segments, 0, bytes) ? status.ok : status.dataTransfer);
  }

  #queueOf(command: Uint32Array): { id: number; entries: number; address: number } | number {
    const id = (command[10] ?? 0) & 0xffff;
    const entries = ((command[10] ?? 0) >>> 16) + 1;
    const address = pointer(command, 6);
    if (id === 0 || id > this.#owner.queues) return status.queueIdentifierInvalid;
    if (entries < 2 || entries > ENTRIES_MAXIMUM) return status.queueSizeInvalid;
    // Physically contiguous queues on page boundaries alone.
    if (((command[11] ?? 0) & 1) === 0 || address % 4096 !== 0) return status.invalidField;
    return { id, entries, address };
  }

  #createCompletion(command: Uint32Array): number {
    const queue = this.#queueOf(command);
    if (typeof queue === 'number') return queue | final;
    if (this.#owner.completion(queue.id)) return status.queueIdentifierInvalid | final;
    const flags = command[11] ?? 0;
    const vector = flags >>> 16;
    if (vector >= this.#owner.vectors) return status.interruptVectorInvalid | final;
    this.#owner.createCompletion({ ...queue, vector: (flags & 2) !== 0 ? vector : null, head: 0, tail: 0, phase: 1 });
    return status.ok;
  }

  #createSubmission(command: Uint32Array): number {
    const queue = this.#queueOf(command);
    if (typeof queue === 'number') return queue | final;
    const completion = (command[11] ?? 0) >>> 16;
    if (this.#owner.submission(queue.id)) return status.queueIdentifierInvalid | final;
    if (completion === 0 || !this.#owner.completion(completion)) return status.completionQueueInvalid | final;
    this.#owner.createSubmission({ ...queue, completion, head: 0, tail: 0, running: new Map() });
    return status.ok;
  }

  #deleteSubmission(id: number): number {
    if (id === 0 || !this.#owner.submission(id)) return status.queueIdentifierInvalid | final;
    this.#owner.deleteSubmission(id);
    return status.ok;
  }

  #deleteCompletion(id: number): number {
    if (id === 0 || !this.#owner.completion(id)) return status.queueIdentifierInvalid | final;
    const used = Array.from({ length: this.#owner.queues }, (_, index) => this.#owner.submission(index + 1)).some(queue => queue?.completion === id);
    if (used) return status.invalidQueueDeletion | final;
    this.#owner.deleteCompletion(id);
    return status.ok;
  }

  #setFeatures(command: Uint32Array, done: Done): void {
    const id = (command[10] ?? 0) & 0xff;
    if (((command[10] ?? 0) & 0x80000000) !== 0) return done(status.featureNotSaveable | final);
    if (id === feature.queues) return done(status.ok, this.#queueCount());
    if (!plainFeatures.includes(id)) return done(status.invalidField | final);
    this.#features[id] = command[11] ?? 0;
    done(status.ok);
  }

  #getFeatures(command: Uint32Array, done: Done): void {
    const id = (command[10] ?? 0) & 0xff;
    if (id === feature.queues) return done(status.ok, this.#queueCount());
    if (!plainFeatures.includes(id)) return done(status.invalidField | final);
    done(status.ok, this.#features[id] ?? 0);
  }

  #queueCount(): number {
    return (this.#owner.queues - 1) | ((this.#owner.queues - 1) << 16);
  }

  /** Errors, health, firmware slots: nothing to tell. Namespaces that changed: told once. */
  #logPage(command: Uint32Array, done: Done): void {
    const page = (command[10] ?? 0) & 0xff;
    const length = Math.min(((((command[10] ?? 0) >>> 16) | (((command[11] ?? 0) & 0xffff) << 16)) >>> 0) * 4 + 4, 4096);
    if (page < 1 || page > logPage.changedNamespaces) return done(status.invalidLogPage | final);
    const bytes = new Uint8Array(page === logPage.changedNamespaces ? 4096 : 512);
    if (page === logPage.changedNamespaces) {
      bytes[0] = Number(this.#changed.pending);
      if (((command[10] ?? 0) & retainEvent) === 0) this.#changed = { pending: false, told: false };
    }
    // 300 K; all of the spare is there.
    if (page === 2) bytes.set([0, 0x2c, 0x01, 100, 10]);
    if (page === 3) bytes[0] = 1;
    this.#answer(command, bytes.subarray(0, length), done);
  }

  // ---- I/O ----------------------------------------------------------------------------------------------------------

  #range(command: Uint32Array): { readonly offset: number; readonly length: number } | null {
    const offset = ((command[11] ?? 0) * 2 ** 32 + (command[10] ?? 0)) * SECTOR;
    const length = (((command[12] ?? 0) & 0xffff) + 1) * SECTOR;
    return offset + length <= this.#disk.size ? { offset, length } : null;
  }

  #transfer(command: Uint32Array, operation: 'read' | 'write', done: Done): void {
    const range = this.#range(command);
    if (range === null) return done(status.outOfRange | final);
    if (range.length > TRANSFER_BYTES_MAXIMUM) return done(status.invalidField | final);
    if (operation === 'write' && this.#disk.readOnly) return done(status.writeProtected | final);
    const segments = prpSegments(this.#memory, pointer(command, 6), pointer(command, 8), range.length);
    if (segments === null) return done(status.invalidField | final);
    const data = diskTransfer(operation, this.#memory, segments);
    this.#disk.submit({
      operation, ...range, transfer: data.transfer, views: data.views,
      done: failure => done(failure !== null ? failureStatus(failure, operation) : data.reached ? status.ok : status.dataTransfer),
    });
  }

  #writeZeroes(command: Uint32Array, done: Done): void {
    const range = this.#range(command);
    if (range === null) return done(status.outOfRange | final);
    if (this.#disk.readOnly) return done(status.writeProtected | final);
    this.#submit('zero', range.offset, range.length, done);
  }

  /** Ranges of 16 bytes: attributes, length, first block. Only deallocation does something. */
  #manage(command: Uint32Array, done: Done): void {
    const count = ((command[10] ?? 0) & 0xff) + 1;
    if (((command[11] ?? 0) & 4) === 0 || this.#disk.readOnly) return done(status.ok);
    const bytes = new Uint8Array(Math.min(count, RANGES_MAXIMUM) * 16);
    const segments = prpSegments(this.#memory, pointer(command, 6), pointer(command, 8), bytes.length);
    if (segments === null || !gather(this.#memory, segments, 0, bytes)) return done(status.invalidField | final);
    const view = new DataView(bytes.buffer);
    const ranges = Array.from({ length: count }, (_, index) => ({
      offset: (view.getUint32(index * 16 + 12, true) * 2 ** 32 + view.getUint32(index * 16 + 8, true)) * SECTOR, length: view.getUint32(index * 16 + 4, true) * SECTOR,
    }));
    if (ranges.some(({ offset, length }) => offset + length > this.#disk.size)) return done(status.outOfRange | final);
    let left = ranges.length;
    for (const { offset, length } of ranges) {
      this.#submit('discard', offset, length, () => {
        left -= 1;
        if (left === 0) done(status.ok);
      });
    }
  }

  #submit(operation: DiskOperation, offset: number, length: number, done: Done): void {
    this.#disk.submit({ operation, offset, length, transfer: () => {}, done: failure => done(failure === null ? status.ok : failureStatus(failure, operation)) });
  }
}

function failureStatus(failure: BlockFailure, operation: DiskOperation): number {
  if (failure === 'full') return status.capacity;
  if (failure === 'read-only') return status.writeProtected;
  return operation === 'read' ? status.unrecoveredRead : status.writeFault;
}

function pointer(command: Uint32Array, at: number): number {
  return (command[at + 1] ?? 0) * 2 ** 32 + (command[at] ?? 0);
}
