/** Consoles and named channels as a virtio device. @virtio 5.3 */

import { configurationBytes, readBytes } from './device.ts';
import { gather, scatter, slice, totalLength } from '../segments.ts';
import type { AccessSize } from '../../platform/device.ts';
import type { Chain, VirtQueue } from './queue.ts';
import type { StateReader } from '../../platform/state.ts';
import type { VirtioKind, VirtioRun } from './device.ts';

const consoleFeature = { multiport: 1n << 1n, emergencyWrite: 1n << 2n } as const;
const control = { deviceReady: 0, deviceAdd: 1, portReady: 3, consolePort: 4, portOpen: 6, portName: 7 } as const;
const controlQueue = { toDriver: 2, fromDriver: 3 } as const;
const emergencyAt = 8;
const QUEUE_SIZE = 64;
const CONTROL_BYTES = 8;
/** What is taken from the guest at once, and what of one buffer: no driver sends more. */
const PIECE = 32 * 1024;
const BUFFER_BYTES = 1024 * 1024;
/** Messages that may wait for a buffer: three for each port, twice over. */
const PENDING_MAXIMUM = 64;
const PORTS_MAXIMUM = 8;

export interface ConsolePort {
  /** What the guest finds it by, below /dev/virtio-ports and in its attributes. */
  readonly name: string;
  /** Takes what the guest sends. */
  readonly output: (bytes: Uint8Array) => void;
}

type Message = readonly [port: number, event: number, value: number];

export class VirtioConsole implements VirtioKind {
  readonly name: string;
  readonly deviceType = 3;
  readonly classCode = 0x078000;
  readonly features = consoleFeature.multiport | consoleFeature.emergencyWrite;
  readonly queueSizes: readonly number[];
  readonly configurationLength = 12;
  readonly #ports: readonly ConsolePort[];
  #run: VirtioRun | null = null;
  /** Messages that found no buffer. */
  #pending: Message[] = [];

  constructor(name: string, ports: readonly ConsolePort[]) {
    this.name = name;
    this.#ports = ports.slice(0, PORTS_MAXIMUM);
    this.queueSizes = new Array<number>(2 * this.#ports.length + 2).fill(QUEUE_SIZE);
  }

  readConfiguration(offset: number, size: AccessSize): number {
    return readBytes(configurationBytes(12, [[4, 4, this.#ports.length]]), offset, size);
  }

  /** The emergency write: a character for the first port, before the driver is ready or after it broke. */
  writeConfiguration(offset: number, _size: AccessSize, value: number): void {
    if (offset === emergencyAt) this.#ports[0]?.output(Uint8Array.of(value & 0xff));
  }

  start(run: VirtioRun): void {
    this.#run = run;
    for (const [number, queue] of run.queues.entries()) {
      for (const chain of queue.retake()) this.#take(number, queue, chain);
      this.notify(number);
    }
  }

  notify(number: number): void {
    const queue = this.#run?.queues[number];
    if (!queue) return;
    if (number === controlQueue.toDriver) return this.#sendPending();
    // Buffers for input wait until there is some.
    if (this.#isInput(number)) return;
    for (let chain = queue.take(); chain; chain = queue.take()) this.#take(number, queue, chain);
    queue.signal();
  }

  stop(): void {
    this.#run = null;
    this.#pending = [];
  }

  /** Offers received bytes to a port; returns how many found room. Without a driver they are lost, as on a line that nobody listens to. */
  receive(port: number, bytes: Uint8Array): number {
    const run = this.#run;
    const queue = run?.queues[inputQueue(port)];
    if (!run || !queue?.enabled) return bytes.length;
    let at = 0;
    try {
      while (at < bytes.length) {
        const chain = queue.take();
        if (chain === null) break;
        const piece = bytes.subarray(at, at + totalLength(chain.writable));
        scatter(run.memory, chain.writable, 0, piece);
        queue.give(chain.head, piece.length);
        at += piece.length;
        if (piece.length === 0) break;
      }
      queue.signal();
    } catch (error) {
      run.fail(error);
    }
    return at;
  }

  saveState(): Readonly<Record<string, unknown>> {
    return { pending: this.#pending.flat() };
  }

  readState(reader: StateReader): () => void {
    const numbers = reader.uints('pending', 16, PENDING_MAXIMUM * 3, false);
    if (numbers.length % 3 !== 0) reader.refuse('pending', 'messages of three numbers');
    return () => {
      this.#pending = Array.from({ length: numbers.length / 3 }, (_, index) => [numbers[index * 3] ?? 0, numbers[index * 3 + 1] ?? 0, numbers[index * 3 + 2] ?? 0]);
    };
  }

  #isInput(number: number): boolean {
    return number % 2 === 0 && number !== controlQueue.toDriver;
  }

  #take(number: number, queue: VirtQueue, chain: Chain): void {
    if (number === controlQueue.fromDriver) this.#controlled(chain);
    else if (!this.#isInput(number)) this.#output(number === 1 ? 0 : (number - 3) >> 1, chain);
    queue.give(chain.head, 0);
  }

  #output(port: number, { readable }: Chain): void {
    const run = this.#run;
    const length = Math.min(totalLength(readable), BUFFER_BYTES);
    for (let at = 0; at < length; at += PIECE) {
      const bytes = new Uint8Array(Math.min(PIECE, length - at));
      // What is no memory is not sent, nor what comes behind it.
      if (!run || !gather(run.memory, slice(readable, at, bytes.length), 0, bytes)) return;
      this.#ports[port]?.output(bytes);
    }
  }

  #controlled({ readable }: Chain): void {
    const bytes = new Uint8Array(CONTROL_BYTES);
    if (!this.#run || !gather(this.#run.memory, readable, 0, bytes)) return;
    const view = new DataView(bytes.buffer);
    const port = view.getUint32(0, true);
    const event = view.getUint16(4, true);
    const value = view.getUint16(6, true);
    if (event === control.deviceReady && value === 1) for (const number of this.#ports.keys()) this.#send([number, control.deviceAdd, 1]);
    if (event === control.portReady && value === 1 && port < this.#ports.length) {
      for (const what of [control.portName, control.consolePort, control.portOpen]) this.#send([port, what, 1]);
    }
  }

  #send(message: Message): void {
    if (this.#pending.length < PENDING_MAXIMUM) this.#pending.push(message);
    this.#sendPending();
  }

  #sendPending(): void {
    const run = this.#run;
    const queue = run?.queues[controlQueue.toDriver];
    if (!run || !queue?.enabled) return;
    for (let message = this.#pending[0]; message; message = this.#pending[0]) {
      const chain = queue.take();
      if (chain === null) break;
      this.#pending.shift();
      const bytes = this.#encode(message).subarray(0, totalLength(chain.writable));
      scatter(run.memory, chain.writable, 0, bytes);
      queue.give(chain.head, bytes.length);
    }
    queue.signal();
  }

  #encode([port, event, value]: Message): Uint8Array {
    const name = event === control.portName ? new TextEncoder().encode(this.#ports[port]?.name ?? '') : new Uint8Array(0);
    const bytes = new Uint8Array(CONTROL_BYTES + name.length);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, port, true);
    view.setUint16(4, event, true);
    view.setUint16(6, value, true);
    bytes.set(name, CONTROL_BYTES);
    return bytes;
  }
}

/** Ports from the second on come behind the control queues. */
function inputQueue(port: number): number {
  return port === 0 ? 0 : 2 * port + 2;
}
