/** The machine's one clock: every timer, counter and time stamp a guest can see derives from it. */

// The global of that name is a getter that looks it up at each use.
import { performance } from 'node:perf_hooks';
import { StateReader, latestTimeNs } from './state.ts';
import type { Component, DeviceState } from './device.ts';

/** The crystal that clocks the local APIC timers (CPUID leaf 15H ECX): one tick a nanosecond. */
export const crystalHz = 1_000_000_000;
/** The time-stamp counter runs at a constant rate (CPUID leaves 15H and 16H): two ticks a nanosecond. */
export const tscHz = 2_000_000_000;
/** TSC ticks in a nanosecond. */
export const tscPerNs = tscHz / 1_000_000_000;

/**
 * Shortest period that a periodic timer is run at. A guest may program a period of nanoseconds; honouring it
 * would leave the host no time for the guest itself.
 */
export const minimumPeriodNs = 50_000;

/** Where time comes from: elapsed nanoseconds, monotonic, from any origin. */
export interface TimeSource {
  nowNs(): number;
  /** With an instruction count a sleeping machine's time does not pass by itself: the clock skips ahead instead. */
  readonly skips: boolean;
  /** From now on the guest waits, and may find the time anywhere; it has work. */
  idle?(): void;
  busy?(): void;
  /** Runs work of the host's own, which takes no time of the guest's. */
  aside?<T>(work: () => T): T;
  /** How far the guest's time is behind, in nanoseconds. */
  lagNs?(): number;
}

/** Time between two looks at the clock that is more than this was somebody else's, while the guest had work. */
const LEAP_NS = 1_000_000;
/** What is behind is made up for at an eighth of the time that passes. */
const CATCH_UP = 8;
/** More than this is not kept back. */
const LAG_LIMIT_NS = 5_000_000_000;

/**
 * Guest time follows the host's monotonic clock. While the guest has work it does not leap: what a busy host gave to others is made up for
 * little by little, and at once when the guest is idle. A kernel that counts timer interrupts during a delay would else find too few (Linux
 * panics then), and its watchdogs would bark. The same holds for what was done aside, as decoding is: code takes as long the first time as ever.
 * @param hostNs nanoseconds of the host's monotonic clock
 */
export function wallTimeSource(hostNs: () => number = () => Math.floor(performance.now() * 1_000_000)): TimeSource {
  let seen = hostNs();
  let lag = 0;
  let idle = true;
  let aside = false;
  return {
    skips: false,
    nowNs() {
      const now = hostNs();
      if (idle) return now;
      if (aside) return seen - Math.ceil(lag);
      const passed = now - seen;
      seen = now;
      if (passed > LEAP_NS) lag = Math.min(LAG_LIMIT_NS, lag + passed - LEAP_NS);
      else if (lag > 0) lag = Math.max(0, lag - passed / CATCH_UP);
      return now - Math.ceil(lag);
    },
    idle() {
      idle = true;
      lag = 0;
    },
    busy() {
      if (!idle) return;
      idle = false;
      seen = hostNs();
    },
    aside(work) {
      if (idle || aside) return work();
      this.nowNs();
      aside = true;
      try {
        return work();
      } finally {
        aside = false;
        const now = hostNs();
        lag = Math.min(LAG_LIMIT_NS, lag + now - seen);
        seen = now;
      }
    },
    lagNs: () => lag,
  };
}

/**
 * Guest time follows the count of retired instructions: the same start and inputs give the same run.
 * @param retired instructions retired by the machine so far
 * @param nsPerInstruction integer or fraction; 1 makes an instruction a nanosecond
 */
export function instructionTimeSource(retired: () => number, nsPerInstruction = 1): TimeSource {
  return { nowNs: () => Math.floor(retired() * nsPerInstruction), skips: true };
}

/** A deadline with a callback. Made by `VirtualClock.timer`. */
export class Timer {
  /** Virtual time at which the callback is due; null while disarmed. */
  deadlineNs: number | null = null;
  readonly name: string;
  readonly callback: (nowNs: number) => void;
  private readonly clock: VirtualClock;

  constructor(clock: VirtualClock, name: string, callback: (nowNs: number) => void) {
    this.clock = clock;
    this.name = name;
    this.callback = callback;
  }

  /** (Re)arms the timer. A deadline in the past is due at once, at the next `runDue`. */
  arm(deadlineNs: number): void {
    this.deadlineNs = Math.max(0, Math.min(deadlineNs, latestTimeNs));
    this.clock.timerChanged();
  }

  /** Arms at a deadline, or disarms when there is none. */
  set(deadlineNs: number | null): void {
    if (deadlineNs === null) this.cancel();
    else this.arm(deadlineNs);
  }

  cancel(): void {
    if (this.deadlineNs === null) return;
    this.deadlineNs = null;
    this.clock.timerChanged();
  }
}

/** Virtual time in nanoseconds since the machine was made, and the timers that wait on it. */
export class VirtualClock implements Component {
  readonly name = 'clock';
  readonly version = 1;
  private readonly source: TimeSource;
  private readonly timers: Timer[] = [];
  /** Virtual time is source time plus this. */
  private offset: number;
  private pausedAt: number | null = null;
  private next: number | null = null;
  private nextKnown = true;

