import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VirtioNet } from '../../../core/devices/virtio/net.ts';
import { FrameLink, createFrameBuffer, frameAbility } from '../../../core/net/frameLink.ts';
import { VirtioDriver } from '../../doubles/virtioDriver.ts';

const mergeBuffers = 1n << 15n;
const guestChecksum = 1n << 1n;

function started(features = 0n): { link: FrameLink; driver: VirtioDriver; kind: VirtioNet } {
  const buffer = createFrameBuffer();
  const link = new FrameLink(buffer);
  link.linkUp = true;
  const kind = new VirtioNet('virtio-net-0', new FrameLink(buffer), Uint8Array.of(0x52, 0x54, 0, 1, 2, 3));
  const driver = new VirtioDriver(kind);
  driver.start(features);
  return { link, driver, kind };
}

const frameOf = (length: number): Uint8Array => new Uint8Array(length).map((_, index) => index * 3);

describe('virtio-net', () => {
  it('sends frames without their header', () => {
    const { link, driver } = started();
    driver.ram.set(frameOf(100), 0x2000 + 12);
    driver.submit(1, [{ address: 0x2000, length: 50, writable: false }, { address: 0x2032, length: 62, writable: false }]);
    expect(link.toNetwork.peek()?.bytes).toEqual(frameOf(100));
    expect(driver.used(1)).toHaveLength(1);
  });

  it('holds a frame until the driver gives room, then delivers it', () => {
    const { link, driver, kind } = started();
    link.toDevice.push({ bytes: frameOf(200) });
    kind.poll();
    expect(driver.used(0)).toEqual([]);
    driver.submit(0, [{ address: 0x4000, length: 1600, writable: true }]);
    expect(driver.used(0)).toEqual([{ head: 0, length: 212 }]);
    expect(driver.ram.subarray(0x4000 + 12, 0x4000 + 212)).toEqual(frameOf(200));
    expect(driver.view.getUint16(0x4000 + 10, true)).toBe(1);
  });

  it('spreads a long frame over several buffers when the driver takes that', () => {
    const { link, driver } = started(mergeBuffers | guestChecksum);
    expect(link.abilities & frameAbility.partialChecksum).toBe(frameAbility.partialChecksum);
    link.toDevice.push({ bytes: frameOf(5000), partialChecksum: { start: 34, offset: 16 } });
    for (let index = 0; index < 3; index++) driver.submit(0, [{ address: 0x4000 + index * 0x1000, length: 2048, writable: true }]);
    expect(driver.used(0).map(({ length }) => length)).toEqual([2048, 2048, 916]);
    expect(driver.view.getUint16(0x400a, true)).toBe(3);
    expect([driver.ram[0x4000], driver.view.getUint16(0x4006, true), driver.view.getUint16(0x4008, true)]).toEqual([1, 34, 16]);
  });

  it('keeps frames in the queue while the ring to the network is full, and sends them later', () => {
    const { link, driver, kind } = started();
    let sent = 0;
    for (; sent < 200; sent++) {
      driver.submit(1, [{ address: 0x20000, length: 60000, writable: false }]);
      if (driver.used(1).length === 0) break;
    }
    expect(sent).toBeGreaterThan(10);
    expect(sent).toBeLessThan(200);
    link.toNetwork.drop();
    kind.poll();
    expect(driver.used(1)).toHaveLength(1);
  });

  it('tells the driver when the cable is pulled', () => {
    const { link, driver, kind } = started();
    expect(driver.read(0x2006, 2)).toBe(1);
    link.linkUp = false;
    kind.poll();
    expect(driver.read(0x2006, 2)).toBe(0);
    expect(driver.read(0x1000, 1) & 2).toBe(2);
  });

  it('survives random descriptors', () => {
    fc.assert(fc.property(fc.uint8Array({ minLength: 64, maxLength: 256 }), fc.array(fc.nat(20), { maxLength: 12 }), (bytes, heads) => {
      const { link, driver, kind } = started(mergeBuffers);
      for (const base of [0x10000, 0x14000]) {
        for (let at = 0; at < 0x100; at++) driver.ram[base + at] = bytes[at % bytes.length] ?? 0;
        for (let index = 0; index < 16; index++) {
          driver.view.setUint32(base + index * 16 + 4, 0, true);
          driver.view.setUint32(base + index * 16, driver.view.getUint32(base + index * 16, true) & 0x1fffff, true);
        }
      }
      link.toDevice.push({ bytes: frameOf(3000) });
      for (const head of heads) {
        driver.offer(head & 1, head);
        driver.kick(head & 1);
        kind.poll();
      }
    }), { numRuns: 200 });
  });
});
