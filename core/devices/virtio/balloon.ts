/** A memory balloon: pages that the guest does without go back to the host. @virtio 5.5 */

import { configurationBytes, readBytes } from './device.ts';
import { gather, slice, totalLength } from '../segments.ts';
import type { AccessSize } from '../../platform/device.ts';
import type { Chain } from './queue.ts';
import type { StateReader } from '../../platform/state.ts';
import type { VirtioKind, VirtioRun } from './device.ts';

const balloonFeature = { deflateOnOom: 1n << 2n, pagePoison: 1n << 4n, reporting: 1n << 5n } as const;
const queueNumber = { inflate: 0, deflate: 1 } as const;
const targetAt = 0;
const actualAt = 4;
const poisonAt = 12;
const PAGE = 4096;
/** Page numbers that are read from a buffer at once, and from all of it; drivers send 256. */
const NUMBERS = 256;
const NUMBERS_MAXIMUM = 4096;
/** Of one report; drivers send 128 MiB at most. */
const REPORT_BYTES = 256 * 1024 * 1024;
const QUEUE_SIZE = 128;

/** What becomes of pages that the guest does without. Addresses and lengths are checked by the receiver. */
export type ReleasePages = (address: number, length: number) => void;

export class VirtioBalloon implements VirtioKind {
  readonly name = 'virtio-balloon';
  readonly deviceType = 5;
  readonly classCode = 0x00ff00;
  readonly features = balloonFeature.deflateOnOom | balloonFeature.pagePoison | balloonFeature.reporting;
  /** Inflation, deflation, then reports: whether the queues between are counted although they are not offered, drivers see differently. */
  readonly queueSizes = [QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE];
  readonly configurationLength = 16;
  readonly #release: ReleasePages;
  #run: VirtioRun | null = null;
  /** Pages that the guest is asked to do without: the host's wish, which a reset of the device leaves. */
  #target = 0;
  /** Pages that it says it does without. */
  #actual = 0;
  /** What the guest fills free pages with. */
  #poison = 0;

  constructor(release: ReleasePages) {
    this.#release = release;
  }

  get targetBytes(): number {
    return this.#target * PAGE;
  }

  /** Bytes that the guest does without, by its own word. */
  get inflatedBytes(): number {
    return this.#actual * PAGE;
  }

  /** Asks the guest to do without so many bytes. */
  setTarget(bytes: number): void {
    const pages = Math.floor(bytes / PAGE);
    if (pages === this.#target) return;
    this.#target = pages;
    this.#run?.configurationChanged();
  }

  readConfiguration(offset: number, size: AccessSize): number {
    return readBytes(configurationBytes(16, [[targetAt, 4, this.#target], [actualAt, 4, this.#actual], [poisonAt, 4, this.#poison]]), offset, size);
  }

  writeConfiguration(offset: number, size: AccessSize, value: number): void {
    if (size !== 4) return;
    if (offset === actualAt) this.#actual = value >>> 0;
    if (offset === poisonAt) this.#poison = value >>> 0;
  }

  start(run: VirtioRun): void {
    this.#run = run;
    for (const [number, queue] of run.queues.entries()) {
      for (const chain of queue.retake()) this.#take(run, number, chain);
      this.notify(number);
    }
  }

  notify(number: number): void {
    const run = this.#run;
    const queue = run?.queues[number];
    if (!run || !queue) return;
    for (let chain = queue.take(); chain; chain = queue.take()) this.#take(run, number, chain);
    queue.signal();
  }

  stop(): void {
    this.#run = null;
    this.#actual = 0;
    this.#poison = 0;
  }

  saveState(): Readonly<Record<string, unknown>> {
    return { target: this.#target, actual: this.#actual, poison: this.#poison };
  }

  readState(reader: StateReader): () => void {
    const [target, actual, poison] = [reader.uint('target', 32), reader.uint('actual', 32), reader.uint('poison', 32)];
    return () => {
      this.#target = target;
      this.#actual = actual;
      this.#poison = poison;
    };
  }

  #take(run: VirtioRun, number: number, chain: Chain): void {
    if (number === queueNumber.inflate) this.#inflate(run, chain);
    // Pages that are taken back need nothing: they read as zeros and get room as they are written.
    else if (number !== queueNumber.deflate) this.#report(run, chain);
    run.queues[number]?.give(chain.head, 0);
  }

  /** Page numbers of four bytes each; neighbours go together. */
  #inflate(run: VirtioRun, { readable }: Chain): void {
    const length = Math.min(totalLength(readable), NUMBERS_MAXIMUM * 4);
    for (let at = 0; at < length; at += NUMBERS * 4) {
      const bytes = new Uint8Array(Math.min(NUMBERS * 4, length - at) & ~3);
      if (bytes.length === 0 || !gather(run.memory, slice(readable, at, bytes.length), 0, bytes)) return;
      const pages = [...new Uint32Array(bytes.buffer)].toSorted((a, b) => a - b);
      let first = 0;
      pages.forEach((page, index) => {
        if (pages[index + 1] === page + 1) return;
        this.#release((pages[first] ?? 0) * PAGE, (page - (pages[first] ?? 0) + 1) * PAGE);
        first = index + 1;
      });
    }
  }

  /** Free memory, as it is. Its contents become zeros, which a guest that poisons free pages with something else would take for damage. */
  #report(run: VirtioRun, { writable }: Chain): void {
    if ((run.features & balloonFeature.pagePoison) !== 0n && this.#poison !== 0) return;
    for (const { address, length } of slice(writable, 0, Math.min(totalLength(writable), REPORT_BYTES))) this.#release(address, length);
  }
}
