/** The network behind a guest's interface: a gateway that answers ARP, DHCP, DNS and ping, and passes TCP and UDP on through the host's sockets. */
import { createSocket } from 'node:dgram';
import type { Socket as UdpSocket } from 'node:dgram';
import { getServers } from 'node:dns';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { answerDhcp } from './dhcp.ts';
import { ETHERNET_BYTES, IPV4_BYTES, UDP_BYTES, checksum, etherType, fold, formatIpv4, ipProtocol, ipv4, ipv4Frame, parseIpv4, parseTcp, parseUdp, pseudoHeader, sumWords, viewOf, writeTcpHeader, writeUdp } from './packets.ts';
import type { Ipv4Address, Ipv4Packet, MacAddress, TcpSegment } from './packets.ts';
import { TcpConnection } from './tcp.ts';
import type { HostStream } from './tcp.ts';
import { frameAbility } from './frameLink.ts';
import type { Frame } from './frameLink.ts';

/** Addresses of the virtual network 10.0.2.0/24, as guests of other workstations know them. */
export const natAddress = { network: ipv4('10.0.2.0'), mask: ipv4('255.255.255.0'), gateway: ipv4('10.0.2.2'), nameServer: ipv4('10.0.2.3'), guest: ipv4('10.0.2.15') } as const;
const GATEWAY_MAC: MacAddress = new Uint8Array([0x52, 0x55, 10, 0, 2, 2]);
const BROADCAST = 0xffffffff;

const port = { dns: 53, dhcpServer: 67, dhcpClient: 68 } as const;
const TCP_CONNECTIONS_MAXIMUM = 2048;
const UDP_FLOWS_MAXIMUM = 512;
const UDP_IDLE_MS = 60_000;
const CONNECT_MS = 30_000;
const UDP_DATA_MAXIMUM = 1472;

export interface NatOptions {
  /** Puts a frame into the ring to the device; false when there is no room. */
  readonly send: (frame: Frame) => boolean;
  /** Bits of `frameAbility`. */
  readonly abilities: () => number;
  /** The guest may reach services on the host's loopback address, at the gateway's address. */
  readonly hostLoopback: boolean;
}

interface Connection {
  readonly tcp: TcpConnection;
  socket: Socket | null;
  timer: NodeJS.Timeout | undefined;
}

interface UdpFlow {
  readonly socket: UdpSocket;
  /** Addresses that the guest has sent to: others may not answer. */
  readonly peers: Set<string>;
  usedAt: number;
}

export class Nat {
  readonly #options: NatOptions;
  readonly #connections = new Map<string, Connection>();
  readonly #flows = new Map<number, UdpFlow>();
  readonly #sweeper: NodeJS.Timeout;
  #guestMac: MacAddress = new Uint8Array(6).fill(0xff);
  #guest: Ipv4Address = natAddress.guest;
  #nextPort = 49152;
  /** Connections that found no room in the ring. */
  readonly #stalled = new Set<TcpConnection>();

  constructor(options: NatOptions) {
    this.#options = options;
    this.#sweeper = setInterval(() => this.#sweep(), UDP_IDLE_MS / 4);
    this.#sweeper.unref();
  }

  /** A frame from the guest. */
  receive(frame: Uint8Array): void {
    if (frame.length < ETHERNET_BYTES) return;
    const type = viewOf(frame).getUint16(12);
    const payload = frame.subarray(ETHERNET_BYTES);
    if ((frame[6] ?? 1) & 1) return; // Nobody sends from a group's address.
    this.#guestMac = frame.slice(6, 12);
    if (type === etherType.arp) return this.#arp(payload);
    if (type !== etherType.ipv4) return;
    const packet = parseIpv4(payload);
    if (packet) this.#ip(packet);
  }

