/** Room that the library keeps for itself. Giving things up takes some, too: without it, who has filled the disk could not make room. */
import { randomBytes } from 'node:crypto';
import { existsSync, renameSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export const RESERVE_FILE = 'library.reserve';
const RESERVE_BYTES = 2 << 20;
/** It is made again when so much is free, not of the last bytes. */
const PLENTY_BYTES = 16 << 20;

export class Reserve {
  readonly #path: string;

  constructor(folder: string) {
    this.#path = join(folder, RESERVE_FILE);
  }

  /** Whether there was some, which is free now. */
  spend(): boolean {
    if (!existsSync(this.#path)) return false;
    rmSync(this.#path, { force: true });
    return true;
  }

  /** Makes it again after it was spent, where there is plenty of room. */
  renew(): void {
    const part = `${this.#path}.part`;
    try {
      const { bavail, bsize } = statfsSync(join(this.#path, '..'));
      if (existsSync(this.#path) || bavail * bsize < PLENTY_BYTES) return;
      // No zeroes: a file system might keep none of them.
      writeFileSync(part, randomBytes(RESERVE_BYTES), { mode: 0o600 });
      renameSync(part, this.#path);
    } catch {
      // A library without one works.
      rmSync(part, { force: true });
    }
  }
}
