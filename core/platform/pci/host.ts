/** The root of PCI Express: functions by bus, configuration by ports CF8H and CFCH and by memory (ECAM), reset control at CF9H. */

import { StateReader } from '../state.ts';
import { PciFunction } from './function.ts';
import { acpiPorts } from '../acpiPm.ts';
import type { AccessSize, Device, DeviceRange, DeviceState, Registers } from '../device.ts';
import type { DmaPort, RequesterId } from '../dma.ts';
import type { MachineEvents } from '../machineEvents.ts';
import type { PciSlot } from './function.ts';

/** Bits 2 rising with bit 1 set: a hard reset of the machine. The FADT names this as the reset register. */
export const resetControl = { port: 0xcf9, value: 0x06 } as const;

/** A function's place on its bus. */
export function deviceFunction(device: number, fn: number): number {
  return (device << 3) | fn;
}

/** What the root is connected to. */
export interface PciWiring {
  /** A function's way to guest memory. */
  dma(requester: () => RequesterId): DmaPort;
  /** A wire of its own to the line that pin 0 to 3 of a slot on bus 0 is routed to. */
  line(slot: number, pin: number): { set(asserted: boolean): void };
  /** A memory write by a function: an interrupt message, or bytes. */
  message(requester: RequesterId, address: number, data: number): void;
  map(space: 'port' | 'memory', base: number, length: number, width: AccessSize, registers: Registers): () => void;
}

const unwired: PciWiring = {
  dma: () => ({ read: () => false, write: () => false, views: () => null, read16: () => null, read32: () => null, write16: () => false, write32: () => false }),
  line: () => ({ set() {} }),
  message() {},
  map: () => () => {},
};

/** A bus: up to 32 devices of eight functions. */
export class PciBus {
  readonly functions = new Map<number, PciFunction>();
  /** Told of each function that comes or goes. */
  onChange: () => void = () => {};
  private readonly wiring: PciWiring;
  private readonly currentNumber: () => number;
  /** Where a pin of a device of this bus ends on bus 0. */
  private readonly route: (device: number, pin: number) => { slot: number; pin: number };

  constructor(wiring: PciWiring, currentNumber: () => number, route = (device: number, pin: number) => ({ slot: device, pin })) {
    this.wiring = wiring;
    this.currentNumber = currentNumber;
    this.route = route;
  }

  get number(): number {
    return this.currentNumber();
  }

  /** Plugs a function in. @throws Error when the place is taken: a machine put together wrongly */
  plug(place: number, fn: PciFunction): void {
    if (this.functions.has(place)) throw new Error(`${fn.name}: PCI device ${place >> 3} function ${place & 7} is taken`);
    this.functions.set(place, fn);
    fn.connect(this.slot(place));
    this.onChange();
  }

  unplug(place: number): void {
    const fn = this.functions.get(place);
    if (fn === undefined) return;
    fn.setInterrupt(false);
    fn.connect(null);
    this.functions.delete(place);
    this.onChange();
  }

  private slot(place: number): PciSlot {
    const requester = (): RequesterId => (this.number << 8) | place;
    const wires = [0, 1, 2, 3].map(index => {
      const { slot, pin } = this.route(place >> 3, index);
      return this.wiring.line(slot, pin);
    });
    return {
      dma: this.wiring.dma(requester),
      setLine: (pin, asserted) => wires[pin - 1]?.set(asserted),
      sendMessage: (address, data) => this.wiring.message(requester(), address, data),
      map: (...range) => this.wiring.map(...range),
    };
  }
}

/** A function with a bus behind it. */
export interface PciBridgeFunction extends PciFunction {
  readonly bus: PciBus;
  /** What is behind it, whether configuration reaches it or not. */
  readonly cards: readonly PciFunction[];
  /** Whether configuration of this bus goes through the bridge. */
  leadsTo(bus: number): boolean;
}

export function isBridge(fn: PciFunction): fn is PciBridgeFunction {
  return 'bus' in fn && 'leadsTo' in fn;
}

const ones = (size: AccessSize): number => 0xffffffff >>> (32 - size * 8);

export class PciHost implements Device {
  readonly name = 'pci-host';
  readonly version = 1;
  readonly ranges: readonly DeviceRange[] = [{ space: 'port', base: 0xcf8, length: 8, offset: 0, width: 4 }];
  readonly bus: PciBus;
  readonly wiring: PciWiring;
  private readonly events: MachineEvents;
  private address = 0;
  private control = 0;

  constructor(events: MachineEvents, wiring: PciWiring = unwired) {
    this.events = events;
    this.wiring = wiring;
    this.bus = new PciBus(wiring, () => 0);
  }

