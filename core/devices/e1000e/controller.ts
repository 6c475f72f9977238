/** Intel's 82574L gigabit Ethernet controller, which systems know as e1000e. @82574 */

import { Msi, MsiX } from '../../platform/pci/messages.ts';
import { PciFunction } from '../../platform/pci/function.ts';
import { express, expressType, powerManagement } from '../../platform/pci/capabilities.ts';
import { extract } from '../../platform/device.ts';
import { frameAbility } from '../../net/frameLink.ts';
import { memoryOf } from '../segments.ts';
import { Interrupts, cause } from './interrupts.ts';
import { makeNvm, readNvm } from './nvm.ts';
import { Phy } from './phy.ts';
import { Receiver } from './receive.ts';
import { REGISTER_BYTES, RegisterFile, STATISTICS, STATISTICS_BYTES, addressValid, ctrl, queueRegister, receiveQueues, register, status, transmitQueues } from './registers.ts';
import { Transmitter } from './transmit.ts';
import type { AccessSize, DeviceState } from '../../platform/device.ts';
import type { FrameLink } from '../../net/frameLink.ts';
import type { StateReader } from '../../platform/state.ts';

/** Two queues each way, and everything else. */
const VECTORS = 5;
const messageBar = 3;
const MESSAGE_BYTES = 0x4000;

interface Effect {
  readonly read?: () => number;
  readonly write?: (value: number) => void;
}

export class E1000e extends PciFunction {
  override readonly version: number = 1;
  readonly registers = {
    read: (offset: number, size: AccessSize): number => this.#read(offset, size), write: (offset: number, size: AccessSize, value: number): void => this.#write(offset, size, value),
  };
  readonly #link: FrameLink;
  readonly #mac: Uint8Array;
  readonly #nvm: Uint16Array;
  readonly #file = new RegisterFile();
  readonly #phy = new Phy();
  readonly #interrupts: Interrupts;
  readonly #transmitter: Transmitter;
  readonly #receiver: Receiver;
  readonly #effects: ReadonlyMap<number, Effect>;
  #eerd = 0;
  #linkWasUp: boolean;

