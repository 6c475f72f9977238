/**
 * Disks of snapshots on a host that loses its power, is full or read-only, at any step: every listed snapshot has the disk it was taken of, and what the
 * guest had flushed is on its disk. Beside it stands a model that keeps whole copies.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BlockError } from '../../../core/block/blockDevice.ts';
import { openImage } from '../../../core/block/open.ts';
import type { ImageStorage } from '../../../core/block/storage.ts';
import { vmDefaults } from '../../../core/contract/vm.ts';
import type { Vm } from '../../../core/contract/vm.ts';
import { DiskStates } from '../../../core/engine/diskStates.ts';
import { examine } from '../../../core/engine/doctor.ts';
import { ChunkWriter } from '../../../core/snapshot/chunkWriter.ts';
import type { ChunkLibrary } from '../../../core/snapshot/chunkWriter.ts';
import { ClusterMap } from '../../../core/snapshot/disk/clusterMap.ts';
import { LayeredDisk } from '../../../core/snapshot/disk/layeredDisk.ts';
import { saveDisks } from '../../../core/snapshot/disk/saveDisks.ts';
import { PageMap } from '../../../core/snapshot/pageMap.ts';
import { CHUNK_BYTES } from '../../../core/snapshot/segment.ts';
import { Library } from '../../../core/store/library.ts';
import { MemoryStorage } from '../../doubles/storage.ts';
import { FailingDisk, isRefusal, PowerLoss, randomFrom } from './disk.ts';
import type { Fault, Random } from './disk.ts';
import type { StoreRun } from './store.ts';

const MEMORY = 16 << 20;
const UNIT = 4096;
const UNITS = 96;
const SIZE = UNITS * UNIT;
/** The most units that a disk grows by at once. */
const GROWTH = 40;
/** Contents that a unit may have: few, so that snapshots share and zeros are among them. */
const CONTENTS = 30;

/** Layers of the library in memory: writes that were not synced may be lost. */
class FailingLayers {
  readonly #disk: FailingDisk;
  readonly #files = new Map<string, MemoryStorage>();

  constructor(disk: FailingDisk) {
    this.#disk = disk;
  }

  readonly open = (path: string, readOnly: boolean): ImageStorage => {
    const file = this.#files.get(path) ?? new MemoryStorage();
    this.#files.set(path, file);
    const step = (): void => this.#step();
    return {
      path, readOnly,
      get length() {
        return file.length;
      },
      read: (offset, into) => file.read(offset, into),
      write: async (offset, from) => {
        step();
        await file.write(offset, from);
      },
      sync: async () => {
        step();
        await file.sync();
      },
      truncate: (length) => file.truncate(length),
      close: async () => undefined,
    };
  };

  /** What is on the disk when the power is back. */
  loseWhatWasNotSynced(random: Random): void {
    for (const [path, file] of this.#files) {
      try {
        writeFileSync(path, file.afterPowerFailure(() => random() < 0.5), { flag: 'r+' });
      } catch {
        // The file was removed.
      }
    }
  }

  #step(): void {
    try {
      this.#disk.step();
    } catch (error) {
      throw error instanceof PowerLoss ? error : new BlockError(this.#disk.fault === 'read-only' ? 'read-only' : 'full', error instanceof Error ? error.message : String(error));
    }
  }
}

/** What each unit of the guest's disk may hold after a loss of power: what it held at the last flush, or anything written since. */
class DiskModel {
  readonly now: Uint8Array;
  readonly #possible: Set<number>[];

  constructor(content: Uint8Array, possible: readonly ReadonlySet<number>[] = []) {
    this.now = content.slice();
    this.#possible = Array.from(content, (value, unit) => new Set(possible[unit] ?? [value]));
  }

