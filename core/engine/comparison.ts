/** Two states of a VM beside each other: configuration, components, memory and disks. */
import type { DiskDifference, SnapshotDifference } from '../contract/snapshot.ts';
import type { VmConfig } from '../contract/vm.ts';
import type { PageMap } from '../snapshot/pageMap.ts';
import { PageSource, SegmentReaders } from '../snapshot/pageSource.ts';
import { decodeDisk } from '../store/disks.ts';
import type { SavedImage } from '../store/disks.ts';
import type { SnapshotStore } from '../store/snapshots.ts';
import { compareDisks } from './diskDiff.ts';
import type { ChunkHash, ComparedDisk } from './diskDiff.ts';
import type { DiskStates, OpenedImage } from './diskStates.ts';
import { kernelOwners } from './kernelOwners.ts';
import type { Symbols } from './kernelOwners.ts';
import { compareStates } from './snapshotDiff.ts';
import type { ComparedState } from './snapshotDiff.ts';

/** One side of a comparison, with its disks. */
export interface ComparedSide extends ComparedState {
  readonly disks: readonly SavedImage[];
}

/** @param symbols of the guest's kernel, or null: pages of memory are named by them */
export async function compareSides(store: SnapshotStore, disks: DiskStates, before: ComparedSide, after: ComparedSide, symbols: Symbols | null): Promise<SnapshotDifference> {
  const filesOf = (maps: readonly { references(): ReadonlyMap<number, number> }[]): Map<number, string> => new Map(store.paths(new Set(maps.flatMap((map) => [...map.references().keys()]))));
  const readers = new SegmentReaders(filesOf([before, after].flatMap((side) => [side.map, ...side.disks.map(decodeDisk)])));
  const hashOf: ChunkHash = (segment, position) => readers.get(segment).hashOf(position);
  const hashOfPage = (map: PageMap, page: number): Uint8Array => hashOf(map.segments[page] ?? 0, map.positions[page] ?? 0);
  const pages = new PageSource(after.map, filesOf([after.map]));
  try {
    const ownerOf = symbols ? kernelOwners(symbols, after.state, (page) => pages.read(page)) : undefined;
    return { ...compareStates(before, after, hashOfPage, ownerOf), disks: await compareAllDisks(disks, before, after, hashOf) };
  } finally {
    pages.close();
    readers.close();
  }
}

async function compareAllDisks(disks: DiskStates, before: ComparedSide, after: ComparedSide, hashOf: ChunkHash): Promise<DiskDifference[]> {
  const differences: DiskDifference[] = [];
  for (const one of before.disks) {
    const other = after.disks.find(({ image }) => image === one.image);
    if (!other || other.size !== one.size) continue;
    const opened: OpenedImage[] = [];
    const open = async (config: VmConfig, saved: SavedImage): Promise<ComparedDisk> => {
      const image = await disks.openSaved(config, saved);
      opened.push(image);
      return { path: one.path, map: decodeDisk(saved), disk: image.disk };
    };
    try {
      const difference = await compareDisks(await open(before.config, one), await open(after.config, other), hashOf);
      if (difference) differences.push(difference);
    } finally {
      for (const { close } of opened) await close();
    }
  }
  return differences;
}
