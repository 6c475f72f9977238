/** The I/O APIC: 24 pins, a redirection entry for each. Version 20H: it has an EOI register. */

import { StateReader } from './state.ts';
import { extract } from './device.ts';
import { deliveryMode } from './interrupts.ts';
import type { AccessSize, Device, DeviceRange, DeviceState } from './device.ts';
import type { InterruptRoute, LevelInterrupt } from './interrupts.ts';

export const ioApicBase = 0xfec00000;
export const ioApicPins = 24;

const version = 0x20;
const masked = 0x10000;
const levelTriggered = 0x8000;
const remoteIrr = 0x4000;
/** Bits software may set in an entry's low half: all but delivery status and remote IRR. */
const writableLow = 0x1afff;
/** Bits software may set in an entry's high half: the destination, and below it what a remappable interrupt adds. @vtd 5.1.2.1 */
const writableHigh = 0xffff0000;

const windowSelect = 0x00;
const windowData = 0x10;
const windowEoi = 0x40;

export class IoApic implements Device {
  readonly name = 'io-apic';
  readonly version = 1;
  readonly ranges: readonly DeviceRange[] = [{ space: 'memory', base: ioApicBase, length: 0x1000, offset: 0, width: 4 }];
  private readonly deliver: InterruptRoute;
  private readonly initialId: number;
  private id: number;
  private select = 0;
  private readonly low = new Uint32Array(ioApicPins).fill(masked);
  private readonly high = new Uint32Array(ioApicPins);
  private readonly lines = new Uint8Array(ioApicPins);

  /**
   * @param id the ID that firmware has assigned, as the MADT tells
   * @param deliver sends a message on its way to the local APICs; false when none accepted it
   */
  constructor(id: number, deliver: InterruptRoute) {
    this.initialId = id;
    this.id = id;
    this.deliver = deliver;
  }

  /** The wire to a pin; asserted means active, whatever the polarity bit says. */
  pin(number: number): LevelInterrupt {
    return {
      set: asserted => {
        if ((this.lines[number] !== 0) === asserted) return;
        this.lines[number] = asserted ? 1 : 0;
        if (!asserted) return;
        const entry = this.low[number] ?? masked;
        // An edge on a masked pin is lost. @82093AA 3.2.4
        if ((entry & levelTriggered) !== 0) this.serviceLevel(number);
        else if ((entry & masked) === 0) this.send(number, false);
      },
    };
  }

  /** A local APIC has ended a level-triggered interrupt. */
  endOfInterrupt(vector: number): void {
    for (let pin = 0; pin < ioApicPins; pin++) {
      const entry = this.low[pin] ?? 0;
      if ((entry & 0xff) !== vector || (entry & remoteIrr) === 0) continue;
      this.low[pin] = entry & ~remoteIrr;
      this.serviceLevel(pin);
    }
  }

  reset(): void {
    this.id = this.initialId;
    this.select = 0;
    this.low.fill(masked);
    this.high.fill(0);
  }

  read(offset: number, size: AccessSize): number {
    const byte = offset & 3;
    if (byte + size > 4) return 0;
    const register = offset & ~3;
    if (register === windowSelect) return extract(this.select, byte, size);
    return register === windowData ? extract(this.readIndirect(), byte, size) : 0;
  }

  write(offset: number, size: AccessSize, value: number): void {
    // The select register is eight bits wide and takes any access; the data window only whole ones.
    if (offset === windowSelect) this.select = value & 0xff;
    else if (offset === windowData && size === 4) this.writeIndirect(value);
    else if (offset === windowEoi) this.endOfInterrupt(value & 0xff);
  }

  saveState(): DeviceState {
    return { version: this.version, id: this.id, select: this.select, low: [...this.low], high: [...this.high], lines: [...this.lines] };
  }

  loadState(state: unknown): void {
    const reader = StateReader.open(this, state);
    const id = reader.uint('id', 4);
    const select = reader.uint('select', 8);
    const low = reader.uints('low', 17, ioApicPins);
    const high = reader.uints('high', 32, ioApicPins);
    const lines = reader.uints('lines', 1, ioApicPins);
    this.id = id;
    this.select = select;
    this.low.set(low);
    this.high.set(high);
    this.lines.set(lines);
  }

  private readIndirect(): number {
    const { select } = this;
    if (select === 0 || select === 2) return (this.id << 24) >>> 0;
    if (select === 1) return ((ioApicPins - 1) << 16) | version;
    const pin = (select - 0x10) >> 1;
    if (pin < 0 || pin >= ioApicPins) return 0;
    return ((select & 1) === 0 ? this.low[pin] : this.high[pin]) ?? 0;
  }

  private writeIndirect(value: number): void {
    const { select } = this;
    if (select === 0) {
      this.id = (value >>> 24) & 0xf;
      return;
    }
    const pin = (select - 0x10) >> 1;
    if (pin < 0 || pin >= ioApicPins) return;
    if ((select & 1) !== 0) {
      this.high[pin] = value & writableHigh;
      return;
    }
    const kept = (this.low[pin] ?? 0) & remoteIrr;
    // Turning an entry edge-triggered clears remote IRR.
    this.low[pin] = (value & writableLow) | ((value & levelTriggered) !== 0 ? kept : 0);
    this.serviceLevel(pin);
  }

  /** Sends a level-triggered interrupt when its pin is active and none is outstanding. */
  private serviceLevel(pin: number): void {
    const entry = this.low[pin] ?? masked;
    if ((entry & levelTriggered) === 0 || (entry & (masked | remoteIrr)) !== 0 || this.lines[pin] === 0) return;
    const mode = (entry >> 8) & 7;
    // Only fixed and lowest-priority interrupts are level-triggered; the other modes are edges. @82093AA 3.2.4
    const level = mode === deliveryMode.fixed || mode === deliveryMode.lowestPriority;
    if (this.send(pin, level) && level) this.low[pin] = entry | remoteIrr;
  }

  private send(pin: number, level: boolean): boolean {
    const entry = this.low[pin] ?? masked;
    const high = this.high[pin] ?? 0;
    const mode = (entry >> 8) & 7;
    const message = { mode, vector: entry & 0xff, level, logical: (entry & 0x800) !== 0, destination: high >>> 24, wide: false };
    // The entry's upper 16 bits are address bits 19:4, its bit 11 is address bit 2.
    const address = (0xfee00000 | ((high & writableHigh) >>> 12) | ((entry & 0x800) >>> 9)) >>> 0;
    return this.deliver(message, address, (entry & 0x7ff) | (level ? 0x8000 : 0));
  }
}
