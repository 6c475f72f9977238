/** One VM while its process lives: its state, its commands, and what its process reports. */
import { join } from 'node:path';
import type { AssignedDevice } from '../contract/device.ts';
import type { DisplayInput, Picture } from '../contract/display.ts';
import type { BalloonState } from '../contract/paravirtual.ts';
import { ContractError } from '../contract/errors.ts';
import { SERIAL_PORTS } from '../contract/limits.ts';
import type { Card } from '../contract/hardware.ts';
import type { ExitsEvent, ExitsWanted } from '../contract/exits.ts';
import type { InspectQuery, InspectSection } from '../contract/inspect.ts';
import type { MetricsEvent } from '../contract/streams.ts';
import type { Vm, VmExit, VmState } from '../contract/vm.ts';
import type { DiskState, NamedDisk } from '../machine/layeredDisks.ts';
import { OUTPUT_RING } from '../machine/link.ts';
import { fromVmProcess, OUTPUT_CREDIT } from '../machine/messages.ts';
import type { FromVmProcess, ToVmProcess } from '../machine/messages.ts';
import type { MachineExit, RestorePoint } from '../machine/types.ts';
import type { Console } from './console.ts';
import { createMeter } from './metrics.ts';
import { Questions } from './questions.ts';
import { SnapshotTask } from './snapshotTask.ts';
import type { ChunkLibrary, SnapshotTaskOptions, TakenSnapshot } from './snapshotTask.ts';
import type { VmProcess, VmProcessLauncher } from './vm-process.ts';

export interface GuestEvents {
  /** The state changed while the process lives. */
  state(state: VmState): void;
  metrics(sample: MetricsEvent): void;
  exits(event: ExitsEvent): void;
  /** Why the guest waits although nobody asked it to; null: it goes on. */
  problem(message: string | null): void;
  /** The card of a hot-plug slot is out. */
  released(slot: number): void;
  /** The process is gone. `error` is set when that is nobody's wish. */
  ended(exit: VmExit, error: ContractError | null): void;
}

export interface GuestOptions {
  readonly vm: Vm;
  /** Assigned to it, and there. */
  readonly devices: readonly AssignedDevice[];
  readonly folder: string;
  readonly launch: VmProcessLauncher;
  readonly machineModule: string;
  /** Present: the guest goes on from a snapshot. */
  readonly restore?: RestorePoint;
  /** What the library keeps of its disks. */
  readonly disks: readonly (DiskState | null)[];
  /** The guest waits for `resume`. */
  readonly paused?: boolean;
  /** What it compiles is kept for the VM's next run. */
  readonly keepCode: boolean;
  readonly consoles: readonly Console[];
  readonly events: GuestEvents;
}

const START_MS = 60_000;
const DESCRIBE_MS = 3000;
/** A guest that has not ended so long after its button was pressed has chosen not to. */
const BUTTON_MS = 30_000;

export class Guest {
  readonly #process: VmProcess;
  readonly #events: GuestEvents;
  readonly #consoles: readonly Console[];
  readonly #hasDisplay: boolean;
  readonly #measure = createMeter();
  readonly #starting: PromiseWithResolvers<void> = Promise.withResolvers();
  readonly #inspections = new Questions<InspectSection[]>((message) => this.#send(message));
  readonly #pictures = new Questions<Picture | null>((message) => this.#send(message));
  readonly #plugging = new Questions<void>((message) => this.#send(message));
  readonly #ballooning = new Questions<BalloonState>((message) => this.#send(message));
  #describing: ((text: string | null) => void)[] = [];
  /** Bytes of output that the process may still send, by port. */
  readonly #credit: number[] = Array.from({ length: SERIAL_PORTS }, () => OUTPUT_CREDIT);
  #state: VmState = 'starting';
  #problem: string | null = null;
  #button: NodeJS.Timeout | undefined;
  #snapshot: SnapshotTask | null = null;
  #restoring: PromiseWithResolvers<void> | null = null;
  #rebasing: PromiseWithResolvers<void> | null = null;
  /** Why the process is about to end, when it said so or was told to. */
  #lastWord: { readonly exit: VmExit; readonly error: ContractError | null } | null = null;

