/** The network behind a guest's interface: a gateway that answers ARP, neighbour discovery, DHCP, DNS and ping, and passes TCP and UDP on through the host's sockets. */
import type { Socket } from 'node:net';
import { inNetwork, isBroadcast, isGateway, linkLocalPrefix, nat4, nat6 } from './addresses.ts';
import { answerArp } from './arp.ts';
import { answerDhcp } from './dhcp.ts';
import type { Lease } from './dhcp.ts';
import { answerDhcpv6 } from './dhcpv6.ts';
import { GuestSide } from './guestSide.ts';
import type { FrameSink } from './guestSide.ts';
import { EchoService } from './icmp.ts';
import { ipProtocol, parseIpv4, parseIpv6, sameBytes, startsWith } from './ip.ts';
import type { IpAddress, IpPacket } from './ip.ts';
import type { NetBoot } from './netBoot.ts';
import { NatTcp } from './natTcp.ts';
import { NatUdp } from './natUdp.ts';
import { Neighbours } from './neighbours.ts';
import { ETHERNET_BYTES, etherType, parseUdp, viewOf } from './packets.ts';
import type { MacAddress } from './packets.ts';
import { Reassembly } from './reassembly.ts';
import { TftpServer } from './tftp.ts';

const ROUTER_MAC: MacAddress = Uint8Array.of(0x52, 0x55, 10, 0, 2, 2);

const port = { dhcpServer: 67, dhcpClient: 68, dhcpv6Client: 546, dhcpv6Server: 547 } as const;
const lease = { address: nat4.guest, mask: nat4.mask, server: nat4.gateway, router: nat4.gateway, nameServer: nat4.nameServer } as const;
const broadcast = Uint8Array.of(255, 255, 255, 255);

export class Nat {
  readonly #guest: GuestSide;
  readonly #tcp: NatTcp;
  readonly #udp: NatUdp;
  readonly #echo: EchoService;
  readonly #neighbours: Neighbours;
  readonly #reassembly = new Reassembly();
  readonly #tftp: TftpServer | null;
  readonly #lease: Lease;
  /** Where forwarded ports lead. */
  #guestAddress: IpAddress = nat4.guest;

  /**
   * @param hostLoopback the guest may reach services on the host's loopback address, at the gateway's address
   * @param boot what firmware is told to start; null: nothing
   */
  constructor(sink: FrameSink, hostLoopback: boolean, boot: NetBoot | null = null) {
    this.#guest = new GuestSide(sink, ROUTER_MAC);
    this.#tcp = new NatTcp(this.#guest, hostLoopback);
    this.#udp = new NatUdp(this.#guest, hostLoopback);
    this.#echo = new EchoService(this.#guest);
    this.#neighbours = new Neighbours(this.#guest, ROUTER_MAC);
    this.#lease = boot === null ? lease : { ...lease, bootFile: boot.name };
    const folder = boot?.folder ?? null;
    this.#tftp = folder === null ? null : new TftpServer(folder, (answer) => this.#guest.sendUdp(nat4.gateway, this.#guestAddress, answer));
  }

