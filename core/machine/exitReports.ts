/** Reports the VM exits of a machine while the engine wants them. */
import { RECENT_EXITS, RECORDED_EXITS } from '../contract/limits.ts';
import type { ExitsEvent, ExitsWanted } from '../contract/exits.ts';
import type { Runner } from './runner.ts';

/** Time between two reports. Those of a recording come before the ring has turned. */
const PERIODS: Readonly<Record<ExitsWanted, number>> = { recent: 500, all: 40 };

const NONE = new Uint8Array(0);

export class ExitReports {
  readonly #runner: Runner;
  readonly #send: (event: ExitsEvent) => void;
  #wanted: ExitsWanted | null = null;
  #timer: NodeJS.Timeout | undefined;
  #next = 0;
  /** Counts changes of what is wanted: a report that was begun before one is not sent. */
  #turn = 0;

  constructor(runner: Runner, send: (event: ExitsEvent) => void) {
    this.#runner = runner;
    this.#send = send;
  }

  /** Starts, changes or (null) ends the reports; tracing costs nothing afterwards. */
  report(wanted: ExitsWanted | null): void {
    const before = this.#wanted;
    // What is asked for twice is reported once: a report may be on its way.
    if (wanted === before) return;
    this.#wanted = wanted;
    this.#turn += 1;
    clearTimeout(this.#timer);
    if ((before === null) !== (wanted === null)) {
      this.#next = 0;
      // A machine that has ended traces nothing any more.
      void this.#runner.ask('trace-exits', { on: wanted !== null }).catch(() => undefined);
    }
    if (wanted !== null) this.#later(wanted, this.#turn);
  }

  #later(wanted: ExitsWanted, turn: number): void {
    this.#timer = setTimeout(() => void this.#take(wanted, turn), PERIODS[wanted]);
  }

  async #take(wanted: ExitsWanted, turn: number): Promise<void> {
    const limit = wanted === 'all' ? RECORDED_EXITS : RECENT_EXITS;
    const traced = await this.#runner.ask('exits', { since: this.#next, limit }).catch(() => null);
    if (this.#turn !== turn) return;
    if (traced) {
      this.#next = traced.next;
      const { elapsedMs, rows, recent, records, epochMs, lost } = traced;
      this.#send({ at: Date.now(), elapsedMs, rows: [...rows], recent: [...recent], records: wanted === 'all' ? records : NONE, epochMs, lost });
    }
    this.#later(wanted, turn);
  }
}
