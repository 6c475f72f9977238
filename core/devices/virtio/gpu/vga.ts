/** A virtio GPU that is a VGA as well until its driver shows a picture: firmware, loaders and early consoles need no driver. */

import { VgaAdapter } from '../../vga/adapter.ts';
import { VirtioGpu } from './gpu.ts';
import { VirtioPci } from '../pci.ts';
import type { AccessSize, DeviceRange, DeviceState } from '../../../platform/device.ts';
import type { Display } from '../../vga/display.ts';
import type { Frame } from '../../vga/render.ts';
import type { FrameBuffer } from '../../../boot/loader.ts';
import type { StateReader } from '../../../platform/state.ts';
import type { VgaOptions } from '../../vga/adapter.ts';

export class VirtioVga extends VirtioPci implements Display {
  readonly ranges: readonly DeviceRange[];
  readonly gpu: VirtioGpu;
  private readonly adapter: VgaAdapter;

  constructor(options: VgaOptions) {
    const adapter = new VgaAdapter(options);
    const gpu = new VirtioGpu(options.clock);
    super(gpu, { classCode: 0x030000, bars: [adapter.bars.memory, adapter.bars.registers], rom: options.rom ? { data: options.rom } : null });
    this.adapter = adapter;
    this.gpu = gpu;
    this.ranges = adapter.ranges;
  }

  startFirmware(): FrameBuffer | null {
    const address = this.barAddress(0);
    return address === null ? null : this.adapter.startFirmware(address);
  }

  frame(): Frame {
    return this.gpu.frame() ?? this.adapter.frame();
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
    return { ...super.saveState(), vga: this.adapter.save() };
  }

  protected override checkState(reader: StateReader): () => void {
    const restores = [super.checkState(reader), this.adapter.check(reader.record('vga'))];
    return () => {
      for (const restore of restores) restore();
    };
  }
}
