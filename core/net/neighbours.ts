/** The router's part of IPv6's neighbour discovery: advertisements of router, prefix and name server, answers to who asks for its addresses. @rfc 4861, 4862, 8106 */
import { nat6 } from './addresses.ts';
import type { GuestSide } from './guestSide.ts';
import { ipAddress, ipProtocol, pseudoHeader, sameBytes } from './ip.ts';
import type { IpAddress, IpPacket } from './ip.ts';
import { checksum, viewOf } from './packets.ts';
import type { MacAddress } from './packets.ts';

const message = { routerSolicitation: 133, routerAdvertisement: 134, neighbourSolicitation: 135, neighbourAdvertisement: 136 } as const;
const option = { sourceLink: 1, targetLink: 2, prefix: 3, mtu: 5, nameServers: 25 } as const;
const flag = { router: 0x80, solicited: 0x40, override: 0x20 } as const;
const allNodes = ipAddress('ff02::1');
const allNodesMac: MacAddress = Uint8Array.of(0x33, 0x33, 0, 0, 0, 1);
const unspecified = new Uint8Array(16);
/** Seconds that what is advertised holds; it is advertised again before. */
const ROUTER_SECONDS = 1800;
const PREFIX_SECONDS = 86_400;
const ADVERTISE_MS = (ROUTER_SECONDS / 3) * 1000;

export class Neighbours {
  readonly #guest: GuestSide;
  readonly #mac: MacAddress;
  #advertiser: NodeJS.Timeout | undefined;

  constructor(guest: GuestSide, mac: MacAddress) {
    this.#guest = guest;
    this.#mac = mac;
  }

  receive({ source, payload }: IpPacket): void {
    if (payload[0] === message.routerSolicitation) this.#advertise();
    else if (payload[0] === message.neighbourSolicitation && payload.length >= 24) this.#answer(source, payload.subarray(8, 24));
  }

  close(): void {
    clearInterval(this.#advertiser);
  }

  #advertise(): void {
    this.#advertiser ??= setInterval(() => this.#advertise(), ADVERTISE_MS).unref();
    const bytes = new Uint8Array(16 + 8 + 8 + 32 + 24);
    const view = viewOf(bytes);
    bytes[0] = message.routerAdvertisement;
    bytes[4] = 64;
    // More configuration by DHCPv6, for those who look for the name server there.
    bytes[5] = 0x40;
    view.setUint16(6, ROUTER_SECONDS);
    bytes.set([option.sourceLink, 1, ...this.#mac], 16);
    bytes.set([option.mtu, 1], 24);
    view.setUint32(28, 1500);
    // 64 bits, on the link, for addresses that hosts make themselves.
    bytes.set([option.prefix, 4, 64, 0xc0], 32);
    view.setUint32(36, PREFIX_SECONDS);
    view.setUint32(40, PREFIX_SECONDS / 2);
    bytes.set(nat6.prefix, 48);
    bytes.set([option.nameServers, 3], 64);
    view.setUint32(68, ROUTER_SECONDS);
    bytes.set(nat6.nameServer, 72);
    this.#send(nat6.router, allNodes, bytes, allNodesMac);
  }

  /** The router's addresses are where it is; the guest's own are left alone. */
  #answer(source: IpAddress, target: IpAddress): void {
    if (![nat6.router, nat6.gateway, nat6.nameServer].some((address) => sameBytes(address, target))) return;
    // Who has no address yet only asks whether the address is taken: all hear that it is. @rfc 4861 7.2.4
    const probe = sameBytes(source, unspecified);
    const bytes = new Uint8Array(32);
    bytes[0] = message.neighbourAdvertisement;
    bytes[4] = flag.router | flag.override | (probe ? 0 : flag.solicited);
    bytes.set(target, 8);
    bytes.set([option.targetLink, 1, ...this.#mac], 24);
    if (probe) this.#send(target, allNodes, bytes, allNodesMac);
    else this.#send(target, source.slice(), bytes);
  }

  #send(source: IpAddress, destination: IpAddress, bytes: Uint8Array, mac?: MacAddress): void {
    viewOf(bytes).setUint16(2, checksum(bytes, pseudoHeader(source, destination, ipProtocol.icmpv6, bytes.length)));
    this.#guest.sendPacket({ protocol: ipProtocol.icmpv6, source, destination }, bytes, mac);
  }
}
