/** One connection between a socket of the guest and a Unix socket of the host, with its credit in both directions. @virtio 5.10.6.3 */
import type { Socket } from 'node:net';
import { GUEST_CID, HOST_CID, PAYLOAD_MAXIMUM, STREAM, operation, shutdownFlag } from './packet.ts';
import type { Packet } from './packet.ts';

/** Data of the guest that the host holds before its program has taken it. */
const BUFFER_BYTES = 256 * 1024;
/** How long a guest may take to let a finished connection go. */
const FAREWELL_MS = 8000;
const nothing = new Uint8Array(0);

export interface ConnectionEvents {
  send(packet: Packet): void;
  /** The connection is gone: nothing more is sent for it. */
  ended(): void;
}

export interface Ports {
  readonly host: number;
  readonly guest: number;
}

export class Connection {
  readonly #socket: Socket;
  readonly #ports: Ports;
  readonly #events: ConnectionEvents;
  /** A program of the host asks, and the guest has to agree. */
  readonly #fromHost: boolean;
  #established: boolean;
  #over = false;
  /** Data that the guest has sent, and of it what the host's program has taken; modulo 2^32. */
  #received = 0;
  #taken = 0;
  /** Data sent to the guest; what it has room for and has taken, by its last packet. */
  #sent = 0;
  #guestBuffer: number;
  #guestTaken: number;
  #farewell: NodeJS.Timeout | undefined;

  /** @param request the guest's packet that asks for the connection; null: the host's program asks */
  constructor(socket: Socket, ports: Ports, request: Packet | null, events: ConnectionEvents) {
    this.#socket = socket;
    this.#ports = ports;
    this.#events = events;
    this.#fromHost = request === null;
    this.#established = false;
    this.#guestBuffer = request?.bufferBytes ?? 0;
    this.#guestTaken = request?.takenBytes ?? 0;
  }

  begin(): void {
    const socket = this.#socket;
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#closed());
    if (this.#fromHost) this.#send(operation.request);
    else {
      socket.once('connect', () => {
        this.#send(operation.response);
        this.#establish();
      });
    }
  }

  /** Takes a packet of the guest that is not a request or a reset. */
  take(packet: Packet): void {
    this.#guestBuffer = packet.bufferBytes;
    this.#guestTaken = packet.takenBytes;
    if (!this.#established) {
      if (packet.operation !== operation.response || !this.#fromHost) return this.#abort();
      this.#socket.write(`OK ${this.#ports.host}\n`);
      return this.#establish();
    }
    switch (packet.operation) {
      case operation.data: return this.#receive(packet.data);
      case operation.creditUpdate: return this.#pump();
      case operation.creditRequest: return this.#send(operation.creditUpdate);
      case operation.shutdown: return this.#shutDown(packet.flags);
      default: return this.#abort();
    }
  }

  destroy(): void {
    this.#over = true;
    clearTimeout(this.#farewell);
    this.#socket.destroy();
  }

  #establish(): void {
    this.#established = true;
    this.#socket.on('readable', () => this.#pump());
    this.#socket.on('end', () => this.#send(operation.shutdown, shutdownFlag.send));
    this.#pump();
  }

  #receive(data: Uint8Array): void {
    this.#received = (this.#received + data.length) >>> 0;
    // A guest that sends more than it was given room for has lost its right to the rest.
    if (((this.#received - this.#taken) >>> 0) > BUFFER_BYTES) return this.#abort();
    this.#socket.write(data, () => {
      const before = this.#taken;
      this.#taken = (before + data.length) >>> 0;
      if (!this.#over) this.#send(operation.creditUpdate);
    });
  }

  /** Sends as much of what the host's program has written as the guest has room for. */
  #pump(): void {
    while (!this.#over && this.#established) {
      const credit = Math.max(0, this.#guestBuffer - ((this.#sent - this.#guestTaken) >>> 0));
      const available = Math.min(credit, PAYLOAD_MAXIMUM, this.#socket.readableLength);
      if (available === 0) {
        // Asks the socket for more, where it has none; it tells by `readable` and `end`.
        if (credit > 0) this.#socket.read(0);
        return;
      }
      const data = this.#socket.read(available) as Buffer | null;
      if (data === null) return;
      this.#sent = (this.#sent + data.length) >>> 0;
      this.#send(operation.data, 0, data);
    }
  }

  #shutDown(flags: number): void {
    if ((flags & shutdownFlag.send) !== 0) this.#socket.end();
    if ((flags & (shutdownFlag.send | shutdownFlag.receive)) !== (shutdownFlag.send | shutdownFlag.receive)) return;
    this.#over = true;
    this.#send(operation.reset);
    // What the guest has sent last still goes out.
    if (this.#socket.writableFinished) this.#socket.destroy();
    else this.#socket.end(() => this.#socket.destroy());
    this.#events.ended();
  }

  /** The host's socket is gone. */
  #closed(): void {
    if (this.#over) return;
    if (!this.#established) {
      this.#over = true;
      this.#send(operation.reset);
      return this.#events.ended();
    }
    this.#send(operation.shutdown, shutdownFlag.receive | shutdownFlag.send);
    this.#farewell = setTimeout(() => this.#abort(), FAREWELL_MS);
  }

  #abort(): void {
    if (!this.#over) this.#send(operation.reset);
    this.destroy();
    this.#events.ended();
  }

  #send(what: number, flags = 0, data: Uint8Array = nothing): void {
    this.#events.send({
      sourceCid: HOST_CID, targetCid: GUEST_CID, sourcePort: this.#ports.host, targetPort: this.#ports.guest, type: STREAM, operation: what, flags, bufferBytes: BUFFER_BYTES,
      takenBytes: this.#taken, data,
    });
  }
}
