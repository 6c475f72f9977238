/** Compares an image's refcounts with what its tables use, and mends them. Nothing of the image is believed. */
import { badImage } from '../errors.ts';
import type { ImageStorage } from '../storage.ts';
import { incompatible, readHeader } from './header.ts';
import type { Qcow2Header } from './header.ts';
import { Refcounts } from './refcounts.ts';
import { COMPRESSED, COPIED, ZERO, entryOffset, readEntry, writeEntry } from './tables.ts';

export interface CheckReport {
  /** Defects by which data is, or may come to be, lost. The first hundred have their text. */
  readonly corruptions: number;
  /** Clusters that are counted and not used: room is lost, nothing else. */
  readonly leaks: number;
  readonly messages: readonly string[];
  readonly allocatedClusters: number;
  readonly totalClusters: number;
  /** What a repair changed. */
  readonly repaired: number;
}

/** `leaks` lowers counts that are too high; `all` makes all counts, and the marks that depend on them, what they must be. */
export type Repair = 'none' | 'leaks' | 'all';

const MESSAGES_MAXIMUM = 100;
const CLUSTERS_MAXIMUM = 2 ** 28;
const SNAPSHOTS_MAXIMUM = 65536;

/**
 * Before an image is written to: one that was not closed has counts to mend first.
 * @throws ContractError `bad-image` when it is marked as corrupt
 */
export async function makeWritable(storage: ImageStorage): Promise<void> {
  const { incompatibleFeatures } = await readHeader(storage);
  if ((incompatibleFeatures & incompatible.corrupt) !== 0) {
    throw badImage(storage.path, 'is marked as corrupt', 'Repair it with `vanderpool disk check --repair all`, or attach it read-only.');
  }
  if ((incompatibleFeatures & incompatible.dirty) !== 0) await checkQcow2(storage, 'all');
}

/** @throws ContractError `bad-image` when the header cannot be understood at all */
export async function checkQcow2(storage: ImageStorage, repair: Repair): Promise<CheckReport> {
  const header = await readHeader(storage);
  return new Check(storage, header, repair).run();
}

/** An entry whose COPIED mark may be wrong. */
interface Pointer {
  readonly table: number;
  readonly index: number;
  readonly cluster: number;
  readonly copied: boolean;
}

class Check {
  readonly #storage: ImageStorage;
  readonly #header: Qcow2Header;
  readonly #repair: Repair;
  readonly #cluster: number;
  readonly #used: Uint32Array;
  readonly #messages: string[] = [];
  readonly #pointers: Pointer[] = [];
  #corruptions = 0;
  #leaks = 0;
  #repaired = 0;
  #allocated = 0;

