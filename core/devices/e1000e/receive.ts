/** Frames for the guest: filtered by address, put into its buffers. @82574 7.1 */

import { crc32 } from 'node:zlib';
import { DescriptorRing, bufferAddress } from './ring.ts';
import { addressValid, rctl, receiveQueues, register, rfctl, rxcsum } from './registers.ts';
import { cause } from './interrupts.ts';
import { ETHERNET_BYTES, etherType, viewOf } from '../../net/packets.ts';
import { finishChecksum } from '../../net/offload.ts';
import { ipProtocol } from '../../net/ip.ts';
import type { Frame, FrameLink } from '../../net/frameLink.ts';
import type { GuestMemoryAccess } from '../segments.ts';
import type { RegisterFile } from './registers.ts';

const descriptorStatus = { done: 0x01, endOfPacket: 0x02, ignoreChecksum: 0x04, udpChecksum: 0x10, tcpChecksum: 0x20, ipChecksum: 0x40 } as const;
/** The shortest frame on a cable, without its checksum: shorter ones are filled up. */
const FRAME_MINIMUM = 60;
const CHECKSUM_BYTES = 4;
const ADDRESSES = 16;

export class Receiver {
  readonly #registers: RegisterFile;
  readonly #memory: GuestMemoryAccess;
  readonly #link: FrameLink;
  readonly #ring: DescriptorRing;

  constructor(registers: RegisterFile, memory: GuestMemoryAccess, link: FrameLink) {
    this.#registers = registers;
    this.#memory = memory;
    this.#link = link;
    this.#ring = new DescriptorRing(registers, memory, receiveQueues[0]);
  }

  /** Delivers what is there and fits; without a receiver frames are lost. Returns the causes to raise. */
  run(): number {
    const { toDevice } = this.#link;
    let causes = 0;
    for (let frame = toDevice.peek(); frame; frame = toDevice.peek()) {
      if (this.#registers.has(register.rctl, rctl.enable) && this.#wanted(frame.bytes)) {
        const delivered = this.#deliver(frame);
        if (delivered === 0) break;
        causes |= delivered;
      }
      toDevice.drop();
    }
    return causes;
  }

  /** @82574 7.1.1 */
  #wanted(frame: Uint8Array): boolean {
    if (frame.length < ETHERNET_BYTES) return false;
    const registers = this.#registers;
    const group = ((frame[0] ?? 0) & 1) !== 0;
    if (group && frame.subarray(0, 6).every((byte) => byte === 0xff)) return registers.has(register.rctl, rctl.broadcast);
    if (registers.has(register.rctl, group ? rctl.allMulticast : rctl.allUnicast)) return true;
    return this.#ownAddress(frame) || (group && this.#inTable(frame));
  }

  #ownAddress(frame: Uint8Array): boolean {
    const view = viewOf(frame);
    const low = view.getUint32(0, true);
    const high = view.getUint16(4, true);
    for (let index = 0; index < ADDRESSES; index++) {
      const at = register.ra + index * 8;
      if (this.#registers.get(at) === low && (this.#registers.get(at + 4) & 0x8000ffff) >>> 0 === (addressValid | high) >>> 0) return true;
    }
    return false;
  }

  /** Twelve bits of a group's address choose a bit of the table. @82574 10.2.5.19 */
  #inTable(frame: Uint8Array): boolean {
    const shift = [4, 3, 2, 0][(this.#registers.get(register.rctl) >>> rctl.multicastShift) & 3] ?? 4;
    const hash = ((((frame[5] ?? 0) << 8) | (frame[4] ?? 0)) >>> shift) & 0xfff;
    return this.#registers.has(register.mta + (hash >>> 5) * 4, 1 << (hash & 31));
  }

  /** The causes, or 0 when there are not enough buffers yet. */
  #deliver(frame: Frame): number {
    const ring = this.#ring;
    const bytes = this.#onCable(frame);
    const bufferBytes = this.#bufferBytes();
    const needed = Math.max(1, Math.ceil(bytes.length / bufferBytes));
    if (needed >= ring.entries) return cause.overrun;
    if (ring.available < needed) return 0;
    const extended = this.#registers.has(register.rfctl, rfctl.extended);
    for (let index = 0; index < needed; index++) {
      if (!ring.read(index)) return cause.overrun;
      const part = bytes.subarray(index * bufferBytes, (index + 1) * bufferBytes);
      this.#memory.write(bufferAddress(ring.view), part);
      const state = descriptorStatus.done | (index === needed - 1 ? descriptorStatus.endOfPacket | this.#checked(frame) : 0);
      if (extended) writeExtended(ring.view, part.length, state);
      else writeLegacy(ring.view, part.length, state);
      ring.write(index);
    }
    ring.advance(needed);
    this.#registers.countFrame('received', frame.bytes);
    const few = ring.available <= ring.entries >> (((this.#registers.get(register.rctl) >>> 8) & 3) + 1);
    return cause.received | cause.receiveQueue0 | (few ? cause.fewDescriptors : 0);
  }

  /** As long as the shortest frame, its checksum finished, and followed by the frame's own where software wants that. */
  #onCable({ bytes, partialChecksum }: Frame): Uint8Array {
    const strip = this.#registers.has(register.rctl, rctl.stripChecksum);
    const length = Math.max(bytes.length, FRAME_MINIMUM);
    if (strip && length === bytes.length && !partialChecksum) return bytes;
    const copy = new Uint8Array(length + (strip ? 0 : CHECKSUM_BYTES));
    copy.set(bytes);
    if (partialChecksum) finishChecksum(copy.subarray(0, bytes.length), partialChecksum);
    if (!strip) viewOf(copy).setUint32(length, crc32(copy.subarray(0, length)), true);
    return copy;
  }

  /** Checksums that were left to this device are right, since it has made them; of others it says nothing. */
  #checked({ bytes, partialChecksum }: Frame): number {
    if (!partialChecksum || !this.#registers.has(register.rxcsum, rxcsum.transport)) return descriptorStatus.ignoreChecksum;
    const version4 = viewOf(bytes).getUint16(12) === etherType.ipv4;
    const protocol = bytes[ETHERNET_BYTES + (version4 ? 9 : 6)];
    return (protocol === ipProtocol.udp ? descriptorStatus.udpChecksum | descriptorStatus.tcpChecksum : descriptorStatus.tcpChecksum) | (version4 ? descriptorStatus.ipChecksum : 0);
  }

  #bufferBytes(): number {
    const value = this.#registers.get(register.rctl);
    const flexible = (value >>> rctl.flexibleShift) & 15;
    if (flexible > 0) return flexible * 1024;
    const size = 2048 >> ((value >>> rctl.sizeShift) & 3);
    return (value & rctl.sizeTimes16) !== 0 ? Math.min(size * 16, 16384) : size;
  }
}

/** @82574 7.1.4 */
function writeLegacy(view: DataView, length: number, state: number): void {
  view.setUint16(8, length, true);
  view.setUint16(10, 0, true);
  view.setUint32(12, state, true);
}

/** @82574 7.1.5: no hash, status and errors, length, no VLAN tag */
function writeExtended(view: DataView, length: number, state: number): void {
  view.setUint32(0, 0, true);
  view.setUint32(4, 0, true);
  view.setUint32(8, state, true);
  view.setUint32(12, length, true);
}
