/** The MC146818 real-time clock with 128 bytes of battery-backed memory. */

import { StateReader } from './state.ts';
import type { AccessSize, Device, DeviceRange, DeviceState } from './device.ts';
import type { LevelInterrupt } from './interrupts.ts';
import type { Timer, VirtualClock } from './clock.ts';

/** Memory locations with a meaning. */
export const cmos = {
  seconds: 0x00, secondsAlarm: 0x01, minutes: 0x02, minutesAlarm: 0x03, hours: 0x04, hoursAlarm: 0x05,
  weekday: 0x06, day: 0x07, month: 0x08, year: 0x09, a: 0x0a, b: 0x0b, c: 0x0c, d: 0x0d, shutdown: 0x0f, equipment: 0x14,
  baseMemory: 0x15, extendedMemory: 0x17, extendedMemoryCopy: 0x30, century: 0x32, memoryAbove16M: 0x34,
} as const;

/** Shutdown codes that firmware knows. */
export const shutdownCode = { resume: 0xfe } as const;

const regB = { set: 0x80, periodic: 0x40, alarm: 0x20, update: 0x10, binary: 0x04, hours24: 0x02 } as const;
const regC = { irq: 0x80, periodic: 0x40, alarm: 0x20, update: 0x10 } as const;

/** The update-in-progress bit rises this long before the update. */
const updateLeadNs = 244_000;
const secondNs = 1_000_000_000;

/** Register bytes that show the time while no update is held off. */
const timeRegisters = [cmos.seconds, cmos.minutes, cmos.hours, cmos.weekday, cmos.day, cmos.month, cmos.year, cmos.century] as const;

export class Rtc implements Device {
  readonly name = 'rtc';
  readonly version = 1;
  readonly ranges: readonly DeviceRange[] = [{ space: 'port', base: 0x70, length: 2, offset: 0, width: 1 }];
  /** Bit 7 of port 70H: NMI is blocked. */
  nmiMasked = false;
  /** Told of an alarm that may interrupt, wherever IRQ 8 goes: it sets the ACPI hardware's status. */
  onAlarm: () => void = () => {};
  private readonly clock: VirtualClock;
  private readonly irq: LevelInterrupt;
  private readonly updateTimer: Timer;
  private readonly periodicTimer: Timer;
  private index = 0;
  private readonly memory = new Uint8Array(128);
  /** Milliseconds since 1970, UTC, at virtual time zero. The guest moves it by setting the time. */
  private epochMs: number;
  private connected = true;
  /** Up to when register C's flags are known. */
  private seenNs = 0;

  /**
   * @param wallMs host time in milliseconds since 1970 at virtual time zero
   * @param memoryBytes guest RAM, told in the memory as firmware does
   */
  constructor(clock: VirtualClock, irq: LevelInterrupt, wallMs: number, memoryBytes: number) {
    this.clock = clock;
    this.irq = irq;
    this.epochMs = wallMs;
    this.updateTimer = clock.timer('rtc update', () => this.refresh());
    this.periodicTimer = clock.timer('rtc periodic', () => this.refresh());
    this.storeMemorySize(memoryBytes);
    this.memory[cmos.d] = 0x80;
    this.reset();
  }

  /** The HPET in legacy replacement mode takes IRQ 8 away. */
  connect(connected: boolean): void {
    this.connected = connected;
    this.refresh();
  }

  /** So much time of the world passed while the machine did not exist. Whole seconds only: the phase of the updates stays. */
  advance(ms: number): void {
    this.epochMs += Math.round(ms / 1000) * 1000;
    this.refresh();
  }

  /** What firmware finds as the reason for its start. */
  setShutdownCode(code: number): void {
    this.memory[cmos.shutdown] = code;
  }

  /** RESET# clears the interrupt enables and flags; the battery keeps time and memory. */
  reset(): void {
    this.index = 0;
    this.nmiMasked = false;
    this.connected = true;
    this.memory[cmos.a] = 0x26;
    this.memory[cmos.b] = regB.hours24;
    this.memory[cmos.c] = 0;
    this.seenNs = this.clock.nowNs();
    this.refresh();
  }

  read(offset: number, _size: AccessSize): number {
    if (offset === 0) return 0xff;
    const { index } = this;
    if (index === cmos.a) return this.at(cmos.a) | (this.updating() ? 0x80 : 0);
    if (index === cmos.c) {
      this.refresh();
      const flags = this.at(cmos.c);
      this.memory[cmos.c] = 0;
      // What happens from here on is a new edge, even when the clock moved while this was read.
      this.irq.set(false);
      this.refresh();
      return flags;
    }
    if (this.running && timeRegisters.some(register => register === index)) this.showTime();
    return this.at(index);
  }

