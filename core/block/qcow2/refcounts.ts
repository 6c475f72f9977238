/** Who uses which cluster of the file: a two-level table of counters, and the allocator over it. */
import { BlockError } from '../blockDevice.ts';
import type { ImageStorage } from '../storage.ts';
import { TABLE_BYTES_MAXIMUM } from './header.ts';
import type { Qcow2Header } from './header.ts';
import { TableCache, entryOffset, makeEntry, readEntry, writeEntry } from './tables.ts';
import type { Table } from './tables.ts';

const CACHED_BLOCKS = 32;
/** Clusters behind the end of the file that may be counted: tables that were not written yet. */
const SCAN_BEYOND = 1 << 20;

/** Reads and writes the counter of `2^order` bits at `index` of a block. @throws RangeError when a value does not fit */
export function readRefcount(view: DataView, order: number, index: number): number {
  if (order < 3) {
    const perByte = 8 >> order;
    const bits = 1 << order;
    return (view.getUint8(Math.floor(index / perByte)) >> ((index % perByte) * bits)) & ((1 << bits) - 1);
  }
  if (order === 3) return view.getUint8(index);
  if (order === 4) return view.getUint16(index * 2);
  if (order === 5) return view.getUint32(index * 4);
  return view.getUint32(index * 8) * 2 ** 32 + view.getUint32(index * 8 + 4);
}

export function writeRefcount(view: DataView, order: number, index: number, value: number): void {
  if (value < 0 || value >= 2 ** (1 << order)) throw new RangeError(`a refcount of ${1 << order} bits cannot be ${value}`);
  if (order < 3) {
    const perByte = 8 >> order;
    const bits = 1 << order;
    const at = Math.floor(index / perByte);
    const shift = (index % perByte) * bits;
    view.setUint8(at, (view.getUint8(at) & ~(((1 << bits) - 1) << shift)) | (value << shift));
  } else if (order === 3) view.setUint8(index, value);
  else if (order === 4) view.setUint16(index * 2, value);
  else if (order === 5) view.setUint32(index * 4, value);
  else {
    view.setUint32(index * 8, Math.floor(value / 2 ** 32));
    view.setUint32(index * 8 + 4, value % 2 ** 32);
  }
}

export class Refcounts {
  readonly #storage: ImageStorage;
  readonly #order: number;
  readonly #cluster: number;
  readonly #perBlock: number;
  readonly #blocks: TableCache;
  #table: DataView;
  #tableOffset: number;
  #tableDirty = false;
  /** Clusters that hold the table and the blocks. */
  #tables: Set<number>;
  /** No cluster below is free. */
  #hint = 0;
  /** Clusters that lose a user once nothing on the disk points to them any more. */
  #released: number[] = [];

  private constructor(storage: ImageStorage, header: Qcow2Header, table: Uint8Array) {
    this.#storage = storage;
    this.#order = header.refcountOrder;
    this.#cluster = 2 ** header.clusterBits;
    this.#perBlock = (this.#cluster * 8) / (1 << header.refcountOrder);
    this.#blocks = new TableCache(storage, this.#cluster, CACHED_BLOCKS);
    this.#table = new DataView(table.buffer);
    this.#tableOffset = header.refcountTableOffset;
    this.#tables = new Set(this.#places());
  }

  static async open(storage: ImageStorage, header: Qcow2Header): Promise<Refcounts> {
    const table = new Uint8Array(header.refcountTableClusters * 2 ** header.clusterBits);
    await storage.read(header.refcountTableOffset, table);
    return new Refcounts(storage, header, table);
  }

  /** Whether a cluster holds the table or a block. */
  holds(cluster: number): boolean {
    return this.#tables.has(cluster);
  }

