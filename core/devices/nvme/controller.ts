/** An NVMe controller with one namespace. @nvme 1.4 */

import { MsiX } from '../../platform/pci/messages.ts';
import { NvmeCommands } from './commands.ts';
import { PciFunction } from '../../platform/pci/function.ts';
import { express, expressType } from '../../platform/pci/capabilities.ts';
import { memoryOf } from '../segments.ts';
import { extract } from '../../platform/device.ts';
import { ENTRIES_MAXIMUM, isFull, postCompletion, readCompletion, readSubmission, saveCompletion, saveSubmission, takeCommand } from './queues.ts';
import type { AccessSize, DeviceState } from '../../platform/device.ts';
import type { CompletionQueue, SubmissionQueue } from './queues.ts';
import type { Disk } from '../../block/link.ts';
import type { StateReader } from '../../platform/state.ts';

/** Pairs of I/O queues besides the admin queues. */
export const IO_QUEUES = 8;
const VECTORS = IO_QUEUES + 1;
export const REGISTER_BYTES = 0x4000;
const DOORBELLS = 0x1000;
const TABLE = 0x2000;

const register = {
  capabilities: 0x00, capabilitiesHigh: 0x04, version: 0x08, maskSet: 0x0c, maskClear: 0x10, configuration: 0x14, status: 0x1c, adminSizes: 0x24,
  adminSubmission: 0x28, adminSubmissionHigh: 0x2c, adminCompletion: 0x30, adminCompletionHigh: 0x34,
} as const;
const enable = 1;
const ready = 1;
const fatal = 2;
const shutdownMask = 3 << 14;
const shutdownDone = 2 << 2;
/** Time to become ready in units of 500 ms; queues are contiguous. High half: NVM command set. */
const CAPABILITIES = ((20 << 24) | (1 << 16) | (ENTRIES_MAXIMUM - 1)) >>> 0;
const CAPABILITIES_HIGH = 1 << 5;
const VERSION = 0x00010400;

interface Registers {
  mask: number;
  configuration: number;
  status: number;
  adminSizes: number;
  adminSubmission: number;
  adminCompletion: number;
}

const powerOn = (): Registers => ({ mask: 0, configuration: 0, status: 0, adminSizes: 0, adminSubmission: 0, adminCompletion: 0 });

export class NvmeController extends PciFunction {
  override readonly version: number = 1;
  readonly registers = {
    read: (offset: number, size: AccessSize): number => this.#readBar(offset, size), write: (offset: number, size: AccessSize, value: number): void => this.#writeBar(offset, size, value),
  };
  readonly #commands: NvmeCommands;
  readonly #disk: Disk;
  readonly #memory = memoryOf(this);
  #registers = powerOn();
  #submission = new Map<number, SubmissionQueue>();
  #completion = new Map<number, CompletionQueue>();
  /** Submission queues from which commands are being taken. */
  readonly #taking = new Set<SubmissionQueue>();
  /** Completions that found their queue full. */
  #delayed: (() => void)[] = [];
  #epoch = 0;

