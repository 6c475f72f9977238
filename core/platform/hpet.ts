/** The high-precision event timer: a 64-bit counter at 100 MHz and three comparators. @hpet 2.3 */

import { StateReader } from './state.ts';
import { hpetBase } from './memoryLayout.ts';
import { minimumPeriodNs } from './clock.ts';
import type { AccessSize, DeviceRange, DeviceState, WideDevice, WideValue } from './device.ts';
import type { LevelInterrupt } from './interrupts.ts';
import type { Timer, VirtualClock } from './clock.ts';

/** Nanoseconds in a tick of the main counter. */
const tickNs = 10;
const tickFemtoseconds = tickNs * 1_000_000;
const timerCount = 3;
const minimumTicks = BigInt(minimumPeriodNs / tickNs);

const general = { enable: 1, legacy: 2 } as const;
/** Bits of a timer's configuration. */
const config = { level: 0x2, enable: 0x4, periodic: 0x8, periodicCapable: 0x10, wide: 0x20, set: 0x40, narrow: 0x100 } as const;
/** Bits of a comparator's configuration that can be set; the first alone is periodic, and waits for its period after `set`. */
function allowedConfig(index: number): number {
  return index === 0 ? writableConfig | config.set : writableConfig & ~config.periodic;
}

const writableConfig = config.level | config.enable | config.periodic | config.narrow | 0x3e00;

/** I/O APIC pins each timer can be routed to, as the capability mask in the high half of its configuration. */
const routes = 0x00f00000;

/** Only the first timer is periodic. */
function capabilities(index: number): number {
  return config.wide | (index === 0 ? config.periodicCapable : 0);
}

/**
 * A host that is busy may keep a guest from running for many periods. Systems that count ticks while they start, and give up where they find too
 * few, get what they missed in quick succession: so many at most, and none of a period shorter than half a millisecond.
 */
const owedMaximum = 16n;
const slowestSkipped = BigInt(500_000 / tickNs);

/** Ticks between two owed matches: time for the guest to take each. */
function catchUp(period: bigint): bigint {
  const sixteenth = period / 16n;
  return sixteenth < minimumTicks ? minimumTicks : sixteenth;
}

const mask64 = (1n << 64n) - 1n;
const mask32 = (1n << 32n) - 1n;

interface Comparator {
  config: number;
  value: bigint;
  period: bigint;
  /** The counter's value up to which matches were looked for. */
  seen: bigint;
}

/** What the HPET is connected to. */
export interface HpetWires {
  /** A wire to an I/O APIC pin (20 to 23). */
  pin(number: number): LevelInterrupt;
  /** IRQ 0 and IRQ 8, which legacy replacement takes from the 8254 and the real-time clock. */
  readonly timer: LevelInterrupt;
  readonly rtc: LevelInterrupt;
  legacyReplacement(active: boolean): void;
}

export class Hpet implements WideDevice {
  readonly name = 'hpet';
  readonly version = 1;
  readonly ranges: readonly DeviceRange[] = [{ space: 'memory', base: hpetBase, length: 0x400, offset: 0, width: 4 }];
  private readonly clock: VirtualClock;
  private readonly wires: HpetWires;
  private readonly pins: ReadonlyMap<number, LevelInterrupt>;
  private readonly timers: readonly Timer[];
  private general = 0;
  private status = 0;
  /** The main counter while halted; while running, its value minus the clock's ticks. */
  private base = 0n;
  private comparators: Comparator[] = [];

  constructor(clock: VirtualClock, wires: HpetWires) {
    this.clock = clock;
    this.wires = wires;
    const routable = Array.from({ length: 32 }, (_, pin) => pin).filter(pin => ((routes >>> pin) & 1) !== 0);
    this.pins = new Map(routable.map(pin => [pin, wires.pin(pin)]));
    this.timers = Array.from({ length: timerCount }, (_, index) => clock.timer(`hpet ${index}`, () => this.service(index)));
    this.reset();
  }

  reset(): void {
    const legacy = this.legacy;
    this.general = 0;
    this.status = 0;
    this.base = 0n;
    this.comparators = Array.from({ length: timerCount }, () => ({ config: 0, value: mask64, period: 0n, seen: 0n }));
    for (const timer of this.timers) timer.cancel();
    this.dropLines();
    if (legacy) this.wires.legacyReplacement(false);
  }

  read(offset: number, size: AccessSize): number {
    if (size !== 4 || (offset & 3) !== 0) return 0;
    const { low, high } = this.readWide(offset & ~7);
    return (offset & 4) === 0 ? low : high;
  }

  /** Registers are 64 bits wide; a 32-bit write changes its half. Narrower ones are undefined and ignored. */
  write(offset: number, size: AccessSize, value: number): void {
    if (size !== 4 || (offset & 3) !== 0) return;
    this.writePart(offset & ~7, (offset & 4) === 0 ? BigInt(value) : BigInt(value) << 32n, (offset & 4) === 0 ? mask32 : mask32 << 32n);
  }

