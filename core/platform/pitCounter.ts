/** One counter of the 8254, computed from the time at which it was loaded instead of counted. */

import { TickRate, minimumPeriodNs } from './clock.ts';
import type { StateReader } from './state.ts';

/** The 8254's clock: 1.193182 MHz. */
export const pitRate = new TickRate(1_193_182);

const shortestPeriod = pitRate.ticksAt(minimumPeriodNs);

/** The access field of the control word: which bytes of a count are read and written. */
const access = { low: 1, high: 2, both: 3 } as const;

export class PitCounter {
  gate = true;
  private mode = 0;
  private bcd = false;
  private access: number = access.both;
  /** The count register as written, 0 standing for the modulus; null until a count was written after a control word. */
  private count: number | null = null;
  /** The count the current cycle runs with. */
  private reload = 0;
  /** Tick at which the counting element took `reload`, or null: it stands still, waiting for a count or a trigger. */
  private start: number | null = null;
  /** Ticks counted before the gate went low; while the gate is low in modes 0 and 4 the element stands here. */
  private held: number | null = null;
  private writeLow: number | null = null;
  private readHigh = false;
  private latchedCount: number | null = null;
  private latchedStatus: number | null = null;
  /** The last tick at which `risenSince` was asked. */
  private seen = 0;

  reset(now: number): void {
    this.gate = true;
    this.reload = 0;
    this.control(0x30, now);
  }

  control(value: number, now: number): void {
    const field = (value >> 4) & 3;
    if (field === 0) {
      this.latchedCount ??= this.value(now);
      return;
    }
    const mode = (value >> 1) & 7;
    this.access = field;
    // Modes 6 and 7 are aliases of 2 and 3.
    this.mode = mode > 5 ? mode & 3 : mode;
    this.bcd = (value & 1) !== 0;
    this.count = null;
    this.start = null;
    this.held = null;
    this.writeLow = null;
    this.readHigh = false;
    this.latchedCount = null;
    this.latchedStatus = null;
    this.seen = now;
  }

  readBack(count: boolean, status: boolean, now: number): void {
    if (count) this.latchedCount ??= this.value(now);
    if (status) this.latchedStatus ??= this.status(now);
  }

  read(now: number): number {
    if (this.latchedStatus !== null) {
      const status = this.latchedStatus;
      this.latchedStatus = null;
      return status;
    }
    const value = this.latchedCount ?? this.value(now);
    const high = this.access === access.high || (this.access === access.both && this.readHigh);
    if (this.access === access.both) this.readHigh = !this.readHigh;
    // A latched count holds until every byte that the access field asks for was read.
    if (this.access !== access.both || high) this.latchedCount = null;
    return high ? value >> 8 : value & 0xff;
  }

  write(value: number, now: number): void {
    if (this.access === access.low) {
      this.take(value, now);
    } else if (this.access === access.high) {
      this.take(value << 8, now);
    } else if (this.writeLow === null) {
      this.writeLow = value;
      // In mode 0 the first byte stops the count.
      if (this.mode === 0) this.start = null;
    } else {
      const count = this.writeLow | (value << 8);
      this.writeLow = null;
      this.take(count, now);
    }
  }

  setGate(gate: boolean, now: number): void {
    if (gate === this.gate) return;
    this.gate = gate;
    switch (this.mode) {
      case 0:
      case 4:
        // The gate enables counting.
        if (gate) {
          if (this.held !== null) this.start = now - this.held;
          this.held = null;
        } else if (this.start !== null) {
          this.held = Math.max(0, now - this.start);
          this.start = null;
        }
        break;
      case 2:
      case 3:
        // A low gate forces the output high; a rising one reloads.
        this.start = gate && this.count !== null ? now + 1 : null;
        if (gate && this.count !== null) this.reload = this.decode(this.count);
        break;
      default:
        // A rising gate triggers.
        if (gate && this.count !== null) {
          this.reload = this.decode(this.count);
          this.start = now + 1;
        }
    }
  }

  /** The OUT pin. */
  output(now: number): boolean {
    const elapsed = this.elapsed(now);
    switch (this.mode) {
      case 0:
        return elapsed !== null && elapsed >= this.reload;
      case 1:
        return elapsed === null || elapsed < 0 || elapsed >= this.reload;
      case 2:
        return elapsed === null || elapsed < 0 || elapsed % this.reload !== this.reload - 1;
      case 3:
        return elapsed === null || elapsed < 0 || elapsed % this.reload < Math.ceil(this.reload / 2);
      default:
        return elapsed !== this.reload;
    }
  }

  /** Whether OUT has risen since this was last asked. */
  risenSince(now: number): boolean {
    const from = this.seen;
    this.seen = now;
    const { start, reload } = this;
    if (start === null || now < start) return false;
    const edges = (tick: number): number => {
      const elapsed = tick - start;
      if (elapsed < 0) return 0;
      switch (this.mode) {
        case 0:
        case 1:
          return elapsed >= reload ? 1 : 0;
        case 2:
        case 3:
          return Math.floor(elapsed / reload);
        default:
          return elapsed > reload ? 1 : 0;
      }
    };
    const risen = edges(now) > edges(from);
    this.takePending(now);
    return risen;
  }

