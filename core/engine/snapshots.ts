/** Snapshots of a library's VMs: takes them, goes back to them, suspends and resumes, and gives space back that none of them needs. */
import { ContractError } from '../contract/errors.ts';
import type { Finding, Snapshot, SnapshotDifference } from '../contract/snapshot.ts';
import { ownPart } from '../contract/vm.ts';
import type { Vm, VmConfig } from '../contract/vm.ts';
import { readVariables } from '../machine/variablesFile.ts';
import type { Progress } from '../snapshot/archive.ts';
import { PageMap } from '../snapshot/pageMap.ts';
import { CHUNK_BYTES } from '../snapshot/segment.ts';
import type { DiskState, SavedImage } from '../store/disks.ts';
import type { Library } from '../store/library.ts';
import type { NewSnapshot, SnapshotRow, SnapshotStore, StoredSnapshot } from '../store/snapshots.ts';
import { Adoption, SUSPENDED_NAME } from './adoption.ts';
import { compareSides } from './comparison.ts';
import type { ComparedSide } from './comparison.ts';
import { DiskMerges } from './diskMerges.ts';
import type { DiskStates } from './diskStates.ts';
import { DiskTasks } from './diskTask.ts';
import { examine } from './doctor.ts';
import { putDueVariables } from './dueVariables.ts';
import type { Guest } from './guest.ts';
import { readSymbols } from './kernelOwners.ts';
import { nowAndThen } from './progress.ts';
import { refuseChangedDisks, refuseUnsavable, withDisks } from './savable.ts';
import { lastScreen } from './screen.ts';
import { SegmentSpace } from './segmentSpace.ts';
import { wrongState } from './supervisor.ts';
import type { StartPoint, Supervisor } from './supervisor.ts';

export class Snapshots {
  readonly #library: Library;
  readonly #store: SnapshotStore;
  readonly #supervisor: Supervisor;
  readonly #disks: DiskStates;
  readonly #space: SegmentSpace;
  readonly #merges: DiskMerges;
  readonly #diskTasks: DiskTasks;
  readonly #adoption: Adoption;
  /** VMs that something is being done to. */
  readonly #busy = new Set<string>();
  /** Readings of what a VM is now, for a comparison: whatever is to be done to it waits for the one under way. */
  readonly #readings = new Map<string, Promise<unknown>>();

  constructor(library: Library, supervisor: Supervisor) {
    this.#library = library;
    this.#store = library.snapshots;
    this.#supervisor = supervisor;
    this.#disks = supervisor.disks;
    this.#space = new SegmentSpace(library, supervisor);
    this.#merges = new DiskMerges(supervisor);
    this.#diskTasks = new DiskTasks(library.snapshots, supervisor);
    this.#adoption = new Adoption(library, supervisor, this.#diskTasks);
  }

