/** The VM process: this thread moves bytes and messages between the engine and the machine's core thread. One guest a process. */
import { surviveFileSizeLimit } from '../block/room.ts';
import { asContractError, ContractError } from '../contract/errors.ts';
import type { AssignedDevice } from '../contract/device.ts';
import { DEVICES_MAXIMUM, SERIAL_PORTS } from '../contract/limits.ts';
import type { InspectQuery } from '../contract/inspect.ts';
import { nameImage } from './boot-check.ts';
import type { GdbServer } from '../gdb/server.ts';
import { CoreThread } from './coreThread.ts';
import { listenForGdb } from './debugger.ts';
import { ExitReports } from './exitReports.ts';
import { readMachineConfig, restoredMachineConfig } from './files.ts';
import { INPUT_PENDING, OUTPUT_CREDIT, toVmProcess } from './messages.ts';
import type { FromVmProcess, ToVmProcess } from './messages.ts';
import { openParentPort } from './parent.ts';
import type { ParentPort } from './parent.ts';
import type { ModemLines } from '../devices/uart16550.ts';
import { SerialLine } from '../passthrough/serialLine.ts';
import { encodePng, Pictures, thumbnailOf } from './pictures.ts';
import { Runner } from './runner.ts';
import { SnapshotTaker } from './taker.ts';
import { translationPath } from './translationPath.ts';
import { variablesPath } from './variablesFile.ts';
import { MachineServices } from './services.ts';
import { OUTPUT_RING } from './link.ts';
import type { MachineConfig } from './types.ts';

const METRICS_MS = 1000;
/** A guest that takes no input is offered it again after this time. */
const INPUT_RETRY_MS = 20;
const OUTPUT_PIECE = 32 * 1024;
/** Time for the last messages to leave before the process ends. */
const FAREWELL_MS = 200;

const parent = openParentPort();
surviveFileSizeLimit();
if (parent) serve(parent);
else {
  process.stderr.write('This program is started by the Vanderpool engine.\n');
  process.exitCode = 125;
}

function serve(engine: ParentPort): void {
  let guest: Promise<Guest | null> | null = null;
  let prepared: CoreThread | null = null;
  // Without its engine a guest has neither console nor supervisor: it ends, and the library shows it as crashed.
  engine.onClose(() => process.exit(0));
  process.on('SIGINT', () => undefined); // Ctrl-C in the terminal that started the engine is not for the guests.
  engine.onMessage((raw) => {
    const parsed = toVmProcess.safeParse(raw);
    if (!parsed.success) return;
    const { data } = parsed;
    // What arrives while the disks are being opened waits, in its order.
    if (data.type === 'start') guest ??= startGuest(engine, data, prepared ?? new CoreThread(data.machineModule));
    else if (data.type === 'prepare') prepared ??= new CoreThread(data.machineModule, true);
    else void guest?.then((started) => started?.obey(data));
  });
}

async function startGuest(engine: ParentPort, start: Extract<ToVmProcess, { type: 'start' }>, thread: CoreThread): Promise<Guest | null> {
  try {
    const variables = variablesPath(start.folder);
    const config = start.restore ? restoredMachineConfig(start.config, start.restore, variables) : readMachineConfig(start.config, variables);
    const services = await MachineServices.open(start.config, start.devices, start.disks);
    return new Guest(engine, start, { ...config, ...services.descriptions, ...(start.keepCode ? translationPath(start.folder) : {}), devices: start.devices }, services, thread);
  } catch (error) {
    end(engine, { type: 'failed', error: asContractError(error).toShape() });
    return null;
  }
}

/** Says the last word and ends the process. */
function end(engine: ParentPort, message: FromVmProcess): void {
  setTimeout(() => process.exit(0), FAREWELL_MS);
  engine.send(message, () => process.exit(0));
}

class Guest {
  readonly #engine: ParentPort;
  readonly #send: (message: FromVmProcess) => void;
  readonly #runner: Runner;
  readonly #services: MachineServices;
  readonly #pictures = new Pictures();
  readonly #exits: ExitReports;
  readonly #taker: SnapshotTaker;
  readonly #credit: number[] = Array.from({ length: SERIAL_PORTS }, () => OUTPUT_CREDIT);
  readonly #input: Uint8Array[][] = Array.from({ length: SERIAL_PORTS }, () => []);
  /** Serial ports of the host that are assigned to this machine. */
  readonly #lines = new Map<number, SerialLine>();
  /** Assigned devices by their index: those of the start, then those that came since. */
  readonly #assigned = new Map<number, AssignedDevice>();
  #retry: NodeJS.Timeout | undefined;
  #gdb: GdbServer | null = null;
  #metrics: NodeJS.Timeout | undefined;
  /** Whether the machine is to wait, whatever its disks do. */
  #paused: boolean;
  /** Whether it waits for room on a disk of the host. */
  #full = false;

