/** Snapshots without an engine: a library of chunks in a folder and a map, and machines that are saved into it and restored from it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Machine, RestorePoint } from '../../core/machine/types.ts';
import { diskFiles } from '../../core/snapshot/files.ts';
import type { SegmentFiles } from '../../core/snapshot/files.ts';
import { PageMap } from '../../core/snapshot/pageMap.ts';
import { createPreserveBuffer, PreserveRing } from '../../core/snapshot/preserve.ts';
import { Saver } from '../../core/snapshot/saver.ts';
import type { ChunkLibrary } from '../../core/snapshot/chunkWriter.ts';
import { CHUNK_BYTES, HASH_BYTES, SegmentReader, segmentPath } from '../../core/snapshot/segment.ts';

/** What the engine and its database are to a saver. */
export class FolderLibrary implements ChunkLibrary, Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'vanderpool-chunks-'));
  readonly segments: [number, string][] = [];
  readonly #chunks = new Map<string, readonly [number, number]>();
  /** Called whenever the saver waits for an answer: the guest runs then. */
  meanwhile: () => void = () => undefined;

  lookup(hashes: Uint8Array): Promise<{ segments: Uint32Array; positions: Uint32Array }> {
    this.meanwhile();
    const found = Array.from({ length: hashes.length / HASH_BYTES }, (_, i) => this.#chunks.get(key(hashes.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES))) ?? [0, 0] as const);
    return Promise.resolve({ segments: Uint32Array.from(found, ([segment]) => segment), positions: Uint32Array.from(found, ([, position]) => position) });
  }

  record({ name }: { readonly name: string }): Promise<number> {
    this.meanwhile();
    const path = segmentPath(this.folder, name);
    const reader = new SegmentReader(path);
    const id = this.segments.push([this.segments.length + 1, path]);
    for (let position = 0; position < reader.chunks; position += 1) this.#chunks.set(key(reader.hashOf(position)), [id, position]);
    reader.close();
    return Promise.resolve(id);
  }

  progress(): void {}

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function key(hash: Uint8Array): string {
  return Buffer.from(hash).toString('hex');
}

/** Takes snapshots of one machine into a library. */
export class Taker {
  readonly ring = new PreserveRing(createPreserveBuffer());
  readonly saver: Saver;
  readonly #library: FolderLibrary;

  /** `base`: the map that the machine was restored from. */
  constructor(library: FolderLibrary, memoryBytes: number, files: SegmentFiles = diskFiles, base?: Uint8Array) {
    this.#library = library;
    this.saver = new Saver(this.ring, base ? PageMap.decode(base, memoryBytes / CHUNK_BYTES) : new PageMap(memoryBytes / CHUNK_BYTES), files);
  }

  async take(machine: Machine): Promise<RestorePoint & { readonly pages: number; readonly writtenBytes: number }> {
    this.ring.open();
    const point = machine.snapshot();
    const { map, writtenBytes } = await this.saver.take(point, this.#library.folder, this.#library);
    // As it travels: through JSON and the database.
    return { state: JSON.parse(JSON.stringify(point.state)) as unknown, map: map.encode(), segments: [...this.#library.segments], pages: point.pages.length, writtenBytes };
  }
}
