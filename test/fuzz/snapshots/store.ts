/**
 * Snapshots against a disk that fails at any moment: whatever is listed afterwards has the memory it was taken of, page by page, and the
 * library is whole. The model beside it is a copy of each memory.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { vmDefaults } from '../../../core/contract/vm.ts';
import { HISTORY_CLEAN, HISTORY_PENDING, HISTORY_WRITTEN } from '../../../core/cpu/layout.ts';
import { examine } from '../../../core/engine/doctor.ts';
import { DiskStates } from '../../../core/engine/diskStates.ts';
import { PageMap } from '../../../core/snapshot/pageMap.ts';
import { PageSource } from '../../../core/snapshot/pageSource.ts';
import { createPreserveBuffer, PreserveRing } from '../../../core/snapshot/preserve.ts';
import { Saver } from '../../../core/snapshot/saver.ts';
import type { ChunkLibrary } from '../../../core/snapshot/chunkWriter.ts';
import { CHUNK_BYTES } from '../../../core/snapshot/segment.ts';
import { Library } from '../../../core/store/library.ts';
import { FailingDisk, isRefusal, PowerLoss, randomFrom } from './disk.ts';
import type { Fault, Random } from './disk.ts';

const MEMORY = 16 << 20;
const PAGES = MEMORY / CHUNK_BYTES;
/** Pages that the guest of the model uses, and different contents there are: small, so that snapshots share. */
const USED = 64;
const CONTENTS = 40;

/** A guest without a processor: memory with its history. */
class Guest {
  readonly buffer = new SharedArrayBuffer(MEMORY + PAGES);
  readonly ram = new Uint8Array(this.buffer, 0, MEMORY);
  readonly history = new Uint8Array(this.buffer, MEMORY, PAGES);
  readonly ring = new PreserveRing(createPreserveBuffer());
  readonly saver: Saver;
  readonly #random: Random;

  constructor(random: Random, disk: FailingDisk, base: PageMap | null) {
    this.#random = random;
    this.saver = new Saver(this.ring, base ?? new PageMap(PAGES), disk);
    this.history.fill(base ? HISTORY_CLEAN : HISTORY_WRITTEN);
  }

