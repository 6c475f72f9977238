/** TCP connections of a guest: each is ended here and begun anew with a socket of the host. */
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { isNameServer, nameServer, nat4, reachable } from './addresses.ts';
import type { HostAddress } from './addresses.ts';
import type { GuestSide } from './guestSide.ts';
import type { IpAddress, IpPacket } from './ip.ts';
import { parseTcp, tcpFlag, tcpHeaderBytes, writeTcpHeader } from './packets.ts';
import type { TcpSegment } from './packets.ts';
import { TcpConnection } from './tcp.ts';
import type { HostStream } from './tcp.ts';

const TCP_CONNECTIONS_MAXIMUM = 2048;
const CONNECT_MS = 30_000;
const DNS = 53;
/** What is read from a socket at once. */
const READ_BYTES = 256 * 1024;
/** Longer pieces for a socket go into buffers that are used again. */
const SMALL_BYTES = 4096;
const BUFFER_BYTES = 65_536;
const BUFFERS_MAXIMUM = 64;
const FIRST_PORT = 49_152;
const PORTS = 16_384;

interface Connection {
  readonly tcp: TcpConnection;
  socket: Socket | null;
  timer: NodeJS.Timeout | undefined;
}

interface Ends {
  readonly guest: IpAddress;
  readonly guestPort: number;
  readonly peer: IpAddress;
  readonly peerPort: number;
}

export class NatTcp {
  readonly #guest: GuestSide;
  readonly #hostLoopback: boolean;
  readonly #connections = new Map<string, Connection>();
  /** Connections that found no room in the ring. */
  readonly #stalled = new Set<TcpConnection>();
  /** Connections that owe the guest an acknowledgement. */
  readonly #owing = new Set<TcpConnection>();
  readonly #readBuffer = new Uint8Array(READ_BYTES);
  readonly #spare: Uint8Array[] = [];
  #nextPort = 0;

  constructor(guest: GuestSide, hostLoopback: boolean) {
    this.#guest = guest;
    this.#hostLoopback = hostLoopback;
  }

  get size(): number {
    return this.#connections.size;
  }

