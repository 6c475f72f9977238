/**
 * The I/O thread's end of an assigned socket: frames of a network card travel through a Unix stream socket of the host, each behind its length in
 * four bytes, as QEMU's `stream` and `passt` have it.
 */

import { connect } from 'node:net';
import { FRAME_BYTES_MAXIMUM } from '../net/frameLink.ts';
import { plainFrames } from '../net/offload.ts';
import type { Socket } from 'node:net';
import type { FrameLink } from '../net/frameLink.ts';

/** How often a socket that is not there is tried again. */
const RETURN_MS = 1000;
const LENGTH_BYTES = 4;
/** What waits for a slow peer; beyond it frames are lost, as on a cable. */
const WAITING_MAXIMUM = 1 << 20;

export class SocketNic {
  readonly #link: FrameLink;
  readonly #path: string;
  readonly #wake: () => void;
  #socket: Socket | null = null;
  #closed = false;
  #timer: NodeJS.Timeout | undefined;
  /** The beginning of a frame whose rest has not come yet. */
  #rest: Buffer = Buffer.alloc(0);

  /** @param wake the core thread may sleep */
  constructor(link: FrameLink, path: string, wake: () => void) {
    this.#link = link;
    this.#path = path;
    this.#wake = wake;
    this.#connect();
    void this.#send();
  }

  close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#link.toNetwork.wake();
    this.#socket?.destroy();
    return Promise.resolve();
  }

  #connect(): void {
    const socket = connect(this.#path);
    this.#socket = socket;
    this.#rest = Buffer.alloc(0);
    socket.on('connect', () => this.#plug(true));
    socket.on('data', (data: Buffer) => this.#receive(socket, data));
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.#plug(false);
      if (!this.#closed) this.#timer = setTimeout(() => this.#connect(), RETURN_MS).unref();
    });
  }

  /** The guest sees its cable pulled while nobody is at the other end. */
  #plug(up: boolean): void {
    this.#link.linkUp = up;
    this.#wake();
  }

  #receive(socket: Socket, data: Buffer): void {
    let bytes = this.#rest.length === 0 ? data : Buffer.concat([this.#rest, data]);
    while (bytes.length >= LENGTH_BYTES) {
      const length = bytes.readUInt32BE(0);
      // The peer speaks another language: what follows cannot be told apart.
      if (length === 0 || length > FRAME_BYTES_MAXIMUM) return void socket.destroy();
      if (bytes.length < LENGTH_BYTES + length) break;
      // A guest that does not take its frames loses them.
      this.#link.toDevice.push({ bytes: bytes.subarray(LENGTH_BYTES, LENGTH_BYTES + length) });
      bytes = bytes.subarray(LENGTH_BYTES + length);
    }
    this.#rest = Buffer.from(bytes);
    this.#wake();
  }

  async #send(): Promise<void> {
    const { toNetwork } = this.#link;
    while (!this.#closed) {
      await toNetwork.arrival();
      for (let frame = toNetwork.peek(); frame !== null && !this.#closed; frame = toNetwork.peek()) {
        for (const { bytes } of plainFrames(frame, { large: false, partial: false })) this.#write(bytes);
        toNetwork.drop();
      }
      this.#wake();
    }
  }

  #write(bytes: Uint8Array): void {
    const socket = this.#socket;
    if (socket === null || socket.connecting || socket.destroyed || socket.writableLength > WAITING_MAXIMUM) return;
    const packet = Buffer.alloc(LENGTH_BYTES + bytes.length);
    packet.writeUInt32BE(bytes.length);
    packet.set(bytes, LENGTH_BYTES);
    socket.write(packet);
  }
}
