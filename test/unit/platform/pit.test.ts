import { beforeEach, describe, expect, it } from 'vitest';
import { ManualTime, passUntil } from '../../doubles/manualTime.ts';
import { Pit } from '../../../core/platform/pit.ts';
import { VirtualClock } from '../../../core/platform/clock.ts';
import { Wire } from '../../doubles/wire.ts';
import { pitRate } from '../../../core/platform/pitCounter.ts';

let time: ManualTime;
let clock: VirtualClock;
let irq: Wire;
let pit: Pit;

/** Lets ticks of the 8254 pass, running the timers as they come due. */
function pass(ticks: number): void {
  passUntil(time, clock, pitRate.nsAt(pitRate.ticksAt(clock.nowNs()) + ticks));
}

function program(counter: number, mode: number, count: number, bcd = 0): void {
  pit.write(3, 1, (counter << 6) | 0x30 | (mode << 1) | bcd);
  pit.write(counter, 1, count & 0xff);
  pit.write(counter, 1, count >> 8);
}

function count(counter: number): number {
  pit.write(3, 1, counter << 6);
  const low = pit.read(counter, 1);
  return low | (pit.read(counter, 1) << 8);
}

function output2(): boolean {
  return (pit.read(4, 1) & 0x20) !== 0;
}

beforeEach(() => {
  time = new ManualTime();
  clock = new VirtualClock(time);
  irq = new Wire();
  pit = new Pit(clock, irq);
  time.pass(1_000_000);
});

describe('8254', () => {
  it('mode 0: OUT falls with the control word and rises one tick after the count has run out', () => {
    program(0, 0, 1000);
    expect(irq.level).toBe(false);
    pass(1000);
    expect(irq.level).toBe(false);
    pass(1);
    expect(irq.level).toBe(true);
    pass(200_000);
    expect(irq.rises).toBe(1);
  });

  it('mode 2: one rising edge in every count', () => {
    program(0, 2, 1193);
    const before = irq.rises;
    pass(11_931);
    expect(irq.rises - before).toBe(10);
  });

  it('mode 2: counts down and reloads', () => {
    program(0, 2, 1000);
    pass(1);
    expect(count(0)).toBe(1000);
    pass(10);
    expect(count(0)).toBe(990);
    pass(990);
    expect(count(0)).toBe(1000);
  });

  it('mode 3: a square wave, half high and half low', () => {
    program(0, 3, 2000);
    pass(1);
    expect(irq.level).toBe(true);
    pass(999);
    expect(irq.level).toBe(true);
    pass(1);
    expect(irq.level).toBe(false);
    pass(1000);
    expect(irq.level).toBe(true);
  });

  it('mode 3: counts by two', () => {
    program(0, 3, 2000);
    pass(1 + 300);
    expect(count(0)).toBe(1400);
  });

  it('mode 1: a trigger on the gate makes OUT low for the count', () => {
    program(2, 1, 500);
    expect(output2()).toBe(true);
    pit.write(4, 1, 1);
    pass(1);
    expect(output2()).toBe(false);
    pass(499);
    expect(output2()).toBe(false);
    pass(1);
    expect(output2()).toBe(true);
  });

  it('mode 4: a strobe of one tick', () => {
    program(2, 4, 100);
    pit.write(4, 1, 1);
    pass(99);
    expect(output2()).toBe(true);
    pass(1);
    expect(output2()).toBe(false);
    pass(1);
    expect(output2()).toBe(true);
  });

  it('mode 5: a strobe after a trigger', () => {
    program(2, 5, 100);
    pass(1000);
    expect(output2()).toBe(true);
    pit.write(4, 1, 1);
    pass(101);
    expect(output2()).toBe(false);
    pass(1);
    expect(output2()).toBe(true);
  });

  it('mode 0 stands still while the gate is low', () => {
    pit.write(4, 1, 1);
    program(2, 0, 1000);
    pass(401);
    pit.write(4, 1, 0);
    pass(5000);
    expect(count(2)).toBe(600);
    pit.write(4, 1, 1);
    pass(599);
    expect(output2()).toBe(false);
    pass(2);
    expect(output2()).toBe(true);
  });

  it('a latched count holds until it was read', () => {
    program(0, 2, 60_000);
    pass(101);
    pit.write(3, 1, 0x00);
    pass(5000);
    expect(pit.read(0, 1) | (pit.read(0, 1) << 8)).toBe(59_900);
    expect(count(0)).toBe(54_900);
  });

  it('read-back latches status and count, status first', () => {
    program(0, 2, 0x1234);
    pass(5);
    pit.write(3, 1, 0xc2);
    const status = pit.read(0, 1);
    expect(status & 0x3f).toBe(0x34);
    expect(status & 0x40, 'the count was loaded').toBe(0);
    expect(pit.read(0, 1) | (pit.read(0, 1) << 8)).toBe(0x1234 - 4);
  });

  it('status says that no count was loaded yet', () => {
    pit.write(3, 1, 0x34);
    pit.write(3, 1, 0xe2);
    expect(pit.read(0, 1) & 0x40).toBe(0x40);
  });

  it('counts in decimal', () => {
    program(0, 2, 0x1000, 1);
    pass(2);
    expect(count(0)).toBe(0x0999);
  });

  it('a count of zero is the largest', () => {
    program(0, 2, 0);
    const before = irq.rises;
    pass(65_536 * 3 + 10);
    expect(irq.rises - before).toBe(3);
  });

  it('the refresh bit of port 61H toggles', () => {
    const seen = new Set<number>();
    for (let step = 0; step < 10; step++) {
      seen.add(pit.read(4, 1) & 0x10);
      pass(18);
    }
    expect(seen.size).toBe(2);
  });

  it('a period too short for the host is stretched, and time goes on', () => {
    program(0, 2, 2);
    let fired = 0;
    for (let step = 0; step < 1000; step++) {
      time.pass(1000);
      if (clock.runDue()) fired++;
    }
    expect(fired).toBeLessThan(30);
    expect(fired).toBeGreaterThan(10);
  });
});
