/** New VMs that go on from snapshots: clones, and what archives hold. The segments that they need are kept meanwhile by the caller. */
import { isAppliance, refuseAsAppliance, writeAppliance } from '../appliance/write.ts';
import type { BlockDevice } from '../block/blockDevice.ts';
import { openImage } from '../block/open.ts';
import { ContractError } from '../contract/errors.ts';
import { driveBus } from '../contract/hardware.ts';
import type { Vm } from '../contract/vm.ts';
import { ArchiveError, readArchive, writeArchive } from '../snapshot/archive.ts';
import type { Progress, WholeDisk } from '../snapshot/archive.ts';
import type { Placed } from '../snapshot/chunkWriter.ts';
import { ClusterMap } from '../snapshot/disk/clusterMap.ts';
import { PageMap } from '../snapshot/pageMap.ts';
import { PageSource } from '../snapshot/pageSource.ts';
import type { Cell } from '../snapshot/runs.ts';
import type { DiskState } from '../store/disks.ts';
import type { Library } from '../store/library.ts';
import { freeVmName } from '../store/names.ts';
import type { NewSnapshot, SnapshotStore, StoredSnapshot } from '../store/snapshots.ts';
import { copyTranslations } from '../machine/translationPath.ts';
import { readVariables, replaceVariables, variablesPath } from '../machine/variablesFile.ts';
import { unreadableBecause, unwritableBecause } from '../host/reasons.ts';
import type { DiskStates, OpenedImage } from './diskStates.ts';
import type { DiskTasks } from './diskTask.ts';
import { putDueVariables } from './dueVariables.ts';
import type { Supervisor } from './supervisor.ts';

/** Of the state that a VM goes on from. */
export const SUSPENDED_NAME = 'Suspended';

/** What a VM is made of that goes on from a snapshot. */
type Adopted = Omit<NewSnapshot, 'vmId' | 'kind' | 'parentId' | 'disks' | 'variables'>;

export class Adoption {
  readonly #library: Library;
  readonly #store: SnapshotStore;
  readonly #supervisor: Supervisor;
  readonly #disks: DiskStates;
  readonly #diskTasks: DiskTasks;

  constructor(library: Library, supervisor: Supervisor, diskTasks: DiskTasks) {
    this.#library = library;
    this.#store = library.snapshots;
    this.#supervisor = supervisor;
    this.#disks = supervisor.disks;
    this.#diskTasks = diskTasks;
  }

  /** A VM that goes on from a snapshot of another one. `full`: it does not need the other one's disk images. @throws ContractError */
  async clone(vm: Vm, stored: StoredSnapshot, name: string, full: boolean): Promise<Vm> {
    const clone = full ? await this.#cloneWhole(vm, stored, name) : await this.#adopt(stored, name, this.#variablesOf(stored), (made) => this.#disks.fresh(made.id, stored.disks));
    await copyTranslations(this.#library.vmFolder(vm.id), this.#library.vmFolder(clone.id));
    return clone;
  }

  async #cloneWhole(vm: Vm, stored: StoredSnapshot, name: string): Promise<Vm> {
    const maps = await this.#diskTasks.save(vm, this.#disks.whole(stored.config, stored.disks));
    const whole = maps.map(({ path, map }) => {
      const size = stored.disks.find((disk) => disk.path === path)?.size ?? 0;
      return { index: stored.config.disks.findIndex((disk) => disk.path === path), size, map: ClusterMap.decode(map, size) };
    });
    return this.#adoptWhole(stored, name, this.#variablesOf(stored), whole);
  }

