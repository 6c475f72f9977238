/** Datagrams of a guest: a socket of the host for each of its ports. */
import { createSocket } from 'node:dgram';
import type { Socket } from 'node:dgram';
import { isNameServer, nameServer, reachable } from './addresses.ts';
import type { HostAddress } from './addresses.ts';
import type { GuestSide } from './guestSide.ts';
import { formatIp, ipAddress } from './ip.ts';
import type { IpAddress } from './ip.ts';
import type { UdpDatagram } from './packets.ts';

const DNS = 53;
const FLOWS_MAXIMUM = 512;
/** Addresses that one port of the guest may talk to at a time. */
const PEERS_MAXIMUM = 256;
const IDLE_MS = 60_000;

interface Flow {
  readonly socket: Socket;
  /** By address and port on the host: what the guest knows them as. Only these may answer. */
  readonly peers: Map<string, { readonly address: IpAddress; readonly port: number }>;
  usedAt: number;
}

export class NatUdp {
  readonly #guest: GuestSide;
  readonly #hostLoopback: boolean;
  readonly #flows = new Map<string, Flow>();
  readonly #sweeper: NodeJS.Timeout;

  constructor(guest: GuestSide, hostLoopback: boolean) {
    this.#guest = guest;
    this.#hostLoopback = hostLoopback;
    this.#sweeper = setInterval(() => this.#sweep(), IDLE_MS / 4);
    this.#sweeper.unref();
  }

  get size(): number {
    return this.#flows.size;
  }

  send(source: IpAddress, destination: IpAddress, { sourcePort, destinationPort, data }: UdpDatagram): void {
    const target = this.#target(destination, destinationPort);
    if (target === null) return;
    const family = target.address.includes(':') ? 'udp6' : 'udp4';
    const flow = this.#flow(source.slice(), sourcePort, family);
    flow.usedAt = Date.now();
    const key = `${target.address} ${target.port}`;
    const [eldest] = flow.peers.keys();
    if (!flow.peers.has(key) && flow.peers.size >= PEERS_MAXIMUM && eldest !== undefined) flow.peers.delete(eldest);
    flow.peers.set(key, { address: destination.slice(), port: destinationPort });
    flow.socket.send(data.slice(), target.port, target.address, () => undefined);
  }

  close(): void {
    clearInterval(this.#sweeper);
    for (const { socket } of this.#flows.values()) socket.close();
    this.#flows.clear();
  }

  #target(destination: IpAddress, port: number): HostAddress | null {
    if (isNameServer(destination) && port === DNS) return nameServer();
    const address = reachable(destination, this.#hostLoopback);
    return address === null ? null : { address, port };
  }

  #flow(guest: IpAddress, guestPort: number, family: 'udp4' | 'udp6'): Flow {
    const key = `${family} ${guest.join()} ${guestPort}`;
    const known = this.#flows.get(key);
    if (known) return known;
    if (this.#flows.size >= FLOWS_MAXIMUM) this.#closeFlow([...this.#flows].reduce((a, b) => (a[1].usedAt <= b[1].usedAt ? a : b))[0]);
    const socket = createSocket(family);
    const flow: Flow = { socket, peers: new Map(), usedAt: Date.now() };
    socket.on('error', () => undefined);
    socket.on('message', (data, { address, port }) => {
      const peer = flow.peers.get(`${canonical(address)} ${port}`) ?? flow.peers.get(`${address} ${port}`);
      if (!peer) return;
      flow.usedAt = Date.now();
      this.#guest.sendUdp(peer.address, guest, { sourcePort: peer.port, destinationPort: guestPort, data });
    });
    socket.unref();
    this.#flows.set(key, flow);
    return flow;
  }

  #closeFlow(key: string): void {
    this.#flows.get(key)?.socket.close();
    this.#flows.delete(key);
  }

  #sweep(): void {
    const limit = Date.now() - IDLE_MS;
    for (const [key, { usedAt }] of this.#flows) if (usedAt < limit) this.#closeFlow(key);
  }
}

/** The spelling that `reachable` uses. */
function canonical(address: string): string {
  return address.includes(':') ? formatIp(ipAddress(address.replace(/%.*/, ''))) : address;
}