  /** A frame from the guest; it may lie in memory that is used again afterwards. */
  receive(frame: Uint8Array): void {
    // Nobody sends from a group's address.
    if (frame.length < ETHERNET_BYTES || ((frame[6] ?? 1) & 1) !== 0) return;
    if (!sameBytes(this.#guest.mac, frame.subarray(6, 12))) this.#guest.mac = frame.slice(6, 12);
    const payload = frame.subarray(ETHERNET_BYTES);
    switch (viewOf(frame).getUint16(12)) {
      case etherType.arp: return this.#arp(payload);
      case etherType.ipv4: return this.#ip(parseIpv4(payload));
      case etherType.ipv6: return this.#ip(parseIpv6(payload));
      default:
    }
  }

  /** All frames that came together have been received. */
  settle(): void {
    this.#tcp.settle();
  }

  /** There is room in the ring to the device again. */
  drained(): void {
    this.#tcp.drained();
  }

  /** A connection that somebody on the host opened to a forwarded port. */
  acceptTcp(socket: Socket, guestPort: number): void {
    this.#tcp.accept(socket, this.#guestAddress, guestPort);
  }

  /** A datagram for a forwarded port, from `peer` as the guest is to see it. */
  sendUdp(peer: number, guestPort: number, data: Uint8Array): void {
    this.#guest.sendUdp(nat4.gateway, this.#guestAddress, { sourcePort: peer, destinationPort: guestPort, data });
  }

  /** Answers of the guest to forwarded datagrams: called with the port given to `sendUdp`. Returns whether it was one of those. */
  onForwardedUdp: (peer: number, guestPort: number, data: Uint8Array) => boolean = () => false;

  /** What the guest keeps alive here, for tests of the bounds. */
  get load(): { readonly tcp: number; readonly udp: number; readonly fragments: number } {
    return { tcp: this.#tcp.size, udp: this.#udp.size, fragments: this.#reassembly.size };
  }

  close(): void {
    this.#neighbours.close();
    this.#tcp.close();
    this.#udp.close();
    this.#tftp?.close();
  }

  /** The gateway's addresses are where it is; the guest's own is left alone. */
  #arp(request: Uint8Array): void {
    const reply = answerArp(request, [nat4.gateway, nat4.nameServer], ROUTER_MAC);
    if (reply) this.#guest.sendFrame(etherType.arp, reply);
  }

  #ip(arrived: IpPacket | null): void {
    const packet = arrived?.fragment ? this.#reassembly.add(arrived) : arrived;
    if (packet === null) return;
    const { protocol, source } = packet;
    const known = inNetwork(source);
    if (protocol === ipProtocol.udp) return this.#datagram(packet, known);
    const version6 = source.length === 16;
    if (version6 && protocol === ipProtocol.icmpv6 && this.#control(packet, known)) return;
    if (!known) return;
    this.#remember(source);
    if (protocol === ipProtocol.tcp) this.#tcp.receive(packet);
    else if (protocol === (version6 ? ipProtocol.icmpv6 : ipProtocol.icmp)) this.#echo.receive(packet);
  }

  #remember(source: IpAddress): void {
    if (source.length === 4 && !sameBytes(source, this.#guestAddress)) this.#guestAddress = source.slice();
  }

  /** What hosts without an address of the network send as well. Whether that was all. */
  #control(packet: IpPacket, known: boolean): boolean {
    this.#neighbours.receive(packet);
    if (known) return false;
    // From a link-local address to the router's.
    if (startsWith(packet.source, linkLocalPrefix)) this.#echo.receive(packet);
    return true;
  }

  #datagram({ source, destination, payload }: IpPacket, known: boolean): void {
    const datagram = parseUdp(payload);
    if (!datagram) return;
    const { sourcePort, destinationPort, data } = datagram;
    if (destinationPort === port.dhcpServer && (isBroadcast(destination) || isGateway(destination))) return this.#dhcp(data);
    if (destinationPort === port.dhcpv6Server && startsWith(source, linkLocalPrefix)) return this.#dhcpv6(source, data);
    if (!known) return;
    this.#remember(source);
    if (sameBytes(destination, nat4.gateway) && (this.onForwardedUdp(destinationPort, sourcePort, data.slice()) || this.#tftp?.receive(sourcePort, destinationPort, data))) return;
    this.#udp.send(source, destination, datagram);
  }

  #dhcp(request: Uint8Array): void {
    const data = answerDhcp(request, this.#lease);
    if (data) this.#guest.sendUdp(nat4.gateway, broadcast, { sourcePort: port.dhcpServer, destinationPort: port.dhcpClient, data });
  }

  #dhcpv6(source: IpAddress, request: Uint8Array): void {
    const data = answerDhcpv6(request, ROUTER_MAC, nat6.nameServer);
    if (data) this.#guest.sendUdp(nat6.router, source.slice(), { sourcePort: port.dhcpv6Server, destinationPort: port.dhcpv6Client, data });
  }
}