  /** Writes a snapshot to one file, by its name an appliance or an archive of ours; answers its length. @throws ContractError */
  async exportTo(stored: StoredSnapshot, path: string, progress: Progress): Promise<number> {
    if (isAppliance(path)) return this.#exportAppliance(stored, path, progress);
    const { config, state, power, notes, pauseMilliseconds, screen, picture, consoles, pageMap, disks } = stored;
    const source = new PageSource(pageMap, new Map(this.#store.paths(pageMap.references().keys())));
    const opened: OpenedImage[] = [];
    try {
      for (const disk of disks) opened.push(await this.#disks.openSaved(config, disk));
      return await writeArchive(path, { config, state, power, notes, pauseMilliseconds, screen, picture, consoles: [...consoles], variables: this.#variablesOf(stored) }, source, opened, progress);
    } catch (error) {
      throw fileError(error, `The snapshot could not be written to "${path}"`, unwritableBecause);
    } finally {
      source.close();
      for (const { close } of opened) await close();
    }
  }

  async #exportAppliance(stored: StoredSnapshot, path: string, progress: Progress): Promise<number> {
    const { config, power, disks } = stored;
    refuseAsAppliance(config, power);
    const opened: { readonly index: number; readonly disk: Pick<BlockDevice, 'size' | 'read'>; readonly close: () => Promise<void> }[] = [];
    try {
      for (const disk of disks) opened.push(await this.#disks.openSaved(config, disk));
      for (const [index, disk] of config.disks.entries()) {
        // What is only read is no part of a snapshot.
        if (disk.kind !== 'disk' || opened.some((one) => one.index === index)) continue;
        const image = await openImage(disk.path, { format: disk.format, readOnly: true });
        opened.push({ index, disk: image, close: () => image.close() });
      }
      const inOrder = opened.toSorted((one, other) => one.index - other.index);
      return await writeAppliance(path, { config, disks: inOrder.map(({ index, disk }) => ({ disk, bus: config.disks[index]?.bus ?? driveBus })), variables: this.#variablesOf(stored) }, progress);
    } catch (error) {
      throw fileError(error, `The machine could not be written to "${path}"`, unwritableBecause);
    } finally {
      for (const { close } of opened) await close();
    }
  }

  /** Makes a VM of what a file holds. @throws ContractError */
  async importFrom(path: string, name: string | undefined, progress: Progress): Promise<Vm> {
    try {
      const { header, segments, map, disks } = await readArchive(path, this.#store.prepare(), progress);
      const ids = segments.map((segment) => this.#store.recordSegment(segment));
      const placed = <M extends Placed>(into: M, cells: Iterable<Cell>): M => {
        for (const { place, segment, position } of cells) into.place(place, ids[segment - 1] ?? 0, position);
        return into;
      };
      const whole = disks.map((disk) => ({ ...disk, map: placed(new ClusterMap(disk.size), disk.map.cells()) }));
      const pageMap = placed(new PageMap(map.pages), map.cells());
      return await this.#adoptWhole({ ...header, name: SUSPENDED_NAME, map: pageMap.encode() }, name ?? (await freeVmName(this.#library, header.config.name)), header.variables, whole);
    } catch (error) {
      throw fileError(error, `"${path}" cannot be imported`, unreadableBecause);
    }
  }

  /** UEFI variables that are not in a snapshot's state: of a machine that was off. Where an older Vanderpool has not kept them, those of today. */
  #variablesOf({ power, vmId, variables }: StoredSnapshot): Uint8Array<ArrayBuffer> | null {
    if (power !== 'off') return null;
    if (variables) return variables.length > 0 ? variables : null;
    putDueVariables(this.#library, vmId);
    return readVariables(this.#library.vmFolder(vmId));
  }

  /** Makes a VM of a snapshot's content: suspended in its state, or off when it has no memory. One that cannot have it does not stay. */
  async #adopt(stored: Adopted, name: string, variables: Uint8Array | null, disksOf: (vm: Vm) => Promise<readonly DiskState[]>): Promise<Vm> {
    const vm = await this.#supervisor.create({ ...stored.config, name, autostart: false, schedule: null });
    try {
      if (variables) replaceVariables(variablesPath(this.#library.vmFolder(vm.id)), variables);
      const states = await disksOf(vm);
      if (stored.power === 'off') this.#store.goBack(vm.id, null, states);
      else {
        const { config } = await this.#supervisor.get(vm.id);
        this.#store.commit({ ...stored, config, vmId: vm.id, kind: 'suspend', parentId: null, variables: null, disks: [] }, states);
      }
    } catch (error) {
      await this.#supervisor.remove(vm.id);
      throw error;
    }
    return this.#supervisor.showStopped(vm.id, stored.consoles);
  }

  /** The same with disks of its own, whatever images the snapshot's were. */
  #adoptWhole(stored: Adopted, name: string, variables: Uint8Array | null, whole: readonly WholeDisk[]): Promise<Vm> {
    const { disks } = stored.config;
    return this.#adopt({ ...stored, config: { ...stored.config, disks: [] } }, name, variables, async (vm) => {
      const own = await this.#disks.ownImages(vm.id, disks, whole);
      await this.#supervisor.configure(vm.id, { ...vm.config, disks: [...own.disks] });
      return own.states;
    });
  }

}

/** Says what was being done, why it failed and what to do. */
function fileError(error: unknown, what: string, because: (error: unknown) => string): ContractError {
  if (error instanceof ContractError) return error;
  const hint = (error instanceof ArchiveError && error.hint) || 'Check the file, its folder and the space on its disk.';
  return new ContractError('file-unreadable', `${what}: ${because(error)}.`, hint, 'path');
}