  constructor(options: GuestOptions) {
    const { vm, devices, folder, launch, machineModule, consoles, events, restore, paused, disks, keepCode } = options;
    this.#events = events;
    this.#consoles = consoles;
    this.#hasDisplay = vm.config.display !== 'none';
    this.#process = launch(join(folder, 'process.log'));
    this.#process.onMessage((raw) => this.#receive(raw));
    this.#process.onExit((how) => this.#ended(how));
    for (const [port, console] of consoles.entries()) {
      console.connect({ grant: (bytes) => this.#grant(port, bytes), input: (data) => this.#send({ type: 'input', port, data }) });
    }
    this.#starting.promise.catch(() => undefined); // Whoever asked for the start hears of it; nobody else has to.
    this.#send({
      type: 'start', config: vm.config, folder, devices: [...devices], machineModule, restore: restore ? { ...restore, segments: mutable(restore.segments) } : null,
      paused: paused === true, disks: disks.map(sendable), keepCode,
    });
  }

  get processId(): number | null {
    return this.#process.processId;
  }

  /** Why it waits although nobody asked it to; null: it does not. */
  get problem(): string | null {
    return this.#problem;
  }

  get state(): VmState {
    return this.#state;
  }

  /** Done when the machine runs. @throws ContractError when it could not be made. */
  async started(): Promise<void> {
    const late = new ContractError('vm-crashed', `The VM did not start within ${START_MS / 1000} s.`, 'Look at process.log in its folder.');
    const timer = setTimeout(() => {
      this.#lastWord ??= { exit: exitNow('failed-to-start', late.message), error: late };
      this.#process.kill();
    }, START_MS);
    try {
      await this.#starting.promise;
    } finally {
      clearTimeout(timer);
    }
  }

  pause(): void {
    this.#send({ type: 'command', command: 'pause' });
  }

  resume(): void {
    this.#send({ type: 'command', command: 'resume' });
  }

