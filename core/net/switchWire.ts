/** What the ports of a switch say to each other through a local socket: a greeting, then frames. The other end is not trusted. */
import { ByteQueue } from './byteQueue.ts';
import { FRAME_BYTES_MAXIMUM } from './frameLink.ts';
import type { Frame } from './frameLink.ts';
import { viewOf } from './packets.ts';
import type { IpAddress } from './ip.ts';

const MAGIC = 0x56_50_53_57;
const VERSION = 1;
const HELLO_BYTES = 24;
export const ID_BYTES = 8;
const HEADER_BYTES = 12;
const NO_CHECKSUM = 0xffff;

export interface Hello {
  /** The port's name, in hexadecimal digits. */
  readonly id: string;
  /** The address that it has leased to its guest; zeros: none. */
  readonly address: IpAddress;
}

export function encodeHello({ id, address }: Hello): Uint8Array {
  const bytes = new Uint8Array(HELLO_BYTES);
  viewOf(bytes).setUint32(0, MAGIC);
  viewOf(bytes).setUint32(4, VERSION);
  bytes.set(Buffer.from(id, 'hex'), 8);
  bytes.set(address, 16);
  return bytes;
}

export function encodeFrame({ bytes, partialChecksum, segmentBytes, headerBytes }: Frame): Uint8Array {
  const record = new Uint8Array(HEADER_BYTES + bytes.length);
  const view = viewOf(record);
  view.setUint32(0, bytes.length);
  view.setUint16(4, partialChecksum ? partialChecksum.start : NO_CHECKSUM);
  view.setUint16(6, partialChecksum?.offset ?? 0);
  view.setUint16(8, segmentBytes ?? 0);
  view.setUint16(10, headerBytes ?? 0);
  record.set(bytes, HEADER_BYTES);
  return record;
}

/** Takes apart what arrives. */
export class SwitchReader {
  readonly #queue = new ByteQueue();
  readonly #header = new Uint8Array(HELLO_BYTES);
  readonly #view = viewOf(this.#header);
  #greeted = false;

  push(bytes: Uint8Array): void {
    this.#queue.push(bytes);
  }

  /** The greeting, once it is whole; null before. @throws RangeError when it is none */
  hello(): Hello | null {
    if (this.#greeted || this.#queue.length < HELLO_BYTES) return null;
    this.#queue.copy(0, this.#header);
    if (this.#view.getUint32(0) !== MAGIC || this.#view.getUint32(4) !== VERSION) throw new RangeError('no port of a switch, or of another version');
    this.#queue.drop(HELLO_BYTES);
    this.#greeted = true;
    return { id: Buffer.from(this.#header.subarray(8, 8 + ID_BYTES)).toString('hex'), address: this.#header.slice(16, 20) };
  }

  /** The next frame, once it is whole; null before. @throws RangeError when it is longer than frames are */
  frame(): Frame | null {
    if (!this.#greeted || this.#queue.length < HEADER_BYTES) return null;
    this.#queue.copy(0, this.#header.subarray(0, HEADER_BYTES));
    const length = this.#view.getUint32(0);
    if (length > FRAME_BYTES_MAXIMUM) throw new RangeError(`a frame of ${length} bytes`);
    if (this.#queue.length < HEADER_BYTES + length) return null;
    const bytes = new Uint8Array(length);
    this.#queue.copy(HEADER_BYTES, bytes);
    const start = this.#view.getUint16(4);
    const segmentBytes = this.#view.getUint16(8);
    const frame: Frame = {
      bytes,
      ...(start === NO_CHECKSUM ? {} : { partialChecksum: { start, offset: this.#view.getUint16(6) } }),
      ...(segmentBytes === 0 ? {} : { segmentBytes, headerBytes: this.#view.getUint16(10) }),
    };
    this.#queue.drop(HEADER_BYTES + length);
    return frame;
  }
}
