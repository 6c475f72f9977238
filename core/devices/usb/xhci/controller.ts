/** An xHCI host controller with four ports for USB 2 and four for USB 3. @xhci 1.0 */

import { INTERRUPTERS, PORTS, REGISTER_BYTES, SLOTS, command, commandKept, constants, highWord, interrupter as interrupterRegister, lowWord, operational, place, portBit, ringControl, status, statusCleared, withHigh, withLow } from './registers.ts';
import { Interrupter } from './eventRing.ts';
import { MsiX } from '../../../platform/pci/messages.ts';
import { PciFunction } from '../../../platform/pci/function.ts';
import { RootPort } from './ports.ts';
import { Slots } from './slots.ts';
import { code, nextEntry, trbType } from './trb.ts';
import { express, expressType, powerManagement } from '../../../platform/pci/capabilities.ts';
import { extract } from '../../../platform/device.ts';
import type { AccessSize, DeviceState } from '../../../platform/device.ts';
import type { DmaPort } from '../../../platform/dma.ts';
import type { Endpoint } from './endpoint.ts';
import type { EventWords } from './eventRing.ts';
import type { RingPlace } from './trb.ts';
import type { StateReader } from '../../../platform/state.ts';
import type { Timer, VirtualClock } from '../../../platform/clock.ts';
import type { UsbDevice } from '../device.ts';

/** Descriptors and commands that go at once: a ring that never ends leaves time for its guest. */
const BURST = 128;
const microframeNs = 125_000;
/** Isochronous transfers that a late clock makes up for. */
const LATE_MAXIMUM = 16;

interface Registers {
  command: number;
  status: number;
  notification: number;
  contexts: number;
  configure: number;
}

const powerOn = (): Registers => ({ command: 0, status: status.halted, notification: 0, contexts: 0, configure: 0 });

