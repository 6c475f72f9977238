import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { register } from '../../../core/devices/e1000e/registers.ts';
import { parseIpv4 } from '../../../core/net/ip.ts';
import { ETHERNET_BYTES, checksum } from '../../../core/net/packets.ts';
import { E1000eDriver, RING, context } from '../../doubles/e1000eDriver.ts';
import { tcpFrame } from '../../doubles/network.ts';
import { nat4 } from '../../../core/net/addresses.ts';

const broadcast = (length: number): Uint8Array => new Uint8Array(length).map((_, index) => (index < 6 ? 0xff : index));
const own = Uint8Array.of(0x52, 0x54, 0, 1, 2, 3);
/** Legacy: end of packet, frame check sequence, report. Extended data: the same, type 1. */
const legacy = 0x0b00_0000;
const data = 0x2b10_0000;
const segmented = 0x0400_0000;
const cause = { transmitted: 1, linkChanged: 4, received: 0x80, receiveQueue: 1 << 20 } as const;

function started(extended = false): E1000eDriver {
  const driver = new E1000eDriver();
  driver.start(extended);
  return driver;
}

describe('e1000e', () => {
  it('has its address in the configuration memory, whose words add up, and in the first receive address', () => {
    const driver = new E1000eDriver();
    const words = Array.from({ length: 64 }, (_, address) => {
      driver.write(register.eerd, (address << 2) | 1);
      const value = driver.read(register.eerd);
      expect(value & 2).toBe(2);
      return value >>> 16;
    });
    expect(words.slice(0, 3)).toEqual([0x5452, 0x0100, 0x0302]);
    expect(words.reduce((sum, word) => sum + word, 0) & 0xffff).toBe(0xbaba);
    expect([driver.read(register.ra), driver.read(register.ra + 4)]).toEqual([0x01005452, 0x80000302]);
  });

  it('has a PHY that says whether there is a link', () => {
    const driver = new E1000eDriver();
    const phy = (address: number): number => {
      driver.write(register.mdic, (2 << 26) | (1 << 21) | (address << 16));
      return driver.read(register.mdic);
    };
    expect([phy(2) & 0xffff, phy(3) & 0xffff]).toEqual([0x0141, 0x0cb1]);
    expect(phy(1) & 0x24).toBe(0x24);
    driver.link.linkUp = false;
    expect(phy(1) & 0x24).toBe(0);
    expect(driver.read(register.status) & 2).toBe(0);
  });

  it('sends a frame that lies in two pieces, and reports it', () => {
    const driver = started();
    driver.ram.set(broadcast(100), 0x5000);
    driver.send({ address: 0x5000, command: 60 }, { address: 0x503c, command: legacy | 40 });
    expect(driver.link.toNetwork.peek()?.bytes).toEqual(broadcast(100));
    expect(driver.transmitted(1).getUint8(12) & 1).toBe(1);
    expect(driver.read(register.icr) & cause.transmitted).toBe(cause.transmitted);
  });

  it('waits for the end of a packet, and gives up one that fills the ring', () => {
    const driver = started();
    driver.send({ address: 0x5000, command: 60 });
    expect(driver.link.toNetwork.waiting).toBe(false);
    driver.send(...Array.from({ length: RING - 2 }, () => ({ address: 0x5000, command: 60 })));
    expect(driver.link.toNetwork.waiting).toBe(false);
    expect(driver.read(0x3810)).toBe(driver.read(0x3818));
  });

  it('leaves checksums and long segments to the network, with lengths that are right', () => {
    const driver = started();
    const frame = tcpFrame(nat4.guest, nat4.gateway, { sourcePort: 1, destinationPort: 2, data: new Uint8Array(4000) });
    driver.ram.set(frame, 0x5000);
    // What drivers leave out: the length, and the sum over the header.
    driver.ram.fill(0, 0x5010, 0x5012);
    driver.send(context(34, 50, 54, 1460), { address: 0x5000, command: data | segmented | frame.length, options: 0x300 });
    const sent = driver.link.toNetwork.peek();
    expect(sent).toMatchObject({ partialChecksum: { start: 34, offset: 16 }, segmentBytes: 1460, headerBytes: 54 });
    const packet = sent?.bytes.subarray(ETHERNET_BYTES) ?? new Uint8Array(20);
    expect(parseIpv4(packet)?.payload).toHaveLength(4020);
    expect(checksum(packet.subarray(0, 20))).toBe(0);
  });

  it('keeps packets while the ring to the network is full, also across a saved state, and sends them later', () => {
    const driver = started();
    let sent = 0;
    for (; driver.link.toNetwork.reserve(60_000) !== null; sent++) driver.link.toNetwork.commit();
    driver.ram.set(broadcast(60_000), 0x20000);
    driver.send({ address: 0x20000, command: data | 60_000 });
    expect(driver.transmitted(0).getUint8(12) & 1).toBe(0);
    driver.device.loadState(JSON.parse(JSON.stringify(driver.device.saveState())));
    for (let index = 0; index < sent; index++) driver.link.toNetwork.drop();
    driver.device.poll();
    expect(driver.link.toNetwork.peek()?.bytes).toHaveLength(60_000);
    expect(driver.transmitted(0).getUint8(12) & 1).toBe(1);
  });

  it.each([false, true])('delivers frames into buffers; extended descriptors: %s', extended => {
    const driver = started(extended);
    driver.link.toDevice.push({ bytes: broadcast(100) });
    driver.device.poll();
    expect(driver.buffer(0, 100)).toEqual(broadcast(100));
    const descriptor = driver.received(0);
    expect([descriptor.getUint16(extended ? 12 : 8, true), descriptor.getUint8(extended ? 8 : 12) & 3]).toEqual([100, 3]);
    expect(driver.read(register.icr) & cause.received).toBe(cause.received);
  });

  it('fills short frames up, and finishes checksums that were left to it', () => {
    const driver = started(true);
    const frame = tcpFrame(nat4.gateway, nat4.guest, { sourcePort: 1, destinationPort: 2 });
    frame.set(own, 0);
    driver.link.toDevice.push({ bytes: frame, partialChecksum: { start: 34, offset: 16 } });
    driver.device.poll();
    expect(driver.received(0).getUint16(12, true)).toBe(60);
    expect(checksum(driver.buffer(0, frame.length).subarray(34))).toBe(0);
    expect(driver.received(0).getUint8(8) & 0x64).toBe(0x60);
  });

  it('takes what is for its address, for all, or for a group in its table; nothing else', () => {
    const driver = started();
    const to = (...address: readonly number[]): void => {
      driver.link.toDevice.push({ bytes: Uint8Array.of(...address, ...new Uint8Array(54)) });
      driver.device.poll();
    };
    to(...own);
    to(0x52, 0x54, 0, 9, 9, 9);
    to(0x33, 0x33, 0, 0, 0, 1);
    expect(driver.read(0x2810)).toBe(1);
    // Bits 47 to 36 of the group's address choose the bit.
    driver.write(register.mta + ((0x010 >> 5) * 4), 1 << 0x10);
    to(0x33, 0x33, 0, 0, 0, 1);
    expect(driver.read(0x2810)).toBe(2);
    expect(driver.read(0x4074)).toBe(2);
    expect(driver.read(0x4074)).toBe(0);
  });

  it('holds a frame until there is a buffer', () => {
    const driver = started();
    for (let index = 0; index < RING; index++) driver.link.toDevice.push({ bytes: broadcast(64 + index) });
    driver.device.poll();
    expect([driver.read(0x2810), driver.link.toDevice.waiting]).toEqual([7, true]);
    driver.give(2);
    expect([driver.read(0x2810), driver.link.toDevice.waiting]).toEqual([0, false]);
    expect(driver.buffer(7, 71)).toEqual(broadcast(71));
  });

  it('drives its pin while an unmasked cause is pending, until the causes are read', () => {
    const driver = started();
    driver.link.toDevice.push({ bytes: broadcast(64) });
    driver.device.poll();
    expect(driver.plug.line).toBe(false);
    driver.write(register.ims, cause.received);
    expect(driver.plug.line).toBe(true);
    expect(driver.read(register.icr) >>> 31).toBe(1);
    expect(driver.plug.line).toBe(false);
  });

  it('sends each cause by the vector that IVAR gives it, once until it is unmasked again', () => {
    const driver = started();
    const { device } = driver;
    const control = 0x40 + 2;
    device.writeConfig(control, 2, 0x8000);
    const table = device.barSizes.find(({ index }) => index === 3)?.bar.registers;
    for (let vector = 0; vector < 5; vector++) {
      table?.write(vector * 16, 4, 0xfee00000);
      table?.write(vector * 16 + 8, 4, 0x30 + vector);
      table?.write(vector * 16 + 12, 4, 0);
    }
    driver.write(register.ivar, 0x000a_0908);
    driver.write(register.eiac, cause.receiveQueue);
    driver.write(register.ctrlExt, 1 << 24);
    driver.write(register.ims, cause.receiveQueue | (1 << 24));
    for (let times = 0; times < 2; times++) {
      driver.link.toDevice.push({ bytes: broadcast(64) });
      device.poll();
    }
    expect(driver.plug.messages).toEqual([0x30]);
    driver.link.linkUp = false;
    device.poll();
    expect(driver.plug.messages).toEqual([0x30, 0x32]);
    expect(driver.read(register.icr) & cause.linkChanged).toBe(cause.linkChanged);
  });

  it('survives random registers and descriptors', () => {
    const write = fc.record({ at: fc.oneof(fc.constantFrom(...Object.values(register), 0x2800, 0x2808, 0x2810, 0x2818, 0x3800, 0x3808, 0x3810, 0x3818, 0x3908, 0x3918), fc.nat(0x1ffff)), value: fc.oneof(fc.nat(0xff), fc.integer({ min: 0, max: 0xffffffff })) });
    fc.assert(fc.property(fc.array(write, { maxLength: 30 }), fc.uint8Array({ minLength: 64, maxLength: 256 }), (writes, bytes) => {
      const driver = started();
      for (let at = 0; at < 0x3000; at++) driver.ram[at] = bytes[at % bytes.length] ?? 0;
      for (const { at, value } of writes) {
        driver.write(at & ~3, value);
        driver.link.toDevice.push({ bytes: broadcast(1514), partialChecksum: { start: value & 0x7ff, offset: value >>> 24 } });
        driver.device.poll();
        driver.link.toNetwork.peek();
        if (driver.link.toNetwork.waiting) driver.link.toNetwork.drop();
      }
      const state: unknown = JSON.parse(JSON.stringify(driver.device.saveState()));
      driver.device.loadState(state);
      expect(driver.device.saveState()).toEqual(state);
    }), { numRuns: 300 });
  });
});
