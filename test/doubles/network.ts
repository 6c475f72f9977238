/** A guest's end of the user network: frames made and read as a driver would. */
import { Nat } from '../../core/net/nat.ts';
import { ipHeaderBytes, parseIpv4, parseIpv6, pseudoHeader, writeIp } from '../../core/net/ip.ts';
import type { IpAddress, IpPacket } from '../../core/net/ip.ts';
import { ETHERNET_BYTES, checksum, etherType, parseTcp, tcpFlag, tcpHeaderBytes, viewOf, writeTcpHeader, writeUdp } from '../../core/net/packets.ts';
import type { TcpSegment, UdpDatagram } from '../../core/net/packets.ts';
import { ipProtocol } from '../../core/net/ip.ts';
import type { NetBoot } from '../../core/net/netBoot.ts';

export const guestMac = Uint8Array.of(0x52, 0x54, 0, 1, 2, 3);
export const routerMac = Uint8Array.of(0x52, 0x55, 10, 0, 2, 2);

export interface NetworkDouble {
  readonly nat: Nat;
  /** What the guest got. */
  readonly frames: Uint8Array[];
  /** Hands a frame to the network, as if it had come alone. */
  readonly send: (frame: Uint8Array) => void;
  /** The first frame that matches, now or within 5 seconds. */
  readonly arrived: (match: (frame: Uint8Array) => boolean) => Promise<Uint8Array>;
}

export function networkDouble(hostLoopback = false, boot: NetBoot | null = null): NetworkDouble {
  const frames: Uint8Array[] = [];
  let look = (): void => {};
  let place = new Uint8Array(0);
  const nat = new Nat({
    reserve: length => (place = new Uint8Array(length)),
    commit: () => {
      frames.push(place);
      look();
    },
    abilities: 0,
  }, hostLoopback, boot);
  const arrived = (match: (frame: Uint8Array) => boolean): Promise<Uint8Array> => new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error('no such frame')), 5000);
    look = () => {
      const at = frames.findIndex(match);
      if (at < 0) return;
      clearTimeout(late);
      look = () => {};
      resolve(frames.splice(at, 1)[0] as Uint8Array);
    };
    look();
  });
  const send = (frame: Uint8Array): void => {
    nat.receive(frame);
    nat.settle();
  };
  return { nat, frames, send, arrived };
}

export function ethernet(type: number, payload: Uint8Array): Uint8Array {
  const frame = new Uint8Array(ETHERNET_BYTES + payload.length);
  frame.set(routerMac);
  frame.set(guestMac, 6);
  viewOf(frame).setUint16(12, type);
  frame.set(payload, ETHERNET_BYTES);
  return frame;
}

export function ipFrame(header: Omit<IpPacket, 'payload'>, payload: Uint8Array): Uint8Array {
  const headerBytes = ipHeaderBytes(header.source);
  const packet = new Uint8Array(headerBytes + payload.length);
  writeIp(packet, header, payload.length);
  packet.set(payload, headerBytes);
  return ethernet(header.source.length === 4 ? etherType.ipv4 : etherType.ipv6, packet);
}

export function udpFrame(source: IpAddress, destination: IpAddress, datagram: UdpDatagram): Uint8Array {
  const payload = new Uint8Array(8 + datagram.data.length);
  writeUdp(payload, pseudoHeader(source, destination, ipProtocol.udp, payload.length), datagram);
  return ipFrame({ protocol: ipProtocol.udp, source, destination }, payload);
}

export function icmpv6Frame(source: IpAddress, destination: IpAddress, message: Uint8Array): Uint8Array {
  viewOf(message).setUint16(2, 0);
  viewOf(message).setUint16(2, checksum(message, pseudoHeader(source, destination, ipProtocol.icmpv6, message.length)));
  return ipFrame({ protocol: ipProtocol.icmpv6, source, destination }, message);
}

export function tcpFrame(source: IpAddress, destination: IpAddress, segment: Partial<TcpSegment> & { readonly sourcePort: number; readonly destinationPort: number }): Uint8Array {
  const { data = new Uint8Array(0), ...head } = { sequence: 0, acknowledgement: 0, flags: tcpFlag.ack, window: 65535, maximumSegment: null, windowScale: null, ...segment };
  const header = tcpHeaderBytes(head);
  const payload = new Uint8Array(header + data.length);
  writeTcpHeader(payload, head);
  payload.set(data, header);
  return ipFrame({ protocol: ipProtocol.tcp, source, destination }, payload);
}

/** The packet in a frame, of either version. */
export function packetOf(frame: Uint8Array): IpPacket | null {
  const type = viewOf(frame).getUint16(12);
  const payload = frame.subarray(ETHERNET_BYTES);
  return type === etherType.ipv4 ? parseIpv4(payload) : type === etherType.ipv6 ? parseIpv6(payload) : null;
}

export function tcpOf(frame: Uint8Array): TcpSegment | null {
  const packet = packetOf(frame);
  return packet?.protocol === ipProtocol.tcp ? parseTcp(packet.payload) : null;
}
