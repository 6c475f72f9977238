/** A SCSI host with its targets as a virtio device. @virtio 5.6 */

import { ScsiUnit } from '../scsi/unit.ts';
import { configurationBytes, readBytes } from './device.ts';
import { diskTransfer } from '../diskTransfer.ts';
import { gather, scatter, slice, totalLength } from '../segments.ts';
import { sense, senseData } from '../scsi/sense.ts';
import { unmapRanges } from '../scsi/disk.ts';
import type { AccessSize } from '../../platform/device.ts';
import type { BlockFailure } from '../../block/blockDevice.ts';
import type { Chain, VirtQueue } from './queue.ts';
import type { DiskOperation } from '../../block/link.ts';
import type { ScsiOutcome, Sense } from '../scsi/sense.ts';
import type { StateReader } from '../../platform/state.ts';
import type { VirtioKind, VirtioRun } from './device.ts';

const scsiFeature = { inOut: 1n << 0n, hotplug: 1n << 1n, change: 1n << 2n } as const;
const queueNumber = { control: 0, event: 1, request: 2 } as const;
const response = { ok: 0, badTarget: 3, failure: 9, functionSucceeded: 10, functionRejected: 11, incorrectLun: 12 } as const;
const scsiStatus = { good: 0, checkCondition: 2 } as const;
const control = { taskManagement: 0, query: 1, subscribe: 2 } as const;
/** Task management functions that ask for tasks to be gone: they are answered when those under way have ended. */
const abortive: readonly number[] = [0, 1, 3, 4, 5];
const queries: readonly number[] = [6, 7];
const event = { none: 0, transportReset: 1, parameterChange: 3, missed: 0x80000000 } as const;

const QUEUE_SIZE = 256;
const SEGMENTS = QUEUE_SIZE - 2;
const EVENT_BYTES = 16;
const HEADER_BYTES = 19;
const RESPONSE_BYTES = 12;
const SENSE_BYTES = 96;
const CDB_BYTES = 32;
/** Drivers may make these larger, within reason. */
const FIELD_MAXIMUM = 256;
const senseSizeAt = 20;
const cdbSizeAt = 24;
/** In sectors of 512 bytes: 32 MiB in one command. */
const SECTORS_MAXIMUM = 65536;
const TARGETS_MAXIMUM = 255;
const testUnitReady = 0x00;
const inquiry = 0x12;
const reportLuns = 0xa0;
/** What INQUIRY tells of a unit that is not there. */
const noUnit = 0x7f;

interface Task {
  readonly chain: Chain;
  readonly target: number;
  readonly queue: number;
}

/** A driver waits for the tasks of a target to end. */
interface Waiting {
  readonly chain: Chain;
  readonly target: number;
}

export class VirtioScsi implements VirtioKind {
  readonly name: string;
  readonly deviceType = 8;
  readonly classCode = 0x010000;
  readonly features = scsiFeature.inOut | scsiFeature.hotplug | scsiFeature.change;
  readonly queueSizes = [64, 64, QUEUE_SIZE];
  readonly configurationLength = 36;
  readonly #units: readonly ScsiUnit[];
  #senseBytes = SENSE_BYTES;
  #cdbBytes = CDB_BYTES;
  #run: VirtioRun | null = null;
  /** Rises with each stop: answers to tasks of an earlier run are dropped. */
  #epoch = 0;
  #taking = false;
  readonly #tasks = new Set<Task>();
  #waiting: Waiting[] = [];
  /** Events that found no buffer. */
  #missed = false;

  /** @param units the logical unit 0 of target 0, 1, ... */
  constructor(name: string, units: readonly ScsiUnit[]) {
    this.name = name;
    this.#units = units.slice(0, TARGETS_MAXIMUM);
  }

