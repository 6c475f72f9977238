/** Time that passes when a test says so. */

import type { TimeSource } from '../../core/platform/clock.ts';

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
