/**
 * A disk of a VM that has snapshots: the image, over it the clusters of a map, over them layers of which the newest takes the writes.
 * Without map and layers it is the image itself.
 *
 * At the moment of a snapshot a layer that was prepared is put on top, between two requests of the guest; what lies below is the snapshot's
 * from then on and does not change.
 */
import type { BlockDevice } from '../../block/blockDevice.ts';
import type { DirectImage } from '../../block/direct.ts';
import { Gate } from '../../block/gate.ts';
import type { SegmentPaths } from '../pageSource.ts';
import { ChunkedDisk } from './chunkedDisk.ts';
import type { ClusterMap } from './clusterMap.ts';
import { Below, openLayer } from './layer.ts';
import type { Layer, OpenStorage } from './layer.ts';

/** What lies above the image. */
export interface DiskContent {
  /** Of the disk, in bytes: one that has grown is larger than its image. */
  readonly size: number;
  readonly map: ClusterMap;
  readonly segments: SegmentPaths;
  /** Files, oldest first. */
  readonly layers: readonly string[];
}

type Closeable = Pick<BlockDevice, 'close'>;

/** A change of the stack that waits for its moment. */
interface Prepared {
  /** Done alone in the disk; what it returns is closed afterwards. */
  readonly change: () => readonly Closeable[];
  readonly done: PromiseWithResolvers<void>;
  /** Closed when the change never happens. */
  readonly opened: readonly Closeable[];
}

export class LayeredDisk implements BlockDevice {
  readonly size: number;
  readonly readOnly: boolean;
  /** As long as nothing lies above the image: until the first `switchLayer`. */
  readonly direct: DirectImage | null;
  readonly #image: BlockDevice;
  readonly #openStorage: OpenStorage | undefined;
  readonly #gate = new Gate();
  #chunked: ChunkedDisk | null = null;
  #layers: Layer[] = [];
  /** Layers, or the image, that no longer take writes and have still to be flushed. */
  #sealed: BlockDevice[] = [];
  #prepared: Prepared | null = null;

  /** @param image belongs to this disk, which closes it. It may be read-only where layers take the writes. @param above what lies above it */
  constructor(image: BlockDevice, openStorage?: OpenStorage, above?: Pick<DiskContent, 'size' | 'layers'>) {
    const hasLayers = above !== undefined && above.layers.length > 0;
    this.#image = image;
    this.size = above?.size ?? image.size;
    this.readOnly = image.readOnly && !hasLayers;
    this.direct = hasLayers ? null : (image.direct ?? null);
    this.#openStorage = openStorage;
  }

  /** @throws ContractError, SegmentError */
  static async open(image: BlockDevice, content: DiskContent, openStorage?: OpenStorage): Promise<LayeredDisk> {
    const disk = new LayeredDisk(image, openStorage, content);
    try {
      const { chunked, layers } = await disk.#openContent(content);
      disk.#chunked = chunked;
      disk.#layers = layers;
      return disk;
    } catch (error) {
      await disk.close();
      throw error;
    }
  }

  /** Files of the layers below the newest one, oldest first: what a snapshot has still to make chunks of. */
  get sealedLayers(): string[] {
    return this.#layers.slice(0, -1).map(({ path }) => path);
  }

  read(offset: number, into: Uint8Array): Promise<void> {
    return this.#gate.shared(() => this.#top.read(offset, into));
  }

  write(offset: number, from: Uint8Array): Promise<void> {
    return this.#gate.shared(() => this.#top.write(offset, from));
  }

  flush(): Promise<void> {
    return this.#gate.shared(() => this.#flush());
  }

  discard(offset: number, length: number): Promise<void> {
    return this.#gate.shared(() => this.#top.discard(offset, length));
  }

  zero(offset: number, length: number): Promise<void> {
    return this.#gate.shared(() => this.#top.zero(offset, length));
  }

  /** Opens a layer that goes on top at the next `switch`, which the promise in the answer tells of. @throws ContractError */
  async prepareLayer(path: string): Promise<{ readonly switched: Promise<void> }> {
    const layer = await openLayer(path, new Below(this.size, this.#top), false, this.#openStorage);
    return this.#prepare([layer.image], () => {
      layer.below.target = this.#top;
      this.#sealed.push(this.#top);
      this.#layers.push(layer);
      return [];
    });
  }