  /** @param type what it is to PCI Express: behind a port no part of the root complex */
  constructor(name: string, disk: Disk, serial: string, type: number = expressType.integratedEndpoint) {
    const msix = new MsiX(VECTORS, 0, TABLE);
    const behind = { name, read: (offset: number, size: AccessSize) => this.registers.read(offset, size), write: (offset: number, size: AccessSize, value: number) => this.registers.write(offset, size, value) };
    super(name, {
      vendor: 0x1af4, device: 0x1110, classCode: 0x010802, revision: 1, subsystemVendor: 0x1af4, subsystem: 0x1100, interruptPin: 1,
    }, { msix, capabilities: [express(type)], bars: [{ space: 'memory', size: REGISTER_BYTES, wide: true, registers: behind }, null] });
    this.#disk = disk;
    this.#commands = new NvmeCommands(disk, serial, this.#memory, {
      createSubmission: queue => this.#submission.set(queue.id, queue), createCompletion: queue => this.#completion.set(queue.id, queue),
      submission: id => this.#submission.get(id), completion: id => this.#completion.get(id),
      deleteSubmission: id => this.#submission.delete(id),
      deleteCompletion: id => this.#completion.delete(id),
      vectors: VECTORS, queues: IO_QUEUES,
    });
  }

  /** The disk is larger than it was. */
  sizeChanged(): void {
    this.#commands.namespaceChanged();
  }

  override reset(): void {
    super.reset();
    this.#stop();
    this.#registers = powerOn();
  }

  override saveState(): DeviceState {
    return {
      ...super.saveState(), registers: { ...this.#registers }, commands: this.#commands.saveState(),
      submission: [...this.#submission.values()].map(saveSubmission), completion: [...this.#completion.values()].map(saveCompletion),
    };
  }

  protected override checkState(reader: StateReader): () => void {
    const restoreFunction = super.checkState(reader);
    const row = reader.record('registers');
    const registers: Registers = {
      mask: row.uint('mask', 32), configuration: row.uint('configuration', 32), status: row.uint('status', 32), adminSizes: row.uint('adminSizes', 32),
      adminSubmission: row.uint('adminSubmission', 53), adminCompletion: row.uint('adminCompletion', 53),
    };
    const restoreCommands = this.#commands.readState(reader.record('commands'));
    const submission = reader.recordsUpTo('submission', IO_QUEUES + 1).map(readSubmission);
    const completion = reader.recordsUpTo('completion', IO_QUEUES + 1).map(readCompletion);
    return () => {
      this.#stop();
      restoreFunction();
      this.#registers = registers;
      restoreCommands();
      this.#submission = new Map(submission.map(queue => [queue.id, queue]));
      this.#completion = new Map(completion.map(queue => [queue.id, queue]));
      for (const queue of submission) for (const command of queue.running.values()) this.#execute(queue, command);
      this.#updateLine();
    };
  }

  // ---- Registers ----------------------------------------------------------------------------------------------------

  #readBar(offset: number, size: AccessSize): number {
    if (offset >= TABLE) return this.msix?.read(offset - TABLE, size) ?? 0;
    return offset >= DOORBELLS ? 0 : extract(this.#read(offset & ~3), offset & 3, size);
  }

  #writeBar(offset: number, size: AccessSize, value: number): void {
    if (offset >= TABLE) this.msix?.write(offset - TABLE, size, value);
    else if (offset >= DOORBELLS) this.#ring((offset - DOORBELLS) >> 2, value & 0xffff);
    else if (size === 4) this.#write(offset, value);
  }

  #read(offset: number): number {
    const { mask, configuration, status: state, adminSizes, adminSubmission, adminCompletion } = this.#registers;
    switch (offset) {
      case register.capabilities: return CAPABILITIES;
      case register.capabilitiesHigh: return CAPABILITIES_HIGH;
      case register.version: return VERSION;
      case register.maskSet: case register.maskClear: return mask;
      case register.configuration: return configuration;
      case register.status: return state;
      case register.adminSizes: return adminSizes;
      case register.adminSubmission: return adminSubmission % 2 ** 32;
      case register.adminSubmissionHigh: return Math.floor(adminSubmission / 2 ** 32);
      case register.adminCompletion: return adminCompletion % 2 ** 32;
      case register.adminCompletionHigh: return Math.floor(adminCompletion / 2 ** 32);
      default: return 0;
    }
  }

  #write(offset: number, value: number): void {
    const registers = this.#registers;
    const low = (before: number): number => Math.floor(before / 2 ** 32) * 2 ** 32 + (value & ~4095 ? (value & ~4095) >>> 0 : 0);
    // No memory lies above 2^53, and no more is remembered.
    const high = (before: number): number => (value & 0x1fffff) * 2 ** 32 + (before % 2 ** 32);
    switch (offset) {
      case register.maskSet: registers.mask = (registers.mask | value) >>> 0; return this.#updateLine();
      case register.maskClear: registers.mask = (registers.mask & ~value) >>> 0; return this.#updateLine();
      case register.configuration: return this.#configure(value);
      case register.adminSizes: registers.adminSizes = value & 0x0fff0fff; return;
      case register.adminSubmission: registers.adminSubmission = low(registers.adminSubmission); return;
      case register.adminSubmissionHigh: registers.adminSubmission = high(registers.adminSubmission); return;
      case register.adminCompletion: registers.adminCompletion = low(registers.adminCompletion); return;
      case register.adminCompletionHigh: registers.adminCompletion = high(registers.adminCompletion); return;
      default:
    }
  }

  #configure(value: number): void {
    const registers = this.#registers;
    const before = registers.configuration;
    registers.configuration = value;
    if ((value & enable) !== 0 && (before & enable) === 0) this.#start();
    if ((value & enable) === 0 && (before & enable) !== 0) {
      this.#stop();
      registers.status = 0;
    }
    if ((value & shutdownMask) !== 0 && (before & shutdownMask) === 0) registers.status |= shutdownDone;
    else if ((value & shutdownMask) === 0) registers.status &= ~(3 << 2);
  }

  #start(): void {
    const { configuration, adminSizes, adminSubmission, adminCompletion } = this.#registers;
    // Pages of 4 KiB and the NVM command set are all there is.
    if (((configuration >> 4) & 0x7ff) % 8 !== 0 || ((configuration >> 7) & 15) !== 0) {
      this.#registers.status = fatal;
      return;
    }
    const entries = (shift: number): number => Math.min(Math.max(2, ((adminSizes >>> shift) & 0xfff) + 1), ENTRIES_MAXIMUM);
    this.#submission.set(0, { id: 0, address: adminSubmission, entries: entries(0), completion: 0, head: 0, tail: 0, running: new Map() });
    this.#completion.set(0, { id: 0, address: adminCompletion, entries: entries(16), vector: 0, head: 0, tail: 0, phase: 1 });
    this.#registers.status = ready;
  }

  #stop(): void {
    this.#epoch += 1;
    this.#disk.abandon();
    this.#submission.clear();
    this.#completion.clear();
    this.#delayed = [];
    this.#commands.stop();
    this.#updateLine();
  }

  // ---- Queues -------------------------------------------------------------------------------------------------------

  /** Doorbells: even numbers are submission tails, odd ones completion heads. */
  #ring(number: number, value: number): void {
    if ((this.#registers.status & (ready | fatal)) !== ready) return;
    const queue = number % 2 === 0 ? this.#submission.get(number >> 1) : this.#completion.get(number >> 1);
    if (!queue || value >= queue.entries) return;
    if ('running' in queue) {
      queue.tail = value;
      this.#take(queue);
    } else {
      queue.head = value;
      for (const post of this.#delayed.splice(0)) post();
      this.#updateLine();
    }
  }

  #take(queue: SubmissionQueue): void {
    // A command that is completed at once comes by here again.
    if (this.#taking.has(queue)) return;
    this.#taking.add(queue);
    try {
      this.#takeAll(queue);
    } finally {
      this.#taking.delete(queue);
    }
  }

  #takeAll(queue: SubmissionQueue): void {
    // A queue's own length bounds what is under way: a driver that reuses entries early waits.
    while (queue.running.size < queue.entries) {
      const command = takeCommand(this.#memory, queue);
      if (command === null) return;
      if (command === false) {
        this.#registers.status |= fatal;
        return;
      }
      queue.running.set((command[0] ?? 0) >>> 16, command);
      this.#execute(queue, command);
    }
  }

  #execute(queue: SubmissionQueue, command: Uint32Array): void {
    const epoch = this.#epoch;
    const done = (code: number, result = 0): void => {
      if (epoch === this.#epoch) this.#complete(queue, (command[0] ?? 0) >>> 16, code, result);
    };
    if (queue.id === 0) this.#commands.admin(command, done);
    else this.#commands.io(command, done);
  }

  #complete(queue: SubmissionQueue, command: number, code: number, result: number): void {
    const target = this.#completion.get(queue.completion);
    if (target && isFull(target)) {
      const epoch = this.#epoch;
      this.#delayed.push(() => {
        if (epoch === this.#epoch) this.#complete(queue, command, code, result);
      });
      return;
    }
    queue.running.delete(command);
    if (!target) return;
    if (!postCompletion(this.#memory, target, queue, command, code, result)) this.#registers.status |= fatal;
    if (target.vector !== null) {
      if (this.usesMessages) this.signal(target.vector);
      this.#updateLine();
    }
    this.#take(queue);
  }

  /** What counts without MSI-X: asserted while a queue with interrupts holds entries that software has not taken. */
  #updateLine(): void {
    let waiting = false;
    for (const { head, tail, vector } of this.#completion.values()) waiting ||= vector !== null && head !== tail;
    this.setInterrupt(waiting && (this.#registers.mask & 1) === 0);
  }
}
