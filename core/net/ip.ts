/** IPv4 and IPv6: addresses, headers, fragments. Addresses are their bytes: four or sixteen. */
import { fold, sumWords, viewOf } from './packets.ts';

export type IpAddress = Uint8Array;

export interface IpPacket {
  /** The innermost header's: 6 is TCP in both versions. */
  readonly protocol: number;
  readonly source: IpAddress;
  readonly destination: IpAddress;
  readonly payload: Uint8Array;
  /** Absent: the packet is whole. */
  readonly fragment?: Fragment;
}

export interface Fragment {
  readonly id: number;
  /** Where the payload belongs, in bytes. */
  readonly at: number;
  readonly last: boolean;
}

export const ipProtocol = { hopByHop: 0, icmp: 1, tcp: 6, udp: 17, routing: 43, fragment: 44, icmpv6: 58, destination: 60 } as const;
export const IPV4_BYTES = 20;
export const IPV6_BYTES = 40;
const FRAGMENT_BYTES = 8;
const MTU = 1500;

/** @param text of an address of either version, without a zone */
export function ipAddress(text: string): IpAddress {
  return text.includes(':') ? ipv6(text) : Uint8Array.from(text.split('.'), Number);
}

function ipv6(text: string): IpAddress {
  // The last 32 bits may be written as IPv4.
  const plain = text.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, a, b, c, d) => `${(Number(a) * 256 + Number(b)).toString(16)}:${(Number(c) * 256 + Number(d)).toString(16)}`);
  const [front = '', back] = plain.split('::');
  const words = (part: string): number[] => (part === '' ? [] : part.split(':').map((word) => Number.parseInt(word, 16)));
  const head = words(front);
  const tail = back === undefined ? [] : words(back);
  const all = [...head, ...Array.from({ length: 8 - head.length - tail.length }, () => 0), ...tail];
  return Uint8Array.from(all.flatMap((word) => [word >> 8, word & 0xff]));
}

export function formatIp(address: IpAddress): string {
  if (address.length === 4) return address.join('.');
  const view = viewOf(address);
  return Array.from({ length: 8 }, (_, index) => view.getUint16(index * 2).toString(16)).join(':');
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}

export function startsWith(address: IpAddress, prefix: Uint8Array): boolean {
  return address.length >= prefix.length && prefix.every((byte, index) => byte === address[index]);
}

/** Sum of the pseudo header that checksums of the layer above begin with: alike in both versions. @rfc 9293 3.1, 8200 8.1 */
export function pseudoHeader(source: IpAddress, destination: IpAddress, protocol: number, length: number): number {
  return sumWords(destination, sumWords(source)) + protocol + length;
}

/** Null for what is no IPv4 packet. @rfc 791 */
export function parseIpv4(bytes: Uint8Array): IpPacket | null {
  if (bytes.length < IPV4_BYTES) return null;
  const view = viewOf(bytes);
  const header = (view.getUint8(0) & 15) * 4;
  const total = view.getUint16(2);
  if (view.getUint8(0) >> 4 !== 4 || header < IPV4_BYTES) return null;
  // A long TCP segment may be too long for the field, which is then 0.
  const end = total === 0 ? bytes.length : total;
  if (end < header || end > bytes.length) return null;
  const packet = { protocol: view.getUint8(9), source: bytes.subarray(12, 16), destination: bytes.subarray(16, 20), payload: bytes.subarray(header, end) };
  const position = view.getUint16(6);
  return (position & 0x3fff) === 0 ? packet : { ...packet, fragment: { id: view.getUint16(4), at: (position & 0x1fff) * 8, last: (position & 0x2000) === 0 } };
}

