import { describe, expect, it } from 'vitest';
import { MemoryBus, PortBus } from '../../../core/platform/bus.ts';
import type { AccessSize, Device, DeviceRange, WideDevice } from '../../../core/platform/device.ts';

/** Answers with the offset it was asked for and notes every access. */
class Recorder implements Device {
  readonly name: string = 'recorder';
  readonly version = 1;
  readonly ranges: readonly DeviceRange[];
  readonly log: string[] = [];

  constructor(...ranges: readonly DeviceRange[]) {
    this.ranges = ranges;
  }

  reset(): void {}

  read(offset: number, size: AccessSize): number {
    this.log.push(`r${size}@${offset}`);
    return offset;
  }

  write(offset: number, size: AccessSize, value: number): void {
    this.log.push(`w${size}@${offset}=${value.toString(16)}`);
  }

  saveState() {
    return { version: 1 };
  }

  loadState(): void {}
}

class WideRecorder extends Recorder implements WideDevice {
  readWide(offset: number) {
    this.log.push(`r8@${offset}`);
    return { low: 1, high: 2 };
  }

  writeWide(offset: number, low: number, high: number): void {
    this.log.push(`w8@${offset}=${high}:${low}`);
  }
}

describe('port bus', () => {
  it('cuts accesses to the width of the device, low bytes first', () => {
    const bus = new PortBus();
    const device = new Recorder({ space: 'port', base: 0x40, length: 4, offset: 8, width: 1 });
    bus.attach(device);
    bus.write(0x40, 4, 0x44332211);
    expect(device.log).toEqual(['w1@8=11', 'w1@9=22', 'w1@10=33', 'w1@11=44']);
    expect(bus.read(0x41, 2)).toBe(0x0a09);
  });

  it('answers all ones where nothing is, and beyond the end of a device', () => {
    const bus = new PortBus();
    bus.attach(new Recorder({ space: 'port', base: 0x60, length: 1, offset: 5, width: 4 }));
    expect(bus.read(0x1234, 4)).toBe(0xffffffff);
    expect(bus.read(0x60, 2)).toBe(0xff05);
    expect(bus.read(0xffff, 4)).toBe(0xffffffff);
  });

  it('refuses overlapping devices, naming both', () => {
    const bus = new PortBus();
    bus.attach(new Recorder({ space: 'port', base: 0x60, length: 4, offset: 0, width: 1 }));
    expect(() => bus.attach(new Recorder({ space: 'port', base: 0x63, length: 1, offset: 0, width: 1 }))).toThrow(/recorder at port 0x63 overlaps recorder at port 0x60/);
  });

  it('forgets a device that is detached', () => {
    const bus = new PortBus();
    const device = new Recorder({ space: 'port', base: 0x60, length: 4, offset: 0, width: 1 });
    bus.attach(device);
    bus.detach(device);
    expect(bus.read(0x60, 1)).toBe(0xff);
    bus.attach(device);
    expect(bus.read(0x60, 1)).toBe(0);
  });
});

describe('memory bus', () => {
  const base = 0xfed00000;

  it('gives 64-bit registers whole where the device has them, in halves elsewhere', () => {
    const bus = new MemoryBus();
    const wide = new WideRecorder({ space: 'memory', base, length: 0x400, offset: 0, width: 4 });
    const narrow = new Recorder({ space: 'memory', base: base + 0x1000, length: 0x1000, offset: 0, width: 4 });
    bus.attach(wide);
    bus.attach(narrow);
    expect(bus.readWide(base + 0xf0)).toEqual({ low: 1, high: 2 });
    bus.writeWide(base + 0x1000, 7, 8);
    expect(bus.readWide(base + 0x1010)).toEqual({ low: 0x10, high: 0x14 });
    expect(wide.log).toEqual(['r8@240']);
    expect(narrow.log.slice(0, 2)).toEqual(['w4@0=7', 'w4@4=8']);
  });

  it('cuts an access that crosses the end of a device', () => {
    const bus = new MemoryBus();
    const device = new Recorder({ space: 'memory', base, length: 0x10, offset: 0, width: 4 });
    bus.attach(device);
    expect(bus.read(base + 0x0e, 4)).toBe(0xffff000e);
  });
});
