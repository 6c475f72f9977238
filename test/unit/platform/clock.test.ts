import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ManualTime } from '../../doubles/manualTime.ts';
import { TickRate, VirtualClock, instructionTimeSource, wallTimeSource } from '../../../core/platform/clock.ts';

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

describe('the wall clock of a guest', () => {
  const ms = 1_000_000;
  const machine = () => {
    const host = { ns: 5 * ms };
    const source = wallTimeSource(() => host.ns);
    const pass = (ns: number): number => {
      host.ns += ns;
      return source.nowNs();
    };
    return { host, source, pass };
  };

  it('does not leap while the guest has work, and makes up for it little by little', () => {
    const { host, source, pass } = machine();
    source.busy!();
    expect(pass(ms / 2)).toBe(5.5 * ms);
    // The host gave 40 ms to somebody else.
    expect(pass(40 * ms)).toBe(6.5 * ms);
    let before = source.nowNs();
    for (let i = 0; i < 320; i++) {
      const now = pass(ms);
      expect(now - before).toBeGreaterThanOrEqual(ms);
      expect(now - before).toBeLessThanOrEqual(1.125 * ms + 1);
      before = now;
    }
    expect(pass(ms)).toBe(host.ns);
  });

  it('stands still while the host does work of its own, and makes up for it little by little', () => {
    const { host, source, pass } = machine();
    source.busy!();
    const before = pass(ms);
    const answer = source.aside!(() => {
      host.ns += 3 * ms;
      // Such work may come to more of its kind.
      source.aside!(() => void (host.ns += 5 * ms));
      expect(source.nowNs()).toBe(before);
      return 7;
    });
    expect(answer).toBe(7);
    expect(source.nowNs()).toBe(before);
    expect(pass(ms / 2)).toBe(before + ms / 2 + ms / 16);
    source.idle!();
    expect(source.nowNs()).toBe(host.ns);
    source.aside!(() => void (host.ns += ms));
    expect(source.nowNs()).toBe(host.ns);
  });

  it('goes on behind work of the host that fails', () => {
    const { host, source, pass } = machine();
    source.busy!();
    const before = pass(ms);
    expect(() => source.aside!(() => {
      host.ns += 3 * ms;
      throw new Error('out of memory');
    })).toThrow('out of memory');
    expect(source.nowNs()).toBe(before);
  });

  it('leaps while the guest waits', () => {
    const { host, source, pass } = machine();
    source.busy!();
    pass(30 * ms);
    source.idle!();
    expect(pass(50 * ms)).toBe(host.ns);
    source.busy!();
    expect(pass(ms)).toBe(host.ns);
  });

  it('falls behind by no more than five seconds', () => {
    const { host, source, pass } = machine();
    source.busy!();
    for (let i = 0; i < 100; i++) pass(100 * ms);
    expect(host.ns - source.nowNs()).toBe(5_000 * ms);
  });
});
