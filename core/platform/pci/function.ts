/** A PCI Express function: identity, base address registers, capabilities, and its ways to interrupts and memory. */

import { ConfigSpace } from './configSpace.ts';
import { Msi, MsiX } from './messages.ts';
import { StateReader } from '../state.ts';
import type { AccessSize, Component, DeviceState, Registers } from '../device.ts';
import type { Capability } from './capabilities.ts';
import type { DmaPort } from '../dma.ts';
import type { MessageSink } from './messages.ts';

/** Configuration space offsets of a type 0 header. */
export const pciRegister = {
  vendor: 0x00, command: 0x04, status: 0x06, revision: 0x08, headerType: 0x0e, bar0: 0x10, subsystem: 0x2c, expansionRom: 0x30, capabilities: 0x34,
  interruptLine: 0x3c, interruptPin: 0x3d,
} as const;

export const pciCommand = { io: 0x0001, memory: 0x0002, busMaster: 0x0004, interruptDisable: 0x0400 } as const;
const pciStatus = { interrupt: 0x0008, capabilities: 0x0010, errors: 0xf900 } as const;
const firstCapability = 0x40;

/** What a function is. */
export interface PciIdentity {
  readonly vendor: number;
  readonly device: number;
  /** Class, subclass and programming interface as 24 bits. */
  readonly classCode: number;
  readonly revision: number;
  readonly subsystemVendor?: number;
  readonly subsystem?: number;
  readonly multifunction?: boolean;
  /** INTA# to INTD# as 1 to 4; 0: none. */
  readonly interruptPin?: number;
}

/** A base address register and what answers behind it. */
export interface PciBar {
  readonly space: 'port' | 'memory';
  /** Bytes, a power of two: at least 4 for ports, 16 for memory. */
  readonly size: number;
  /** A 64-bit memory BAR takes two registers: the entry behind it is null. */
  readonly wide?: boolean;
  readonly prefetchable?: boolean;
  /** Widest access that `registers` take whole; default 4. */
  readonly width?: AccessSize;
  /** Offsets are relative to the BAR. Absent: `onMove` looks after it. */
  readonly registers?: Registers;
  /** Told where the BAR is, null while the function does not decode it: for memory that the processor reaches without an exit. */
  readonly onMove?: (address: number | null) => void;
}

/** A read-only image that firmware runs or reads: the expansion ROM. */
export interface PciRom {
  readonly data: Uint8Array;
}

/** What a slot gives to the function that is plugged into it. */
export interface PciSlot {
  readonly dma: DmaPort;
  /** Drives the line of the function's interrupt pin. */
  setLine(pin: number, asserted: boolean): void;
  /** A memory write that is an interrupt message. */
  readonly sendMessage: MessageSink;
  /** Lets `registers` answer a range; returns what ends that. */
  map(space: 'port' | 'memory', base: number, length: number, width: AccessSize, registers: Registers): () => void;
}

const unconnected: PciSlot = {
  dma: { read: () => false, write: () => false, views: () => null, read16: () => null, read32: () => null, write16: () => false, write32: () => false },
  setLine() {},
  sendMessage() {},
  map: () => () => {},
};

export interface PciFunctionOptions {
  /** By index; null: none, or the upper half of a wide one. */
  readonly bars?: readonly (PciBar | null)[];
  readonly capabilities?: readonly Capability[];
  readonly msi?: Msi;
  readonly msix?: MsiX;
  readonly rom?: PciRom;
  /** 1 for a bridge's header. */
  readonly headerType?: 0 | 1;
}

/** Base address registers in a header of type 0 and of type 1. */
const barLimit = [6, 2] as const;

interface Placed {
  readonly index: number;
  readonly bar: PciBar;
  /** Where it is mapped; null: not decoded. */
  address: number | null;
  unmap: () => void;
}

/** A function on a bus. Devices extend it, or use it as it is. */
export class PciFunction implements Component {
  readonly name: string;
  readonly version: number = 2;
  readonly config = new ConfigSpace();
  /** Present while the function is plugged in. */
  protected slot: PciSlot = unconnected;
  protected readonly msi: Msi | null;
  protected readonly msix: MsiX | null;
  private readonly bars: readonly Placed[];
  private readonly interruptPin: number;
  private readonly messageCapabilities: (readonly [first: number, last: number, written: () => void])[] = [];
  private line = false;