  constructor(storage: ImageStorage, header: Qcow2Header, repair: Repair) {
    this.#storage = storage;
    this.#header = header;
    this.#repair = repair;
    this.#cluster = 2 ** header.clusterBits;
    const clusters = Math.ceil(storage.length / this.#cluster);
    if (clusters > CLUSTERS_MAXIMUM) throw badImage(storage.path, `has ${clusters} clusters, too many to check`, 'Convert it to larger clusters.');
    this.#used = new Uint32Array(clusters);
  }

  async run(): Promise<CheckReport> {
    const header = this.#header;
    this.#use(0, this.#cluster, 'the header');
    this.#use(header.l1Offset, header.l1Entries * 8, 'the L1 table');
    this.#use(header.refcountTableOffset, header.refcountTableClusters * this.#cluster, 'the refcount table');
    await this.#walkL1(header.l1Offset, header.l1Entries, true);
    await this.#walkSnapshots();
    await this.#useRefcountBlocks();
    await this.#compareCounts();
    await this.#compareMarks();
    if (this.#repair === 'all') await this.#clearMarks();
    return {
      corruptions: this.#corruptions, leaks: this.#leaks, messages: this.#messages, repaired: this.#repaired,
      allocatedClusters: this.#allocated, totalClusters: Math.ceil(header.size / this.#cluster),
    };
  }

  #report(message: string): void {
    this.#corruptions += 1;
    if (this.#messages.length < MESSAGES_MAXIMUM) this.#messages.push(message);
  }

  /** Counts a use of every cluster that the bytes touch. Returns whether they lie within the file. */
  #use(offset: number, length: number, what: string, aligned = true): boolean {
    const first = Math.floor(offset / this.#cluster);
    const last = Math.floor((offset + Math.max(1, length) - 1) / this.#cluster);
    if ((aligned && offset % this.#cluster !== 0) || last >= this.#used.length) {
      this.#report(`${what} lies at ${offset}, ${last >= this.#used.length ? 'behind the end of the file' : 'which is no cluster'}`);
      return false;
    }
    for (let cluster = first; cluster <= last; cluster++) this.#used[cluster] = (this.#used[cluster] ?? 0) + 1;
    return true;
  }

  async #walkL1(offset: number, entries: number, active: boolean): Promise<void> {
    const l1 = await this.#load(offset, entries * 8);
    for (let index = 0; index < entries; index++) {
      const entry = readEntry(l1, index);
      const l2 = entryOffset(entry);
      if (l2 === 0 || !this.#use(l2, this.#cluster, `L2 table ${index}`)) continue;
      if (active) this.#pointers.push({ table: offset, index, cluster: l2 / this.#cluster, copied: (entry.high & COPIED) !== 0 });
      await this.#walkL2(l2, index, active);
    }
  }

  async #walkL2(offset: number, l1Index: number, active: boolean): Promise<void> {
    const l2 = await this.#load(offset, this.#cluster);
    for (let index = 0; index < this.#cluster / 8; index++) {
      const entry = readEntry(l2, index);
      if (entry.high === 0 && (entry.low & ~ZERO) === 0) continue;
      const what = `cluster ${l1Index * (this.#cluster / 8) + index} of the disk`;
      if (active) this.#allocated += 1;
      if ((entry.high & COMPRESSED) !== 0) {
        const shift = 2 ** (62 - (this.#header.clusterBits - 8) - 32);
        const at = ((entry.high & 0x3fffffff) % shift) * 2 ** 32 + entry.low;
        const end = Math.floor(at / 512) * 512 + (Math.floor((entry.high & 0x3fffffff) / shift) + 1) * 512;
        if (at >= this.#storage.length) this.#report(`${what} lies at ${at}, behind the end of the file`);
        else this.#use(at, Math.min(end, this.#used.length * this.#cluster) - at, what, false);
      } else if (this.#use(entryOffset(entry), this.#cluster, what) && active) {
        this.#pointers.push({ table: offset, index, cluster: entryOffset(entry) / this.#cluster, copied: (entry.high & COPIED) !== 0 });
      }
    }
  }

  /** Internal snapshots, made by other programs: each holds an L1 table of its own. @qcow2 "Snapshots" */
  async #walkSnapshots(): Promise<void> {
    const { snapshots, snapshotsOffset } = this.#header;
    if (snapshots === 0) return;
    if (snapshots > SNAPSHOTS_MAXIMUM || snapshotsOffset % this.#cluster !== 0) return this.#report(`its ${snapshots} snapshots at ${snapshotsOffset} cannot be`);
    let at = snapshotsOffset;
    for (let number = 0; number < snapshots; number++) {
      const head = await this.#load(at, 40);
      const l1Offset = Number(head.getBigUint64(0));
      const l1Entries = head.getUint32(8);
      at += Math.ceil((40 + head.getUint32(36) + head.getUint16(12) + head.getUint16(14)) / 8) * 8;
      if (l1Entries * 8 > this.#storage.length || at >= this.#storage.length + 8) return this.#report(`snapshot ${number} cannot be`);
      if (this.#use(l1Offset, l1Entries * 8, `the L1 table of snapshot ${number}`)) await this.#walkL1(l1Offset, l1Entries, false);
    }
    this.#use(snapshotsOffset, at - snapshotsOffset, 'the snapshot table');
  }

  async #useRefcountBlocks(): Promise<void> {
    const { refcountTableOffset, refcountTableClusters } = this.#header;
    const table = await this.#load(refcountTableOffset, refcountTableClusters * this.#cluster);
    for (let index = 0; index < table.byteLength / 8; index++) {
      const offset = entryOffset(readEntry(table, index));
      if (offset !== 0) this.#use(offset, this.#cluster, `refcount block ${index}`);
    }
  }

  async #compareCounts(): Promise<void> {
    const refcounts = await Refcounts.open(this.#storage, this.#header);
    for (let cluster = 0; cluster < this.#used.length; cluster++) {
      const counted = await refcounts.get(cluster);
      const used = this.#used[cluster] ?? 0;
      if (counted === used) continue;
      if (counted > used) this.#leaks += 1;
      else this.#report(`cluster ${cluster} has ${used} users and a refcount of ${counted}`);
      if (this.#repair === 'all' || (this.#repair === 'leaks' && counted > used)) {
        await refcounts.set(cluster, used);
        this.#repaired += 1;
      }
    }
    if (this.#repaired === 0) return;
    await refcounts.flush();
    await this.#storage.sync();
  }

  /** The COPIED mark allows writing in place: it must be there exactly where there is one user. */
  async #compareMarks(): Promise<void> {
    for (const { table, index, cluster, copied } of this.#pointers) {
      if (copied === (this.#used[cluster] === 1)) continue;
      this.#report(`entry ${index} of the table at ${table} is${copied ? '' : ' not'} marked as the only user of cluster ${cluster}`);
      if (this.#repair !== 'all') continue;
      const entry = await this.#load(table + index * 8, 8);
      const { high, low } = readEntry(entry, 0);
      writeEntry(entry, 0, { high: (high ^ COPIED) >>> 0, low });
      await this.#storage.write(table + index * 8, new Uint8Array(entry.buffer));
      this.#repaired += 1;
    }
  }

  /** A repaired image is neither dirty nor, when nothing is left that could not be repaired, corrupt. */
  async #clearMarks(): Promise<void> {
    if (this.#header.version === 2) return;
    const beyondRepair = this.#corruptions > this.#repaired - this.#leaks;
    const kept = ~(incompatible.dirty | (beyondRepair ? 0 : incompatible.corrupt));
    if ((this.#header.incompatibleFeatures & ~kept) === 0) return;
    await this.#storage.sync();
    await this.#storage.write(79, new Uint8Array([this.#header.incompatibleFeatures & kept]));
    await this.#storage.sync();
  }

  async #load(offset: number, length: number): Promise<DataView> {
    const bytes = new Uint8Array(length);
    await this.#storage.read(offset, bytes);
    return new DataView(bytes.buffer);
  }
}
