import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ManualTime } from '../../doubles/manualTime.ts';
import { TickRate, VirtualClock, instructionTimeSource } from '../../../core/platform/clock.ts';

describe('virtual clock', () => {
  it('calls timers in the order of their deadlines, each once', () => {
    const time = new ManualTime();
    const clock = new VirtualClock(time);
    const calls: string[] = [];
    const late = clock.timer('late', () => calls.push('late'));
    const early = clock.timer('early', () => calls.push('early'));
    late.arm(200);
    early.arm(100);
    expect(clock.nextDeadlineNs()).toBe(100);
    time.pass(99);
    expect(clock.runDue()).toBe(false);
    time.pass(500);
    expect(clock.runDue()).toBe(true);
    expect(calls).toEqual(['early', 'late']);
    expect(clock.nextDeadlineNs()).toBeNull();
  });

  it('a timer that re-arms itself in the past does not hold the machine', () => {
    const clock = new VirtualClock(new ManualTime());
    let calls = 0;
    const timer = clock.timer('greedy', now => {
      calls++;
      timer.arm(now);
    });
    timer.arm(0);
    clock.runDue();
    expect(calls).toBe(1);
  });

  it('a callback may disarm a timer that is due as well', () => {
    const time = new ManualTime();
    const clock = new VirtualClock(time);
    let called = false;
    const victim = clock.timer('victim', () => (called = true));
    const first = clock.timer('first', () => victim.cancel());
    first.arm(1);
    victim.arm(2);
    time.pass(10);
    clock.runDue();
    expect(called).toBe(false);
  });

  it('stands still while paused', () => {
    const time = new ManualTime();
    const clock = new VirtualClock(time);
    time.pass(100);
    clock.pause();
    time.pass(1000);
    expect(clock.nowNs()).toBe(100);
    clock.resume();
    time.pass(5);
    expect(clock.nowNs()).toBe(105);
  });

  it('by instruction count, an idle machine skips to the next deadline', () => {
    let retired = 0;
    const clock = new VirtualClock(instructionTimeSource(() => retired));
    clock.timer('t', () => {}).arm(1_000_000);
    retired = 10;
    expect(clock.skipIdle()).toBe(true);
    expect(clock.nowNs()).toBe(1_000_000);
    expect(clock.runDue()).toBe(true);
  });

  it('converts ticks and nanoseconds exactly', () => {
    fc.assert(
      fc.property(fc.constantFrom(1_193_182, 3_579_545, 32_768), fc.nat(2 ** 24), fc.nat(100), (hz, tick, days) => {
        const rate = new TickRate(hz);
        const far = tick + days * 86_400 * hz;
        expect(rate.ticksAt(rate.nsAt(far))).toBe(far);
        if (far > 0) expect(rate.ticksAt(rate.nsAt(far) - 1)).toBe(far - 1);
      }),
    );
  });
});
