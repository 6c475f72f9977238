/** The VMCSs of the newest exits of a level, as each exit left it. */
import { VMCS_BYTES } from './rootVmcs.ts';

/** Exits whose whole VMCS is kept. */
const KEPT = 16;

export class KeptVmcs {
  readonly #regions = Array.from({ length: KEPT }, () => new Uint8Array(VMCS_BYTES));
  /** Which exits those are. */
  readonly #sequences = new Float64Array(KEPT).fill(-1);
  #count = 0;

  /** Copies a region, of an exit by its sequence number, in place of the oldest; returns the copy. */
  keep(sequence: number, region: Uint8Array): Uint8Array {
    const place = this.#count++ % KEPT;
    const copy = this.#regions[place]!;
    copy.set(region);
    this.#sequences[place] = sequence;
    return copy;
  }

  /** The region of an exit; null when it is no longer kept. */
  of(sequence: number): Uint8Array | null {
    const place = this.#sequences.indexOf(sequence);
    return place < 0 ? null : this.#regions[place]!;
  }
}
