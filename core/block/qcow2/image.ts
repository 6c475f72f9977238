/** A qcow2 image as a disk. Metadata is changed in memory and reaches the file in an order that a crash at any point leaves consistent. */
import { BlockError, checkRange } from '../blockDevice.ts';
import type { BlockDevice } from '../blockDevice.ts';
import { Gate } from '../gate.ts';
import type { ImageStorage } from '../storage.ts';
import { compress, decompress } from './compression.ts';
import { incompatible, readHeader } from './header.ts';
import type { Qcow2Header } from './header.ts';
import { Refcounts } from './refcounts.ts';
import { COMPRESSED, COPIED, TableCache, ZERO, entryOffset, makeEntry, readEntry, writeEntry } from './tables.ts';
import type { Entry, Table } from './tables.ts';

/** Memory for L2 tables: 4 MiB of them map 32 GiB in clusters of 64 KiB. */
const L2_CACHE_BYTES = 4 * 1024 * 1024;
/** The longest piece that is allocated and written at once. */
const RUN_BYTES = 2 * 1024 * 1024;

/** What an L2 entry says of a cluster. */
type Mapping =
  | { readonly kind: 'unallocated' }
  /** Reads as zeros; `offset` is a cluster kept for it, or 0. */
  | { readonly kind: 'zero'; readonly offset: number; readonly owned: boolean }
  | { readonly kind: 'data'; readonly offset: number; readonly owned: boolean }
  | { readonly kind: 'compressed'; readonly offset: number; readonly length: number };

/** A run of bytes that are all mapped alike, in adjoining clusters of the file. */
interface Extent {
  readonly mapping: Mapping;
  /** Of the run's first byte in its cluster. */
  readonly within: number;
  readonly length: number;
}

const UNALLOCATED: Mapping = { kind: 'unallocated' };

export class Qcow2Image implements BlockDevice {
  readonly size: number;
  readonly readOnly: boolean;
  readonly header: Qcow2Header;
  readonly backing: BlockDevice | null;
  readonly clusterBytes: number;
  readonly #storage: ImageStorage;
  readonly #refcounts: Refcounts;
  readonly #l1: DataView;
  readonly #l2: TableCache;
  readonly #l2Entries: number;
  readonly #gate = new Gate();
  /** Clusters that hold the header, the L1 table and L2 tables: no entry may send a guest's data there. */
  readonly #metadata: Set<number>;
  #l1Dirty = false;
  #corrupt = false;
  /** Where the next compressed cluster goes, in a cluster that compressed ones share; 0: nowhere yet. */
  #packAt = 0;

  private constructor(storage: ImageStorage, header: Qcow2Header, backing: BlockDevice | null, refcounts: Refcounts, l1: Uint8Array) {
    this.#storage = storage;
    this.header = header;
    this.backing = backing;
    this.size = header.size;
    this.readOnly = storage.readOnly;
    this.clusterBytes = 2 ** header.clusterBits;
    this.#l2Entries = this.clusterBytes / 8;
    this.#refcounts = refcounts;
    this.#l1 = new DataView(l1.buffer);
    this.#l2 = new TableCache(storage, this.clusterBytes, Math.max(4, L2_CACHE_BYTES / this.clusterBytes));
    this.#metadata = new Set(this.#metadataClusters());
  }

  /**
   * Opens an image that needs no repair (qcow2/check.ts). The backing disk becomes the image's own: it closes it.
   * @throws ContractError `bad-image`
   */
  static async open(storage: ImageStorage, backing: BlockDevice | null): Promise<Qcow2Image> {
    const header = await readHeader(storage);
    const l1 = new Uint8Array(header.l1Entries * 8);
    await storage.read(header.l1Offset, l1);
    const image = new Qcow2Image(storage, header, backing, await Refcounts.open(storage, header), l1);
    if (!storage.readOnly && header.autoclear) await storage.write(88, new Uint8Array(8));
    return image;
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    checkRange(this, offset, into.length);
    await this.#gate.shared(() => this.#read(offset, into));
  }

