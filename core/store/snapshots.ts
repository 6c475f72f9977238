/** Snapshots and the chunks they are made of: rows of the library's database. Content lies in segment files (core/snapshot/segment.ts). */
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { ContractError } from '../contract/errors.ts';
import { vmConfig, vmDefaults } from '../contract/vm.ts';
import type { SnapshotPower } from '../contract/snapshot.ts';
import type { VmConfig } from '../contract/vm.ts';
import { FLASH_MAXIMUM, fitsFlash } from '../devices/flash.ts';
import { compress, decompress } from '../snapshot/compression.ts';
import type { SegmentFiles } from '../snapshot/files.ts';
import { PageMap } from '../snapshot/pageMap.ts';
import { MapError } from '../snapshot/runs.ts';
import { CHUNK_BYTES, HASH_BYTES, SegmentReader, segmentPath } from '../snapshot/segment.ts';
import type { OpenedDatabase } from './database.ts';
import { decodeDisk, DiskStore } from './disks.ts';
import type { DiskState, SavedImage } from './disks.ts';

/** `suspend`: the state a suspended VM goes on from; it is no node of the tree. */
export type SnapshotKind = 'snapshot' | 'suspend';

/** What a snapshot is made of when it is recorded. */
export interface NewSnapshot {
  readonly vmId: string;
  readonly kind: SnapshotKind;
  readonly parentId: string | null;
  readonly name: string;
  readonly notes: string;
  readonly config: VmConfig;
  readonly power: SnapshotPower;
  /** Plain data: states by component; null when the machine was off. */
  readonly state: unknown;
  /** An encoded map (core/snapshot/pageMap.ts). */
  readonly map: Uint8Array;
  readonly pauseMilliseconds: number;
  /** What each serial port had shown. */
  readonly consoles: readonly Uint8Array[];
  readonly screen: string;
  /** What its display showed, small, as a PNG file; null: it had none. */
  readonly picture: Uint8Array | null;
  /** UEFI variables of a VM that was off, empty when it had none; null: they are in its state, or an older Vanderpool has not kept them. */
  readonly variables: Uint8Array | null;
  /** The disks that the VM writes to. */
  readonly disks: readonly SavedImage[];
}

export interface SnapshotRow {
  readonly id: string;
  readonly vm_id: string;
  readonly parent_id: string | null;
  readonly kind: SnapshotKind;
  readonly name: string;
  readonly notes: string;
  readonly created_at: number;
  readonly power: SnapshotPower;
  readonly memory_bytes: number;
  readonly used_bytes: number;
  readonly pause_ms: number;
  readonly screen: string;
  /** 1: there is a picture of its display. */
  readonly pictured: 0 | 1;
}

/** A snapshot with everything a machine needs to go on from it. */
export interface StoredSnapshot extends NewSnapshot {
  readonly id: string;
  readonly map: Uint8Array<ArrayBuffer>;
  readonly pageMap: PageMap;
  readonly consoles: readonly Uint8Array<ArrayBuffer>[];
  readonly picture: Uint8Array<ArrayBuffer> | null;
  readonly variables: Uint8Array<ArrayBuffer> | null;
}

interface StoredBlobs {
  readonly config: string;
  readonly state: Uint8Array;
  readonly map: Uint8Array<ArrayBuffer>;
  readonly picture: Uint8Array<ArrayBuffer> | null;
  readonly variables: Uint8Array | null;
}

const COLUMNS = 'id, vm_id, parent_id, kind, name, notes, created_at, power, memory_bytes, used_bytes, pause_ms, screen';
const LISTED = `${COLUMNS}, picture IS NOT NULL AS pictured`;
/** States are some hundred kilobytes; more than this was not written by a Vanderpool. */
const STATE_MAXIMUM = 64 * 1024 * 1024;
const CONSOLE_MAXIMUM = 4 * 1024 * 1024;

export class SnapshotStore {
  /** Folder of the segment files. */
  readonly folder: string;
  readonly disks: DiskStore;
  readonly #database: OpenedDatabase;
  readonly #files: SegmentFiles;
  /** Size and time of modification of segments' files whose index was checked. */
  readonly #checked = new Map<string, string>();
  /** The map that was decoded last: who goes back to a snapshot often goes back to it again. */
  #decoded: { readonly id: string; readonly map: PageMap } | null = null;