  reset(): void {
    this.#send({ type: 'command', command: 'reset' });
    if (this.#state === 'stopping') this.#become('running');
  }

  sendBreak(port: number): void {
    this.#send({ type: 'break', port });
  }

  powerButton(): void {
    this.#send({ type: 'command', command: 'power-button' });
    // A paused guest cannot see its button.
    if (this.#state === 'paused') this.resume();
    this.#become('stopping');
    clearTimeout(this.#button);
    this.#button = setTimeout(() => {
      if (this.#state === 'stopping') this.#become('running');
    }, BUTTON_MS);
  }

  /** Pulls the plug. */
  kill(detail = 'Its plug was pulled.'): void {
    this.#lastWord ??= { exit: exitNow('killed', detail), error: null };
    this.#process.kill();
  }

  /**
   * Takes a snapshot while the guest goes on; one at a time.
   * @param layers empty files for the disks that belong to it; none: the disks stay as they are
   * @throws ContractError `wrong-state`, `cancelled`, or what went wrong
   */
  async snapshot(library: ChunkLibrary, layers: SnapshotTaskOptions['layers'], progress: (done: number, total: number) => void): Promise<TakenSnapshot> {
    if (this.#snapshot) throw new ContractError('wrong-state', 'A snapshot of this VM is being taken.', 'Wait for it, or cancel it.');
    const scrollbacks = this.#consoles.map(({ scrollback }) => scrollback);
    this.#snapshot = new SnapshotTask({ library, scrollbacks, layers, progress, thumbnail: () => this.#thumbnail(), send: (message) => this.#send(message) });
    try {
      return await this.#snapshot.result;
    } finally {
      this.#snapshot = null;
    }
  }

  /**
   * Goes back to a snapshot of this very configuration, without a new process; afterwards the guest is paused.
   * @throws ContractError; the machine is good for nothing then
   */
  async restore(point: RestorePoint, disks: readonly NamedDisk[]): Promise<void> {
    this.pause();
    this.#restoring = Promise.withResolvers();
    this.#send({
      type: 'restore', restore: { ...point, segments: mutable(point.segments) },
      disks: disks.map((disk) => ({ path: disk.path, ...sendable(disk) })),
    });
    try {
      await this.#restoring.promise;
    } finally {
      this.#restoring = null;
    }
  }

  /** What was below the newest layers of disks is in new maps: done when the files of former layers are not used any more. @throws ContractError */
  async rebase(disks: readonly Pick<NamedDisk, 'path' | 'map' | 'segments'>[]): Promise<void> {
    this.#rebasing = Promise.withResolvers();
    this.#send({ type: 'rebase', disks: disks.map(({ path, map, segments }) => ({ path, map, segments: mutable(segments) })) });
    try {
      await this.#rebasing.promise;
    } finally {
      this.#rebasing = null;
    }
  }

  /** Gives up the snapshot that is being taken; false when there is none. */
  cancelSnapshot(): boolean {
    this.#snapshot?.cancel();
    return this.#snapshot !== null;
  }

  /** Its state is saved: the process writes its disks out and ends. */
  endSuspended(): void {
    this.#lastWord ??= { exit: exitNow('suspended', ''), error: null };
    this.#send({ type: 'command', command: 'end' });
  }

  describe(): Promise<string | null> {
    return new Promise((resolve) => {
      setTimeout(() => resolve(null), DESCRIBE_MS).unref();
      this.#describing.push(resolve);
      this.#send({ type: 'describe' });
    });
  }

  /** Has VM exits traced and reported, or not any more. */
  traceExits(wanted: ExitsWanted | null): void {
    this.#send({ type: 'trace-exits', wanted });
  }

  /** @throws ContractError when the machine refuses or does not answer */
  inspect(query: InspectQuery): Promise<InspectSection[]> {
    return this.#inspections.ask((id) => ({ type: 'inspect', id, query }));
  }

  /** What a viewer of the display has not seen yet, null for nothing. @throws ContractError when there is no display, or no answer */
  picture(viewer: number, forget: boolean): Promise<Picture | null> {
    return this.#pictures.ask((id) => ({ type: 'picture', id, viewer, forget }));
  }

  /** What the display shows, small, as a PNG file; null: it has none, or does not answer. */
  async #thumbnail(): Promise<Uint8Array | null> {
    if (!this.#hasDisplay) return null;
    return this.#pictures.ask((id) => ({ type: 'thumbnail', id })).then((picture) => picture?.png ?? null, () => null);
  }

  /** Puts a device of the host into its slot, which is empty. @throws ContractError why it cannot be */
  plugDevice(device: AssignedDevice): Promise<void> {
    return this.#plugging.ask((id) => ({ type: 'plug-device', id, device }));
  }

  /** Puts a card into an empty hot-plug slot. `state`: what the library keeps of its disk. @throws ContractError why it cannot be */
  plug(slot: number, card: Card, state: DiskState | null): Promise<void> {
    return this.#plugging.ask((id) => ({ type: 'plug', id, slot, card, state: sendable(state) }));
  }

  /** Asks the guest to let a card go, or with `force` pulls it out; the event `released` follows when it is out. @throws ContractError */
  unplug(slot: number, force: boolean): Promise<void> {
    return this.#plugging.ask((id) => ({ type: 'unplug', id, slot, force }));
  }

  /** Plugs the cable of a network interface in or pulls it. */
  setLink(network: number, up: boolean): void {
    this.#send({ type: 'link', network, up });
  }

  /** Puts another image into a CD-ROM drive; empty: none. @param disk its place in the configuration @throws ContractError why it cannot be */
  changeMedium(disk: number, path: string, force: boolean): Promise<void> {
    return this.#plugging.ask((id) => ({ type: 'medium', id, disk, path, force }));
  }

  /** Makes a disk larger. @param disk its place in the configuration @throws ContractError why it cannot be */
  growDisk(disk: number, bytes: number, state: DiskState | null): Promise<void> {
    return this.#plugging.ask((id) => ({ type: 'grow', id, disk, bytes, state: sendable(state) }));
  }

  /** Asks the balloon for so many bytes, or with null asks nothing. @throws ContractError when the machine has none */
  balloon(bytes: number | null): Promise<BalloonState> {
    return this.#ballooning.ask((id) => ({ type: 'balloon', id, bytes }));
  }

  displayInput(input: DisplayInput): void {
    this.#send({ type: 'display-input', input });
  }

  #send(message: ToVmProcess): void {
    this.#process.send(message);
  }

