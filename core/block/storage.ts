/** The file below an image: bytes at offsets, nothing more. Formats know this interface alone, so tests can make it fail at any point. */
import { close, closeSync, constants, fdatasync, fstatSync, ftruncate, openSync, read, readSync, write, writeSync } from 'node:fs';
import { ContractError } from '../contract/errors.ts';
import { unreadableBecause } from '../host/reasons.ts';
import { BlockError } from './blockDevice.ts';
import type { BlockFailure } from './blockDevice.ts';

export interface ImageStorage {
  /** For messages. */
  readonly path: string;
  readonly readOnly: boolean;
  /** Of the open file, where it is one of the host's. */
  readonly descriptor?: number;
  /** Length in bytes as of the last write or truncation. */
  readonly length: number;
  /** Fills `into`; beyond the end of the file are zeros. */
  read(offset: number, into: Uint8Array): Promise<void>;
  write(offset: number, from: Uint8Array): Promise<void>;
  /** What was written before is on stable storage afterwards. */
  sync(): Promise<void>;
  truncate(length: number): Promise<void>;
  close(): Promise<void>;
}

const failures: Readonly<Record<string, BlockFailure>> = { ENOSPC: 'full', EDQUOT: 'full', EFBIG: 'full', EROFS: 'read-only' };

/** Longer accesses go to the thread pool: the thread that serves disks serves consoles, too. */
const AT_ONCE_BYTES = 128 * 1024;
/** An access that took longer did not find its data in the host's cache. */
const SLOW_MS = 0.3;
/** So many accesses after a slow one go to the thread pool, where they wait for the disk side by side. */
const SLOW_COUNT = 64;

/**
 * A file of the host. Short accesses are done at once as long as they are fast: what the host has in its cache takes a few microseconds,
 * and two changes of thread take several times that.
 */
export class FileStorage implements ImageStorage {
  readonly path: string;
  readonly readOnly: boolean;
  /** What identifies the file, by whichever name it was opened. */
  readonly identity: string;
  readonly descriptor: number;
  #length: number;
  /** Accesses that still go to the thread pool, because one was slow. */
  #slow = 0;

  /** @throws ContractError `file-unreadable` when there is no such file, or it is no plain file, or may not be opened */
  constructor(path: string, readOnly: boolean) {
    this.path = path;
    this.readOnly = readOnly;
    this.descriptor = openPlain(path, readOnly);
    const { size, dev, ino } = fstatSync(this.descriptor, { bigint: true });
    this.#length = Number(size);
    this.identity = `${dev.toString(16)}-${ino.toString(16)}`;
  }

  get length(): number {
    return this.#length;
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    for (let at = 0; at < into.length;) {
      const count = await this.#readOnce(offset + at, into.subarray(at));
      if (count === 0) {
        into.fill(0, at);
        return;
      }
      at += count;
    }
  }

  async write(offset: number, from: Uint8Array): Promise<void> {
    for (let at = 0; at < from.length;) at += await this.#writeOnce(offset + at, from.subarray(at));
    this.#length = Math.max(this.#length, offset + from.length);
  }

  sync(): Promise<void> {
    return new Promise((resolve, reject) => {
      fdatasync(this.descriptor, error => (error ? reject(this.#failed('flushed', error)) : resolve()));
    });
  }

  truncate(length: number): Promise<void> {
    return new Promise((resolve, reject) => {
      ftruncate(this.descriptor, length, error => {
        if (error) return reject(this.#failed('resized', error));
        this.#length = length;
        resolve();
      });
    });
  }

  close(): Promise<void> {
    return new Promise((resolve, reject) => {
      close(this.descriptor, error => (error ? reject(this.#failed('closed', error)) : resolve()));
    });
  }

  /** Does a short access in this thread, or says that it has to wait (null). */
  #atOnce(length: number, access: () => number, what: string): number | null {
    if (length > AT_ONCE_BYTES) return null;
    if (this.#slow > 0) {
      this.#slow -= 1;
      return null;
    }
    const started = performance.now();
    try {
      return access();
    } catch (error) {
      throw this.#failed(what, error as NodeJS.ErrnoException);
    } finally {
      if (performance.now() - started > SLOW_MS) this.#slow = SLOW_COUNT;
    }
  }

  #readOnce(offset: number, into: Uint8Array): number | Promise<number> {
    const count = this.#atOnce(into.length, () => readSync(this.descriptor, into, 0, into.length, offset), 'read');
    if (count !== null) return count;
    return new Promise((resolve, reject) => {
      read(this.descriptor, into, 0, into.length, offset, (error, count) => (error ? reject(this.#failed('read', error)) : resolve(count)));
    });
  }

  #writeOnce(offset: number, from: Uint8Array): number | Promise<number> {
    const count = this.#atOnce(from.length, () => writeSync(this.descriptor, from, 0, from.length, offset), 'written');
    if (count !== null) return count;
    return new Promise((resolve, reject) => {
      write(this.descriptor, from, 0, from.length, offset, (error, count) => (error ? reject(this.#failed('written', error)) : resolve(count)));
    });
  }

  #failed(what: string, error: NodeJS.ErrnoException): BlockError {
    return new BlockError(failures[error.code ?? ''] ?? 'io', `${this.path} cannot be ${what}: ${error.message}`);
  }
}

function openPlain(path: string, readOnly: boolean): number {
  let descriptor: number;
  try {
    // Without O_NONBLOCK a named pipe would hold the open for ever.
    descriptor = openSync(path, (readOnly ? constants.O_RDONLY : constants.O_RDWR) | (constants.O_NONBLOCK ?? 0));
  } catch (error) {
    throw unreadable(path, unreadableBecause(error), readOnly);
  }
  if (fstatSync(descriptor).isFile()) return descriptor;
  closeSync(descriptor);
  throw unreadable(path, 'it is no plain file', readOnly);
}

function unreadable(path: string, reason: string, readOnly: boolean): ContractError {
  const hint = readOnly ? 'Check the path and its permissions.' : 'Check the path and its permissions, or attach it read-only.';
  return new ContractError('file-unreadable', `The disk image "${path}" cannot be opened: ${reason}.`, hint);
}