  /** Clears up after an engine that died while it wrote. */
  async open(): Promise<void> {
    this.#store.removeOrphans();
    for (const { id } of await this.#library.list()) this.#disks.removeUnused(id);
    void this.collect();
  }

  /** The engine is about to close: what it does by itself is given up. */
  leave(): void {
    this.#space.leave();
    this.#merges.leave();
  }

  /** Ends the collection before the database is closed. */
  async close(): Promise<void> {
    this.leave();
    await this.#space.closed();
  }

  async list(reference: string): Promise<Snapshot[]> {
    const { id } = await this.#supervisor.get(reference);
    return this.#store.list(id).map((row) => this.#shown(row));
  }

  /**
   * What the display of a snapshot's machine showed, small, as a PNG file; null: it had none.
   * @param snapshot null: what a suspended VM goes on from
   * @throws ContractError
   */
  async pictureOf(reference: string, snapshot: string | null): Promise<Uint8Array<ArrayBuffer> | null> {
    const { id } = await this.#supervisor.get(reference);
    const row = snapshot === null ? this.#store.suspended(id) : this.#store.get(id, snapshot);
    return row && this.#store.pictureOf(row.id);
  }

  /** With memory when the VM runs or is paused, of a VM that is off its configuration. @throws ContractError */
  take(reference: string, name: string, notes: string): Promise<Snapshot> {
    return this.#exclusively(reference, async (vm) => {
      if (this.#store.list(vm.id).some((row) => row.name.toLowerCase() === name.toLowerCase())) {
        throw new ContractError('name-taken', `The VM "${vm.config.name}" has a snapshot "${name}" already.`, 'Choose another name.', 'name');
      }
      const id = await this.#save(vm, 'snapshot', name, notes);
      return this.#shown(this.#store.get(vm.id, id));
    });
  }

  /** Takes what VMs' schedules want by now, and deletes what they no longer keep. What goes wrong is told and tried again. */
  async takeScheduled(now: number): Promise<void> {
    for (const { id, state, config: { schedule } } of await this.#supervisor.list()) {
      const last = schedule && this.#store.scheduled(id).at(-1);
      if (!schedule || state !== 'running' || (last && now - last.at < schedule.minutes * 60_000)) continue;
      try {
        const taken = await this.take(id, `Scheduled ${new Date(now).toISOString().slice(0, 19).replace('T', ' ').replaceAll(':', '.')}`, '');
        this.#store.setScheduled(taken.id);
        for (const old of this.#store.scheduled(id).slice(0, -schedule.keep)) await this.remove(id, old.id);
      } catch (error) {
        this.#supervisor.tellError(id, error);
      }
    }
  }

  /** Gives up what is being made of a VM. @throws ContractError `wrong-state` when nothing is. */
  async cancel(reference: string): Promise<void> {
    const vm = await this.#supervisor.get(reference);
    if (!this.#diskTasks.cancel(vm.id) && !this.#supervisor.guest(vm.id)?.cancelSnapshot()) throw wrongState(vm, 'no snapshot of it is being taken', '');
  }

  /** Back to a snapshot: running when it ran, unless `paused`. What the VM does now is lost. @throws ContractError */
  restore(reference: string, snapshot: string, paused: boolean): Promise<Vm> {
    return this.#exclusively(reference, async (vm) => {
      const stored = this.#store.load(this.#store.get(vm.id, snapshot).id);
      // Everything that can be refused is refused before the machine is touched.
      const from = this.#startPoint(stored, paused);
      const states = await this.#disks.fresh(vm.id, stored.disks);
      const guest = from && this.#inPlace(vm, stored, states);
      return this.#space.keeping(async () => {
        // Before the machine is touched: a library that cannot be written to refuses, and the guest runs on. Were it to die later, these are its disks.
        await this.#supervisor.goBack(vm, stored.id, { ...stored.config, ...ownPart(vm.config) }, states);
        if (guest && (await this.#restoreInPlace(vm, guest, stored, from, states))) return this.#supervisor.get(vm.id);
        await this.#supervisor.kill(vm.id, `It was put back to the snapshot "${stored.name}".`);
        this.#disks.removeUnused(vm.id);
        this.#changed(vm.id);
        if (!from) {
          const stopped = await this.#supervisor.showStopped(vm.id, stored.consoles);
          putDueVariables(this.#library, vm.id);
          return stopped;
        }
        return this.#start(vm.id, stored.pageMap, from);
      });
    });
  }

  /** Makes a disk larger, of a running VM at once; snapshots keep the size that it had. @param disk its place in the configuration @throws ContractError */
  growDisk(reference: string, disk: number, bytes: number): Promise<Vm> {
    return this.#exclusively(reference, async (vm) => {
      // Each growth leaves a layer: many of them become maps first.
      if (vm.state !== 'suspended' && this.#disks.isTall(vm)) await this.#present(vm);
      return this.#supervisor.cards.growDisk(vm.id, disk, bytes);
    });
  }

  /** The process of a machine of the same configuration, which needs no new one. */
  #inPlace(vm: Vm, stored: StoredSnapshot, states: readonly DiskState[]): Guest | null {
    const same = (config: VmConfig): string => JSON.stringify(Object.entries({ ...config, ...ownPart(vm.config) }).toSorted());
    const hasDevices = this.#supervisor.devices.slotsOf(vm.id).length > 0;
    if (hasDevices || (vm.state !== 'running' && vm.state !== 'paused') || same(vm.config) !== same(stored.config) || !this.#disks.haveSizes(vm, states)) return null;
    return this.#supervisor.guest(vm.id) ?? null;
  }

  /** False when the machine did not obey. */
  async #restoreInPlace(vm: Vm, guest: Guest, stored: StoredSnapshot, from: StartPoint, states: readonly DiskState[]): Promise<boolean> {
    try {
      await guest.restore(from.restore, this.#disks.named(vm, states));
    } catch (error) {
      console.error(new Date().toISOString(), 'restore in place', error);
      return false;
    }
    // Until now the machine may have read from what it had before.
    this.#space.pin(vm.id, stored.pageMap);
    this.#disks.removeUnused(vm.id);
    for (const [port, console] of this.#supervisor.consoles(vm.id).entries()) console.restore(from.consoles[port] ?? new Uint8Array(0));
    if (!from.paused) guest.resume();
    await this.#supervisor.settled(vm.id, from.paused ? 'paused' : 'running');
    this.#changed(vm.id);
    return true;
  }

  async edit(reference: string, snapshot: string, changes: { readonly name?: string | undefined; readonly notes?: string | undefined }): Promise<Snapshot> {
    const vm = await this.#supervisor.get(reference);
    const row = this.#store.get(vm.id, snapshot);
    const taken = this.#store.list(vm.id).some((other) => other.id !== row.id && other.name.toLowerCase() === changes.name?.toLowerCase());
    if (taken) throw new ContractError('name-taken', `The VM "${vm.config.name}" has a snapshot "${changes.name ?? ''}" already.`, 'Choose another name.', 'name');
    this.#store.edit(row.id, changes);
    this.#changed(vm.id);
    return this.#shown(this.#store.get(vm.id, row.id));
  }

  remove(reference: string, snapshot: string): Promise<void> {
    return this.#exclusively(reference, (vm) => {
      this.#store.remove(this.#store.get(vm.id, snapshot).id);
      this.#changed(vm.id);
      this.#merges.retry(vm.id);
      void this.collect();
      return Promise.resolve();
    });
  }

  /** A new VM that goes on from a snapshot of another one. `full`: it does not need the other one's disk images. */
  clone(reference: string, snapshot: string, name: string, full: boolean): Promise<Vm> {
    return this.#space.keeping(async () => {
      const vm = await this.#supervisor.get(reference);
      return this.#adoption.clone(vm, this.#store.load(this.#store.get(vm.id, snapshot).id), name, full);
    });
  }

  /** Writes a snapshot to one file; answers its length. @throws ContractError */
  exportTo(reference: string, snapshot: string, path: string, progress: Progress): Promise<number> {
    return this.#exclusively(reference, (vm) => this.#adoption.exportTo(this.#store.load(this.#store.get(vm.id, snapshot).id), path, progress));
  }

  /** Makes a VM of an exported snapshot: suspended in its state, or off. @throws ContractError */
  importFrom(path: string, name: string | undefined, progress: Progress): Promise<Vm> {
    return this.#space.keeping(() => this.#adoption.importFrom(path, name, progress));
  }

  /** Reads everything the library keeps. */
  examine(repair: boolean): Promise<Finding[]> {
    return examine(this.#library, { repair, mayRemoveOrphans: !this.#space.isGrowing, disks: this.#disks, isRunning: (id) => this.#supervisor.isAlive(id) });
  }

  // ---- suspend and resume -----------------------------------------------------------------------------------------------------

  /** Saves a running VM and ends its process. @throws ContractError; the guest then goes on. */
  suspend(reference: string): Promise<Vm> {
    return this.#exclusively(reference, async (vm) => {
      const guest = this.#supervisor.guest(vm.id);
      if (!guest) throw wrongState(vm, 'it cannot be suspended', 'Only a VM that runs can.');
      // The guest does not stand still for what is refused anyway.
      await refuseUnsavable(vm, this.#library);
      const wasPaused = guest.state === 'paused';
      guest.pause();
      let id: string;
      try {
        id = await this.#save(vm, 'suspend', SUSPENDED_NAME, '');
      } catch (error) {
        if (!wasPaused) guest.resume();
        throw error;
      }
      await this.#supervisor.suspended(vm.id);
      if (vm.config.disks.length > 0) this.#store.setState(id, withDisks(this.#store.load(id).state, vm.config));
      return this.#supervisor.get(vm.id);
    });
  }

  isSuspended(id: string): boolean {
    return this.#store.suspended(id) !== null;
  }

  /** A suspended VM goes on; its saved state is given up before it does. @throws ContractError; it is suspended as before then */
  resume(reference: string): Promise<Vm> {
    return this.#exclusively(reference, async (vm) => {
      const row = this.#store.suspended(vm.id);
      if (!row) throw wrongState(vm, 'it is not suspended', 'Start it.');
      const stored = this.#store.load(row.id);
      const from = this.#startPoint(stored, false);
      if (!from) throw wrongState(vm, 'its saved state has no memory', 'Discard it with `vanderpool vm stop --force`.');
      refuseChangedDisks(vm, stored.state);
      // It waits until the state is given up: had it run before, a crash would leave a state beside disks that have moved on.
      await this.#start(vm.id, stored.pageMap, { ...from, paused: true });
      try {
        this.#discardSuspended(vm.id);
      } catch (error) {
        await this.#supervisor.kill(vm.id, 'Its saved state could not be given up.');
        await this.#supervisor.showStopped(vm.id, null);
        throw error;
      }
      if (!from.paused) this.#supervisor.guest(vm.id)?.resume();
      return this.#supervisor.settled(vm.id, from.paused ? 'paused' : 'running');
    });
  }

  /** Gives up the state of a suspended VM: it is stopped then. */
  discard(reference: string): Promise<Vm> {
    return this.#exclusively(reference, (vm) => {
      this.#discardSuspended(vm.id);
      return this.#supervisor.showStopped(vm.id, null);
    });
  }

  // ---- space ------------------------------------------------------------------------------------------------------------------

  /** Gives back the segments that nothing uses. */
  collect(): Promise<void> {
    return this.#space.collect();
  }

  /** Writes disks back into their images where no snapshot needs these any more. */
  mergeDisks(): Promise<void> {
    return this.#merges.mergeAll((id) => this.#busy.has(id), () => void this.collect());
  }

  /** Done when the engine's own work on a VM has ended: somebody wants it. */
  release(id: string): Promise<void> {
    return this.#merges.release(id);
  }

  // ---- comparisons --------------------------------------------------------------------------------------------------------------

  /**
   * What differs from a snapshot to another one, or to the VM as it is now.
   * @param symbols file of the guest's kernel: pages of memory are named by them
   * @throws ContractError
   */
  compare(reference: string, from: string, to: string | null, symbols?: string): Promise<SnapshotDifference> {
    const known = symbols === undefined ? null : readSymbols(symbols);
    return this.#space.keeping(async () => {
      const vm = await this.#supervisor.get(reference);
      const stored = (name: string): ComparedSide => compared(this.#store.load(this.#store.get(vm.id, name).id));
      const before = stored(from);
      return compareSides(this.#store, this.#disks, before, to === null ? await this.#read(vm) : stored(to), known);
    });
  }

  #read(vm: Vm): Promise<ComparedSide> {
    if (this.#busy.has(vm.id)) throw this.#isBusy(vm);
    const before = this.#readings.get(vm.id);
    const reading = (before ? before.then(() => this.#present(vm)) : this.#present(vm)).finally(() => {
      if (this.#readings.get(vm.id) === settled) this.#readings.delete(vm.id);
    });
    const settled = reading.catch(() => undefined);
    this.#readings.set(vm.id, settled);
    return reading;
  }

  /** The state of a VM now. That of a running one is recorded nowhere. */
  async #present(vm: Vm): Promise<ComparedSide> {
    const guest = this.#supervisor.guest(vm.id);
    const { config } = vm;
    if (!guest) {
      const disks = await this.#made(vm, () => this.#settleDisks(vm));
      const suspended = this.#store.suspended(vm.id);
      if (suspended) return { ...compared(this.#store.load(suspended.id)), disks };
      return { config, state: null, map: new PageMap(config.memoryBytes / CHUNK_BYTES), disks };
    }
    return this.#made(vm, async (progress) => {
      const { state, map, disks } = await guest.snapshot(this.#store, await this.#disks.extend(vm), progress);
      const decoded = PageMap.decode(map, config.memoryBytes / CHUNK_BYTES);
      this.#space.pin(vm.id, decoded);
      const { saved, states } = this.#disks.taken(vm, disks);
      this.#store.disks.putAll(vm.id, states);
      await this.#rebase(vm, states);
      return { config, state, map: decoded, disks: saved };
    });
  }

  /** Everything that the disks of a VM hold that does not run becomes maps. */
  async #settleDisks(vm: Vm): Promise<readonly SavedImage[]> {
    await this.#disks.extend(vm);
    const { saved, states } = this.#disks.taken(vm, await this.#diskTasks.save(vm, this.#disks.wanted(vm)));
    this.#store.disks.putAll(vm.id, states);
    this.#disks.removeUnused(vm.id);
    return saved;
  }

  // ---- how ----------------------------------------------------------------------------------------------------------------------

  async #save(vm: Vm, kind: NewSnapshot['kind'], name: string, notes: string): Promise<string> {
    const guest = this.#supervisor.guest(vm.id);
    if (vm.state === 'suspended') throw wrongState(vm, 'it has a saved state already', 'Resume it first.');
    if (vm.state === 'starting') throw wrongState(vm, 'it is not there yet', 'Wait until it runs.');
    await refuseUnsavable(vm, this.#library);
    const common = { vmId: vm.id, kind, name, notes, config: vm.config, parentId: this.#store.currentOf(vm.id) };
    if (!guest) return this.#made(vm, () => this.#saveStopped(vm, common));
    // A suspension pauses the guest itself; it goes on running when it is resumed.
    const power = vm.state === 'paused' ? 'paused' : 'running';
    return this.#made(vm, async (progress) => {
      // A suspended VM keeps its disks as they are.
      const layers = kind === 'snapshot' ? await this.#disks.extend(vm) : [];
      const { state, map, pauseMilliseconds, consoles, picture, disks } = await guest.snapshot(this.#store, layers, progress);
      this.#space.pin(vm.id, PageMap.decode(map, vm.config.memoryBytes / CHUNK_BYTES));
      const { saved, states } = this.#disks.taken(vm, disks);
      const id = this.#commit({ ...common, power, state, map, pauseMilliseconds, consoles, screen: lastScreen(consoles[0]), picture, variables: null, disks: saved }, states);
      await this.#rebase(vm, states);
      return id;
    });
  }

  async #saveStopped(vm: Vm, common: Pick<NewSnapshot, 'vmId' | 'kind' | 'name' | 'notes' | 'config' | 'parentId'>): Promise<string> {
    putDueVariables(this.#library, vm.id);
    const variables = readVariables(this.#library.vmFolder(vm.id)) ?? new Uint8Array(0);
    await this.#disks.extend(vm);
    const { saved, states } = this.#disks.taken(vm, await this.#diskTasks.save(vm, this.#disks.wanted(vm)));
    const consoles = this.#supervisor.consoles(vm.id).map(({ scrollback }) => scrollback.read().data);
    const map = new PageMap(vm.config.memoryBytes / CHUNK_BYTES).encode();
    const id = this.#commit({ ...common, power: 'off', state: null, map, pauseMilliseconds: 0, consoles, screen: lastScreen(consoles[0]), picture: null, variables, disks: saved }, states);
    this.#disks.removeUnused(vm.id);
    return id;
  }

  /** The machine reads from the new maps; the layers that are in them are given up. */
  async #rebase(vm: Vm, states: readonly DiskState[]): Promise<void> {
    if (states.length === 0) return;
    try {
      await this.#supervisor.guest(vm.id)?.rebase(this.#disks.named(vm, states));
      this.#disks.removeUnused(vm.id);
    } catch (error) {
      // It goes on with what it has, which is the same content; the next snapshot begins there.
      console.error(new Date().toISOString(), 'rebase', error);
    }
  }

  #commit(made: NewSnapshot, states: readonly DiskState[]): string {
    const id = this.#store.commit(made, states);
    this.#library.note(made.vmId, made.kind === 'suspend' ? 'suspended' : 'snapshot taken', made.name);
    this.#changed(made.vmId);
    return id;
  }

  /** While `make` runs, segments without references stay, and everybody sees how far it is. */
  async #made<T>(vm: Vm, make: (progress: (done: number, total: number) => void) => Promise<T>): Promise<T> {
    try {
      return await this.#space.keeping(() => make(nowAndThen((done, total) => this.#supervisor.tell({ kind: 'snapshot-progress', vmId: vm.id, done, total }))));
    } finally {
      this.#supervisor.tell({ kind: 'snapshot-progress', vmId: vm.id, done: 0, total: 0 });
    }
  }

  async #start(id: string, map: PageMap, from: StartPoint): Promise<Vm> {
    this.#space.pin(id, map);
    const vm = await this.#supervisor.start(id, from);
    return from.paused ? this.#supervisor.settled(id, 'paused') : vm;
  }

  #startPoint(stored: StoredSnapshot, paused: boolean): StartPoint | null {
    if (stored.power === 'off') return null;
    const segments = this.#store.paths(stored.pageMap.references().keys());
    return { restore: { state: stored.state, map: stored.map, segments }, consoles: stored.consoles, paused: paused || stored.power === 'paused' };
  }

  #discardSuspended(vmId: string): void {
    this.#store.discardSuspended(vmId);
    void this.collect();
  }

  #shown(row: SnapshotRow): Snapshot {
    return {
      id: row.id, vmId: row.vm_id, parentId: row.parent_id, name: row.name, notes: row.notes, createdAt: row.created_at, power: row.power,
      memoryBytes: row.memory_bytes, usedBytes: row.used_bytes, exclusiveBytes: this.#store.exclusiveBytes(row.id), pauseMilliseconds: row.pause_ms,
      screen: row.screen, hasPicture: row.pictured === 1, current: this.#store.currentOf(row.vm_id) === row.id,
    };
  }

  #changed(vmId: string): void {
    this.#supervisor.tell({ kind: 'snapshots-changed', vmId });
  }

  /** One thing at a time is done to a VM's states. */
  async #exclusively<T>(reference: string, action: (vm: Vm) => Promise<T>): Promise<T> {
    const { id } = await this.#supervisor.get(reference);
    await this.release(id);
    const vm = await this.#supervisor.get(id);
    if (this.#busy.has(vm.id)) throw this.#isBusy(vm);
    this.#busy.add(vm.id);
    try {
      const reading = this.#readings.get(vm.id);
      await reading;
      return await action(reading ? await this.#supervisor.get(vm.id) : vm);
    } finally {
      this.#busy.delete(vm.id);
    }
  }

  #isBusy(vm: Vm): ContractError {
    return wrongState(vm, 'a snapshot of it is being taken or restored', 'Wait for it, or cancel it.');
  }
}

function compared({ config, state, pageMap, disks }: StoredSnapshot): ComparedSide {
  return { config, state, map: pageMap, disks };
}
