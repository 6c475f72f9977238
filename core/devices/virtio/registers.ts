/** The registers of a virtio device on PCI: common configuration, interrupt status, device configuration, notifications. @virtio 4.1.4 */

import { QueueError, VirtQueue } from './queue.ts';
import { StateReader } from '../../platform/state.ts';
import { feature } from './device.ts';
import type { AccessSize, DeviceState } from '../../platform/device.ts';
import type { GuestMemoryAccess } from '../segments.ts';
import type { VirtioKind, VirtioRun } from './device.ts';

/** Where the structures lie in the BAR. */
export const layout = { common: 0, interrupt: 0x1000, device: 0x2000, notify: 0x3000, bytes: 0x4000, notifyMultiplier: 4, commonLength: 0x3c } as const;

const status = { acknowledge: 1, driver: 2, driverOk: 4, featuresOk: 8, needsReset: 0x40, failed: 0x80 } as const;
const interruptCause = { queue: 1, configuration: 2 } as const;
/** A vector that interrupts nobody. */
const NO_VECTOR = 0xffff;

/** How interrupts leave the function. */
export interface VirtioInterrupts {
  /** MSI-X is on: vectors count, the interrupt status does not. */
  readonly messages: boolean;
  readonly vectors: number;
  sendMessage(vector: number): void;
  setLine(asserted: boolean): void;
}

interface Registers {
  status: number;
  featureSelect: number;
  driverFeatureSelect: number;
  driverFeatures: bigint;
  configurationVector: number;
  queueSelect: number;
  queueVectors: number[];
  interrupt: number;
  generation: number;
}

interface Field {
  readonly offset: number;
  readonly size: AccessSize;
  readonly read: () => number;
  readonly write?: (value: number) => void;
}

export class VirtioRegisters {
  readonly queues: readonly VirtQueue[];
  readonly #kind: VirtioKind;
  readonly #memory: GuestMemoryAccess;
  readonly #interrupts: VirtioInterrupts;
  readonly #offered: bigint;
  readonly #fields: readonly Field[];
  #registers: Registers;
  /** What broke the device, for people who look. */
  failure: string | null = null;

