/** Disks that snapshots hold: rows of the library's database. An image that is named here is never written to again as long as a row names it. */
import { ContractError } from '../contract/errors.ts';
import { ClusterMap } from '../snapshot/disk/clusterMap.ts';
import { MapError } from '../snapshot/runs.ts';
import type { OpenedDatabase } from './database.ts';

/** What tells an image that was changed from one that was not. */
export interface ImageStamp {
  readonly size: number;
  readonly modifiedMs: number;
}

/** A disk as a snapshot has it: the image, and over it a map. */
export interface SavedImage {
  /** As the configuration names the image. */
  readonly path: string;
  /** The same with its links resolved. */
  readonly image: string;
  /** Of the disk, in bytes. */
  readonly size: number;
  readonly stamp: ImageStamp;
  /** An encoded map (core/snapshot/disk/clusterMap.ts). */
  readonly map: Uint8Array<ArrayBuffer>;
}

/** A VM's disk as it is now: the image, a map over it, and layers over that. */
export interface DiskState extends Omit<SavedImage, 'stamp'> {
  /** Null: no snapshot holds the image yet. */
  readonly stamp: ImageStamp | null;
  /** Names of files in the VM's folder, oldest first: the newest takes the writes. */
  readonly layers: readonly string[];
}

interface Row {
  readonly path: string;
  readonly image: string;
  readonly size: number;
  readonly stamp_size: number | null;
  readonly stamp_ms: number | null;
  readonly map: Uint8Array;
}

export class DiskStore {
  readonly #database: OpenedDatabase;

  constructor(database: OpenedDatabase) {
    this.#database = database;
  }

  /** What the library keeps of a VM's disks. */
  statesOf(vmId: string): DiskState[] {
    const rows = this.#prepare('SELECT path, image, size, stamp_size, stamp_ms, map, layers FROM disk_states WHERE vm_id = ? ORDER BY path').all(vmId) as (Row & { readonly layers: string })[];
    return rows.map((row) => ({ ...imageOf(row), stamp: stampOf(row), layers: JSON.parse(row.layers) as string[] }));
  }

  /** Says what a VM's disk is made of from now on. @throws ContractError */
  put(vmId: string, state: DiskState): void {
    const map = decodeDisk(state);
    this.#database.transactions.write(() => {
      const { path, image, size, stamp, layers } = state;
      this.remove(vmId, path);
      this.#prepare('INSERT INTO disk_states (vm_id, path, image, size, stamp_size, stamp_ms, map, layers) VALUES (?, ?, ?, ?, ?, ?, ?, ?)')
        .run(vmId, path, image, size, stamp?.size ?? null, stamp?.modifiedMs ?? null, state.map, JSON.stringify(layers));
      const reference = this.#prepare('INSERT INTO disk_state_segments (vm_id, path, segment_id) VALUES (?, ?, ?)');
      for (const segment of map.references().keys()) reference.run(vmId, path, segment);
    });
  }

  /** All of the disk is in its image, or nobody wants it any more. */
  remove(vmId: string, path: string): void {
    this.#database.transactions.write(() => this.#prepare('DELETE FROM disk_states WHERE vm_id = ? AND path = ?').run(vmId, path));
  }

  /** Within the transaction that records the snapshot. */
  insertSaved(snapshotId: string, disks: readonly SavedImage[]): void {
    const insert = this.#prepare('INSERT INTO snapshot_disks (snapshot_id, position, path, image, size, stamp_size, stamp_ms, map) VALUES (?, ?, ?, ?, ?, ?, ?, ?)');
    for (const [position, { path, image, size, stamp, map }] of disks.entries()) insert.run(snapshotId, position, path, image, size, stamp.size, stamp.modifiedMs, map);
  }

  savedOf(snapshotId: string): SavedImage[] {
    const rows = this.#prepare('SELECT path, image, size, stamp_size, stamp_ms, map FROM snapshot_disks WHERE snapshot_id = ? ORDER BY position').all(snapshotId) as Row[];
    return rows.map((row) => ({ ...imageOf(row), stamp: stampOf(row) ?? { size: 0, modifiedMs: 0 } }));
  }

  /** Names of the VMs, other than one, whose disks or snapshots need an image as it is. */
  othersWith(image: string, vmId: string): string[] {
    return this.#prepare(
      `SELECT DISTINCT name FROM vms WHERE id <> @vmId AND (id IN (SELECT vm_id FROM disk_states WHERE image = @image)
       OR id IN (SELECT vm_id FROM snapshots JOIN snapshot_disks ON snapshot_id = snapshots.id WHERE image = @image)) ORDER BY name`,
    ).pluck().all({ image, vmId }) as string[];
  }

  /** All images that disks and snapshots lie over. */
  images(): string[] {
    return this.#prepare('SELECT image FROM disk_states UNION SELECT image FROM snapshot_disks').pluck().all() as string[];
  }

  /** Whether snapshots of a VM itself hold an image. */
  isSaved(image: string, vmId: string): boolean {
    return this.#prepare('SELECT 1 FROM snapshots JOIN snapshot_disks ON snapshot_id = snapshots.id WHERE image = ? AND vm_id = ?').get(image, vmId) !== undefined;
  }

  /** Several at once, or none. @throws ContractError */
  putAll(vmId: string, states: readonly DiskState[]): void {
    this.#database.transactions.write(() => {
      for (const state of states) this.put(vmId, state);
    });
  }

  #prepare(sql: string) {
    return this.#database.sqlite.prepare(sql);
  }
}

/** @throws ContractError `snapshot-damaged` */
export function decodeDisk({ map, size, path }: Pick<SavedImage, 'map' | 'size' | 'path'>): ClusterMap {
  try {
    return ClusterMap.decode(map, size);
  } catch (error) {
    if (!(error instanceof MapError)) throw error;
    throw new ContractError('snapshot-damaged', `What the library keeps of the disk "${path}" is damaged: ${error.message}.`, 'Run `vanderpool doctor` to see what is lost; other snapshots are not affected.');
  }
}

function imageOf({ path, image, size, map }: Row): Omit<SavedImage, 'stamp'> {
  return { path, image, size, map: Uint8Array.from(map) };
}

function stampOf({ stamp_size: size, stamp_ms: modifiedMs }: Row): ImageStamp | null {
  return size === null || modifiedMs === null ? null : { size, modifiedMs };
}
