/**
 * A device by which test programs measure accesses: a header tells of each test where, with how many bytes and with what value to write, and counts the
 * writes that were so. The layout is that of QEMU's pci-testdev (its docs/specs): test number, width, offset, value, count, name.
 */
import { PciFunction } from '../platform/pci/function.ts';
import { extract, sizeMask } from '../platform/device.ts';
import type { AccessSize, DeviceState, Registers } from '../platform/device.ts';
import type { StateReader } from '../platform/state.ts';

const header = { test: 0, width: 1, offset: 4, data: 8, count: 12, name: 16, length: 64 } as const;
const expectedData = 0xfa;
const memoryBytes = 4096;
const portBytes = 256;
/** Where the places begin that tests write to, eight bytes each. */
const firstPlace = 128;
const widths: readonly AccessSize[] = [1, 2, 4];
const noTest = 0xff;

/** One of the two BARs, with its own header. */
class Area implements Registers {
  readonly name: string;
  private selected = noTest;
  private count = 0;

  constructor(name: string) {
    this.name = name;
  }

  reset(): void {
    this.selected = noTest;
    this.count = 0;
  }

  read(offset: number, size: AccessSize): number {
    if (offset + size > header.length) return 0;
    const bytes = this.header();
    let value = 0;
    for (let byte = size - 1; byte >= 0; byte--) value = value * 256 + (bytes[offset + byte] ?? 0);
    return value;
  }

  write(offset: number, size: AccessSize, value: number): void {
    if (offset === header.test) {
      this.selected = value & 0xff;
      this.count = 0;
    } else if (size === widths[this.selected] && offset === this.place && extract(value, 0, size) === (expectedData & sizeMask(size))) {
      this.count = (this.count + 1) >>> 0;
    }
  }

  save(): Readonly<Record<string, unknown>> {
    return { selected: this.selected, count: this.count };
  }

  check(reader: StateReader): () => void {
    const selected = reader.uint('selected', 8);
    const count = reader.uint('count', 32);
    return () => {
      this.selected = selected;
      this.count = count;
    };
  }

  private get place(): number {
    return firstPlace + this.selected * 8;
  }

  /** Of a test that does not exist everything is zero: programs end there. */
  private header(): Uint8Array {
    const bytes = new Uint8Array(header.length);
    const width = widths[this.selected];
    if (width === undefined) return bytes;
    const view = new DataView(bytes.buffer);
    view.setUint8(header.test, this.selected);
    view.setUint8(header.width, width);
    view.setUint32(header.offset, this.place, true);
    view.setUint8(header.data, expectedData);
    view.setUint32(header.count, this.count, true);
    bytes.set(Buffer.from(`${this.name}-${width}`, 'latin1'), header.name);
    return bytes;
  }
}

export class PciTestDevice extends PciFunction {
  override readonly version: number = 1;
  readonly memory: Registers;
  private readonly areas: readonly [Area, Area];

  constructor() {
    const areas = [new Area('memory'), new Area('port')] as const;
    super('pci-testdev', { vendor: 0x1b36, device: 0x0005, classCode: 0x00ff00, revision: 0 }, {
      bars: [{ space: 'memory', size: memoryBytes, registers: areas[0] }, { space: 'port', size: portBytes, registers: areas[1] }],
    });
    this.areas = areas;
    this.memory = areas[0];
  }

  override reset(): void {
    super.reset();
    for (const area of this.areas) area.reset();
  }

  override saveState(): DeviceState {
    return { ...super.saveState(), areas: this.areas.map(area => area.save()) };
  }

  protected override checkState(reader: StateReader): () => void {
    const restore = super.checkState(reader);
    const records = reader.records('areas', this.areas.length);
    const restoreAreas = this.areas.flatMap((area, index) => {
      const record = records[index];
      return record === undefined ? [] : [area.check(record)];
    });
    return () => {
      restore();
      for (const put of restoreAreas) put();
    };
  }
}