  /** Writes a few pages, as the processor's slow path would. */
  work(): void {
    for (let i = Math.floor(this.#random() * 12); i > 0; i -= 1) {
      const page = Math.floor(this.#random() * USED);
      const content = this.ram.subarray(page * CHUNK_BYTES, (page + 1) * CHUNK_BYTES);
      if (Atomics.compareExchange(this.history, page, HISTORY_PENDING, HISTORY_WRITTEN) === HISTORY_PENDING) this.ring.put(page, content);
      else this.history[page] = HISTORY_WRITTEN;
      content.fill(Math.floor(this.#random() * CONTENTS));
      content[0] = 7; // Not all alike, so that nothing compresses to nothing.
    }
  }

  begin(): Uint32Array<ArrayBuffer> {
    this.ring.open();
    const pages = [...this.history.keys()].filter((page) => this.history[page] !== HISTORY_CLEAN);
    for (const page of pages) this.history[page] = HISTORY_PENDING;
    return Uint32Array.from(pages);
  }
}

export interface StoreRun {
  /** Snapshots that were listed and read back. */
  verified: number;
  outcome: 'power' | 'refused' | 'done';
}

/** One library, some work, one fault after `operations` steps; throws when anything that was listed is not as it was. */
export async function runStore(seed: number, operations: number, fault: Fault): Promise<StoreRun> {
  const random = randomFrom(seed);
  const folder = mkdtempSync(join(tmpdir(), 'vanderpool-fuzz-'));
  const disk = new FailingDisk(random, operations, fault);
  /** The memory of each snapshot that was recorded, by id. */
  const model = new Map<string, Uint8Array>();
  let outcome: StoreRun['outcome'] = 'done';
  try {
    const library = new Library(folder, disk);
    try {
      await work(library, disk, random, model);
    } catch (error) {
      if (error instanceof PowerLoss) outcome = 'power';
      else throw error;
    }
    if (outcome === 'done' && fault !== 'power' && disk.left < 0) outcome = 'refused';
    await library.close();
    disk.loseWhatWasNotSynced();
    return { outcome, verified: await verify(folder, model) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function work(library: Library, disk: FailingDisk, random: Random, model: Map<string, Uint8Array>): Promise<void> {
  const { snapshots: store } = library;
  const vm = await library.create({ ...vmDefaults, memoryBytes: MEMORY, name: 'Guest' });
  let guest = new Guest(random, disk, null);
  for (let step = 0; step < 12; step += 1) {
    guest.work();
    const kind = random();
    const ids = [...model.keys()];
    const id = ids[Math.floor(random() * ids.length)];
    try {
      if (kind < 0.6 || id === undefined) await take(library, vm.id, guest, disk, model);
      else if (kind < 0.75) {
        disk.step();
        store.remove(id);
        model.delete(id);
      } else if (kind < 0.9) guest = restore(library, id, random, disk);
      else collect(library, guest, disk);
    } catch (error) {
      if (!isRefusal(error)) throw error;
      disk.fault = 'none'; // What was refused is refused. It is well again afterwards.
    }
  }
}

async function take(library: Library, vmId: string, guest: Guest, disk: FailingDisk, model: Map<string, Uint8Array>): Promise<void> {
  const { snapshots: store } = library;
  const then = guest.ram.slice(0, USED * CHUNK_BYTES);
  const chunks: ChunkLibrary = {
    lookup: (hashes) => {
      guest.work();
      return Promise.resolve(store.lookup(hashes));
    },
    record: ({ name }) => {
      disk.step();
      guest.work();
      return Promise.resolve(store.recordSegment(name));
    },
    progress: () => undefined,
  };
  const pages = guest.begin();
  const memory = { buffer: guest.buffer, ram: 0, bytes: MEMORY, history: MEMORY };
  const { map } = await guest.saver.take({ memory, pages }, store.prepare(), chunks);
  disk.step();
  const config = { ...vmDefaults, memoryBytes: MEMORY, name: 'Guest' };
  const id = store.commit({
    vmId, kind: 'snapshot', parentId: store.currentOf(vmId), name: `snapshot ${model.size}`, notes: '', config, power: 'running', state: {}, map: map.encode(), pauseMilliseconds: 0,
    consoles: [], screen: '', picture: null, variables: null, disks: [],
  });
  model.set(id, then);
}

function restore(library: Library, id: string, random: Random, disk: FailingDisk): Guest {
  const { pageMap } = library.snapshots.load(id);
  const guest = new Guest(random, disk, pageMap);
  readAll(library, pageMap, guest.ram);
  return guest;
}

/** Between snapshots, with what the guest's next one builds on kept. */
function collect(library: Library, guest: Guest, disk: FailingDisk): void {
  const pinned = new Set(guest.saver.map.references().keys());
  disk.step();
  while (library.snapshots.collectOne(pinned));
}

function readAll(library: Library, map: PageMap, ram: Uint8Array): void {
  const source = new PageSource(map, new Map(library.snapshots.paths(map.references().keys())));
  for (let page = 0; page < PAGES; page += 1) if (map.segments[page] !== 0) ram.set(source.read(page), page * CHUNK_BYTES);
  source.close();
}

/** Opens the library as the next engine does, and reads everything that is listed. Returns how many snapshots that were. */
async function verify(folder: string, model: ReadonlyMap<string, Uint8Array>): Promise<number> {
  const library = new Library(folder);
  try {
    const { snapshots: store } = library;
    store.removeOrphans();
    while (store.collectOne(new Set()));
    const listed = new Set(store.all().map(({ id }) => id));
    for (const id of model.keys()) if (!listed.has(id)) throw new Error('a snapshot that was committed is not listed');
    for (const id of listed) {
      const expected = model.get(id);
      // The power went after the commit and before the model heard of it.
      if (!expected) continue;
      const ram = new Uint8Array(USED * CHUNK_BYTES);
      const { pageMap } = store.load(id);
      if (pageMap.segments.some((segment, page) => segment !== 0 && page >= USED)) throw new Error('a snapshot has pages that the guest never used');
      readAll(library, pageMap, ram);
      if (Buffer.compare(ram, expected) !== 0) throw new Error('the memory of a snapshot is not what it was');
    }
    const findings = await examine(library, { repair: false, mayRemoveOrphans: true, disks: new DiskStates(library), isRunning: () => false });
    if (findings.length > 0) throw new Error(`the library is not whole: ${findings.map(({ what }) => what).join(' ')}`);
    return listed.size;
  } finally {
    await library.close();
  }
}
