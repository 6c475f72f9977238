/** Imports and exports: each is known by the path of its file, everybody sees how far it is, and may cancel it. */
import { ContractError } from '../contract/errors.ts';
import type { LibraryEvent } from '../contract/streams.ts';
import { nowAndThen } from './progress.ts';

export interface Transfer {
  /** Aborted when somebody cancels. */
  readonly signal: AbortSignal;
  /** Tells how far it is, in bytes; called often. @throws ContractError `cancelled` */
  readonly progress: (done: number, total: number) => void;
}

interface Running {
  readonly cancelling: AbortController;
  readonly ended: Promise<unknown>;
}

export class Transfers {
  readonly #tell: (event: LibraryEvent) => void;
  readonly #running = new Map<string, Running>();

  constructor(tell: (event: LibraryEvent) => void) {
    this.#tell = tell;
  }

  /**
   * @param what for people: `The import`
   * @param work gives back whatever it has made when its `progress` throws
   * @throws ContractError `wrong-state` when another one has the file, `cancelled`, and what the work throws
   */
  async run<T>(path: string, what: string, work: (transfer: Transfer) => Promise<T>): Promise<T> {
    if (this.#running.has(path)) throw new ContractError('wrong-state', `"${path}" is being imported or exported already.`, 'Wait for it, or cancel it.', 'path');
    const cancelling = new AbortController();
    const { signal } = cancelling;
    const ended = Promise.withResolvers<void>();
    this.#running.set(path, { cancelling, ended: ended.promise });
    const tell = nowAndThen((done, total) => this.#tell({ kind: 'transfer-progress', path, done: Math.min(done, total), total: Math.max(1, total) }));
    const progress = (done: number, total: number): void => {
      if (signal.aborted) throw new ContractError('cancelled', `${what} was cancelled.`, 'Nothing of it is left.');
      tell(done, total);
    };
    try {
      progress(0, 1);
      return await work({ signal, progress });
    } finally {
      this.#running.delete(path);
      this.#tell({ kind: 'transfer-progress', path, done: 0, total: 0 });
      ended.resolve();
    }
  }

  /** Nothing when the file is not under way, or is done. */
  cancel(path: string): void {
    this.#running.get(path)?.cancelling.abort();
  }

  /** The engine ends: what is under way is given up, and has cleared up when this is done. */
  async close(): Promise<void> {
    const running = [...this.#running.values()];
    for (const { cancelling } of running) cancelling.abort();
    await Promise.all(running.map(({ ended }) => ended));
  }
}
