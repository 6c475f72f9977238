import { describe, expect, it } from 'vitest';
import { HaltPolling, POLLING_MAXIMUM_MS } from '../../../core/machine/haltPolling.ts';
import { Link, createLinkBuffer } from '../../../core/machine/link.ts';

/** Milliseconds to wait awake behind halts of these lengths. */
function after(...halts: readonly number[]): number {
  const polling = new HaltPolling(2);
  halts.forEach(halt => polling.note(halt));
  return polling.milliseconds;
}

describe('waiting awake for a halted guest', () => {
  it('is not done at first, nor for a guest that sleeps long', () => {
    expect([after(), after(4), after(4, 4, 4)]).toEqual([0, 0, 0]);
  });

  it('grows while wake-ups come soon, up to a bound, and stays where it is long enough', () => {
    const soon = Array.from({ length: 20 }, () => POLLING_MAXIMUM_MS * 0.9);
    expect([after(0.05) > 0, after(...soon.slice(0, 2)) < after(...soon.slice(0, 3)), after(...soon)]).toEqual([true, true, POLLING_MAXIMUM_MS]);
    expect(after(0.01, 0.01, 0.01)).toBe(after(0.01));
  });

  it('ends soon when the guest becomes idle', () => {
    const busy = Array.from({ length: 20 }, () => 0.05);
    expect([after(...busy) > 0, after(...busy, 4, 4, 4, 4, 4)]).toEqual([true, 0]);
  });

  it('is not done on a host with one processor', () => {
    const polling = new HaltPolling(1);
    polling.note(0.05);
    expect(polling.milliseconds).toBe(0);
  });

  it('sees a wake-up that came before it began, and ends without one', () => {
    const link = new Link(createLinkBuffer());
    const count = link.wakeCount();
    expect(link.poll(count, 0)).toBe(false);
    link.wake();
    expect([link.poll(count, 0), link.poll(link.wakeCount(), 0.01)]).toEqual([true, false]);
  });
});
