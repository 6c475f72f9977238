/**
 * Segment files: chunks (pages of 4 KiB) packed into compressed frames, each chunk named by the SHA-256 of its content.
 *
 *   header   magic, 8 bytes
 *   frames   zstd with a checksum, FRAME_CHUNKS chunks each, the last one fewer
 *   index    for each chunk its hash (32 bytes); for each frame the offset of its first byte (u32); the offset of the end (u32)
 *   trailer  u32 chunks, u32 offset of the index, 32 bytes SHA-256 of the index and these two words, magic
 *
 * A file is written once and never changed; a file without its trailer was never finished.
 */
import { createHash, hash, randomUUID } from 'node:crypto';
import { closeSync, fstatSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { readExactly } from './files.ts';
import type { SegmentFiles } from './files.ts';

export const CHUNK_BYTES = 4096;
export const HASH_BYTES = 32;
/** Chunks that are compressed together: 16 compress nearly as well as 64, and a single one is read in 0.2 ms. */
export const FRAME_CHUNKS = 16;
/** Chunks in a segment: 64 MiB before compression, the unit in which space is given back. */
export const SEGMENT_CHUNKS = 16384;
const MAGIC = Buffer.from('VPCHUNK1');
const TRAILER_BYTES = 8 + HASH_BYTES + MAGIC.length;
const COMPRESSION = { params: { [constants.ZSTD_c_compressionLevel]: 1, [constants.ZSTD_c_checksumFlag]: 1 } };

/** The hash that names a chunk. */
export function hashChunk(chunk: Uint8Array): Buffer {
  return hash('sha256', chunk, 'buffer');
}

export function segmentPath(folder: string, name: string): string {
  return join(folder, `${name}.chunks`);
}

/** What a finished segment is, to whoever records it. */
export interface FinishedSegment {
  readonly name: string;
  readonly bytes: number;
  readonly chunks: number;
  /** HASH_BYTES for each chunk, in order. */
  readonly hashes: Uint8Array<ArrayBuffer>;
}

/** Writes one segment. A `finish` that returns is durable: content and name are on the disk. */
export class SegmentWriter {
  readonly name = randomUUID();
  readonly #files: SegmentFiles;
  readonly #folder: string;
  /** Null: the file is closed. */
  #handle: number | null;
  readonly #hashes: Uint8Array[] = [];
  readonly #frames: number[] = [];
  readonly #frame = new Uint8Array(FRAME_CHUNKS * CHUNK_BYTES);
  #inFrame = 0;
  #length = MAGIC.length;

  constructor(folder: string, files: SegmentFiles) {
    this.#folder = folder;
    this.#files = files;
    this.#handle = files.create(this.#part);
    try {
      files.write(this.#handle, MAGIC);
    } catch (error) {
      this.abandon();
      throw error;
    }
  }

  get chunks(): number {
    return this.#hashes.length;
  }

  get isFull(): boolean {
    return this.#hashes.length === SEGMENT_CHUNKS;
  }

  /** Appends a chunk and returns its position. */
  add(chunk: Uint8Array, chunkHash: Uint8Array): number {
    this.#frame.set(chunk, this.#inFrame * CHUNK_BYTES);
    this.#inFrame += 1;
    if (this.#inFrame === FRAME_CHUNKS) this.#endFrame();
    return this.#hashes.push(chunkHash) - 1;
  }

  finish(): FinishedSegment {
    if (this.#inFrame > 0) this.#endFrame();
    const chunks = this.#hashes.length;
    const hashes = new Uint8Array(chunks * HASH_BYTES);
    this.#hashes.forEach((one, index) => hashes.set(one, index * HASH_BYTES));
    const offsets = Uint32Array.from([...this.#frames, this.#length]);
    const words = Uint32Array.of(chunks, this.#length);
    const digest = createHash('sha256').update(hashes).update(bytesOf(offsets)).update(bytesOf(words)).digest();
    this.#append(Buffer.concat([hashes, bytesOf(offsets), bytesOf(words), digest, MAGIC]));
    if (this.#handle !== null) this.#files.sync(this.#handle);
    this.#close();
    this.#files.rename(this.#part, segmentPath(this.#folder, this.name));
    this.#files.syncFolder(this.#folder);
    return { name: this.name, bytes: this.#length, chunks, hashes };
  }

  /** Gives up: nothing of the segment stays, as far as the disk allows. */
  abandon(): void {
    for (const step of [() => this.#close(), () => this.#files.remove(this.#part)]) {
      try {
        step();
      } catch {
        // What stays has no row: the next collection removes it.
      }
    }
  }

  get #part(): string {
    return `${segmentPath(this.#folder, this.name)}.part`;
  }

  #endFrame(): void {
    this.#frames.push(this.#length);
    this.#append(zstdCompressSync(this.#frame.subarray(0, this.#inFrame * CHUNK_BYTES), COMPRESSION));
    this.#inFrame = 0;
  }

  #close(): void {
    const handle = this.#handle;
    this.#handle = null;
    if (handle !== null) this.#files.close(handle);
  }

  #append(bytes: Uint8Array): void {
    if (this.#handle === null) throw new Error('the segment is finished');
    this.#files.write(this.#handle, bytes);
    this.#length += bytes.length;
  }
}

/** A segment cannot be read as what it was written. The message names the file and says what is wrong. */
export class SegmentError extends Error {
  override readonly name = 'SegmentError';
}

/** Reads a segment, believing nothing of it. */
export class SegmentReader {
  readonly path: string;
  readonly chunks: number;
  /** Length of the file. */
  readonly bytes: number;
  readonly #handle: number;
  readonly #hashes: Uint8Array;
  readonly #frames: Uint32Array;

  /** @throws SegmentError when the file is not there, or its index is damaged. */
  constructor(path: string) {
    this.path = path;
    let handle: number | null = null;
    try {
      handle = openSync(path, 'r');
      const index = readIndex(handle);
      this.#handle = handle;
      this.chunks = index.chunks;
      this.bytes = index.bytes;
      this.#hashes = index.hashes;
      this.#frames = index.frames;
    } catch (error) {
      if (handle !== null) closeSync(handle);
      throw this.#damaged(error instanceof Error ? error.message : String(error));
    }
  }

  hashOf(position: number): Uint8Array {
    return this.#hashes.subarray(position * HASH_BYTES, (position + 1) * HASH_BYTES);
  }

  get hashes(): Uint8Array {
    return this.#hashes;
  }

  /** The verified chunks of the frame that holds `position`; the first one is `position - position % FRAME_CHUNKS`. @throws SegmentError */
  readFrame(position: number): Uint8Array {
    if (position < 0 || position >= this.chunks) throw this.#damaged(`it has no chunk ${position}`);
    const frame = Math.floor(position / FRAME_CHUNKS);
    const first = frame * FRAME_CHUNKS;
    const count = Math.min(FRAME_CHUNKS, this.chunks - first);
    const from = this.#frames[frame] ?? 0;
    let content: Uint8Array;
    try {
      content = zstdDecompressSync(readExactly(this.#handle, from, (this.#frames[frame + 1] ?? 0) - from), { maxOutputLength: count * CHUNK_BYTES });
    } catch (error) {
      throw this.#damaged(`frame ${frame} cannot be read (${error instanceof Error ? error.message : String(error)})`);
    }
    if (content.length !== count * CHUNK_BYTES) throw this.#damaged(`frame ${frame} has not its size`);
    for (let i = 0; i < count; i += 1) {
      const chunk = content.subarray(i * CHUNK_BYTES, (i + 1) * CHUNK_BYTES);
      if (!hashChunk(chunk).equals(this.hashOf(first + i))) throw this.#damaged(`chunk ${first + i} is not what was saved`);
    }
    return content;
  }

  close(): void {
    closeSync(this.#handle);
  }

  #damaged(what: string): SegmentError {
    return new SegmentError(`The file "${this.path}", which holds saved memory, is damaged: ${what}.`);
  }
}

function readIndex(handle: number): { readonly bytes: number; readonly chunks: number; readonly hashes: Uint8Array; readonly frames: Uint32Array } {
  const { size } = fstatSync(handle);
  if (size < MAGIC.length + TRAILER_BYTES) throw new Error('it is cut short');
  if (!MAGIC.equals(readExactly(handle, 0, MAGIC.length))) throw new Error('it is no segment');
  const trailer = readExactly(handle, size - TRAILER_BYTES, TRAILER_BYTES);
  if (!MAGIC.equals(trailer.subarray(8 + HASH_BYTES))) throw new Error('it was not finished');
  const view = new DataView(trailer.buffer);
  const chunks = view.getUint32(0, true);
  const start = view.getUint32(4, true);
  const frameCount = Math.ceil(chunks / FRAME_CHUNKS);
  const indexBytes = chunks * HASH_BYTES + (frameCount + 1) * 4;
  if (chunks > SEGMENT_CHUNKS || start + indexBytes + TRAILER_BYTES !== size) throw new Error('its index has not its size');
  const index = readExactly(handle, start, indexBytes);
  const digest = createHash('sha256').update(index).update(trailer.subarray(0, 8)).digest();
  if (!digest.equals(trailer.subarray(8, 8 + HASH_BYTES))) throw new Error('its index does not fit its checksum');
  const frames = new Uint32Array(index.slice(chunks * HASH_BYTES).buffer);
  // The checksum keeps accidents out; these keep a file out that was made to harm.
  for (let i = 0; i < frameCount; i += 1) if ((frames[i] ?? 0) < MAGIC.length || (frames[i] ?? 0) >= (frames[i + 1] ?? 0)) throw new Error('its frames are out of order');
  if (frames[frameCount] !== start) throw new Error('its frames do not end at its index');
  return { bytes: size, chunks, hashes: index.subarray(0, chunks * HASH_BYTES), frames };
}

function bytesOf(words: Uint32Array): Uint8Array {
  return new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
}
