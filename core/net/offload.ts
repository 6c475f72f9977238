/** What a sender has left to the device: checksums, and cutting long TCP segments. Both come from guests: nothing in them is believed. */
import type { Frame } from './frameLink.ts';
import { ETHERNET_BYTES, TCP_BYTES, etherType, fold, sumWords, tcpFlag, viewOf } from './packets.ts';
import { IPV4_BYTES, IPV6_BYTES, ipProtocol, pseudoHeader } from './ip.ts';

/** The longest frame on a link without offloads: 1500 bytes behind a header with VLAN tag. */
const FRAME_MAXIMUM = 1518;
const SEGMENT_MINIMUM = 64;

/** Puts the checksum in that covers the pseudo header alone so far. */
export function finishChecksum(bytes: Uint8Array, { start, offset }: NonNullable<Frame['partialChecksum']>): void {
  if (start + offset + 2 > bytes.length) return;
  // Zero would mean that there is no checksum, and is the same number as all ones.
  viewOf(bytes).setUint16(start + offset, (~fold(sumWords(bytes.subarray(start))) & 0xffff) || 0xffff);
}

export function writeIpv4Checksum(packet: Uint8Array): void {
  const view = viewOf(packet);
  const header = ((packet[0] ?? 0) & 15) * 4;
  if (header < IPV4_BYTES || header > packet.length) return;
  view.setUint16(10, 0);
  view.setUint16(10, ~fold(sumWords(packet.subarray(0, header))) & 0xffff);
}

/**
 * The frame as frames that fit a link without offloads. One that is not what it claims to be is lost.
 * @param large whether TCP segments may stay long, @param partial whether checksums may stay partial
 */
export function plainFrames({ bytes, partialChecksum, segmentBytes }: Frame, { large, partial }: { readonly large: boolean; readonly partial: boolean }): Frame[] {
  if (segmentBytes !== undefined) {
    const headers = headersOf(bytes);
    if (headers === null) return [];
    return large && partial && partialChecksum ? [{ bytes, partialChecksum, segmentBytes, headerBytes: headers.end }] : cut(bytes, headers, segmentBytes);
  }
  if (bytes.length > FRAME_MAXIMUM) return [];
  if (!partialChecksum) return [{ bytes }];
  if (partial) return [{ bytes, partialChecksum }];
  const whole = bytes.slice();
  finishChecksum(whole, partialChecksum);
  return [{ bytes: whole }];
}

/** Where the TCP header of a frame begins and ends. */
interface Headers {
  readonly version: 4 | 6;
  readonly tcp: number;
  readonly end: number;
}

/** Null for a frame that has no TCP header. */
function headersOf(bytes: Uint8Array): Headers | null {
  if (bytes.length < ETHERNET_BYTES + IPV4_BYTES + TCP_BYTES) return null;
  const type = viewOf(bytes).getUint16(12);
  const version = type === etherType.ipv4 ? 4 : type === etherType.ipv6 ? 6 : null;
  if (version === null) return null;
  const protocol = bytes[ETHERNET_BYTES + (version === 4 ? 9 : 6)];
  const tcp = ETHERNET_BYTES + (version === 4 ? ((bytes[ETHERNET_BYTES] ?? 0) & 15) * 4 : IPV6_BYTES);
  const end = tcp + ((bytes[tcp + 12] ?? 0) >> 4) * 4;
  return protocol === ipProtocol.tcp && tcp >= ETHERNET_BYTES + IPV4_BYTES && end >= tcp + TCP_BYTES && end <= bytes.length ? { version, tcp, end } : null;
}

/** A long TCP segment as short ones, each with headers of its own. */
function cut(bytes: Uint8Array, { version, tcp, end }: Headers, segmentBytes: number): Frame[] {
  // Smaller pieces have no honest use, and would be many.
  if (segmentBytes < SEGMENT_MINIMUM) return [];
  const sequence = viewOf(bytes).getUint32(tcp + 4);
  const frames: Frame[] = [];
  for (let at = end; at < bytes.length; at += segmentBytes) {
    const data = bytes.subarray(at, at + segmentBytes);
    const piece = new Uint8Array(end + data.length);
    piece.set(bytes.subarray(0, end));
    piece.set(data, end);
    const view = viewOf(piece);
    view.setUint32(tcp + 4, (sequence + at - end) >>> 0);
    if (at + data.length < bytes.length) view.setUint8(tcp + 13, view.getUint8(tcp + 13) & ~(tcpFlag.fin | tcpFlag.psh));
    const packet = piece.subarray(ETHERNET_BYTES);
    const [source, destination] = version === 4 ? [packet.subarray(12, 16), packet.subarray(16, 20)] : [packet.subarray(8, 24), packet.subarray(24, 40)];
    if (version === 4) {
      view.setUint16(ETHERNET_BYTES + 2, packet.length);
      view.setUint16(ETHERNET_BYTES + 4, view.getUint16(ETHERNET_BYTES + 4) + frames.length);
      writeIpv4Checksum(packet);
    } else view.setUint16(ETHERNET_BYTES + 4, packet.length - IPV6_BYTES);
    view.setUint16(tcp + 16, fold(pseudoHeader(source, destination, ipProtocol.tcp, piece.length - tcp)));
    finishChecksum(piece, { start: tcp, offset: 16 });
    frames.push({ bytes: piece });
  }
  return frames;
}
