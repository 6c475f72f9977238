/** The last refused requests, with when they were refused: for people, and never part of the machine's state. */

import type { FaultRecord } from './events.ts';

export interface LoggedFault extends FaultRecord {
  /** Milliseconds since 1970. */
  readonly at: number;
  /** Which unit refused: the guest's own, or the one of the workstation. */
  readonly unit: string;
}

const kept = 256;

export class FaultLog {
  /** Refused since the machine was made. */
  total = 0;
  private readonly entries: LoggedFault[] = [];

  add(unit: string, record: FaultRecord): void {
    this.total++;
    this.entries.push({ ...record, unit, at: Date.now() });
    if (this.entries.length > kept) this.entries.shift();
  }

  /** Oldest first. */
  get list(): readonly LoggedFault[] {
    return this.entries;
  }
}