  async write(offset: number, from: Uint8Array): Promise<void> {
    this.#checkWrite(offset, from.length);
    const done = await this.#gate.shared(() => this.#writeInPlace(offset, from));
    if (done < from.length) await this.#changing(() => this.#writeAnywhere(offset + done, from.subarray(done)));
  }

  async flush(): Promise<void> {
    if (this.readOnly) return;
    await this.#gate.exclusive(async () => {
      await this.#flushMetadata();
      await this.#storage.sync();
    });
  }

  async discard(offset: number, length: number): Promise<void> {
    this.#checkWrite(offset, length);
    // Version 2 has no zero clusters: the backing file would show through.
    if (this.backing !== null && this.header.version === 2) return;
    await this.#changing(() => this.#forget(offset, length, false));
  }

  async zero(offset: number, length: number): Promise<void> {
    this.#checkWrite(offset, length);
    await this.#changing(() => this.#forget(offset, length, true));
  }

  async close(): Promise<void> {
    try {
      await this.flush();
      if (!this.readOnly) {
        // What the flush released is free now.
        await this.#gate.exclusive(() => this.#flushMetadata());
        await this.#storage.sync();
      }
    } finally {
      await this.#storage.close();
      await this.backing?.close();
    }
  }

  /** Writes one whole cluster compressed, or plainly when that is no shorter. For new images: nothing may be mapped there. */
  async writeCompressed(offset: number, cluster: Uint8Array): Promise<void> {
    const packed = cluster.length === this.clusterBytes ? compress(cluster, this.header.compression) : null;
    if (packed === null) return this.write(offset, cluster);
    this.#checkWrite(offset, cluster.length);
    await this.#changing(async () => {
      const at = await this.#packPlace(packed.length);
      await this.#storage.write(at, packed);
      const sectors = Math.floor((at + packed.length - 1) / 512) - Math.floor(at / 512);
      const table = await this.#ownedL2(this.#l1Index(offset));
      // The sector count lies above the offset, in as many bits as a cluster has sectors. @qcow2 "Compressed Clusters Descriptor"
      const high = Math.floor(at / 2 ** 32) + sectors * 2 ** (62 - (this.header.clusterBits - 8) - 32);
      this.#setEntry(table, this.#l2Index(offset), { high: (high | COMPRESSED) >>> 0, low: at % 2 ** 32 });
    });
  }

  /** Runs of the disk that this image itself has something for, in order; elsewhere the backing disk shows through. */
  async *ownRuns(): AsyncGenerator<{ readonly offset: number; readonly length: number; readonly zeros: boolean }> {
    for (let offset = 0; offset < this.size;) {
      const { mapping, length } = await this.#gate.shared(() => this.#extent(offset, Math.min(this.size - offset, RUN_BYTES)));
      if (mapping.kind !== 'unallocated') yield { offset, length, zeros: mapping.kind === 'zero' };
      offset += length;
    }
  }

  // ---- Mapping ------------------------------------------------------------------------------------------------------

  #l1Index(position: number): number {
    return Math.floor(position / (this.clusterBytes * this.#l2Entries));
  }

  #l2Index(position: number): number {
    return Math.floor(position / this.clusterBytes) % this.#l2Entries;
  }

  /** The run of like-mapped bytes from `position` on, at most `limit` of them. */
  async #extent(position: number, limit: number): Promise<Extent> {
    const within = position % this.clusterBytes;
    const l1Index = this.#l1Index(position);
    const first = this.#l2Index(position);
    const table = await this.#l2Table(l1Index);
    if (table === null) return { mapping: UNALLOCATED, within, length: Math.min(limit, (this.#l2Entries - first) * this.clusterBytes - within) };
    const mapping = this.#mapping(readEntry(table.view, first));
    let clusters = 1;
    while (clusters * this.clusterBytes - within < limit && first + clusters < this.#l2Entries
      && continues(mapping, this.#mapping(readEntry(table.view, first + clusters)), clusters * this.clusterBytes)) clusters += 1;
    return { mapping, within, length: Math.min(limit, clusters * this.clusterBytes - within) };
  }

  async #l2Table(l1Index: number): Promise<Table | null> {
    const offset = entryOffset(readEntry(this.#l1, l1Index));
    if (offset === 0) return null;
    return (await this.#l2.get(offset)) ?? this.#damaged(`L2 table ${l1Index} lies at ${offset}, where it cannot be`);
  }

  #mapping(entry: Entry): Mapping {
    if ((entry.high & COMPRESSED) !== 0) return this.#compressedMapping(entry);
    const offset = entryOffset(entry);
    const owned = (entry.high & COPIED) !== 0;
    if (this.header.version === 3 && (entry.low & ZERO) !== 0) return { kind: 'zero', offset, owned };
    return offset === 0 ? UNALLOCATED : { kind: 'data', offset, owned };
  }

  #compressedMapping({ high, low }: Entry): Mapping {
    const shift = 2 ** (62 - (this.header.clusterBits - 8) - 32);
    const upper = high & 0x3fffffff;
    const offset = (upper % shift) * 2 ** 32 + low;
    return { kind: 'compressed', offset, length: (Math.floor(upper / shift) + 1) * 512 - (offset % 512) };
  }

  // ---- Reading ------------------------------------------------------------------------------------------------------

  async #read(position: number, into: Uint8Array): Promise<void> {
    for (let at = 0; at < into.length;) {
      const extent = await this.#extent(position + at, into.length - at);
      await this.#readExtent(extent, position + at, into.subarray(at, at + extent.length));
      at += extent.length;
    }
  }

  async #readExtent({ mapping, within }: Extent, position: number, into: Uint8Array): Promise<void> {
    switch (mapping.kind) {
      case 'unallocated': return this.#readBacking(position, into);
      case 'zero': return void into.fill(0);
      case 'data':
        this.#checkData(mapping.offset, within + into.length);
        return this.#storage.read(mapping.offset + within, into);
      case 'compressed': {
        const cluster = await this.#unpack(mapping.offset, mapping.length);
        into.set(cluster.subarray(within, within + into.length));
      }
    }
  }

  /** The backing disk may be shorter than this one. */
  async #readBacking(position: number, into: Uint8Array): Promise<void> {
    const covered = Math.max(0, Math.min(into.length, (this.backing?.size ?? 0) - position));
    if (covered > 0) await this.backing?.read(position, into.subarray(0, covered));
    into.fill(0, covered);
  }

  async #unpack(offset: number, length: number): Promise<Uint8Array> {
    if (offset >= this.#storage.length) return this.#damaged(`a compressed cluster lies at ${offset}, behind the end of the file`);
    const packed = new Uint8Array(Math.min(length, this.#storage.length - offset));
    await this.#storage.read(offset, packed);
    return decompress(packed, this.clusterBytes, this.header.compression) ?? this.#damaged(`the compressed cluster at ${offset} cannot be unpacked`);
  }

  // ---- Writing ------------------------------------------------------------------------------------------------------

  #checkWrite(offset: number, length: number): void {
    checkRange(this, offset, length);
    if (this.readOnly) throw new BlockError('read-only', `${this.#storage.path} is attached read-only`);
    if (this.#corrupt) throw new BlockError('corrupt', `${this.#storage.path} is damaged: nothing more is written to it`);
  }

  /** Writes as far as clusters are there to be written; returns how many bytes that was. */
  async #writeInPlace(position: number, from: Uint8Array): Promise<number> {
    let at = 0;
    while (at < from.length) {
      const { mapping, within, length } = await this.#extent(position + at, from.length - at);
      if (mapping.kind !== 'data' || !mapping.owned) break;
      this.#checkData(mapping.offset, within + length);
      await this.#storage.write(mapping.offset + within, from.subarray(at, at + length));
      at += length;
    }
    return at;
  }

  async #writeAnywhere(position: number, from: Uint8Array): Promise<void> {
    for (let at = 0; at < from.length;) {
      at += await this.#writeInPlace(position + at, from.subarray(at));
      if (at === from.length) return;
      const { length } = await this.#extent(position + at, Math.min(from.length - at, RUN_BYTES));
      await this.#writeNew(position + at, from.subarray(at, at + length));
      at += length;
    }
  }

  /** Puts a run into new clusters; what it does not cover of the first and the last is copied from where it was. */
  async #writeNew(position: number, from: Uint8Array): Promise<void> {
    const head = position % this.clusterBytes;
    const count = Math.ceil((head + from.length) / this.clusterBytes);
    const table = await this.#ownedL2(this.#l1Index(position));
    const bytes = head === 0 && from.length === count * this.clusterBytes ? from : await this.#filled(position - head, count * this.clusterBytes, head, from);
    const offset = await this.#allocate(count);
    try {
      await this.#storage.write(offset, bytes);
    } catch (error) {
      await this.#refcounts.cancel(offset, count);
      throw error;
    }
    const first = this.#l2Index(position);
    for (let index = 0; index < count; index++) this.#setEntry(table, first + index, makeEntry(offset + index * this.clusterBytes));
  }

  /** `length` bytes of the disk as they are, with `from` laid over them at `head`. */
  async #filled(start: number, length: number, head: number, from: Uint8Array): Promise<Uint8Array> {
    const bytes = new Uint8Array(length);
    const end = head + from.length;
    const lastStart = Math.floor(end / this.clusterBytes) * this.clusterBytes;
    const keep = (at: number, until: number): Promise<void> => this.#read(start + at, bytes.subarray(at, Math.max(at, Math.min(until, this.size - start))));
    if (head > 0) await keep(0, head);
    if (end > lastStart) await keep(end, length);
    bytes.set(from, head);
    return bytes;
  }

  async #allocate(count: number): Promise<number> {
    const offset = await this.#refcounts.allocate(count);
    const first = offset / this.clusterBytes;
    for (let cluster = first; cluster < first + count; cluster++) {
      if (this.#holdsTable(cluster)) return this.#damaged(`cluster ${cluster} holds a table and is counted as free`);
    }
    return offset;
  }

  /** The L2 table of an L1 entry, made or copied when it is missing or shared with a snapshot. */
  async #ownedL2(l1Index: number): Promise<Table> {
    const entry = readEntry(this.#l1, l1Index);
    const before = await this.#l2Table(l1Index);
    if (before !== null && (entry.high & COPIED) !== 0) return before;
    const offset = await this.#allocate(1);
    const table = this.#l2.create(offset, before ?? undefined);
    if (before !== null) {
      this.#refcounts.release(before.offset / this.clusterBytes);
      this.#metadata.delete(before.offset / this.clusterBytes);
    }
    this.#metadata.add(offset / this.clusterBytes);
    writeEntry(this.#l1, l1Index, makeEntry(offset));
    this.#l1Dirty = true;
    return table;
  }

  #setEntry(table: Table, index: number, entry: Entry): void {
    const before = this.#mapping(readEntry(table.view, index));
    writeEntry(table.view, index, entry);
    table.dirty = true;
    if (before.kind === 'compressed') {
      const last = Math.floor((before.offset + before.length - 1) / this.clusterBytes);
      for (let cluster = Math.floor(before.offset / this.clusterBytes); cluster <= last; cluster++) this.#refcounts.release(cluster);
    } else if (before.kind !== 'unallocated' && before.offset !== 0) {
      this.#refcounts.release(before.offset / this.clusterBytes);
    }
  }

  /** Room for a compressed cluster, in the cluster where the last one ended or in a new one. */
  async #packPlace(length: number): Promise<number> {
    const used = this.#packAt % this.clusterBytes;
    if (this.#packAt === 0 || used === 0 || used + length > this.clusterBytes) this.#packAt = await this.#allocate(1);
    else await this.#refcounts.retain(Math.floor(this.#packAt / this.clusterBytes));
    const at = this.#packAt;
    this.#packAt += length;
    return at;
  }

  // ---- Zeros and discards -------------------------------------------------------------------------------------------

  /** Unmaps whole clusters; of those that are covered in part, writes zeros when `exact`. */
  async #forget(offset: number, length: number, exact: boolean): Promise<void> {
    const end = offset + length;
    for (let position = offset; position < end;) {
      const { mapping, length: alike } = await this.#extent(position, end - position);
      const next = this.#readsZero(mapping) ? position + alike : Math.min(end, (Math.floor(position / this.clusterBytes) + 1) * this.clusterBytes);
      const whole = position % this.clusterBytes === 0 && (next % this.clusterBytes === 0 || next === this.size);
      if (this.#readsZero(mapping)) {
        // A cluster that is kept for zeros stays: its owner may have wanted the room.
      } else if (whole && (this.backing === null || this.header.version === 3)) {
        await this.#unmap(position);
      } else if (exact) {
        await this.#writeAnywhere(position, new Uint8Array(next - position));
      }
      position = next;
    }
  }

  #readsZero({ kind }: Mapping): boolean {
    return kind === 'zero' || (kind === 'unallocated' && this.backing === null);
  }

  async #unmap(position: number): Promise<void> {
    const table = await this.#ownedL2(this.#l1Index(position));
    // A snapshot may still hold the cluster; this disk's zeros are an entry of its own.
    this.#setEntry(table, this.#l2Index(position), { high: 0, low: this.backing === null ? 0 : ZERO });
  }

  // ---- Metadata -----------------------------------------------------------------------------------------------------

  /** Runs something that changes metadata, alone in the image, and writes it out when much has gathered. */
  #changing(action: () => Promise<void>): Promise<void> {
    return this.#gate.exclusive(async () => {
      this.#checkWrite(0, 0);
      await action();
      if (this.#l2.crowded || this.#refcounts.crowded) await this.#flushMetadata();
    });
  }

  /**
   * Counts before what points to the clusters counted, pointers before counts go down: whatever of it a crash leaves undone, no cluster
   * that something points to is counted as free.
   */
  async #flushMetadata(): Promise<void> {
    if (this.#corrupt) return;
    if (await this.#refcounts.flush()) await this.#storage.sync();
    const tables = await this.#l2.flush();
    if (this.#l1Dirty) {
      if (tables) await this.#storage.sync();
      await this.#storage.write(this.header.l1Offset, new Uint8Array(this.#l1.buffer));
      this.#l1Dirty = false;
    }
    if (tables) await this.#storage.sync();
    await this.#refcounts.applyReleases();
  }

  #metadataClusters(): number[] {
    const run = (offset: number, bytes: number): number[] => Array.from({ length: Math.ceil(bytes / this.clusterBytes) }, (_, index) => offset / this.clusterBytes + index);
    const l2 = Array.from({ length: this.header.l1Entries }, (_, index) => entryOffset(readEntry(this.#l1, index)) / this.clusterBytes);
    return [0, ...run(this.header.l1Offset, this.header.l1Entries * 8), ...l2.filter(cluster => cluster !== 0)];
  }

  #holdsTable(cluster: number): boolean {
    return this.#metadata.has(cluster) || this.#refcounts.holds(cluster);
  }

  /** Refuses data where none can be: beyond the file, off its cluster, in a table. `length` counts from the run's first cluster on. */
  #checkData(offset: number, length: number): void {
    const first = offset / this.clusterBytes;
    const last = Math.floor((offset + length - 1) / this.clusterBytes);
    if (!Number.isInteger(first) || last * this.clusterBytes >= this.#storage.length) this.#damaged(`a cluster lies at ${offset}, where it cannot be`);
    for (let cluster = first; cluster <= last; cluster++) {
      if (this.#holdsTable(cluster)) this.#damaged(`cluster ${cluster} is data and a table at once`);
    }
  }

  /** Marks the image, so that nobody writes to it before it was repaired, and fails. */
  #damaged(what: string): never {
    if (!this.#corrupt && !this.readOnly && this.header.version === 3) {
      const feature = new Uint8Array([this.header.incompatibleFeatures | incompatible.corrupt]);
      // The mark is all that is lost when this fails as well.
      this.#storage.write(79, feature).catch(() => undefined);
    }
    this.#corrupt = true;
    throw new BlockError('corrupt', `${this.#storage.path} is damaged: ${what}`);
  }
}

/** Whether a further cluster, `distance` bytes on, goes on where the first one leads. */
function continues(first: Mapping, next: Mapping, distance: number): boolean {
  if (first.kind === 'unallocated') return next.kind === 'unallocated';
  if (first.kind === 'zero') return next.kind === 'zero';
  return first.kind === 'data' && next.kind === 'data' && next.owned === first.owned && next.offset === first.offset + distance;
}
