import { createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import * as fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { Nat, natAddress } from '../../../core/net/nat.ts';
import { ETHERNET_BYTES, checksum, etherType, fold, ipProtocol, ipv4, ipv4Frame, parseIpv4, parseTcp, parseUdp, pseudoHeader, sumWords, tcpFlag, writeTcpHeader, writeUdp } from '../../../core/net/packets.ts';
import type { TcpSegment } from '../../../core/net/packets.ts';

const guestMac = Uint8Array.of(0x52, 0x54, 0, 1, 2, 3);
const routerMac = Uint8Array.of(0x52, 0x55, 10, 0, 2, 2);
const macs = { source: guestMac, destination: routerMac };
const closers: (() => void)[] = [];
afterEach(() => closers.splice(0).forEach(close => close()));

function network(hostLoopback = false): { nat: Nat; frames: Uint8Array[]; arrived: (match: (frame: Uint8Array) => boolean) => Promise<Uint8Array> } {
  const frames: Uint8Array[] = [];
  let look = (): void => {};
  const nat = new Nat({ send: ({ bytes }) => (frames.push(bytes), look(), true), abilities: () => 0, hostLoopback });
  closers.push(() => nat.close());
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
  return { nat, frames, arrived };
}

function tcpOf(frame: Uint8Array): TcpSegment | null {
  const packet = parseIpv4(frame.subarray(ETHERNET_BYTES));
  return packet?.protocol === ipProtocol.tcp ? parseTcp(packet.payload) : null;
}

const plain = { maximumSegment: null, windowScale: null };

function tcpFrame(destination: number, segment: Partial<TcpSegment> & { readonly sourcePort: number; readonly destinationPort: number }): Uint8Array {
  const { data = new Uint8Array(0), ...head } = { sequence: 0, acknowledgement: 0, flags: tcpFlag.ack, window: 65535, ...plain, ...segment };
  const length = 20 + (head.maximumSegment === null ? 0 : 4) + data.length;
  const { frame, payload } = ipv4Frame(macs, { protocol: ipProtocol.tcp, source: natAddress.guest, destination }, length);
  payload.set(data, writeTcpHeader(payload, head));
  return frame;
}

/** A server on the loopback that gives each connection to the test. */
async function server(onConnection: (socket: Socket) => void): Promise<number> {
  const listening = createServer({ allowHalfOpen: true }, socket => {
    socket.on('error', () => {});
    onConnection(socket);
  });
  closers.push(() => listening.close());
  await new Promise<void>(resolve => listening.listen(0, '127.0.0.1', resolve));
  return (listening.address() as AddressInfo).port;
}

describe('the gateway', () => {
  it('answers ARP for itself and the name server, and for nobody else', () => {
    const { nat, frames } = network();
    const ask = (target: number): void => {
      const frame = new Uint8Array(42);
      const view = new DataView(frame.buffer);
      frame.set(guestMac, 6);
      view.setUint16(12, etherType.arp);
      view.setUint32(14, 0x00010800);
      view.setUint32(18, 0x06040001);
      frame.set(guestMac, 22);
      view.setUint32(28, natAddress.guest);
      view.setUint32(38, target);
      nat.receive(frame);
    };
    for (const address of [natAddress.gateway, natAddress.nameServer, natAddress.guest, ipv4('10.0.2.9')]) ask(address);
    expect(frames.map(frame => new DataView(frame.buffer).getUint32(28))).toEqual([natAddress.gateway, natAddress.nameServer]);
  });

  it('answers an echo request with the same data', () => {
    const { nat, frames } = network();
    const { frame, payload } = ipv4Frame(macs, { protocol: ipProtocol.icmp, source: natAddress.guest, destination: natAddress.gateway }, 16);
    payload.set([8, 0, 0, 0, 1, 2, 0, 1, 9, 8, 7, 6, 5, 4, 3, 2]);
    nat.receive(frame);
    const reply = parseIpv4((frames[0] ?? new Uint8Array(0)).subarray(ETHERNET_BYTES));
    expect(reply?.source).toBe(natAddress.gateway);
    expect(reply?.payload[0]).toBe(0);
    expect([...(reply?.payload.subarray(8) ?? [])]).toEqual([9, 8, 7, 6, 5, 4, 3, 2]);
    expect(checksum(reply?.payload ?? new Uint8Array(0))).toBe(0);
  });

  it('leases one address by DHCP', () => {
    const { nat, frames } = network();
    const request = new Uint8Array(250);
    const view = new DataView(request.buffer);
    request.set([1, 1, 6]);
    view.setUint32(4, 0xabcd);
    view.setUint32(236, 0x63825363);
    request.set([53, 1, 1, 255], 240);
    const { frame, payload } = ipv4Frame(macs, { protocol: ipProtocol.udp, source: 0, destination: 0xffffffff }, 8 + request.length);
    writeUdp(payload, 0, 0xffffffff, { sourcePort: 68, destinationPort: 67, data: request });
    nat.receive(frame);
    const offer = parseUdp(parseIpv4((frames[0] ?? new Uint8Array(0)).subarray(ETHERNET_BYTES))?.payload ?? new Uint8Array(0))?.data ?? new Uint8Array(0);
    const answer = new DataView(offer.buffer, offer.byteOffset);
    expect([answer.getUint32(4), answer.getUint32(16), offer[242]]).toEqual([0xabcd, natAddress.guest, 2]);
  });
});

describe('a TCP connection', () => {
  it('is opened, carries data both ways and is closed', async () => {
    const port = await server(socket => {
      socket.on('data', data => socket.write(data.reverse()));
      socket.on('end', () => socket.end());
    });
    const { nat, arrived } = network(true);
    const ports = { sourcePort: 4000, destinationPort: port };
    nat.receive(tcpFrame(natAddress.gateway, { ...ports, sequence: 100, flags: tcpFlag.syn, maximumSegment: 1460 }));
    const synAck = tcpOf(await arrived(frame => ((tcpOf(frame)?.flags ?? 0) & tcpFlag.syn) !== 0));
    expect(synAck).toMatchObject({ flags: tcpFlag.syn | tcpFlag.ack, acknowledgement: 101, maximumSegment: 1460 });
    const theirs = ((synAck?.sequence ?? 0) + 1) >>> 0;
    nat.receive(tcpFrame(natAddress.gateway, { ...ports, sequence: 101, acknowledgement: theirs }));
    nat.receive(tcpFrame(natAddress.gateway, { ...ports, sequence: 101, acknowledgement: theirs, data: Uint8Array.of(1, 2, 3) }));
    const frame = await arrived(candidate => (tcpOf(candidate)?.data.length ?? 0) > 0);
    const packet = parseIpv4(frame.subarray(ETHERNET_BYTES));
    expect(fold(sumWords(packet?.payload ?? new Uint8Array(0), pseudoHeader(natAddress.gateway, natAddress.guest, ipProtocol.tcp, packet?.payload.length ?? 0)))).toBe(0xffff);
    expect(tcpOf(frame)).toMatchObject({ sequence: theirs, acknowledgement: 104 });
    expect([...(tcpOf(frame)?.data ?? [])]).toEqual([3, 2, 1]);
    nat.receive(tcpFrame(natAddress.gateway, { ...ports, sequence: 104, acknowledgement: (theirs + 3) >>> 0, flags: tcpFlag.fin | tcpFlag.ack }));
    expect(tcpOf(await arrived(candidate => ((tcpOf(candidate)?.flags ?? 0) & tcpFlag.fin) !== 0))).toMatchObject({ acknowledgement: 105 });
  });

  it('sends again what the guest did not acknowledge', async () => {
    const port = await server(socket => socket.end('hello'));
    const { nat, arrived } = network(true);
    const ports = { sourcePort: 4001, destinationPort: port };
    nat.receive(tcpFrame(natAddress.gateway, { ...ports, sequence: 0, flags: tcpFlag.syn, maximumSegment: 1460 }));
    const synAck = tcpOf(await arrived(frame => tcpOf(frame) !== null));
    nat.receive(tcpFrame(natAddress.gateway, { ...ports, sequence: 1, acknowledgement: ((synAck?.sequence ?? 0) + 1) >>> 0 }));
    for (let times = 0; times < 3; times++) {
      const segment = tcpOf(await arrived(frame => (tcpOf(frame)?.data.length ?? 0) > 0));
      expect(Buffer.from(segment?.data ?? []).toString()).toBe('hello');
    }
  });

  it('is refused where the guest may not go', () => {
    const { nat, frames } = network();
    for (const address of ['10.0.2.2', '127.0.0.1', '0.0.0.0', '224.0.0.1', '10.0.2.77', '255.255.255.255']) {
      nat.receive(tcpFrame(ipv4(address), { sourcePort: 5000, destinationPort: 22, sequence: 7, flags: tcpFlag.syn, maximumSegment: 1460 }));
      expect(tcpOf(frames.pop() ?? new Uint8Array(0)), address).toMatchObject({ flags: tcpFlag.rst | tcpFlag.ack, acknowledgement: 8 });
    }
  });
});

describe('frames of a hostile guest', () => {
  it('crash nothing', () => {
    const { nat } = network();
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), fc.constantFrom(0, 0x0800, 0x0806), fc.nat(255), fc.boolean(), (bytes, type, protocol, syn) => {
      const frame = new Uint8Array(Math.max(bytes.length, 60));
      frame.set(bytes);
      frame[6] = 2;
      if (type !== 0) new DataView(frame.buffer).setUint16(12, type);
      if (type === 0x0800) {
        frame.set([0x45, 0, 0, frame.length - 14, 0, 0, 0, 0], 14);
        frame[23] = protocol % 3 === 0 ? 6 : protocol % 3 === 1 ? 17 : 1;
        // Sources in the network; destinations that lead nowhere, so that the test opens no connection.
        frame.set([10, 0, 2, 15, 10, 0, 2, 2], 26);
        if (syn) frame[47] = 2;
      }
      nat.receive(frame);
    }), { numRuns: 2000 });
  });
});