  /** The next tick at which OUT changes in a way that the interrupt line shows, or null. */
  nextChange(now: number): number | null {
    const { start, reload } = this;
    if (start === null) return null;
    const elapsed = Math.max(0, now - start);
    switch (this.mode) {
      case 0:
      case 1:
        return elapsed < reload ? start + reload : null;
      case 2:
        return this.bounded(now, start + (Math.floor(elapsed / reload) + 1) * reload);
      case 3: {
        const high = Math.ceil(reload / 2);
        const cycle = Math.floor(elapsed / reload) * reload;
        return this.bounded(now, start + cycle + (elapsed - cycle < high ? high : reload));
      }
      default:
        return elapsed <= reload ? start + reload + 1 : null;
    }
  }

  save(): Record<string, unknown> {
    const { gate, mode, bcd, access: field, count, reload, start, held, writeLow, readHigh, latchedCount, latchedStatus, seen } = this;
    return { gate, mode, bcd, access: field, count, reload, start, held, writeLow, readHigh, latchedCount, latchedStatus, seen };
  }

  /** Checks a saved counter; the returned function puts it in place. */
  load(reader: StateReader): () => void {
    const optional = (field: string, bits: number): number | null => (reader.timeOrNull(field) === null ? null : reader.uint(field, bits));
    const next = {
      gate: reader.boolean('gate'), mode: reader.integer('mode', 0, 5), bcd: reader.boolean('bcd'), access: reader.integer('access', 1, 3),
      count: optional('count', 16), reload: reader.integer('reload', 0, 0x10000), start: reader.timeOrNull('start'), held: reader.timeOrNull('held'),
      writeLow: optional('writeLow', 8), readHigh: reader.boolean('readHigh'), latchedCount: optional('latchedCount', 16),
      latchedStatus: optional('latchedStatus', 8), seen: reader.time('seen'),
    };
    if (next.reload === 0 && next.start !== null) reader.refuse('reload', 'a count while the counter runs');
    return () => Object.assign(this, next);
  }

  private bounded(now: number, tick: number): number {
    return this.reload < shortestPeriod ? Math.max(tick, now + shortestPeriod) : tick;
  }

  /** A complete count was written. */
  private take(count: number, now: number): void {
    const running = this.start !== null;
    this.takePending(now);
    this.count = count;
    switch (this.mode) {
      case 1:
      case 5:
        // Waits for the next trigger.
        return;
      case 2:
      case 3:
        // A running cycle ends first: takePending.
        if (running || !this.gate) return;
        break;
      default:
        if (!this.gate) {
          this.reload = this.decode(count);
          this.held = 0;
          return;
        }
    }
    this.reload = this.decode(count);
    this.start = now + 1;
    this.seen = now;
  }

  /** In modes 2 and 3 a count written while running takes effect when the cycle ends. */
  private takePending(now: number): void {
    if ((this.mode !== 2 && this.mode !== 3) || this.start === null || this.count === null) return;
    const next = this.decode(this.count);
    if (next === this.reload || now < this.start) return;
    const cycles = Math.floor((now - this.start) / this.reload);
    if (cycles === 0) return;
    this.start += cycles * this.reload;
    this.reload = next;
  }

  private elapsed(now: number): number | null {
    return this.start === null ? this.held : now - this.start;
  }

  /** The counting element, encoded as it is read. */
  private value(now: number): number {
    const elapsed = this.elapsed(now);
    const modulus = this.bcd ? 10000 : 0x10000;
    if (elapsed === null || elapsed < 0) return this.encode(this.reload % modulus);
    const { reload } = this;
    if (this.mode === 2) return this.encode((reload - (elapsed % reload)) % modulus);
    if (this.mode === 3) {
      // Counts down by two, twice a cycle; an odd count's first half is one tick longer.
      const high = Math.ceil(reload / 2);
      const place = elapsed % reload;
      const even = reload - (reload & 1);
      return this.encode(Math.max(0, even - 2 * (place < high ? place : place - high)) % modulus);
    }
    return this.encode((((reload - elapsed) % modulus) + modulus) % modulus);
  }

  private status(now: number): number {
    const nullCount = this.count === null || (this.start !== null && (now < this.start || this.decode(this.count) !== this.reload)) ? 0x40 : 0;
    return (this.output(now) ? 0x80 : 0) | nullCount | (this.access << 4) | (this.mode << 1) | (this.bcd ? 1 : 0);
  }

  private decode(count: number): number {
    if (!this.bcd) return count === 0 ? 0x10000 : count;
    const value = (count >> 12) * 1000 + ((count >> 8) & 15) * 100 + ((count >> 4) & 15) * 10 + (count & 15);
    return value === 0 ? 10000 : Math.min(value, 10000);
  }

  private encode(value: number): number {
    if (!this.bcd) return value;
    return (Math.floor(value / 1000) << 12) | ((Math.floor(value / 100) % 10) << 8) | ((Math.floor(value / 10) % 10) << 4) | (value % 10);
  }
}
