import { describe, expect, it } from 'vitest';
import { ScsiUnit } from '../../../core/devices/scsi/unit.ts';
import { VirtioScsi } from '../../../core/devices/virtio/scsi.ts';
import { MemoryDisk } from '../../doubles/memoryDisk.ts';
import { VirtioDriver } from '../../doubles/virtioDriver.ts';

const header = 0x1000;
const response = 0x1800;
const data = 0x2000;
const CONTROL = 0;
const EVENT = 1;
const REQUEST = 2;

interface Answer {
  readonly response: number;
  readonly status: number;
  /** Key, code, qualifier; null without sense data. */
  readonly sense: readonly number[] | null;
  readonly residual: number;
}

function host() {
  const disk = new MemoryDisk();
  const medium = new MemoryDisk(1 << 18, true);
  const kind = new VirtioScsi('virtio-scsi', [new ScsiUnit('disk', disk, 'serial-0'), new ScsiUnit('cdrom', medium, 'serial-1')]);
  const driver = new VirtioDriver(kind);
  driver.start();
  return { disk, medium, kind, driver };
}

/** Sends a command block to a target; `out` is taken from, `length` bytes are read to `data`. */
function command(driver: VirtioDriver, target: number, cdb: readonly number[], length = 0, out = 0, lun = 0): Answer {
  driver.ram.fill(0, header, header + 51);
  driver.ram.set([1, target, 0x40, lun], header);
  driver.ram.set(cdb, header + 19);
  driver.submit(REQUEST, [
    { address: header, length: 51, writable: false }, ...(out > 0 ? [{ address: data, length: out, writable: false }] : []),
    { address: response, length: 108, writable: true }, ...(length > 0 ? [{ address: data, length, writable: true }] : []),
  ]);
  const sensed = driver.view.getUint32(response, true) > 0;
  return {
    residual: driver.view.getUint32(response + 4, true), status: driver.view.getUint8(response + 10), response: driver.view.getUint8(response + 11),
    sense: sensed ? [driver.ram[response + 14] ?? 0, driver.ram[response + 24] ?? 0, driver.ram[response + 25] ?? 0] : null,
  };
}

const good = { response: 0, status: 0, sense: null };
const checked = (...sense: number[]) => ({ response: 0, status: 2, sense });
const text = (driver: VirtioDriver, at: number, length: number): string => Buffer.from(driver.ram.subarray(data + at, data + at + length)).toString().trim();