export class XhciController extends PciFunction {
  override readonly version: number = 1;
  readonly registers = {
    read: (offset: number, size: AccessSize): number => this.#readBar(offset, size), write: (offset: number, size: AccessSize, value: number): void => this.#writeBar(offset, size, value),
  };
  readonly #clock: VirtualClock;
  readonly #ports: readonly RootPort[];
  readonly #interrupters: readonly Interrupter[];
  readonly #slots: Slots;
  /** Memory as the function reaches it now. */
  readonly #memory: DmaPort = {
    read: (address, into) => this.dma.read(address, into), write: (address, from) => this.dma.write(address, from),
    views: (...run) => this.dma.views(...run), read16: address => this.dma.read16(address), read32: address => this.dma.read32(address),
    write16: (address, value) => this.dma.write16(address, value), write32: (address, value) => this.dma.write32(address, value),
  };
  #registers = powerOn();
  #commands: RingPlace & { readonly running: boolean } = { address: 0, cycle: 0, running: false };
  /** Endpoints whose rings may hold something to do. */
  readonly #wanted = new Set<Endpoint>();
  #working = false;
  readonly #work: Timer;
  readonly #moderation: Timer;

  /** @param type what it is to PCI Express: behind a port no part of the root complex */
  constructor(name: string, clock: VirtualClock, type: number = expressType.integratedEndpoint) {
    const msix = new MsiX(INTERRUPTERS, 0, place.messages);
    const behind = { name, read: (offset: number, size: AccessSize) => this.registers.read(offset, size), write: (offset: number, size: AccessSize, value: number) => this.registers.write(offset, size, value) };
    super(name, { vendor: 0x1b36, device: 0x000d, classCode: 0x0c0330, revision: 1, subsystemVendor: 0x1af4, subsystem: 0x1100, interruptPin: 1 }, {
      msix, capabilities: [powerManagement, express(type)], bars: [{ space: 'memory', size: REGISTER_BYTES, wide: true, registers: behind }, null],
    });
    // SBRN: the release of the specification that the controller is for. @xhci 5.2.3
    this.config.define([{ offset: 0x60, size: 1, value: 0x30 }]);
    this.#clock = clock;
    this.#work = clock.timer(`${name} work`, () => this.#tick());
    this.#moderation = clock.timer(`${name} moderation`, () => this.#updateInterrupts());
    const dma = this.#memory;
    const fail = (): void => this.#die(status.hostError);
    this.#interrupters = Array.from({ length: INTERRUPTERS }, () => new Interrupter({ dma, nowNs: () => clock.nowNs(), changed: () => this.#eventsChanged(), failed: fail }));
    this.#ports = Array.from({ length: PORTS }, (_, index) => new RootPort(index + 1, () => this.#portChanged(index + 1)));
    const registers = (): Registers => this.#registers;
    this.#slots = new Slots({
      endpoints: { dma, post: (number, event, quiet) => this.#post(number, event, quiet), lost: fail },
      ports: this.#ports,
      get contexts() {
        return registers().contexts;
      },
      get enabled() {
        return registers().configure & 0xff;
      },
      idle: endpoint => this.#want(endpoint),
      gone: endpoint => this.#wanted.delete(endpoint),
    });
  }

  /** Plugs a device into a free port that fits. Returns whether there was one. */
  attach(device: UsbDevice): boolean {
    const port = this.#ports.find(candidate => candidate.device === null && candidate.takes(device.speed));
    port?.plug(device);
    return port !== undefined;
  }

  detach(device: UsbDevice): void {
    const index = this.#ports.findIndex(port => port.device === device);
    if (index < 0) return;
    this.#ports[index]?.unplug();
    this.#slots.unplugged(index + 1);
    device.reset();
  }

  /** What is plugged in. */
  get devices(): readonly UsbDevice[] {
    return this.#ports.flatMap(({ device }) => (device === null ? [] : [device]));
  }

  override reset(): void {
    super.reset();
    this.#resetController();
    for (const device of this.devices) device.reset();
  }

  override saveState(): DeviceState {
    // Transfers that are under way begin anew after a restore.
    const wanted = [...new Set([...this.#wanted, ...this.#slots.endpoints.filter(({ busy, settings }) => busy && settings.kind !== 'isochronous')])];
    return {
      ...super.saveState(), registers: { ...this.#registers }, commands: { ...this.#commands }, interrupters: this.#interrupters.map(one => one.save()), slots: this.#slots.save(),
      ports: this.#ports.map(port => ({ register: port.save(), device: port.device?.restorable === true ? port.device.saveState() : null })),
      wanted: wanted.flatMap(({ slot, index }) => [slot, index]), work: this.#work.deadlineNs ?? (wanted.length > 0 ? this.#clock.nowNs() : null), moderation: this.#moderation.deadlineNs,
    };
  }

  protected override checkState(reader: StateReader): () => void {
    const restoreFunction = super.checkState(reader);
    const row = reader.record('registers');
    const registers: Registers = {
      command: row.uint('command', 32), status: row.uint('status', 32), notification: row.uint('notification', 16), contexts: row.uint('contexts', 53), configure: row.uint('configure', 32),
    };
    const ring = reader.record('commands');
    const commands = { address: ring.uint('address', 53), cycle: ring.integer('cycle', 0, 1), running: ring.boolean('running') };
    const interrupters = reader.records('interrupters', INTERRUPTERS).map((one, index) => this.#interrupters[index]?.check(one));
    const slots = this.#slots.check(reader.recordsUpTo('slots', SLOTS));
    const ports = reader.records('ports', PORTS).map(port => ({ register: RootPort.check(port), device: port.nested('device') }));
    const wanted = reader.uints('wanted', 8, SLOTS * 31 * 2, false);
    const [work, moderation] = [reader.timeOrNull('work'), reader.timeOrNull('moderation')];
    const devices = this.#checkDevices(reader, ports.map(({ device }) => device));
    return () => {
      this.#wanted.clear();
      restoreFunction();
      this.#registers = registers;
      this.#commands = commands;
      for (const restore of interrupters) restore?.();
      slots();
      devices();
      this.#ports.forEach((port, index) => port.load(ports[index]?.register ?? 0));
      for (let at = 0; at < wanted.length; at += 2) {
        const endpoint = this.#slots.endpoints.find(({ slot, index }) => slot === wanted[at] && index === wanted[at + 1]);
        if (endpoint) this.#wanted.add(endpoint);
      }
      this.#work.set(work);
      this.#moderation.set(moderation);
      this.#replug();
    };
  }

  /** States of what is plugged in; all are checked before one is loaded. */
  #checkDevices(reader: StateReader, states: readonly unknown[]): () => void {
    const devices = this.#ports.map(port => (port.device?.restorable === true ? port.device : null));
    states.forEach((state, index) => {
      if ((state === null) !== (devices[index] === null)) reader.refuse(`ports[${index}].device`, devices[index] ? 'a device' : 'no device');
    });
    const before = devices.map(device => device?.saveState());
    try {
      devices.forEach((device, index) => device?.loadState(states[index]));
    } finally {
      devices.forEach((device, index) => device?.loadState(before[index]));
    }
    return () => devices.forEach((device, index) => device?.loadState(states[index]));
  }

  /** After a restore: devices of the host are plugged in anew. */
  #replug(): void {
    for (const device of this.devices) {
      if (device.restorable) continue;
      this.detach(device);
      this.attach(device);
    }
    for (const [index, port] of this.#ports.entries()) {
      // A device that the host no longer has.
      if (port.device === null && (port.read() & portBit.connected) !== 0) port.unplug();
      if (port.device === null) this.#slots.unplugged(index + 1);
    }
  }

  // ---- Registers ----------------------------------------------------------------------------------------------------

  #readBar(offset: number, size: AccessSize): number {
    if (offset >= place.messages) return this.msix?.read(offset - place.messages, size) ?? 0;
    return (offset & 3) + size > 4 ? 0 : extract(this.#read(offset & ~3), offset & 3, size);
  }

  #writeBar(offset: number, size: AccessSize, value: number): void {
    if (offset >= place.messages) this.msix?.write(offset - place.messages, size, value);
    else if (size === 4 && offset % 4 === 0) this.#write(offset, value);
  }

  #read(offset: number): number {
    if (offset >= place.doorbells) return 0;
    if (offset >= place.runtime + interrupterRegister.bytes) {
      const at = offset - place.runtime - interrupterRegister.bytes;
      return this.#interrupters[Math.floor(at / interrupterRegister.bytes)]?.read(at % interrupterRegister.bytes) ?? 0;
    }
    if (offset >= place.runtime) return offset === place.runtime ? Math.floor(this.#clock.nowNs() / microframeNs) & 0x3fff : 0;
    const constant = constants.get(offset);
    if (constant !== undefined) return constant >>> 0;
    if (offset >= place.ports) return (offset & 15) === 0 ? this.#ports[(offset - place.ports) >> 4]?.read() ?? 0 : 0;
    return this.#readOperational(offset - place.operational);
  }

  #readOperational(offset: number): number {
    const { command: bits, status: state, notification, contexts, configure } = this.#registers;
    switch (offset) {
      case operational.command: return bits;
      case operational.status: return state;
      case operational.pageSize: return 1;
      case operational.notification: return notification;
      case operational.commandRing: return this.#commands.running ? ringControl.running : 0;
      case operational.contexts: return lowWord(contexts);
      case operational.contextsHigh: return highWord(contexts);
      case operational.configure: return configure;
      default: return 0;
    }
  }

  #write(offset: number, value: number): void {
    if (offset >= place.doorbells) this.#ring((offset - place.doorbells) >> 2, value & 0xff);
    else if (offset >= place.runtime + interrupterRegister.bytes) {
      const at = offset - place.runtime - interrupterRegister.bytes;
      this.#interrupters[Math.floor(at / interrupterRegister.bytes)]?.write(at % interrupterRegister.bytes, value);
    } else if (offset >= place.ports) {
      if (offset < place.ports + PORTS * 16 && (offset & 15) === 0) this.#ports[(offset - place.ports) >> 4]?.write(value);
    } else if (offset >= place.operational) this.#writeOperational(offset - place.operational, value);
  }

  #writeOperational(offset: number, value: number): void {
    const registers = this.#registers;
    switch (offset) {
      case operational.command: return this.#writeCommand(value);
      case operational.status:
        registers.status &= ~(value & statusCleared);
        return this.#updateInterrupts();
      case operational.notification: registers.notification = value & 0xffff; return;
      case operational.commandRing: return this.#writeCommandRing(value);
      case operational.commandRingHigh:
        if (!this.#commands.running) this.#commands = { ...this.#commands, address: withHigh(this.#commands.address, value) };
        return;
      case operational.contexts: registers.contexts = withLow(registers.contexts, (value & ~63) >>> 0); return;
      case operational.contextsHigh: registers.contexts = withHigh(registers.contexts, value); return;
      case operational.configure: registers.configure = value & 0x3ff; return;
      default:
    }
  }

  #writeCommand(value: number): void {
    if ((value & command.reset) !== 0) return this.#resetController();
    const registers = this.#registers;
    registers.command = value & commandKept;
    if ((value & command.run) !== 0) registers.status &= ~status.halted;
    else {
      registers.status |= status.halted;
      this.#commands = { ...this.#commands, running: false };
    }
    // Nothing outlasts a loss of power: software then starts anew.
    if ((value & command.restore) !== 0) registers.status |= status.restoreError;
    this.#updateInterrupts();
    this.#run();
  }

  #writeCommandRing(value: number): void {
    if (!this.#commands.running) {
      this.#commands = { address: withLow(this.#commands.address, (value & ~63) >>> 0), cycle: value & ringControl.cycle, running: false };
    } else if ((value & (ringControl.stop | ringControl.abort)) !== 0) {
      this.#commands = { ...this.#commands, running: false };
      this.#complete(this.#commands.address, code.ringStopped, 0);
    }
  }

  #resetController(): void {
    this.#slots.reset();
    this.#wanted.clear();
    this.#registers = powerOn();
    this.#commands = { address: 0, cycle: 0, running: false };
    for (const one of this.#interrupters) one.reset();
    for (const port of this.#ports) port.reset();
    this.#work.cancel();
    this.#moderation.cancel();
    this.#updateInterrupts();
  }

  // ---- Work ---------------------------------------------------------------------------------------------------------

  get #isRunning(): boolean {
    return (this.#registers.status & (status.halted | status.hostError | status.controllerError)) === 0;
  }

  get #blocked(): boolean {
    return this.#interrupters.some(({ blocked }) => blocked);
  }

  #ring(slot: number, target: number): void {
    if (!this.#isRunning) return;
    if (slot === 0) {
      this.#commands = { ...this.#commands, running: true };
      return this.#run();
    }
    const endpoint = this.#slots.ring(slot, target);
    if (endpoint === null) return;
    if (endpoint.settings.kind !== 'isochronous') return this.#want(endpoint);
    endpoint.dueNs ??= this.#clock.nowNs() + endpoint.settings.intervalNs;
    this.#arm(endpoint.dueNs);
  }

  #want(endpoint: Endpoint): void {
    if (endpoint.settings.kind === 'isochronous') return;
    this.#wanted.add(endpoint);
    this.#run();
  }

  /** Commands and transfers, until there is nothing to do, software is behind with events, or it has been enough. */
  #run(): void {
    if (this.#working || !this.#isRunning) return;
    this.#working = true;
    let left = BURST;
    while (left > 0 && !this.#blocked && this.#commands.running && this.#obey()) left -= 1;
    for (const endpoint of this.#wanted) {
      while (left > 0 && !this.#blocked && endpoint.step()) left -= 1;
      if (left > 0 && !this.#blocked) this.#wanted.delete(endpoint);
    }
    this.#working = false;
    if (left === 0) this.#arm(this.#clock.nowNs() + microframeNs);
  }

  /** Obeys the next command. False: there is none. */
  #obey(): boolean {
    const entry = nextEntry(this.#memory, this.#commands);
    if (entry === 'lost') this.#die(status.hostError);
    if (entry === null || entry === 'lost') return false;
    this.#commands = { ...entry.next, running: true };
    const completion = this.#slots.obey(entry.trb);
    this.#complete(entry.trb.address, completion, this.#slots.completed);
    return true;
  }

  #complete(address: number, completion: number, slot: number): void {
    this.#post(0, [lowWord(address), highWord(address), (completion << 24) >>> 0, ((trbType.commandCompletion << 10) | (slot << 24)) >>> 0], false);
  }

  #tick(): void {
    this.#run();
    const now = this.#clock.nowNs();
    let next = Number.POSITIVE_INFINITY;
    for (const endpoint of this.#slots.endpoints) {
      this.#catchUp(endpoint, now);
      next = Math.min(next, endpoint.dueNs ?? next);
    }
    if (next < Number.POSITIVE_INFINITY) this.#arm(next);
  }

  #catchUp(endpoint: Endpoint, now: number): void {
    if (!this.#isRunning || this.#blocked) return;
    for (let count = 0; endpoint.dueNs !== null && endpoint.dueNs <= now && count < LATE_MAXIMUM; count++) {
      const due = endpoint.dueNs + endpoint.settings.intervalNs;
      if (!endpoint.step() && !endpoint.busy) {
        endpoint.dueNs = null;
        endpoint.starved();
      } else if (endpoint.dueNs !== null) endpoint.dueNs = due;
    }
    if (endpoint.dueNs !== null) endpoint.dueNs = Math.max(endpoint.dueNs, now);
  }

  #arm(deadline: number): void {
    if (this.#work.deadlineNs === null || deadline < this.#work.deadlineNs) this.#work.arm(deadline);
  }

  /** What cannot go on: software sees it in the status register and resets. */
  #die(reason: number): void {
    const registers = this.#registers;
    registers.status |= reason | status.halted;
    registers.command &= ~command.run;
    this.#commands = { ...this.#commands, running: false };
  }

  // ---- Events -------------------------------------------------------------------------------------------------------

  #post(number: number, event: EventWords, quiet: boolean): void {
    this.#interrupters[number % INTERRUPTERS]?.post(event, quiet);
  }

  #portChanged(number: number): void {
    this.#registers.status |= status.portChange;
    if (this.#isRunning) this.#post(0, [(number << 24) >>> 0, 0, (code.success << 24) >>> 0, trbType.portChange << 10], false);
  }

  #eventsChanged(): void {
    if (this.#interrupters.some(({ asserted }) => asserted)) this.#registers.status |= status.event;
    this.#updateInterrupts();
    if (this.#wanted.size > 0 || this.#commands.running) this.#run();
  }

  #updateInterrupts(): void {
    const on = (this.#registers.command & command.interrupts) !== 0;
    const now = this.#clock.nowNs();
    this.#interrupters.forEach((one, vector) => {
      if (!on || !one.asserted || !this.usesMessages) return;
      if (one.earliestNs > now) return this.#moderation.arm(Math.min(one.earliestNs, this.#moderation.deadlineNs ?? Number.POSITIVE_INFINITY));
      one.sent();
      this.signal(vector);
    });
    this.setInterrupt(on && this.#interrupters.some(({ asserted }) => asserted));
  }
}
