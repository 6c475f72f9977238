import { beforeEach, describe, expect, it } from 'vitest';
import { Hpet } from '../../../core/platform/hpet.ts';
import { ManualTime, passUntil } from '../../doubles/manualTime.ts';
import { VirtualClock } from '../../../core/platform/clock.ts';
import { Wire } from '../../doubles/wire.ts';

const generalConfig = 0x10;
const status = 0x20;
const counter = 0xf0;
const config = (timer: number): number => 0x100 + timer * 0x20;
const comparator = (timer: number): number => 0x108 + timer * 0x20;
const pin20 = 20 << 9;
const tickNs = 10;

let time: ManualTime;
let clock: VirtualClock;
let pins: Map<number, Wire>;
let irq0: Wire;
let irq8: Wire;
let legacy: boolean;
let hpet: Hpet;

function passTicks(ticks: number): void {
  passUntil(time, clock, clock.nowNs() + ticks * tickNs);
}

beforeEach(() => {
  time = new ManualTime();
  clock = new VirtualClock(time);
  pins = new Map();
  irq0 = new Wire();
  irq8 = new Wire();
  legacy = false;
  hpet = new Hpet(clock, {
    pin: number => {
      const wire = new Wire();
      pins.set(number, wire);
      return wire;
    },
    timer: irq0, rtc: irq8, legacyReplacement: active => (legacy = active),
  });
});

describe('HPET', () => {
  it('says what it is: Intel, three 64-bit timers, legacy replacement, a period of 10 ns', () => {
    expect(hpet.readWide(0)).toEqual({ low: 0x8086a201, high: 10_000_000 });
    expect(hpet.read(0, 4)).toBe(0x8086a201);
  });

  it('counts while enabled, from the value it was halted at', () => {
    hpet.write(counter, 4, 1000);
    passTicks(50);
    expect(hpet.read(counter, 4)).toBe(1000);
    hpet.write(generalConfig, 4, 1);
    passTicks(50);
    expect(hpet.read(counter, 4)).toBe(1050);
    hpet.write(generalConfig, 4, 0);
    passTicks(50);
    expect(hpet.read(counter, 4)).toBe(1050);
  });

  it('carries into the high half', () => {
    hpet.writeWide(counter, 0xfffffff0, 4);
    hpet.write(generalConfig, 4, 1);
    passTicks(0x20);
    expect(hpet.readWide(counter)).toEqual({ low: 0x10, high: 5 });
  });

  it('one-shot: one edge when the counter reaches the comparator', () => {
    hpet.write(config(1), 4, pin20 | 4);
    hpet.writeWide(comparator(1), 10_000, 0);
    hpet.write(generalConfig, 4, 1);
    passTicks(9_999);
    expect(pins.get(20)?.rises).toBe(0);
    passTicks(100_000);
    expect(pins.get(20)?.rises).toBe(1);
  });

  it('level-triggered: the line stands until the status bit is cleared', () => {
    hpet.write(config(1), 4, pin20 | 4 | 2);
    hpet.writeWide(comparator(1), 10_000, 0);
    hpet.write(generalConfig, 4, 1);
    passTicks(10_001);
    expect([hpet.read(status, 4), pins.get(20)?.level]).toEqual([2, true]);
    hpet.write(status, 4, 1);
    expect(pins.get(20)?.level).toBe(true);
    hpet.write(status, 4, 2);
    expect([hpet.read(status, 4), pins.get(20)?.level]).toEqual([0, false]);
  });

  it('periodic: an edge each period after the first match', () => {
    hpet.write(config(0), 4, pin20 | 4 | 8 | 0x40);
    hpet.writeWide(comparator(0), 20_000, 0);
    hpet.writeWide(comparator(0), 10_000, 0);
    hpet.write(generalConfig, 4, 1);
    passTicks(19_999);
    expect(pins.get(20)?.rises).toBe(0);
    passTicks(30_002);
    expect(pins.get(20)?.rises).toBe(4);
  });

  it('periodic: a guest that did not run for many periods gets some of them, one after another, and then the usual pace', () => {
    // Four milliseconds.
    hpet.write(config(0), 4, pin20 | 4 | 8 | 0x40);
    hpet.writeWide(comparator(0), 400_000, 0);
    hpet.writeWide(comparator(0), 400_000, 0);
    hpet.write(generalConfig, 4, 1);
    passTicks(400_000);
    expect(pins.get(20)?.rises).toBe(1);
    // The host is busy for 20 periods and a half.
    time.pass(82_000_000);
    clock.runDue();
    expect(pins.get(20)?.rises).toBe(2);
    expect(hpet.readWide(comparator(0)).low).toBe(22 * 400_000);
    passTicks(200_000);
    expect(pins.get(20)?.rises).toBe(10);
    passTicks(4_000_000);
    const caughtUp = pins.get(20)?.rises ?? 0;
    passTicks(4_000_000);
    expect((pins.get(20)?.rises ?? 0) - caughtUp).toBe(10);
    // 32 periods have passed; three were too many.
    expect(caughtUp).toBe(32 - 3);
  });
  it('only the first timer is periodic', () => {
    hpet.write(config(1), 4, 8);
    expect(hpet.read(config(1), 4) & 0x18).toBe(0);
    hpet.write(config(0), 4, 8);
    expect(hpet.read(config(0), 4) & 0x18).toBe(0x18);
  });

  it('legacy replacement drives IRQ 0 and IRQ 8 instead of the routed pins', () => {
    hpet.write(config(0), 4, pin20 | 4);
    hpet.write(config(1), 4, pin20 | 4);
    hpet.writeWide(comparator(0), 10_000, 0);
    hpet.writeWide(comparator(1), 10_000, 0);
    hpet.write(generalConfig, 4, 3);
    expect(legacy).toBe(true);
    passTicks(10_001);
    expect([irq0.rises, irq8.rises, pins.get(20)?.rises]).toEqual([1, 1, 0]);
    hpet.write(generalConfig, 4, 1);
    expect(legacy).toBe(false);
  });

  it('in 32-bit mode a match does not look at the high half', () => {
    hpet.writeWide(counter, 0, 7);
    hpet.write(config(1), 4, pin20 | 4 | 0x100);
    hpet.writeWide(comparator(1), 10_000, 0);
    hpet.write(generalConfig, 4, 1);
    passTicks(10_001);
    expect(pins.get(20)?.rises).toBe(1);
  });
});