  constructor(kind: VirtioKind, memory: GuestMemoryAccess, interrupts: VirtioInterrupts) {
    this.#kind = kind;
    this.#memory = memory;
    this.#interrupts = interrupts;
    this.#offered = kind.features | feature.indirect | feature.eventIndex | feature.version1 | feature.accessPlatform;
    this.queues = kind.queueSizes.map((size, index) => new VirtQueue(size, memory, { interrupt: () => this.#raise(interruptCause.queue, this.#registers.queueVectors[index] ?? NO_VECTOR) }));
    this.#registers = this.#powerOn();
    this.#fields = this.#rows();
  }

  read(offset: number, size: AccessSize): number {
    if (offset >= layout.notify) return 0;
    if (offset >= layout.device) return this.#kind.readConfiguration(offset - layout.device, size);
    if (offset >= layout.interrupt) return offset === layout.interrupt ? this.#takeInterrupt() : 0;
    const field = this.#fields.find(row => row.offset === offset && row.size === size);
    if (field) return field.read() >>> 0;
    return this.#readParts(offset, size);
  }

  write(offset: number, size: AccessSize, value: number): void {
    if (offset >= layout.notify) this.#notify(Math.floor((offset - layout.notify) / layout.notifyMultiplier));
    else if (offset >= layout.device) this.#kind.writeConfiguration(offset - layout.device, size, value);
    else if (offset < layout.interrupt) this.#fields.find(row => row.offset === offset && row.size === size)?.write?.(value);
  }

  /** Runs what a queue's error may end: the device then asks to be reset. */
  guard(action: () => void): void {
    try {
      action();
    } catch (error) {
      if (!(error instanceof QueueError)) throw error;
      this.#fail(error.message);
    }
  }

  reset(): void {
    this.#kind.stop();
    for (const queue of this.queues) queue.reset();
    this.#registers = this.#powerOn();
    this.failure = null;
    this.#interrupts.setLine(false);
  }

  saveState(): Omit<DeviceState, 'version'> {
    const { driverFeatures, queueVectors } = this.#registers;
    return {
      ...this.#registers, driverFeatures: driverFeatures.toString(), queueVectors: [...queueVectors],
      queues: this.queues.map(queue => queue.saveState()), kind: this.#kind.saveState(),
    };
  }

  /** Checks a saved state; the function returned puts it in place and goes on. */
  readState(reader: StateReader): () => void {
    const registers: Registers = {
      status: reader.uint('status', 8), featureSelect: reader.uint('featureSelect', 32), driverFeatureSelect: reader.uint('driverFeatureSelect', 32),
      driverFeatures: reader.uint64('driverFeatures'), configurationVector: reader.uint('configurationVector', 16), queueSelect: reader.uint('queueSelect', 16),
      queueVectors: reader.uints('queueVectors', 16, this.queues.length), interrupt: reader.uint('interrupt', 2), generation: reader.uint('generation', 8),
    };
    const agreed = (registers.status & status.featuresOk) !== 0;
    if (agreed && (registers.driverFeatures & ~this.#offered) !== 0n) reader.refuse('driverFeatures', 'features that this device offers');
    const queues = reader.records('queues', this.queues.length).map((queue, index) => VirtQueue.readState(queue, this.queues[index]?.limit ?? 0));
    const applyKind = this.#kind.readState(reader.record('kind'));
    return () => {
      if (this.#running) this.#kind.stop();
      this.#registers = registers;
      queues.forEach((fields, index) => this.queues[index]?.restore(fields));
      applyKind();
      this.#updateLine();
      if (this.#running) this.#start();
    };
  }

  get #running(): boolean {
    return (this.#registers.status & (status.driverOk | status.needsReset)) === status.driverOk;
  }

  #powerOn(): Registers {
    return {
      status: 0, featureSelect: 0, driverFeatureSelect: 0, driverFeatures: 0n, configurationVector: NO_VECTOR, queueSelect: 0,
      queueVectors: this.queues.map(() => NO_VECTOR), interrupt: 0, generation: 0,
    };
  }

  /** The common configuration structure, field by field. @virtio 4.1.4.3 */
  #rows(): readonly Field[] {
    const state = (): Registers => this.#registers;
    const queue = (): VirtQueue | undefined => this.queues[state().queueSelect];
    const half = (value: bigint, select: number): number => (select < 2 ? Number((value >> BigInt(32 * select)) & 0xffffffffn) : 0);
    const rows: Field[] = [
      { offset: 0x00, size: 4, read: () => state().featureSelect, write: value => void (state().featureSelect = value) },
      { offset: 0x04, size: 4, read: () => half(this.#offered, state().featureSelect) },
      { offset: 0x08, size: 4, read: () => state().driverFeatureSelect, write: value => void (state().driverFeatureSelect = value) },
      { offset: 0x0c, size: 4, read: () => half(state().driverFeatures, state().driverFeatureSelect), write: value => this.#writeFeatures(value) },
      { offset: 0x10, size: 2, read: () => state().configurationVector, write: value => void (state().configurationVector = this.#vector(value)) },
      { offset: 0x12, size: 2, read: () => this.queues.length },
      { offset: 0x14, size: 1, read: () => state().status, write: value => this.#writeStatus(value) },
      { offset: 0x15, size: 1, read: () => state().generation },
      { offset: 0x16, size: 2, read: () => state().queueSelect, write: value => void (state().queueSelect = value) },
      { offset: 0x18, size: 2, read: () => queue()?.size ?? 0, write: value => queue()?.setSize(value) },
      { offset: 0x1a, size: 2, read: () => state().queueVectors[state().queueSelect] ?? NO_VECTOR, write: value => this.#writeQueueVector(value) },
      { offset: 0x1c, size: 2, read: () => Number(queue()?.enabled ?? false), write: value => void (value === 1 && queue()?.enable()) },
      { offset: 0x1e, size: 2, read: () => state().queueSelect },
    ];
    const addresses = [[0x20, 'descriptors'], [0x28, 'driver'], [0x30, 'device']] as const;
    for (const [offset, name] of addresses) {
      const value = (): number => queue()?.addresses[name] ?? 0;
      rows.push(
        { offset, size: 4, read: () => value() % 2 ** 32, write: low => queue()?.setAddresses({ [name]: Math.floor(value() / 2 ** 32) * 2 ** 32 + low }) },
        // No memory lies above 2^53, and no more is remembered.
        { offset: offset + 4, size: 4, read: () => Math.floor(value() / 2 ** 32), write: high => queue()?.setAddresses({ [name]: (high & 0x1fffff) * 2 ** 32 + (value() % 2 ** 32) }) },
      );
    }
    return rows;
  }

  #readParts(offset: number, size: AccessSize): number {
    let value = 0;
    for (let byte = size - 1; byte >= 0; byte--) {
      const at = offset + byte;
      const field = this.#fields.find(row => at >= row.offset && at < row.offset + row.size);
      value = value * 256 + (field ? Math.floor((field.read() >>> 0) / 256 ** (at - field.offset)) % 256 : 0);
    }
    return value;
  }

  #vector(value: number): number {
    return value < this.#interrupts.vectors ? value : NO_VECTOR;
  }

  #writeQueueVector(value: number): void {
    const { queueSelect, queueVectors } = this.#registers;
    if (queueSelect < queueVectors.length) queueVectors[queueSelect] = this.#vector(value);
  }

  #writeFeatures(value: number): void {
    const registers = this.#registers;
    if (registers.driverFeatureSelect > 1 || (registers.status & status.featuresOk) !== 0) return;
    const shift = BigInt(32 * registers.driverFeatureSelect);
    registers.driverFeatures = (registers.driverFeatures & ~(0xffffffffn << shift)) | (BigInt(value >>> 0) << shift);
  }

  #writeStatus(value: number): void {
    if (value === 0) return this.reset();
    const registers = this.#registers;
    const rising = value & ~registers.status;
    let next = (registers.status | value) & ~status.needsReset;
    if ((rising & status.featuresOk) !== 0) {
      const asked = registers.driverFeatures;
      // A driver that asks for what is not offered, or cannot do without version 1, sees the bit stay clear.
      if ((asked & ~this.#offered) !== 0n || (asked & feature.version1) === 0n) next &= ~status.featuresOk;
    }
    if ((next & status.driverOk) !== 0 && (next & status.featuresOk) === 0) next &= ~status.driverOk;
    const started = !this.#running && (next & status.driverOk) !== 0 && (registers.status & status.needsReset) === 0;
    registers.status = next | (registers.status & status.needsReset);
    if (started) this.#start();
  }

  #start(): void {
    const features = this.#registers.driverFeatures;
    for (const queue of this.queues) queue.eventIndex = (features & feature.eventIndex) !== 0n;
    const run: VirtioRun = {
      features, queues: this.queues, memory: this.#memory,
      fail: reason => this.#fail(reason instanceof Error ? reason.message : String(reason)),
      configurationChanged: () => {
        this.#registers.generation = (this.#registers.generation + 1) & 0xff;
        this.#raise(interruptCause.configuration, this.#registers.configurationVector);
      },
    };
    this.guard(() => this.#kind.start(run));
  }

  #notify(queue: number): void {
    if (this.#running && queue < this.queues.length) this.guard(() => this.#kind.notify(queue));
  }

  #fail(reason: string): void {
    if (this.#running) this.#kind.stop();
    this.failure = reason;
    this.#registers.status |= status.needsReset;
    this.#raise(interruptCause.configuration, this.#registers.configurationVector);
  }

  #raise(cause: number, vector: number): void {
    if (this.#interrupts.messages) {
      if (vector !== NO_VECTOR) this.#interrupts.sendMessage(vector);
      return;
    }
    this.#registers.interrupt |= cause;
    this.#updateLine();
  }

  /** Reading the interrupt status clears it. */
  #takeInterrupt(): number {
    const { interrupt } = this.#registers;
    this.#registers.interrupt = 0;
    this.#updateLine();
    return interrupt;
  }

  #updateLine(): void {
    this.#interrupts.setLine(this.#registers.interrupt !== 0);
  }
}