  constructor(name: string, identity: PciIdentity, options: PciFunctionOptions = {}) {
    this.name = name;
    this.interruptPin = identity.interruptPin ?? 0;
    this.msi = options.msi ?? null;
    this.msix = options.msix ?? null;
    const headerType = options.headerType ?? 0;
    const capabilities = [...(this.msix ? [this.msix.capability] : []), ...(this.msi ? [this.msi.capability] : []), ...(options.capabilities ?? [])];
    this.config.define([
      { offset: 0x00, size: 4, value: (identity.vendor | (identity.device << 16)) >>> 0 },
      { offset: pciRegister.command, size: 2, writable: 0x0547 },
      { offset: pciRegister.status, size: 2, value: capabilities.length > 0 ? pciStatus.capabilities : 0, writeOneToClear: pciStatus.errors },
      { offset: pciRegister.revision, size: 4, value: ((identity.classCode << 8) | identity.revision) >>> 0 },
      { offset: 0x0c, size: 1, writable: 0xff },
      { offset: pciRegister.headerType, size: 1, value: headerType | (identity.multifunction === true ? 0x80 : 0) },
      { offset: pciRegister.interruptLine, size: 1, writable: this.interruptPin > 0 || headerType === 1 ? 0xff : 0 },
      { offset: pciRegister.interruptPin, size: 1, value: this.interruptPin },
    ]);
    if (headerType === 0) {
      this.config.define([{ offset: pciRegister.subsystem, size: 4, value: ((identity.subsystemVendor ?? 0) | ((identity.subsystem ?? 0) << 16)) >>> 0 }]);
    }
    this.config.allowLive(pciRegister.status, 2, pciStatus.interrupt);
    const bars = (options.bars ?? []).slice(0, barLimit[headerType]);
    this.bars = bars.flatMap((bar, index) => (bar === null ? [] : [{ index, bar, address: null, unmap: () => {} }]));
    for (const { index, bar } of this.bars) this.defineBar(index, bar);
    if (options.rom) this.addRom(options.rom);
    this.addCapabilities(capabilities);
  }

  /** Called once, when the function is plugged in; null when it is pulled out. */
  connect(slot: PciSlot | null): void {
    this.unmapAll();
    this.slot = slot ?? unconnected;
    this.remap();
    if (this.line) this.slot.setLine(this.interruptPin, true);
  }

  /** Where a base address register maps its range now, or null while the function does not decode it. */
  barAddress(index: number): number | null {
    const placed = this.bars.find(row => row.index === index);
    return placed === undefined ? null : this.decoded(placed);
  }

  /** What firmware needs to give addresses. */
  get barSizes(): readonly { readonly index: number; readonly bar: PciBar }[] {
    return this.bars;
  }

  /** Where the first capability of a kind lies in configuration space; 0: the function has none. */
  capabilityOffset(id: number): number {
    let at = this.config.read(pciRegister.capabilities, 1);
    while (at !== 0 && this.config.read(at, 1) !== id) at = this.config.read(at + 1, 1);
    return at;
  }

  readConfig(offset: number, size: AccessSize): number {
    return this.config.read(offset, size);
  }

  writeConfig(offset: number, size: AccessSize, value: number): void {
    this.config.write(offset, size, value);
    if (offset < firstCapability) {
      this.remap();
      this.driveLine();
    }
    for (const [first, last, written] of this.messageCapabilities) if (offset >= first && offset < last) written();
  }

  get busMaster(): boolean {
    return (this.config.read(pciRegister.command, 2) & pciCommand.busMaster) !== 0;
  }

  /** Guest memory; refused like memory that is not there while the function is no bus master. */
  get dma(): DmaPort {
    return this.busMaster ? this.slot.dma : unconnected.dma;
  }

  /** Whether interrupts go out as messages: the device then calls `signal` for each event, and `setInterrupt` has no effect on the line. */
  get usesMessages(): boolean {
    return this.msix?.enabled === true || this.msi?.enabled === true;
  }

  /** Sends the message of a vector. Without MSI-X or MSI enabled nothing happens. */
  signal(vector: number): void {
    if (this.msix?.enabled === true) this.msix.signal(vector);
    else if (this.msi?.enabled === true) this.msi.signal(vector);
  }

  /** The level of the function's interrupt pin. */
  setInterrupt(asserted: boolean): void {
    this.line = asserted;
    this.driveLine();
  }

  reset(): void {
    this.config.reset();
    this.msix?.reset();
    this.line = false;
    this.remap();
    this.driveLine();
  }

  saveState(): DeviceState {
    return { version: this.version, config: this.config.save(), line: this.line, ...(this.msix ? { msix: this.msix.save() } : {}) };
  }

  loadState(state: unknown): void {
    this.checkState(StateReader.open(this, state))();
  }

  /** Checks this part of a saved state. Returns what puts it in place: subclasses check their own fields first. */
  protected checkState(reader: StateReader): () => void {
    const config = this.config.check(reader);
    const line = reader.boolean('line');
    const restoreMessages = this.msix?.check(reader.record('msix'));
    return () => {
      this.config.restore(config);
      this.line = line;
      restoreMessages?.();
      this.remap();
      this.driveLine();
    };
  }

