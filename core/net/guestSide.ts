/** The way to the guest: frames are made in the link's own memory. */
import { ETHERNET_BYTES, UDP_BYTES, etherType, fold, sumWords, viewOf, writeUdp } from './packets.ts';
import type { MacAddress, UdpDatagram } from './packets.ts';
import { fragments, ipHeaderBytes, ipProtocol, pseudoHeader, writeIp } from './ip.ts';
import type { IpAddress, IpPacket } from './ip.ts';
import { frameAbility } from './frameLink.ts';
import type { Offload } from './frameLink.ts';

/** The link's end that frames for the guest go into. */
export interface FrameSink {
  /** The place of a frame, to be filled and committed; null when there is no room. */
  reserve(length: number): Uint8Array | null;
  commit(offload?: Offload): void;
  /** Bits of `frameAbility`. */
  readonly abilities: number;
}

export type IpHeader = Omit<IpPacket, 'payload'>;

const MTU = 1500;

export class GuestSide {
  /** The guest's interface; a group of all until it has said something. */
  mac: MacAddress = new Uint8Array(6).fill(0xff);
  readonly #routerMac: MacAddress;
  readonly #sink: FrameSink;
  #fragmentId = 0;

  constructor(sink: FrameSink, routerMac: MacAddress) {
    this.#sink = sink;
    this.#routerMac = routerMac;
  }

  /** Whether TCP segments over this version of IP may be longer than the link's frames. */
  takesLarge(address: IpAddress): boolean {
    return (this.#sink.abilities & (address.length === 4 ? frameAbility.largeTcp4 : frameAbility.largeTcp6)) !== 0;
  }

  /** An Ethernet frame with this payload; lost when there is no room. */
  sendFrame(type: number, payload: Uint8Array, destination = this.mac): void {
    const frame = this.#sink.reserve(ETHERNET_BYTES + payload.length);
    if (frame === null) return;
    this.#writeEthernet(frame, type, destination);
    frame.set(payload, ETHERNET_BYTES);
    this.#sink.commit();
  }

  /** An IP packet with this payload, in fragments when it is long; lost when there is no room. */
  sendPacket(header: IpHeader, payload: Uint8Array, destination = this.mac): void {
    const headerBytes = ipHeaderBytes(header.source);
    const packet = new Uint8Array(headerBytes + payload.length);
    writeIp(packet, header, payload.length);
    packet.set(payload, headerBytes);
    const type = header.source.length === 4 ? etherType.ipv4 : etherType.ipv6;
    if (packet.length <= MTU) return this.sendFrame(type, packet, destination);
    this.#fragmentId = (this.#fragmentId + 1) >>> 0;
    for (const piece of fragments(packet, this.#fragmentId)) this.sendFrame(type, piece, destination);
  }

  sendUdp(source: IpAddress, destination: IpAddress, datagram: UdpDatagram): void {
    const payload = new Uint8Array(UDP_BYTES + datagram.data.length);
    writeUdp(payload, pseudoHeader(source, destination, ipProtocol.udp, payload.length), datagram);
    this.sendPacket({ protocol: ipProtocol.udp, source, destination }, payload);
  }

  /**
   * A TCP segment of `length` bytes, header included, written in place. False when there is no room.
   * @param segmentBytes payload of each segment that it stands for, when it is longer than the link's frames
   */
  sendTcp(source: IpAddress, destination: IpAddress, length: number, write: (into: Uint8Array) => number, segmentBytes: number): boolean {
    const start = ETHERNET_BYTES + ipHeaderBytes(source);
    const frame = this.#sink.reserve(start + length);
    if (frame === null) return false;
    this.#writeEthernet(frame, source.length === 4 ? etherType.ipv4 : etherType.ipv6, this.mac);
    writeIp(frame.subarray(ETHERNET_BYTES), { protocol: ipProtocol.tcp, source, destination }, length);
    const segment = frame.subarray(start);
    const headerBytes = write(segment);
    const pseudo = pseudoHeader(source, destination, ipProtocol.tcp, length);
    const partial = (this.#sink.abilities & frameAbility.partialChecksum) !== 0;
    viewOf(segment).setUint16(16, partial ? fold(pseudo) : ~fold(sumWords(segment, pseudo)) & 0xffff);
    const large = length - headerBytes > segmentBytes;
    this.#sink.commit({
      ...(partial ? { partialChecksum: { start, offset: 16 } } : {}), ...(large ? { segmentBytes, headerBytes: start + headerBytes } : {}),
    });
    return true;
  }

  #writeEthernet(frame: Uint8Array, type: number, destination: MacAddress): void {
    frame.set(destination, 0);
    frame.set(this.#routerMac, 6);
    viewOf(frame).setUint16(12, type);
  }
}
