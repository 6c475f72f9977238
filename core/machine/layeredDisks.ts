/** The disks of a machine that snapshots hold, in the I/O thread. Disks are known by their images' paths in the configuration. */
import { openImage } from '../block/open.ts';
import type { DiskConfig } from '../contract/hardware.ts';
import { ClusterMap } from '../snapshot/disk/clusterMap.ts';
import { LayeredDisk } from '../snapshot/disk/layeredDisk.ts';
import type { DiskContent } from '../snapshot/disk/layeredDisk.ts';
import type { WantedDisk } from '../snapshot/disk/saveDisks.ts';

/** What the library keeps of a disk; plain data. */
export interface DiskState {
  /** Of the disk, in bytes. */
  readonly size: number;
  /** The encoded map of what differs from the image (core/snapshot/disk/clusterMap.ts). */
  readonly map: Uint8Array<ArrayBuffer>;
  /** Files of the segments that the map refers to, by id. */
  readonly segments: readonly (readonly [number, string])[];
  /** Files of layers, oldest first: the newest takes the writes. */
  readonly layers: readonly string[];
}

export interface NamedDisk extends DiskState {
  readonly path: string;
}

/** An empty file for what a disk is written from the moment of a snapshot on. */
export interface NewLayer {
  readonly path: string;
  readonly layer: string;
}

/** What of a disk's state changes when layers have become chunks. */
type DiskMapping = Pick<DiskState, 'map' | 'segments'>;

interface Opened {
  readonly config: DiskConfig;
  readonly disk: LayeredDisk;
  kept: DiskMapping;
  /** Done when what was prepared has happened. */
  switched: Promise<void>;
}

export class LayeredDisks {
  readonly #disks = new Map<string, Opened>();

  /** Opens a disk. An image that has layers is not written to. @throws ContractError, SegmentError, MapError */
  async open(config: DiskConfig, state: DiskState | null): Promise<LayeredDisk> {
    const over = state && content(state);
    const image = await openImage(config.path, { format: config.format, readOnly: over !== null });
    const disk = over ? await LayeredDisk.open(image, over) : new LayeredDisk(image);
    const kept = state ?? { map: new ClusterMap(disk.size).encode(), segments: [] };
    this.#disks.set(config.path, { config, disk, kept, switched: Promise.resolve() });
    return disk;
  }

  /** Opens new layers, which go on top at the next moment of a snapshot. @throws ContractError */
  async prepareLayers(layers: readonly NewLayer[]): Promise<void> {
    for (const { path, layer } of layers) {
      const opened = this.#get(path);
      opened.switched = (await opened.disk.prepareLayer(layer)).switched;
    }
  }

  /** Waits for the moment; afterwards what is below the new layers is on the disk and does not change. @throws BlockError */
  async sealed(paths: readonly string[]): Promise<WantedDisk[]> {
    return Promise.all(paths.map(async (path) => {
      const { config, disk, kept, switched } = this.#get(path);
      await switched;
      await disk.flushSealed();
      return { path, format: config.format, size: disk.size, map: kept.map, segments: kept.segments, layers: disk.sealedLayers };
    }));
  }

  /** Everything that was written is on the disk. @throws BlockError */
  async flush(): Promise<void> {
    for (const { disk } of this.#disks.values()) await disk.flush();
  }

  /** Opens what the disks are to hold from the next moment on. @throws ContractError, SegmentError, MapError */
  async prepareContents(states: readonly NamedDisk[]): Promise<void> {
    for (const state of states) {
      const opened = this.#get(state.path);
      opened.switched = (await opened.disk.prepareContent(content(state))).switched;
    }
  }

  /** After that moment. */
  async switchedContents(states: readonly NamedDisk[]): Promise<void> {
    for (const state of states) {
      const opened = this.#get(state.path);
      await opened.switched;
      opened.kept = state;
    }
  }

  /** What was sealed is in these maps now: its layers are closed. */
  async rebase(states: readonly (DiskMapping & Pick<NamedDisk, 'path'>)[]): Promise<void> {
    for (const { path, map, segments } of states) {
      const opened = this.#get(path);
      await opened.disk.rebase(ClusterMap.decode(map, opened.disk.size), new Map(segments));
      opened.kept = { map, segments };
    }
  }

  /** The disk was closed. */
  forget(path: string): void {
    this.#disks.delete(path);
  }

  #get(path: string): Opened {
    const opened = this.#disks.get(path);
    if (!opened) throw new Error(`"${path}" is no disk that snapshots hold`);
    return opened;
  }
}

function content({ size, map, segments, layers }: DiskState): DiskContent {
  return { size, map: ClusterMap.decode(map, size), segments: new Map(segments), layers };
}
