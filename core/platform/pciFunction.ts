/** A PCI function's configuration space: 256 bytes with a mask of what software may write, and base address registers. */

import { StateReader } from './state.ts';
import { extract, insert } from './device.ts';
import type { AccessSize, Component, DeviceState } from './device.ts';

/** Configuration space offsets of a type 0 header. */
export const pciRegister = {
  vendor: 0x00, command: 0x04, status: 0x06, revision: 0x08, headerType: 0x0e, bar0: 0x10, subsystem: 0x2c, interrupt: 0x3c,
} as const;

export const pciCommand = { io: 0x0001, memory: 0x0002, busMaster: 0x0004, interruptDisable: 0x0400 } as const;

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

/** A base address register of 32 bits. */
export interface PciBar {
  readonly space: 'port' | 'memory';
  /** A power of two: at least 4 for ports, 16 for memory. */
  readonly size: number;
}

/** A function on the bus. Devices extend it, or use it as it is. */
export class PciFunction implements Component {
  readonly name: string;
  readonly version = 1;
  /** Registers as 64 words of 32 bits. */
  protected readonly config = new Uint32Array(64);
  private readonly initial: Uint32Array;
  private readonly writable = new Uint32Array(64);
  private readonly bars: readonly (PciBar | null)[];
  /** Called when the command register or a base address changed what the function answers. */
  onMappingChange: () => void = () => {};

  constructor(name: string, identity: PciIdentity, bars: readonly (PciBar | null)[] = []) {
    this.name = name;
    this.bars = bars;
    this.config[0] = (identity.vendor | (identity.device << 16)) >>> 0;
    this.config[2] = ((identity.classCode << 8) | identity.revision) >>> 0;
    this.config[3] = identity.multifunction === true ? 0x800000 : 0;
    this.config[11] = ((identity.subsystemVendor ?? 0) | ((identity.subsystem ?? 0) << 16)) >>> 0;
    this.config[15] = (identity.interruptPin ?? 0) << 8;
    this.allowWrite(pciRegister.command, 0x0000_0547);
    this.allowWrite(0x0c, 0xff);
    if (identity.interruptPin !== undefined && identity.interruptPin > 0) this.allowWrite(pciRegister.interrupt, 0xff);
    bars.forEach((bar, index) => {
      if (bar === null) return;
      this.config[4 + index] = bar.space === 'port' ? 1 : 0;
      this.writable[4 + index] = -bar.size >>> 0;
    });
    this.initial = this.config.slice();
  }

  /** Where a base address register maps its range now, or null while the function does not decode it. */
  barAddress(index: number): number | null {
    const bar = this.bars[index];
    if (bar === undefined || bar === null) return null;
    const enabled = ((this.config[1] ?? 0) & (bar.space === 'port' ? pciCommand.io : pciCommand.memory)) !== 0;
    const address = ((this.config[4 + index] ?? 0) & (this.writable[4 + index] ?? 0)) >>> 0;
    return enabled && address !== 0 ? address : null;
  }

  readConfig(offset: number, size: AccessSize): number {
    return extract(this.config[(offset >> 2) & 63] ?? 0, offset & 3, size);
  }

  writeConfig(offset: number, size: AccessSize, value: number): void {
    const word = (offset >> 2) & 63;
    const before = this.config[word] ?? 0;
    const mask = this.writable[word] ?? 0;
    this.config[word] = (before & ~mask) | (insert(before, offset & 3, size, value) & mask);
    if (word === 1 || (word >= 4 && word < 10)) this.onMappingChange();
  }

  reset(): void {
    this.config.set(this.initial);
    this.onMappingChange();
  }

  saveState(): DeviceState {
    return { version: this.version, config: [...this.config] };
  }

  /** Bits that software cannot write must be those this function has. */
  loadState(state: unknown): void {
    const reader = StateReader.open(this, state);
    const config = reader.uints('config', 32, 64);
    config.forEach((value, index) => {
      const fixed = ~(this.writable[index] ?? 0);
      if (((value ^ (this.initial[index] ?? 0)) & fixed) !== 0) reader.refuse(`config[${index}]`, 'the read-only bits of this function');
    });
    this.config.set(config);
    this.onMappingChange();
  }

  /** Lets software write the bits of `mask` in the 32-bit register at `offset`. For constructors of subclasses. */
  protected allowWrite(offset: number, mask: number): void {
    this.writable[offset >> 2] = (this.writable[offset >> 2] ?? 0) | mask;
  }

  /** Sets a register's power-on value. For constructors of subclasses. */
  protected preset(offset: number, value: number): void {
    this.config[offset >> 2] = value;
    this.initial[offset >> 2] = value;
  }
}
