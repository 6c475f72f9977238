/** A VGA with a linear frame buffer as a PCI function: the display that SeaBIOS, OVMF, GRUB and Linux's bochs driver know. */

import { PciFunction } from '../../platform/pci/function.ts';
import { VgaAdapter } from './adapter.ts';
import type { AccessSize, Device, DeviceRange, DeviceState } from '../../platform/device.ts';
import type { Display } from './display.ts';
import type { Frame } from './render.ts';
import type { FrameBuffer } from '../../boot/loader.ts';
import type { StateReader } from '../../platform/state.ts';
import type { VgaOptions } from './adapter.ts';

export class Vga extends PciFunction implements Device, Display {
  override readonly version: number = 3;
  readonly ranges: readonly DeviceRange[];
  private readonly adapter: VgaAdapter;

  constructor(options: VgaOptions) {
    const adapter = new VgaAdapter(options);
    super('vga', { vendor: 0x1234, device: 0x1111, classCode: 0x030000, revision: 2, subsystemVendor: 0x1af4, subsystem: 0x1100 }, {
      bars: [adapter.bars.memory, null, adapter.bars.registers], ...(options.rom ? { rom: { data: options.rom } } : {}),
    });
    this.adapter = adapter;
    this.ranges = adapter.ranges;
  }

  /** Video memory, wherever it lies now. */
  get memory(): Uint8Array {
    return this.adapter.memory;
  }

  startFirmware(): FrameBuffer | null {
    const address = this.barAddress(0);
    return address === null ? null : this.adapter.startFirmware(address);
  }

  frame(): Frame {
    return this.adapter.frame();
  }

  override reset(): void {
    super.reset();
    this.adapter.reset();
  }

  read(offset: number, size: AccessSize): number {
    return this.adapter.read(offset, size);
  }

  write(offset: number, size: AccessSize, value: number): void {
    this.adapter.write(offset, size, value);
  }

  override saveState(): DeviceState {
    return { ...super.saveState(), ...this.adapter.save() };
  }

  protected override checkState(reader: StateReader): () => void {
    const restores = [super.checkState(reader), this.adapter.check(reader)];
    return () => {
      for (const restore of restores) restore();
    };
  }
}