  readWide(offset: number): WideValue {
    const value = this.register(offset);
    return { low: Number(value & mask32), high: Number(value >> 32n) };
  }

  writeWide(offset: number, low: number, high: number): void {
    this.writePart(offset, (BigInt(high) << 32n) | BigInt(low), mask64);
  }

  saveState(): DeviceState {
    // How far each comparator has looked is part of the state: up to now, as after a restore.
    this.serviceAll();
    return {
      version: this.version, general: this.general, status: this.status, base: this.base.toString(),
      comparators: this.comparators.map(({ config: bits, value, period, seen }) => ({
        config: bits, value: value.toString(), period: period.toString(), seen: seen.toString(),
      })),
    };
  }

  loadState(state: unknown): void {
    const reader = StateReader.open(this, state);
    const generalBits = reader.uint('general', 2);
    const status = reader.uint('status', timerCount);
    const base = reader.uint64('base');
    const comparators = reader.records('comparators', timerCount).map((record, index) => ({
      config: record.uint('config', 14) & allowedConfig(index), value: record.uint64('value'), period: record.uint64('period'), seen: record.uint64('seen'),
    }));
    this.general = generalBits;
    this.status = status;
    this.base = base;
    this.comparators = comparators;
    this.wires.legacyReplacement(this.legacy);
    comparators.forEach((_, index) => this.service(index));
    // Lines that edges have left high; the interrupt controllers behind them, which are loaded later, know what they have seen of it.
    comparators.forEach(({ config: bits }, index) => {
      if ((bits & (config.enable | config.level)) === config.enable) this.line(index)?.set(true);
    });
  }

  // ---- Registers ----------------------------------------------------------------------------------------------------

  private register(offset: number): bigint {
    switch (offset) {
      case 0x00:
        // Period, vendor, legacy replacement, 64 bits, number of the last timer, revision 1.
        return (BigInt(tickFemtoseconds) << 32n) | BigInt(0x8086a001 + ((timerCount - 1) << 8));
      case 0x10:
        return BigInt(this.general);
      case 0x20:
        return BigInt(this.status);
      case 0xf0:
        return this.counter();
      default: {
        const index = (offset - 0x100) >> 5;
        const comparator = offset < 0x100 ? undefined : this.comparators[index];
        if (comparator === undefined) return 0n;
        if ((offset & 0x1f) === 0) return (BigInt(routes) << 32n) | BigInt(comparator.config | capabilities(index));
        return (offset & 0x1f) === 8 ? this.comparatorValue(comparator) : 0n;
      }
    }
  }

  /** Writes the bits of `part` that `mask` selects. */
  private writePart(offset: number, part: bigint, mask: bigint): void {
    const merged = (old: bigint): bigint => (old & ~mask) | (part & mask);
    switch (offset) {
      case 0x10:
        this.writeGeneral(Number(merged(BigInt(this.general)) & 3n));
        break;
      case 0x20:
        this.status &= ~Number(part & mask & 7n);
        this.updateLevels();
        break;
      case 0xf0:
        // Defined while halted only; while running it is taken all the same.
        this.setCounter(merged(this.counter()));
        break;
      default: {
        const index = (offset - 0x100) >> 5;
        const comparator = offset < 0x100 ? undefined : this.comparators[index];
        if (comparator === undefined) break;
        if ((offset & 0x1f) === 0) this.writeConfig(index, comparator, Number(merged(BigInt(comparator.config)) & mask32));
        else if ((offset & 0x1f) === 8) this.writeComparator(comparator, merged);
        this.service(index);
      }
    }
  }

  private writeGeneral(value: number): void {
    const counter = this.counter();
    const legacyBefore = this.legacy;
    const running = this.running;
    this.general = value;
    if (running !== this.running) this.setCounter(counter);
    if (this.legacy !== legacyBefore) {
      this.dropLines();
      this.wires.legacyReplacement(this.legacy);
    }
    this.serviceAll();
  }

  private writeConfig(index: number, comparator: Comparator, value: number): void {
    const allowed = allowedConfig(index);
    this.line(index)?.set(false);
    comparator.config = value & allowed;
    if ((comparator.config & config.narrow) !== 0) {
      comparator.value &= mask32;
      comparator.period &= mask32;
    }
    if ((comparator.config & config.level) === 0) this.status &= ~(1 << index);
    comparator.seen = this.counter();
  }

  /** In periodic mode a write sets the period, and the next match too when the set bit was written before. */
  private writeComparator(comparator: Comparator, merged: (old: bigint) => bigint): void {
    const narrow = (comparator.config & config.narrow) !== 0;
    const fit = (value: bigint): bigint => (narrow ? value & mask32 : value);
    const periodic = (comparator.config & config.periodic) !== 0;
    if (!periodic || (comparator.config & config.set) !== 0) comparator.value = fit(merged(comparator.value));
    if (periodic) comparator.period = fit(merged(comparator.period));
    comparator.config &= ~config.set;
    comparator.seen = this.counter();
  }

