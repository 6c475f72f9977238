/** What differs between two states of a disk: by cluster, and by file where its file systems can be read. */
import { DIFFERENCES_MAXIMUM } from '../contract/snapshot.ts';
import type { DiskDifference, FileDifference } from '../contract/snapshot.ts';
import { listFiles } from '../fs/files.ts';
import type { FoundFile, ReadDisk } from '../fs/readDisk.ts';
import { BELOW, CLUSTER_BYTES, ZEROS } from '../snapshot/disk/clusterMap.ts';
import type { ClusterMap } from '../snapshot/disk/clusterMap.ts';

/** One side of a comparison. */
export interface ComparedDisk {
  readonly path: string;
  readonly map: ClusterMap;
  readonly disk: ReadDisk;
}

/** The hash of a chunk, for clusters that lie in different places and may still be the same. */
export type ChunkHash = (segment: number, position: number) => Uint8Array;

/** Null when they are the same. */
export async function compareDisks(before: ComparedDisk, after: ComparedDisk, hashOf: ChunkHash): Promise<DiskDifference | null> {
  const changed = changedClusters(before.map, after.map, hashOf);
  if (changed.size === 0) return null;
  const clusters: { offset: number; bytes: number }[] = [];
  for (const cluster of [...changed].toSorted((a, b) => a - b)) {
    const offset = cluster * CLUSTER_BYTES;
    const last = clusters.at(-1);
    if (last && last.offset + last.bytes === offset) last.bytes += CLUSTER_BYTES;
    else if (clusters.length < DIFFERENCES_MAXIMUM) clusters.push({ offset, bytes: CLUSTER_BYTES });
  }
  const [one, other] = [await listFiles(before.disk), await listFiles(after.disk)];
  return { path: before.path, bytes: changed.size * CLUSTER_BYTES, clusters, files: one && other ? compareFiles(one, other, changed) : null };
}

function changedClusters(before: ClusterMap, after: ClusterMap, hashOf: ChunkHash): Set<number> {
  const changed = new Set<number>();
  for (const map of [before, after]) {
    for (const { place } of map.cells()) if (!before.samePlace(after, place) && !sameContent(before, after, place, hashOf)) changed.add(place);
  }
  return changed;
}

function sameContent(before: ClusterMap, after: ClusterMap, cluster: number, hashOf: ChunkHash): boolean {
  const kept = [before, after].map((map) => ({ segment: map.segmentOf(cluster), position: map.positionOf(cluster) })).filter(({ segment }) => segment !== BELOW && segment !== ZEROS);
  const [one, other] = kept.map(({ segment, position }) => hashOf(segment, position));
  return one !== undefined && other !== undefined && Buffer.compare(one, other) === 0;
}

function compareFiles(before: ReadonlyMap<string, FoundFile>, after: ReadonlyMap<string, FoundFile>, changed: ReadonlySet<number>): FileDifference[] {
  const paths = [...new Set([...before.keys(), ...after.keys()])].toSorted();
  const differences: FileDifference[] = [];
  for (const path of paths) {
    const [one, other] = [before.get(path), after.get(path)];
    if (one && other && sameFile(one, other, changed)) continue;
    differences.push({ path, change: !one ? 'added' : !other ? 'removed' : 'changed', before: one?.bytes ?? null, after: other?.bytes ?? null });
    if (differences.length === DIFFERENCES_MAXIMUM) break;
  }
  return differences;
}

/** The same size and place, and nothing of that place was written. */
function sameFile(before: FoundFile, after: FoundFile, changed: ReadonlySet<number>): boolean {
  if (before.bytes !== after.bytes || before.stamp !== after.stamp || JSON.stringify(before.extents) !== JSON.stringify(after.extents)) return false;
  return after.extents.every(({ offset, bytes }) => {
    for (let cluster = Math.floor(offset / CLUSTER_BYTES); cluster * CLUSTER_BYTES < offset + bytes; cluster += 1) if (changed.has(cluster)) return false;
    return true;
  });
}
