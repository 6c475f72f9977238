/** What a serial port has shown: the newest bytes, in memory and in the VM's folder, so that they outlive the engine. */
import { closeSync, existsSync, ftruncateSync, openSync, readFileSync, renameSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { SCROLLBACK_BYTES } from '../contract/limits.ts';

export class Scrollback {
  readonly #path: string;
  readonly #limit: number;
  /** A buffer of twice the limit: its newest `limit` bytes count, and it is moved to its front when it is full. */
  readonly #buffer: Uint8Array<ArrayBuffer>;
  #length = 0;
  #truncated = false;
  #file: number | null = null;

  /** `limit`: bytes that are kept at least; the file holds at most twice as many. */
  constructor(path: string, limit = SCROLLBACK_BYTES) {
    this.#path = path;
    this.#limit = limit;
    this.#buffer = new Uint8Array(limit * 2);
    const stored = existsSync(path) ? readFileSync(path) : new Uint8Array(0);
    this.#truncated = stored.length >= limit;
    const kept = stored.subarray(Math.max(0, stored.length - limit));
    this.#buffer.set(kept);
    this.#length = kept.length;
    if (kept.length < stored.length) this.#rewrite();
  }

  get isEmpty(): boolean {
    return this.#length === 0;
  }

  append(data: Uint8Array): void {
    const newest = data.subarray(Math.max(0, data.length - this.#limit));
    if (newest.length < data.length) this.#truncated = true;
    if (this.#length + newest.length > this.#buffer.length) {
      const kept = this.#limit - newest.length;
      this.#buffer.copyWithin(0, this.#length - kept, this.#length);
      this.#length = kept;
      this.#truncated = true;
      this.#buffer.set(newest, this.#length);
      this.#length += newest.length;
      this.#rewrite();
      return;
    }
    this.#buffer.set(newest, this.#length);
    this.#length += newest.length;
    this.#write(newest);
  }

  /** A copy of what is kept; `truncated` when older output was dropped. */
  read(): { readonly data: Uint8Array<ArrayBuffer>; readonly truncated: boolean } {
    return { data: this.#buffer.slice(Math.max(0, this.#length - this.#limit), this.#length), truncated: this.#truncated || this.#length > this.#limit };
  }

  /** Shows something else from now on. */
  replace(data: Uint8Array): void {
    this.clear();
    this.append(data);
  }

  clear(): void {
    this.#length = 0;
    this.#truncated = false;
    if (this.#file !== null) ftruncateSync(this.#file);
    else rmSync(this.#path, { force: true });
  }

  close(): void {
    if (this.#file !== null) closeSync(this.#file);
    this.#file = null;
  }

  /** A full disk costs the history its newest lines; it does not cost the guest its console. */
  #write(data: Uint8Array): void {
    try {
      this.#file ??= openSync(this.#path, 'a', 0o600);
      writeSync(this.#file, data);
    } catch {
      this.close();
    }
  }

  #rewrite(): void {
    this.close();
    try {
      writeFileSync(`${this.#path}.part`, this.#buffer.subarray(0, this.#length), { mode: 0o600 });
      renameSync(`${this.#path}.part`, this.#path);
    } catch {
      // As above.
    }
  }
}