  constructor(database: OpenedDatabase, libraryFolder: string, files: SegmentFiles) {
    this.#files = files;
    this.#database = database;
    this.disks = new DiskStore(database);
    this.folder = join(libraryFolder, 'chunks');
  }

  /** Makes the folder for segment files. */
  prepare(): string {
    mkdirSync(this.folder, { recursive: true, mode: 0o700 });
    return this.folder;
  }

  // ---- chunks -----------------------------------------------------------------------------------------------------------------

  /** Segment and position of each chunk by its hash; segment 0 for those that the library does not have. */
  lookup(hashes: Uint8Array): { readonly segments: Uint32Array<ArrayBuffer>; readonly positions: Uint32Array<ArrayBuffer> } {
    const find = this.#prepare('SELECT segment_id, position FROM chunks WHERE hash = ?').raw();
    const count = hashes.length / HASH_BYTES;
    const segments = new Uint32Array(count);
    const positions = new Uint32Array(count);
    for (let i = 0; i < count; i += 1) {
      const row = find.get(hashes.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES)) as [number, number] | undefined;
      if (row) [segments[i], positions[i]] = row;
    }
    return { segments, positions };
  }

  /** Records a segment whose file is whole and on the disk; what its file says counts. @throws SegmentError */
  recordSegment(name: string): number {
    const reader = new SegmentReader(segmentPath(this.folder, name));
    try {
      return this.#database.transactions.write(() => {
        const { lastInsertRowid } = this.#prepare('INSERT INTO segments (name, bytes, chunks, created_at) VALUES (?, ?, ?, ?)')
          .run(name, reader.bytes, reader.chunks, Date.now());
        const id = Number(lastInsertRowid);
        // Another VM may have saved the same content meanwhile: its chunk stays the one that is found.
        const insert = this.#prepare('INSERT OR IGNORE INTO chunks (hash, segment_id, position) VALUES (?, ?, ?)');
        for (let position = 0; position < reader.chunks; position += 1) insert.run(reader.hashOf(position), id, position);
        return id;
      });
    } finally {
      reader.close();
    }
  }

  /** Files of segments by id, each looked into as far as its index. @throws ContractError `snapshot-damaged` */
  paths(ids: Iterable<number>): [number, string][] {
    const find = this.#prepare('SELECT name FROM segments WHERE id = ?').pluck();
    return [...ids].map((id) => {
      const name = find.get(id) as string | undefined;
      if (name === undefined) throw damaged(`it refers to segment ${id}, which the library does not have`);
      const path = segmentPath(this.folder, name);
      try {
        const { size, mtimeMs } = statSync(path);
        if (this.#checked.get(path) !== `${size} ${mtimeMs}`) new SegmentReader(path).close();
        this.#checked.set(path, `${size} ${mtimeMs}`);
      } catch (error) {
        throw damaged((error instanceof Error ? error.message : String(error)).replace(/\.$/, ''));
      }
      return [id, path];
    });
  }

  // ---- snapshots --------------------------------------------------------------------------------------------------------------

  /**
   * Records a snapshot: from here on it is listed, and its chunks stay. Returns its id.
   * @param states what the VM's disks are made of from now on
   * @throws ContractError
   */
  commit(made: NewSnapshot, states: readonly DiskState[] = []): string {
    const map = decodeMap(made.map, made.config.memoryBytes);
    const id = randomUUID();
    this.#database.transactions.write(() => {
      // One that a VM went on from while the library could not be written to is still there.
      if (made.kind === 'suspend') this.discardSuspended(made.vmId);
      this.#prepare(
        `INSERT INTO snapshots (${COLUMNS}, config, state, map, picture, variables) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      ).run(
        id, made.vmId, made.parentId, made.kind, made.name, made.notes, Date.now(), made.power, made.config.memoryBytes, map.used * CHUNK_BYTES,
        made.pauseMilliseconds, made.screen, JSON.stringify(made.config), pack(JSON.stringify(made.state)), made.map, made.picture, made.variables && compress(made.variables),
      );
      const reference = this.#prepare('INSERT INTO snapshot_segments (snapshot_id, segment_id, chunks) VALUES (?, ?, ?)');
      for (const [segment, chunks] of sumOf([map, ...made.disks.map((disk) => decodeDisk(disk))])) reference.run(id, segment, chunks);
      this.disks.insertSaved(id, made.disks);
      this.disks.putAll(made.vmId, states);
      const console = this.#prepare('INSERT INTO snapshot_consoles (snapshot_id, port, data) VALUES (?, ?, ?)');
      made.consoles.forEach((data, port) => console.run(id, port, compress(data)));
      if (made.kind === 'snapshot') this.#prepare('UPDATE vms SET snapshot_id = ? WHERE id = ?').run(id, made.vmId);
    });
    return id;
  }

  /** A VM's snapshots, oldest first. */
  list(vmId: string): SnapshotRow[] {
    return this.#prepare(`SELECT ${LISTED} FROM snapshots WHERE vm_id = ? AND kind = 'snapshot' ORDER BY created_at, rowid`).all(vmId) as SnapshotRow[];
  }

  /** By id, or else by name; the newest of a name counts. @throws ContractError `not-found`. */
  get(vmId: string, reference: string): SnapshotRow {
    const rows = this.list(vmId);
    const found = rows.find(({ id }) => id === reference) ?? rows.findLast(({ name }) => name.toLowerCase() === reference.toLowerCase());
    if (found) return found;
    throw new ContractError('not-found', `There is no snapshot "${reference}" of this VM.`, 'See them with `vanderpool snapshot list VM`.', 'snapshot');
  }

  /** What a suspended VM goes on from; null when it is not suspended. */
  suspended(vmId: string): SnapshotRow | null {
    return (this.#prepare(`SELECT ${LISTED} FROM snapshots WHERE vm_id = ? AND kind = 'suspend'`).get(vmId) as SnapshotRow | undefined) ?? null;
  }

  /** Ids of all VMs that are suspended. */
  suspendedVms(): Set<string> {
    return new Set(this.#prepare("SELECT vm_id FROM snapshots WHERE kind = 'suspend'").pluck().all() as string[]);
  }

  /** Everything of a snapshot, checked. @throws ContractError `snapshot-damaged`. */
  load(id: string): StoredSnapshot {
    const row = this.#prepare(`SELECT ${LISTED}, config, state, map, picture, variables FROM snapshots WHERE id = ?`).get(id) as (SnapshotRow & StoredBlobs) | undefined;
    if (!row) throw new ContractError('not-found', 'The snapshot is gone.', 'See those that are left with `vanderpool snapshot list VM`.', 'snapshot');
    try {
      const config = vmConfig.parse({ ...vmDefaults, ...(JSON.parse(row.config) as object) });
      const consoles = this.#prepare('SELECT data FROM snapshot_consoles WHERE snapshot_id = ? ORDER BY port').pluck().all(id) as Uint8Array[];
      return {
        id: row.id, vmId: row.vm_id, kind: row.kind, parentId: row.parent_id, name: row.name, notes: row.notes, config, power: row.power,
        pauseMilliseconds: row.pause_ms, screen: row.screen, picture: row.picture, variables: row.variables && unpackVariables(row.variables), state: unpack(row.state), map: row.map, pageMap: this.#mapOf(id, row.map, config.memoryBytes),
        consoles: consoles.map((data) => decompress(data, CONSOLE_MAXIMUM)), disks: this.disks.savedOf(id),
      };
    } catch (error) {
      if (error instanceof ContractError) throw error;
      throw damaged(error instanceof Error ? error.message : String(error));
    }
  }

  /** Maps of snapshots never change. */
  #mapOf(id: string, bytes: Uint8Array, memoryBytes: number): PageMap {
    if (this.#decoded?.id !== id) this.#decoded = { id, map: decodeMap(bytes, memoryBytes) };
    return this.#decoded.map;
  }

  /** What the display showed, small, as a PNG file; null: it had none. */
  pictureOf(id: string): Uint8Array<ArrayBuffer> | null {
    return (this.#prepare('SELECT picture FROM snapshots WHERE id = ?').pluck().get(id) as Uint8Array<ArrayBuffer> | null | undefined) ?? null;
  }

  /** Marks a snapshot as taken by itself. */
  setScheduled(id: string): void {
    this.#database.transactions.write(() => this.#prepare('UPDATE snapshots SET scheduled = 1 WHERE id = ?').run(id));
  }

  /** Of a VM, those that were taken by themselves, oldest first, with their times. */
  scheduled(vmId: string): { readonly id: string; readonly at: number }[] {
    return this.#prepare('SELECT id, created_at AS at FROM snapshots WHERE vm_id = ? AND scheduled = 1 ORDER BY created_at, rowid').all(vmId) as { id: string; at: number }[];
  }

  /** The snapshot that a VM's present state goes on from. */
  currentOf(vmId: string): string | null {
    return (this.#prepare('SELECT snapshot_id FROM vms WHERE id = ?').pluck().get(vmId) as string | null | undefined) ?? null;
  }

  /** A VM goes on from a snapshot (null: from none of its own), with its disks. */
  goBack(vmId: string, id: string | null, states: readonly DiskState[]): void {
    this.#database.transactions.write(() => {
      this.#prepare('UPDATE vms SET snapshot_id = ? WHERE id = ?').run(id, vmId);
      this.#prepare('DELETE FROM due_variables WHERE vm_id = ?').run(vmId);
      this.#prepare('INSERT INTO due_variables (vm_id, data) SELECT ?, variables FROM snapshots WHERE id = ? AND variables IS NOT NULL').run(vmId, id);
      this.disks.putAll(vmId, states);
    });
  }

  /** UEFI variables that a VM has gone back to and its folder does not have yet, empty for none at all; null: it has what it should. */
  dueVariables(vmId: string): Uint8Array<ArrayBuffer> | null {
    const data = this.#prepare('SELECT data FROM due_variables WHERE vm_id = ?').pluck().get(vmId) as Uint8Array | undefined;
    return data ? unpackVariables(data) : null;
  }

  /** A VM's folder has its variables. */
  variablesPut(vmId: string): void {
    this.#database.transactions.giveUp(() => this.#prepare('DELETE FROM due_variables WHERE vm_id = ?').run(vmId));
  }

  /** What a VM went on from is not needed any more; nothing when it was not suspended. */
  discardSuspended(vmId: string): void {
    this.#database.transactions.giveUp(() => this.#prepare("DELETE FROM snapshots WHERE vm_id = ? AND kind = 'suspend'").run(vmId));
  }

  /** Adds to what was saved. */
  setState(id: string, state: unknown): void {
    this.#database.transactions.write(() => this.#prepare('UPDATE snapshots SET state = ? WHERE id = ?').run(pack(JSON.stringify(state)), id));
  }

  edit(id: string, changes: { readonly name?: string | undefined; readonly notes?: string | undefined }): void {
    this.#database.transactions.write(() => this.#prepare('UPDATE snapshots SET name = coalesce(?, name), notes = coalesce(?, notes) WHERE id = ?').run(changes.name ?? null, changes.notes ?? null, id));
  }

  /** Deletes a snapshot; its children go on from its parent. Each map is whole, so nothing has to be merged. */
  remove(id: string): void {
    this.#database.transactions.giveUp(() => {
      this.#prepare('UPDATE snapshots SET parent_id = (SELECT parent_id FROM snapshots WHERE id = @id) WHERE parent_id = @id').run({ id });
      this.#prepare('UPDATE vms SET snapshot_id = (SELECT parent_id FROM snapshots WHERE id = @id) WHERE snapshot_id = @id').run({ id });
      this.#prepare('DELETE FROM snapshots WHERE id = ?').run(id);
    });
  }

  /** Bytes of segments that only this snapshot uses: what its deletion frees. */
  exclusiveBytes(id: string): number {
    return Number(this.#prepare(
      `SELECT coalesce(sum(bytes), 0) FROM segments WHERE id IN (SELECT segment_id FROM snapshot_segments WHERE snapshot_id = @id)
       AND NOT EXISTS (SELECT 1 FROM snapshot_segments AS other WHERE other.segment_id = segments.id AND other.snapshot_id <> @id)
       AND NOT EXISTS (SELECT 1 FROM disk_state_segments AS disk WHERE disk.segment_id = segments.id)`,
    ).pluck().get({ id }));
  }

  // ---- space ------------------------------------------------------------------------------------------------------------------

  /**
   * Gives back one segment that no snapshot and nobody in `pinned` uses; false when there is none left. The row goes first: a file without
   * a row is an orphan that the next collection removes, a row without its file would be a loss.
   */
  collectOne(pinned: ReadonlySet<number>): boolean {
    const unused = this.#prepare(`SELECT id, name FROM segments WHERE NOT EXISTS (SELECT 1 FROM snapshot_segments WHERE segment_id = segments.id)
      AND NOT EXISTS (SELECT 1 FROM disk_state_segments WHERE segment_id = segments.id)`).all() as { readonly id: number; readonly name: string }[];
    const found = unused.find(({ id }) => !pinned.has(id));
    if (!found) return false;
    this.#database.transactions.giveUp(() => {
      this.#prepare('DELETE FROM chunks WHERE segment_id = ?').run(found.id);
      this.#prepare('DELETE FROM segments WHERE id = ?').run(found.id);
    });
    const path = segmentPath(this.folder, found.name);
    this.#checked.delete(path);
    this.#files.remove(path);
    return true;
  }

  /** Names of files that no row knows: what was being written when a process died. Ask only while nobody writes. */
  orphans(): string[] {
    if (!existsSync(this.folder)) return [];
    const known = new Set(this.segments().map(({ name }) => basename(segmentPath(this.folder, name))));
    return readdirSync(this.folder).filter((name) => /^[0-9a-f-]{36}\.chunks(\.part)?$/.test(name) && !known.has(name));
  }

  removeOrphans(): void {
    for (const name of this.orphans()) this.#files.remove(join(this.folder, name));
  }

  /** What lies in a damaged segment is not found any more: the next snapshot writes it anew. */
  forgetChunks(segment: number): void {
    this.#database.transactions.write(() => this.#prepare('DELETE FROM chunks WHERE segment_id = ?').run(segment));
  }

  segments(): { readonly id: number; readonly name: string; readonly bytes: number; readonly chunks: number }[] {
    return this.#prepare('SELECT id, name, bytes, chunks FROM segments ORDER BY id').all() as { id: number; name: string; bytes: number; chunks: number }[];
  }

  /** Every snapshot of the library. */
  all(): SnapshotRow[] {
    return this.#prepare(`SELECT ${LISTED} FROM snapshots ORDER BY created_at`).all() as SnapshotRow[];
  }

  #prepare(sql: string) {
    return this.#database.sqlite.prepare(sql);
  }
}

/** How many chunks of each segment maps refer to together. */
function sumOf(maps: readonly { references(): ReadonlyMap<number, number> }[]): Map<number, number> {
  const sum = new Map<number, number>();
  for (const [segment, chunks] of maps.flatMap((map) => [...map.references()])) sum.set(segment, (sum.get(segment) ?? 0) + chunks);
  return sum;
}

function decodeMap(bytes: Uint8Array, memoryBytes: number): PageMap {
  try {
    return PageMap.decode(bytes, memoryBytes / CHUNK_BYTES);
  } catch (error) {
    if (error instanceof MapError) throw damaged(error.message);
    throw error;
  }
}

function pack(text: string): Uint8Array {
  return compress(Buffer.from(text));
}

function unpack(bytes: Uint8Array): unknown {
  return JSON.parse(Buffer.from(decompress(bytes, STATE_MAXIMUM)).toString()) as unknown;
}

/** @throws ContractError `snapshot-damaged` */
function unpackVariables(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  try {
    const variables = decompress(bytes, FLASH_MAXIMUM);
    if (variables.length === 0 || fitsFlash(variables)) return variables;
  } catch {
    // Said below.
  }
  throw damaged('its UEFI variables are none');
}

function damaged(what: string): ContractError {
  return new ContractError('snapshot-damaged', `The snapshot is damaged: ${what}.`, 'Run `vanderpool doctor` to see what is lost; other snapshots are not affected.');
}
