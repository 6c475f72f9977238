/** Echo requests of a guest: answered by the gateway, or by whoever the host's own ping reaches. @rfc 792, 4443 */
import { execFile } from 'node:child_process';
import { isGateway, isNameServer, nat6, reachable } from './addresses.ts';
import type { GuestSide } from './guestSide.ts';
import { ipProtocol, pseudoHeader, sameBytes } from './ip.ts';
import type { IpPacket } from './ip.ts';
import { checksum, viewOf } from './packets.ts';

const echo = { [ipProtocol.icmp]: { request: 8, reply: 0 }, [ipProtocol.icmpv6]: { request: 128, reply: 129 } } as const;
/** Requests to the outside that are under way: each is a process. */
const PINGS_MAXIMUM = 8;
const PING_SECONDS = 5;

export class EchoService {
  readonly #guest: GuestSide;
  #underWay = 0;

  constructor(guest: GuestSide) {
    this.#guest = guest;
  }

  /** Whether the packet was an echo request. */
  receive(packet: IpPacket): boolean {
    const { destination, protocol, payload } = packet;
    const types = protocol === ipProtocol.icmp || protocol === ipProtocol.icmpv6 ? echo[protocol] : null;
    if (types === null || payload.length < 8 || payload[0] !== types.request) return false;
    if (isGateway(destination) || isNameServer(destination) || sameBytes(destination, nat6.router)) this.#reply(packet, types.reply);
    else this.#passOn(packet, types.reply);
    return true;
  }

  #reply({ source, destination, protocol, payload }: IpPacket, type: number): void {
    const reply = payload.slice();
    const view = viewOf(reply);
    reply[0] = type;
    view.setUint16(2, 0);
    const pseudo = protocol === ipProtocol.icmpv6 ? pseudoHeader(destination, source, protocol, reply.length) : 0;
    view.setUint16(2, checksum(reply, pseudo));
    this.#guest.sendPacket({ protocol, source: destination, destination: source }, reply);
  }

  /** The host lets nobody but its ping program send echo requests: where there is none, or it gets no answer, neither does the guest. */
  #passOn(packet: IpPacket, type: number): void {
    const address = reachable(packet.destination, false);
    if (address === null || this.#underWay >= PINGS_MAXIMUM) return;
    const kept = { ...packet, source: packet.source.slice(), destination: packet.destination.slice(), payload: packet.payload.slice() };
    this.#underWay += 1;
    execFile('ping', ['-n', '-q', '-c', '1', '-W', String(PING_SECONDS), address], { timeout: (PING_SECONDS + 1) * 1000 }, (error) => {
      this.#underWay -= 1;
      if (error === null) this.#reply(kept, type);
    });
  }
}
