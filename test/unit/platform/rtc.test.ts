import { beforeEach, describe, expect, it } from 'vitest';
import { ManualTime, passUntil } from '../../doubles/manualTime.ts';
import { Rtc, cmos } from '../../../core/platform/rtc.ts';
import { VirtualClock } from '../../../core/platform/clock.ts';
import { Wire } from '../../doubles/wire.ts';

const second = 1_000_000_000;

let time: ManualTime;
let clock: VirtualClock;
let irq: Wire;
let rtc: Rtc;

function read(register: number): number {
  rtc.write(0, 1, register);
  return rtc.read(1, 1);
}

function write(register: number, value: number): void {
  rtc.write(0, 1, register);
  rtc.write(1, 1, value);
}

function pass(ns: number): void {
  passUntil(time, clock, clock.nowNs() + ns);
}

function shown(): readonly number[] {
  return [cmos.century, cmos.year, cmos.month, cmos.day, cmos.weekday, cmos.hours, cmos.minutes, cmos.seconds].map(read);
}

beforeEach(() => {
  time = new ManualTime();
  clock = new VirtualClock(time);
  irq = new Wire();
  rtc = new Rtc(clock, irq, Date.UTC(2028, 1, 28, 23, 59, 58), 512 << 20);
});

describe('real-time clock', () => {
  it('shows the time in BCD and carries into a leap day', () => {
    expect(shown()).toEqual([0x20, 0x28, 0x02, 0x28, 2, 0x23, 0x59, 0x58]);
    pass(2 * second);
    expect(shown()).toEqual([0x20, 0x28, 0x02, 0x29, 3, 0x00, 0x00, 0x00]);
  });

  it('shows binary and 12-hour time when told to', () => {
    write(cmos.b, 0x04);
    expect([cmos.hours, cmos.minutes, cmos.seconds].map(read)).toEqual([0x8b, 59, 58]);
    write(cmos.b, 0x00);
    expect(read(cmos.hours)).toBe(0x91);
  });

  it('holds updates while SET is on, and goes on from what was written', () => {
    write(cmos.b, 0x82);
    write(cmos.hours, 0x12);
    write(cmos.minutes, 0x00);
    write(cmos.seconds, 0x10);
    pass(5 * second);
    expect(read(cmos.seconds)).toBe(0x10);
    write(cmos.b, 0x02);
    pass(3 * second);
    expect([cmos.hours, cmos.minutes, cmos.seconds].map(read)).toEqual([0x12, 0x00, 0x13]);
  });

  it('announces an update 244 microseconds ahead', () => {
    expect(read(cmos.a) & 0x80).toBe(0);
    pass(second - 200_000);
    expect(read(cmos.a) & 0x80).toBe(0x80);
    pass(200_000);
    expect(read(cmos.a) & 0x80).toBe(0);
  });

  it('update-ended interrupt: each second, once register C was read', () => {
    write(cmos.b, 0x12);
    pass(second + 1);
    expect(irq.level).toBe(true);
    pass(3 * second);
    expect(irq.rises).toBe(1);
    expect(read(cmos.c) & 0x90).toBe(0x90);
    expect([irq.level, read(cmos.c)]).toEqual([false, 0]);
    pass(second);
    expect(irq.rises).toBe(2);
  });

  it('alarm interrupt at its time; values from C0H match anything', () => {
    write(cmos.hoursAlarm, 0xff);
    write(cmos.minutesAlarm, 0x00);
    write(cmos.secondsAlarm, 0x30);
    write(cmos.b, 0x22);
    pass(31 * second);
    expect(irq.level).toBe(false);
    pass(second);
    expect([irq.level, read(cmos.c) & 0xa0]).toEqual([true, 0xa0]);
  });

  it('periodic interrupt at the rate of register A', () => {
    write(cmos.a, 0x26);
    write(cmos.b, 0x42);
    let interrupts = 0;
    for (let step = 0; step < 1000; step++) {
      pass(1_000_000);
      if (irq.level) {
        interrupts++;
        expect(read(cmos.c) & 0xc0).toBe(0xc0);
      }
    }
    // 1024 Hz, looked at a thousand times in a second.
    expect(interrupts).toBeGreaterThan(990);
  });

  it('flags are set without interrupts, too', () => {
    pass(2 * second);
    expect(read(cmos.c) & 0xd0, 'update and periodic, no interrupt').toBe(0x50);
  });

  it('keeps what is written to its memory, and tells the memory size', () => {
    write(0x40, 0xa5);
    rtc.reset();
    expect(read(0x40)).toBe(0xa5);
    const word = (register: number): number => read(register) | (read(register + 1) << 8);
    expect([word(cmos.baseMemory), word(cmos.extendedMemory), word(cmos.memoryAbove16M)]).toEqual([640, 65_535, (496 << 20) / 65_536]);
  });

  it('bit 7 of the index masks NMI', () => {
    rtc.write(0, 1, 0x8d);
    expect(rtc.nmiMasked).toBe(true);
    expect(rtc.read(1, 1), 'the battery is good').toBe(0x80);
  });

  it('a date that cannot be is carried over, not an error', () => {
    write(cmos.b, 0x82);
    write(cmos.month, 0xff);
    write(cmos.day, 0x00);
    write(cmos.b, 0x02);
    pass(second);
    expect(shown().every(Number.isInteger)).toBe(true);
  });
});

it('a period that ends while register C is read is an edge of its own', () => {
  let now = 0;
  let step = 0;
  const wire = new Wire();
  const restless = new Rtc(new VirtualClock({ skips: false, nowNs: () => (now += step) }), wire, 0, 1 << 20);
  const access = (register: number, value: number): void => {
    restless.write(0, 1, register);
    restless.write(1, 1, value);
  };
  access(cmos.a, 0x26);
  access(cmos.b, 0x42);
  step = 2_000_000;
  restless.write(0, 1, cmos.c);
  restless.read(1, 1);
  restless.read(1, 1);
  expect([wire.level, wire.rises]).toEqual([true, 3]);
});
