import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { WallTime } from '../../../core/machine/wallTime.ts';
import { VirtualClock, wallTimeSource } from '../../../core/platform/clock.ts';
import { Rtc } from '../../../core/platform/rtc.ts';

const START = Date.UTC(2026, 10, 21, 12, 0, 0);
const cmos = { seconds: 0, minutes: 2 };

/** A clock and a real-time clock on a host whose time is set by hand. */
function machine(repeats = false) {
  let hostNs = 0;
  const clock = new VirtualClock(wallTimeSource(() => hostNs));
  const rtc = new Rtc(clock, { set: () => undefined }, START, 1 << 20);
  const read = (register: number): number => {
    rtc.write(0, 1, register);
    return Number(rtc.read(1, 1).toString(16));
  };
  return {
    clock, rtc, time: new WallTime(clock, rtc, repeats),
    pass: (ms: number) => {
      hostNs += ms * 1e6;
      vi.setSystemTime(Date.now() + ms);
    },
    get seconds() {
      return read(cmos.minutes) * 60 + read(cmos.seconds);
    },
  };
}

beforeEach(() => void vi.useFakeTimers({ now: START, toFake: ['Date'] }));
afterEach(() => void vi.useRealTimers());

describe('the real-time clock', () => {
  it('goes on while the machine is paused, in which virtual time stands still', () => {
    const one = machine();
    one.pass(10_000);
    one.time.setPaused(true);
    one.pass(60_000);
    expect(one.clock.nowNs()).toBe(10e9);
    one.time.setPaused(false);
    expect([one.clock.nowNs(), one.seconds]).toEqual([10e9, 70]);
  });
  it('loses nothing in many short pauses', () => {
    const one = machine();
    for (let i = 0; i < 100; i += 1) {
      one.time.setPaused(true);
      one.pass(300);
      one.time.setPaused(false);
    }
    expect(one.seconds).toBe(30);
  });
  it('makes up for what a busy host gave to others, when the machine goes on from a snapshot', () => {
    const one = machine();
    one.clock.busy();
    for (let i = 0; i < 4; i += 1) {
      one.pass(1000);
      one.clock.nowNs();
    }
    expect(one.seconds).toBe(0);
    const [rtc, followed] = [one.rtc.saveState(), one.time.followed];
    const other = machine();
    other.rtc.loadState(rtc);
    other.time.restored(followed);
    expect(other.seconds).toBeGreaterThanOrEqual(3);
  });
  it('knows nothing of the host in runs that repeat', () => {
    const one = machine(true);
    one.time.setPaused(true);
    one.pass(60_000);
    one.time.setPaused(false);
    one.time.restored(START - 60_000);
    expect(one.seconds).toBe(0);
  });
});