  /** @param mac six bytes @param rom for firmware that starts a system from the network */
  constructor(name: string, link: FrameLink, mac: Uint8Array, rom?: Uint8Array) {
    const msix = new MsiX(VECTORS, messageBar);
    const msi = new Msi(1);
    const behind = { name, read: (offset: number, size: AccessSize) => this.registers.read(offset, size), write: (offset: number, size: AccessSize, value: number) => this.registers.write(offset, size, value) };
    super(name, {
      vendor: 0x8086, device: 0x10d3, classCode: 0x020000, revision: 0, subsystemVendor: 0x8086, subsystem: 0xa01f, interruptPin: 1,
    }, {
      msix, msi, ...(rom ? { rom: { data: rom } } : {}), capabilities: [powerManagement, express(expressType.endpoint)],
      bars: [{ space: 'memory', size: REGISTER_BYTES, registers: behind }, null, null, { space: 'memory', size: MESSAGE_BYTES, registers: msix }],
    });
    this.#link = link;
    this.#linkWasUp = link.linkUp;
    this.#mac = mac;
    this.#nvm = makeNvm(mac);
    const mode = (): 'line' | 'msi' | 'msix' => (msix.enabled ? 'msix' : msi.enabled ? 'msi' : 'line');
    this.#interrupts = new Interrupts(this.#file, {
      get mode() {
        return mode();
      },
      setLine: (asserted) => this.setInterrupt(asserted), signal: (vector) => this.signal(vector),
    });
    this.#transmitter = new Transmitter(this.#file, memoryOf(this), link);
    this.#receiver = new Receiver(this.#file, memoryOf(this), link);
    this.#effects = this.#rows();
    this.#powerOn();
  }

  /** Moves what has come meanwhile. Called before each VM entry. */
  poll(): void {
    if (this.#linkWasUp !== this.#link.linkUp) {
      this.#linkWasUp = this.#link.linkUp;
      this.#interrupts.raise(cause.linkChanged);
    }
    if (this.#transmitter.waitsForRoom) this.#interrupts.raise(this.#transmitter.run());
    if (this.#link.toDevice.waiting) this.#interrupts.raise(this.#receiver.run());
  }

  override reset(): void {
    super.reset();
    this.#powerOn();
  }

  override saveState(): DeviceState {
    return {
      ...super.saveState(), registers: this.#file.save(), phy: this.#phy.save(), interrupts: this.#interrupts.save(), contexts: this.#transmitter.save(), eerd: this.#eerd,
    };
  }

  protected override checkState(reader: StateReader): () => void {
    const restoreFunction = super.checkState(reader);
    const restoreFile = this.#file.check(reader.record('registers'));
    const restorePhy = this.#phy.check(reader.record('phy'));
    const restoreInterrupts = this.#interrupts.check(reader.record('interrupts'));
    const restoreContexts = this.#transmitter.check(reader.records('contexts', transmitQueues.length));
    const eerd = reader.uint('eerd', 32);
    return () => {
      restoreFunction();
      restoreFile();
      restorePhy();
      restoreInterrupts();
      restoreContexts();
      this.#eerd = eerd;
      // Descriptors whose packets had no room before.
      this.#transmitter.waitsForRoom = true;
    };
  }

  #powerOn(): void {
    this.#file.reset();
    this.#phy.reset();
    this.#interrupts.reset();
    this.#transmitter.reset();
    this.#eerd = 0;
    this.#link.abilities = frameAbility.partialChecksum;
    const view = new DataView(this.#mac.buffer, this.#mac.byteOffset, 6);
    this.#file.set(register.ra, view.getUint32(0, true));
    this.#file.set(register.ra + 4, (addressValid | view.getUint16(4, true)) >>> 0);
  }

  /** Registers that are more than memory. */
  #rows(): ReadonlyMap<number, Effect> {
    const interrupts = this.#interrupts;
    const send = (): void => interrupts.raise(this.#transmitter.run());
    const receive = (): void => interrupts.raise(this.#receiver.run());
    return new Map<number, Effect>([
      [register.ctrl, { write: (value) => this.#control(value) }],
      [register.status, { read: () => this.#status() }],
      [register.eerd, { read: () => this.#eerd, write: (value) => void (this.#eerd = readNvm(this.#nvm, value)) }],
      [register.mdic, { read: () => this.#phy.control, write: (value) => this.#phy.command(value, this.#link.linkUp) }],
      [register.icr, { read: () => interrupts.take(), write: (value) => interrupts.clear(value) }],
      [register.ics, { read: () => 0, write: (value) => interrupts.raise(value) }],
      [register.ims, { read: () => interrupts.mask, write: (value) => interrupts.unmask(value) }],
      [register.imc, { read: () => 0, write: (value) => interrupts.hide(value) }],
      [register.rctl, { write: receive }], [register.tctl, { write: send }],
      ...receiveQueues.map((base) => [base + queueRegister.tail, { write: receive }] as const),
      ...transmitQueues.map((base) => [base + queueRegister.tail, { write: send }] as const),
    ]);
  }

  #read(offset: number, size: AccessSize): number {
    const at = offset & ~3;
    const effect = this.#effects.get(at)?.read;
    if (effect) return extract(effect(), offset & 3, size);
    const value = this.#file.read(offset, size);
    if (at >= STATISTICS && at < STATISTICS + STATISTICS_BYTES) this.#file.set(at, 0);
    return value;
  }

  /** Registers with effects are written whole. */
  #write(offset: number, size: AccessSize, value: number): void {
    const effect = this.#effects.get(offset & ~3)?.write;
    if (effect && size !== 4) return;
    this.#file.write(offset, size, value);
    effect?.(value);
  }

  #control(value: number): void {
    if ((value & ctrl.phyReset) !== 0) this.#phy.reset();
    if ((value & ctrl.reset) !== 0) this.#powerOn();
  }

  #status(): number {
    const master = this.#file.has(register.ctrl, ctrl.masterDisable) ? 0 : status.masterEnabled;
    return status.fullDuplex | status.speed1000 | (this.#link.linkUp ? status.linkUp : 0) | master;
  }
}
