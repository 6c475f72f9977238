/**
 * Writes what lies over an image back into it. Until all of it is there, map and layers lie over the image as before and say the same: whatever
 * ends this in the middle costs the work alone.
 */
import type { BlockDevice } from '../../block/blockDevice.ts';
import { ChunkedDisk } from './chunkedDisk.ts';
import { CLUSTER_BYTES } from './clusterMap.ts';
import type { DiskContent } from './layeredDisk.ts';
import { Below, openLayer } from './layer.ts';
import type { Layer, OpenStorage } from './layer.ts';

/** Bytes that are read and written at once. */
const PIECE_BYTES = 1 << 20;
const NOTHING = Buffer.alloc(CLUSTER_BYTES);

/**
 * False: it was given up.
 * @param image is written to, and flushed
 * @throws BlockError, SegmentError, ContractError
 */
export async function mergeDisk(image: BlockDevice, { map, segments, layers: paths }: DiskContent, givenUp: () => boolean, openStorage?: OpenStorage): Promise<boolean> {
  const { size } = image;
  const chunked = new ChunkedDisk(image, size, map, segments);
  const layers: Layer[] = [];
  const piece = new Uint8Array(PIECE_BYTES);
  const top = (): Pick<BlockDevice, 'read'> => layers.at(-1)?.image ?? chunked;
  const copy = async (offset: number, length: number): Promise<boolean> => {
    for (let at = offset; at < offset + length; at += PIECE_BYTES) {
      if (givenUp()) return false;
      const part = piece.subarray(0, Math.min(PIECE_BYTES, offset + length - at));
      await top().read(at, part);
      await put(image, at, part);
      await new Promise((resolve) => setImmediate(resolve));
    }
    return true;
  };
  try {
    for (const path of paths) layers.push(await openLayer(path, new Below(size, layers.at(-1)?.image ?? chunked), true, openStorage));
    for (const { offset, bytes } of runsOf(map.cells(), size)) if (!(await copy(offset, bytes))) return false;
    for (const { image: layer } of layers) for await (const { offset, length } of layer.ownRuns()) if (!(await copy(offset, length))) return false;
    await image.flush();
    return true;
  } finally {
    for (const { image: layer } of layers.toReversed()) await layer.close();
    await chunked.close();
  }
}

/** Neighbouring clusters of a map as runs of bytes. */
function* runsOf(cells: Iterable<{ readonly place: number }>, size: number): Generator<{ readonly offset: number; readonly bytes: number }> {
  let run = { offset: 0, bytes: 0 };
  for (const { place } of cells) {
    const offset = place * CLUSTER_BYTES;
    const bytes = Math.min(CLUSTER_BYTES, size - offset);
    if (run.offset + run.bytes === offset && run.bytes > 0) run = { offset: run.offset, bytes: run.bytes + bytes };
    else {
      if (run.bytes > 0) yield run;
      run = { offset, bytes };
    }
  }
  if (run.bytes > 0) yield run;
}

/** Zeros take no room where the format allows it. */
async function put(image: BlockDevice, offset: number, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    const zeros = isNothing(bytes, at);
    let end = at;
    while (end < bytes.length && isNothing(bytes, end) === zeros) end = Math.min(bytes.length, end + CLUSTER_BYTES);
    if (zeros) await image.zero(offset + at, end - at);
    else await image.write(offset + at, bytes.subarray(at, end));
    at = end;
  }
}

function isNothing(bytes: Uint8Array, at: number): boolean {
  const cluster = bytes.subarray(at, at + CLUSTER_BYTES);
  return NOTHING.subarray(0, cluster.length).equals(cluster);
}
