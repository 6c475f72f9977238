/** A network interface as a virtio device. @virtio 5.1 */

import { configurationBytes, readBytes } from './device.ts';
import { FRAME_BYTES_MAXIMUM, frameAbility } from '../../net/frameLink.ts';
import { gather, scatter, totalLength } from '../segments.ts';
import type { AccessSize } from '../../platform/device.ts';
import type { Chain, VirtQueue } from './queue.ts';
import type { Frame, FrameLink } from '../../net/frameLink.ts';
import type { VirtioKind, VirtioRun } from './device.ts';

const netFeature = {
  checksum: 1n << 0n, guestChecksum: 1n << 1n, mac: 1n << 5n, guestTcp4: 1n << 7n, hostTcp4: 1n << 11n, mergeBuffers: 1n << 15n, status: 1n << 16n,
} as const;
const QUEUE_SIZE = 256;
const HEADER_BYTES = 12;
const headerFlag = { needsChecksum: 1 } as const;
const segmentation = { none: 0, tcp4: 1 } as const;
const linkUp = 1;

export class VirtioNet implements VirtioKind {
  readonly name: string;
  readonly deviceType = 1;
  readonly classCode = 0x020000;
  readonly features = Object.values(netFeature).reduce((all, bit) => all | bit, 0n);
  readonly queueSizes = [QUEUE_SIZE, QUEUE_SIZE];
  readonly configurationLength = 8;
  readonly #link: FrameLink;
  readonly #mac: Uint8Array;
  #run: VirtioRun | null = null;
  /** A frame that found no buffer. */
  #held: Frame | null = null;
  #linkWasUp: boolean;

  constructor(name: string, link: FrameLink, mac: Uint8Array) {
    this.name = name;
    this.#link = link;
    this.#mac = mac;
    this.#linkWasUp = link.linkUp;
  }

  readConfiguration(offset: number, size: AccessSize): number {
    const fields = [...this.#mac].map((byte, index) => [index, 1, byte] as const);
    return readBytes(configurationBytes(8, [...fields, [6, 2, this.#link.linkUp ? linkUp : 0]]), offset, size);
  }

  writeConfiguration(): void {}

  start(run: VirtioRun): void {
    this.#run = run;
    const has = (bits: bigint): boolean => (run.features & bits) === bits;
    const large = has(netFeature.guestChecksum | netFeature.guestTcp4 | netFeature.mergeBuffers);
    this.#link.abilities = (has(netFeature.guestChecksum) ? frameAbility.partialChecksum : 0) | (large ? frameAbility.largeTcp4 : 0);
    this.#pump();
  }

  notify(): void {
    this.#pump();
  }

  stop(): void {
    this.#run = null;
    this.#held = null;
    this.#link.abilities = 0;
  }

  /** Moves what has come meanwhile. Called before each VM entry. */
  poll(): void {
    if (this.#linkWasUp !== this.#link.linkUp) {
      this.#linkWasUp = this.#link.linkUp;
      this.#run?.configurationChanged();
    }
    if (this.#run && (this.#held !== null || this.#link.toDevice.waiting || this.#waitsForRoom)) this.#pump();
  }

  saveState(): Readonly<Record<string, unknown>> {
    return {};
  }

  readState(): () => void {
    return () => {};
  }

  /** A frame of the guest was put back because the ring was full. */
  #waitsForRoom = false;

  #pump(): void {
    const [receiving, transmitting] = this.#run?.queues ?? [];
    try {
      if (transmitting?.enabled) this.#transmit(transmitting);
      if (receiving?.enabled) this.#receive(receiving);
    } catch (error) {
      this.#run?.fail(error instanceof Error ? error.message : String(error));
    }
  }

  #transmit(queue: VirtQueue): void {
    this.#waitsForRoom = false;
    for (let chain = queue.take(); chain; chain = queue.take()) {
      const length = totalLength(chain.readable) - HEADER_BYTES;
      if (length > this.#link.toNetwork.room) {
        queue.untake();
        this.#waitsForRoom = true;
        break;
      }
      if (length > 0 && length <= FRAME_BYTES_MAXIMUM) this.#send(chain, length);
      queue.give(chain.head, 0);
    }
    queue.signal();
  }

  #send(chain: Chain, length: number): void {
    const bytes = new Uint8Array(HEADER_BYTES + length);
    const run = this.#run;
    if (run && gather(run.memory, chain.readable, 0, bytes) && this.#link.linkUp) this.#link.toNetwork.push({ bytes: bytes.subarray(HEADER_BYTES) });
  }

  #receive(queue: VirtQueue): void {
    for (;;) {
      this.#held ??= this.#link.toDevice.pull();
      if (this.#held === null || !this.#deliver(queue, this.#held)) break;
      this.#held = null;
    }
    queue.signal();
  }

  /** False when the driver has not given enough room yet. */
  #deliver(queue: VirtQueue, frame: Frame): boolean {
    const run = this.#run;
    if (!run) return true;
    const merges = (run.features & netFeature.mergeBuffers) !== 0n;
    const needed = HEADER_BYTES + frame.bytes.length;
    const chains: Chain[] = [];
    let room = 0;
    while (room < needed && (merges || chains.length === 0)) {
      const chain = queue.take();
      if (chain === null) {
        for (const _ of chains) queue.untake();
        return false;
      }
      chains.push(chain);
      room += totalLength(chain.writable);
    }
    const bytes = new Uint8Array(needed);
    writeHeader(bytes, frame, chains.length);
    bytes.set(frame.bytes, HEADER_BYTES);
    let at = 0;
    for (const chain of chains) {
      // A single buffer that is too small loses the rest: the frame is damaged, which its checksums show.
      const part = bytes.subarray(at, at + totalLength(chain.writable));
      scatter(run.memory, chain.writable, 0, part);
      queue.give(chain.head, part.length);
      at += part.length;
    }
    return true;
  }
}

function writeHeader(into: Uint8Array, { partialChecksum, segmentBytes, headerBytes }: Frame, buffers: number): void {
  const view = new DataView(into.buffer);
  if (partialChecksum) {
    view.setUint8(0, headerFlag.needsChecksum);
    view.setUint16(6, partialChecksum.start, true);
    view.setUint16(8, partialChecksum.offset, true);
  }
  view.setUint8(1, segmentBytes === undefined ? segmentation.none : segmentation.tcp4);
  view.setUint16(2, headerBytes ?? 0, true);
  view.setUint16(4, segmentBytes ?? 0, true);
  view.setUint16(10, buffers, true);
}
