/** Packets of virtio sockets. @virtio 5.10.6 */

export const PACKET_HEADER = 44;
/** The most data in one packet. */
export const PAYLOAD_MAXIMUM = 64 * 1024;
/** Well-known addresses. */
export const HOST_CID = 2;
export const GUEST_CID = 3;

export const operation = { request: 1, response: 2, reset: 3, shutdown: 4, data: 5, creditUpdate: 6, creditRequest: 7 } as const;
/** Who sends shutdown will not receive, or not send, any more. */
export const shutdownFlag = { receive: 1, send: 2 } as const;
export const STREAM = 1;

export interface Packet {
  readonly sourceCid: number;
  readonly targetCid: number;
  readonly sourcePort: number;
  readonly targetPort: number;
  readonly type: number;
  readonly operation: number;
  readonly flags: number;
  /** Room for data that the sender has in all, and how much it has ever taken out of it. */
  readonly bufferBytes: number;
  readonly takenBytes: number;
  readonly data: Uint8Array;
}

/** @returns null for what is no packet */
export function readPacket(bytes: Uint8Array): Packet | null {
  if (bytes.length < PACKET_HEADER) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = view.getUint32(24, true);
  if (length > bytes.length - PACKET_HEADER) return null;
  // Addresses have 64 bits of which the upper half is reserved.
  const cid = (at: number): number => (view.getUint32(at + 4, true) === 0 ? view.getUint32(at, true) : -1);
  return {
    sourceCid: cid(0), targetCid: cid(8), sourcePort: view.getUint32(16, true), targetPort: view.getUint32(20, true), type: view.getUint16(28, true), operation: view.getUint16(30, true),
    flags: view.getUint32(32, true), bufferBytes: view.getUint32(36, true), takenBytes: view.getUint32(40, true), data: bytes.subarray(PACKET_HEADER, PACKET_HEADER + length),
  };
}

export function writePacket(packet: Packet): Uint8Array {
  const bytes = new Uint8Array(PACKET_HEADER + packet.data.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, packet.sourceCid, true);
  view.setUint32(8, packet.targetCid, true);
  view.setUint32(16, packet.sourcePort, true);
  view.setUint32(20, packet.targetPort, true);
  view.setUint32(24, packet.data.length, true);
  view.setUint16(28, packet.type, true);
  view.setUint16(30, packet.operation, true);
  view.setUint32(32, packet.flags, true);
  view.setUint32(36, packet.bufferBytes, true);
  view.setUint32(40, packet.takenBytes, true);
  bytes.set(packet.data, PACKET_HEADER);
  return bytes;
}