  /** There is room in the ring to the device again. */
  drained(): void {
    const stalled = [...this.#stalled];
    this.#stalled.clear();
    for (const connection of stalled) connection.roomForMore();
  }

  get stalled(): boolean {
    return this.#stalled.size > 0;
  }

  /** A connection that somebody on the host opened to a forwarded port. */
  acceptTcp(socket: Socket, guestPort: number): void {
    const peer = this.#freePort(guestPort);
    if (peer === null || this.#connections.size >= TCP_CONNECTIONS_MAXIMUM) return void socket.destroy();
    const connection = this.#open(guestPort, natAddress.gateway, peer);
    connection.socket = socket;
    connection.tcp.connect(this.#stream(connection, socket));
  }

  /** A datagram for a forwarded port, from `peer` as the guest is to see it. */
  sendUdp(peer: number, guestPort: number, data: Uint8Array): void {
    this.#udpToGuest(natAddress.gateway, peer, guestPort, data);
  }

  /** Answers of the guest to forwarded datagrams: called with the port given to `sendUdp`. Returns whether it was one of those. */
  onForwardedUdp: (peer: number, guestPort: number, data: Uint8Array) => boolean = () => false;

  close(): void {
    clearInterval(this.#sweeper);
    for (const { tcp } of [...this.#connections.values()]) tcp.abandon();
    for (const { socket } of this.#flows.values()) socket.close();
    this.#flows.clear();
  }

  // ---- Link and network layer -----------------------------------------------------------------------------------------

  /** The gateway's addresses are where it is; the guest's own is left alone. @rfc 826 */
  #arp(request: Uint8Array): void {
    if (request.length < 28) return;
    const view = viewOf(request);
    if (view.getUint32(0) !== 0x00010800 || view.getUint16(4) !== 0x0604 || view.getUint16(6) !== 1) return;
    const target = view.getUint32(24);
    if (target !== natAddress.gateway && target !== natAddress.nameServer) return;
    const bytes = new Uint8Array(42);
    const reply = viewOf(bytes);
    bytes.set(this.#guestMac, 0);
    bytes.set(GATEWAY_MAC, 6);
    reply.setUint16(12, etherType.arp);
    reply.setUint32(14, 0x00010800);
    reply.setUint32(18, 0x06040002);
    bytes.set(GATEWAY_MAC, 22);
    reply.setUint32(28, target);
    bytes.set(request.subarray(8, 18), 32);
    this.#options.send({ bytes });
  }

  #ip(packet: Ipv4Packet): void {
    const inNetwork = (packet.source & natAddress.mask) >>> 0 === natAddress.network;
    if (packet.protocol === ipProtocol.udp) return this.#udp(packet, inNetwork);
    if (!inNetwork) return;
    this.#guest = packet.source;
    if (packet.protocol === ipProtocol.tcp) this.#tcp(packet);
    else if (packet.protocol === ipProtocol.icmp) this.#icmp(packet);
  }

  /** Echo requests to the gateway's addresses. @rfc 792 */
  #icmp({ source, destination, payload }: Ipv4Packet): void {
    if (payload.length < 8 || payload[0] !== 8 || (destination !== natAddress.gateway && destination !== natAddress.nameServer)) return;
    const reply = payload.slice();
    reply[0] = 0;
    viewOf(reply).setUint16(2, 0);
    viewOf(reply).setUint16(2, checksum(reply));
    const { frame, payload: into } = this.#frame(ipProtocol.icmp, destination, source, reply.length);
    into.set(reply);
    this.#options.send({ bytes: frame });
  }

  #frame(protocol: number, source: Ipv4Address, destination: Ipv4Address, length: number): { frame: Uint8Array; payload: Uint8Array } {
    return ipv4Frame({ source: GATEWAY_MAC, destination: this.#guestMac }, { protocol, source, destination }, length);
  }

  /** Where the host connects for an address of the guest's view, or null where the guest may not go. */
  #reachable(address: Ipv4Address): string | null {
    if (address === natAddress.gateway) return this.#options.hostLoopback ? '127.0.0.1' : null;
    const first = address >>> 24;
    // This host, loopback, group and broadcast addresses, and the rest of the virtual network, where nobody is.
    if (first === 0 || first === 127 || first >= 224 || (address & natAddress.mask) >>> 0 === natAddress.network) return null;
    return formatIpv4(address);
  }

  // ---- UDP ------------------------------------------------------------------------------------------------------------

  #udp(packet: Ipv4Packet, inNetwork: boolean): void {
    const datagram = parseUdp(packet.payload);
    if (!datagram) return;
    const { sourcePort, destinationPort, data } = datagram;
    const here = packet.destination === BROADCAST || packet.destination === natAddress.gateway;
    if (destinationPort === port.dhcpServer && here) return this.#dhcp(data);
    if (!inNetwork) return;
    this.#guest = packet.source;
    if (packet.destination === natAddress.gateway && this.onForwardedUdp(destinationPort, sourcePort, data.slice())) return;
    const server = packet.destination === natAddress.nameServer && destinationPort === port.dns ? nameServer() : null;
    const address = server?.address ?? this.#reachable(packet.destination);
    if (address === null) return;
    const flow = this.#flow(sourcePort);
    const hostPort = server?.port ?? destinationPort;
    flow.usedAt = Date.now();
    flow.peers.add(`${address}:${hostPort}`);
    if (packet.destination === natAddress.nameServer || packet.destination === natAddress.gateway) flow.peers.add(`${address}:${hostPort}=${packet.destination}:${destinationPort}`);
    flow.socket.send(data.slice(), hostPort, address, () => undefined);
  }

  #dhcp(data: Uint8Array): void {
    const { guest: address, mask, gateway, nameServer: server } = natAddress;
    const answer = answerDhcp(data, { address, mask, gateway, nameServer: server });
    if (!answer) return;
    const { frame, payload } = this.#frame(ipProtocol.udp, gateway, BROADCAST, UDP_BYTES + answer.length);
    writeUdp(payload, gateway, BROADCAST, { sourcePort: port.dhcpServer, destinationPort: port.dhcpClient, data: answer });
    this.#options.send({ bytes: frame });
  }

  #flow(guestPort: number): UdpFlow {
    const known = this.#flows.get(guestPort);
    if (known) return known;
    if (this.#flows.size >= UDP_FLOWS_MAXIMUM) this.#closeFlow([...this.#flows].reduce((a, b) => (a[1].usedAt <= b[1].usedAt ? a : b))[0]);
    const socket = createSocket('udp4');
    const flow: UdpFlow = { socket, peers: new Set(), usedAt: Date.now() };
    socket.on('error', () => undefined);
    socket.on('message', (data, { address, port: from }) => {
      const peer = `${address}:${from}`;
      if (!flow.peers.has(peer)) return;
      flow.usedAt = Date.now();
      // What went to the gateway's own addresses comes back from there.
      const alias = [...flow.peers].find((row) => row.startsWith(`${peer}=`))?.split('=')[1]?.split(':');
      this.#udpToGuest(alias ? Number(alias[0]) : ipv4(address), alias ? Number(alias[1]) : from, guestPort, data);
    });
    socket.unref();
    this.#flows.set(guestPort, flow);
    return flow;
  }

  #udpToGuest(source: Ipv4Address, sourcePort: number, destinationPort: number, data: Uint8Array): void {
    if (data.length > UDP_DATA_MAXIMUM) return;
    const { frame, payload } = this.#frame(ipProtocol.udp, source, this.#guest, UDP_BYTES + data.length);
    writeUdp(payload, source, this.#guest, { sourcePort, destinationPort, data });
    this.#options.send({ bytes: frame });
  }

  #closeFlow(guestPort: number): void {
    this.#flows.get(guestPort)?.socket.close();
    this.#flows.delete(guestPort);
  }

  #sweep(): void {
    const limit = Date.now() - UDP_IDLE_MS;
    for (const [guestPort, { usedAt }] of this.#flows) if (usedAt < limit) this.#closeFlow(guestPort);
  }

  // ---- TCP ------------------------------------------------------------------------------------------------------------

  #tcp({ destination, payload }: Ipv4Packet): void {
    const segment = parseTcp(payload);
    if (!segment) return;
    const key = keyOf(segment.sourcePort, destination, segment.destinationPort);
    const known = this.#connections.get(key);
    const opens = (segment.flags & 0x17) === 2;
    if (known && !(opens && known.tcp.state === 'established')) return known.tcp.receive(segment);
    if (!opens) return this.#refuse(destination, segment);
    // The guest has forgotten a connection of these ports: it ends here, too.
    known?.tcp.abandon();
    const server = destination === natAddress.nameServer && segment.destinationPort === port.dns ? nameServer() : null;
    const address = server?.address ?? this.#reachable(destination);
    if (address === null || this.#connections.size >= TCP_CONNECTIONS_MAXIMUM) return this.#refuse(destination, segment);
    const connection = this.#open(segment.sourcePort, destination, segment.destinationPort);
    connection.tcp.begin(segment);
    this.#connectHost(connection, address, server?.port ?? segment.destinationPort);
  }

  #connectHost(connection: Connection, host: string, hostPort: number): void {
    const { tcp } = connection;
    const socket = connect({ host, port: hostPort, family: 4, allowHalfOpen: true, noDelay: true });
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
    socket.on('data', (data) => tcp.fromHost(data));
    socket.on('end', () => tcp.hostEnded());
    socket.on('drain', () => tcp.hostDrained());
    socket.on('error', () => tcp.refused());
    return {
      write: (bytes) => {
        socket.write(bytes.slice());
        return socket.writableLength;
      },
      end: () => void socket.end(),
      destroy: () => void socket.resetAndDestroy(),
      setReading: (reading) => void (reading ? socket.resume() : socket.pause()),
    };
  }

  #open(guestPort: number, address: Ipv4Address, peer: number): Connection {
    const key = keyOf(guestPort, address, peer);
    const first = crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
    const connection: Connection = {
      socket: null, timer: undefined,
      tcp: new TcpConnection({ guest: guestPort, peer }, first, {
        send: (segment, data) => this.#sendTcp(address, segment, data, connection.tcp),
        largeSegments: () => (this.#options.abilities() & frameAbility.largeTcp4) !== 0,
        setTimer: (milliseconds) => {
          clearTimeout(connection.timer);
          connection.timer = milliseconds === null ? undefined : setTimeout(() => connection.tcp.tick(), milliseconds);
        },
        closed: () => {
          clearTimeout(connection.timer);
          this.#stalled.delete(connection.tcp);
          if (this.#connections.get(key) === connection) this.#connections.delete(key);
          connection.socket?.destroy();
        },
      }),
    };
    this.#connections.set(key, connection);
    return connection;
  }

  #sendTcp(source: Ipv4Address, segment: Omit<TcpSegment, 'data'>, data: Uint8Array, connection: TcpConnection | null): boolean {
    const options = segment.maximumSegment === null ? 0 : segment.windowScale === null ? 4 : 8;
    const length = 20 + options + data.length;
    const { frame, payload } = this.#frame(ipProtocol.tcp, source, this.#guest, length);
    const header = writeTcpHeader(payload, segment);
    payload.set(data, header);
    const pseudo = pseudoHeader(source, this.#guest, ipProtocol.tcp, length);
    const partial = (this.#options.abilities() & frameAbility.partialChecksum) !== 0;
    viewOf(payload).setUint16(16, partial ? fold(pseudo) : ~fold(sumWords(payload, pseudo)) & 0xffff);
    const large = data.length > 1460;
    const sent = this.#options.send({
      bytes: frame,
      ...(partial ? { partialChecksum: { start: ETHERNET_BYTES + IPV4_BYTES, offset: 16 } } : {}),
      ...(large ? { segmentBytes: 1460, headerBytes: ETHERNET_BYTES + IPV4_BYTES + header } : {}),
    });
    if (!sent && connection) this.#stalled.add(connection);
    return sent;
  }

  /** A reset for a segment of no connection. @rfc 9293 3.10.7.1 */
  #refuse(source: Ipv4Address, { sourcePort, destinationPort, sequence, acknowledgement, flags, data }: TcpSegment): void {
    if ((flags & 4) !== 0) return;
    const acked = (flags & 16) !== 0;
    const length = data.length + ((flags & 2) !== 0 ? 1 : 0) + ((flags & 1) !== 0 ? 1 : 0);
    this.#sendTcp(source, {
      sourcePort: destinationPort, destinationPort: sourcePort, sequence: acked ? acknowledgement : 0, acknowledgement: acked ? 0 : (sequence + length) >>> 0,
      flags: acked ? 4 : 4 | 16, window: 0, maximumSegment: null, windowScale: null,
    }, new Uint8Array(0), null);
  }

  #freePort(guestPort: number): number | null {
    for (let tries = 0; tries < 16384; tries++) {
      this.#nextPort = this.#nextPort >= 65535 ? 49152 : this.#nextPort + 1;
      if (!this.#connections.has(keyOf(guestPort, natAddress.gateway, this.#nextPort))) return this.#nextPort;
    }
    return null;
  }
}

function keyOf(guestPort: number, address: Ipv4Address, peer: number): string {
  return `${guestPort},${address},${peer}`;
}

/** The host's first name server with an IPv4 address. */
function nameServer(): { readonly address: string; readonly port: number } | null {
  for (const server of getServers()) {
    const match = /^(\d+\.\d+\.\d+\.\d+)(?::(\d+))?$/.exec(server);
    if (match) return { address: match[1] ?? '', port: Number(match[2] ?? port.dns) };
  }
  return null;
}