  /** Opens another content of the same size, which it has from the next `switch` on. @throws ContractError, SegmentError */
  async prepareContent(content: DiskContent): Promise<{ readonly switched: Promise<void> }> {
    const next = await this.#openContent(content);
    return this.#prepare([...next.layers.map(({ image }) => image), next.chunked], () => {
      const before = this.#above();
      this.#chunked = next.chunked;
      this.#layers = next.layers;
      this.#keepSealedImage();
      return before;
    });
  }

  /** What was prepared happens, between the requests made before and those made afterwards. */
  async switchLayer(): Promise<void> {
    const prepared = this.#prepared;
    this.#prepared = null;
    if (prepared) await this.#alone(prepared.change).then(prepared.done.resolve, prepared.done.reject);
  }

  /** What was sealed is on the disk. */
  flushSealed(): Promise<void> {
    return this.#gate.shared(() => this.#flushSealed());
  }

  /** All layers but the newest one became chunks: they are closed, and their files are not used any more. */
  async rebase(map: ClusterMap, segments: SegmentPaths): Promise<void> {
    const chunked = new ChunkedDisk(this.#image, this.size, map, segments);
    await this.#alone(() => {
      const newest = this.#layers.at(-1);
      const unused = this.#above().filter((one) => one !== newest?.image);
      this.#chunked = chunked;
      this.#layers = newest ? [newest] : [];
      if (newest) newest.below.target = chunked;
      this.#keepSealedImage();
      return unused;
    });
  }

  async close(): Promise<void> {
    await this.#alone(() => [...(this.#prepared?.opened ?? []), ...this.#above(), this.#image]);
  }

  get #top(): BlockDevice {
    return this.#layers.at(-1)?.image ?? this.#image;
  }

  /** Everything that is open above the image, newest first: a layer needs what is below it until it is closed. */
  #above(): Closeable[] {
    return [...this.#layers.map(({ image }) => image).toReversed(), ...(this.#chunked ? [this.#chunked] : [])];
  }

  async #alone(change: () => readonly Closeable[]): Promise<void> {
    const unused = await this.#gate.exclusive(() => Promise.resolve(change()));
    let failure: unknown = null;
    for (const one of unused) {
      await one.close().catch((error: unknown) => {
        failure ??= error;
      });
    }
    if (failure !== null) throw failure;
  }

  #prepare(opened: readonly Closeable[], change: Prepared['change']): { readonly switched: Promise<void> } {
    // One that was prepared before and never happened, because its snapshot was given up.
    for (const one of this.#prepared?.opened ?? []) void one.close().catch(() => undefined);
    const done = Promise.withResolvers<void>();
    done.promise.catch(() => undefined);
    this.#prepared = { change, done, opened };
    return { switched: done.promise };
  }

  /** Layers that are closed flush themselves. */
  #keepSealedImage(): void {
    this.#sealed = this.#sealed.filter((one) => one === this.#image);
  }

  /** What a guest flushes may lie in a layer that was sealed since. */
  async #flush(): Promise<void> {
    await this.#flushSealed();
    await this.#top.flush();
  }

  async #flushSealed(): Promise<void> {
    const sealed = [...this.#sealed];
    await Promise.all(sealed.map((one) => (one.freeze ? one.freeze() : one.flush())));
    this.#sealed = this.#sealed.filter((one) => !sealed.includes(one));
  }

  async #openContent({ map, segments, layers: paths }: DiskContent): Promise<{ readonly chunked: ChunkedDisk; readonly layers: Layer[] }> {
    const chunked = new ChunkedDisk(this.#image, this.size, map, segments);
    const layers: Layer[] = [];
    try {
      for (const [index, path] of paths.entries()) {
        layers.push(await openLayer(path, new Below(this.size, layers.at(-1)?.image ?? chunked), index < paths.length - 1, this.#openStorage));
      }
    } catch (error) {
      for (const { image } of layers.toReversed()) await image.close().catch(() => undefined);
      await chunked.close();
      throw error;
    }
    return { chunked, layers };
  }
}
