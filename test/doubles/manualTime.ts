/** Time that passes when a test says so. */

import type { TimeSource, VirtualClock } from '../../core/platform/clock.ts';

export class ManualTime implements TimeSource {
  readonly skips: boolean;
  private now = 0;

  constructor(skips = false) {
    this.skips = skips;
  }

  nowNs(): number {
    return this.now;
  }

  pass(ns: number): void {
    this.now += ns;
  }
}

/** Lets time pass up to a moment of a clock's, running its timers as they come due. */
export function passUntil(time: ManualTime, clock: VirtualClock, ns: number): void {
  for (;;) {
    const next = clock.nextDeadlineNs();
    if (next === null || next > ns) break;
    time.pass(Math.max(0, next - clock.nowNs()));
    clock.runDue();
  }
  time.pass(ns - clock.nowNs());
}
