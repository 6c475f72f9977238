/**
 * How long a halted guest is waited for awake before the thread sleeps. To be woken costs a thread tens of microseconds and more, and what a guest
 * waits for (a frame, a block) often comes sooner. The time adapts: it grows while wake-ups come soon, and is nothing for a guest that is idle.
 */
import { availableParallelism } from 'node:os';

/** Never longer than this, in milliseconds. */
export const POLLING_MAXIMUM_MS = 0.1;
const POLLING_START_MS = 0.0125;

/** The time for the next halt, behind one that lasted `halted` milliseconds. */
export function pollingAfter(current: number, halted: number): number {
  if (halted >= POLLING_MAXIMUM_MS) return current > POLLING_START_MS ? current / 2 : 0;
  return halted <= current ? current : Math.min(POLLING_MAXIMUM_MS, Math.max(POLLING_START_MS, current * 2));
}

export class HaltPolling {
  #milliseconds = 0;
  /** With one processor whoever is to wake the guest waits for it to sleep. */
  readonly #pays: boolean;

  constructor(processors = availableParallelism()) {
    this.#pays = processors > 1;
  }

  /** Milliseconds to wait awake. */
  get milliseconds(): number {
    return this.#milliseconds;
  }

  note(haltedMs: number): void {
    if (this.#pays) this.#milliseconds = pollingAfter(this.#milliseconds, haltedMs);
  }
}
