/**
 * The disks of VMs that have snapshots. With a VM's first snapshot its images belong to the library: they are only read from then on, and what
 * the VM writes goes to layers in its folder. The rows of the database say which layers count; a file that no row names is removed.
 */
import { randomUUID } from 'node:crypto';
import { readdirSync, realpathSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { createDisk, growDisk } from '../block/commands.ts';
import { imageSize, openImage } from '../block/open.ts';
import { ContractError } from '../contract/errors.ts';
import { formatSize } from '../contract/memory.ts';
import type { DiskConfig } from '../contract/hardware.ts';
import type { Vm, VmConfig } from '../contract/vm.ts';
import type { DiskState as MachineDiskState, NamedDisk, NewLayer } from '../machine/layeredDisks.ts';
import type { WholeDisk } from '../snapshot/archive.ts';
import { ChunkedDisk } from '../snapshot/disk/chunkedDisk.ts';
import { ClusterMap, DISK_MAXIMUM } from '../snapshot/disk/clusterMap.ts';
import { createLayer } from '../snapshot/disk/layer.ts';
import type { OpenStorage } from '../snapshot/disk/layer.ts';
import { mergeDisk } from '../snapshot/disk/mergeDisk.ts';
import type { WantedDisk } from '../snapshot/disk/saveDisks.ts';
import { decodeDisk } from '../store/disks.ts';
import type { DiskState, ImageStamp, SavedImage } from '../store/disks.ts';
import type { Library } from '../store/library.ts';

const LAYER_ENDING = '.layer';
/** Before there are more of a disk they become maps. */
const LAYERS_MANY = 8;

/** A disk whose map changed. */
export interface DiskMap {
  readonly path: string;
  readonly map: Uint8Array<ArrayBuffer>;
}

/** What a snapshot has made of a VM's disks. */
export interface TakenDisks {
  readonly saved: readonly SavedImage[];
  readonly states: readonly DiskState[];
}

/** A disk of a snapshot, open. */
export interface OpenedImage {
  readonly index: number;
  readonly disk: ChunkedDisk;
  readonly close: () => Promise<void>;
}

export class DiskStates {
  readonly #library: Library;
  readonly #openStorage: OpenStorage | undefined;

  /** @param openStorage how layers are written; tests put a failing disk there */
  constructor(library: Library, openStorage?: OpenStorage) {
    this.#library = library;
    this.#openStorage = openStorage;
  }

  /**
   * What the library keeps of each disk of a VM that is about to start; null: all of it is in its image, which the VM may write to.
   * @throws ContractError when an image was changed behind its snapshots, or another VM's snapshots need it as it is
   */
  forStart(vm: Vm): (MachineDiskState | null)[] {
    return vm.config.disks.map((disk, index) => this.forDisk(vm, disk, `disks.${index}.path`));
  }

  /** The same for one disk. */
  forDisk(vm: Vm, disk: DiskConfig, field: string): MachineDiskState | null {
    const state = this.#statesOf(vm.id).get(disk.path);
    if (state && disk.kind === 'disk' && disk.readOnly) throw mustBeWritten(vm, disk.path, field);
    if (!isWritten(disk)) return null;
    if (state) return this.#machineState(vm.id, checked(state, field));
    this.#refuseNeeded(vm, disk.path, field);
    return null;
  }

  /** Makes a new layer for each disk that a VM writes to, and records it: an empty one on top changes nothing. @throws ContractError */
  async extend(vm: Vm): Promise<NewLayer[]> {
    const states = this.#statesOf(vm.id);
    const made: NewLayer[] = [];
    const next: DiskState[] = [];
    for (const [index, disk] of vm.config.disks.entries()) {
      if (!isWritten(disk)) continue;
      const state = states.get(disk.path) ?? (await this.#firstState(vm, disk, index));
      const layer = await this.#newLayer(vm.id, state.size);
      made.push({ path: disk.path, layer: this.#layerPath(vm.id, layer) });
      next.push({ ...state, layers: [...state.layers, layer] });
    }
    this.#store.putAll(vm.id, next);
    return made;
  }

  /**
   * Makes a disk larger whose image belongs to snapshots: a layer of the new size on top says so, and nothing below it changes.
   * @throws ContractError when it would become smaller, or the layer cannot be made
   */
  async grow(vmId: string, path: string, bytes: number): Promise<MachineDiskState> {
    const state = this.#statesOf(vmId).get(path);
    if (!state) throw new ContractError('internal', `The library keeps nothing of the disk "${path}".`, 'This is a defect of Vanderpool.');
    if (bytes < state.size) throw new ContractError('bad-field', `The disk "${path}" has ${formatSize(state.size)}; it can only grow.`, 'Make a smaller disk and copy what is needed from a guest.', 'size');
    if (bytes > DISK_MAXIMUM) throw new ContractError('bad-field', `A disk with snapshots cannot have ${bytes} bytes.`, 'They hold disks of up to 16 TiB.', 'size');
    const grown = { ...state, size: bytes, map: decodeDisk(state).resized(bytes).encode(), layers: [...state.layers, await this.#newLayer(vmId, bytes)] };
    this.#store.put(vmId, grown);
    return this.#machineState(vmId, grown);
  }

  /** Whether a VM's disks have so many layers that every access is slower for them. */
  isTall(vm: Vm): boolean {
    return this.#store.statesOf(vm.id).some(({ layers }) => layers.length >= LAYERS_MANY);
  }

  /** Whether a VM's disks are as large now as they are to be. */
  haveSizes(vm: Vm, states: readonly DiskState[]): boolean {
    const now = this.#statesOf(vm.id);
    return states.every(({ path, size }) => now.get(path)?.size === size);
  }

  /** What lies in the layers of a VM that does not run, but in the newest ones, which are empty. */
  wanted(vm: Vm): WantedDisk[] {
    const states = this.#statesOf(vm.id);
    return vm.config.disks.flatMap((disk) => {
      const state = states.get(disk.path);
      if (!state || !isWritten(disk)) return [];
      const { map, segments, layers } = this.#machineState(vm.id, state);
      return [{ path: disk.path, format: disk.format, size: state.size, map, segments, layers: layers.slice(0, -1) }];
    });
  }

  /** What a snapshot is to record when all but the newest layers of these disks are in new maps. */
  taken(vm: Vm, disks: readonly DiskMap[]): TakenDisks {
    const states = this.#statesOf(vm.id);
    const next = disks.map(({ path: name, map }): DiskState & { readonly stamp: ImageStamp } => {
      const state = states.get(name);
      if (!state) throw new ContractError('internal', `The snapshot has the disk "${name}", of which the library knows nothing.`, 'This is a defect of Vanderpool.');
      // Nobody has written to the image since its first layer.
      return { ...state, map, stamp: state.stamp ?? stampOf(state.image), layers: state.layers.slice(-1) };
    });
    return { states: next, saved: next.map(({ path, image, size, stamp, map }) => ({ path, image, size, stamp, map })) };
  }

  /** What the disks are when a VM goes back to a snapshot, or goes on from it as a clone: nothing is recorded yet. @throws ContractError */
  async fresh(vmId: string, saved: readonly SavedImage[]): Promise<DiskState[]> {
    for (const disk of saved) checked(disk, 'disks');
    return Promise.all(saved.map(async (disk) => ({ ...disk, layers: [await this.#newLayer(vmId, disk.size)] })));
  }

  /** Everything that a snapshot's disks hold, as maps that need no image. */
  whole(config: VmConfig, saved: readonly SavedImage[]): WantedDisk[] {
    return saved.map((disk) => {
      const { path, format } = configured(config, checked(disk, 'disks')).config;
      return { path, format, size: disk.size, map: disk.map, segments: this.#segmentsOf(disk), layers: [], whole: true };
    });
  }

  /** A disk as a snapshot has it, to be read. @throws ContractError when its image is not as it was, or cannot be opened */
  async openSaved(config: VmConfig, saved: SavedImage): Promise<OpenedImage> {
    const { index, config: { path, format } } = configured(config, checked(saved, 'disks'));
    // What may be refused comes before the image, which nobody would close.
    const [map, segments] = [decodeDisk(saved), new Map(this.#segmentsOf(saved))];
    const image = await openImage(path, { format, readOnly: true });
    const disk = new ChunkedDisk(image, saved.size, map, segments);
    return { index, disk, close: () => disk.close().then(() => image.close()) };
  }

  /** Empty images in a VM's folder, as far as its disks are whole maps: with them, the disks need no other file. @throws ContractError */
  async ownImages(vmId: string, disks: readonly DiskConfig[], whole: readonly WholeDisk[]): Promise<{ readonly disks: readonly DiskConfig[]; readonly states: readonly DiskState[] }> {
    const own = [...disks];
    const states: DiskState[] = [];
    for (const { index, size, map } of whole) {
      const disk = own[index];
      if (!disk || !isWritten(disk)) throw new ContractError('snapshot-damaged', `The snapshot has content of disk ${index}, which its configuration does not have.`, 'Export it again.');
      const path = join(this.#library.vmFolder(vmId), `disk-${index}.qcow2`);
      await createDisk(path, { format: 'qcow2', size });
      own[index] = { ...disk, path, format: 'qcow2' };
      states.push({ path, image: realpathSync(path), size, stamp: stampOf(path), map: map.encode(), layers: [await this.#newLayer(vmId, size)] });
    }
    return { disks: own, states };
  }

  /** Whether what a VM has written lies in the library although no snapshot needs its images as they are. */
  isUnheld(vm: Vm): boolean {
    return this.#unheld(vm).length > 0;
  }

  /**
   * Writes a VM's disks back into their images where no snapshot needs these any more: they are then the VM's own again. The VM must not run.
   * @param givenUp asked now and then; true ends the work, and nothing is lost
   * @throws ContractError, BlockError: the disk stays as it was
   */
  async mergeBack(vm: Vm, givenUp: () => boolean): Promise<void> {
    for (const state of this.#unheld(vm)) {
      const { config } = configured(vm.config, state);
      const content = this.#machineState(vm.id, checked(state, 'disks'));
      // From now on the image changes.
      this.#store.put(vm.id, { ...state, stamp: null });
      if ((await imageSize(state.path, config.format)) < state.size) await growDisk(state.path, state.size, config.format);
      const image = await openImage(state.path, { format: config.format, readOnly: false });
      try {
        const done = await mergeDisk(image, { ...content, map: decodeDisk(state), segments: new Map(content.segments) }, givenUp, this.#openStorage);
        if (!done) return;
      } finally {
        await image.close();
      }
      this.#store.remove(vm.id, state.path);
      this.removeUnused(vm.id);
    }
  }

  #unheld(vm: Vm): DiskState[] {
    return this.#store.statesOf(vm.id).filter((state) => {
      const isOwn = vm.config.disks.some((disk) => disk.path === state.path && isWritten(disk));
      return isOwn && changeOf(state) === null && !this.#store.isSaved(state.image, vm.id) && this.#store.othersWith(state.image, vm.id).length === 0;
    });
  }

  /** For a machine that changes over to these states. */
  named(vm: Vm, states: readonly DiskState[]): NamedDisk[] {
    return states.map((state) => ({ path: state.path, ...this.#machineState(vm.id, state) }));
  }

  /** Removes the files of layers that no row names. Only while no process uses them. */
  removeUnused(vmId: string): void {
    for (const name of this.unused(vmId)) rmSync(this.#layerPath(vmId, name), { force: true });
  }

  unused(vmId: string): string[] {
    const used = new Set(this.#store.statesOf(vmId).flatMap(({ layers }) => layers));
    return readdirSync(this.#library.vmFolder(vmId)).filter((name) => name.endsWith(LAYER_ENDING) && !used.has(name));
  }

  /** By path. */
  #statesOf(vmId: string): ReadonlyMap<string, DiskState> {
    return new Map(this.#store.statesOf(vmId).map((state) => [state.path, state]));
  }

  get #store(): Library['snapshots']['disks'] {
    return this.#library.snapshots.disks;
  }

  #layerPath(vmId: string, name: string): string {
    return join(this.#library.vmFolder(vmId), name);
  }

  async #newLayer(vmId: string, size: number): Promise<string> {
    const name = `${randomUUID()}${LAYER_ENDING}`;
    await createLayer(this.#layerPath(vmId, name), size, this.#openStorage);
    return name;
  }

  #machineState(vmId: string, state: DiskState): MachineDiskState {
    return { size: state.size, map: state.map, segments: this.#segmentsOf(state), layers: state.layers.map((name) => this.#layerPath(vmId, name)) };
  }

  #segmentsOf(disk: SavedImage | DiskState): [number, string][] {
    return this.#library.snapshots.paths(decodeDisk(disk).references().keys());
  }

  async #firstState(vm: Vm, { path, format }: DiskConfig, index: number): Promise<DiskState> {
    const field = `disks.${index}.path`;
    this.#refuseNeeded(vm, path, field);
    const size = await imageSize(path, format);
    if (size > DISK_MAXIMUM) throw new ContractError('wrong-state', `The disk "${path}" is too large for snapshots.`, 'They hold disks of up to 16 TiB.', field);
    return { path, image: realpathSync(path), size, stamp: null, map: new ClusterMap(size).encode(), layers: [] };
  }

  /** Two VMs that go on from one image need layers each: only clones of a snapshot have them. */
  #refuseNeeded({ id, config }: Vm, path: string, field: string): void {
    const [other] = this.#store.othersWith(realOf(path), id);
    if (other !== undefined) {
      const message = `The VM "${config.name}" may not write to the disk image "${path}": snapshots of the VM "${other}" need it as it is.`;
      throw new ContractError('wrong-state', message, `Clone a snapshot of "${other}", give this VM a copy of the image (vanderpool disk convert), or attach it read-only.`, field);
    }
  }
}

/** Which disk of a snapshot's configuration it is. */
function configured({ disks }: VmConfig, { path }: Pick<SavedImage, 'path'>): { readonly index: number; readonly config: DiskConfig } {
  const index = disks.findIndex((disk) => disk.path === path && isWritten(disk));
  const config = disks[index];
  if (!config) throw new ContractError('snapshot-damaged', `The snapshot has content of the disk "${path}", which its configuration does not have.`, 'Run `vanderpool doctor`.');
  return { index, config };
}

export function isWritten({ kind, readOnly }: Pick<DiskConfig, 'kind' | 'readOnly'>): boolean {
  return kind === 'disk' && !readOnly;
}

/** What a read-only disk showed would be the image of long ago. */
function mustBeWritten({ config }: Vm, path: string, field: string): ContractError {
  const message = `What the VM "${config.name}" has written to the disk "${path}" since its first snapshot lies in the library, not in the image.`;
  return new ContractError('wrong-state', message, 'Attach the disk for writing; the image itself does not change.', field);
}

function realOf(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path; // Whoever opens it says that it is not there.
  }
}

function stampOf(path: string): ImageStamp {
  const found = statSync(path, { throwIfNoEntry: false });
  return { size: found?.size ?? 0, modifiedMs: found?.mtimeMs ?? 0 };
}

/** What became of an image that snapshots hold; null: nothing. */
export function changeOf({ stamp, image }: Pick<DiskState, 'image' | 'stamp'>): string | null {
  if (!stamp) return null;
  const now = stampOf(image);
  if (now.size === stamp.size && now.modifiedMs === stamp.modifiedMs) return null;
  return now.size === 0 && now.modifiedMs === 0 ? 'is not there any more' : 'was changed';
}

/** The same disk. @throws ContractError when its image is not what snapshots hold */
function checked<T extends Pick<DiskState, 'path' | 'image' | 'stamp'>>(disk: T, field: string): T {
  const change = changeOf(disk);
  if (change === null) return disk;
  const message = `The disk image "${disk.path}" ${change}, and snapshots need it as it was.`;
  throw new ContractError('wrong-state', message, 'Put the image back as it was, from a backup, with its time of modification.', field);
}