  /** Plugs a function in at a place on bus 0. */
  plug(place: number, fn: PciFunction): void {
    this.bus.plug(place, fn);
  }

  unplug(place: number): void {
    this.bus.unplug(place);
  }

  /** The functions of all buses, a bridge before what is behind it, in order of their places. */
  list(): readonly { readonly place: number; readonly fn: PciFunction; readonly bus: PciBus }[] {
    const { bus } = this;
    return [...bus.functions].sort(([a], [b]) => a - b).flatMap(([place, fn]) => [{ place, fn, bus }, ...(isBridge(fn) ? fn.cards.map((card) => ({ place: 0, fn: card, bus: fn.bus })) : [])]);
  }

  reset(): void {
    this.address = 0;
    this.control = 0;
  }

  read(offset: number, size: AccessSize): number {
    if (offset >= 4) return this.selected()?.readConfig(this.register(offset, size), size) ?? ones(size);
    if (offset === 0 && size === 4) return (this.address & ~3) >>> 0;
    return offset === 1 && size === 1 ? this.control : ones(size);
  }

  write(offset: number, size: AccessSize, value: number): void {
    if (offset >= 4) this.selected()?.writeConfig(this.register(offset, size), size, value);
    // Only a whole access reaches the address register: narrower ones go to the ports it covers.
    else if (offset === 0 && size === 4) this.address = (value & 0x80ffffff) >>> 0;
    else if (offset === 1 && size === 1) this.writeControl(value);
  }

  /** Enhanced configuration access: bus in bits 27:20, place in 19:12, register below. @pcie 7.2.2 */
  readonly enhanced: Registers = {
    name: 'ecam',
    read: (offset, size) => this.find(offset >>> 20, (offset >>> 12) & 0xff)?.readConfig(offset & 0xfff, size) ?? ones(size),
    write: (offset, size, value) => this.find(offset >>> 20, (offset >>> 12) & 0xff)?.writeConfig(offset & 0xfff, size, value),
  };

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

  /** Bits 1:0 of the address are reserved. Programs that put a register's offset there read it at CFCH: as in QEMU, they get it. */
  private register(offset: number, size: AccessSize): number {
    return (this.address & 0xfc) | (((this.address | offset) & 3) & ~(size - 1));
  }

  private selected(): PciFunction | undefined {
    return this.address >>> 31 === 0 ? undefined : this.find((this.address >>> 16) & 0xff, (this.address >>> 8) & 0xff);
  }

  /** The function at a place, when configuration reaches it. @param number of the bus */
  find(number: number, place: number, bus = this.bus): PciFunction | undefined {
    if (number === bus.number) return bus.functions.get(place);
    for (const fn of bus.functions.values()) if (isBridge(fn) && fn.leadsTo(number)) return this.find(number, place, fn.bus);
    return undefined;
  }

  private writeControl(value: number): void {
    const rising = (value & ~this.control & 4) !== 0;
    this.control = value & 0x0e;
    if (rising) this.events.reset();
  }
}

const intel = 0x8086;

/** Lengths of the enhanced configuration window by PCIEXBAR bits 2:1; the fourth is reserved. */
const ecamLengths = [256 << 20, 128 << 20, 64 << 20, 0] as const;
const pciExBar = 0x60;
const pam0 = 0x90;

/** What the memory controller hub switches. */
export interface MemoryControllerWires {
  /** The enhanced configuration window; null: closed. */
  ecam(window: { readonly base: number; readonly length: number } | null): void;
  /** Whether reads of a shadow segment reach RAM, and whether writes do. */
  shadow(base: number, length: number, readable: boolean, writable: boolean): void;
}

/** Segments of C0000H to FFFFFH by the PAM registers' nibbles. @q35 5.1.21 */
const shadowSegments: readonly (readonly [register: number, shift: 0 | 4, base: number, length: number])[] = [
  [0, 4, 0xf0000, 0x10000],
  ...Array.from({ length: 12 }, (_, index) => [1 + (index >> 1), (index & 1) === 0 ? 0 : 4, 0xc0000 + index * 0x4000, 0x4000] as const),
];

/** The memory controller hub, device 0: PCIEXBAR and the shadowing of the last 256 KiB below 1 MiB. */
export class HostBridge extends PciFunction {
  private readonly wires: MemoryControllerWires;
  private window: number | null = null;

