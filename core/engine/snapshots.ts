/** Snapshots of a library's VMs: takes them, goes back to them, suspends and resumes, and gives space back that none of them needs. */
import { ContractError } from '../contract/errors.ts';
import { NAME_LENGTH } from '../contract/limits.ts';
import type { Finding, Snapshot, SnapshotDifference } from '../contract/snapshot.ts';
import type { Vm, VmConfig } from '../contract/vm.ts';
import { CHUNK_BYTES } from '../snapshot/segment.ts';
import { PageMap } from '../snapshot/pageMap.ts';
import type { Library } from '../store/library.ts';
import type { NewSnapshot, SnapshotRow, SnapshotStore, StoredSnapshot } from '../store/snapshots.ts';
import { readArchive, writeArchive } from '../snapshot/archive.ts';
import { PageSource, SegmentReaders } from '../snapshot/pageSource.ts';
import { examine } from './doctor.ts';
import { refuseChangedDisks, refuseUnsavable, withDisks } from './savable.ts';
import { lastScreen } from './screen.ts';
import { compareStates } from './snapshotDiff.ts';
import type { ComparedState } from './snapshotDiff.ts';
import { wrongState } from './supervisor.ts';
import type { StartPoint, Supervisor } from './supervisor.ts';

const SUSPENDED_NAME = 'Suspended';

export class Snapshots {
  readonly #library: Library;
  readonly #store: SnapshotStore;
  readonly #supervisor: Supervisor;
  /** VMs that something is being done to. */
  readonly #busy = new Set<string>();
  /** Segments that a running machine still reads, or that its next snapshot builds on, by VM. */
  readonly #pinned = new Map<string, ReadonlySet<number>>();
  /** Snapshots in the making: their segments have no references yet. */
  #making = 0;
  #collecting: Promise<void> | null = null;
  #closed = false;

  constructor(library: Library, supervisor: Supervisor) {
    this.#library = library;
    this.#store = library.snapshots;
    this.#supervisor = supervisor;
  }

  /** Clears up after an engine that died while it wrote. */
  open(): void {
    this.#store.removeOrphans();
    void this.collect();
  }

