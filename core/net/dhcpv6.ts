/** DHCPv6 without addresses, which guests make themselves: who asks is told of the name server. @rfc 8415 18.3.6, 3646 */
import { viewOf } from './packets.ts';
import type { MacAddress } from './packets.ts';
import type { IpAddress } from './ip.ts';

const message = { reply: 7, informationRequest: 11 } as const;
const option = { clientId: 1, serverId: 2, nameServers: 23 } as const;
const HEADER_BYTES = 4;
/** A DUID of link-layer address, on Ethernet. */
const duid = [0, 3, 0, 1] as const;

/** The answer to a message, or null when it deserves none. */
export function answerDhcpv6(request: Uint8Array, mac: MacAddress, nameServer: IpAddress): Uint8Array | null {
  if (request.length < HEADER_BYTES || request[0] !== message.informationRequest) return null;
  const client = findOption(request, option.clientId);
  const parts = [
    Uint8Array.of(message.reply, ...request.subarray(1, HEADER_BYTES)),
    ...(client ? [encode(option.clientId, client)] : []),
    encode(option.serverId, Uint8Array.of(...duid, ...mac)), encode(option.nameServers, nameServer),
  ];
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

function findOption(request: Uint8Array, code: number): Uint8Array | null {
  const view = viewOf(request);
  for (let at = HEADER_BYTES; at + 4 <= request.length;) {
    const length = view.getUint16(at + 2);
    if (view.getUint16(at) === code) return request.subarray(at + 4, at + 4 + length);
    at += 4 + length;
  }
  return null;
}

function encode(code: number, value: Uint8Array): Uint8Array {
  return Uint8Array.of(code >> 8, code & 0xff, value.length >> 8, value.length & 0xff, ...value);
}