  write(offset: number, _size: AccessSize, value: number): void {
    if (offset === 0) {
      this.index = value & 0x7f;
      this.nmiMasked = (value & 0x80) !== 0;
      return;
    }
    const { index } = this;
    // Flags up to now belong to the old settings.
    this.refresh();
    if (index === cmos.c || index === cmos.d) return;
    if (index === cmos.a) this.writeA(value);
    else if (index === cmos.b) this.writeB(value);
    else if (timeRegisters.some(register => register === index)) this.writeTime(index, value);
    else this.memory[index] = value;
    this.refresh();
  }

  saveState(): DeviceState {
    this.refresh();
    return {
      version: this.version, index: this.index, nmiMasked: this.nmiMasked, memory: [...this.memory], epochMs: Math.round(this.epochMs),
      connected: this.connected, seenNs: this.seenNs,
    };
  }

  loadState(state: unknown): void {
    const reader = StateReader.open(this, state);
    const index = reader.uint('index', 7);
    const nmiMasked = reader.boolean('nmiMasked');
    const memory = reader.uints('memory', 8, 128);
    const epochMs = reader.integer('epochMs', -8.64e15, 8.64e15);
    const connected = reader.boolean('connected');
    const seenNs = reader.time('seenNs');
    this.index = index;
    this.nmiMasked = nmiMasked;
    this.memory.set(memory);
    this.epochMs = epochMs;
    this.connected = connected;
    this.seenNs = Math.min(seenNs, this.clock.nowNs());
    this.refresh();
  }

  private at(index: number): number {
    return this.memory[index] ?? 0;
  }

  /** The oscillator runs with divider 010b only, and updates go on unless SET holds them off. */
  private get running(): boolean {
    return (this.at(cmos.a) & 0x70) === 0x20 && (this.at(cmos.b) & regB.set) === 0;
  }

  /** Nanoseconds of virtual time that `epochMs` shifts the start of each second by, so that updates fall on whole seconds of guest time. */
  private phaseNs(): number {
    return Math.round((((this.epochMs % 1000) + 1000) % 1000) * 1e6);
  }

  private second(ns: number): number {
    return Math.floor((ns + this.phaseNs()) / secondNs);
  }

  private updating(): boolean {
    if (!this.running) return false;
    const place = (this.clock.nowNs() + this.phaseNs()) % secondNs;
    return place >= secondNs - updateLeadNs;
  }

  /** Nanoseconds between periodic interrupts; null when the rate is off. */
  private periodNs(): number | null {
    const rate = this.at(cmos.a) & 0x0f;
    if (rate === 0 || (this.at(cmos.a) & 0x70) !== 0x20) return null;
    // Rates 1 and 2 are those of 8 and 9. 32768 Hz >> (rate - 1).
    const shift = rate < 3 ? rate + 6 : rate - 1;
    return ((1 << shift) * secondNs) / 32768;
  }

  // ---- Flags and interrupts -----------------------------------------------------------------------------------------

  /** Gathers the flags of what has happened since, sets the line, and waits for what can interrupt next. */
  private refresh(): void {
    const now = this.clock.nowNs();
    const from = this.seenNs;
    this.seenNs = now;
    const before = this.at(cmos.c);
    if (now > from) this.memory[cmos.c] = before | this.flagsBetween(from, now);
    if ((this.at(cmos.b) & this.at(cmos.c) & ~before & regC.alarm) !== 0) this.onAlarm();
    const enabled = this.at(cmos.b) & this.at(cmos.c) & (regC.periodic | regC.alarm | regC.update);
    this.memory[cmos.c] = (this.at(cmos.c) & 0x70) | (enabled !== 0 ? regC.irq : 0);
    this.irq.set(this.connected && enabled !== 0);
    this.schedule(now);
  }

  private flagsBetween(from: number, now: number): number {
    const period = this.periodNs();
    let flags = period !== null && Math.floor(now / period) > Math.floor(from / period) ? regC.periodic : 0;
    const first = this.second(from) + 1;
    const last = this.second(now);
    if (this.running && first <= last) {
      flags |= regC.update;
      // An alarm comes round within a day: no need to look further back.
      for (let second = Math.max(first, last - 86_400); second <= last && (flags & regC.alarm) === 0; second++) {
        if (this.alarmAt(second)) flags |= regC.alarm;
      }
    }
    return flags;
  }

  private schedule(now: number): void {
    const b = this.at(cmos.b);
    const flags = this.at(cmos.c);
    // A flag that stands already needs no timer: the line is up until register C is read.
    const second = this.running && (b & ~flags & (regB.update | regB.alarm)) !== 0;
    this.updateTimer.set(second ? (this.second(now) + 1) * secondNs - this.phaseNs() : null);
    const period = this.periodNs();
    const periodic = period !== null && (b & regB.periodic) !== 0 && (flags & regC.periodic) === 0;
    this.periodicTimer.set(periodic ? Math.ceil((Math.floor(now / period) + 1) * period) : null);
  }