/** Null for what is no IPv6 packet, or has extension headers that nobody here follows. @rfc 8200 */
export function parseIpv6(bytes: Uint8Array): IpPacket | null {
  if (bytes.length < IPV6_BYTES) return null;
  const view = viewOf(bytes);
  const length = view.getUint16(4);
  const end = length === 0 ? bytes.length : IPV6_BYTES + length;
  if (view.getUint8(0) >> 4 !== 6 || end > bytes.length) return null;
  let protocol = view.getUint8(6);
  let at = IPV6_BYTES;
  let fragment: Fragment | null = null;
  while (protocol === ipProtocol.hopByHop || protocol === ipProtocol.destination || protocol === ipProtocol.fragment) {
    if (at + FRAGMENT_BYTES > end) return null;
    if (protocol === ipProtocol.fragment) {
      const position = view.getUint16(at + 2);
      // What lies behind belongs to the whole packet.
      fragment = { id: view.getUint32(at + 4), at: position & 0xfff8, last: (position & 1) === 0 };
    }
    protocol = view.getUint8(at);
    at += fragment ? FRAGMENT_BYTES : (view.getUint8(at + 1) + 1) * 8;
    if (fragment) break;
  }
  if (at > end) return null;
  return { protocol, source: bytes.subarray(8, 24), destination: bytes.subarray(24, 40), payload: bytes.subarray(at, end), ...(fragment ? { fragment } : {}) };
}

/** Bytes of the header that `writeIp` makes. */
export function ipHeaderBytes(address: IpAddress): number {
  return address.length === 4 ? IPV4_BYTES : IPV6_BYTES;
}

/** Writes a header for `payloadBytes` of payload behind it; its version is that of the addresses. */
export function writeIp(into: Uint8Array, { protocol, source, destination }: Omit<IpPacket, 'payload'>, payloadBytes: number): void {
  const view = viewOf(into);
  if (source.length === 4) {
    view.setUint16(0, 0x4500);
    view.setUint16(2, Math.min(IPV4_BYTES + payloadBytes, 0xffff));
    // Don't fragment, time to live 64.
    view.setUint32(4, 0x00004000);
    view.setUint32(8, 0x40000000 | (protocol << 16));
    into.set(source, 12);
    into.set(destination, 16);
    writeHeaderChecksum(into);
  } else {
    view.setUint32(0, 0x60000000);
    view.setUint16(4, Math.min(payloadBytes, 0xffff));
    view.setUint8(6, protocol);
    // Neighbour discovery takes nothing that a router may have passed on: its hop limit is 255. @rfc 4861 7.1
    view.setUint8(7, 255);
    into.set(source, 8);
    into.set(destination, 24);
  }
}

function writeHeaderChecksum(header: Uint8Array): void {
  const view = viewOf(header);
  view.setUint16(10, 0);
  view.setUint16(10, ~fold(sumWords(header.subarray(0, IPV4_BYTES))) & 0xffff);
}

/** A packet, its header included, as fragments that fit the link. */
export function fragments(packet: Uint8Array, id: number): Uint8Array[] {
  if (packet.length <= MTU) return [packet];
  const version6 = (packet[0] ?? 0) >> 4 === 6;
  const header = version6 ? IPV6_BYTES : IPV4_BYTES;
  const extra = version6 ? FRAGMENT_BYTES : 0;
  const most = (MTU - header - extra) & ~7;
  const pieces: Uint8Array[] = [];
  for (let at = header; at < packet.length; at += most) {
    const part = packet.subarray(at, at + most);
    const piece = new Uint8Array(header + extra + part.length);
    const view = viewOf(piece);
    const more = at + part.length < packet.length;
    piece.set(packet.subarray(0, header));
    piece.set(part, header + extra);
    if (version6) {
      view.setUint16(4, FRAGMENT_BYTES + part.length);
      piece[header] = piece[6] ?? 0;
      piece[6] = ipProtocol.fragment;
      view.setUint16(header + 2, (at - header) | (more ? 1 : 0));
      view.setUint32(header + 4, id);
    } else {
      view.setUint16(2, piece.length);
      view.setUint16(4, id & 0xffff);
      view.setUint16(6, ((at - header) >> 3) | (more ? 0x2000 : 0));
      writeHeaderChecksum(piece);
    }
    pieces.push(piece);
  }
  return pieces;
}
