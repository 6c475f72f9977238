/** A VGA with a linear frame buffer, apart from the PCI function that it is part of. */

import { DisplayInterface, dispi } from './dispi.ts';
import { PlaneWindow } from './planes.ts';
import { VgaRegisters } from './registers.ts';
import { deflated } from '../../platform/state.ts';
import { displayWindow } from '../../platform/memoryLayout.ts';
import { render } from './render.ts';
import type { AccessSize, DeviceRange } from '../../platform/device.ts';
import type { FrameBuffer } from '../../boot/loader.ts';
import type { Frame } from './render.ts';
import type { PciBar } from '../../platform/pci/function.ts';
import type { StateReader } from '../../platform/state.ts';
import type { VirtualClock } from '../../platform/clock.ts';

const videoMemoryBytes = 16 << 20;

/** Lets the processor reach video memory without an exit. Null: it cannot be mapped there, and every access is an exit. */
export type MapVideoMemory = (address: number, bytes: number) => { readonly memory: Uint8Array; unmap(): void } | null;

export interface VgaOptions {
  readonly clock: VirtualClock;
  /** The video BIOS, as an expansion ROM. */
  readonly rom?: Uint8Array;
  readonly map?: MapVideoMemory;
  /** A power of two, at least 256 KiB; default 16 MiB. */
  readonly memoryBytes?: number;
}

/** What a system that is booted directly finds; 41H: enabled, linear. */
const directMode = { width: 1024, height: 768, enable: 0x41 } as const;

const ports = { first: 0x3b0, length: 0x30 } as const;
const dispiPorts = { index: 0x1ce, data: 0x1cf } as const;
/** Offsets of the register BAR. */
const registerBar = { vga: 0x400, vgaEnd: 0x420, dispi: 0x500, dispiEnd: 0x516, bytes: 0x1000 } as const;
/** 640 x 480 at 60 Hz: a frame, its vertical retrace, a line and its retrace, in nanoseconds. */
const timing = { frame: 16_683_000, vertical: 64_000, line: 31_778, horizontal: 6_000 } as const;

export class VgaAdapter {
  /** Ports and the window below 1 MiB. */
  readonly ranges: readonly DeviceRange[] = [
    { space: 'memory', base: displayWindow.base, length: displayWindow.end - displayWindow.base, offset: 0, width: 1 },
    { space: 'port', base: ports.first, length: ports.length, offset: 0x20000, width: 1 },
    { space: 'port', base: dispiPorts.index, length: 3, offset: 0x20100, width: 2 },
  ];
  /** Base address registers 0 and 2 of its function. */
  readonly bars: { readonly memory: PciBar; readonly registers: PciBar };
  /** Video memory, wherever it lies now. */
  memory: Uint8Array;
  private readonly own: Uint8Array;
  private readonly map: MapVideoMemory | undefined;
  private readonly registers: VgaRegisters;
  private readonly interface: DisplayInterface;
  private readonly window: PlaneWindow;
  private unmap: () => void = () => {};

  constructor({ clock, map, memoryBytes = videoMemoryBytes }: VgaOptions) {
    this.map = map;
    this.own = new Uint8Array(memoryBytes);
    this.memory = this.own;
    this.bars = {
      memory: {
        space: 'memory', size: memoryBytes, prefetchable: true, onMove: address => this.place(address),
        registers: { name: 'vga-memory', read: (offset, size) => this.readMemory(offset, size), write: (offset, size, value) => this.writeMemory(offset, size, value) },
      },
      registers: {
        space: 'memory', size: registerBar.bytes,
        registers: { name: 'vga-registers', read: (offset, size) => this.readBar(offset, size), write: (offset, size, value) => this.writeBar(offset, size, value) },
      },
    };
    this.registers = new VgaRegisters(() => {
      const time = clock.nowNs() % timing.frame;
      return time < timing.vertical ? 0x09 : time % timing.line < timing.horizontal ? 0x01 : 0;
    });
    this.interface = new DisplayInterface(memoryBytes, (depth, clear) => this.switchMode(depth, clear));
    this.window = new PlaneWindow(this.registers, () => this.memory, () => this.interface.bank);
  }