  receive({ source, destination, payload }: IpPacket): void {
    const segment = parseTcp(payload);
    if (!segment) return;
    const known = this.#connections.get(keyOf(source, segment.sourcePort, destination, segment.destinationPort));
    const opens = (segment.flags & (tcpFlag.syn | tcpFlag.ack | tcpFlag.rst | tcpFlag.fin)) === tcpFlag.syn;
    if (known && !(opens && known.tcp.state === 'established')) return known.tcp.receive(segment);
    const ends = { guest: source.slice(), guestPort: segment.sourcePort, peer: destination.slice(), peerPort: segment.destinationPort };
    if (!opens) return this.#refuse(ends, segment);
    // The guest has forgotten a connection of these ports: it ends here, too.
    known?.tcp.abandon();
    const target = this.#target(ends);
    if (target === null || this.#connections.size >= TCP_CONNECTIONS_MAXIMUM) return this.#refuse(ends, segment);
    const connection = this.#open(ends);
    connection.tcp.begin(segment);
    this.#connectHost(connection, target);
  }

  /** A connection that somebody on the host opened to a forwarded port. */
  accept(socket: Socket, guest: IpAddress, guestPort: number): void {
    const peerPort = this.#freePort(guest, guestPort);
    if (peerPort === null || this.#connections.size >= TCP_CONNECTIONS_MAXIMUM) return void socket.destroy();
    const connection = this.#open({ guest, guestPort, peer: nat4.gateway, peerPort });
    connection.socket = socket;
    socket.on('data', (data) => connection.tcp.fromHost(data));
    connection.tcp.connect(this.#stream(connection, socket));
  }

  /** All frames that came together have been received. */
  settle(): void {
    for (const connection of this.#owing) connection.acknowledge();
    this.#owing.clear();
  }

  /** There is room in the ring to the device again. */
  drained(): void {
    const stalled = [...this.#stalled];
    this.#stalled.clear();
    for (const connection of stalled) connection.roomForMore();
  }

  close(): void {
    for (const { tcp } of [...this.#connections.values()]) tcp.abandon();
  }

  #target({ peer, peerPort }: Ends): HostAddress | null {
    if (isNameServer(peer) && peerPort === DNS) return nameServer();
    const address = reachable(peer, this.#hostLoopback);
    return address === null ? null : { address, port: peerPort };
  }

  #connectHost(connection: Connection, { address, port }: HostAddress): void {
    const { tcp } = connection;
    const socket = connect({
      host: address, port, allowHalfOpen: true, noDelay: true,
      // All sockets read into the same memory: the bytes are copied before anybody reads again.
      onread: { buffer: this.#readBuffer, callback: (count, buffer) => (tcp.fromHost(buffer.subarray(0, count)), true) },
    });
    socket.pause();
    connection.socket = socket;
    socket.setTimeout(CONNECT_MS, () => socket.destroy(new Error('no answer')));
    socket.on('connect', () => {
      socket.setTimeout(0);
      tcp.connected(this.#stream(connection, socket));
    });
    socket.on('error', () => tcp.refused());
  }

  /** The host's socket as the connection uses it. Nothing is read before the guest has acknowledged the connection. */
  #stream({ tcp }: Connection, socket: Socket): HostStream {
    socket.pause();
    socket.on('end', () => tcp.hostEnded());
    socket.on('drain', () => tcp.hostDrained());
    socket.on('error', () => tcp.refused());
    return {
      write: (bytes) => this.#write(socket, bytes),
      end: () => void socket.end(),
      destroy: () => void socket.resetAndDestroy(),
      setReading: (reading) => void (reading ? socket.resume() : socket.pause()),
    };
  }

  #write(socket: Socket, bytes: Uint8Array): number {
    if (bytes.length <= SMALL_BYTES) socket.write(Buffer.from(bytes));
    else {
      const buffer = this.#spare.pop() ?? new Uint8Array(BUFFER_BYTES);
      buffer.set(bytes);
      socket.write(buffer.subarray(0, bytes.length), () => {
        if (this.#spare.length < BUFFERS_MAXIMUM) this.#spare.push(buffer);
      });
    }
    return socket.writableLength;
  }

  #open(ends: Ends): Connection {
    const { guest, guestPort, peer, peerPort } = ends;
    const key = keyOf(guest, guestPort, peer, peerPort);
    const first = crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
    const tcp: TcpConnection = new TcpConnection({ guest: guestPort, peer: peerPort }, guest.length === 4 ? 4 : 6, first, {
      send: (segment, length, fill) => {
        const sent = this.#send(ends, segment, length, fill);
        if (!sent) this.#stalled.add(tcp);
        return sent;
      },
      largeSegments: () => this.#guest.takesLarge(guest),
      owe: () => void this.#owing.add(tcp),
      setTimer: (milliseconds) => {
        clearTimeout(connection.timer);
        connection.timer = milliseconds === null ? undefined : setTimeout(() => tcp.tick(), milliseconds);
      },
      closed: () => {
        clearTimeout(connection.timer);
        this.#stalled.delete(tcp);
        this.#owing.delete(tcp);
        if (this.#connections.get(key) === connection) this.#connections.delete(key);
        connection.socket?.destroy();
      },
    });
    const connection: Connection = { tcp, socket: null, timer: undefined };
    this.#connections.set(key, connection);
    return connection;
  }

  #send({ guest, peer }: Ends, segment: Omit<TcpSegment, 'data'>, length: number, fill: (into: Uint8Array) => void): boolean {
    const header = tcpHeaderBytes(segment);
    const write = (into: Uint8Array): number => {
      writeTcpHeader(into, segment);
      if (length > 0) fill(into.subarray(header));
      return header;
    };
    return this.#guest.sendTcp(peer, guest, header + length, write, guest.length === 4 ? 1460 : 1440);
  }

  /** A reset for a segment of no connection. @rfc 9293 3.10.7.1 */
  #refuse(ends: Ends, { sourcePort, destinationPort, sequence, acknowledgement, flags, data }: TcpSegment): void {
    if ((flags & tcpFlag.rst) !== 0) return;
    const acked = (flags & tcpFlag.ack) !== 0;
    const length = data.length + ((flags & tcpFlag.syn) !== 0 ? 1 : 0) + ((flags & tcpFlag.fin) !== 0 ? 1 : 0);
    this.#send(ends, {
      sourcePort: destinationPort, destinationPort: sourcePort, sequence: acked ? acknowledgement : 0, acknowledgement: acked ? 0 : (sequence + length) >>> 0,
      flags: acked ? tcpFlag.rst : tcpFlag.rst | tcpFlag.ack, window: 0, maximumSegment: null, windowScale: null,
    }, 0, () => {});
  }

  #freePort(guest: IpAddress, guestPort: number): number | null {
    for (let tries = 0; tries < PORTS; tries++) {
      this.#nextPort = (this.#nextPort + 1) % PORTS;
      const port = FIRST_PORT + this.#nextPort;
      if (!this.#connections.has(keyOf(guest, guestPort, nat4.gateway, port))) return port;
    }
    return null;
  }
}

function keyOf(guest: IpAddress, guestPort: number, peer: IpAddress, peerPort: number): string {
  return `${guest.join()} ${guestPort} ${peer.join()} ${peerPort}`;
}
