/** Frames of the guest: descriptors of three kinds, checksums and segmentation as its contexts say. @82574 7.2 */

import { DescriptorRing, bufferAddress } from './ring.ts';
import { register, tctl, transmitQueues } from './registers.ts';
import { cause } from './interrupts.ts';
import { ETHERNET_BYTES, etherType, fold, sumWords, viewOf } from '../../net/packets.ts';
import { writeIpv4Checksum } from '../../net/offload.ts';
import { FRAME_BYTES_MAXIMUM } from '../../net/frameLink.ts';
import type { FrameLink, Offload } from '../../net/frameLink.ts';
import type { GuestMemoryAccess } from '../segments.ts';
import type { RegisterFile } from './registers.ts';
import type { StateReader } from '../../platform/state.ts';

/** Of the second half of a descriptor's third double word. */
const command = { endOfPacket: 1 << 24, legacyChecksum: 1 << 26, segment: 1 << 26, report: 1 << 27, extended: 1 << 29 } as const;
const descriptorType = { mask: 0xf << 20, context: 0, data: 1 << 20 } as const;
const option = { ipChecksum: 1 << 8, checksum: 1 << 9 } as const;
const descriptorDone = 1;
const lengthMask = 0xfffff;
const queueCauses = [cause.transmitQueue0, cause.transmitQueue1] as const;

/** What a context descriptor says of the packets behind it. */
interface Context {
  ipStart: number;
  checksumStart: number;
  checksumAt: number;
  headerBytes: number;
  segmentBytes: number;
}

const noContext = (): Context => ({ ipStart: 0, checksumStart: 0, checksumAt: 0, headerBytes: 0, segmentBytes: 0 });

/** A packet whose descriptors are all there. */
interface Packet {
  readonly descriptors: number;
  readonly pieces: readonly { readonly address: number; readonly length: number }[];
  readonly length: number;
  readonly segmented: boolean;
  readonly offload: Offload;
  readonly ipChecksum: boolean;
}

export class Transmitter {
  readonly #registers: RegisterFile;
  readonly #memory: GuestMemoryAccess;
  readonly #link: FrameLink;
  readonly #rings: readonly DescriptorRing[];
  readonly #contexts = transmitQueues.map(noContext);
  /** A packet found no room in the ring to the network. */
  waitsForRoom = false;

  constructor(registers: RegisterFile, memory: GuestMemoryAccess, link: FrameLink) {
    this.#registers = registers;
    this.#memory = memory;
    this.#link = link;
    this.#rings = transmitQueues.map((base) => new DescriptorRing(registers, memory, base));
  }

  reset(): void {
    this.waitsForRoom = false;
    this.#contexts.forEach((context) => Object.assign(context, noContext()));
  }