  /** Users of a cluster, by its number in the file. */
  async get(cluster: number): Promise<number> {
    const block = await this.#block(Math.floor(cluster / this.#perBlock));
    return block === null ? 0 : readRefcount(block.view, this.#order, cluster % this.#perBlock);
  }

  /** @throws BlockError `corrupt` when the count does not fit its bits */
  async set(cluster: number, users: number): Promise<void> {
    const index = Math.floor(cluster / this.#perBlock);
    const block = (await this.#block(index)) ?? (users === 0 ? null : await this.#addBlock(index));
    if (block !== null) this.#write(block, cluster, users);
  }

  /** Takes `count` adjoining free clusters; returns the offset of the first. */
  async allocate(count: number): Promise<number> {
    const end = Math.ceil(this.#storage.length / this.#cluster) + SCAN_BEYOND;
    let run = 0;
    let block: Table | null = null;
    for (let cluster = this.#hint; cluster < end + count; cluster++) {
      const index = Math.floor(cluster / this.#perBlock);
      if (block === null || cluster % this.#perBlock === 0) block = await this.#block(index);
      if (block === null) {
        await this.#createBlock(index, cluster);
        run = 0;
      } else {
        run = readRefcount(block.view, this.#order, cluster % this.#perBlock) === 0 ? run + 1 : 0;
      }
      if (run === count) return this.#take(cluster - count + 1, count);
    }
    throw new BlockError('corrupt', `${this.#storage.path}: its refcounts say that clusters far behind the end of the file are in use`);
  }

  /** One more user of a cluster. */
  async retain(cluster: number): Promise<void> {
    await this.set(cluster, (await this.get(cluster)) + 1);
  }

  /** One user less, from the next flush on: until then the disk's tables still point there. */
  release(cluster: number): void {
    this.#released.push(cluster);
  }

  /** Takes an allocation back that nothing has pointed to. */
  async cancel(offset: number, count: number): Promise<void> {
    const first = offset / this.#cluster;
    for (let cluster = first; cluster < first + count; cluster++) await this.set(cluster, 0);
    this.#hint = Math.min(this.#hint, first);
  }

  get crowded(): boolean {
    return this.#blocks.crowded || this.#released.length > 65536;
  }

  /** Writes new counts: blocks before the table that names them. Returns whether anything was written. */
  async flush(): Promise<boolean> {
    let written = await this.#blocks.flush();
    if (this.#tableDirty) {
      await this.#storage.sync();
      await this.#storage.write(this.#tableOffset, new Uint8Array(this.#table.buffer));
      this.#tableDirty = false;
      written = true;
    }
    return written;
  }

  /** After the tables that pointed there are on the disk: what was released becomes free. A crash before leaks clusters and breaks nothing. */
  async applyReleases(): Promise<void> {
    const released = this.#released;
    this.#released = [];
    for (const cluster of released) {
      const users = await this.get(cluster);
      if (users === 0) throw new BlockError('corrupt', `${this.#storage.path}: cluster ${cluster} was in use with a refcount of 0`);
      await this.set(cluster, users - 1);
      if (users === 1) this.#hint = Math.min(this.#hint, cluster);
    }
  }

  #places(): number[] {
    const first = this.#tableOffset / this.#cluster;
    const table = Array.from({ length: this.#table.byteLength / this.#cluster }, (_, index) => first + index);
    const blocks = Array.from({ length: this.#entries }, (_, index) => entryOffset(readEntry(this.#table, index)) / this.#cluster);
    return [...table, ...blocks.filter(cluster => cluster !== 0)];
  }

  get #entries(): number {
    return this.#table.byteLength / 8;
  }

  async #block(index: number): Promise<Table | null> {
    if (index >= this.#entries) return null;
    const offset = entryOffset(readEntry(this.#table, index));
    if (offset === 0) return null;
    const block = await this.#blocks.get(offset);
    if (block !== null) return block;
    throw new BlockError('corrupt', `${this.#storage.path}: refcount block ${index} lies at ${offset}, where it cannot be`);
  }

  #write(block: Table, cluster: number, users: number): void {
    try {
      writeRefcount(block.view, this.#order, cluster % this.#perBlock, users);
    } catch {
      throw new BlockError('corrupt', `${this.#storage.path}: cluster ${cluster} has more users than its refcount can say`);
    }
    block.dirty = true;
  }

  async #take(first: number, count: number): Promise<number> {
    for (let cluster = first; cluster < first + count; cluster++) await this.set(cluster, 1);
    // Nothing was skipped below the run unless it was too short for this one.
    if (count === 1 || this.#hint === first) this.#hint = first + count;
    return first * this.#cluster;
  }

  /** A block for clusters that have none yet. It lies in `cluster`, one of those, and counts itself. */
  async #createBlock(index: number, cluster: number): Promise<Table> {
    if (index >= this.#entries) await this.#growTable(index);
    const block = this.#blocks.create(cluster * this.#cluster);
    this.#write(block, cluster, 1);
    writeEntry(this.#table, index, makeEntry(cluster * this.#cluster, 0));
    this.#tableDirty = true;
    this.#tables.add(cluster);
    return block;
  }

  /** A block for clusters that are in use and have none: the repair of a damaged image. It goes behind the end of the file. */
  async #addBlock(index: number): Promise<Table> {
    const place = Math.ceil(this.#storage.length / this.#cluster);
    await this.#storage.write(place * this.#cluster, new Uint8Array(this.#cluster));
    if (index >= this.#entries) await this.#growTable(index);
    const block = this.#blocks.create(place * this.#cluster);
    writeEntry(this.#table, index, makeEntry(block.offset, 0));
    this.#tableDirty = true;
    this.#tables.add(place);
    await this.set(place, 1);
    return block;
  }

  /**
   * Moves the table to more room, behind everything that the old one covers, where nothing is counted yet. The blocks that count the
   * new place come first, then the table, then the header's pointer to it, each on the disk before the next.
   */
  async #growTable(index: number): Promise<void> {
    const perCluster = this.#cluster / 8;
    const first = Math.max(this.#entries * this.#perBlock, Math.ceil(this.#storage.length / this.#cluster), (index + 1) * this.#perBlock);
    const aligned = Math.ceil(first / this.#perBlock) * this.#perBlock;
    const wanted = Math.ceil((aligned / this.#perBlock) * 1.5) + 2;
    const tableClusters = Math.ceil(wanted / perCluster);
    if (tableClusters * this.#cluster > TABLE_BYTES_MAXIMUM) throw new BlockError('full', `${this.#storage.path} has no room for more refcounts`);
    const table = new DataView(new ArrayBuffer(tableClusters * this.#cluster));
    new Uint8Array(table.buffer).set(new Uint8Array(this.#table.buffer));
    const blockCount = Math.ceil((tableClusters + 1) / (this.#perBlock - 1));
    const tableAt = aligned + blockCount;
    for (let number = 0; number < blockCount; number++) {
      const block = this.#blocks.create((aligned + number) * this.#cluster);
      for (let cluster = aligned; cluster < tableAt + tableClusters; cluster++) {
        if (Math.floor(cluster / this.#perBlock) === aligned / this.#perBlock + number) this.#write(block, cluster, 1);
      }
      writeEntry(table, aligned / this.#perBlock + number, makeEntry(block.offset, 0));
    }
    await this.flush();
    await this.#storage.write(tableAt * this.#cluster, new Uint8Array(table.buffer));
    await this.#storage.sync();
    const pointer = new DataView(new ArrayBuffer(12));
    pointer.setBigUint64(0, BigInt(tableAt * this.#cluster));
    pointer.setUint32(8, tableClusters);
    await this.#storage.write(48, new Uint8Array(pointer.buffer));
    await this.#storage.sync();
    const before = { first: this.#tableOffset / this.#cluster, count: this.#table.byteLength / this.#cluster };
    this.#table = table;
    this.#tableOffset = tableAt * this.#cluster;
    this.#tables = new Set(this.#places());
    for (let cluster = before.first; cluster < before.first + before.count; cluster++) this.release(cluster);
  }
}
