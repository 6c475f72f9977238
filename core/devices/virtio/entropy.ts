/** Random bytes as a virtio device. @virtio 5.4 */

import { scatter, totalLength } from '../segments.ts';
import type { VirtQueue } from './queue.ts';
import type { VirtioKind, VirtioRun } from './device.ts';

/** What one buffer gets at most: a driver that wants more asks again. */
const BUFFER_BYTES = 4096;

export class VirtioEntropy implements VirtioKind {
  readonly name = 'virtio-rng';
  readonly deviceType = 4;
  readonly classCode = 0x00ff00;
  readonly features = 0n;
  readonly queueSizes = [8];
  readonly configurationLength = 0;
  readonly #random: (bytes: Uint8Array) => void;
  #run: VirtioRun | null = null;

  /** @param random fills its argument */
  constructor(random: (bytes: Uint8Array) => void) {
    this.#random = random;
  }

  readConfiguration(): number {
    return 0;
  }

  writeConfiguration(): void {}

  start(run: VirtioRun): void {
    this.#run = run;
    this.notify();
  }

  notify(): void {
    const [queue] = this.#run?.queues ?? [];
    if (!queue) return;
    for (let chain = queue.take(); chain; chain = queue.take()) queue.give(chain.head, this.#fill(chain));
    queue.signal();
  }

  stop(): void {
    this.#run = null;
  }

  saveState(): Readonly<Record<string, unknown>> {
    return {};
  }

  readState(): () => void {
    return () => {};
  }

  #fill({ writable }: NonNullable<ReturnType<VirtQueue['take']>>): number {
    const bytes = new Uint8Array(Math.min(totalLength(writable), BUFFER_BYTES));
    this.#random(bytes);
    return this.#run && scatter(this.#run.memory, writable, 0, bytes) ? bytes.length : 0;
  }
}
