import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VirtioBlk } from '../../../core/devices/virtio/blk.ts';
import { MemoryDisk } from '../../doubles/memoryDisk.ts';
import { VirtioDriver } from '../../doubles/virtioDriver.ts';

const header = 0x1000;
const status = 0x1800;
const data = 0x2000;

function started(disk = new MemoryDisk(), features = 0n): { disk: MemoryDisk; driver: VirtioDriver } {
  const driver = new VirtioDriver(new VirtioBlk('virtio-blk-0', disk, 'serial'));
  driver.start(features);
  return { disk, driver };
}

function request(driver: VirtioDriver, type: number, sector: number, length: number, deviceWrites: boolean): number {
  driver.view.setUint32(header, type, true);
  driver.view.setBigUint64(header + 8, BigInt(sector), true);
  driver.ram[status] = 0xff;
  return driver.submit(0, [
    { address: header, length: 16, writable: false }, ...(length > 0 ? [{ address: data, length, writable: deviceWrites }] : []),
    { address: status, length: 1, writable: true },
  ]);
}

describe('virtio-blk', () => {
  it('tells its size and serial number', () => {
    const { driver } = started();
    expect(driver.read(0x2000, 4)).toBe(2048);
    request(driver, 8, 0, 20, true);
    expect(Buffer.from(driver.ram.subarray(data, data + 6)).toString()).toBe('serial');
  });

  it('tells its driver when the disk has become larger, and serves the rest', () => {
    const disk = new MemoryDisk();
    const kind = new VirtioBlk('virtio-blk-0', disk, 'serial');
    const driver = new VirtioDriver(kind);
    driver.start();
    const generation = driver.read(0x15, 1);
    disk.grow(2 << 20);
    kind.sizeChanged();
    expect([driver.read(0x2000, 4), driver.plug.line, driver.read(0x15, 1)]).toEqual([4096, true, generation + 1]);
    request(driver, 0, 4095, 512, true);
    expect(driver.ram[status]).toBe(0);
  });

  it('reads and writes whole requests and gives their buffers back', () => {
    const { disk, driver } = started();
    const head = request(driver, 0, 3, 4096, true);
    expect(driver.used(0)).toEqual([{ head, length: 4097 }]);
    expect(driver.ram[status]).toBe(0);
    expect(driver.ram.subarray(data, data + 4096)).toEqual(disk.bytes.subarray(1536, 1536 + 4096));
    driver.ram.fill(0x5a, data, data + 1024);
    request(driver, 1, 8, 1024, false);
    expect(driver.used(0)).toHaveLength(1);
    expect(disk.bytes.subarray(4096, 5120).every(byte => byte === 0x5a)).toBe(true);
    expect(driver.plug.line).toBe(true);
  });

  it('answers errors of the disk and requests outside it with an error status', () => {
    const { disk, driver } = started();
    for (const [type, sector, length] of [[0, 2048, 512], [1, 2047, 1024], [0, 2 ** 40, 512], [0, 0, 100]] as const) {
      request(driver, type, sector, length, type === 0);
      expect(driver.ram[status], `type ${type}, sector ${sector}`).toBe(1);
    }
    disk.failure = 'io';
    request(driver, 4, 0, 0, false);
    expect(driver.ram[status]).toBe(1);
    request(driver, 77, 0, 0, false);
    expect(driver.ram[status]).toBe(2);
  });

  it('writes nothing to a read-only disk', () => {
    const { disk, driver } = started(new MemoryDisk(1 << 20, true));
    const before = disk.bytes.slice();
    request(driver, 1, 0, 512, false);
    expect(driver.ram[status]).toBe(1);
    expect(disk.bytes).toEqual(before);
    driver.write(0, 4, 0);
    expect(driver.read(4, 4) & (1 << 5)).toBe(1 << 5);
  });

  it('asks to be reset after a broken chain, and works again after the reset', () => {
    const broken: readonly ((driver: VirtioDriver) => void)[] = [
      driver => driver.offer(0, 99),
      driver => driver.submit(0, [{ address: header, length: 4, writable: false }], false),
      driver => driver.submit(0, [{ address: 2 ** 40, length: 16, writable: false }, { address: status, length: 1, writable: true }], false),
      driver => {
        // A loop of two descriptors.
        driver.submit(0, [{ address: header, length: 16, writable: false }, { address: data, length: 16, writable: false }], false);
        driver.view.setUint16(0x10000 + 16 + 12, 1, true);
        driver.view.setUint16(0x10000 + 16 + 14, 0, true);
      },
      driver => driver.view.setUint16(0x11002, 5000, true),
      driver => {
        driver.submit(0, [{ address: header, length: 24, writable: false }], false);
        driver.view.setUint16(0x10000 + 12, 4, true);
      },
    ];
    for (const breaks of broken) {
      const { driver } = started();
      breaks(driver);
      driver.kick(0);
      expect(driver.status & 0x40).toBe(0x40);
      driver.start();
      request(driver, 0, 0, 512, true);
      expect(driver.ram[status]).toBe(0);
    }
  });

  it('a state saved with requests under way goes on in another machine', () => {
    const { disk, driver } = started();
    disk.immediate = false;
    const head = request(driver, 0, 5, 512, true);
    const saved = JSON.parse(JSON.stringify(driver.device.saveState())) as unknown;
    const ram = driver.ram.slice();
    const other = new VirtioDriver(new VirtioBlk('virtio-blk-0', new MemoryDisk(), 'serial'), ram);
    other.device.loadState(saved);
    expect(ram[status]).toBe(0);
    expect(ram.subarray(data, data + 512)).toEqual(disk.bytes.subarray(2560, 3072));
    expect(new DataView(ram.buffer).getUint32(0x12004, true)).toBe(head);
  });

  it('a reset forgets requests under way', () => {
    const { disk, driver } = started();
    disk.immediate = false;
    request(driver, 0, 0, 512, true);
    const [late] = disk.waiting;
    driver.write(0x14, 1, 0);
    driver.ram.fill(0xee, data, data + 512);
    late?.done(null);
    expect(driver.ram[data]).toBe(0xee);
    expect(driver.ram[status]).toBe(0xff);
  });

  it('random rings and descriptors crash nothing and reach nothing outside memory and disk', () => {
    fc.assert(fc.property(fc.uint8Array({ minLength: 64, maxLength: 512 }), fc.array(fc.nat(0xffff), { maxLength: 20 }), fc.boolean(), (bytes, heads, eventIndex) => {
      const { driver } = started(new MemoryDisk(), eventIndex ? 1n << 29n : 0n);
      for (let at = 0; at < 0x100; at++) driver.ram[0x10000 + at] = bytes[at % bytes.length] ?? 0;
      // Addresses are mostly within memory, so that more than the first check is met.
      for (let index = 0; index < 16; index++) driver.view.setUint32(0x10000 + index * 16 + 4, 0, true);
      for (let index = 0; index < 16; index++) driver.view.setUint32(0x10000 + index * 16, driver.view.getUint32(0x10000 + index * 16, true) & 0x1fffff, true);
      for (const head of heads) {
        driver.offer(0, head % 20);
        driver.kick(0);
      }
    }), { numRuns: 300 });
  });
});
