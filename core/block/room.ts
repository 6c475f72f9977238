/**
 * A full disk of the host. What a guest writes there and finds no room for is no error of its disk: it waits and is tried again, and whoever
 * listens has the machine wait meanwhile.
 */
import { BlockError } from './blockDevice.ts';

const AGAIN_MS = 1000;

export interface RoomListener {
  /** The first access waits. @param message names the file and says what the system says */
  full(message: string): void;
  /** None waits any more. */
  room(): void;
}

/** The room of all disks of a machine. */
export class Room {
  readonly #again = new Set<() => void>();
  #listener: RoomListener | null = null;
  #waiting = 0;

  /** Without a listener nothing waits: accesses fail. */
  listen(listener: RoomListener): void {
    this.#listener = listener;
  }

  /** Does an access, as often as it takes until there is room. @throws BlockError: another failure, or `full` when it is given up */
  async attempt(access: () => Promise<void>, isGivenUp: () => boolean): Promise<void> {
    let waits = false;
    try {
      for (;;) {
        const failure = await access().then(() => null, (error: unknown) => error);
        if (failure === null) return;
        if (!(failure instanceof BlockError) || failure.failure !== 'full' || !this.#listener || isGivenUp()) throw failure;
        if (!waits) {
          waits = true;
          this.#waiting += 1;
          if (this.#waiting === 1) this.#listener.full(failure.message);
        }
        await this.#nextTry();
        if (isGivenUp()) throw failure;
      }
    } finally {
      if (waits) {
        this.#waiting -= 1;
        if (this.#waiting === 0) this.#listener?.room();
      }
    }
  }

  /** What waits is tried again now. */
  again(): void {
    for (const wake of [...this.#again]) wake();
  }

  #nextTry(): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        clearTimeout(timer);
        this.#again.delete(wake);
        resolve();
      };
      const timer = setTimeout(wake, AGAIN_MS);
      this.#again.add(wake);
    });
  }
}

/** Where the size of files is limited (`ulimit -f`), a write behind the limit would end the process instead of failing. */
export function surviveFileSizeLimit(): void {
  if (process.platform !== 'win32') process.on('SIGXFSZ', () => undefined);
}