  constructor(
    engine: ParentPort, start: Extract<ToVmProcess, { type: 'start' }>, config: MachineConfig, services: MachineServices, thread: CoreThread,
  ) {
    const send = (message: FromVmProcess): void => engine.send(message);
    this.#engine = engine;
    this.#send = send;
    this.#services = services;
    this.#paused = start.paused;
    services.disks.room.listen({ full: (message) => this.#waitForRoom(message), room: () => this.#waitForRoom(null) });
    this.#runner = new Runner({
      config, services: services.list,
      ...(start.restore ? { settings: start.config } : {}),
      paused: start.paused,
      held: start.config.gdb?.wait === true && !start.restore,
      attached: [...start.config.serial.map(({ attach }) => attach === 'console'), ...Array.from({ length: DEVICES_MAXIMUM }, () => true)],
      thread,
      events: {
        started: () => void this.#start(start.config.gdb?.port ?? null),
        failed: (error) => this.#finish({ type: 'failed', error: nameImage(error, start.config.boot).toShape() }),
        output: () => {
          this.#pump();
          for (const line of this.#lines.values()) line.pump();
        },
        paused: (paused) => send({ type: 'paused', paused }),
        held: () => this.#gdb?.held(),
        released: (slot) => void this.#released(slot),
        line: (port, settings) => this.#lines.get(port - SERIAL_PORTS)?.configure(settings),
        stopped: (exit) => this.#finish({ type: 'stopped', exit }),
      },
    });
    start.devices.forEach((device, index) => this.#keepDevice(device, index));
    this.#exits = new ExitReports(this.#runner, (event) => send({ type: 'exits', event }));
    this.#taker = new SnapshotTaker({ runner: this.#runner, disks: services.layered, send, memoryBytes: config.memoryBytes, base: start.restore?.map ?? null });
  }

  #keepDevice(device: AssignedDevice, index: number): void {
    const { kind, name, path } = device;
    this.#assigned.set(index, device);
    if (kind === 'serial' && path !== null) this.#lines.set(index, this.#openLine(name, path, SERIAL_PORTS + index));
  }

  #openLine(name: string, path: string, port: number): SerialLine {
    const runner = this.#runner;
    const end = {
      input: (bytes: Uint8Array) => runner.writeInput(port, bytes), output: (limit: number) => runner.readOutput(port, limit),
      // A machine that is ending needs them no more.
      lines: (lines: ModemLines) => void runner.ask('modem-lines', { port, lines }).catch(() => undefined),
    };
    return new SerialLine(path, end, (reason) => console.error(`${name} (${path}): ${reason}; it is tried again.`));
  }

