/** Addresses of the virtual network, and where of the host's network a guest may go. */
import { getServers } from 'node:dns';
import { formatIp, ipAddress, sameBytes, startsWith } from './ip.ts';
import type { IpAddress } from './ip.ts';

/** 10.0.2.0/24, as guests of other workstations know it. */
export const nat4 = {
  prefix: Uint8Array.of(10, 0, 2), mask: ipAddress('255.255.255.0'), gateway: ipAddress('10.0.2.2'), nameServer: ipAddress('10.0.2.3'), guest: ipAddress('10.0.2.15'),
} as const;

/** fd00::/64: unique local addresses, which hosts prefer for nothing that IPv4 reaches as well. @rfc 4193, 6724 */
export const nat6 = {
  prefix: ipAddress('fd00::').subarray(0, 8), gateway: ipAddress('fd00::2'), nameServer: ipAddress('fd00::3'), router: ipAddress('fe80::2'),
} as const;

export const linkLocalPrefix = Uint8Array.of(0xfe, 0x80);

const broadcast = ipAddress('255.255.255.255');
const mapped = ipAddress('::ffff:0.0.0.0').subarray(0, 12);

/** An address or a port of it on the host that stands behind one of the guest's view. */
export interface HostAddress {
  readonly address: string;
  readonly port: number;
}

export function isGateway(address: IpAddress): boolean {
  return sameBytes(address, nat4.gateway) || sameBytes(address, nat6.gateway);
}

export function isNameServer(address: IpAddress): boolean {
  return sameBytes(address, nat4.nameServer) || sameBytes(address, nat6.nameServer);
}

export function isBroadcast(address: IpAddress): boolean {
  return sameBytes(address, broadcast);
}

/** Whether a guest may have this address. */
export function inNetwork(address: IpAddress): boolean {
  return startsWith(address, address.length === 4 ? nat4.prefix : nat6.prefix);
}

/** Where the host sends what the guest sends to `address`; null where the guest may not go. */
export function reachable(address: IpAddress, hostLoopback: boolean): string | null {
  if (isGateway(address)) return hostLoopback ? (address.length === 4 ? '127.0.0.1' : '::1') : null;
  if (inNetwork(address)) return null;
  // An IPv4 address in IPv6's clothes is what it is.
  if (address.length === 16 && startsWith(address, mapped)) return null;
  return address.length === 4 ? reachable4(address) : reachable6(address);
}

/** Not this host, which Linux takes 0.0.0.0 for, loopback, group and broadcast addresses. */
function reachable4(address: IpAddress): string | null {
  const [first = 0] = address;
  return first === 0 || first === 127 || first >= 224 ? null : formatIp(address);
}

/** Not the unspecified and the loopback address nor others of ::/96, not one link's, not groups. */
function reachable6(address: IpAddress): string | null {
  const reserved = address.subarray(0, 12).every((byte) => byte === 0);
  const [first = 0, second = 0] = address;
  const oneLink = first === 0xfe && (second & 0xc0) === 0x80;
  return reserved || oneLink || first === 0xff ? null : formatIp(address);
}

const DNS = 53;

/** The host's first name server: of the same version of IP when there is one. */
export function nameServer(): HostAddress | null {
  for (const server of getServers()) {
    const match = /^(?:(\d+\.\d+\.\d+\.\d+)|\[?([0-9a-f:]+(?:%\w+)?)\]?)(?::(\d+))?$/i.exec(server);
    if (match) return { address: match[1] ?? match[2] ?? '', port: Number(match[3] ?? DNS) };
  }
  return null;
}
