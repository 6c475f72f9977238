/**
 * The map of a disk's content in a snapshot: which clusters differ from the image below, and where their content lies. It is as large as
 * what was written, however large the disk is.
 */
import { CHUNK_BYTES } from '../segment.ts';
import { decodeRuns, encodeRuns, worstWords } from '../runs.ts';
import type { Cell } from '../runs.ts';

/** A cluster is as large as a page: they share chunks. */
export const CLUSTER_BYTES = CHUNK_BYTES;
/** In place of a segment: the cluster is as in the image below. */
export const BELOW = 0;
/** In place of a segment: the cluster is zeros. */
export const ZEROS = 0xffffffff;
/** The largest disk that has snapshots: 16 TiB. */
export const DISK_MAXIMUM = 2 ** 32 * CLUSTER_BYTES;

const TABLE_CLUSTERS = 1024;
/** A map of more than this many words (1 GiB) is no map. */
const WORDS_MAXIMUM = 2 ** 28;

interface Table {
  readonly segments: Uint32Array;
  readonly positions: Uint32Array;
}

export class ClusterMap {
  readonly clusters: number;
  readonly #tables = new Map<number, Table>();

  /** @param bytes of the disk */
  constructor(bytes: number) {
    this.clusters = Math.ceil(bytes / CLUSTER_BYTES);
  }

  segmentOf(cluster: number): number {
    return this.#tables.get(Math.floor(cluster / TABLE_CLUSTERS))?.segments[cluster % TABLE_CLUSTERS] ?? BELOW;
  }

  positionOf(cluster: number): number {
    return this.#tables.get(Math.floor(cluster / TABLE_CLUSTERS))?.positions[cluster % TABLE_CLUSTERS] ?? 0;
  }

  place(cluster: number, segment: number, position: number): void {
    const number = Math.floor(cluster / TABLE_CLUSTERS);
    let table = this.#tables.get(number);
    if (!table) {
      if (segment === BELOW) return;
      table = { segments: new Uint32Array(TABLE_CLUSTERS), positions: new Uint32Array(TABLE_CLUSTERS) };
      this.#tables.set(number, table);
    }
    table.segments[cluster % TABLE_CLUSTERS] = segment;
    // Zeros lie nowhere; numbered so, a run of them is one run.
    table.positions[cluster % TABLE_CLUSTERS] = segment === ZEROS ? cluster : position;
  }

  /** Clusters that differ from the image below, in order. */
  *cells(): Generator<Cell> {
    for (const number of [...this.#tables.keys()].toSorted((a, b) => a - b)) {
      const table = this.#tables.get(number);
      for (let index = 0; table && index < TABLE_CLUSTERS; index += 1) {
        const segment = table.segments[index] ?? BELOW;
        if (segment !== BELOW) yield { place: number * TABLE_CLUSTERS + index, segment, position: table.positions[index] ?? 0 };
      }
    }
  }

  /** Clusters whose content the library keeps. */
  get used(): number {
    return [...this.references().values()].reduce((sum, count) => sum + count, 0);
  }

  clone(): ClusterMap {
    const copy = new ClusterMap(this.clusters * CLUSTER_BYTES);
    for (const [number, { segments, positions }] of this.#tables) copy.#tables.set(number, { segments: segments.slice(), positions: positions.slice() });
    return copy;
  }

  /** The same map of a disk that has become larger: what is new is as in the image below, which has nothing there. @param bytes of the disk, not fewer */
  resized(bytes: number): ClusterMap {
    const larger = new ClusterMap(bytes);
    for (const { place, segment, position } of this.cells()) larger.place(place, segment, position);
    return larger;
  }

  /** Whether a cluster lies in the same place in both maps of one image: then its content is the same. */
  samePlace(other: ClusterMap, cluster: number): boolean {
    const segment = this.segmentOf(cluster);
    return segment === other.segmentOf(cluster) && (segment === BELOW || this.positionOf(cluster) === other.positionOf(cluster));
  }

  /** Ids of the segments that are used, with how many clusters lie in each. */
  references(): Map<number, number> {
    const counts = new Map<number, number>();
    for (const { segment } of this.cells()) if (segment !== ZEROS) counts.set(segment, (counts.get(segment) ?? 0) + 1);
    return counts;
  }

  encode(): Uint8Array<ArrayBuffer> {
    return encodeRuns(this.clusters, this.cells());
  }

  /** @throws MapError when the bytes are no map of a disk of so many bytes */
  static decode(encoded: Uint8Array, bytes: number): ClusterMap {
    const map = new ClusterMap(bytes);
    decodeRuns(encoded, map.clusters, 'disk', Math.min(worstWords(map.clusters), WORDS_MAXIMUM), ({ place, count, segment, position }) => {
      for (let i = 0; i < count; i += 1) map.place(place + i, segment, position + i);
    });
    return map;
  }
}
