/** A network interface as a virtio device. @virtio 5.1 */

import { configurationBytes, readBytes } from './device.ts';
import { FRAME_BYTES_MAXIMUM, frameAbility } from '../../net/frameLink.ts';
import { gather, scatter, totalLength } from '../segments.ts';
import type { AccessSize } from '../../platform/device.ts';
import type { Chain, VirtQueue } from './queue.ts';
import type { Frame, FrameLink, Offload } from '../../net/frameLink.ts';
import type { Timer, VirtualClock } from '../../platform/clock.ts';
import type { VirtioKind, VirtioRun } from './device.ts';

const netFeature = {
  checksum: 1n << 0n, guestChecksum: 1n << 1n, mac: 1n << 5n, guestTcp4: 1n << 7n, guestTcp6: 1n << 8n, hostTcp4: 1n << 11n, hostTcp6: 1n << 12n,
  mergeBuffers: 1n << 15n, status: 1n << 16n,
} as const;
const QUEUE_SIZE = 256;
const HEADER_BYTES = 12;
const headerFlag = { needsChecksum: 1 } as const;
const segmentation = { none: 0, tcp4: 1, tcp6: 4 } as const;
/** Where a frame says which protocol it carries. */
const ETHER_TYPE_AT = 12;
const linkUp = 1;
/** How long the driver may wait to be told that frames are sent. Usually an answer comes before, and with it the driver looks for itself: then it wants no interrupt. */
const SENT_NS = 1_000_000;
const NOTHING = new Uint8Array(0);

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
  #linkWasUp: boolean;
  readonly #header = new Uint8Array(HEADER_BYTES);
  readonly #view = new DataView(this.#header.buffer);

  /** Tells the driver of sent frames; null: it is told at once. */
  readonly #sent: Timer | null;
  readonly #clock: VirtualClock | null;

  /** @param mac six bytes, @param clock of the machine: interrupts for sent frames may then wait a moment */
  constructor(name: string, link: FrameLink, mac: Uint8Array, clock: VirtualClock | null = null) {
    this.name = name;
    this.#clock = clock;
    this.#sent = clock?.timer(`${name} sent`, () => this.#guarded(() => this.#run?.queues[1]?.signal())) ?? null;
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
    const large = netFeature.guestChecksum | netFeature.mergeBuffers;
    this.#link.abilities = (has(netFeature.guestChecksum) ? frameAbility.partialChecksum : 0)
      | (has(large | netFeature.guestTcp4) ? frameAbility.largeTcp4 : 0) | (has(large | netFeature.guestTcp6) ? frameAbility.largeTcp6 : 0);
    this.#pump();
  }

  notify(): void {
    this.#pump();
  }

  stop(): void {
    this.#run = null;
    this.#sent?.cancel();
    this.#link.abilities = 0;
  }

  /** Moves what has come meanwhile. Called before each VM entry. */
  poll(): void {
    if (this.#linkWasUp !== this.#link.linkUp) {
      this.#linkWasUp = this.#link.linkUp;
      this.#run?.configurationChanged();
    }
    if (this.#run && (this.#link.toDevice.waiting || this.#waitsForRoom)) this.#pump();
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
    this.#guarded(() => {
      const [receiving, transmitting] = this.#run?.queues ?? [];
      if (transmitting?.enabled) this.#transmit(transmitting);
      if (receiving?.enabled) this.#receive(receiving);
    });
  }

  /** Runs what a broken queue may end. */
  #guarded(action: () => void): void {
    try {
      action();
    } catch (error) {
      this.#run?.fail(error);
    }
  }

  #transmit(queue: VirtQueue): void {
    this.#waitsForRoom = false;
    for (let chain = queue.take(); chain; chain = queue.take()) {
      const length = totalLength(chain.readable) - HEADER_BYTES;
      if (length > 0 && length <= FRAME_BYTES_MAXIMUM && this.#link.linkUp && !this.#send(chain, length)) {
        queue.untake();
        this.#waitsForRoom = true;
        break;
      }
      queue.give(chain.head, 0);
    }
    if (queue.untold === 0) return;
    if (!this.#sent || !this.#clock || queue.untold >= queue.size / 4) {
      this.#sent?.cancel();
      queue.signal();
    } else if (this.#sent.deadlineNs === null) this.#sent.arm(this.#clock.nowNs() + SENT_NS);
  }

  /** False when the ring to the network has no room. */
  #send({ readable }: Chain, length: number): boolean {
    const run = this.#run;
    const frame = this.#link.toNetwork.reserve(length);
    if (frame === null) return false;
    const reached = run !== null && gather(run.memory, readable, 0, this.#header) && gather(run.memory, readable, HEADER_BYTES, frame);
    if (reached) this.#link.toNetwork.commit(readHeader(this.#view));
    return true;
  }

  #receive(queue: VirtQueue): void {
    const { toDevice } = this.#link;
    for (let frame = toDevice.peek(); frame && this.#deliver(queue, frame); frame = toDevice.peek()) toDevice.drop();
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
    writeHeader(this.#view, frame, chains.length);
    let at = -HEADER_BYTES;
    for (const { head, writable } of chains) {
      // A single buffer that is too small loses the rest: the frame is damaged, which its checksums show.
      const space = totalLength(writable);
      const header = at < 0 ? this.#header.subarray(0, space) : NOTHING;
      const from = Math.max(at, 0);
      const part = frame.bytes.subarray(from, Math.max(from, at + space));
      if (header.length > 0) scatter(run.memory, writable, 0, header);
      if (part.length > 0) scatter(run.memory, writable, header.length, part);
      queue.give(head, header.length + part.length);
      at += space;
    }
    return true;
  }
}

/** What the driver has left to the device. */
function readHeader(view: DataView): Offload {
  const partial = (view.getUint8(0) & headerFlag.needsChecksum) !== 0;
  const large = view.getUint8(1) !== segmentation.none;
  return {
    ...(partial ? { partialChecksum: { start: view.getUint16(6, true), offset: view.getUint16(8, true) } } : {}),
    ...(large ? { segmentBytes: view.getUint16(4, true), headerBytes: view.getUint16(2, true) } : {}),
  };
}

function writeHeader(view: DataView, { bytes, partialChecksum, segmentBytes, headerBytes }: Frame, buffers: number): void {
  const version6 = bytes[ETHER_TYPE_AT] === 0x86;
  view.setUint8(0, partialChecksum ? headerFlag.needsChecksum : 0);
  view.setUint8(1, segmentBytes === undefined ? segmentation.none : version6 ? segmentation.tcp6 : segmentation.tcp4);
  view.setUint16(2, headerBytes ?? 0, true);
  view.setUint16(4, segmentBytes ?? 0, true);
  view.setUint16(6, partialChecksum?.start ?? 0, true);
  view.setUint16(8, partialChecksum?.offset ?? 0, true);
  view.setUint16(10, buffers, true);
}