  constructor(source: TimeSource) {
    this.source = source;
    this.offset = -source.nowNs();
  }

  /** Nanoseconds of virtual time, an integer. */
  nowNs(): number {
    return this.pausedAt ?? this.source.nowNs() + this.offset;
  }

  /** TSC ticks since the machine was made, before a vCPU's own offset. */
  tsc(): number {
    return this.nowNs() * tscPerNs;
  }

  timer(name: string, callback: (nowNs: number) => void): Timer {
    const timer = new Timer(this, name, callback);
    this.timers.push(timer);
    return timer;
  }

  /** Forgets a timer, for a device that is unplugged. */
  removeTimer(timer: Timer): void {
    timer.cancel();
    const index = this.timers.indexOf(timer);
    if (index >= 0) this.timers.splice(index, 1);
  }

  /** The earliest deadline, or null when no timer is armed. */
  nextDeadlineNs(): number | null {
    if (!this.nextKnown) {
      this.next = null;
      for (const { deadlineNs } of this.timers) if (deadlineNs !== null && (this.next === null || deadlineNs < this.next)) this.next = deadlineNs;
      this.nextKnown = true;
    }
    return this.next;
  }

  /**
   * Calls the timers that are due, earliest first, each at most once: a timer that re-arms itself in the past waits
   * for the next call, so no guest can hold the machine here. Returns whether any was due.
   */
  runDue(): boolean {
    const first = this.nextDeadlineNs();
    if (first === null) return false;
    const now = this.nowNs();
    if (first > now) return false;
    const due = this.timers.filter(({ deadlineNs }) => deadlineNs !== null && deadlineNs <= now);
    due.sort((a, b) => (a.deadlineNs ?? 0) - (b.deadlineNs ?? 0));
    for (const timer of due) {
      // A callback that ran before may have disarmed or moved this one.
      if (timer.deadlineNs === null || timer.deadlineNs > now) continue;
      timer.deadlineNs = null;
      this.nextKnown = false;
      timer.callback(now);
    }
    return true;
  }

  /** Nanoseconds until the next deadline: 0 when one is due, null when none is armed. */
  untilNextNs(): number | null {
    const next = this.nextDeadlineNs();
    return next === null ? null : Math.max(0, next - this.nowNs());
  }

  /**
   * Every vCPU is halted. With an instruction count, time passes to the next deadline here, and true is returned:
   * the machine goes on at once. By the wall clock the host has to sleep: false.
   */
  skipIdle(): boolean {
    const next = this.nextDeadlineNs();
    if (!this.source.skips || next === null) return false;
    const now = this.nowNs();
    if (next > now) this.offset += next - now;
    return true;
  }

  /** The guest waits: time that it has fallen behind is made up for. */
  idle(): void {
    this.source.idle?.();
  }

  /** The guest has work: time does not leap. */
  busy(): void {
    this.source.busy?.();
  }

  /** Runs work of the host's own, as decoding is: it takes no time of the guest's, or is made up for little by little. */
  aside<T>(work: () => T): T {
    return this.source.aside ? this.source.aside(work) : work();
  }

  /** How far virtual time has fallen behind the host's and is to be made up for. */
  get lagNs(): number {
    return this.source.lagNs?.() ?? 0;
  }

  /** Runs an action during which everybody sees one time; no time is lost. */
  hold<T>(action: () => T): T {
    if (this.pausedAt !== null) return action();
    this.pausedAt = this.nowNs();
    try {
      return action();
    } finally {
      this.pausedAt = null;
    }
  }

  /** Virtual time stands still until `resume`. */
  pause(): void {
    this.pausedAt ??= this.nowNs();
  }

  resume(): void {
    if (this.pausedAt === null) return;
    this.source.idle?.();
    this.offset = this.pausedAt - this.source.nowNs();
    this.pausedAt = null;
  }

  /** A reset of the machine does not turn time back. */
  reset(): void {}

  saveState(): DeviceState {
    return { version: this.version, nowNs: this.nowNs() };
  }

  /** Sets the time; devices re-arm their own timers when their states are loaded after this one. */
  loadState(state: unknown): void {
    const now = StateReader.open(this, state).time('nowNs');
    this.source.idle?.();
    if (this.pausedAt !== null) this.pausedAt = now;
    else this.offset = now - this.source.nowNs();
  }

  /** For `Timer` alone: the earliest deadline may have moved. */
  timerChanged(): void {
    this.nextKnown = false;
  }
}

/** Exact conversion between nanoseconds and the ticks of a counter of up to 9 MHz (products stay below 2^53). */
export class TickRate {
  readonly hz: number;

  constructor(hz: number) {
    this.hz = hz;
  }

  /** Whole ticks that have passed at a time. */
  ticksAt(ns: number): number {
    const seconds = Math.floor(ns / 1e9);
    return seconds * this.hz + Math.floor(((ns - seconds * 1e9) * this.hz) / 1e9);
  }

  /** The first nanosecond at which a tick has happened: `ticksAt(nsAt(tick)) === tick`. */
  nsAt(tick: number): number {
    const seconds = Math.floor(tick / this.hz);
    return seconds * 1e9 + Math.ceil(((tick - seconds * this.hz) * 1e9) / this.hz);
  }
}
