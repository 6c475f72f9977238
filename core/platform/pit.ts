/** The 8254 timer (three counters) and the system control port 61H that gates and reads counter 2. */

import { PitCounter, pitRate } from './pitCounter.ts';
import { StateReader } from './state.ts';
import type { AccessSize, Device, DeviceRange, DeviceState } from './device.ts';
import type { LevelInterrupt } from './interrupts.ts';
import type { Timer, VirtualClock } from './clock.ts';

const controlOffset = 3;
const systemPortOffset = 4;
/** Port 61H bit 4 follows the refresh requests of counter 1, one in 15.085 microseconds. */
const refreshTicks = 18;

export class Pit implements Device {
  readonly name = 'pit';
  readonly version = 1;
  readonly ranges: readonly DeviceRange[] = [
    { space: 'port', base: 0x40, length: 4, offset: 0, width: 1 },
    { space: 'port', base: 0x61, length: 1, offset: systemPortOffset, width: 1 },
  ];
  private readonly clock: VirtualClock;
  private readonly irq: LevelInterrupt;
  private readonly timer: Timer;
  private readonly counters: readonly PitCounter[];
  private speaker = false;
  /** The HPET in legacy replacement mode takes the timer's interrupt line away. */
  private connected = true;

  /** @param irq the wire of IRQ 0: counter 0's output */
  constructor(clock: VirtualClock, irq: LevelInterrupt) {
    this.clock = clock;
    this.irq = irq;
    this.timer = clock.timer('pit', () => this.update());
    this.counters = [new PitCounter(), new PitCounter(), new PitCounter()];
    this.reset();
  }

  /** Connects counter 0 to IRQ 0, or leaves the line to another. */
  connect(connected: boolean): void {
    this.connected = connected;
    if (!connected) this.irq.set(false);
    this.update();
  }

  reset(): void {
    const now = this.ticks();
    for (const counter of this.counters) counter.reset(now);
    this.counters[2]?.setGate(false, now);
    this.speaker = false;
    this.connected = true;
    this.update();
  }

  /** The state firmware leaves: counter 0 a square wave at 18.2 Hz. */
  startFirmwareTick(): void {
    this.write(controlOffset, 1, 0x36);
    this.write(0, 1, 0);
    this.write(0, 1, 0);
  }

  read(offset: number, _size: AccessSize): number {
    const now = this.ticks();
    if (offset === systemPortOffset) return this.readSystemPort(now);
    return this.counters[offset]?.read(now) ?? 0xff;
  }

  write(offset: number, _size: AccessSize, value: number): void {
    const now = this.ticks();
    if (offset === systemPortOffset) {
      this.speaker = (value & 2) !== 0;
      this.counters[2]?.setGate((value & 1) !== 0, now);
    } else if (offset === controlOffset) {
      this.control(value, now);
    } else {
      this.counters[offset]?.write(value, now);
    }
    this.update();
  }

  saveState(): DeviceState {
    this.update();
    return { version: this.version, counters: this.counters.map(counter => counter.save()), speaker: this.speaker, connected: this.connected };
  }

  loadState(state: unknown): void {
    const reader = StateReader.open(this, state);
    const loads = reader.records('counters', 3).map((record, index) => this.counters[index]?.load(record));
    const speaker = reader.boolean('speaker');
    const connected = reader.boolean('connected');
    for (const load of loads) load?.();
    this.speaker = speaker;
    this.connected = connected;
    this.update();
  }

  private ticks(): number {
    return pitRate.ticksAt(this.clock.nowNs());
  }

  private control(value: number, now: number): void {
    const select = value >> 6;
    if (select !== 3) {
      this.counters[select]?.control(value, now);
      return;
    }
    // Read-back: bits 1 to 3 choose counters; a zero in bit 5 latches their counts, in bit 4 their status.
    this.counters.forEach((counter, index) => {
      if ((value & (2 << index)) !== 0) counter.readBack((value & 0x20) === 0, (value & 0x10) === 0, now);
    });
  }

  private readSystemPort(now: number): number {
    const gate = this.counters[2]?.gate === true ? 1 : 0;
    const refresh = Math.floor(now / refreshTicks) & 1;
    const output = this.counters[2]?.output(now) === true ? 1 : 0;
    return gate | (this.speaker ? 2 : 0) | (refresh << 4) | (output << 5);
  }

  /** Brings IRQ 0 up to date and waits for counter 0's next change. */
  private update(): void {
    const counter = this.counters[0];
    if (counter === undefined) return;
    const now = this.ticks();
    if (this.connected) {
      // Low for single ticks in modes 2, 4 and 5: where the output is high and has risen since, the line shows the edge.
      if (counter.risenSince(now)) this.irq.set(false);
      this.irq.set(counter.output(now));
    }
    const next = this.connected ? counter.nextChange(now) : null;
    this.timer.set(next === null ? null : pitRate.nsAt(next));
  }
}