describe('virtio-scsi', () => {
  it('has a disk and a drive as targets, and no others', () => {
    const { driver } = host();
    expect(command(driver, 0, [0x12, 0, 0, 0, 36], 36)).toMatchObject({ ...good, residual: 0 });
    expect([driver.ram[data], text(driver, 8, 8), text(driver, 16, 16)]).toEqual([0, 'VNDRPOOL', 'DISK']);
    expect(command(driver, 1, [0x12, 0, 0, 0, 36], 36)).toMatchObject(good);
    expect([driver.ram[data], driver.ram[data + 1]]).toEqual([5, 0x80]);
    expect(command(driver, 2, [0x12, 0, 0, 0, 36], 36)).toMatchObject({ response: 3 });
    expect(command(driver, 0, [0x12, 0, 0, 0, 36], 36, 0, 5)).toMatchObject(good);
    expect(driver.ram[data]).toBe(0x7f);
    expect(command(driver, 0, [0x00], 0, 0, 5)).toMatchObject(checked(5, 0x25, 0));
    expect(command(driver, 0, [0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 64], 64)).toMatchObject({ ...good, residual: 48 });
    expect([...driver.ram.subarray(data, data + 4)]).toEqual([0, 0, 0, 8]);
  });

  it('tells the serial number, limits and size', () => {
    const { driver } = host();
    command(driver, 0, [0x12, 1, 0x80, 0, 64], 64);
    expect(text(driver, 4, 8)).toBe('serial-0');
    command(driver, 0, [0x12, 1, 0x00, 0, 64], 64);
    expect([...driver.ram.subarray(data + 4, data + 10)]).toEqual([0, 0x80, 0x83, 0xb0, 0xb1, 0xb2]);
    command(driver, 0, [0x25], 8);
    expect([driver.view.getUint32(data), driver.view.getUint32(data + 4)]).toEqual([2047, 512]);
    command(driver, 0, [0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32], 32);
    expect(driver.view.getBigUint64(data)).toBe(2047n);
    expect(command(driver, 0, [0x12, 1, 0x77, 0, 64], 64)).toMatchObject(checked(5, 0x24, 0));
  });

  it('reads and writes by every form of address', () => {
    const { disk, driver } = host();
    const forms: readonly (readonly [write: number[], read: number[]])[] = [
      [[0x0a, 0, 0, 8, 2], [0x08, 0, 0, 8, 2]], [[0x2a, 0, 0, 0, 0, 8, 0, 0, 2], [0x28, 0, 0, 0, 0, 8, 0, 0, 2]],
      [[0xaa, 0, 0, 0, 0, 8, 0, 0, 0, 2], [0xa8, 0, 0, 0, 0, 8, 0, 0, 0, 2]], [[0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 2], [0x88, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 2]],
    ];
    forms.forEach(([write, read], index) => {
      driver.ram.fill(0x50 + index, data, data + 1024);
      expect(command(driver, 0, write, 0, 1024)).toMatchObject(good);
      expect(disk.bytes[4096 + 1023]).toBe(0x50 + index);
      driver.ram.fill(0, data, data + 1024);
      expect(command(driver, 0, read, 1024)).toMatchObject({ ...good, residual: 0 });
      expect(driver.ram.subarray(data, data + 1024).every((byte) => byte === 0x50 + index)).toBe(true);
    });
  });

  it('refuses what lies outside the disk, what is not there, and what fails', () => {
    const { disk, driver } = host();
    expect(command(driver, 0, [0x28, 0, 0, 0, 8, 0, 0, 0, 1], 512)).toMatchObject(checked(5, 0x21, 0));
    expect(command(driver, 0, [0x88, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1], 512)).toMatchObject(checked(5, 0x21, 0));
    expect(command(driver, 0, [0x28, 0, 0, 0, 0, 0, 0, 0, 8], 512)).toMatchObject(checked(5, 0x24, 0));
    expect(command(driver, 0, [0xfe])).toMatchObject(checked(5, 0x20, 0));
    disk.failure = 'io';
    expect(command(driver, 0, [0x35])).toMatchObject(checked(3, 0x0c, 0));
    expect(command(driver, 0, [0x28, 0, 0, 0, 0, 0, 0, 0, 1], 512)).toMatchObject(checked(3, 0x11, 0));
    disk.failure = 'full';
    expect(command(driver, 0, [0x2a, 0, 0, 0, 0, 0, 0, 0, 1], 0, 512)).toMatchObject(checked(7, 0x27, 7));
  });

  it('unmaps ranges, all or none', () => {
    const { disk, driver } = host();
    const list = (block: number, count: number): void => {
      driver.ram.set([0, 22, 0, 16, 0, 0, 0, 0], data);
      driver.view.setBigUint64(data + 8, BigInt(block));
      driver.view.setUint32(data + 16, count);
    };
    disk.immediate = false;
    list(8, 16);
    command(driver, 0, [0x42, 0, 0, 0, 0, 0, 0, 0, 24], 0, 24);
    expect(disk.waiting.map(({ operation, offset, length }) => [operation, offset, length])).toEqual([['discard', 4096, 8192]]);
    disk.answer();
    list(2047, 2);
    expect(command(driver, 0, [0x42, 0, 0, 0, 0, 0, 0, 0, 24], 0, 24)).toMatchObject(checked(5, 0x26, 0));
    expect(disk.waiting).toEqual([]);
  });

  it('a drive loses its medium, says so once, and reads the next one', () => {
    const { medium, driver } = host();
    expect(command(driver, 1, [0x00])).toMatchObject(good);
    expect(command(driver, 1, [0x1e, 0, 0, 0, 1])).toMatchObject(good);
    expect(command(driver, 1, [0x1b, 0, 0, 0, 2])).toMatchObject(checked(5, 0x53, 2));
    command(driver, 1, [0x1e, 0, 0, 0, 0]);
    expect(command(driver, 1, [0x1b, 0, 0, 0, 2])).toMatchObject(good);
    expect(command(driver, 1, [0x28, 0, 0, 0, 0, 0, 0, 0, 1], 2048)).toMatchObject(checked(2, 0x3a, 0));
    command(driver, 1, [0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8], 8);
    expect([...driver.ram.subarray(data + 4, data + 6)]).toEqual([3, 0]);
    medium.generation += 1;
    expect(command(driver, 1, [0x00])).toMatchObject(checked(6, 0x28, 0));
    expect(command(driver, 1, [0x28, 0, 0, 0, 0, 0, 0, 0, 1], 2048)).toMatchObject(good);
    expect(driver.ram.subarray(data, data + 2048)).toEqual(medium.bytes.subarray(0, 2048));
  });

  it('a function that aborts tasks is complete when they have ended', () => {
    const { disk, driver } = host();
    disk.immediate = false;
    command(driver, 0, [0x28, 0, 0, 0, 0, 0, 0, 0, 1], 512);
    const reset = 0x4000;
    driver.ram.set([0, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0x40, 0], reset);
    driver.ram[response + 0x200] = 0xee;
    driver.submit(CONTROL, [{ address: reset, length: 24, writable: false }, { address: response + 0x200, length: 1, writable: true }]);
    expect([driver.used(CONTROL), driver.ram[response + 0x200]]).toEqual([[], 0xee]);
    disk.answer();
    expect([driver.used(CONTROL).length, driver.used(REQUEST).length, driver.ram[response + 0x200]]).toEqual([1, 1, 0]);
  });

  it('tells of a unit that changed, or that it could not', () => {
    const { kind, driver } = host();
    kind.unitChanged(0);
    driver.submit(EVENT, [{ address: data, length: 16, writable: true }]);
    expect([driver.view.getUint32(data, true), driver.used(EVENT).length]).toEqual([0x80000000, 1]);
    driver.submit(EVENT, [{ address: data, length: 16, writable: true }]);
    kind.unitChanged(0);
    expect([driver.view.getUint32(data, true), driver.ram[data + 5], driver.view.getUint32(data + 12, true)]).toEqual([3, 0, 0x092a]);
  });

  it('a state saved with a command under way goes on in another machine', () => {
    const { disk, driver } = host();
    disk.immediate = false;
    command(driver, 0, [0x28, 0, 0, 0, 0, 3, 0, 0, 1], 512);
    const saved = JSON.parse(JSON.stringify(driver.device.saveState())) as unknown;
    const other = new VirtioDriver(new VirtioScsi('virtio-scsi', [new ScsiUnit('disk', new MemoryDisk(), 'serial-0'), new ScsiUnit('cdrom', new MemoryDisk(), 'serial-1')]), driver.ram.slice());
    other.device.loadState(saved);
    expect(other.ram.subarray(data, data + 512)).toEqual(disk.bytes.subarray(1536, 2048));
  });
});