  /** As firmware leaves it for a system that is booted directly: a linear mode. @param address of the frame buffer */
  startFirmware(address: number): FrameBuffer {
    const { width, height } = directMode;
    for (const [register, value] of [[dispi.width, width], [dispi.height, height], [dispi.depth, 32], [dispi.enable, directMode.enable]] as const) {
      this.interface.write(register, value);
    }
    return { address, width, height, pitch: width * 4, length: this.memory.length };
  }

  /** What is on the screen. */
  frame(): Frame {
    return render(this.registers, this.memory, this.interface.mode, this.interface.wideDac);
  }

  reset(): void {
    this.registers.reset();
    this.interface.reset();
    this.window.latch = 0;
    this.memory.fill(0);
  }

  read(offset: number, size: AccessSize): number {
    if (offset < 0x20000) return this.window.read(offset);
    if (offset < 0x20100) return this.registers.read(ports.first + offset - 0x20000);
    return this.readDispi(offset - 0x20100, size);
  }

  write(offset: number, size: AccessSize, value: number): void {
    if (offset < 0x20000) this.window.write(offset, value);
    else if (offset < 0x20100) this.registers.write(ports.first + offset - 0x20000, value);
    else if (size === 2) this.writeDispi(offset - 0x20100, value);
  }

  save(): Readonly<Record<string, unknown>> {
    return { registers: this.registers.save(), interface: this.interface.save(), latch: this.window.latch, memory: deflated(this.memory) };
  }

  /** Checks a saved state; the function returned puts it in place. */
  check(reader: StateReader): () => void {
    const restoreRegisters = this.registers.check(reader.record('registers'));
    const restoreInterface = this.interface.check(reader.record('interface'));
    const latch = reader.uint('latch', 32);
    const memory = reader.deflated('memory', this.own.length);
    return () => {
      restoreRegisters();
      restoreInterface();
      this.window.latch = latch;
      this.memory.set(memory);
    };
  }

  /** The contents go where the processor reaches them, and come back when it does not any more. */
  private place(address: number | null): void {
    this.own.set(this.memory);
    this.unmap();
    const mapped = address === null ? null : this.map?.(address, this.own.length) ?? null;
    mapped?.memory.set(this.own);
    this.memory = mapped?.memory ?? this.own;
    this.unmap = () => mapped?.unmap();
  }

  /** What the window below 1 MiB needs to show the linear memory of a mode. */
  private switchMode(depth: number, clear: boolean): void {
    const { graphics, sequencer } = this.registers;
    graphics[6] = 0x05;
    graphics[5] = depth === 4 ? 0 : 0x40;
    sequencer[2] = 0x0f;
    sequencer[4] = depth === 4 ? 0x06 : 0x0e;
    if (clear) this.memory.fill(0);
  }

  private readMemory(offset: number, size: AccessSize): number {
    return Array.from({ length: size }, (_, index) => this.memory[offset + index] ?? 0xff).reduceRight((value, byte) => value * 256 + byte, 0);
  }

  private writeMemory(offset: number, size: AccessSize, value: number): void {
    for (let index = 0; index < size; index++) this.memory[offset + index] = value >>> (index * 8);
  }

  /** Index at 1CEH; data at 1CFH, and at 1D0H, where a 16-bit register is aligned. */
  private readDispi(offset: number, size: AccessSize): number {
    const value = offset === 0 ? this.interface.index : this.interface.read(this.interface.index);
    return size === 1 ? value & 0xff : value;
  }

  private writeDispi(offset: number, value: number): void {
    if (offset === 0) this.interface.index = value;
    else this.interface.write(this.interface.index, value);
  }

  /** VGA ports from 3C0H, then the display interface's registers, two bytes each. */
  private readBar(offset: number, size: AccessSize): number {
    if (offset >= registerBar.vga && offset < registerBar.vgaEnd) return this.registers.read(0x3c0 + offset - registerBar.vga);
    if (offset >= registerBar.dispi && offset < registerBar.dispiEnd) return size === 1 ? 0 : this.interface.read((offset - registerBar.dispi) >> 1);
    return 0;
  }

  private writeBar(offset: number, size: AccessSize, value: number): void {
    if (offset >= registerBar.vga && offset < registerBar.vgaEnd) {
      for (let index = 0; index < size; index++) this.registers.write(0x3c0 + offset + index - registerBar.vga, (value >>> (index * 8)) & 0xff);
    } else if (offset >= registerBar.dispi && offset < registerBar.dispiEnd && size >= 2) this.interface.write((offset - registerBar.dispi) >> 1, value & 0xffff);
  }
}
