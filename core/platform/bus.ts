/** The port bus and the memory bus: they find the device that answers an address and cut accesses to its width. */

import { isWide, sizeMask } from './device.ts';
import type { AccessSize, Device, DeviceRange, Registers, WideValue } from './device.ts';

interface Mapping extends DeviceRange {
  readonly device: Registers;
}

function overlap(a: DeviceRange, b: DeviceRange): boolean {
  return a.base < b.base + b.length && b.base < a.base + a.length;
}

function describe(device: Registers, range: DeviceRange): string {
  return `${device.name} at ${range.space} 0x${range.base.toString(16)}`;
}

function half(size: AccessSize): AccessSize {
  return size === 4 ? 2 : 1;
}

/** What both buses share: reads of nothing give all ones, writes to nothing are lost. */
abstract class Bus {
  private readonly space: DeviceRange['space'];
  private readonly movable: Mapping[] = [];
  /** Accesses that no device answered; for people who look for a missing device. */
  unclaimed = 0;

  constructor(space: DeviceRange['space']) {
    this.space = space;
  }

  /**
   * Attaches those of the device's ranges that belong to this bus.
   * @throws Error when a range overlaps one that is attached already: a machine put together wrongly
   */
  attach(device: Device, ranges: readonly DeviceRange[] = device.ranges): void {
    for (const range of ranges) if (range.space === this.space) this.add({ ...range, device });
  }

  /**
   * Lets registers answer a range that software chooses: it may overlap others. What is attached comes first, then who was mapped earlier.
   * Returns what ends it.
   */
  map(base: number, length: number, width: AccessSize, device: Registers): () => void {
    const mapping: Mapping = { space: this.space, base, length, offset: 0, width, device };
    this.movable.push(mapping);
    this.changed();
    return () => {
      const index = this.movable.indexOf(mapping);
      if (index >= 0) this.movable.splice(index, 1);
      this.changed();
    };
  }

  /** Detaches every range of a device. */
  detach(device: Device): void {
    this.remove(device);
  }

  /** Who answers what, in ascending order; for people. */
  list(): readonly { readonly name: string; readonly base: number; readonly length: number }[] {
    return [...this.all(), ...this.movable].map(({ device, base, length }) => ({ name: device.name, base, length })).sort((a, b) => a.base - b.base);
  }

  read(address: number, size: AccessSize): number {
    const mapping = this.find(address);
    if (mapping !== undefined && size <= mapping.width && address + size <= mapping.base + mapping.length) {
      return mapping.device.read(mapping.offset + address - mapping.base, size);
    }
    if (mapping === undefined && size === 1) {
      this.unclaimed++;
      return 0xff;
    }
    const part = half(size);
    const low = this.read(address, part);
    return (low | (this.read(this.wrap(address + part), part) << (part * 8))) >>> 0;
  }

  write(address: number, size: AccessSize, value: number): void {
    const mapping = this.find(address);
    if (mapping !== undefined && size <= mapping.width && address + size <= mapping.base + mapping.length) {
      mapping.device.write(mapping.offset + address - mapping.base, size, value);
    } else if (size === 1) {
      this.unclaimed++;
    } else {
      const part = half(size);
      this.write(address, part, (value & sizeMask(part)) >>> 0);
      this.write(this.wrap(address + part), part, (value >>> (part * 8)) & sizeMask(part));
    }
  }

  protected abstract all(): readonly Mapping[];
  protected findMovable(address: number): Mapping | undefined {
    return this.movable.find(({ base, length }) => address >= base && address < base + length);
  }

  /** What was found before may be found no more. */
  protected changed(): void {}

  protected abstract find(address: number): Mapping | undefined;
  protected abstract wrap(address: number): number;
  protected abstract add(mapping: Mapping): void;
  protected abstract remove(device: Device): void;
}

/** The 64 Ki I/O ports. */
export class PortBus extends Bus {
  private readonly mappings: (Mapping | undefined)[] = [undefined];
  /** For each port an index into `mappings`; 0: nothing there. */
  private readonly index = new Uint16Array(0x10000);

  constructor() {
    super('port');
  }

  protected all(): readonly Mapping[] {
    return this.mappings.filter(mapping => mapping !== undefined);
  }

  protected find(port: number): Mapping | undefined {
    return this.mappings[this.index[port] ?? 0] ?? this.findMovable(port);
  }

  protected wrap(port: number): number {
    return port & 0xffff;
  }

  protected add(mapping: Mapping): void {
    if (mapping.base < 0 || mapping.length < 1 || mapping.base + mapping.length > 0x10000) {
      throw new Error(`${describe(mapping.device, mapping)} lies outside the port space`);
    }
    const other = this.mappings.find(present => present !== undefined && overlap(present, mapping));
    if (other !== undefined) throw new Error(`${describe(mapping.device, mapping)} overlaps ${describe(other.device, other)}`);
    this.index.fill(this.mappings.push(mapping) - 1, mapping.base, mapping.base + mapping.length);
  }

  protected remove(device: Device): void {
    this.mappings.forEach((mapping, position) => {
      if (mapping?.device !== device) return;
      this.index.fill(0, mapping.base, mapping.base + mapping.length);
      this.mappings[position] = undefined;
    });
  }
}

/** Guest-physical addresses that are not RAM. */
export class MemoryBus extends Bus {
  private readonly mappings: Mapping[] = [];
  /** Accesses come in runs: the last mapping found is tried first. */
  private last: Mapping | undefined;

  constructor() {
    super('memory');
  }

  /** Eight bytes in one piece where the device has 64-bit registers, in two pieces elsewhere. */
  readWide(address: number): WideValue {
    const mapping = this.wide(address);
    if (mapping !== undefined) return mapping.device.readWide(address - mapping.shift);
    const low = this.read(address, 4);
    return { low, high: this.read(address + 4, 4) };
  }

  writeWide(address: number, low: number, high: number): void {
    const mapping = this.wide(address);
    if (mapping !== undefined) {
      mapping.device.writeWide(address - mapping.shift, low, high);
      return;
    }
    this.write(address, 4, low);
    this.write(address + 4, 4, high);
  }

  private wide(address: number) {
    const mapping = this.find(address);
    if (mapping === undefined || address % 8 !== 0 || address + 8 > mapping.base + mapping.length) return undefined;
    return isWide(mapping.device) ? { device: mapping.device, shift: mapping.base - mapping.offset } : undefined;
  }

  protected all(): readonly Mapping[] {
    return this.mappings;
  }

  protected find(address: number): Mapping | undefined {
    const last = this.last;
    if (last !== undefined && address >= last.base && address < last.base + last.length) return last;
    const found = this.mappings.find(({ base, length }) => address >= base && address < base + length) ?? this.findMovable(address);
    if (found !== undefined) this.last = found;
    return found;
  }

  protected wrap(address: number): number {
    return address;
  }

  protected add(mapping: Mapping): void {
    const other = this.mappings.find(present => overlap(present, mapping));
    if (other !== undefined) throw new Error(`${describe(mapping.device, mapping)} overlaps ${describe(other.device, other)}`);
    this.mappings.push(mapping);
  }

  protected override changed(): void {
    this.last = undefined;
  }

  protected remove(device: Device): void {
    this.changed();
    for (let index = this.mappings.length - 1; index >= 0; index--) {
      if (this.mappings[index]?.device === device) this.mappings.splice(index, 1);
    }
  }
}
