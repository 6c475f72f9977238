/** An 82574L with memory around it, and a driver's side of its rings. */
import { E1000e } from '../../core/devices/e1000e/controller.ts';
import { receiveQueues, register, transmitQueues } from '../../core/devices/e1000e/registers.ts';
import { FrameLink, createFrameBuffer } from '../../core/net/frameLink.ts';
import { plugged } from './virtioDriver.ts';

export const RING = 8;
const transmitRing = 0x1000;
const receiveRing = 0x2000;
const receiveBuffers = 0x10000;
const RECEIVE_BYTES = 2048;

export interface Transmitted {
  readonly address: number;
  readonly high?: number;
  /** The third double word: length and command. */
  readonly command: number;
  readonly options?: number;
}

/** A context descriptor: where the checksum begins and belongs, and how long segments are cut. */
export function context(checksumStart: number, checksumAt: number, headerBytes = 0, segmentBytes = 0): Transmitted {
  return { address: 0, high: checksumStart | (checksumAt << 8), command: 0x2000_0000, options: ((segmentBytes << 16) | (headerBytes << 8)) >>> 0 };
}

export class E1000eDriver {
  readonly ram = new Uint8Array(1 << 20);
  readonly view = new DataView(this.ram.buffer);
  readonly link: FrameLink;
  readonly device: E1000e;
  readonly plug: { readonly messages: number[]; line: boolean };
  #transmitTail = 0;

  constructor() {
    const buffer = createFrameBuffer();
    this.link = new FrameLink(buffer);
    this.link.linkUp = true;
    this.device = new E1000e('e1000e-0', new FrameLink(buffer), Uint8Array.of(0x52, 0x54, 0, 1, 2, 3));
    this.plug = plugged(this.device, this.ram);
  }

  read(offset: number): number {
    return this.device.registers.read(offset, 4);
  }

  write(offset: number, value: number): void {
    this.device.registers.write(offset, 4, value >>> 0);
  }

  /** Rings of eight descriptors each way; all frames to its address and to all are wanted. @param extended form of descriptors */
  start(extended = false): void {
    this.write(register.rfctl, extended ? 0x8000 : 0);
    const [send = 0] = transmitQueues;
    for (const [base, ring] of [[send, transmitRing], [receiveQueues[0], receiveRing]] as const) {
      this.write(base, ring);
      this.write(base + 8, RING * 16);
    }
    this.write(register.tctl, 0x2);
    for (let index = 0; index < RING; index++) this.view.setUint32(receiveRing + index * 16, receiveBuffers + index * RECEIVE_BYTES, true);
    this.write(register.rctl, 0x0400_8002);
    this.give(RING - 1);
  }

  /** Gives the device buffers up to this tail. */
  give(tail: number): void {
    this.write(receiveQueues[0] + 0x18, tail);
  }

  /** Queues descriptors and moves the tail behind them. */
  send(...descriptors: readonly Transmitted[]): void {
    for (const { address, high = 0, command, options = 0 } of descriptors) {
      const at = transmitRing + this.#transmitTail * 16;
      [address, high, command, options].forEach((word, index) => this.view.setUint32(at + index * 4, word, true));
      this.#transmitTail = (this.#transmitTail + 1) % RING;
    }
    this.write(transmitQueues[0] + 0x18, this.#transmitTail);
  }

  transmitted(index: number): DataView {
    return new DataView(this.ram.buffer, transmitRing + index * 16, 16);
  }

  received(index: number): DataView {
    return new DataView(this.ram.buffer, receiveRing + index * 16, 16);
  }

  buffer(index: number, length: number): Uint8Array {
    return this.ram.subarray(receiveBuffers + index * RECEIVE_BYTES, receiveBuffers + index * RECEIVE_BYTES + length);
  }
}