  readConfiguration(offset: number, size: AccessSize): number {
    return readBytes(configurationBytes(36, [
      [0, 4, 1], [4, 4, SEGMENTS], [8, 4, SECTORS_MAXIMUM], [12, 4, QUEUE_SIZE / 2], [16, 4, EVENT_BYTES], [senseSizeAt, 4, this.#senseBytes], [cdbSizeAt, 4, this.#cdbBytes],
      [28, 2, 0], [30, 2, TARGETS_MAXIMUM], [32, 4, 0],
    ]), offset, size);
  }

  writeConfiguration(offset: number, size: AccessSize, value: number): void {
    if (size !== 4 || this.#run !== null || value < 1 || value > FIELD_MAXIMUM) return;
    if (offset === senseSizeAt) this.#senseBytes = value;
    if (offset === cdbSizeAt) this.#cdbBytes = value;
  }

  start(run: VirtioRun): void {
    this.#run = run;
    for (const [number, queue] of run.queues.entries()) {
      if (number !== queueNumber.event) for (const chain of queue.retake()) this.#begin(number, chain);
      this.notify(number);
    }
  }

  notify(number: number): void {
    const queue = this.#run?.queues[number];
    if (!queue || number === queueNumber.event) return this.#tellMissed();
    this.#taking = true;
    try {
      for (let chain = queue.take(); chain; chain = queue.take()) this.#begin(number, chain);
    } finally {
      this.#taking = false;
    }
    queue.signal();
  }

  stop(): void {
    this.#run = null;
    this.#epoch += 1;
    this.#tasks.clear();
    this.#waiting = [];
    this.#missed = false;
    this.#senseBytes = SENSE_BYTES;
    this.#cdbBytes = CDB_BYTES;
    for (const unit of this.#units) {
      unit.disk.abandon();
      unit.reset();
    }
  }

  /** The medium or the size of a target's unit is another now: the driver is told, and looks. */
  unitChanged(target: number): void {
    const unit = this.#units[target];
    if (!unit) return;
    const { code, qualifier } = unit.kind === 'disk' ? sense.capacityChanged : { ...sense.mediumChanged, qualifier: 0 };
    this.#tell(event.parameterChange, target, code | (qualifier << 8));
  }

  saveState(): Readonly<Record<string, unknown>> {
    return { senseBytes: this.#senseBytes, cdbBytes: this.#cdbBytes, missed: this.#missed, units: this.#units.map((unit) => ({ numbers: unit.saveState() })) };
  }

  readState(reader: StateReader): () => void {
    const senseBytes = reader.integer('senseBytes', 1, FIELD_MAXIMUM);
    const cdbBytes = reader.integer('cdbBytes', 1, FIELD_MAXIMUM);
    const missed = reader.boolean('missed');
    const units = reader.records('units', this.#units.length).map((row) => row.uints('numbers', 8, ScsiUnit.stateNumbers));
    return () => {
      this.#senseBytes = senseBytes;
      this.#cdbBytes = cdbBytes;
      this.#missed = missed;
      units.forEach((numbers, target) => this.#units[target]?.loadState(numbers));
    };
  }

  // ---- Requests -----------------------------------------------------------------------------------------------------

  #begin(number: number, chain: Chain): void {
    const run = this.#run;
    if (!run) return;
    if (number === queueNumber.control) return this.#control(run, chain);
    const header = new Uint8Array(HEADER_BYTES + Math.max(16, this.#cdbBytes));
    const room = totalLength(chain.writable);
    if (room < RESPONSE_BYTES + this.#senseBytes || !gather(run.memory, chain.readable, 0, header.subarray(0, HEADER_BYTES + this.#cdbBytes))) {
      return run.fail('a SCSI request without its header or without room for the response');
    }
    const place = unitAt(header);
    const task: Task = { chain, target: place?.target ?? 0, queue: number };
    this.#tasks.add(task);
    if (place === null || this.#units[place.target] === undefined) return this.#finish(task, response.badTarget, scsiStatus.good, sense.none, 0);
    this.#perform(run, task, place.lun, header.subarray(HEADER_BYTES));
  }

  #perform(run: VirtioRun, task: Task, lun: number, packet: Uint8Array): void {
    const unit = this.#units[task.target];
    if (!unit) return;
    const outcome = lun === 0 && packet[0] !== reportLuns ? unit.execute(packet) : otherUnit(lun, packet);
    switch (outcome.kind) {
      case 'error': return this.#failed(task, outcome.sense);
      case 'data': return this.#answer(run, task, outcome.bytes);
      case 'disk': return this.#access(run, task, unit, outcome);
      case 'unmap': return this.#unmap(run, task, unit, outcome.length);
    }
  }

  #answer(run: VirtioRun, task: Task, bytes: Uint8Array): void {
    const room = this.#dataIn(task.chain);
    const length = Math.min(bytes.length, totalLength(room));
    if (!scatter(run.memory, room, 0, bytes.subarray(0, length))) return this.#finish(task, response.failure, scsiStatus.good, sense.none, 0);
    this.#finish(task, response.ok, scsiStatus.good, sense.none, length);
  }

  #access(run: VirtioRun, task: Task, unit: ScsiUnit, { operation, offset, length }: Extract<ScsiOutcome, { kind: 'disk' }>): void {
    const segments = operation === 'read' ? this.#dataIn(task.chain) : operation === 'write' ? this.#dataOut(task.chain) : [];
    const carries = operation === 'read' || operation === 'write';
    if (carries && (totalLength(segments) < length || length > SECTORS_MAXIMUM * 512)) return this.#failed(task, unit.fail(sense.invalidField));
    if (carries && length === 0) return this.#finish(task, response.ok, scsiStatus.good, sense.none, 0);
    const data = diskTransfer(operation, run.memory, slice(segments, 0, length));
    this.#submit(unit, operation, offset, length, data, (failure) => {
      if (failure !== null) return this.#failed(task, unit.fail(senseOf(failure, operation)));
      if (!data.reached) return this.#finish(task, response.failure, scsiStatus.good, sense.none, 0);
      this.#finish(task, response.ok, scsiStatus.good, sense.none, operation === 'read' ? length : 0);
    });
  }

  #unmap(run: VirtioRun, task: Task, unit: ScsiUnit, length: number): void {
    const out = this.#dataOut(task.chain);
    const list = new Uint8Array(Math.min(length, totalLength(out)));
    const ranges = gather(run.memory, out, 0, list) ? unmapRanges(list, unit.disk) : null;
    if (ranges === null) return this.#failed(task, unit.fail(sense.parameterList));
    let left = ranges.length;
    let failed: BlockFailure | null = null;
    const done = (failure: BlockFailure | null): void => {
      left -= 1;
      failed ??= failure;
      if (left > 0) return;
      if (failed !== null) this.#failed(task, unit.fail(senseOf(failed, 'discard')));
      else this.#finish(task, response.ok, scsiStatus.good, sense.none, 0);
    };
    if (left === 0) return this.#finish(task, response.ok, scsiStatus.good, sense.none, 0);
    for (const range of ranges) this.#submit(unit, 'discard', range.offset, range.length, { transfer: () => {} }, done);
  }

  #submit(
    unit: ScsiUnit, operation: DiskOperation, offset: number, length: number, data: Pick<ReturnType<typeof diskTransfer>, 'transfer'> & Partial<ReturnType<typeof diskTransfer>>,
    done: (failure: BlockFailure | null) => void,
  ): void {
    const epoch = this.#epoch;
    unit.disk.submit({
      operation, offset, length, transfer: data.transfer, ...(data.views ? { views: data.views } : {}),
      done: (failure) => {
        if (epoch === this.#epoch) done(failure);
      },
    });
  }

  #failed(task: Task, why: Sense): void {
    this.#finish(task, response.ok, scsiStatus.checkCondition, why, 0);
  }

