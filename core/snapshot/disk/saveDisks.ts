/** Makes chunks of what was written to disks: of layers that take no more writes, or of whole images. */
import { openImage } from '../../block/open.ts';
import type { ImageFormat } from '../../block/open.ts';
import type { BlockDevice } from '../../block/blockDevice.ts';
import { CancelledError } from '../chunkWriter.ts';
import type { ChunkLibrary, ChunkWriter } from '../chunkWriter.ts';
import { ChunkedDisk } from './chunkedDisk.ts';
import { CLUSTER_BYTES, ClusterMap, ZEROS } from './clusterMap.ts';
import { Below, openLayer } from './layer.ts';
import type { Layer, OpenStorage } from './layer.ts';

/** Clusters between two questions to the library: 2 MiB. */
const BATCH_CLUSTERS = 512;
const NOTHING = Buffer.alloc(CLUSTER_BYTES);

/** A disk of which chunks are to be made; plain data. */
export interface WantedDisk {
  /** Of the image below everything, which tells it from the VM's other disks. */
  readonly path: string;
  readonly format: ImageFormat | 'auto';
  /** Of the disk, in bytes. */
  readonly size: number;
  /** The map so far, encoded. */
  readonly map: Uint8Array;
  readonly segments: readonly (readonly [number, string])[];
  /** Files of the layers that are to become chunks, oldest first. */
  readonly layers: readonly string[];
  /** The result stands on its own: what only the image has becomes chunks, too. */
  readonly whole?: boolean;
}

export interface SavedDisk {
  readonly path: string;
  readonly map: ClusterMap;
}

/** The new map of each disk. Chunks are recorded at the latest when the writer has ended. @throws CancelledError, BlockError, SegmentError, ContractError */
export async function saveDisks(
  disks: readonly WantedDisk[], chunks: ChunkWriter, library: Pick<ChunkLibrary, 'progress'>, cancelled: () => boolean, openStorage?: OpenStorage,
): Promise<SavedDisk[]> {
  const saved: SavedDisk[] = [];
  for (const disk of disks) saved.push({ path: disk.path, map: await saveDisk(disk, chunks, library, cancelled, openStorage) });
  return saved;
}

async function saveDisk(disk: WantedDisk, chunks: ChunkWriter, library: Pick<ChunkLibrary, 'progress'>, cancelled: () => boolean, openStorage?: OpenStorage): Promise<ClusterMap> {
  const { size, whole = false } = disk;
  const known = ClusterMap.decode(disk.map, size);
  if (disk.layers.length === 0 && !whole) return known;
  const map = whole ? new ClusterMap(size) : known.clone();
  const image = await openImage(disk.path, { readOnly: true, format: disk.format });
  const before = new ChunkedDisk(image, size, known, new Map(disk.segments));
  const layers: Layer[] = [];
  try {
    for (const path of disk.layers) layers.push(await openLayer(path, new Below(size, layers.at(-1)?.image ?? before), true, openStorage));
    const now = layers.at(-1)?.image ?? before;
    const save = new DiskSave({ before: whole ? null : before, now, map, chunks, library, cancelled });
    if (whole) await save.run(0, size);
    // A cluster that several layers have is looked at several times, and is what the newest says each time.
    else for (const { image: layer } of layers) for await (const { offset, length } of layer.ownRuns()) await save.run(offset, length);
    await save.end();
    return map;
  } finally {
    for (const { image: layer } of layers.toReversed()) await layer.close();
    await before.close();
    await image.close();
  }
}

interface SaveOptions {
  /** What the map says so far: clusters that are alike stay as they are. Null: what is not in the map is zeros. */
  readonly before: BlockDevice | null;
  readonly now: BlockDevice;
  readonly map: ClusterMap;
  readonly chunks: ChunkWriter;
  readonly library: Pick<ChunkLibrary, 'progress'>;
  readonly cancelled: () => boolean;
}

class DiskSave {
  readonly #options: SaveOptions;
  readonly #now = new Uint8Array(BATCH_CLUSTERS * CLUSTER_BYTES);
  readonly #then = new Uint8Array(BATCH_CLUSTERS * CLUSTER_BYTES);
  readonly #batch = new Uint8Array(BATCH_CLUSTERS * CLUSTER_BYTES);
  #numbers: number[] = [];

  constructor(options: SaveOptions) {
    this.#options = options;
  }

  async run(offset: number, length: number): Promise<void> {
    const { now, before, cancelled, library } = this.#options;
    const first = Math.floor(offset / CLUSTER_BYTES) * CLUSTER_BYTES;
    for (let at = first; at < offset + length; at += this.#now.length) {
      if (cancelled()) throw new CancelledError('The snapshot was cancelled.');
      const bytes = Math.min(this.#now.length, offset + length - at, now.size - at);
      await readWhole(now, at, bytes, this.#now);
      if (before) await readWhole(before, at, bytes, this.#then);
      for (let within = 0; within < bytes; within += CLUSTER_BYTES) await this.#cluster((at + within) / CLUSTER_BYTES, within);
      library.progress(Math.min(at + bytes, now.size), now.size);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  async end(): Promise<void> {
    await this.#options.chunks.save(this.#batch, this.#numbers, this.#options.map);
    this.#numbers = [];
  }

  async #cluster(number: number, within: number): Promise<void> {
    const { before, map } = this.#options;
    const content = this.#now.subarray(within, within + CLUSTER_BYTES);
    if (before && Buffer.compare(content, this.#then.subarray(within, within + CLUSTER_BYTES)) === 0) return;
    if (NOTHING.equals(content)) return before ? map.place(number, ZEROS, 0) : undefined;
    this.#batch.set(content, this.#numbers.length * CLUSTER_BYTES);
    if (this.#numbers.push(number) === BATCH_CLUSTERS) await this.end();
  }
}

/** The last cluster of a disk may be cut short: it is filled with zeros. */
async function readWhole(disk: BlockDevice, offset: number, bytes: number, into: Uint8Array): Promise<void> {
  await disk.read(offset, into.subarray(0, bytes));
  into.fill(0, bytes, Math.min(into.length, Math.ceil(bytes / CLUSTER_BYTES) * CLUSTER_BYTES));
}
