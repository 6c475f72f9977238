/** Every VM of a library: what is stored of it, its process while one lives, its consoles, and the news about it. */
import { join } from 'node:path';
import { asContractError, ContractError } from '../contract/errors.ts';
import { SERIAL_PORTS } from '../contract/limits.ts';
import type { ExitsEvent, ExitsWanted } from '../contract/exits.ts';
import type { DisplayInput, Picture } from '../contract/display.ts';
import { newViewer } from './display.ts';
import { SerialLines } from './serialLines.ts';
import type { InspectQuery, InspectSection } from '../contract/inspect.ts';
import type { LibraryEvent, MetricsEvent } from '../contract/streams.ts';
import { ownKeys, withChanges } from '../contract/vm.ts';
import type { Vm, VmChanges, VmConfig, VmExit, VmState } from '../contract/vm.ts';
import { forgetTranslations } from '../machine/translationPath.ts';
import type { RestorePoint } from '../machine/types.ts';
import type { DiskState } from '../store/disks.ts';
import type { Library } from '../store/library.ts';
import { Console } from './console.ts';
import { Cards } from './cards.ts';
import { Devices } from './devices.ts';
import { DiskStates } from './diskStates.ts';
import { putDueVariables } from './dueVariables.ts';
import { Guest } from './guest.ts';
import { Scrollback } from './scrollback.ts';
import { sweepVmFolders } from './vmFolders.ts';
import type { VmProcessLauncher } from './vm-process.ts';

/** Where a guest's fresh start begins in a console that has history. */
const freshLine = new TextEncoder().encode('\x1b[0m\r\n');
/** What is no part of the machine. */
const CHANGEABLE: ReadonlySet<string> = new Set(ownKeys);
/** What people call the parts that are named otherwise in the contract. */
const hardwareNames: Readonly<Record<string, string>> = {
  memoryBytes: 'memory', cpus: 'processors', cpuModel: 'processor model', topology: 'arrangement of processors', iommu: 'IOMMU', cachingMode: 'caching mode', usb: 'USB', kvm: 'KVM interface',
  serial: 'serial ports', gdb: 'port for GDB', jit: 'compiler', vsock: 'sockets', shares: 'shared folders',
};
const STOP_MS = 10_000;
/** A guest that has not said so by then is busy, and says it later. */
const SETTLE_MS = 500;

/** A snapshot that a VM goes on from instead of booting. */
export interface StartPoint {
  readonly restore: RestorePoint;
  /** What each serial port had shown. */
  readonly consoles: readonly Uint8Array[];
  readonly paused: boolean;
}

type Listener<E> = (event: E) => void;

export class Supervisor {
  readonly devices: Devices;
  readonly cards: Cards;
  readonly disks: DiskStates;
  readonly #library: Library;
  readonly #launch: VmProcessLauncher;
  readonly #machineModule: string;
  readonly #guests = new Map<string, Guest>();
  readonly #consoles = new Map<string, Console[]>();
  readonly #libraryListeners = new Set<Listener<LibraryEvent>>();
  readonly #metricsListeners = new Map<string, Set<Listener<MetricsEvent>>>();
  readonly #exitWatchers = new Map<string, Set<{ readonly wanted: ExitsWanted; readonly listener: Listener<ExitsEvent> }>>();
  /** What each guest was last told to report. */
  readonly #traced = new Map<string, ExitsWanted | null>();
  readonly #endWaiters = new Map<string, (() => void)[]>();

  constructor(library: Library, launch: VmProcessLauncher, machineModule: string) {
    this.#library = library;
    this.devices = new Devices(library, this);
    this.disks = new DiskStates(library);
    this.cards = new Cards(this);
    this.#launch = launch;
    this.#machineModule = machineModule;
  }

  /** Whether a VM has a process: its configuration and devices are fixed then. */
  isAlive(id: string): boolean {
    return this.#guests.has(id);
  }

  get running(): number {
    return this.#guests.size;
  }