  // ---- Counter and comparators --------------------------------------------------------------------------------------

  private get running(): boolean {
    return (this.general & general.enable) !== 0;
  }

  private get legacy(): boolean {
    return (this.general & general.legacy) !== 0;
  }

  private ticks(): bigint {
    return BigInt(Math.floor(this.clock.nowNs() / tickNs));
  }

  private counter(): bigint {
    return this.running ? (this.base + this.ticks()) & mask64 : this.base;
  }

  private setCounter(value: bigint): void {
    this.base = this.running ? (value - this.ticks()) & mask64 : value;
    for (const comparator of this.comparators) comparator.seen = value;
    this.serviceAll();
  }

  private serviceAll(): void {
    this.comparators.forEach((_, index) => this.service(index));
  }

  private width(comparator: Comparator): bigint {
    return (comparator.config & config.narrow) !== 0 ? mask32 : mask64;
  }

  /** A periodic comparator shows the next match, also while earlier ones are still owed. */
  private comparatorValue(comparator: Comparator): bigint {
    const width = this.width(comparator);
    const late = (this.counter() - comparator.seen) & width;
    const ahead = (comparator.value - comparator.seen) & width;
    const { period, value } = comparator;
    if ((comparator.config & config.periodic) === 0 || period === 0n || ahead === 0n || ahead > late) return value;
    return (value + ((late - ahead) / period + 1n) * period) & width;
  }

  /** Moves a comparator past the counter; returns whether it matched since it was last looked at. */
  private advance(comparator: Comparator, now: bigint): boolean {
    const width = this.width(comparator);
    const passed = (now - comparator.seen) & width;
    const ahead = (comparator.value - comparator.seen) & width;
    comparator.seen = now;
    // A comparator that equals the counter's value at the last look has matched before, or waits a whole round.
    if (ahead === 0n || ahead > passed) return false;
    const { period } = comparator;
    if ((comparator.config & config.periodic) !== 0 && period !== 0n) {
      const missed = (passed - ahead) / period;
      const owed = period < slowestSkipped ? 0n : missed < owedMaximum ? missed : owedMaximum;
      comparator.value = (comparator.value + (missed - owed + 1n) * period) & width;
      // Owed matches lie between here and now: the next look finds them, one at a time.
      if (owed > 0n) comparator.seen = (comparator.value - period) & width;
    }
    return true;
  }

  /** Whether a match lies in the past that has not fired yet. */
  private isBehind(comparator: Comparator, now: bigint): boolean {
    const width = this.width(comparator);
    const ahead = (comparator.value - comparator.seen) & width;
    return ahead !== 0n && ahead <= ((now - comparator.seen) & width);
  }

  /** Fires a comparator that has matched and waits for its next match. */
  private service(index: number): void {
    const comparator = this.comparators[index];
    const timer = this.timers[index];
    if (comparator === undefined || timer === undefined) return;
    if (!this.running) {
      timer.cancel();
      this.updateLevels();
      return;
    }
    const now = this.counter();
    if (this.advance(comparator, now)) this.fire(index, comparator);
    this.updateLevels();
    const ahead = (comparator.value - now) & this.width(comparator);
    const tooFast = (comparator.config & config.periodic) !== 0 && comparator.period < minimumTicks;
    const wait = this.isBehind(comparator, now) ? catchUp(comparator.period) : tooFast && ahead < minimumTicks ? minimumTicks : ahead;
    if ((comparator.config & config.enable) === 0 || wait === 0n) timer.cancel();
    else timer.arm((Math.floor(this.clock.nowNs() / tickNs) + Number(wait)) * tickNs);
  }

  private fire(index: number, comparator: Comparator): void {
    if ((comparator.config & config.level) !== 0) {
      this.status |= 1 << index;
    } else if ((comparator.config & config.enable) !== 0) {
      const line = this.line(index);
      // An edge stays high until the next one, which drops it first: an 8259A loses a request that falls before INTA.
      line?.set(false);
      line?.set(true);
    }
  }

  /** Level-triggered timers hold their lines while their status bits stand. */
  private updateLevels(): void {
    this.comparators.forEach((comparator, index) => {
      if ((comparator.config & config.level) === 0) return;
      this.line(index)?.set((comparator.config & config.enable) !== 0 && ((this.status >> index) & 1) !== 0);
    });
  }

  private line(index: number): LevelInterrupt | undefined {
    if (this.legacy && index === 0) return this.wires.timer;
    if (this.legacy && index === 1) return this.wires.rtc;
    return this.pins.get(((this.comparators[index]?.config ?? 0) >> 9) & 31);
  }

  private dropLines(): void {
    this.wires.timer.set(false);
    this.wires.rtc.set(false);
    for (const pin of this.pins.values()) pin.set(false);
  }
}