  /** Sends what is there. Returns the causes to raise. */
  run(): number {
    this.waitsForRoom = false;
    if (!this.#registers.has(register.tctl, tctl.enable)) return 0;
    return this.#rings.reduce((causes, ring, queue) => causes | this.#runQueue(ring, queue), 0);
  }

  save(): readonly Readonly<Record<string, unknown>>[] {
    return this.#contexts.map((context) => ({ ...context }));
  }

  check(readers: readonly StateReader[]): () => void {
    const contexts = readers.map((reader): Context => ({
      ipStart: reader.uint('ipStart', 8), checksumStart: reader.uint('checksumStart', 8), checksumAt: reader.uint('checksumAt', 8), headerBytes: reader.uint('headerBytes', 8),
      segmentBytes: reader.uint('segmentBytes', 16),
    }));
    return () => contexts.forEach((context, index) => Object.assign(this.#contexts[index] ?? {}, context));
  }

  #runQueue(ring: DescriptorRing, queue: number): number {
    let causes = 0;
    while (ring.available > 0) {
      const packet = this.#gather(ring, queue);
      if (packet === null || !this.#send(packet)) break;
      if (this.#writeBack(ring, packet.descriptors)) causes |= cause.transmitted | (queueCauses[queue] ?? 0);
      ring.advance(packet.descriptors);
      if (ring.available === 0) causes |= cause.transmitEmpty;
    }
    return causes;
  }

  /** The next packet, or null when its end is not there yet. */
  #gather(ring: DescriptorRing, queue: number): Packet | null {
    const { available, entries, view } = ring;
    const context = this.#contexts[queue] ?? noContext();
    const pieces: { address: number; length: number }[] = [];
    let length = 0;
    let options = 0;
    let segmented = false;
    let legacy: Offload | null = null;
    for (let index = 0; index < available; index++) {
      if (!ring.read(index)) return null;
      const word = view.getUint32(8, true);
      const extended = (word & command.extended) !== 0;
      if (extended && (word & descriptorType.mask) === descriptorType.context) {
        readContext(context, view);
        if (pieces.length === 0) return nothing(index + 1);
        continue;
      }
      const size = extended ? word & lengthMask : word & 0xffff;
      if (pieces.length === 0) options = extended ? view.getUint32(12, true) : 0;
      if (extended) segmented ||= (word & command.segment) !== 0;
      else if ((word & command.legacyChecksum) !== 0) legacy = partial(view.getUint8(13), (word >>> 16) & 0xff);
      pieces.push({ address: bufferAddress(view), length: size });
      length += size;
      if ((word & command.endOfPacket) === 0) continue;
      const checksum = (options & option.checksum) !== 0 ? partial(context.checksumStart, context.checksumAt) : legacy ?? {};
      const offload = segmented ? { ...checksum, segmentBytes: context.segmentBytes, headerBytes: context.headerBytes } : checksum;
      return { descriptors: index + 1, pieces, length, segmented, offload, ipChecksum: (options & option.ipChecksum) !== 0 };
    }
    // A ring that is full of one packet will never hold its end.
    return available === entries - 1 ? nothing(available) : null;
  }

  /** False when the ring to the network has no room. */
  #send({ pieces, length, segmented, offload, ipChecksum }: Packet): boolean {
    const short = length < ETHERNET_BYTES || length > FRAME_BYTES_MAXIMUM;
    if (short || !this.#link.linkUp) return true;
    const frame = this.#link.toNetwork.reserve(length);
    if (frame === null) {
      this.waitsForRoom = true;
      return false;
    }
    let at = 0;
    for (const { address, length: size } of pieces) {
      if (!this.#memory.read(address, frame.subarray(at, at + size))) return true;
      at += size;
    }
    if (segmented) writeLengths(frame, offload);
    if (ipChecksum && viewOf(frame).getUint16(12) === etherType.ipv4) writeIpv4Checksum(frame.subarray(ETHERNET_BYTES));
    this.#link.toNetwork.commit(offload);
    this.#registers.countFrame('transmitted', frame);
    return true;
  }

  /** Reports to who asked. Returns whether somebody did. */
  #writeBack(ring: DescriptorRing, count: number): boolean {
    let reported = false;
    for (let index = 0; index < count; index++) {
      if (!ring.read(index)) break;
      if ((ring.view.getUint32(8, true) & command.report) === 0) continue;
      ring.view.setUint8(12, ring.view.getUint8(12) | descriptorDone);
      ring.write(index);
      reported = true;
    }
    return reported;
  }
}

/** Descriptors that are no packet. */
function nothing(descriptors: number): Packet {
  return { descriptors, pieces: [], length: 0, segmented: false, offload: {}, ipChecksum: false };
}

function readContext(context: Context, view: DataView): void {
  context.ipStart = view.getUint8(0);
  context.checksumStart = view.getUint8(4);
  context.checksumAt = view.getUint8(5);
  context.headerBytes = view.getUint8(13);
  context.segmentBytes = view.getUint16(14, true);
}

function partial(start: number, at: number): Offload {
  return at >= start ? { partialChecksum: { start, offset: at - start } } : {};
}

/** In a long segment software leaves lengths out, of the headers and of the pseudo header's sum: the part would write those of each piece. */
function writeLengths(frame: Uint8Array, { partialChecksum }: Offload): void {
  const view = viewOf(frame);
  const type = view.getUint16(12);
  const packetBytes = frame.length - ETHERNET_BYTES;
  if (type === etherType.ipv4 && packetBytes >= 20) {
    view.setUint16(ETHERNET_BYTES + 2, Math.min(packetBytes, 0xffff));
    writeIpv4Checksum(frame.subarray(ETHERNET_BYTES));
  } else if (type === etherType.ipv6 && packetBytes >= 40) view.setUint16(ETHERNET_BYTES + 4, Math.min(packetBytes - 40, 0xffff));
  if (!partialChecksum) return;
  const at = partialChecksum.start + partialChecksum.offset;
  if (at + 2 > frame.length) return;
  view.setUint16(at, fold(sumWords(frame.subarray(at, at + 2)) + frame.length - partialChecksum.start));
}
