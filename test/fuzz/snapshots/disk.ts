/** A disk that fails: it stops in the middle of an operation as at a loss of power, or refuses one as a full disk or a read-only one does. */
import { readFileSync, existsSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { diskFiles } from '../../../core/snapshot/files.ts';
import type { SegmentFiles } from '../../../core/snapshot/files.ts';

/** The machine that wrote is gone: nothing it does from now on reaches the disk. */
export class PowerLoss extends Error {}

export type Random = () => number;

export type Fault = 'power' | Refusal | 'none';
/** What a disk refuses while it is so. */
export type Refusal = 'full' | 'read-only';

const refusals: Readonly<Record<Refusal, readonly [code: string, text: string]>> = {
  full: ['ENOSPC', 'no space left on device'], 'read-only': ['EROFS', 'read-only file system'],
};

/** Whether an error is a refusal of the disk's. */
export function isRefusal(error: unknown): boolean {
  return error instanceof Error && !(error instanceof PowerLoss) && /no space left on device|the disk is full|read-only/.test(error.message);
}

/** Park and Miller's generator: numbers from 0 to 1 that a seed repeats. */
export function randomFrom(seed: number): Random {
  let state = (seed % 2147483646) + 1;
  return () => (state = (state * 48271) % 2147483647) / 2147483647;
}

interface OpenFile {
  path: string;
  synced: number;
  length: number;
}

export class FailingDisk implements SegmentFiles {
  readonly #random: Random;
  readonly #open = new Map<number, OpenFile>();
  /** Content that the disk may still lose, by path; renames that it may still forget, newest last. */
  readonly #unsynced = new Map<string, OpenFile>();
  readonly #names: { readonly from: string; readonly to: string }[] = [];
  /** Operations that still succeed. */
  left: number;
  /** What happens then. */
  fault: Fault;
  #gone = false;

  constructor(random: Random, left: number, fault: Fault) {
    this.#random = random;
    this.left = left;
    this.fault = fault;
  }

  /** Whether the power is lost. */
  get gone(): boolean {
    return this.#gone;
  }

  /** One more operation; also called for the steps of the database. @throws PowerLoss, or an error as the system gives it */
  step(): void {
    if (this.#gone) throw new PowerLoss('the power is gone');
    this.left -= 1;
    if (this.left >= 0 || this.fault === 'none') return;
    if (this.fault !== 'power') {
      const [code, text] = refusals[this.fault];
      throw Object.assign(new Error(`${code}: ${text}, write`), { code });
    }
    this.#gone = true;
    throw new PowerLoss('the power is gone');
  }

  create(path: string): number {
    this.step();
    const handle = diskFiles.create(path);
    const file = { path, synced: 0, length: 0 };
    this.#open.set(handle, file);
    this.#unsynced.set(path, file);
    return handle;
  }

  write(handle: number, bytes: Uint8Array): void {
    const file = this.#open.get(handle);
    try {
      this.step();
    } catch (error) {
      // A part of it may have arrived.
      const part = bytes.subarray(0, Math.floor(this.#random() * bytes.length));
      diskFiles.write(handle, part);
      if (file) file.length += part.length;
      throw error;
    }
    diskFiles.write(handle, bytes);
    if (file) file.length += bytes.length;
  }

  sync(handle: number): void {
    this.step();
    const file = this.#open.get(handle);
    if (file) this.#unsynced.delete(file.path);
  }

  close(handle: number): void {
    this.#open.delete(handle);
    diskFiles.close(handle);
  }

  rename(from: string, to: string): void {
    this.step();
    diskFiles.rename(from, to);
    const file = this.#unsynced.get(from);
    if (file) {
      this.#unsynced.delete(from);
      this.#unsynced.set(to, file);
      file.path = to;
    }
    this.#names.push({ from, to });
  }

  syncFolder(): void {
    this.step();
    this.#names.length = 0;
  }

  remove(path: string): void {
    this.step();
    diskFiles.remove(path);
    this.#unsynced.delete(path);
  }

  /** What the disk shows when the power is back: everything that was not synced may be lost, in part or whole. */
  loseWhatWasNotSynced(): void {
    for (const handle of this.#open.keys()) diskFiles.close(handle);
    this.#open.clear();
    for (const { from, to } of this.#names.reverse()) if (this.#random() < 0.5 && existsSync(to)) renameSync(to, from);
    for (const { path } of this.#unsynced.values()) {
      if (!existsSync(path)) continue;
      const kind = this.#random();
      if (kind < 0.3) rmSync(path);
      else if (kind < 0.6) truncateSync(path, Math.floor(this.#random() * readFileSync(path).length));
      else if (kind < 0.9) writeFileSync(path, readFileSync(path).fill(0, Math.floor(this.#random() * 4096)));
    }
  }
}
