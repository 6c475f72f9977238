/** A DHCP server whose leases are decided elsewhere: each client's address is always the same. @rfc 2131, 2132 */

import { viewOf } from './packets.ts';
import { formatIp } from './ip.ts';
import type { IpAddress } from './ip.ts';

export interface Lease {
  readonly address: IpAddress;
  readonly mask: IpAddress;
  /** Who gives the lease. */
  readonly server: IpAddress;
  /** Absent: the network leads nowhere. */
  readonly router?: IpAddress;
  readonly nameServer?: IpAddress;
  /** What firmware is to start, at most 255 characters: a file of the server's, or an address. */
  readonly bootFile?: string;
}

const OPTIONS_AT = 240;
const COOKIE = 0x63825363;
const option = {
  mask: 1, router: 3, nameServer: 6, requestedAddress: 50, leaseTime: 51, messageType: 53, server: 54, end: 255, pad: 0, rebindingTime: 59, renewalTime: 58, bootServer: 66, bootFile: 67,
} as const;
const message = { discover: 1, offer: 2, request: 3, decline: 4, acknowledge: 5, refuse: 6, release: 7, inform: 8 } as const;
const LEASE_SECONDS = 86_400;
const MESSAGE_BYTES = 300;
/** The boot file's place in a message of BOOTP, for clients that do not look at options. */
const bootFileField = { at: 108, bytes: 128 } as const;

/** The answer to a message, or null when it deserves none. */
export function answerDhcp(request: Uint8Array, lease: Lease): Uint8Array | null {
  if (request.length < OPTIONS_AT) return null;
  const view = viewOf(request);
  // BOOTREQUEST on Ethernet, with the cookie of DHCP.
  if (view.getUint8(0) !== 1 || view.getUint8(1) !== 1 || view.getUint8(2) !== 6 || view.getUint32(236) !== COOKIE) return null;
  const options = readOptions(request);
  const asked = addressOf(options.get(option.requestedAddress)) ?? view.getUint32(12);
  const server = addressOf(options.get(option.server));
  const leased = numberOf(lease.address);
  if (server !== null && server !== numberOf(lease.server)) return null;
  switch (options.get(option.messageType)?.[0]) {
    case message.discover: return reply(view, message.offer, lease, leased);
    case message.request: return asked === leased ? reply(view, message.acknowledge, lease, leased) : reply(view, message.refuse, lease, 0);
    case message.inform: return reply(view, message.acknowledge, lease, 0);
    default: return null;
  }
}

function readOptions(request: Uint8Array): Map<number, Uint8Array> {
  const options = new Map<number, Uint8Array>();
  for (let at = OPTIONS_AT; at < request.length && request[at] !== option.end;) {
    if (request[at] === option.pad) {
      at += 1;
      continue;
    }
    const length = request[at + 1] ?? 0;
    options.set(request[at] ?? 0, request.subarray(at + 2, at + 2 + length));
    at += 2 + length;
  }
  return options;
}

function addressOf(bytes: Uint8Array | undefined): number | null {
  return bytes?.length === 4 ? viewOf(bytes).getUint32(0) : null;
}

function numberOf(address: IpAddress): number {
  return viewOf(address).getUint32(0);
}

function reply(request: DataView, type: number, lease: Lease, address: number): Uint8Array {
  const { bootFile = '' } = lease;
  const bytes = new Uint8Array(MESSAGE_BYTES + (bootFile === '' ? 0 : bootFile.length + 20));
  const view = viewOf(bytes);
  bytes.set(new Uint8Array(request.buffer, request.byteOffset, OPTIONS_AT));
  view.setUint8(0, 2);
  view.setUint32(16, address);
  view.setUint32(20, numberOf(lease.server));
  bytes.fill(0, 44, 236);
  if (bootFile.length < bootFileField.bytes) bytes.set(Buffer.from(bootFile, 'latin1'), bootFileField.at);
  let at = OPTIONS_AT;
  const put = (code: number, ...values: readonly number[]): void => {
    bytes[at] = code;
    bytes[at + 1] = values.length * 4;
    values.forEach((value, index) => view.setUint32(at + 2 + index * 4, value));
    at += 2 + values.length * 4;
  };
  const say = (code: number, text: string): void => {
    bytes.set([code, text.length, ...Buffer.from(text, 'latin1')], at);
    at += 2 + text.length;
  };
  bytes.set([option.messageType, 1, type], at);
  at += 3;
  put(option.server, numberOf(lease.server));
  if (type !== message.refuse) {
    put(option.mask, numberOf(lease.mask));
    if (lease.router) put(option.router, numberOf(lease.router));
    if (lease.nameServer) put(option.nameServer, numberOf(lease.nameServer));
    if (bootFile !== '') {
      say(option.bootServer, formatIp(lease.server));
      say(option.bootFile, bootFile);
    }
    if (address !== 0) {
      put(option.leaseTime, LEASE_SECONDS);
      put(option.renewalTime, LEASE_SECONDS / 2);
      put(option.rebindingTime, (LEASE_SECONDS / 8) * 7);
    }
  }
  bytes[at] = option.end;
  return bytes;
}