  constructor(wires: MemoryControllerWires = { ecam() {}, shadow() {} }) {
    const device = 0x29c0;
    super('host-bridge', { vendor: intel, device, classCode: 0x060000, revision: 2, subsystemVendor: intel, subsystem: device });
    this.wires = wires;
    this.config.define([
      { offset: pciExBar, size: 4, writable: 0xfc000007 }, { offset: pciExBar + 4, size: 4, writable: 0x0000000f },
      ...Array.from({ length: 7 }, (_, index) => ({ offset: pam0 + index, size: 1, writable: index === 0 ? 0x30 : 0x33 }) as const),
      // SMRAM: there is no system management mode, the register reads as locked away.
      { offset: 0x9d, size: 1, value: 0x02 },
    ]);
  }

  override writeConfig(offset: number, size: AccessSize, value: number): void {
    super.writeConfig(offset, size, value);
    this.follow();
  }

  /** Where the enhanced configuration window is, or null. */
  get ecam(): { readonly base: number; readonly length: number } | null {
    const register = this.config.read(pciExBar, 4);
    const length = ecamLengths[((register >> 1) & 3) as 0 | 1 | 2 | 3];
    if ((register & 1) === 0 || length === 0) return null;
    return { base: this.config.read(pciExBar + 4, 4) * 2 ** 32 + ((register & -length) >>> 0), length };
  }

  override reset(): void {
    super.reset();
    this.follow();
  }

  override loadState(state: unknown): void {
    super.loadState(state);
    this.follow();
  }

  /** As firmware leaves it: the window open at `base`, the shadow segments plain RAM. */
  startFirmware(base: number): void {
    this.config.set(pciExBar, 4, base | 1);
    for (let index = 0; index < 7; index++) this.config.set(pam0 + index, 1, index === 0 ? 0x30 : 0x33);
    this.follow();
  }

  private pam: readonly number[] = [];

  private follow(): void {
    const window = this.ecam;
    const key = window === null ? null : window.base + window.length / 2 ** 30;
    if (key !== this.window) {
      this.window = key;
      this.wires.ecam(window);
    }
    const pam = Array.from({ length: 7 }, (_, index) => this.config.read(pam0 + index, 1));
    for (const [register, shift, base, length] of shadowSegments) {
      const now = ((pam[register] ?? 0) >> shift) & 3;
      if (now !== (((this.pam[register] ?? 0) >> shift) & 3) || this.pam.length === 0) this.wires.shadow(base, length, (now & 1) !== 0, (now & 2) !== 0);
    }
    this.pam = pam;
  }
}

/** PIRQ[n]_ROUT of PIRQA to PIRQD; the other four lines are not wired. @ich9 13.1.18 */
const pirqRoute = 0x60;
const pirqDisabled = 0x80;

/** The LPC bridge, device 31: PMBASE tells where the ACPI hardware is, PIRQ registers which ISA interrupts INTx lines reach. */
export class LpcBridge extends PciFunction {
  private readonly route: (line: number, irq: number | null) => void;

  /** @param route connects PIRQA to PIRQD (0 to 3) to an ISA interrupt, or to none */
  constructor(route: (line: number, irq: number | null) => void = () => {}) {
    const identity = { vendor: intel, device: 0x2918, classCode: 0x060100, revision: 2, subsystemVendor: intel, subsystem: 0x2918 };
    super('lpc-bridge', { ...identity, multifunction: true });
    this.route = route;
    this.config.define([
      // PMBASE takes no other value: the hardware does not move.
      { offset: 0x40, size: 4, value: acpiPorts.base | 1 },
      // ACPI_CNTL: decoding on, SCI on IRQ 9.
      { offset: 0x44, size: 1, value: 0x80 },
      ...[0, 1, 2, 3, 8, 9, 10, 11].map(index => ({ offset: pirqRoute + index, size: 1, value: pirqDisabled, writable: 0x8f }) as const),
      // What of the ISA bus is decoded: remembered.
      { offset: 0x80, size: 4, writable: 0xffffffff }, { offset: 0xd8, size: 2, value: 0xffcf },
    ]);
    this.follow();
  }

  override writeConfig(offset: number, size: AccessSize, value: number): void {
    super.writeConfig(offset, size, value);
    if (offset >= pirqRoute && offset < pirqRoute + 4) this.follow();
  }

  override reset(): void {
    super.reset();
    this.follow();
  }

  override loadState(state: unknown): void {
    super.loadState(state);
    this.follow();
  }

  /** As firmware leaves it. */
  startFirmware(irqs: readonly number[]): void {
    irqs.forEach((irq, line) => this.writeConfig(pirqRoute + line, 1, irq));
  }

  private follow(): void {
    for (let line = 0; line < 4; line++) {
      const value = this.config.read(pirqRoute + line, 1);
      this.route(line, (value & pirqDisabled) === 0 ? value & 0xf : null);
    }
  }
}
