import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AhciController } from '../../../core/devices/ahci/controller.ts';
import { AtaDisk, AtapiDrive } from '../../../core/devices/ahci/drive.ts';
import { MemoryDisk } from '../../doubles/memoryDisk.ts';
import { plugged } from '../../doubles/virtioDriver.ts';

const list = 0x1000;
const fises = 0x2000;
const table = 0x3000;
const data = 0x8000;
const port = (index: number, register: number): number => 0x100 + index * 0x80 + register;

class Driver {
  readonly ram: Uint8Array;
  readonly view: DataView;
  readonly disk = new MemoryDisk();
  readonly drive = new MemoryDisk(1 << 18, true);
  readonly plug: ReturnType<typeof plugged<AhciController>>;

  constructor(ram = new Uint8Array(1 << 20)) {
    this.ram = ram;
    this.view = new DataView(ram.buffer);
    this.plug = plugged(new AhciController('ahci-0', [new AtaDisk(this.disk, 'serial'), new AtapiDrive(this.drive, 'serial')]), ram);
  }

  get controller(): AhciController {
    return this.plug.fn;
  }

  read(offset: number): number {
    return this.controller.registers.read(offset, 4);
  }

  write(offset: number, value: number): void {
    this.controller.registers.write(offset, 4, value >>> 0);
  }

  start(index: number): void {
    this.write(4, 2);
    this.write(port(index, 0), list);
    this.write(port(index, 8), fises);
    this.write(port(index, 0x14), 0xffffffff);
    this.write(port(index, 0x18), 0x11);
  }

  /** Issues a command in slot 0 with one memory region. */
  issue(index: number, fis: readonly number[], length: number, packet: readonly number[] = []): void {
    this.view.setUint32(list, 5 | (packet.length > 0 ? 0x20 : 0) | (1 << 16), true);
    this.view.setUint32(list + 8, table, true);
    this.ram.fill(0, table, table + 0x90);
    this.ram.set(fis, table);
    this.ram.set(packet, table + 0x40);
    this.view.setUint32(table + 0x80, data, true);
    this.view.setUint32(table + 0x8c, Math.max(0, length - 1), true);
    this.write(port(index, 0x38), 1);
  }
}

const command = (code: number, lba = 0, count = 0, features = 0): number[] => [
  0x27, 0x80, code, features & 255, lba & 255, (lba >> 8) & 255, (lba >> 16) & 255, 0x40, (lba >>> 24) & 255, 0, 0, features >> 8, count & 255, count >> 8, 0, 0,
];

function started(index = 0): Driver {
  const driver = new Driver();
  driver.start(index);
  return driver;
}

