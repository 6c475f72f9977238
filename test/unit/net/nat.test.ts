import { createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { createSocket } from 'node:dgram';
import * as fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { nat4, nat6 } from '../../../core/net/addresses.ts';
import { formatIp, ipAddress, ipProtocol, parseIpv4, pseudoHeader } from '../../../core/net/ip.ts';
import { ETHERNET_BYTES, checksum, etherType, fold, parseUdp, sumWords, tcpFlag, viewOf } from '../../../core/net/packets.ts';
import { ethernet, guestMac, icmpv6Frame, ipFrame, networkDouble, packetOf, routerMac, tcpFrame, tcpOf, udpFrame } from '../../doubles/network.ts';
import type { NetworkDouble } from '../../doubles/network.ts';

const closers: (() => void)[] = [];
afterEach(() => closers.splice(0).forEach(close => close()));

function network(hostLoopback = false): NetworkDouble {
  const double = networkDouble(hostLoopback);
  closers.push(() => double.nat.close());
  return double;
}

const guest6 = ipAddress('fd00::5054:ff:fe01:203');
const link6 = ipAddress('fe80::5054:ff:fe01:203');
const versions = [
  { name: 'IPv4', guest: nat4.guest, gateway: nat4.gateway, loopback: '127.0.0.1', segment: 1460 },
  { name: 'IPv6', guest: guest6, gateway: nat6.gateway, loopback: '::1', segment: 1440 },
] as const;

/** A server on the loopback that gives each connection to the test. */
async function server(host: string, onConnection: (socket: Socket) => void): Promise<number> {
  const listening = createServer({ allowHalfOpen: true }, socket => {
    socket.on('error', () => {});
    onConnection(socket);
  });
  closers.push(() => listening.close());
  await new Promise<void>(resolve => listening.listen(0, host, resolve));
  return (listening.address() as AddressInfo).port;
}

describe('the gateway', () => {
  it('answers ARP for itself and the name server, and for nobody else', () => {
    const { frames, send } = network();
    const ask = (target: Uint8Array): void => {
      const request = new Uint8Array(28);
      viewOf(request).setUint32(0, 0x00010800);
      viewOf(request).setUint32(4, 0x06040001);
      request.set(guestMac, 8);
      request.set(nat4.guest, 14);
      request.set(target, 24);
      send(ethernet(etherType.arp, request));
    };
    for (const address of [nat4.gateway, nat4.nameServer, nat4.guest, ipAddress('10.0.2.9')]) ask(address);
    expect(frames.map(frame => formatIp(frame.subarray(28, 32)))).toEqual(['10.0.2.2', '10.0.2.3']);
    expect(frames[0]?.subarray(22, 28)).toEqual(routerMac);
  });

  it.each(versions)('answers an echo request over $name with the same data', ({ guest, gateway }) => {
    const { frames, send } = network();
    const version6 = guest.length === 16;
    const request = Uint8Array.of(version6 ? 128 : 8, 0, 0, 0, 1, 2, 0, 1, 9, 8, 7, 6, 5, 4, 3, 2);
    send(version6 ? icmpv6Frame(guest, gateway, request) : ipFrame({ protocol: ipProtocol.icmp, source: guest, destination: gateway }, request));
    const reply = packetOf(frames[0] ?? new Uint8Array(14));
    const payload = reply?.payload ?? new Uint8Array(0);
    expect(reply?.source).toEqual(gateway);
    expect([payload[0], ...payload.subarray(8)]).toEqual([version6 ? 129 : 0, 9, 8, 7, 6, 5, 4, 3, 2]);
    expect(checksum(payload, version6 ? pseudoHeader(gateway, guest, ipProtocol.icmpv6, payload.length) : 0)).toBe(0);
  });

  it('answers a long echo request that comes and goes in fragments', () => {
    const { frames, send } = network();
    const data = new Uint8Array(3008).map((_, index) => index * 7);
    data.set([8, 0, 0, 0, 0, 1, 0, 1]);
    const whole = ipFrame({ protocol: ipProtocol.icmp, source: nat4.guest, destination: nat4.gateway }, data).subarray(ETHERNET_BYTES);
    const cuts = [[0, 1480], [2960, 3008], [1480, 2960]] as const;
    for (const [from, to] of cuts) {
      const piece = new Uint8Array(20 + to - from);
      piece.set(whole.subarray(0, 20));
      piece.set(data.subarray(from, to), 20);
      viewOf(piece).setUint16(2, piece.length);
      viewOf(piece).setUint16(4, 77);
      viewOf(piece).setUint16(6, (from >> 3) | (to < data.length ? 0x2000 : 0));
      send(ethernet(etherType.ipv4, piece));
    }
    const replies = frames.map(frame => parseIpv4(frame.subarray(ETHERNET_BYTES)));
    expect(frames.every(frame => frame.length <= 1514)).toBe(true);
    expect(replies.map(packet => packet?.fragment?.at)).toEqual([0, 1480, 2960]);
    const joined = Uint8Array.from(replies.flatMap(packet => [...packet?.payload ?? []]));
    expect(joined.subarray(8)).toEqual(data.subarray(8));
    expect(checksum(joined)).toBe(0);
  });

  it('leases one address by DHCP', () => {
    const { frames, send } = network();
    const request = new Uint8Array(250);
    request.set([1, 1, 6]);
    viewOf(request).setUint32(4, 0xabcd);
    viewOf(request).setUint32(236, 0x63825363);
    request.set([53, 1, 1, 255], 240);
    send(udpFrame(ipAddress('0.0.0.0'), ipAddress('255.255.255.255'), { sourcePort: 68, destinationPort: 67, data: request }));
    const offer = parseUdp(packetOf(frames[0] ?? new Uint8Array(14))?.payload ?? new Uint8Array(0))?.data ?? new Uint8Array(0);
    expect([viewOf(offer).getUint32(4), formatIp(offer.subarray(16, 20)), offer[242]]).toEqual([0xabcd, '10.0.2.15', 2]);
  });

  it('advertises itself, the prefix and the name server to who asks for routers', () => {
    const { frames, send } = network();
    send(icmpv6Frame(link6, ipAddress('ff02::2'), Uint8Array.of(133, 0, 0, 0, 0, 0, 0, 0)));
    const packet = packetOf(frames[0] ?? new Uint8Array(14));
    const advertisement = packet?.payload ?? new Uint8Array(0);
    expect(formatIp(packet?.source ?? new Uint8Array(16))).toBe('fe80:0:0:0:0:0:0:2');
    expect([advertisement[0], viewOf(advertisement).getUint16(6) > 0]).toEqual([134, true]);
    expect(checksum(advertisement, pseudoHeader(nat6.router, ipAddress('ff02::1'), ipProtocol.icmpv6, advertisement.length))).toBe(0);
    expect([...advertisement.subarray(32, 36)]).toEqual([3, 4, 64, 0xc0]);
    expect(formatIp(advertisement.subarray(48, 64))).toBe('fd00:0:0:0:0:0:0:0');
    expect(formatIp(advertisement.subarray(72, 88))).toBe('fd00:0:0:0:0:0:0:3');
  });

  it('says where its IPv6 addresses are, and leaves the guest its own', () => {
    const { frames, send } = network();
    for (const target of [nat6.gateway, guest6]) send(icmpv6Frame(link6, ipAddress('ff02::1:ff00:2'), Uint8Array.of(135, 0, 0, 0, 0, 0, 0, 0, ...target)));
    expect(frames).toHaveLength(1);
    const packet = packetOf(frames[0] ?? new Uint8Array(14));
    expect([packet?.payload[0], packet?.payload.subarray(8, 24), packet?.payload.subarray(26, 32)]).toEqual([136, nat6.gateway, routerMac]);
    expect(packet?.destination).toEqual(link6);
  });

  it('tells who asks by DHCPv6 of the name server', () => {
    const { frames, send } = network();
    const data = Uint8Array.of(11, 1, 2, 3, 0, 1, 0, 2, 0xaa, 0xbb);
    send(udpFrame(link6, ipAddress('ff02::1:2'), { sourcePort: 546, destinationPort: 547, data }));
    const reply = parseUdp(packetOf(frames[0] ?? new Uint8Array(14))?.payload ?? new Uint8Array(0))?.data ?? new Uint8Array(0);
    expect([...reply.subarray(0, 10)]).toEqual([7, 1, 2, 3, 0, 1, 0, 2, 0xaa, 0xbb]);
    expect(reply.subarray(-16)).toEqual(nat6.nameServer);
  });
});

describe.each(versions)('a TCP connection over $name', ({ guest, gateway, loopback, segment: largest }) => {
  const segmentTo = (destination: Uint8Array, segment: Parameters<typeof tcpFrame>[2]): Uint8Array => tcpFrame(guest, destination, segment);

  it('is opened, carries data both ways and is closed', async () => {
    const port = await server(loopback, socket => {
      socket.on('data', data => socket.write(data.reverse()));
      socket.on('end', () => socket.end());
    });
    const { send, arrived } = network(true);
    const ports = { sourcePort: 4000, destinationPort: port };
    send(segmentTo(gateway, { ...ports, sequence: 100, flags: tcpFlag.syn, maximumSegment: 1460 }));
    const synAck = tcpOf(await arrived(frame => ((tcpOf(frame)?.flags ?? 0) & tcpFlag.syn) !== 0));
    expect(synAck).toMatchObject({ flags: tcpFlag.syn | tcpFlag.ack, acknowledgement: 101, maximumSegment: largest });
    const theirs = ((synAck?.sequence ?? 0) + 1) >>> 0;
    send(segmentTo(gateway, { ...ports, sequence: 101, acknowledgement: theirs }));
    send(segmentTo(gateway, { ...ports, sequence: 101, acknowledgement: theirs, data: Uint8Array.of(1, 2, 3) }));
    const frame = await arrived(candidate => (tcpOf(candidate)?.data.length ?? 0) > 0);
    const payload = packetOf(frame)?.payload ?? new Uint8Array(0);
    expect(fold(sumWords(payload, pseudoHeader(gateway, guest, ipProtocol.tcp, payload.length)))).toBe(0xffff);
    expect(tcpOf(frame)).toMatchObject({ sequence: theirs, acknowledgement: 104 });
    expect([...(tcpOf(frame)?.data ?? [])]).toEqual([3, 2, 1]);
    send(segmentTo(gateway, { ...ports, sequence: 104, acknowledgement: (theirs + 3) >>> 0, flags: tcpFlag.fin | tcpFlag.ack }));
    expect(tcpOf(await arrived(candidate => ((tcpOf(candidate)?.flags ?? 0) & tcpFlag.fin) !== 0))).toMatchObject({ acknowledgement: 105 });
  });

  it('sends again what the guest did not acknowledge', async () => {
    const port = await server(loopback, socket => socket.end('hello'));
    const { send, arrived } = network(true);
    const ports = { sourcePort: 4001, destinationPort: port };
    send(segmentTo(gateway, { ...ports, sequence: 0, flags: tcpFlag.syn, maximumSegment: 1460 }));
    const synAck = tcpOf(await arrived(frame => tcpOf(frame) !== null));
    send(segmentTo(gateway, { ...ports, sequence: 1, acknowledgement: ((synAck?.sequence ?? 0) + 1) >>> 0 }));
    for (let times = 0; times < 3; times++) {
      const segment = tcpOf(await arrived(frame => (tcpOf(frame)?.data.length ?? 0) > 0));
      expect(Buffer.from(segment?.data ?? []).toString()).toBe('hello');
    }
  });
});

describe('what a guest may not reach', () => {
  const forbidden4 = ['10.0.2.2', '127.0.0.1', '0.0.0.0', '224.0.0.1', '10.0.2.77', '255.255.255.255'];
  const forbidden6 = ['fd00::2', '::1', '::', 'ff02::1', 'fe80::1', 'fd00::77', '::ffff:127.0.0.1', '::127.0.0.1'];

  it.each([...forbidden4, ...forbidden6])('is refused: %s', address => {
    const { frames, send } = network();
    send(tcpFrame(address.includes(':') ? guest6 : nat4.guest, ipAddress(address), { sourcePort: 5000, destinationPort: 22, sequence: 7, flags: tcpFlag.syn, maximumSegment: 1460 }));
    expect(tcpOf(frames.pop() ?? new Uint8Array(14))).toMatchObject({ flags: tcpFlag.rst | tcpFlag.ack, acknowledgement: 8 });
  });

  it.each(['127.0.0.1', '::1'])('gets no datagrams on the loopback: %s', async host => {
    const socket = createSocket(host === '::1' ? 'udp6' : 'udp4');
    closers.push(() => socket.close());
    const heard: string[] = [];
    socket.on('message', data => heard.push(data.toString()));
    await new Promise<void>(resolve => socket.bind(0, host, resolve));
    const closed = network();
    const open = network(true);
    const guest = host === '::1' ? guest6 : nat4.guest;
    const gateway = host === '::1' ? nat6.gateway : nat4.gateway;
    const datagram = (text: string) => ({ sourcePort: 6000, destinationPort: socket.address().port, data: Buffer.from(text) });
    closed.send(udpFrame(guest, gateway, datagram('without a rule')));
    closed.send(udpFrame(guest, ipAddress(host), datagram('by its own address')));
    open.send(udpFrame(guest, gateway, datagram('with a rule')));
    await expect.poll(() => heard).toEqual(['with a rule']);
  });

  it('answers datagrams from the address that they went to', async () => {
    const socket = createSocket('udp4');
    closers.push(() => socket.close());
    socket.on('message', (data, { port, address }) => socket.send(data.reverse(), port, address));
    await new Promise<void>(resolve => socket.bind(0, '127.0.0.1', resolve));
    const { send, arrived } = network(true);
    send(udpFrame(nat4.guest, nat4.gateway, { sourcePort: 6001, destinationPort: socket.address().port, data: Uint8Array.of(1, 2, 3) }));
    const answer = packetOf(await arrived(frame => packetOf(frame)?.protocol === ipProtocol.udp));
    expect(answer?.source).toEqual(nat4.gateway);
    expect(parseUdp(answer?.payload ?? new Uint8Array(0))).toMatchObject({ sourcePort: socket.address().port, destinationPort: 6001, data: Uint8Array.of(3, 2, 1) });
  });
});

describe('frames of a hostile guest', () => {
  const headers = fc.record({
    type: fc.constantFrom(etherType.ipv4, etherType.ipv6, etherType.arp, 0x1234), protocol: fc.constantFrom(0, 1, 6, 17, 43, 44, 58, 60, 255), flags: fc.nat(255),
    more: fc.boolean(), destinationPort: fc.constantFrom(0, 53, 67, 547, 4000),
  });

  it('crash nothing, and leave no more behind than the bounds allow', () => {
    const { nat, frames } = network();
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), headers, (bytes, { type, protocol, flags, more, destinationPort }) => {
      const frame = new Uint8Array(Math.max(bytes.length, 90));
      frame.set(bytes);
      frame[6] = 2;
      const view = viewOf(frame);
      view.setUint16(12, type);
      // Sources in the network; destinations that lead nowhere, so that the test opens no connection.
      if (type === etherType.ipv4) {
        frame.set([0x45, 0, 0, frame.length - 14, 0, flags, more ? 0x20 : 0, 0, 64, protocol, 0, 0, ...nat4.guest, ...nat4.gateway], 14);
        view.setUint16(36, destinationPort);
        frame[47] = flags;
      } else if (type === etherType.ipv6) {
        frame.set([0x60, 0, 0, 0, 0, frame.length - 54, protocol, 64, ...guest6, ...nat6.gateway], 14);
        view.setUint16(56, destinationPort);
        frame[67] = flags;
      }
      nat.receive(frame);
      nat.settle();
      frames.length = 0;
    }), { numRuns: 4000 });
    expect(nat.load.tcp).toBe(0);
    expect(nat.load.fragments).toBeLessThanOrEqual(32);
  });

  it('may hold pieces that lie behind the last one', () => {
    const { nat, frames } = network();
    for (const [at, more] of [[800, true], [0, false], [8, false]] as const) {
      const frame = ipFrame({ protocol: ipProtocol.udp, source: nat4.guest, destination: nat4.gateway }, new Uint8Array(8));
      viewOf(frame).setUint16(20, (at >> 3) | (more ? 0x2000 : 0));
      nat.receive(frame);
    }
    expect(frames).toEqual([]);
  });

  it('open no more sockets than the bound allows', () => {
    const { nat, send } = network();
    for (let port = 1; port <= 2000; port++) send(udpFrame(nat4.guest, ipAddress('192.0.2.1'), { sourcePort: port, destinationPort: 9, data: new Uint8Array(0) }));
    expect(nat.load.udp).toBe(512);
  });
});