  /** Whether the alarm registers match a second of guest time; values from C0H match anything. */
  private alarmAt(second: number): boolean {
    const date = this.dateAt(second);
    const matches = (register: number, value: number): boolean => this.at(register) >= 0xc0 || this.at(register) === value;
    return (
      matches(cmos.secondsAlarm, this.encode(date.getUTCSeconds())) && matches(cmos.minutesAlarm, this.encode(date.getUTCMinutes())) &&
      matches(cmos.hoursAlarm, this.encodeHours(date.getUTCHours()))
    );
  }

  // ---- Time ---------------------------------------------------------------------------------------------------------

  /** Guest time at the n-th second of virtual time. */
  private dateAt(second: number): Date {
    const date = new Date(Math.floor(this.epochMs / 1000) * 1000 + second * 1000);
    return Number.isNaN(date.getTime()) ? new Date(0) : date;
  }

  private showTime(): void {
    const date = this.dateAt(this.second(this.clock.nowNs()));
    const year = date.getUTCFullYear();
    this.memory[cmos.seconds] = this.encode(date.getUTCSeconds());
    this.memory[cmos.minutes] = this.encode(date.getUTCMinutes());
    this.memory[cmos.hours] = this.encodeHours(date.getUTCHours());
    this.memory[cmos.weekday] = date.getUTCDay() + 1;
    this.memory[cmos.day] = this.encode(date.getUTCDate());
    this.memory[cmos.month] = this.encode(date.getUTCMonth() + 1);
    this.memory[cmos.year] = this.encode(year % 100);
    this.memory[cmos.century] = this.encode(Math.floor(year / 100) % 100);
  }

  private writeTime(register: number, value: number): void {
    if (this.running) this.showTime();
    this.memory[register] = value;
    if (this.running) this.takeTime();
  }

  /** The registers are the time from now on; what the guest wrote may be no date at all, and is then carried over. */
  private takeTime(): void {
    const year = this.decode(this.at(cmos.century)) * 100 + this.decode(this.at(cmos.year));
    const date = new Date(0);
    date.setUTCFullYear(year, this.decode(this.at(cmos.month)) - 1, this.decode(this.at(cmos.day)));
    date.setUTCHours(this.decodeHours(this.at(cmos.hours)), this.decode(this.at(cmos.minutes)), this.decode(this.at(cmos.seconds)));
    const now = this.clock.nowNs();
    this.epochMs = Math.round(date.getTime() - now / 1e6);
    this.seenNs = now;
  }

  private writeA(value: number): void {
    const was = this.running;
    if (was) this.showTime();
    this.memory[cmos.a] = value & 0x7f;
    if (!was && this.running) this.takeTime();
  }

  private writeB(value: number): void {
    const was = this.running;
    if (was) this.showTime();
    // SET clears the update-ended interrupt enable.
    this.memory[cmos.b] = (value & regB.set) !== 0 ? value & ~regB.update : value;
    if (!was && this.running) this.takeTime();
  }

  private encode(value: number): number {
    return (this.at(cmos.b) & regB.binary) !== 0 ? value : (Math.floor(value / 10) << 4) | (value % 10);
  }

  private decode(value: number): number {
    return (this.at(cmos.b) & regB.binary) !== 0 ? value : (value >> 4) * 10 + (value & 15);
  }

  /** In 12-hour mode bit 7 marks the afternoon. */
  private encodeHours(hours: number): number {
    if ((this.at(cmos.b) & regB.hours24) !== 0) return this.encode(hours);
    return this.encode(hours % 12 === 0 ? 12 : hours % 12) | (hours >= 12 ? 0x80 : 0);
  }

  private decodeHours(value: number): number {
    if ((this.at(cmos.b) & regB.hours24) !== 0) return this.decode(value);
    return (this.decode(value & 0x7f) % 12) + ((value & 0x80) !== 0 ? 12 : 0);
  }

  private storeMemorySize(bytes: number): void {
    const word = (register: number, value: number): void => {
      this.memory[register] = value & 0xff;
      this.memory[register + 1] = value >> 8;
    };
    const kib = Math.floor(bytes / 1024);
    const extended = Math.max(0, Math.min(kib - 1024, 0xffff));
    word(cmos.baseMemory, Math.min(640, kib));
    word(cmos.extendedMemory, extended);
    word(cmos.extendedMemoryCopy, extended);
    word(cmos.memoryAbove16M, Math.max(0, Math.min(Math.floor((kib - 16 * 1024) / 64), 0xffff)));
    // A coprocessor, no display, no floppy.
    this.memory[cmos.equipment] = 0x02;
  }
}