  #receive(raw: unknown): void {
    const parsed = fromVmProcess.safeParse(raw);
    // A process that speaks nonsense was broken, perhaps by its guest: the VM ends, the library lives on.
    if (!parsed.success) return this.kill('Its process sent what is not of the protocol.');
    this.#obey(parsed.data);
  }

  #obey(message: FromVmProcess): void {
    switch (message.type) {
      case 'started':
        this.#become('running');
        return this.#starting.resolve();
      case 'failed': {
        const error = ContractError.fromShape(message.error);
        const reason = this.#state === 'starting' ? 'failed-to-start' : 'crashed';
        this.#lastWord ??= { exit: exitNow(reason, error.message), error };
        return;
      }
      case 'paused':
        if (this.#state !== 'stopping') this.#become(message.paused ? 'paused' : 'running');
        return;
      case 'disk-full':
        this.#problem = message.message;
        return this.#events.problem(message.message);
      case 'output': return this.#output(message.port, message.data);
      case 'taken': return this.#consoles[message.port]?.inputTaken(message.bytes);
      case 'exits': return this.#events.exits(message.event);
      case 'pictured': return this.#pictures.answer(message.id, message.picture);
      case 'not-pictured': return this.#pictures.refuse(message.id, message.error);
      case 'plugged': return message.error ? this.#plugging.refuse(message.id, message.error) : this.#plugging.answer(message.id);
      case 'ballooned': return this.#ballooning.answer(message.id, message.state);
      case 'not-ballooned': return this.#ballooning.refuse(message.id, message.error);
      case 'released': return this.#events.released(message.slot);
      case 'inspected': return this.#inspections.answer(message.id, message.sections);
      case 'not-inspected': return this.#inspections.refuse(message.id, message.error);
      case 'metrics': return this.#events.metrics(this.#measure(message));
      case 'description':
        for (const resolve of this.#describing.splice(0)) resolve(message.text);
        return;
      case 'snapshot-point': case 'chunk-lookup': case 'segment': case 'snapshot-progress': case 'snapshot-taken': case 'snapshot-failed':
        return this.#snapshot?.receive(message);
      case 'restored': return message.error ? this.#restoring?.reject(ContractError.fromShape(message.error)) : this.#restoring?.resolve();
      case 'rebased': return message.error ? this.#rebasing?.reject(ContractError.fromShape(message.error)) : this.#rebasing?.resolve();
      case 'stopped':
        this.#lastWord ??= describeExit(message.exit);
        return;
    }
  }

  #grant(port: number, bytes: number): void {
    this.#credit[port] = (this.#credit[port] ?? 0) + bytes;
    this.#send({ type: 'credit', port, bytes });
  }

  /** A process that ends sends what is left in its rings without asking; one that sends more than that would fill the engine's memory. */
  #output(port: number, data: Uint8Array<ArrayBuffer>): void {
    const left = (this.#credit[port] ?? 0) - data.length;
    this.#credit[port] = left;
    if (left < -OUTPUT_RING) return this.kill('Its process sent more output than it was granted.');
    this.#consoles[port]?.output(data);
  }

  #become(state: VmState): void {
    if (this.#state === state) return;
    this.#state = state;
    this.#events.state(state);
  }

  #ended(how: string): void {
    clearTimeout(this.#button);
    for (let port = 0; port < SERIAL_PORTS; port += 1) this.#consoles[port]?.connect(null);
    for (const resolve of this.#describing.splice(0)) resolve(null);
    for (const questions of [this.#inspections, this.#pictures, this.#plugging, this.#ballooning]) questions.end();
    this.#rebasing?.resolve(); // Nothing uses any file any more.
    this.#restoring?.reject(new ContractError('vm-crashed', 'The VM ended before it was restored.', 'Restore it again.'));
    this.#snapshot?.fail(new ContractError('vm-crashed', 'The VM ended before its snapshot was taken.', 'Start it again.'));
    const { exit, error } = this.#lastWord ?? crash(how);
    this.#starting.reject(error ?? new ContractError('vm-crashed', 'The VM ended before it ran.', 'Start it again.'));
    this.#events.ended(exit, error);
  }
}

/** As messages have it. */
function sendable<T extends DiskState | null>(state: T): T extends null ? null : { size: number; map: Uint8Array<ArrayBuffer>; segments: [number, string][]; layers: string[] };
function sendable(state: DiskState | null): unknown {
  return state && { size: state.size, map: state.map, segments: mutable(state.segments), layers: [...state.layers] };
}

function mutable(segments: readonly (readonly [number, string])[]): [number, string][] {
  return segments.map(([id, path]) => [id, path]);
}

function crash(how: string): { exit: VmExit; error: ContractError } {
  const message = `The VM's process ended unexpectedly (${how}).`;
  return { exit: exitNow('crashed', message), error: new ContractError('vm-crashed', message, 'Start the VM again; its process.log may say more.') };
}

function describeExit(exit: MachineExit): { exit: VmExit; error: ContractError | null } {
  switch (exit.reason) {
    case 'power-off': case 'reset': return { exit: exitNow('power-off', ''), error: null };
    case 'debug-exit': return { exit: { ...exitNow('debug-exit', `The guest wrote ${exit.value} to the debug-exit port.`), value: exit.value }, error: null };
    case 'triple-fault': {
      const error = new ContractError('vm-crashed', 'The guest ended in a triple fault.', 'Its last registers are shown with the VM.');
      return { exit: exitNow('triple-fault', exit.state), error };
    }
    case 'internal-error': {
      const error = new ContractError('vm-crashed', `The machine failed: ${exit.message}`, 'This is a defect of Vanderpool; please report what the guest did.');
      return { exit: exitNow('crashed', exit.message), error };
    }
  }
}

function exitNow(reason: VmExit['reason'], detail: string): VmExit {
  return { reason, detail, at: Date.now() };
}
