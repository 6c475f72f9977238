/** What the real-time clock has to make up for: virtual time stands still while a machine is paused, and falls behind on a busy host. */
import type { VirtualClock } from '../platform/clock.ts';
import type { Rtc } from '../platform/rtc.ts';

/** The clock is put forward by whole seconds: the phase of its updates stays. */
const STEP_MS = 1000;

export class WallTime {
  readonly #clock: VirtualClock;
  readonly #rtc: Rtc;
  readonly #repeats: boolean;
  /** What the world's time was for the guest when it was paused; null: it runs. */
  #pausedAt: number | null = null;
  /** What the clock was not yet put forward by. */
  #owed = 0;

  /** @param repeats the machine knows nothing of the host's date */
  constructor(clock: VirtualClock, rtc: Rtc, repeats: boolean) {
    this.#clock = clock;
    this.#rtc = rtc;
    this.#repeats = repeats;
  }

  /** The world's time that the real-time clock has followed, in milliseconds since 1970. */
  get followed(): number {
    return this.#lived - this.#owed;
  }

  setPaused(paused: boolean): void {
    if (paused) {
      this.#clock.pause();
      this.#pausedAt = this.#lived;
      return;
    }
    const { followed } = this;
    this.#clock.resume();
    this.#pausedAt = null;
    this.#catchUp(followed);
  }

  /** The machine goes on from a moment up to which its real-time clock had followed the world's. */
  restored(followed: number): void {
    if (this.#pausedAt !== null) this.#pausedAt = Date.now();
    this.#catchUp(followed);
  }

  get #lived(): number {
    return this.#pausedAt ?? Date.now() - Math.ceil(this.#clock.lagNs / 1e6);
  }

  #catchUp(from: number): void {
    if (this.#repeats) return;
    const behind = Math.max(0, Date.now() - from);
    this.#owed = behind % STEP_MS;
    if (behind >= STEP_MS) this.#rtc.advance(behind - this.#owed);
  }
}
