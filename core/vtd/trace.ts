/** A record of what a translation read, for people who want to see how an address was found. */

export interface WalkStep {
  /** Which structure: `root`, `context`, `PASID table`, `first stage 4`, `second stage 3`. */
  readonly table: string;
  /** Guest-physical address of the entry. */
  readonly address: number;
  /** The entry, or null where there is no memory. */
  readonly value: bigint | null;
}

export type WalkTrace = (step: WalkStep) => void;