  /** Ends the collection before the database is closed. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#collecting;
  }

  async list(reference: string): Promise<Snapshot[]> {
    const { id } = await this.#supervisor.get(reference);
    return this.#store.list(id).map((row) => this.#shown(row));
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

  /** Gives up what is being made of a VM. @throws ContractError `wrong-state` when nothing is. */
  async cancel(reference: string): Promise<void> {
    const vm = await this.#supervisor.get(reference);
    if (!this.#supervisor.guest(vm.id)?.cancelSnapshot()) throw wrongState(vm, 'no snapshot of it is being taken', '');
  }

  /** Back to a snapshot: running when it ran, unless `paused`. What the VM does now is lost. @throws ContractError */
  restore(reference: string, snapshot: string, paused: boolean): Promise<Vm> {
    return this.#exclusively(reference, async (vm) => {
      const stored = this.#store.load(this.#store.get(vm.id, snapshot).id);
      // Everything that can be refused is refused before the machine is touched.
      const from = this.#startPoint(stored, paused);
      if (from && (await this.#restoreInPlace(vm, stored, from))) return this.#supervisor.get(vm.id);
      await this.#supervisor.kill(vm.id, `It was put back to the snapshot "${stored.name}".`);
      this.#discardSuspended(vm.id);
      await this.#supervisor.configure(vm.id, { ...stored.config, name: vm.config.name, notes: vm.config.notes });
      this.#store.setCurrent(vm.id, stored.id);
      this.#changed(vm.id);
      if (!from) return this.#supervisor.showStopped(vm.id, stored.consoles);
      return this.#start(vm.id, stored.pageMap, from);
    });
  }

  /** A machine of the same configuration needs no new process: false when this one is another, or did not obey. */
  async #restoreInPlace(vm: Vm, stored: StoredSnapshot, from: StartPoint): Promise<boolean> {
    const guest = this.#supervisor.guest(vm.id);
    const same = ({ name: _name, notes: _notes, ...machine }: VmConfig): string => JSON.stringify(Object.entries(machine).toSorted());
    if (!guest || (vm.state !== 'running' && vm.state !== 'paused') || same(vm.config) !== same(stored.config)) return false;
    try {
      await guest.restore(from.restore);
    } catch (error) {
      console.error(new Date().toISOString(), 'restore in place', error);
      return false;
    }
    // Until now the machine may have read from what it had before.
    this.#pin(vm.id, stored.pageMap);
    this.#store.setCurrent(vm.id, stored.id);
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
      void this.collect();
      return Promise.resolve();
    });
  }

  /** A new VM that goes on from a snapshot of another one. */
  async clone(reference: string, snapshot: string, name: string): Promise<Vm> {
    const vm = await this.#supervisor.get(reference);
    const stored = this.#store.load(this.#store.get(vm.id, snapshot).id);
    return this.adopt(stored, name);
  }

  /** Makes a VM of a snapshot's content: suspended in its state, or off when it has no memory. */
  async adopt(stored: Omit<NewSnapshot, 'vmId' | 'kind' | 'parentId' | 'map'> & { readonly pageMap: PageMap }, name: string): Promise<Vm> {
    const vm = await this.#supervisor.create({ ...stored.config, name });
    if (stored.power !== 'off') this.#store.commit({ ...stored, map: stored.pageMap.encode(), vmId: vm.id, kind: 'suspend', parentId: null });
    return this.#supervisor.showStopped(vm.id, stored.consoles);
  }

  // ---- one file ---------------------------------------------------------------------------------------------------------------

  /** Writes a snapshot to one file; answers its length. @throws ContractError */
  exportTo(reference: string, snapshot: string, path: string): Promise<number> {
    return this.#exclusively(reference, async (vm) => {
      const { config, state, power, notes, pauseMilliseconds, screen, consoles, pageMap } = this.#store.load(this.#store.get(vm.id, snapshot).id);
      const source = new PageSource(pageMap, new Map(this.#store.paths(pageMap.references().keys())));
      try {
        return await writeArchive(path, { config, state, power, notes, pauseMilliseconds, screen, consoles: [...consoles] }, source);
      } catch (error) {
        throw fileError(error, `The snapshot could not be written to "${path}"`);
      } finally {
        source.close();
      }
    });
  }

  /** Makes a VM of an exported snapshot: suspended in its state, or off. @throws ContractError */
  async importFrom(path: string, name: string | undefined): Promise<Vm> {
    this.#making += 1;
    try {
      const { header, segments, map } = await readArchive(path, this.#store.prepare());
      const ids = segments.map((segment) => this.#store.recordSegment(segment));
      const pageMap = new PageMap(map.pages);
      for (let page = 0; page < map.pages; page += 1) {
        const segment = map.segments[page] ?? 0;
        if (segment !== 0) pageMap.place(page, ids[segment - 1] ?? 0, map.positions[page] ?? 0);
      }
      return await this.adopt({ ...header, name: SUSPENDED_NAME, pageMap }, name ?? (await this.#freeName(header.config.name)));
    } catch (error) {
      throw fileError(error, `"${path}" cannot be imported`);
    } finally {
      this.#making -= 1;
      void this.collect();
    }
  }

  async #freeName(wanted: string): Promise<string> {
    const names = new Set((await this.#library.list()).map(({ config }) => config.name.toLowerCase()));
    for (let number = 2, name = wanted; ; number += 1) {
      if (!names.has(name.toLowerCase())) return name;
      const ending = ` (${number})`;
      name = wanted.slice(0, NAME_LENGTH - ending.length) + ending;
    }
  }

  /** Reads everything the library keeps. */
  examine(repair: boolean): Promise<Finding[]> {
    return examine(this.#library, repair, this.#making === 0);
  }

  // ---- suspend and resume -----------------------------------------------------------------------------------------------------

  /** Saves a running VM and ends its process. @throws ContractError; the guest then goes on. */
  suspend(reference: string): Promise<Vm> {
    return this.#exclusively(reference, async (vm) => {
      const guest = this.#supervisor.guest(vm.id);
      if (!guest) throw wrongState(vm, 'it cannot be suspended', 'Only a VM that runs can.');
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

  /** A suspended VM goes on; its saved state is given up once it runs. */
  resume(reference: string): Promise<Vm> {
    return this.#exclusively(reference, async (vm) => {
      const row = this.#store.suspended(vm.id);
      if (!row) throw wrongState(vm, 'it is not suspended', 'Start it.');
      const stored = this.#store.load(row.id);
      const from = this.#startPoint(stored, false);
      if (!from) throw wrongState(vm, 'its saved state has no memory', 'Discard it with `vanderpool vm stop --force`.');
      refuseChangedDisks(vm, stored.state);
      const resumed = await this.#start(vm.id, stored.pageMap, from);
      this.#discardSuspended(vm.id);
      return { ...resumed, state: this.#supervisor.guest(vm.id)?.state ?? resumed.state };
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

  /** Gives back the segments that nothing uses, one at a time; the engine answers others in between. */
  collect(): Promise<void> {
    this.#collecting ??= this.#collect().catch((error: unknown) => console.error(new Date().toISOString(), 'collection', error)).finally(() => void (this.#collecting = null));
    return this.#collecting;
  }

  async #collect(): Promise<void> {
    for (;;) {
      await new Promise((resolve) => setImmediate(resolve));
      if (this.#making > 0 || this.#closed) return; // Whoever ends last collects.
      for (const id of this.#pinned.keys()) if (!this.#supervisor.guest(id)) this.#pinned.delete(id);
      if (!this.#store.collectOne(new Set([...this.#pinned.values()].flatMap((ids) => [...ids])))) return;
    }
  }

  // ---- comparisons --------------------------------------------------------------------------------------------------------------

  /** What differs from a snapshot to another one, or to the VM as it is now. @throws ContractError */
  async compare(reference: string, from: string, to: string | null): Promise<SnapshotDifference> {
    const vm = await this.#supervisor.get(reference);
    const stored = (name: string): ComparedState => this.#compared(this.#store.load(this.#store.get(vm.id, name).id));
    const before = stored(from);
    const after = to === null ? await this.#present(vm) : stored(to);
    const readers = new SegmentReaders(new Map(this.#store.paths(new Set([...before.map.references().keys(), ...after.map.references().keys()]))));
    try {
      return compareStates(before, after, (map, page) => readers.get(map.segments[page] ?? 0).hashOf(map.positions[page] ?? 0));
    } finally {
      readers.close();
    }
  }

  /** The state of a VM now. That of a running one is recorded nowhere. */
  async #present(vm: Vm): Promise<ComparedState> {
    const guest = this.#supervisor.guest(vm.id);
    const suspended = this.#store.suspended(vm.id);
    if (suspended) return this.#compared(this.#store.load(suspended.id));
    if (!guest) return { config: vm.config, state: null, map: new PageMap(vm.config.memoryBytes / CHUNK_BYTES) };
    return this.#made(vm, async (progress) => {
      const { state, map } = await guest.snapshot(this.#store, progress);
      const decoded = PageMap.decode(map, vm.config.memoryBytes / CHUNK_BYTES);
      this.#pin(vm.id, decoded);
      return { config: vm.config, state, map: decoded };
    });
  }

  #compared({ config, state, pageMap }: StoredSnapshot): ComparedState {
    return { config, state, map: pageMap };
  }

  // ---- how ----------------------------------------------------------------------------------------------------------------------

  async #save(vm: Vm, kind: NewSnapshot['kind'], name: string, notes: string): Promise<string> {
    const guest = this.#supervisor.guest(vm.id);
    if (vm.state === 'suspended') throw wrongState(vm, 'it has a saved state already', 'Resume it first.');
    if (vm.state === 'starting') throw wrongState(vm, 'it is not there yet', 'Wait until it runs.');
    await refuseUnsavable(vm, kind, this.#library);
    const common = { vmId: vm.id, kind, name, notes, config: vm.config, parentId: this.#store.currentOf(vm.id) };
    if (!guest) {
      const consoles = this.#supervisor.consoles(vm.id).map(({ scrollback }) => scrollback.read().data);
      const map = new PageMap(vm.config.memoryBytes / CHUNK_BYTES).encode();
      return this.#commit({ ...common, power: 'off', state: null, map, pauseMilliseconds: 0, consoles, screen: lastScreen(consoles[0]) });
    }
    // A suspension pauses the guest itself; it goes on running when it is resumed.
    const power = vm.state === 'paused' ? 'paused' : 'running';
    return this.#made(vm, async (progress) => {
      const { state, map, pauseMilliseconds, consoles } = await guest.snapshot(this.#store, progress);
      this.#pin(vm.id, PageMap.decode(map, vm.config.memoryBytes / CHUNK_BYTES));
      return this.#commit({ ...common, power, state, map, pauseMilliseconds, consoles, screen: lastScreen(consoles[0]) });
    });
  }

  #commit(made: NewSnapshot): string {
    const id = this.#store.commit(made);
    this.#library.note(made.vmId, made.kind === 'suspend' ? 'suspended' : 'snapshot taken', made.name);
    this.#changed(made.vmId);
    return id;
  }

  /** While `make` runs, segments without references stay, and everybody sees how far it is. */
  async #made<T>(vm: Vm, make: (progress: (done: number, total: number) => void) => Promise<T>): Promise<T> {
    this.#making += 1;
    try {
      return await make((done, total) => this.#supervisor.tell({ kind: 'snapshot-progress', vmId: vm.id, done, total }));
    } finally {
      this.#making -= 1;
      this.#supervisor.tell({ kind: 'snapshot-progress', vmId: vm.id, done: 0, total: 0 });
      void this.collect();
    }
  }

  async #start(id: string, map: PageMap, from: StartPoint): Promise<Vm> {
    this.#pin(id, map);
    return this.#supervisor.start(id, from);
  }

  #startPoint(stored: StoredSnapshot, paused: boolean): StartPoint | null {
    if (stored.power === 'off') return null;
    const segments = this.#store.paths(stored.pageMap.references().keys());
    return { restore: { state: stored.state, map: stored.pageMap.encode(), segments }, consoles: stored.consoles, paused: paused || stored.power === 'paused' };
  }

  #pin(vmId: string, map: PageMap): void {
    this.#pinned.set(vmId, new Set(map.references().keys()));
  }

  #discardSuspended(vmId: string): void {
    const row = this.#store.suspended(vmId);
    if (!row) return;
    this.#store.remove(row.id);
    void this.collect();
  }

  #shown(row: SnapshotRow): Snapshot {
    return {
      id: row.id, vmId: row.vm_id, parentId: row.parent_id, name: row.name, notes: row.notes, createdAt: row.created_at, power: row.power,
      memoryBytes: row.memory_bytes, usedBytes: row.used_bytes, exclusiveBytes: this.#store.exclusiveBytes(row.id), pauseMilliseconds: row.pause_ms,
      screen: row.screen, current: this.#store.currentOf(row.vm_id) === row.id,
    };
  }

  #changed(vmId: string): void {
    this.#supervisor.tell({ kind: 'snapshots-changed', vmId });
  }

  /** One thing at a time is done to a VM's states. */
  async #exclusively<T>(reference: string, action: (vm: Vm) => Promise<T>): Promise<T> {
    const vm = await this.#supervisor.get(reference);
    if (this.#busy.has(vm.id)) throw wrongState(vm, 'a snapshot of it is being taken or restored', 'Wait for it, or cancel it.');
    this.#busy.add(vm.id);
    try {
      return await action(vm);
    } finally {
      this.#busy.delete(vm.id);
    }
  }
}

/** Says what was being done, why it failed and what to do. */
function fileError(error: unknown, what: string): ContractError {
  if (error instanceof ContractError) return error;
  const reason = (error instanceof Error ? error.message : String(error)).replace(/\.$/, '');
  return new ContractError('file-unreadable', `${what}: ${reason}.`, 'Check the file, its folder and the space on its disk.', 'path');
}