describe('AHCI', () => {
  it('shows a disk and a packet drive by their signatures, and empty ports', () => {
    const driver = new Driver();
    expect([0, 1, 2].map(index => driver.read(port(index, 0x24)))).toEqual([0x101, 0xeb140101, 0xffffffff]);
    expect([0, 1, 2].map(index => driver.read(port(index, 0x28)))).toEqual([0x123, 0x123, 0]);
  });

  it('identifies the disk', () => {
    const driver = started();
    driver.issue(0, command(0xec), 512);
    expect(driver.view.getUint32(data + 200, true)).toBe(2048);
    expect(driver.read(port(0, 0x38))).toBe(0);
    expect(driver.read(port(0, 0x10)) & 3).toBe(3);
    expect(driver.plug.line).toBe(true);
    driver.write(port(0, 0x10), 0xffffffff);
    driver.write(8, 1);
    expect(driver.plug.line).toBe(false);
  });

  it('reads, writes and counts bytes', () => {
    const driver = started();
    driver.issue(0, command(0x25, 4, 8), 4096);
    expect(driver.ram.subarray(data, data + 4096)).toEqual(driver.disk.bytes.subarray(2048, 6144));
    expect(driver.view.getUint32(list + 4, true)).toBe(4096);
    driver.ram.fill(0x77, data, data + 512);
    driver.issue(0, command(0x35, 9, 1), 512);
    expect(driver.disk.bytes.subarray(9 * 512, 10 * 512).every(byte => byte === 0x77)).toBe(true);
  });

  it('answers queued commands with set-device-bits', () => {
    const driver = started();
    driver.write(port(0, 0x34), 1);
    driver.issue(0, command(0x60, 1, 0, 1), 512);
    expect(driver.read(port(0, 0x34))).toBe(0);
    expect(driver.ram[fises + 0x58]).toBe(0xa1);
    expect(driver.view.getUint32(fises + 0x5c, true)).toBe(1);
  });

  it('stops at an error until software restarts the port', () => {
    const driver = started();
    driver.issue(0, command(0x25, 5000, 1), 512);
    expect(driver.read(port(0, 0x20)) & 0xff01).toBe(0x1001);
    expect(driver.read(port(0, 0x10)) >>> 30 & 1).toBe(1);
    expect(driver.read(port(0, 0x38))).toBe(1);
    driver.write(port(0, 0x18), 0x10);
    expect(driver.read(port(0, 0x38))).toBe(0);
    driver.write(port(0, 0x18), 0x11);
    driver.issue(0, command(0x25, 0, 1), 512);
    expect(driver.read(port(0, 0x38))).toBe(0);
  });

  it('reads blocks of a CD, and says why it cannot', () => {
    const driver = started(1);
    driver.issue(1, command(0xa0), 2048, [0x28, 0, 0, 0, 0, 3, 0, 0, 1, 0, 0, 0]);
    expect(driver.ram.subarray(data, data + 2048)).toEqual(driver.drive.bytes.subarray(3 * 2048, 4 * 2048));
    driver.issue(1, command(0xa0), 8, [0x25]);
    expect(driver.view.getUint32(data)).toBe(127);
    driver.issue(1, command(0xa0), 2048, [0x28, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]);
    expect(driver.read(port(1, 0x20)) >> 8).toBe(0x54);
    driver.write(port(1, 0x18), 0x10);
    driver.write(port(1, 0x18), 0x11);
    driver.issue(1, command(0xa0), 18, [3, 0, 0, 0, 18]);
    expect([driver.ram[data + 2], driver.ram[data + 12]]).toEqual([5, 0x21]);
  });

  it('a state saved with a command under way goes on in another machine', () => {
    const driver = started();
    driver.disk.immediate = false;
    driver.issue(0, command(0x25, 4, 1), 512);
    const other = new Driver(driver.ram.slice());
    other.controller.loadState(JSON.parse(JSON.stringify(driver.controller.saveState())));
    expect(other.ram.subarray(data, data + 512)).toEqual(driver.disk.bytes.subarray(2048, 2560));
    expect(other.read(port(0, 0x38))).toBe(0);
  });

  it('random command tables crash nothing and reach nothing outside memory and disk', () => {
    fc.assert(fc.property(fc.uint8Array({ minLength: 64, maxLength: 64 }), fc.uint8Array({ minLength: 32, maxLength: 32 }), fc.nat(255), fc.nat(1), (fis, head, code, index) => {
      const driver = started(index);
      driver.ram.set(fis, table);
      driver.ram.set([0x27, 0x80, code], table);
      driver.ram.set(head, list);
      driver.view.setUint32(list + 8, table, true);
      driver.view.setUint32(list + 12, 0, true);
      for (let entry = 0; entry < 64; entry++) driver.view.setUint32(table + 0x80 + entry * 16, (entry * 0x5555) & 0x1fffff, true);
      for (let entry = 0; entry < 64; entry++) driver.view.setUint32(table + 0x8c + entry * 16, head[entry % 32]! * 977, true);
      driver.write(port(index, 0x38), 0xffff);
    }), { numRuns: 500 });
  });
});
