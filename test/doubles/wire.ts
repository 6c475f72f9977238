/** An interrupt wire that remembers. */

import type { LevelInterrupt } from '../../core/platform/interrupts.ts';

export class Wire implements LevelInterrupt {
  level = false;
  /** Rising edges so far. */
  rises = 0;

  set(asserted: boolean): void {
    if (asserted && !this.level) this.rises++;
    this.level = asserted;
  }
}
