/** Ethernet, UDP, TCP: taken apart and put together. Everything that arrives is the guest's word. */

export const etherType = { ipv4: 0x0800, arp: 0x0806, ipv6: 0x86dd } as const;
export const ETHERNET_BYTES = 14;
export const UDP_BYTES = 8;
export const TCP_BYTES = 20;

/** Six bytes. */
export type MacAddress = Uint8Array;

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The one's complement sum of 16-bit words, to be continued or folded. @rfc 1071 */
export function sumWords(bytes: Uint8Array, start = 0): number {
  let sum = start;
  const even = bytes.length & ~1;
  for (let at = 0; at < even; at += 2) sum += ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
  return even === bytes.length ? sum : sum + ((bytes[even] ?? 0) << 8);
}

export function fold(sum: number): number {
  let folded = sum;
  while (folded > 0xffff) folded = (folded & 0xffff) + Math.floor(folded / 0x10000);
  return folded;
}

export function checksum(bytes: Uint8Array, start = 0): number {
  return ~fold(sumWords(bytes, start)) & 0xffff;
}

export interface UdpDatagram {
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly data: Uint8Array;
}

export function parseUdp(bytes: Uint8Array): UdpDatagram | null {
  if (bytes.length < UDP_BYTES) return null;
  const view = viewOf(bytes);
  const length = view.getUint16(4);
  if (length < UDP_BYTES || length > bytes.length) return null;
  return { sourcePort: view.getUint16(0), destinationPort: view.getUint16(2), data: bytes.subarray(UDP_BYTES, length) };
}

/** Writes header, data and checksum. @param pseudo sum of the pseudo header */
export function writeUdp(into: Uint8Array, pseudo: number, { sourcePort, destinationPort, data }: UdpDatagram): void {
  const view = viewOf(into);
  const length = UDP_BYTES + data.length;
  view.setUint16(0, sourcePort);
  view.setUint16(2, destinationPort);
  view.setUint16(4, length);
  view.setUint16(6, 0);
  into.set(data, UDP_BYTES);
  // A sum of zero is sent as all ones: zero means that there is none.
  view.setUint16(6, checksum(into.subarray(0, length), pseudo) || 0xffff);
}

export const tcpFlag = { fin: 1, syn: 2, rst: 4, psh: 8, ack: 16 } as const;

export interface TcpSegment {
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly sequence: number;
  readonly acknowledgement: number;
  readonly flags: number;
  readonly window: number;
  /** From the options of a SYN. */
  readonly maximumSegment: number | null;
  readonly windowScale: number | null;
  readonly data: Uint8Array;
}

export function parseTcp(bytes: Uint8Array): TcpSegment | null {
  if (bytes.length < TCP_BYTES) return null;
  const view = viewOf(bytes);
  const header = (view.getUint8(12) >> 4) * 4;
  if (header < TCP_BYTES || header > bytes.length) return null;
  return {
    sourcePort: view.getUint16(0), destinationPort: view.getUint16(2), sequence: view.getUint32(4), acknowledgement: view.getUint32(8),
    flags: view.getUint8(13), window: view.getUint16(14), ...parseTcpOptions(bytes.subarray(TCP_BYTES, header)), data: bytes.subarray(header),
  };
}

const tcpOption = { end: 0, nothing: 1, maximumSegment: 2, windowScale: 3 } as const;
const WINDOW_SCALE_MAXIMUM = 14;

function parseTcpOptions(bytes: Uint8Array): Pick<TcpSegment, 'maximumSegment' | 'windowScale'> {
  let maximumSegment: number | null = null;
  let windowScale: number | null = null;
  for (let at = 0; at < bytes.length && bytes[at] !== tcpOption.end;) {
    if (bytes[at] === tcpOption.nothing) {
      at += 1;
      continue;
    }
    const length = bytes[at + 1] ?? 0;
    if (length < 2 || at + length > bytes.length) break;
    if (bytes[at] === tcpOption.maximumSegment && length === 4) maximumSegment = ((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0);
    if (bytes[at] === tcpOption.windowScale && length === 3) windowScale = Math.min(bytes[at + 2] ?? 0, WINDOW_SCALE_MAXIMUM);
    at += length;
  }
  return { maximumSegment, windowScale };
}

/** Bytes of the header that `writeTcpHeader` makes. */
export function tcpHeaderBytes({ maximumSegment, windowScale }: Pick<TcpSegment, 'maximumSegment' | 'windowScale'>): number {
  return TCP_BYTES + (maximumSegment === null ? 0 : windowScale === null ? 4 : 8);
}

/** Writes a header, with the options of a SYN when they are given; the checksum is zero, and left to the caller. */
export function writeTcpHeader(into: Uint8Array, segment: Omit<TcpSegment, 'data'>): void {
  const view = viewOf(into);
  const options = tcpHeaderBytes(segment) - TCP_BYTES;
  view.setUint16(0, segment.sourcePort);
  view.setUint16(2, segment.destinationPort);
  view.setUint32(4, segment.sequence);
  view.setUint32(8, segment.acknowledgement);
  view.setUint8(12, ((TCP_BYTES + options) / 4) << 4);
  view.setUint8(13, segment.flags);
  view.setUint16(14, segment.window);
  view.setUint32(16, 0);
  if (segment.maximumSegment !== null) view.setUint32(TCP_BYTES, (tcpOption.maximumSegment << 24) | (4 << 16) | segment.maximumSegment);
  if (options === 8) view.setUint32(TCP_BYTES + 4, (tcpOption.nothing << 24) | (tcpOption.windowScale << 16) | (3 << 8) | (segment.windowScale ?? 0));
}
