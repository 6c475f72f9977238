/** Addresses for the guests of a switch: each port serves its own guest, with an address made of that guest's MAC address that no other port has. */
import { answerDhcp } from './dhcp.ts';
import type { GuestSide } from './guestSide.ts';
import { ipAddress, ipProtocol, parseIpv4, sameBytes } from './ip.ts';
import type { IpAddress } from './ip.ts';
import { ETHERNET_BYTES, etherType, parseUdp, viewOf } from './packets.ts';
import { answerArp } from './arp.ts';

/** 10.77.0.0/16, where nobody is a router. */
const server = ipAddress('10.77.0.1');
const mask = ipAddress('255.255.0.0');
const FIRST = 16;
const HOSTS = 65_000;
const port = { server: 67, client: 68 } as const;
const broadcast = ipAddress('255.255.255.255');

export class SwitchDhcp {
  readonly #guest: GuestSide;
  readonly #mac: Uint8Array;
  /** Of the server to its guest. */
  readonly #serverMac: Uint8Array;
  #address: IpAddress;

  /** @param mac of the guest's interface */
  constructor(guest: GuestSide, mac: Uint8Array, serverMac: Uint8Array) {
    this.#guest = guest;
    this.#mac = mac;
    this.#serverMac = serverMac;
    this.#address = this.#choose([]);
  }

  get address(): IpAddress {
    return this.#address;
  }

  /** Steps aside for a port that was there before. */
  avoid(taken: readonly IpAddress[]): void {
    this.#address = this.#choose(taken);
  }

  /** Answers what is for the server. Whether the frame was. */
  receive(frame: Uint8Array): boolean {
    const type = viewOf(frame).getUint16(12);
    const payload = frame.subarray(ETHERNET_BYTES);
    if (type === etherType.arp) {
      const reply = answerArp(payload, [server], this.#serverMac);
      if (reply) this.#guest.sendFrame(etherType.arp, reply);
      return reply !== null;
    }
    const packet = type === etherType.ipv4 ? parseIpv4(payload) : null;
    if (packet === null || packet.protocol !== ipProtocol.udp || packet.fragment) return false;
    const datagram = parseUdp(packet.payload);
    if (datagram?.destinationPort !== port.server || !(sameBytes(packet.destination, broadcast) || sameBytes(packet.destination, server))) return false;
    const data = answerDhcp(datagram.data, { address: this.#address, mask, server });
    if (data) this.#guest.sendUdp(server, broadcast, { sourcePort: port.server, destinationPort: port.client, data });
    return true;
  }

  #choose(taken: readonly IpAddress[]): IpAddress {
    const [, , , a = 0, b = 0, c = 0] = this.#mac;
    for (let step = 0; ; step++) {
      const host = FIRST + ((a * 65_536 + b * 256 + c + step) % HOSTS);
      const address = Uint8Array.of(10, 77, host >> 8, host & 0xff);
      if (!taken.some((other) => sameBytes(other, address))) return address;
    }
  }
}
