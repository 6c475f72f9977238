/** UEFI variables outlive their machine: what its flash holds follows into a file. */
import type { Flash } from '../devices/flash.ts';
import { unwritableBecause } from '../host/reasons.ts';
import { replaceVariables } from './variablesFile.ts';

/** Firmware writes a variable byte by byte: the file follows when it has paused for this long. */
const SETTLE_MS = 200;

export class VariableStore {
  readonly #flash: Flash;
  readonly #path: string;
  #changedAt: number | null = null;

  /** Keeps the file `path` as the flash is, as long as `follow` is called. */
  constructor(flash: Flash, path: string) {
    this.#flash = flash;
    this.#path = path;
    flash.onChange = () => void (this.#changedAt = performance.now());
  }

  /**
   * Call now and then. A disk that fails costs the variables, not the guest: it is told on standard error.
   * @param now whether the guest rests or has ended: nothing is waited for
   */
  follow(now: boolean): void {
    if (this.#changedAt === null || (!now && performance.now() - this.#changedAt < SETTLE_MS)) return;
    this.#changedAt = null;
    try {
      replaceVariables(this.#path, this.#flash.data);
    } catch (error) {
      process.stderr.write(`vanderpool: the UEFI variables cannot be kept in "${this.#path}": ${unwritableBecause(error)}.\n`);
    }
  }
}
