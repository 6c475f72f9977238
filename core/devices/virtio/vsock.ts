/** Sockets between the guest and its host as a virtio device. The connections themselves are the host's side (core/vsock). @virtio 5.10 */

import { GUEST_CID, PACKET_HEADER, PAYLOAD_MAXIMUM } from '../../vsock/packet.ts';
import { configurationBytes, readBytes } from './device.ts';
import { gather, scatter, slice, totalLength } from '../segments.ts';
import type { AccessSize } from '../../platform/device.ts';
import type { FrameLink } from '../../net/frameLink.ts';
import type { VirtQueue } from './queue.ts';
import type { VirtioKind, VirtioRun } from './device.ts';

const stream = 1n << 0n;
const queueNumber = { receive: 0, transmit: 1, event: 2 } as const;
const QUEUE_SIZE = 128;
const EVENT_BYTES = 4;
const transportReset = 0;
const lengthAt = 24;

export class VirtioVsock implements VirtioKind {
  readonly name = 'virtio-vsock';
  readonly deviceType = 19;
  readonly classCode = 0x078000;
  readonly features = stream;
  readonly queueSizes = [QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE];
  readonly configurationLength = 8;
  readonly #link: FrameLink;
  readonly #configuration = configurationBytes(8, [[0, 8, GUEST_CID]]);
  #run: VirtioRun | null = null;
  /** Bytes of the oldest packet's data that the guest has got: it may give smaller buffers than the packet is. */
  #delivered = 0;
  /** A packet of the guest was put back because the way to the host was full. */
  #waitsForRoom = false;
  /** The guest has to be told that all connections are gone. */
  #resetDue = false;

  constructor(link: FrameLink) {
    this.#link = link;
  }

  readConfiguration(offset: number, size: AccessSize): number {
    return readBytes(this.#configuration, offset, size);
  }

  writeConfiguration(): void {}

  start(run: VirtioRun): void {
    this.#run = run;
    // A restored device tells its news when the machine goes on, not while it is put together.
    if (!this.#resetDue) this.#pump();
  }

  notify(): void {
    this.#pump();
  }

  stop(): void {
    this.#run = null;
    this.#delivered = 0;
    this.#waitsForRoom = false;
    this.#resetDue = false;
  }

  /** Moves what has come meanwhile. Called before each VM entry. */
  poll(): void {
    if (this.#run && (this.#resetDue || this.#waitsForRoom || this.#link.toDevice.waiting)) this.#pump();
  }

  saveState(): Readonly<Record<string, unknown>> {
    return {};
  }

  /** No connection outlives the process that it was made in. */
  readState(): () => void {
    return () => void (this.#resetDue = true);
  }

  #pump(): void {
    const run = this.#run;
    if (!run) return;
    const [receiving, transmitting, events] = run.queues;
    try {
      if (events?.enabled && this.#resetDue) this.#tellReset(run, events);
      if (transmitting?.enabled) this.#transmit(run, transmitting);
      if (receiving?.enabled) this.#receive(run, receiving);
    } catch (error) {
      run.fail(error);
    }
  }

  #tellReset(run: VirtioRun, queue: VirtQueue): void {
    const chain = queue.take();
    if (chain === null) return;
    this.#resetDue = false;
    const view = new DataView(new ArrayBuffer(EVENT_BYTES));
    view.setUint32(0, transportReset, true);
    const length = Math.min(EVENT_BYTES, totalLength(chain.writable));
    scatter(run.memory, chain.writable, 0, new Uint8Array(view.buffer).subarray(0, length));
    queue.give(chain.head, length);
    queue.signal();
  }

  #transmit(run: VirtioRun, queue: VirtQueue): void {
    this.#waitsForRoom = false;
    for (let chain = queue.take(); chain; chain = queue.take()) {
      const length = totalLength(chain.readable);
      // What cannot be a packet is taken and forgotten.
      if (length >= PACKET_HEADER && length <= PACKET_HEADER + PAYLOAD_MAXIMUM) {
        const place = this.#link.toNetwork.reserve(length);
        if (place === null) {
          queue.untake();
          this.#waitsForRoom = true;
          break;
        }
        if (gather(run.memory, chain.readable, 0, place)) this.#link.toNetwork.commit();
      }
      queue.give(chain.head, 0);
    }
    queue.signal();
  }

  #receive(run: VirtioRun, queue: VirtQueue): void {
    for (let frame = this.#link.toDevice.peek(); frame; frame = this.#link.toDevice.peek()) {
      const data = frame.bytes.subarray(PACKET_HEADER + this.#delivered);
      const chain = frame.bytes.length < PACKET_HEADER ? undefined : queue.take();
      if (chain === null) break;
      if (chain) {
        const room = totalLength(chain.writable) - PACKET_HEADER;
        if (room < 0) return run.fail('a buffer that no packet fits into');
        const piece = data.subarray(0, room);
        const header = frame.bytes.slice(0, PACKET_HEADER);
        new DataView(header.buffer).setUint32(lengthAt, piece.length, true);
        scatter(run.memory, chain.writable, 0, header);
        scatter(run.memory, slice(chain.writable, PACKET_HEADER, piece.length), 0, piece);
        queue.give(chain.head, PACKET_HEADER + piece.length);
        this.#delivered += piece.length;
        if (piece.length < data.length && piece.length > 0) continue;
      }
      this.#delivered = 0;
      this.#link.toDevice.drop();
    }
    queue.signal();
  }
}

/** Queues of the device by what they are for. */
export const vsockQueue = queueNumber;
