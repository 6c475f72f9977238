/** The PCI root: configuration mechanism #1 at CF8H and CFCH, and the reset control register at CF9H that lies among it. */

import { StateReader } from './state.ts';
import { PciFunction } from './pciFunction.ts';
import { acpiPorts } from './acpiPm.ts';
import type { AccessSize, Device, DeviceRange, DeviceState } from './device.ts';
import type { MachineEvents } from './machineEvents.ts';

/** Bits 2 rising with bit 1 set: a hard reset of the machine. The FADT names this as the reset register. */
export const resetControl = { port: 0xcf9, value: 0x06 } as const;

/** A function's place on bus 0. */
export function deviceFunction(device: number, fn: number): number {
  return (device << 3) | fn;
}

export class PciHost implements Device {
  readonly name = 'pci-host';
  readonly version = 1;
  readonly ranges: readonly DeviceRange[] = [{ space: 'port', base: 0xcf8, length: 8, offset: 0, width: 4 }];
  private readonly functions = new Map<number, PciFunction>();
  private readonly events: MachineEvents;
  private address = 0;
  private control = 0;

  constructor(events: MachineEvents) {
    this.events = events;
  }

  /** Plugs a function in at a place on bus 0. */
  plug(place: number, fn: PciFunction): void {
    if (this.functions.has(place)) throw new Error(`${fn.name}: PCI device ${place >> 3} function ${place & 7} is taken`);
    this.functions.set(place, fn);
  }

  unplug(place: number): void {
    this.functions.delete(place);
  }

  /** The functions in order of their places. */
  list(): readonly { readonly place: number; readonly fn: PciFunction }[] {
    return [...this.functions].map(([place, fn]) => ({ place, fn })).sort((a, b) => a.place - b.place);
  }

  reset(): void {
    this.address = 0;
    this.control = 0;
  }

  read(offset: number, size: AccessSize): number {
    if (offset >= 4) return this.selected()?.readConfig((this.address & 0xfc) | (offset & 3), size) ?? (0xffffffff >>> (32 - size * 8));
    if (offset === 0 && size === 4) return this.address;
    return offset === 1 && size === 1 ? this.control : 0xffffffff >>> (32 - size * 8);
  }

  write(offset: number, size: AccessSize, value: number): void {
    if (offset >= 4) this.selected()?.writeConfig((this.address & 0xfc) | (offset & 3), size, value);
    // Only a whole access reaches the address register: narrower ones go to the ports it covers.
    else if (offset === 0 && size === 4) this.address = (value & 0x80fffffc) >>> 0;
    else if (offset === 1 && size === 1) this.writeControl(value);
  }

  saveState(): DeviceState {
    return { version: this.version, address: this.address, control: this.control };
  }

  loadState(state: unknown): void {
    const reader = StateReader.open(this, state);
    const address = reader.uint('address', 32);
    const control = reader.uint('control', 8);
    this.address = address;
    this.control = control;
  }

  private selected(): PciFunction | undefined {
    if (this.address >>> 31 === 0 || ((this.address >>> 16) & 0xff) !== 0) return undefined;
    return this.functions.get((this.address >>> 8) & 0xff);
  }

  private writeControl(value: number): void {
    const rising = (value & ~this.control & 4) !== 0;
    this.control = value & 0x0e;
    if (rising) this.events.reset();
  }
}

const intel = 0x8086;

/** The memory controller hub, device 0. */
export function hostBridge(): PciFunction {
  const device = 0x29c0;
  return new PciFunction('host-bridge', { vendor: intel, device, classCode: 0x060000, revision: 2, subsystemVendor: intel, subsystem: device });
}

/** The LPC bridge, device 31: its PMBASE register tells where the ACPI hardware is. */
export class LpcBridge extends PciFunction {
  constructor() {
    const identity = { vendor: intel, device: 0x2918, classCode: 0x060100, revision: 2, subsystemVendor: intel, subsystem: 0x2918 };
    super('lpc-bridge', { ...identity, multifunction: true });
    this.preset(0x40, acpiPorts.base | 1);
    // ACPI_CNTL: decoding on, SCI on IRQ 9.
    this.preset(0x44, 0x80);
  }
}