  async list(): Promise<Vm[]> {
    return (await this.#library.list()).map((vm) => this.#withProcess(vm));
  }

  async get(reference: string): Promise<Vm> {
    return this.#withProcess(await this.#library.get(reference));
  }

  async create(config: VmConfig): Promise<Vm> {
    return this.#changed(await this.#library.create(config));
  }

  async edit(reference: string, changes: VmChanges): Promise<Vm> {
    const vm = await this.get(reference);
    const frozen = Object.entries(changes).filter(([key, value]) => value !== undefined && !CHANGEABLE.has(key)).map(([key]) => key);
    if ((this.#guests.has(vm.id) || vm.state === 'suspended') && frozen.length > 0) {
      throw wrongState(vm, `its ${frozen.map((key) => hardwareNames[key] ?? key).join(', ')} cannot be changed now`, `Stop it first; ${ownKeys.join(', ')} can be changed at any time.`);
    }
    return this.#changed(await this.#library.edit(vm, withChanges(vm.config, changes)));
  }

  async remove(reference: string): Promise<void> {
    const vm = await this.get(reference);
    if (this.#guests.has(vm.id)) throw wrongState(vm, 'it cannot be removed', 'Stop it first.');
    this.#library.remove(vm);
    for (const console of this.#consoles.get(vm.id) ?? []) console.close();
    this.#consoles.delete(vm.id);
    await sweepVmFolders(this.#library);
    this.tell({ kind: 'vm-removed', id: vm.id });
  }

  async move(reference: string, position: number): Promise<Vm[]> {
    const before = new Map((await this.list()).map((vm) => [vm.id, vm.position]));
    const vms = (await this.#library.move(await this.get(reference), position)).map((vm) => this.#withProcess(vm));
    for (const vm of vms) if (before.get(vm.id) !== vm.position) this.tell({ kind: 'vm-changed', vm });
    return vms;
  }

  /**
   * Starts a VM and answers when it runs.
   * @param withoutMissing leave out assigned devices that are not there or in use
   * @throws ContractError `wrong-state`, `device-missing`, or why the machine could not be made
   */
  async start(reference: string, from?: StartPoint, withoutMissing = false): Promise<Vm> {
    const vm = await this.get(reference);
    if (!this.#guests.has(vm.id)) putDueVariables(this.#library, vm.id);
    // A saved state knows of no assigned devices: they are plugged in when the machine goes on.
    const devices = from ? [] : await this.devices.forStart(vm, withoutMissing);
    const disks = this.disks.forStart(vm);
    const { keepCode } = await this.#library.settings();
    const consoles = this.consoles(vm.id);
    const lines = this.#guests.has(vm.id) ? null : await SerialLines.open(vm.config.serial, consoles);
    if (lines === null || this.#guests.has(vm.id)) {
      lines?.close();
      throw wrongState(vm, 'it cannot be started again', 'Stop or reset it.');
    }
    if (from) for (const [port, console] of consoles.entries()) console.restore(from.consoles[port] ?? new Uint8Array(0));
    else for (const console of consoles) if (!console.scrollback.isEmpty) console.output(freshLine.slice());
    let guest: Guest;
    try {
      guest = new Guest({
        vm, devices, disks, keepCode, ...(from ? { restore: from.restore, paused: from.paused } : {}), folder: this.#library.vmFolder(vm.id), launch: this.#launch, machineModule: this.#machineModule, consoles,
        events: {
          state: (state) => void this.#becomes(vm.id, state),
          metrics: (sample) => {
            for (const listener of this.#metricsListeners.get(vm.id) ?? []) listener(sample);
          },
          exits: (event) => {
            for (const { listener } of this.#exitWatchers.get(vm.id) ?? []) listener(event);
          },
          released: (slot) => void this.cards.released(vm.id, slot).catch((error: unknown) => this.tellError(vm.id, error)),
          problem: (message) => void this.#hasProblem(vm.id, message).catch((error: unknown) => this.tellError(vm.id, error)),
          ended: (exit, error) => {
            lines.close();
            void this.#ended(vm.id, exit, error);
          },
        },
      });
    } catch (error) {
      lines.close();
      throw error;
    }
    // Before anything is awaited: a second start finds the first.
    this.#guests.set(vm.id, guest);
    await this.#becomes(vm.id, 'starting', 'started');
    await guest.started();
    this.#traceExits(vm.id);
    if (from) await this.devices.plugAll(await this.get(vm.id), (error) => this.tellError(vm.id, error));
    return this.get(vm.id);
  }

  /** Removes what has been compiled of guests' code; what those that run have kept goes when they end (keepCode is off). */
  async forgetCode(): Promise<void> {
    for (const { id } of await this.#library.list()) if (!this.#guests.has(id)) forgetTranslations(this.#library.vmFolder(id));
  }

  /** Pulls the plug of a VM that runs; done when its process is gone. */
  kill(id: string, detail: string): Promise<void> {
    return this.#endOf(id, (guest) => guest.kill(detail));
  }

  /** Makes a guest end and waits for it; pulls the plug of one that takes too long. */
  async #endOf(id: string, make: (guest: Guest) => void): Promise<void> {
    const guest = this.#guests.get(id);
    if (!guest) return;
    const ended = new Promise<void>((resolve) => this.#endWaiters.set(id, [...(this.#endWaiters.get(id) ?? []), resolve]));
    make(guest);
    const late = setTimeout(() => guest.kill(), STOP_MS);
    await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, STOP_MS * 2).unref())]);
    clearTimeout(late);
  }

  async stop(reference: string, force: boolean): Promise<Vm> {
    const { vm, guest } = await this.#live(reference, 'stopped');
    if (!force) {
      guest.powerButton();
      return this.get(vm.id);
    }
    await this.kill(vm.id, 'Its plug was pulled.');
    return this.get(vm.id);
  }

  /** @throws ContractError `wrong-state` when it does not run, `bad-field` when the port is no UART */
  async sendBreak(reference: string, port: number): Promise<void> {
    const { vm, guest } = await this.#live(reference, 'sent a break');
    if (vm.config.serial[port]?.device === 'virtio') throw new ContractError('bad-field', `COM${port + 1} of the VM "${vm.config.name}" is a virtio console, which knows no break.`, 'Breaks go to UARTs.', 'port');
    guest.sendBreak(port);
  }

  async reset(reference: string): Promise<Vm> {
    const { vm, guest } = await this.#live(reference, 'reset');
    guest.reset();
    await this.#library.record(vm.id, { state: guest.state }, 'reset');
    return this.get(vm.id);
  }

  async pause(reference: string): Promise<Vm> {
    const { vm, guest } = await this.#live(reference, 'paused');
    if (guest.state !== 'running') throw wrongState(vm, 'it cannot be paused', 'Only a running VM can.');
    guest.pause();
    return this.#settled(vm.id, guest, 'paused');
  }

  async resume(reference: string): Promise<Vm> {
    const { vm, guest } = await this.#live(reference, 'resumed');
    if (guest.state !== 'paused') throw wrongState(vm, 'it cannot be resumed', 'Only a paused VM can.');
    guest.resume();
    const after = await this.#settled(vm.id, guest, 'running');
    if (after.state === 'paused' && after.problem !== null) throw noRoom(after.config.name, after.problem);
    if (after.state === 'paused' && vm.config.gdb !== null) {
      throw wrongState(after, 'GDB holds it', `Let it go on at GDB's prompt, or connect there (target remote :${vm.config.gdb.port}) and detach.`);
    }
    return after;
  }

  async describe(reference: string): Promise<string> {
    const { vm, guest } = await this.#live(reference, 'looked into');
    const text = await guest.describe();
    if (text === null) throw wrongState(vm, 'it does not answer', 'Try again, or stop it by force.');
    return text;
  }

  /** The VM's state is saved: its process ends. */
  suspended(id: string): Promise<void> {
    return this.#endOf(id, (guest) => guest.endSuspended());
  }

  /** Replaces a VM's configuration. Of one that runs, only what its process has followed. */
  async configure(id: string, config: VmConfig): Promise<Vm> {
    return this.#changed(await this.#library.edit(await this.#library.get(id), config));
  }

  /** Records that a VM goes back to a snapshot; its process has not followed yet. @throws ContractError; nothing has changed then */
  async goBack(vm: Vm, snapshot: string, config: VmConfig, disks: readonly DiskState[]): Promise<Vm> {
    return this.#changed(await this.#library.goBack(vm, snapshot, config, disks));
  }

  /** Tells everybody of a VM that does not run, and of what its consoles show (null: what they did). */
  async showStopped(id: string, consoles: readonly Uint8Array[] | null): Promise<Vm> {
    if (consoles) for (const [port, console] of this.consoles(id).entries()) console.restore(consoles[port] ?? new Uint8Array(0));
    const vm = this.#changed(await this.#library.get(id));
    for (const console of this.consoles(id)) console.setState(vm.state);
    return vm;
  }

  /** The live guest of a VM; null when none runs. */
  guest(id: string): Guest | null {
    return this.#guests.get(id) ?? null;
  }

  /** The consoles of a VM's four serial ports, with what they have shown before. */
  consoles(id: string): Console[] {
    const known = this.#consoles.get(id);
    if (known) return known;
    const folder = this.#library.vmFolder(id);
    const made = Array.from({ length: SERIAL_PORTS }, (_, port) => new Console(new Scrollback(join(folder, `console-${port}.log`))));
    this.#consoles.set(id, made);
    return made;
  }

  onLibrary(listener: Listener<LibraryEvent>): () => void {
    this.#libraryListeners.add(listener);
    return () => void this.#libraryListeners.delete(listener);
  }

  onMetrics(id: string, listener: Listener<MetricsEvent>): () => void {
    const listeners = this.#metricsListeners.get(id) ?? new Set();
    this.#metricsListeners.set(id, listeners.add(listener));
    return () => void listeners.delete(listener);
  }

  /** Has the VM's exits traced, now or when it starts, until the returned function is called. */
  watchExits(id: string, wanted: ExitsWanted, listener: Listener<ExitsEvent>): () => void {
    const watcher = { wanted, listener };
    const watchers = this.#exitWatchers.get(id) ?? new Set();
    this.#exitWatchers.set(id, watchers.add(watcher));
    this.#traceExits(id);
    return () => {
      watchers.delete(watcher);
      this.#traceExits(id);
    };
  }

  #traceExits(id: string): void {
    const wanted = [...this.#exitWatchers.get(id) ?? []].map((watcher) => watcher.wanted);
    const most = wanted.includes('all') ? 'all' : (wanted[0] ?? null);
    if ((this.#traced.get(id) ?? null) === most && most === null) return;
    this.#traced.set(id, most);
    this.#guests.get(id)?.traceExits(most);
  }

  /** @throws ContractError `wrong-state` when it does not run or does not answer, or why the machine refused */
  async inspect(reference: string, query: InspectQuery): Promise<InspectSection[]> {
    const { guest } = await this.#live(reference, 'looked into');
    return guest.inspect(query);
  }

  /** What a viewer of a display has not seen yet; null: nothing, undefined: the VM does not run. @throws ContractError as `inspect` */
  async picture(id: string, viewer: number, forget: boolean): Promise<Picture | null | undefined> {
    return this.#guests.get(id)?.picture(viewer, forget);
  }

  /** Everything that is on the display now. @throws ContractError when there is none, or as `inspect` */
  async capture(reference: string): Promise<Picture> {
    const { guest } = await this.#live(reference, 'looked at');
    const viewer = newViewer();
    const picture = await guest.picture(viewer, false);
    await guest.picture(viewer, true);
    if (picture === null) throw new ContractError('wrong-state', 'The display shows nothing.', 'Try again.');
    return picture;
  }

  async displayInput(reference: string, input: DisplayInput): Promise<void> {
    const { vm, guest } = await this.#live(reference, 'typed into');
    if (input.size !== undefined && vm.config.display !== 'virtio') {
      const message = `The guest of "${vm.config.name}" chooses the size of its screen itself.`;
      throw new ContractError('wrong-state', message, 'Give the VM a virtio display (--display virtio) before it starts.');
    }
    guest.displayInput(input);
  }

  /** Ends every guest at once and records it. */
  async stopAll(): Promise<void> {
    await Promise.all([...this.#guests.keys()].map((id) => this.stop(id, true)));
    for (const console of [...this.#consoles.values()].flat()) console.close();
  }

  async #live(reference: string, verb: string): Promise<{ vm: Vm; guest: Guest }> {
    const vm = await this.get(reference);
    const guest = this.#guests.get(vm.id);
    if (guest) return { vm, guest };
    throw wrongState(vm, `it cannot be ${verb}`, `Start it first: vanderpool vm start "${vm.config.name}".`);
  }

  /** Waits a moment for a live guest's word that it is in a state. */
  async settled(id: string, state: VmState): Promise<Vm> {
    const guest = this.#guests.get(id);
    return guest ? this.#settled(id, guest, state) : this.get(id);
  }

  /** Waits a moment for the guest's word that it is so; a guest that is busy says it later. */
  async #settled(id: string, guest: Guest, state: VmState): Promise<Vm> {
    for (const end = performance.now() + SETTLE_MS; performance.now() < end && guest.state !== state;) await new Promise((resolve) => setTimeout(resolve, 1));
    return this.get(id);
  }

  async #becomes(id: string, state: VmState, kind?: 'started'): Promise<void> {
    try {
      for (const console of this.consoles(id)) console.setState(state);
      // What is stored says that a process lives, from its start to its end; which of its states it is in is the process's to say, and costs no commit.
      this.#changed(kind === undefined ? await this.#library.get(id) : await this.#library.record(id, { state, startedAt: Date.now() }, kind));
    } catch (error) {
      this.tellError(id, error);
    }
  }

  async #hasProblem(id: string, problem: string | null): Promise<void> {
    const vm = this.#changed(await this.#library.get(id));
    this.#library.note(id, problem === null ? 'room again' : 'no room', problem ?? '');
    if (problem !== null) this.tellError(id, noRoom(vm.config.name, problem));
  }

  async #ended(id: string, exit: VmExit, error: ContractError | null): Promise<void> {
    this.#guests.delete(id);
    const state = error && exit.reason !== 'failed-to-start' ? 'crashed' : 'stopped';
    try {
      for (const console of this.consoles(id)) console.setState(exit.reason === 'suspended' ? 'suspended' : state);
      const vm = await this.#library.record(id, { state, exit, startedAt: null }, state === 'crashed' ? 'crashed' : 'ended', exit.detail === '' ? exit.reason : `${exit.reason}: ${exit.detail}`);
      this.#changed(vm);
      if (error) this.tellError(id, error);
      if (!(await this.#library.settings()).keepCode) forgetTranslations(this.#library.vmFolder(id));
    } catch (failure) {
      this.tellError(id, failure);
    }
    for (const waiter of this.#endWaiters.get(id) ?? []) waiter();
    this.#endWaiters.delete(id);
  }

  #changed(vm: Vm): Vm {
    const shown = this.#withProcess(vm);
    this.tell({ kind: 'vm-changed', vm: shown });
    return shown;
  }

  /** Tells everybody who follows the library. */
  tell(event: LibraryEvent): void {
    for (const listener of this.#libraryListeners) listener(event);
  }

  /** Tells them of what went wrong with a VM while nobody waited for an answer. */
  tellError(vmId: string, error: unknown): void {
    this.tell({ kind: 'error', vmId, error: asContractError(error).toShape() });
  }

  /** What is stored says what was last recorded; a live process knows better. */
  #withProcess(vm: Vm): Vm {
    const guest = this.#guests.get(vm.id);
    if (guest) return { ...vm, state: guest.state, processId: guest.processId, problem: guest.problem };
    return this.#library.snapshots.suspended(vm.id) ? { ...vm, state: 'suspended' } : vm;
  }
}

function noRoom(name: string, problem: string): ContractError {
  return new ContractError('disk-full', `The VM "${name}" is paused: a disk of the host has no room for what it writes (${problem}).`, 'Make room there: it then goes on by itself.');
}

export function wrongState(vm: Vm, what: string, hint: string): ContractError {
  return new ContractError('wrong-state', `The VM "${vm.config.name}" is ${vm.state}: ${what}.`, hint);
}
