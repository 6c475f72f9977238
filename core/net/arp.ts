/** Who has an IPv4 address. @rfc 826 */
import { sameBytes } from './ip.ts';
import type { IpAddress } from './ip.ts';
import { viewOf } from './packets.ts';
import type { MacAddress } from './packets.ts';

const ARP_BYTES = 28;
/** Ethernet and IPv4; six bytes and four; the request. */
const kind = { hardwareAndProtocol: 0x00010800, lengths: 0x0604, request: 1, reply: 2 } as const;

/** The reply to a request for one of `addresses`, which are at `mac`; null for anything else. */
export function answerArp(request: Uint8Array, addresses: readonly IpAddress[], mac: MacAddress): Uint8Array | null {
  if (request.length < ARP_BYTES) return null;
  const view = viewOf(request);
  if (view.getUint32(0) !== kind.hardwareAndProtocol || view.getUint16(4) !== kind.lengths || view.getUint16(6) !== kind.request) return null;
  const target = request.subarray(24, 28);
  if (!addresses.some((address) => sameBytes(address, target))) return null;
  const reply = new Uint8Array(ARP_BYTES);
  viewOf(reply).setUint32(0, kind.hardwareAndProtocol);
  viewOf(reply).setUint32(4, (kind.lengths << 16) | kind.reply);
  reply.set(mac, 8);
  reply.set(target, 14);
  reply.set(request.subarray(8, 18), 18);
  return reply;
}