  /** The machine is there: GDB's port is opened before anybody is told that it runs. */
  async #start(gdbPort: number | null): Promise<void> {
    try {
      if (gdbPort !== null) this.#gdb = await listenForGdb(gdbPort, this.#runner);
    } catch (error) {
      await this.#runner.terminate();
      return this.#finish({ type: 'failed', error: asContractError(error).toShape() });
    }
    this.#metrics = setInterval(() => void this.#measure(), METRICS_MS);
    this.#send({ type: 'started' });
  }

  obey(message: Exclude<ToVmProcess, { type: 'start' }>): void {
    switch (message.type) {
      case 'credit':
        this.#credit[message.port] = (this.#credit[message.port] ?? 0) + message.bytes;
        return this.#pump();
      case 'input':
        this.#queue(message.port, message.data);
        return this.#offer();
      case 'trace-exits': return this.#exits.report(message.wanted);
      case 'picture': return void this.#picture(message.id, message.viewer, message.forget);
      case 'thumbnail': return void this.#thumbnail(message.id);
      case 'display-input': return void this.#runner.ask('display-input', message.input).catch(() => undefined);
      case 'break': return void this.#runner.ask('break', { port: message.port }).catch(() => undefined);
      case 'link': return this.#services.setLink(message.network, message.up);
      case 'plug': return void this.#answerPlug(message.id, () => this.#plug(message));
      case 'grow': return void this.#answerPlug(message.id, () => this.#grow(message));
      case 'medium': return void this.#answerPlug(message.id, () => this.#changeMedium(message));
      case 'balloon': return void this.#balloon(message.id, message.bytes);
      case 'plug-device': return void this.#answerPlug(message.id, () => this.#plugDevice(message.device));
      case 'unplug': return void this.#answerPlug(message.id, () => this.#runner.ask('unplug', message));
      case 'inspect': return void this.#inspect(message.id, message.query);
      case 'describe':
        return void this.#runner.describe().then((text) => this.#send({ type: 'description', text }));
      case 'command': return this.#command(message.command);
      case 'snapshot': return void this.#takeSnapshot(message);
      case 'restore': return void this.#restore(message);
      case 'rebase': return void this.#rebase(message.disks);
      case 'chunk-places': case 'segment-recorded': case 'cancel-snapshot': return this.#taker.answer(message);
    }
  }

  async #picture(id: number, viewer: number, forget: boolean): Promise<void> {
    if (forget) this.#pictures.forget(viewer);
    try {
      const frame = forget ? null : await this.#runner.ask('frame', {});
      if (!forget && frame === null) throw new ContractError('wrong-state', 'The machine has no display.', 'Give it one in its configuration.');
      this.#send({ type: 'pictured', id, picture: frame ? this.#pictures.next(viewer, frame) : null });
    } catch (error) {
      this.#send({ type: 'not-pictured', id, error: asContractError(error).toShape() });
    }
  }

  async #thumbnail(id: number): Promise<void> {
    const frame = await this.#runner.ask('frame', {}).catch(() => null);
    const small = frame && thumbnailOf(frame);
    this.#send({ type: 'pictured', id, picture: small && { width: small.width, height: small.height, x: 0, y: 0, png: encodePng(small, { x: 0, y: 0, ...small }) } });
  }

  async #answerPlug(id: number, action: () => Promise<unknown>): Promise<void> {
    try {
      await action();
      this.#send({ type: 'plugged', id, error: null });
    } catch (error) {
      this.#send({ type: 'plugged', id, error: asContractError(error).toShape() });
    }
  }

  async #plug({ slot, card, state }: Extract<ToVmProcess, { type: 'plug' }>): Promise<void> {
    const description = await this.#services.plug(card, slot, state);
    try {
      await this.#runner.ask('plug', { slot, card: description });
    } catch (error) {
      await this.#services.unplug(slot);
      throw error;
    }
  }

  /** Out with what is in the drive, in with the other image: when that cannot be opened, the drive is left empty. */
  async #changeMedium({ disk, path, force }: Extract<ToVmProcess, { type: 'medium' }>): Promise<void> {
    const { disks } = this.#services;
    const serial = disks.serialOf(disk);
    await this.#runner.ask('medium', { serial, medium: null, force });
    await disks.takeMedium(disk);
    if (path === '') return;
    const medium = await disks.putMedium(disk, path);
    await this.#runner.ask('medium', { serial, medium, force });
  }

  /** The core thread lets go of the image, and is told of it again when it has grown. @throws ContractError why it could not */
  async #grow({ disk, bytes, state }: Extract<ToVmProcess, { type: 'grow' }>): Promise<void> {
    const { disks } = this.#services;
    const serial = disks.serialOf(disk);
    await this.#runner.ask('disk-size', { serial, medium: null });
    const { medium, refusal } = await disks.grow(disk, bytes, state);
    await this.#runner.ask('disk-size', { serial, medium });
    if (refusal !== null) throw refusal;
  }

  async #balloon(id: number, bytes: number | null): Promise<void> {
    try {
      this.#send({ type: 'ballooned', id, state: await this.#runner.ask('balloon', { bytes }) });
    } catch (error) {
      this.#send({ type: 'not-ballooned', id, error: asContractError(error).toShape() });
    }
  }

  async #plugDevice(device: AssignedDevice): Promise<void> {
    const { slot } = device;
    const index = Array.from({ length: DEVICES_MAXIMUM }, (_, candidate) => candidate).find((candidate) => !this.#assigned.has(candidate));
    if (index === undefined) throw new ContractError('wrong-state', `The machine has ${DEVICES_MAXIMUM} devices, which is all it can.`, 'Release one first.', 'vm');
    const description = await this.#services.plugDevice(device, index);
    try {
      await this.#runner.ask('plug', { slot, card: description });
    } catch (error) {
      await Promise.all([this.#services.unplug(slot), this.#services.unplugDevice(device.id)]);
      throw error;
    }
    this.#keepDevice(device, index);
  }

  async #released(slot: number): Promise<void> {
    await this.#services.unplug(slot);
    for (const [index, device] of this.#assigned) {
      if (device.slot !== slot) continue;
      this.#assigned.delete(index);
      this.#lines.get(index)?.close();
      this.#lines.delete(index);
      await this.#services.unplugDevice(device.id);
    }
    this.#send({ type: 'released', slot });
  }

  async #inspect(id: number, query: InspectQuery): Promise<void> {
    try {
      this.#send({ type: 'inspected', id, sections: [...await this.#runner.ask('inspect', { query })] });
    } catch (error) {
      this.#send({ type: 'not-inspected', id, error: asContractError(error).toShape() });
    }
  }

  /** `end`: the machine's state is saved; its disks are written out and closed, and the process goes. */
  #command(command: 'pause' | 'resume' | 'reset' | 'power-button' | 'end'): void {
    if (command === 'pause' || command === 'resume') this.#setPaused(command === 'pause');
    else if (command === 'reset') this.#runner.reset();
    else if (command === 'end') void this.#runner.terminate().finally(() => this.#finish({ type: 'stopped', exit: { reason: 'power-off' } }));
    else this.#runner.powerButton();
  }

  #setPaused(paused: boolean): void {
    this.#paused = paused;
    if (paused) this.#runner.pause();
    else if (this.#full) this.#services.disks.room.again();
    else this.#runner.resume();
  }

  /** @param message null: there is room again */
  #waitForRoom(message: string | null): void {
    this.#full = message !== null;
    this.#send({ type: 'disk-full', message });
    if (this.#full) this.#runner.pause();
    else if (!this.#paused) this.#runner.resume();
  }

  /** The machine is paused: what its ports still hold is from before. */
  async #restore({ restore, disks }: Extract<ToVmProcess, { type: 'restore' }>): Promise<void> {
    try {
      await this.#taker.restore(restore, disks);
      for (let port = 0; port < SERIAL_PORTS; port += 1) this.#runner.readOutput(port, OUTPUT_RING);
      this.#send({ type: 'restored', error: null });
    } catch (error) {
      this.#send({ type: 'restored', error: asContractError(error).toShape() });
    }
  }

  async #rebase(disks: Extract<ToVmProcess, { type: 'rebase' }>['disks']): Promise<void> {
    try {
      await this.#taker.rebase(disks);
      this.#send({ type: 'rebased', error: null });
    } catch (error) {
      this.#send({ type: 'rebased', error: asContractError(error).toShape() });
    }
  }

  async #takeSnapshot(wanted: Extract<ToVmProcess, { type: 'snapshot' }>): Promise<void> {
    try {
      await this.#taker.take(wanted);
    } catch (error) {
      this.#send({ type: 'snapshot-failed', error: asContractError(error).toShape() });
    }
  }

  /** Sends as much output as the engine has granted; the rest stays in the ring, and then in the guest's UART. */
  #pump(): void {
    for (let port = 0; port < SERIAL_PORTS; port += 1) {
      for (;;) {
        const data = this.#runner.readOutput(port, Math.min(this.#credit[port] ?? 0, OUTPUT_PIECE));
        if (data.length === 0) break;
        this.#credit[port] = (this.#credit[port] ?? 0) - data.length;
        this.#send({ type: 'output', port, data });
      }
    }
  }

  #queue(port: number, data: Uint8Array): void {
    const queue = this.#input[port];
    const waiting = queue?.reduce((sum, piece) => sum + piece.length, 0) ?? 0;
    // The engine counts and sends no more than fits.
    if (queue && waiting + data.length <= INPUT_PENDING) queue.push(data);
  }

  #offer(): void {
    let waiting = false;
    for (const [port, queue] of this.#input.entries()) {
      let taken = 0;
      for (let first = queue[0]; first; first = queue[0]) {
        const count = this.#runner.writeInput(port, first);
        taken += count;
        if (count < first.length) {
          queue[0] = first.subarray(count);
          waiting = true;
          break;
        }
        queue.shift();
      }
      if (taken > 0) this.#send({ type: 'taken', port, bytes: taken });
    }
    clearTimeout(this.#retry);
    if (waiting) this.#retry = setTimeout(() => this.#offer(), INPUT_RETRY_MS);
  }

  async #measure(): Promise<void> {
    const statistics = await this.#runner.statistics();
    if (!statistics) return;
    const { user, system } = process.cpuUsage();
    const { instructions, exits, engine } = statistics;
    this.#send({ type: 'metrics', cpuMicroseconds: user + system, residentBytes: process.memoryUsage.rss(), instructions, exits: { ...exits }, engine: { ...engine } });
  }

  #finish(message: FromVmProcess): void {
    clearInterval(this.#metrics);
    this.#exits.report(null);
    this.#gdb?.close();
    clearTimeout(this.#retry);
    for (const line of this.#lines.values()) line.close();
    this.#credit.fill(Number.MAX_SAFE_INTEGER); // What is left fits the rings, so it is little.
    this.#pump();
    end(this.#engine, message);
  }
}
