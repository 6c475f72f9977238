import { mkdtempSync, realpathSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createDisk } from '../../../core/block/commands.ts';
import { openImage } from '../../../core/block/open.ts';
import { ContractError } from '../../../core/contract/errors.ts';
import { diskDefaults } from '../../../core/contract/hardware.ts';
import { vmDefaults } from '../../../core/contract/vm.ts';
import type { VmConfig } from '../../../core/contract/vm.ts';
import { compareSides } from '../../../core/engine/comparison.ts';
import type { ComparedSide } from '../../../core/engine/comparison.ts';
import { DiskStates } from '../../../core/engine/diskStates.ts';
import { ClusterMap } from '../../../core/snapshot/disk/clusterMap.ts';
import { PageMap } from '../../../core/snapshot/pageMap.ts';
import { CHUNK_BYTES } from '../../../core/snapshot/segment.ts';
import type { SavedImage } from '../../../core/store/disks.ts';
import type { Library } from '../../../core/store/library.ts';

const SIZE = 1 << 20;
let folder: string;
let path: string;
let saved: SavedImage;
let config: VmConfig;
/** Segments that the library has lost. */
let lost = false;

/** What of a library disks of snapshots need. */
const snapshots = {
  paths: (): [number, string][] => {
    if (lost) throw new ContractError('snapshot-damaged', 'The snapshot is damaged.', '');
    return [];
  },
};
const disks = new DiskStates({ snapshots } as unknown as Library);

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'vanderpool-disks-'));
  path = join(folder, 'disk.raw');
  await createDisk(path, { format: 'raw', size: SIZE });
  const { size, mtimeMs } = statSync(path);
  saved = { path, image: realpathSync(path), size: SIZE, stamp: { size, modifiedMs: mtimeMs }, map: new ClusterMap(SIZE).encode() };
  config = { ...vmDefaults, name: 'VM', disks: [{ ...diskDefaults, path, format: 'raw' }] };
  lost = false;
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** Whoever has the image open for reading keeps others from writing to it. */
async function isFree(): Promise<boolean> {
  return openImage(path, { format: 'raw', readOnly: false }).then((image) => image.close().then(() => true), () => false);
}

it('a disk of a snapshot is held while it is open, and not when it cannot be opened', async () => {
  const opened = await disks.openSaved(config, saved);
  expect(await isFree()).toBe(false);
  await opened.close();
  expect(await isFree()).toBe(true);
  lost = true;
  await expect(disks.openSaved(config, saved)).rejects.toThrow('The snapshot is damaged.');
  expect(await isFree()).toBe(true);
});

it('a comparison lets go of the first disk when the second cannot be opened', async () => {
  const side = (disk: SavedImage): ComparedSide => ({ config, state: null, map: new PageMap(config.memoryBytes / CHUNK_BYTES), disks: [disk] });
  const changed = { ...saved, stamp: { ...saved.stamp, modifiedMs: 1 } };
  const store = { paths: () => [] } as unknown as Library['snapshots'];
  await expect(compareSides(store, disks, side(saved), side(changed), null)).rejects.toThrow('was changed');
  expect(await isFree()).toBe(true);
});
