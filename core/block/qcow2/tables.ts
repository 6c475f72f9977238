/** Tables of one cluster (L2 tables, refcount blocks) in memory: loaded once, written when the image is flushed. */
import type { ImageStorage } from '../storage.ts';

export interface Table {
  /** Where it lies in the file. */
  readonly offset: number;
  readonly view: DataView;
  dirty: boolean;
}

/** An entry of an L1, L2 or refcount table: 64 bits, big-endian. The upper half holds the flags and the offset's upper bits. */
export interface Entry {
  readonly high: number;
  readonly low: number;
}

export function readEntry(view: DataView, index: number): Entry {
  return { high: view.getUint32(index * 8), low: view.getUint32(index * 8 + 4) };
}

export function writeEntry(view: DataView, index: number, { high, low }: Entry): void {
  view.setUint32(index * 8, high);
  view.setUint32(index * 8 + 4, low);
}

/** Bits 9 to 55: where a table or a cluster lies; 0: nowhere. */
export function entryOffset({ high, low }: Entry): number {
  return (high & 0xffffff) * 2 ** 32 + (low & ~511) + ((low & ~511) < 0 ? 2 ** 32 : 0);
}

/** Bit 63: what the entry points to has a refcount of exactly one, so it may be written in place. */
export const COPIED = 0x80000000;
/** Bit 62 of an L2 entry. */
export const COMPRESSED = 0x40000000;
/** Bit 0 of an L2 entry. */
export const ZERO = 1;

export function makeEntry(offset: number, highFlags = COPIED, lowFlags = 0): Entry {
  return { high: (Math.floor(offset / 2 ** 32) | highFlags) >>> 0, low: (offset % 2 ** 32 | lowFlags) >>> 0 };
}

export class TableCache {
  readonly #storage: ImageStorage;
  readonly #clusterBytes: number;
  readonly #limit: number;
  /** In order of their last use. */
  readonly #tables = new Map<number, Table>();
  readonly #loading = new Map<number, Promise<Table>>();

  /** @param limit tables that stay in memory; more only while they wait to be written */
  constructor(storage: ImageStorage, clusterBytes: number, limit: number) {
    this.#storage = storage;
    this.#clusterBytes = clusterBytes;
    this.#limit = limit;
  }

  /** The table at an offset, or null where none can be. */
  get(offset: number): Table | Promise<Table> | null {
    const table = this.#tables.get(offset);
    if (table === undefined) {
      if (offset % this.#clusterBytes !== 0 || offset >= this.#storage.length) return null;
      return this.#loading.get(offset) ?? this.#load(offset);
    }
    this.#tables.delete(offset);
    this.#tables.set(offset, table);
    return table;
  }

  /** A new table for a cluster that was just allocated: zeros, or a copy of another. */
  create(offset: number, from?: Table): Table {
    const bytes = from === undefined ? new Uint8Array(this.#clusterBytes) : new Uint8Array(from.view.buffer.slice(0) as ArrayBuffer);
    const table = { offset, view: new DataView(bytes.buffer), dirty: true };
    this.#tables.set(offset, table);
    return table;
  }

  /** Forgets a table whose cluster was freed. */
  drop(offset: number): void {
    this.#tables.delete(offset);
  }

  get crowded(): boolean {
    return this.#tables.size > this.#limit;
  }

  /** Writes what changed. Returns whether there was anything. */
  async flush(): Promise<boolean> {
    let written = false;
    for (const table of this.#tables.values()) {
      if (!table.dirty) continue;
      await this.#storage.write(table.offset, bytesOf(table));
      table.dirty = false;
      written = true;
    }
    this.#trim();
    return written;
  }

  async #load(offset: number): Promise<Table> {
    const loading = this.#read(offset);
    this.#loading.set(offset, loading);
    try {
      return await loading;
    } finally {
      this.#loading.delete(offset);
    }
  }

  async #read(offset: number): Promise<Table> {
    const bytes = new Uint8Array(this.#clusterBytes);
    await this.#storage.read(offset, bytes);
    const table = { offset, view: new DataView(bytes.buffer), dirty: false };
    this.#trim();
    // After the room was made: the table that is about to be used must stay.
    this.#tables.set(offset, table);
    return table;
  }

  #trim(): void {
    for (const [offset, { dirty }] of this.#tables) {
      if (this.#tables.size < this.#limit) return;
      if (!dirty) this.#tables.delete(offset);
    }
  }
}

function bytesOf({ view }: Table): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}
