/** A disk as a snapshot has it: the image below, and over it the clusters of a map. Read-only. */
import { BlockError, checkRange } from '../../block/blockDevice.ts';
import type { BlockDevice } from '../../block/blockDevice.ts';
import { SegmentReaders } from '../pageSource.ts';
import type { SegmentPaths } from '../pageSource.ts';
import { FRAME_CHUNKS, SEGMENT_CHUNKS, SegmentError } from '../segment.ts';
import { BELOW, CLUSTER_BYTES, ZEROS } from './clusterMap.ts';
import type { ClusterMap } from './clusterMap.ts';

/** Frames that were read and checked, and are kept: 4 MiB. */
const FRAMES_KEPT = 64;
const FRAMES_OF_SEGMENT = SEGMENT_CHUNKS / FRAME_CHUNKS;

export class ChunkedDisk implements BlockDevice {
  readonly size: number;
  readonly readOnly = true;
  readonly #image: Pick<BlockDevice, 'size' | 'read'>;
  readonly #map: ClusterMap;
  readonly #readers: SegmentReaders;
  /** Least recently used first. */
  readonly #frames = new Map<number, Uint8Array>();

  /** The image stays its owner's; it may be shorter than the disk. */
  constructor(image: Pick<BlockDevice, 'size' | 'read'>, size: number, map: ClusterMap, paths: SegmentPaths) {
    this.#image = image;
    this.size = size;
    this.#map = map;
    this.#readers = new SegmentReaders(paths);
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    checkRange(this, offset, into.length);
    for (let at = 0; at < into.length;) {
      const cluster = Math.floor((offset + at) / CLUSTER_BYTES);
      const segment = this.#map.segmentOf(cluster);
      const within = (offset + at) % CLUSTER_BYTES;
      let length = CLUSTER_BYTES - within;
      if (segment === BELOW) for (let next = cluster + 1; length < into.length - at && this.#map.segmentOf(next) === BELOW; next += 1) length += CLUSTER_BYTES;
      const piece = into.subarray(at, at + length);
      if (segment === BELOW) await this.#readImage(offset + at, piece);
      else if (segment === ZEROS) piece.fill(0);
      else piece.set(this.#chunk(segment, this.#map.positionOf(cluster)).subarray(within, within + piece.length));
      at += piece.length;
    }
  }

  write(): Promise<never> {
    return this.#refuse();
  }

  discard(): Promise<never> {
    return this.#refuse();
  }

  zero(): Promise<never> {
    return this.#refuse();
  }

  async flush(): Promise<void> {}

  async close(): Promise<void> {
    this.#readers.close();
    this.#frames.clear();
  }

  async #readImage(offset: number, into: Uint8Array): Promise<void> {
    const covered = Math.max(0, Math.min(into.length, this.#image.size - offset));
    if (covered > 0) await this.#image.read(offset, into.subarray(0, covered));
    into.fill(0, covered);
  }

  #chunk(segment: number, position: number): Uint8Array {
    const key = segment * FRAMES_OF_SEGMENT + Math.floor(position / FRAME_CHUNKS);
    const frame = this.#frames.get(key) ?? this.#readFrame(segment, position);
    this.#frames.delete(key);
    this.#frames.set(key, frame);
    const oldest = this.#frames.keys().next();
    if (this.#frames.size > FRAMES_KEPT && oldest.value !== undefined) this.#frames.delete(oldest.value);
    const at = (position % FRAME_CHUNKS) * CLUSTER_BYTES;
    return frame.subarray(at, at + CLUSTER_BYTES);
  }

  #readFrame(segment: number, position: number): Uint8Array {
    try {
      return this.#readers.get(segment).readFrame(position);
    } catch (error) {
      if (error instanceof SegmentError) throw new BlockError('corrupt', error.message);
      throw error;
    }
  }

  #refuse(): Promise<never> {
    return Promise.reject(new BlockError('read-only', 'the content of a snapshot does not change'));
  }
}