  /** The same disk with so many units of zeros behind it. */
  grown(units: number): DiskModel {
    return new DiskModel(Uint8Array.from([...this.now, ...new Uint8Array(units)]), this.#possible);
  }

  write(unit: number, value: number): void {
    this.now[unit] = value;
    this.#possible[unit]?.add(value);
  }

  flushed(): void {
    for (const [unit, values] of this.#possible.entries()) {
      values.clear();
      values.add(this.now[unit] ?? 0);
    }
  }

  /** What a new process sees. */
  found(content: Uint8Array): void {
    if (!this.allows(content)) throw new Error('the disk has lost what was flushed');
    this.now.set(content);
    this.flushed();
  }

  allows(content: Uint8Array): boolean {
    return content.length === this.now.length && content.every((value, unit) => this.#possible[unit]?.has(value));
  }
}

/** One library with a VM, what its disk should hold, and what its snapshots should. */
class DiskFuzz {
  readonly disk: FailingDisk;
  readonly layers: FailingLayers;
  readonly snapshots = new Map<string, Uint8Array>();
  readonly #random: Random;
  readonly #library: Library;
  readonly #states: DiskStates;
  readonly #image: string;
  /** What the disk may be: two while the VM goes back to a snapshot. */
  models: DiskModel[];
  #vm: Vm | null = null;
  #open: LayeredDisk | null = null;
  #map = new ClusterMap(SIZE);

  constructor(folder: string, random: Random, disk: FailingDisk, image: string, content: Uint8Array) {
    this.disk = disk;
    this.layers = new FailingLayers(disk);
    this.#random = random;
    this.#library = new Library(folder, disk);
    this.#states = new DiskStates(this.#library, this.layers.open);
    this.#image = image;
    this.models = [new DiskModel(content)];
  }

  async work(): Promise<void> {
    this.#vm = await this.#library.create({ ...vmDefaults, memoryBytes: MEMORY, name: 'Guest', disks: [{ path: this.#image, kind: 'disk', bus: 'virtio', format: 'raw', readOnly: false }] });
    await this.#boot();
    for (let step = 0; step < 10; step += 1) {
      try {
        await this.#act();
      } catch (error) {
        if (!isRefusal(error)) throw error;
        this.disk.fault = 'none'; // What was refused is refused. It is well again afterwards.
      }
    }
  }

  async close(): Promise<void> {
    await this.#open?.close().catch(() => undefined);
    await this.#library.close();
  }

  get #guest(): LayeredDisk {
    if (!this.#open) throw new Error('the guest has no disk');
    return this.#open;
  }

  get #model(): DiskModel {
    const [model] = this.models;
    if (!model) throw new Error('there is no model');
    return model;
  }

  get #current(): Vm {
    if (!this.#vm) throw new Error('there is no VM');
    return this.#vm;
  }

  async #act(): Promise<void> {
    await this.#write();
    const kind = this.#random();
    const ids = [...this.snapshots.keys()];
    const id = ids[Math.floor(this.#random() * ids.length)];
    const { snapshots: store } = this.#library;
    if (kind < 0.55 || id === undefined) await this.#take();
    else if (kind < 0.7) await this.#restore(id);
    else if (kind < 0.85) {
      this.disk.step();
      this.snapshots.delete(id);
      store.remove(id);
    } else if (kind < 0.89) await this.#boot();
    else if (kind < 0.93) await this.#grow();
    else if (kind < 0.97) await this.#mergeBack();
    else {
      this.disk.step();
      while (store.collectOne(new Set()));
    }
  }

  async #end(): Promise<void> {
    const before = this.#open;
    this.#open = null;
    await before?.close().catch((error: unknown) => {
      if (!isRefusal(error)) throw error;
      this.disk.fault = 'none'; // What was not flushed may be lost.
    });
  }

  /** Nobody needs the image as it was: what was written since goes into it, as far as nobody gives that up. */
  async #mergeBack(): Promise<void> {
    for (const id of this.snapshots.keys()) {
      this.disk.step();
      this.snapshots.delete(id);
      this.#library.snapshots.remove(id);
    }
    await this.#end();
    const givenUp = (): boolean => {
      this.disk.step();
      return this.#random() < 0.1;
    };
    await this.#states.mergeBack(this.#current, givenUp).catch((error: unknown) => {
      if (!isRefusal(error)) throw error;
      this.disk.fault = 'none';
    });
    await this.#boot();
  }

  /** The VM's process begins anew, with what the rows say. */
  async #boot(): Promise<void> {
    await this.#end();
    const [state] = this.#states.forStart(this.#current);
    const image = await openImage(this.#image, { format: 'raw', readOnly: state !== null });
    this.#map = state ? ClusterMap.decode(state.map, state.size) : new ClusterMap(image.size);
    this.#open = state ? await LayeredDisk.open(image, { size: state.size, map: this.#map, segments: new Map(state.segments), layers: state.layers }, this.layers.open) : new LayeredDisk(image, this.layers.open);
    const bytes = new Uint8Array(this.#open.size);
    await this.#open.read(0, bytes);
    this.#model.found(unitsOf(bytes));
  }

  /** A disk that snapshots hold becomes larger, and is opened anew. */
  async #grow(): Promise<void> {
    if (this.#states.forStart(this.#current)[0] === null) return;
    const units = 1 + Math.floor(this.#random() * GROWTH);
    this.models = [this.#model, this.#model.grown(units)];
    try {
      await this.#states.grow(this.#current.id, this.#image, this.#guest.size + units * UNIT);
      this.disk.step();
    } catch (error) {
      if (!isRefusal(error)) throw error;
      this.disk.fault = 'none';
      const [state] = this.#states.forStart(this.#current);
      if (state?.size === this.#guest.size) return void this.models.pop();
    }
    this.models.shift();
    await this.#boot();
  }

  /** A few writes, perhaps a flush. */
  async #write(): Promise<void> {
    for (let left = Math.floor(this.#random() * 8); left > 0; left -= 1) {
      const unit = Math.floor((this.#random() * this.#guest.size) / UNIT);
      const value = Math.floor(this.#random() * CONTENTS);
      this.#model.write(unit, value);
      try {
        if (value === 0) await this.#guest.zero(unit * UNIT, UNIT);
        else await this.#guest.write(unit * UNIT, contentOf(value));
      } catch (error) {
        if (!isRefusal(error)) throw error;
        // The guest is told that its write failed: it happened, or not.
        this.disk.fault = 'none';
        const content = new Uint8Array(UNIT);
        await this.#guest.read(unit * UNIT, content);
        this.#model.now[unit] = content[0] ?? 0;
      }
    }
    if (this.#random() > 0.4) return;
    await this.#guest.flush();
    this.#model.flushed();
  }

  async #take(): Promise<void> {
    const { snapshots: store } = this.#library;
    const vm = this.#current;
    const [layer] = await this.#states.extend(vm);
    if (!layer) throw new Error('the disk got no layer');
    const { switched } = await this.#guest.prepareLayer(layer.layer);
    const then = this.#model.now.slice();
    await this.#guest.switchLayer();
    await switched;
    await this.#write();
    await this.#guest.flushSealed();
    const library: ChunkLibrary = {
      lookup: async (hashes) => {
        await this.#write();
        return store.lookup(hashes);
      },
      record: async ({ name }) => {
        this.disk.step();
        return store.recordSegment(name);
      },
      progress: () => undefined,
    };
    const chunks = new ChunkWriter(store.prepare(), library, this.disk);
    const wanted = { path: this.#image, format: 'raw', size: this.#guest.size, map: this.#map.encode(), segments: store.paths(this.#map.references().keys()), layers: this.#guest.sealedLayers } as const;
    const [saved] = await saveDisks([wanted], chunks, library, () => false, this.layers.open).catch((error: unknown) => {
      chunks.abandon();
      throw error;
    });
    await chunks.end();
    if (!saved) throw new Error('the disk was not saved');
    this.disk.step();
    const { saved: disks, states } = this.#states.taken(vm, [{ path: this.#image, map: saved.map.encode() }]);
    const id = store.commit({
      vmId: vm.id, kind: 'snapshot', parentId: store.currentOf(vm.id), name: `snapshot ${this.snapshots.size}`, notes: '', config: vm.config, power: 'off', state: null,
      map: new PageMap(MEMORY / CHUNK_BYTES).encode(), pauseMilliseconds: 0, consoles: [], screen: '', picture: null, variables: null, disks,
    }, states);
    this.snapshots.set(id, then);
    this.#map = saved.map;
    await this.#guest.rebase(saved.map, new Map(store.paths(saved.map.references().keys())));
    this.#states.removeUnused(vm.id);
  }

  async #restore(id: string): Promise<void> {
    const { snapshots: store } = this.#library;
    const { disks } = store.load(id);
    const states = await this.#states.fresh(this.#current.id, disks);
    const isInPlace = this.#states.haveSizes(this.#current, states);
    this.models = [this.#model, new DiskModel(this.snapshots.get(id) ?? new Uint8Array(UNITS))];
    this.disk.step();
    store.goBack(this.#current.id, id, states);
    this.models.shift();
    try {
      this.disk.step();
    } catch (error) {
      if (!isRefusal(error)) throw error;
      // A machine that cannot go over is ended, and begins anew.
      this.disk.fault = 'none';
      return this.#boot();
    }
    if (!isInPlace) return this.#boot();
    const [state] = this.#states.named(this.#current, states);
    if (!state) throw new Error('the snapshot has no disk');
    this.#map = ClusterMap.decode(state.map, state.size);
    const { switched } = await this.#guest.prepareContent({ size: state.size, map: this.#map, segments: new Map(state.segments), layers: state.layers });
    await this.#guest.switchLayer();
    await switched;
    this.#states.removeUnused(this.#current.id);
  }
}

function contentOf(value: number): Uint8Array {
  return new Uint8Array(UNIT).fill(value);
}

function unitsOf(bytes: Uint8Array): Uint8Array {
  return Uint8Array.from({ length: bytes.length / UNIT }, (_, unit) => {
    const content = bytes.subarray(unit * UNIT, (unit + 1) * UNIT);
    const value = content[0] ?? 0;
    if (!content.every((byte) => byte === value)) throw new Error(`unit ${unit} of the disk is torn`);
    return value;
  });
}

/** One library, some work, one fault after so many steps. @throws Error when anything is not as it was */
export async function runDisks(seed: number, operations: number, fault: Fault): Promise<StoreRun> {
  const random = randomFrom(seed);
  const folder = mkdtempSync(join(tmpdir(), 'vanderpool-fuzz-disks-'));
  const image = join(folder, 'image.raw');
  const content = Uint8Array.from({ length: UNITS }, () => Math.floor(random() * CONTENTS));
  writeFileSync(image, Buffer.concat(Array.from(content, contentOf)));
  let outcome: StoreRun['outcome'] = 'done';
  try {
    const disk = new FailingDisk(random, operations, fault);
    const fuzz = new DiskFuzz(folder, random, disk, image, content);
    try {
      await fuzz.work();
    } catch (error) {
      if (!disk.gone) throw error;
      outcome = 'power';
    }
    if (outcome === 'done' && fault !== 'power' && disk.left < 0) outcome = 'refused';
    if (outcome !== 'power') disk.fault = 'none';
    await fuzz.close();
    disk.loseWhatWasNotSynced();
    fuzz.layers.loseWhatWasNotSynced(random);
    return { outcome, verified: await verify(folder, fuzz) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Opens the library as the next engine does, and reads the VM's disk and everything that is listed. */
async function verify(folder: string, { models, snapshots }: DiskFuzz): Promise<number> {
  const library = new Library(folder);
  try {
    const { snapshots: store } = library;
    const states = new DiskStates(library);
    store.removeOrphans();
    while (store.collectOne(new Set()));
    const [vm] = (await library.list()).filter(({ config }) => config.name === 'Guest');
    if (!vm) return 0;
    states.removeUnused(vm.id);
    const listed = store.list(vm.id);
    for (const id of snapshots.keys()) if (!listed.some((one) => one.id === id)) throw new Error('a snapshot that was committed is not listed');
    for (const { id } of listed) {
      const { config, disks: [saved] } = store.load(id);
      if (!saved) throw new Error('a snapshot has lost its disk');
      const { disk, close } = await states.openSaved(config, saved);
      const bytes = new Uint8Array(saved.size);
      await disk.read(0, bytes);
      await close();
      const then = snapshots.get(id);
      if (then && Buffer.compare(unitsOf(bytes), then) !== 0) throw new Error('the disk of a snapshot is not what it was');
    }
    const [state] = states.forStart(vm);
    const path = vm.config.disks[0]?.path ?? '';
    const image = await openImage(path, { format: 'raw', readOnly: true });
    const disk = state ? await LayeredDisk.open(image, { size: state.size, map: ClusterMap.decode(state.map, state.size), segments: new Map(state.segments), layers: state.layers }) : new LayeredDisk(image);
    const bytes = new Uint8Array(disk.size);
    await disk.read(0, bytes);
    await disk.close();
    const now = unitsOf(bytes);
    if (!models.some((model) => model.allows(now))) throw new Error('the disk has lost what was flushed');
    const findings = await examine(library, { repair: false, mayRemoveOrphans: true, disks: states, isRunning: () => false });
    if (findings.length > 0) throw new Error(`the library is not whole: ${findings.map(({ what }) => what).join(' ')}`);
    return listed.length;
  } finally {
    await library.close();
  }
}
