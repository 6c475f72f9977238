/** The space of a library's segments: which stay although no row needs them yet, and giving back those that nothing uses. */
import type { PageMap } from '../snapshot/pageMap.ts';
import type { Library } from '../store/library.ts';
import type { Supervisor } from './supervisor.ts';

export class SegmentSpace {
  readonly #library: Library;
  readonly #supervisor: Supervisor;
  /** Segments that a running machine still reads, or that its next snapshot builds on, by VM. */
  readonly #pinned = new Map<string, ReadonlySet<number>>();
  /** Snapshots in the making: their segments have no references yet. */
  #making = 0;
  #collecting: Promise<void> | null = null;
  #closed = false;

  constructor(library: Library, supervisor: Supervisor) {
    this.#library = library;
    this.#supervisor = supervisor;
  }

  /** Somebody writes segments. */
  get isGrowing(): boolean {
    return this.#making > 0;
  }

  /** What a VM's machine reads from now on, while its process lives. */
  pin(vmId: string, map: PageMap): void {
    this.#pinned.set(vmId, new Set(map.references().keys()));
  }

  /** While an action runs, segments without references stay. */
  async keeping<T>(action: () => Promise<T>): Promise<T> {
    this.#making += 1;
    try {
      return await action();
    } finally {
      this.#making -= 1;
      void this.collect();
    }
  }

  /** Gives back the segments that nothing uses, one at a time; the engine answers others in between. */
  collect(): Promise<void> {
    this.#collecting ??= this.#collect().catch((error: unknown) => console.error(new Date().toISOString(), 'collection', error)).finally(() => void (this.#collecting = null));
    return this.#collecting;
  }

  /** Collections end soon, and none begins any more. */
  leave(): void {
    this.#closed = true;
  }

  async #collect(): Promise<void> {
    const { snapshots } = this.#library;
    for (;;) {
      await new Promise((resolve) => setImmediate(resolve));
      if (this.isGrowing || this.#closed) return; // Whoever ends last collects.
      for (const id of this.#pinned.keys()) if (!this.#supervisor.guest(id)) this.#pinned.delete(id);
      // Files without a row, too: what a snapshot left that failed.
      if (snapshots.collectOne(new Set([...this.#pinned.values()].flatMap((ids) => [...ids])))) continue;
      snapshots.removeOrphans();
      this.#library.renewReserve();
      return;
    }
  }

  /** Done when the collection under way has ended: the database can be closed. */
  async closed(): Promise<void> {
    await this.#collecting;
  }
}
