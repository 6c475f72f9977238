/**
 * A snapshot as one file, for another library:
 *
 *   magic; segments one behind another, with exactly the pages of the snapshot; header: zstd over JSON; trailer: u32 length of the header,
 *   SHA-256 of everything before it, magic.
 *
 * It is written in one pass and read from its end.
 */
import { createHash, randomUUID } from 'node:crypto';
import { closeSync, fstatSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { setImmediate as yieldToOthers } from 'node:timers/promises';
import * as z from 'zod';
import { snapshotNotes, snapshotPower } from '../contract/snapshot.ts';
import { vmConfig, vmDefaults } from '../contract/vm.ts';
import { SECTOR } from '../block/blockDevice.ts';
import type { BlockDevice } from '../block/blockDevice.ts';
import { DISKS_MAXIMUM } from '../contract/hardware.ts';
import { fitsFlash } from '../devices/flash.ts';
import type { Placed } from './chunkWriter.ts';
import { compress, decompress } from './compression.ts';
import { CLUSTER_BYTES, ClusterMap, DISK_MAXIMUM } from './disk/clusterMap.ts';
import { diskFiles, readExactly } from './files.ts';
import type { SegmentFiles } from './files.ts';
import { PageMap } from './pageMap.ts';
import type { PageSource } from './pageSource.ts';
import { CHUNK_BYTES, FRAME_CHUNKS, hashChunk, SegmentReader, segmentPath, SegmentWriter } from './segment.ts';

const MAGIC = Buffer.from('VPSNAP01');
const TRAILER_BYTES = 4 + 32 + MAGIC.length;
const HEADER_MAXIMUM = 256 * 1024 * 1024;
const PICTURE_MAXIMUM = 1024 * 1024;
const COPY_BYTES = 1024 * 1024;
/** Pages between two moments at which the engine may answer others. */
const YIELD_PAGES = 256;
const ZEROS = Buffer.alloc(CHUNK_BYTES);

const base64 = z.base64().transform((text) => Uint8Array.from(Buffer.from(text, 'base64')));
const header = z.strictObject({
  /** 2: with disks; 3: with a picture; 4: with UEFI variables. */
  version: z.union([z.literal(1), z.literal(2), z.literal(3), z.literal(4)]),
  notes: snapshotNotes,
  power: snapshotPower,
  pauseMilliseconds: z.number(),
  screen: z.string().max(10_000),
  /** What the display showed, small, as a PNG file. */
  picture: base64.refine(({ length }) => length <= PICTURE_MAXIMUM).nullable().default(null),
  config: z.unknown().transform((config) => vmConfig.parse({ ...vmDefaults, ...(config as object) })),
  state: z.unknown(),
  map: base64,
  consoles: z.array(base64).max(4),
  /** Of a machine that is off: others have them in their state. */
  variables: base64.refine(fitsFlash).nullable().default(null),
  /** Disks that the VM writes to: the whole content of each. */
  disks: z.array(z.strictObject({ index: z.int().min(0).max(DISKS_MAXIMUM - 1), size: z.int().min(SECTOR).max(DISK_MAXIMUM).multipleOf(SECTOR), map: base64 })).max(DISKS_MAXIMUM).default([]),
  segments: z.array(z.strictObject({ name: z.uuid(), offset: z.int().min(0), bytes: z.int().min(1) })).max(65536),
});
export type ArchiveHeader = z.infer<typeof header>;
export type ArchiveContent = Omit<ArchiveHeader, 'version' | 'map' | 'disks' | 'segments'>;

/** A disk whose content goes into an archive. */
export interface ArchivedDisk {
  /** Its number in the configuration. */
  readonly index: number;
  readonly disk: Pick<BlockDevice, 'size' | 'read'>;
}

/** A disk's whole content, over an image of zeros. */
export interface WholeDisk {
  readonly index: number;
  /** In bytes. */
  readonly size: number;
  readonly map: ClusterMap;
}

/** Told how far the work on an archive is, in bytes. What it throws ends the work, and nothing of it stays. */
export type Progress = (done: number, total: number) => void;
/** So many bytes more are done. */
type Advance = (bytes: number) => void;

function advancing(total: number, progress: Progress): Advance {
  let done = 0;
  return (bytes) => progress((done += bytes), total);
}

/** An archive was refused. The message says what is wrong with it. */
export class ArchiveError extends Error {
  override readonly name = 'ArchiveError';
  /** What to do; absent: what is done about any file. */
  readonly hint: string | undefined;

  constructor(message: string, hint?: string) {
    super(message);
    this.hint = hint;
  }
}

const OTHER_FILES = 'Machines and disks of other programs are known by their names: .ova, .ovf, .vmdk and .vdi. An ISO, a raw or a qcow2 image needs no import: make a machine with it.';

/** Appends to one file what a segment writer writes; the segments have no files of their own. */
class ArchiveWriter implements SegmentFiles {
  readonly #handle: number;
  readonly #digest = createHash('sha256');
  length = 0;

  constructor(path: string) {
    this.#handle = diskFiles.create(path);
  }

  append(bytes: Uint8Array): void {
    diskFiles.write(this.#handle, bytes);
    this.#digest.update(bytes);
    this.length += bytes.length;
  }

  finish(): void {
    diskFiles.write(this.#handle, Buffer.concat([this.#digest.digest(), MAGIC]));
    diskFiles.sync(this.#handle);
    this.close();
  }

  create(): number {
    return 0;
  }

  write(_handle: number, bytes: Uint8Array): void {
    this.append(bytes);
  }

  close(handle?: number): void {
    if (handle === undefined) closeSync(this.#handle);
  }

  sync(): void {}
  rename(): void {}
  syncFolder(): void {}
  remove(): void {}
}

/** Writes an archive, under its name only when it is whole, and returns its length. @throws Error of the disk, SegmentError, BlockError */
export async function writeArchive(path: string, content: ArchiveContent, source: PageSource, disks: readonly ArchivedDisk[], progress: Progress): Promise<number> {
  const part = `${path}.part`;
  diskFiles.remove(part);
  const archive = new ArchiveWriter(part);
  try {
    archive.append(MAGIC);
    const chunks = new ArchivedChunks(archive);
    const pages = source.map.segments.reduce((count, segment) => count + (segment === 0 ? 0 : 1), 0);
    const advance = advancing(disks.reduce((sum, { disk }) => sum + disk.size, pages * CHUNK_BYTES), progress);
    const map = await writePages(chunks, source, advance);
    const whole: { index: number; size: number; map: string }[] = [];
    for (const { index, disk } of disks) whole.push({ index, size: disk.size, map: toBase64((await writeDisk(chunks, disk, advance)).encode()) });
    const segments = chunks.end();
    const { consoles, picture, variables, ...rest } = content;
    const text = JSON.stringify({
      ...rest, version: 4, map: toBase64(map.encode()), disks: whole, consoles: consoles.map(toBase64), picture: picture && toBase64(picture), variables: variables && toBase64(variables), segments,
    });
    const packed = compress(Buffer.from(text));
    archive.append(packed);
    const length = Buffer.alloc(4);
    length.writeUInt32LE(packed.length);
    archive.append(length);
    archive.finish();
  } catch (error) {
    archive.close();
    diskFiles.remove(part);
    throw error;
  }
  diskFiles.rename(part, path);
  diskFiles.syncFolder(dirname(path));
  return archive.length + 32 + MAGIC.length;
}

/** Chunks of an archive: segments one behind another. */
class ArchivedChunks {
  readonly #archive: ArchiveWriter;
  readonly #segments: { name: string; offset: number; bytes: number }[] = [];
  #writer: SegmentWriter | null = null;
  #offset = 0;

  constructor(archive: ArchiveWriter) {
    this.#archive = archive;
  }

  add(map: Placed, number: number, content: Uint8Array): void {
    if (!this.#writer) {
      this.#offset = this.#archive.length;
      this.#writer = new SegmentWriter('', this.#archive);
    }
    map.place(number, this.#segments.length + 1, this.#writer.add(content, hashChunk(content)));
    if (this.#writer.isFull) this.end();
  }

  end(): ArchiveHeader['segments'] {
    if (this.#writer) {
      const { name } = this.#writer.finish();
      this.#segments.push({ name, offset: this.#offset, bytes: this.#archive.length - this.#offset });
      this.#writer = null;
    }
    return this.#segments;
  }
}

async function writePages(chunks: ArchivedChunks, source: PageSource, advance: Advance): Promise<PageMap> {
  const { map: from } = source;
  const map = new PageMap(from.pages);
  for (let page = 0; page < from.pages; page += 1) {
    if (page % YIELD_PAGES === 0) await yieldToOthers();
    if (from.segments[page] === 0) continue;
    chunks.add(map, page, source.read(page));
    advance(CHUNK_BYTES);
  }
  return map;
}

async function writeDisk(chunks: ArchivedChunks, disk: ArchivedDisk['disk'], advance: Advance): Promise<ClusterMap> {
  const map = new ClusterMap(disk.size);
  const piece = new Uint8Array(YIELD_PAGES * CLUSTER_BYTES);
  for (let at = 0; at < disk.size; at += piece.length) {
    const bytes = Math.min(piece.length, disk.size - at);
    await yieldToOthers();
    await disk.read(at, piece.subarray(0, bytes));
    piece.fill(0, bytes);
    for (let within = 0; within < bytes; within += CLUSTER_BYTES) {
      const cluster = piece.subarray(within, within + CLUSTER_BYTES);
      if (!ZEROS.equals(cluster)) chunks.add(map, (at + within) / CLUSTER_BYTES, cluster);
    }
    advance(bytes);
  }
  return map;
}

export interface ReadArchive {
  readonly header: ArchiveHeader;
  /** Names of the segments; maps refer to them by their numbers, from 1 on. */
  readonly segments: readonly string[];
  readonly map: PageMap;
  readonly disks: readonly WholeDisk[];
}

/** Reads an archive: its header, and its segments, by their new names, as files of a folder. @throws ArchiveError, SegmentError, or Error of the disk */
export async function readArchive(path: string, folder: string, progress: Progress): Promise<ReadArchive> {
  const handle = openSync(path, 'r');
  const made: string[] = [];
  try {
    // Its checksum is taken, and its segments, which are nearly all of it, are copied and verified.
    const advance = advancing(3 * fstatSync(handle).size, progress);
    const read = await readHeader(handle, advance);
    const map = PageMap.decode(read.map, read.config.memoryBytes / CHUNK_BYTES);
    const disks = read.disks.map(({ index, size, map: encoded }) => ({ index, size, map: ClusterMap.decode(encoded, size) }));
    const used = [map, ...disks.map((disk) => disk.map)].flatMap((one) => [...one.references().keys()]);
    if (used.some((id) => id > read.segments.length)) throw new ArchiveError('its maps refer to content that is not in it');
    for (const { offset, bytes } of read.segments) {
      // New names: the same archive may be imported twice.
      const name = randomUUID();
      made.push(name);
      await extract(handle, { name, offset, bytes }, folder, advance);
    }
    return { header: read, segments: made, map, disks };
  } catch (error) {
    for (const name of made) diskFiles.remove(segmentPath(folder, name));
    if (error instanceof z.ZodError) throw new ArchiveError(`its header is not valid: ${error.issues[0]?.message ?? ''}`);
    throw error;
  } finally {
    closeSync(handle);
  }
}

async function readHeader(handle: number, advance: Advance): Promise<ArchiveHeader> {
  const { size } = fstatSync(handle);
  if (size < MAGIC.length + TRAILER_BYTES || !MAGIC.equals(readExactly(handle, 0, MAGIC.length))) throw new ArchiveError('it is no snapshot of Vanderpool', OTHER_FILES);
  const trailer = readExactly(handle, size - TRAILER_BYTES, TRAILER_BYTES);
  if (!MAGIC.equals(trailer.subarray(36))) throw new ArchiveError('it is cut short');
  const digest = createHash('sha256');
  const end = size - TRAILER_BYTES + 4;
  for (let at = 0; at < end; at += COPY_BYTES) {
    digest.update(readExactly(handle, at, Math.min(COPY_BYTES, end - at)));
    await yieldToOthers();
    advance(Math.min(COPY_BYTES, end - at));
  }
  if (!digest.digest().equals(trailer.subarray(4, 36))) throw new ArchiveError('it is damaged: its content does not fit its checksum');
  const length = new DataView(trailer.buffer).getUint32(0, true);
  if (length > size - TRAILER_BYTES - MAGIC.length) throw new ArchiveError('its header is longer than the file');
  const packed = readExactly(handle, size - TRAILER_BYTES - length, length);
  return header.parse(JSON.parse(Buffer.from(decompress(packed, HEADER_MAXIMUM)).toString()));
}

/** Copies a segment into a file of its own and checks each of its chunks: others will be found to be the same by their hashes. */
async function extract(handle: number, { name, offset, bytes }: ArchiveHeader['segments'][number], folder: string, advance: Advance): Promise<void> {
  const target = segmentPath(folder, name);
  const part = `${target}.part`;
  const out = diskFiles.create(part);
  try {
    try {
      for (let done = 0; done < bytes; done += COPY_BYTES) {
        diskFiles.write(out, readExactly(handle, offset + done, Math.min(COPY_BYTES, bytes - done)));
        await yieldToOthers();
        advance(Math.min(COPY_BYTES, bytes - done));
      }
      diskFiles.sync(out);
    } finally {
      diskFiles.close(out);
    }
    await verifySegment(part, advance);
  } catch (error) {
    diskFiles.remove(part);
    throw error;
  }
  diskFiles.rename(part, target);
  diskFiles.syncFolder(folder);
}

/** Reads every chunk of a segment. @throws SegmentError, and what `advance` throws */
export async function verifySegment(path: string, advance: Advance = () => undefined): Promise<void> {
  const reader = new SegmentReader(path);
  try {
    for (let position = 0; position < reader.chunks; position += FRAME_CHUNKS) {
      if (position % YIELD_PAGES === 0) await yieldToOthers();
      reader.readFrame(position);
      advance((reader.bytes * Math.min(FRAME_CHUNKS, reader.chunks - position)) / reader.chunks);
    }
  } finally {
    reader.close();
  }
}

function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}
