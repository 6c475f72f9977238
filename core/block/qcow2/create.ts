/** New qcow2 images, and larger ones. */
import { badImage } from '../errors.ts';
import type { ImageStorage } from '../storage.ts';
import { makeWritable } from './check.ts';
import { TABLE_BYTES_MAXIMUM, V2_HEADER, V3_HEADER, compatible, encodeHeader, incompatible, readHeader } from './header.ts';
import type { Compression, Qcow2Header } from './header.ts';
import { Refcounts, writeRefcount } from './refcounts.ts';
import { makeEntry, writeEntry } from './tables.ts';

export interface Qcow2Options {
  /** In bytes, a multiple of 512. */
  readonly size: number;
  readonly version: 2 | 3;
  readonly clusterBits: number;
  readonly backing: { readonly file: string; readonly format: string } | null;
  readonly compression: Compression;
  readonly lazyRefcounts: boolean;
}

export const qcow2Defaults: Omit<Qcow2Options, 'size'> = { version: 3, clusterBits: 16, backing: null, compression: 'zlib', lazyRefcounts: false };

const REFCOUNT_ORDER = 4;

/** Writes an image in which nothing is allocated into an empty file: header, refcount table, refcount blocks, L1 table, in this order. */
export async function createQcow2(storage: ImageStorage, options: Qcow2Options): Promise<void> {
  const cluster = 2 ** options.clusterBits;
  const l1Entries = Math.ceil(options.size / (cluster * (cluster / 8)));
  const l1Clusters = Math.max(1, Math.ceil((l1Entries * 8) / cluster));
  if (l1Entries * 8 > TABLE_BYTES_MAXIMUM) throw badImage(storage.path, `cannot hold ${options.size} bytes in clusters of ${cluster}`, 'Choose larger clusters.');
  const perBlock = cluster / 2;
  // One cluster of it counts 16 TiB in clusters of 64 KiB; it grows when it must.
  const tableClusters = 1;
  let blocks = 1;
  while (blocks * perBlock < 1 + tableClusters + blocks + l1Clusters) blocks += 1;
  const used = 1 + tableClusters + blocks + l1Clusters;
  const bytes = new Uint8Array(used * cluster);
  bytes.set(encodeHeader(newHeader(options, cluster, { l1Entries, l1At: 1 + tableClusters + blocks, tableClusters })));
  const table = new DataView(bytes.buffer, cluster, tableClusters * cluster);
  const counts = new DataView(bytes.buffer, (1 + tableClusters) * cluster, blocks * cluster);
  for (let block = 0; block < blocks; block++) writeEntry(table, block, makeEntry((1 + tableClusters + block) * cluster, 0));
  for (let index = 0; index < used; index++) writeRefcount(counts, REFCOUNT_ORDER, index, 1);
  await storage.write(0, bytes);
  await storage.sync();
}

function newHeader(options: Qcow2Options, cluster: number, at: { readonly l1Entries: number; readonly l1At: number; readonly tableClusters: number }): Qcow2Header {
  const { size, version, clusterBits, backing, compression, lazyRefcounts } = options;
  return {
    version, size, clusterBits, compression, backingFile: backing?.file ?? null, backingFormat: backing?.format ?? null,
    l1Entries: at.l1Entries, l1Offset: at.l1At * cluster, refcountTableOffset: cluster, refcountTableClusters: at.tableClusters,
    snapshots: 0, snapshotsOffset: 0, incompatibleFeatures: compression === 'zstd' ? incompatible.compressionType : 0,
    compatibleFeatures: lazyRefcounts ? compatible.lazyRefcounts : 0, autoclear: false, refcountOrder: REFCOUNT_ORDER,
    headerLength: version === 2 ? V2_HEADER : V3_HEADER + 8,
  };
}

/** Makes the disk of an image that nobody has open larger. The header changes in one write, after everything it names. */
export async function growQcow2(storage: ImageStorage, size: number): Promise<void> {
  await makeWritable(storage);
  const header = await readHeader(storage);
  if (header.snapshots > 0) throw badImage(storage.path, 'has internal snapshots: its size cannot change', 'Convert it to a new image first.');
  const cluster = 2 ** header.clusterBits;
  const l1Entries = Math.ceil(size / (cluster * (cluster / 8)));
  if (l1Entries * 8 > TABLE_BYTES_MAXIMUM) throw badImage(storage.path, `cannot hold ${size} bytes in clusters of ${cluster}`, 'Convert it to larger clusters.');
  const change = new DataView(new ArrayBuffer(24));
  const refcounts = await Refcounts.open(storage, header);
  let l1Offset = header.l1Offset;
  if (l1Entries > Math.ceil((header.l1Entries * 8) / cluster) * (cluster / 8)) {
    const table = new Uint8Array(Math.ceil((l1Entries * 8) / cluster) * cluster);
    await storage.read(header.l1Offset, table.subarray(0, header.l1Entries * 8));
    l1Offset = await refcounts.allocate(table.length / cluster);
    await storage.write(l1Offset, table);
    await refcounts.flush();
    for (let index = 0; index < Math.ceil((header.l1Entries * 8) / cluster); index++) refcounts.release(header.l1Offset / cluster + index);
  }
  await storage.sync();
  // Bytes 24 to 47: size, encryption, L1 entries, L1 offset.
  change.setBigUint64(0, BigInt(size));
  change.setUint32(12, Math.max(l1Entries, header.l1Entries));
  change.setBigUint64(16, BigInt(l1Offset));
  await storage.write(24, new Uint8Array(change.buffer));
  await storage.sync();
  await refcounts.applyReleases();
  await refcounts.flush();
  await storage.sync();
}