  private defineBar(index: number, bar: PciBar): void {
    const kind = bar.space === 'port' ? 1 : (bar.wide === true ? 4 : 0) | (bar.prefetchable === true ? 8 : 0);
    const offset = pciRegister.bar0 + index * 4;
    this.config.define([{ offset, size: 4, value: kind, writable: bar.size >= 2 ** 32 ? 0 : (-bar.size & addressBits(bar)) >>> 0 }]);
    if (bar.wide === true) this.config.define([{ offset: offset + 4, size: 4, writable: bar.size <= 2 ** 32 ? 0xffffffff : (-(bar.size / 2 ** 32)) >>> 0 }]);
  }

  private addRom({ data }: PciRom): void {
    const size = Math.max(2048, 2 ** Math.ceil(Math.log2(data.length)));
    this.config.define([{ offset: pciRegister.expansionRom, size: 4, writable: (-size | 1) >>> 0 }]);
    this.rom = { data, size, address: null, unmap: () => {} };
  }

  private rom: { readonly data: Uint8Array; readonly size: number; address: number | null; unmap: () => void } | null = null;

  private addCapabilities(capabilities: readonly Capability[]): void {
    let at = firstCapability;
    let pointer: number = pciRegister.capabilities;
    for (const capability of capabilities) {
      this.config.define([{ offset: pointer, size: 1, value: at }, { offset: at, size: 1, value: capability.id }]);
      this.config.define(capability.registers.map(row => ({ ...row, offset: at + row.offset })));
      const messages = [this.msi, this.msix].find(candidate => candidate?.capability === capability);
      if (messages) {
        messages.connect(this.config, at, (address, data) => this.busMaster && this.slot.sendMessage(address, data));
        this.messageCapabilities.push([at, at + capability.length, () => {
          messages.written();
          this.driveLine();
        }]);
      }
      pointer = at + 1;
      at = Math.ceil((at + capability.length) / 4) * 4;
    }
  }

  private driveLine(): void {
    if (this.interruptPin === 0) return;
    this.config.set(pciRegister.status, 1, (this.config.read(pciRegister.status, 1) & ~pciStatus.interrupt) | (this.line ? pciStatus.interrupt : 0));
    const disabled = (this.config.read(pciRegister.command, 2) & pciCommand.interruptDisable) !== 0;
    this.slot.setLine(this.interruptPin, this.line && !disabled && !this.usesMessages);
  }

  private decoded({ index, bar }: Placed): number | null {
    const enable = bar.space === 'port' ? pciCommand.io : pciCommand.memory;
    if ((this.config.read(pciRegister.command, 2) & enable) === 0) return null;
    const offset = pciRegister.bar0 + index * 4;
    const low = (this.config.read(offset, 4) & addressBits(bar)) >>> 0;
    const address = bar.wide === true ? this.config.read(offset + 4, 4) * 2 ** 32 + low : low;
    // All ones is what sizing writes.
    const end = bar.space === 'port' ? 0x10000 : 2 ** 52;
    return address === 0 || address >= end || low === (-bar.size & addressBits(bar)) >>> 0 ? null : address;
  }

  private remap(): void {
    for (const placed of this.bars) {
      const address = this.decoded(placed);
      if (address === placed.address) continue;
      placed.unmap();
      placed.address = address;
      const { bar } = placed;
      placed.unmap = address === null || bar.registers === undefined ? () => {} : this.slot.map(bar.space, address, bar.size, bar.width ?? 4, bar.registers);
      bar.onMove?.(address);
    }
    this.remapRom();
  }

  private remapRom(): void {
    const { rom } = this;
    if (rom === null) return;
    const register = this.config.read(pciRegister.expansionRom, 4);
    const enabled = (register & 1) !== 0 && (this.config.read(pciRegister.command, 2) & pciCommand.memory) !== 0;
    const base = (register & -2048) >>> 0;
    const address = enabled && base !== 0 ? base : null;
    if (address === rom.address) return;
    rom.unmap();
    rom.address = address;
    rom.unmap = address === null ? () => {} : this.slot.map('memory', address, rom.size, 4, romRegisters(this.name, rom.data));
  }

  private unmapAll(): void {
    for (const placed of this.bars) {
      placed.unmap();
      if (placed.address !== null) placed.bar.onMove?.(null);
      placed.address = null;
      placed.unmap = () => {};
    }
    if (this.rom) {
      this.rom.unmap();
      this.rom.address = null;
      this.rom.unmap = () => {};
    }
  }
}

/** The bits of a base address register that are an address. */
function addressBits({ space }: PciBar): number {
  return space === 'port' ? 0xfffffffc : 0xfffffff0;
}

function romRegisters(name: string, data: Uint8Array): Registers {
  return {
    name: `${name} ROM`,
    read: (offset, size) => Array.from({ length: size }, (_, index) => data[offset + index] ?? 0xff).reduceRight((value, byte) => value * 256 + byte, 0),
    write() {},
  };
}