  /** @param written bytes of data that the driver gets */
  #finish(task: Task, how: number, status: number, why: Sense, written: number): void {
    const run = this.#run;
    if (!run || !this.#tasks.delete(task)) return;
    const sensed = status === scsiStatus.checkCondition ? senseData(why).subarray(0, this.#senseBytes) : new Uint8Array(0);
    const bytes = new Uint8Array(RESPONSE_BYTES + this.#senseBytes);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, sensed.length, true);
    view.setUint32(4, Math.max(0, totalLength(this.#dataIn(task.chain)) - written), true);
    view.setUint8(10, status);
    view.setUint8(11, how);
    bytes.set(sensed, RESPONSE_BYTES);
    scatter(run.memory, task.chain.writable, 0, bytes);
    this.#give(run, task.queue, task.chain, bytes.length + written);
    this.#answerWaiting(run);
  }

  #give(run: VirtioRun, number: number, chain: Chain, written: number): void {
    const queue: VirtQueue | undefined = run.queues[number];
    try {
      queue?.give(chain.head, written);
      if (!this.#taking) queue?.signal();
    } catch (error) {
      run.fail(error);
    }
  }

  #dataOut(chain: Chain): ReturnType<typeof slice> {
    const at = HEADER_BYTES + this.#cdbBytes;
    return slice(chain.readable, at, Math.max(0, totalLength(chain.readable) - at));
  }

  #dataIn(chain: Chain): ReturnType<typeof slice> {
    const at = RESPONSE_BYTES + this.#senseBytes;
    return slice(chain.writable, at, Math.max(0, totalLength(chain.writable) - at));
  }

  // ---- Control ------------------------------------------------------------------------------------------------------

  #control(run: VirtioRun, chain: Chain): void {
    const bytes = new Uint8Array(24);
    const length = Math.min(bytes.length, totalLength(chain.readable));
    if (length < 16 || !gather(run.memory, chain.readable, 0, bytes.subarray(0, length))) return run.fail('a SCSI control request that is too short');
    const view = new DataView(bytes.buffer);
    const type = view.getUint32(0, true);
    if (type !== control.taskManagement) {
      // No asynchronous events of their own: nothing is subscribed to.
      const known = type === control.query || type === control.subscribe;
      return this.#reply(run, chain, Uint8Array.of(0, 0, 0, 0, known ? response.ok : response.failure));
    }
    const place = unitAt(bytes.subarray(8));
    const subtype = view.getUint32(4, true);
    if (place === null || this.#units[place.target] === undefined) return this.#reply(run, chain, Uint8Array.of(response.badTarget));
    if (place.lun !== 0) return this.#reply(run, chain, Uint8Array.of(response.incorrectLun));
    if (queries.includes(subtype)) {
      const busy = [...this.#tasks].some(({ target }) => target === place.target);
      return this.#reply(run, chain, Uint8Array.of(busy ? response.functionSucceeded : response.ok));
    }
    if (!abortive.includes(subtype)) return this.#reply(run, chain, Uint8Array.of(response.functionRejected));
    this.#waiting.push({ chain, target: place.target });
    this.#answerWaiting(run);
  }

  /** Tasks cannot be called back from the disk: a function that ends them is complete when they have ended by themselves. */
  #answerWaiting(run: VirtioRun): void {
    const ready = this.#waiting.filter((row) => ![...this.#tasks].some(({ target }) => target === row.target));
    if (ready.length === 0) return;
    this.#waiting = this.#waiting.filter((row) => !ready.includes(row));
    for (const { chain } of ready) this.#reply(run, chain, Uint8Array.of(response.ok));
  }

  #reply(run: VirtioRun, chain: Chain, bytes: Uint8Array): void {
    const length = Math.min(bytes.length, totalLength(chain.writable));
    scatter(run.memory, chain.writable, 0, bytes.subarray(bytes.length - length));
    this.#give(run, queueNumber.control, chain, length);
  }

  // ---- Events -------------------------------------------------------------------------------------------------------

  #tellMissed(): void {
    if (this.#missed) this.#tell(event.none, 0, 0);
  }

  #tell(what: number, target: number, reason: number): void {
    const run = this.#run;
    if (!run) return;
    const queue = run.queues[queueNumber.event];
    try {
      const chain = queue?.take() ?? null;
      if (chain === null || !queue) {
        this.#missed = true;
        return;
      }
      const view = new DataView(new ArrayBuffer(EVENT_BYTES));
      view.setUint32(0, (what | (this.#missed ? event.missed : 0)) >>> 0, true);
      new Uint8Array(view.buffer).set([1, target, 0x40, 0], 4);
      view.setUint32(12, reason, true);
      this.#missed = false;
      const length = Math.min(EVENT_BYTES, totalLength(chain.writable));
      scatter(run.memory, chain.writable, 0, new Uint8Array(view.buffer).subarray(0, length));
      queue.give(chain.head, length);
      queue.signal();
    } catch (error) {
      run.fail(error);
    }
  }
}

/** Target and unit of an address, or null where it is none that can be here. @virtio 5.6.6.1 */
function unitAt(address: Uint8Array): { readonly target: number; readonly lun: number } | null {
  const [form = 0, target = 0, high = 0, low = 0] = address;
  // REPORT LUNS' well-known unit stands for the target.
  if (form === 0xc1 && target === 1) return { target: 0, lun: 0 };
  return form === 1 && (high & 0xc0) <= 0x40 ? { target, lun: ((high & 0x3f) << 8) | low } : null;
}

/** Every target has the unit 0 and no other. @spc-4 6.4.1, 6.33 */
function otherUnit(lun: number, packet: Uint8Array): ScsiOutcome {
  const limit = (high: number): number => new DataView(packet.buffer, packet.byteOffset).getUint32(high);
  if (packet[0] === reportLuns) return { kind: 'data', bytes: Uint8Array.of(0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0).subarray(0, limit(6)) };
  if (packet[0] === inquiry) return { kind: 'data', bytes: Uint8Array.of(noUnit, 0, 5, 2, 31, ...new Array<number>(31).fill(0)).subarray(0, limit(1) & 0xffff) };
  return { kind: 'error', sense: packet[0] === testUnitReady || lun !== 0 ? sense.noSuchUnit : sense.invalidCommand };
}

function senseOf(failure: BlockFailure, operation: DiskOperation): Sense {
  if (failure === 'full') return sense.spaceFailed;
  if (failure === 'read-only') return sense.writeProtected;
  return operation === 'read' ? sense.mediumError : sense.writeError;
}
