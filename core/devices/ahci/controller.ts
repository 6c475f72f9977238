/** An AHCI controller with up to six drives, as the ICH9 has it. @ahci 3.1 */

import { AhciPort, PORT_REGISTERS } from './port.ts';
import { Msi } from '../../platform/pci/messages.ts';
import { PciFunction } from '../../platform/pci/function.ts';
import { extract, insert } from '../../platform/device.ts';
import { memoryOf } from '../segments.ts';
import type { AccessSize, DeviceState } from '../../platform/device.ts';
import type { Drive } from './drive.ts';
import type { StateReader } from '../../platform/state.ts';

export const AHCI_PORTS = 6;
export const AHCI_BYTES = 0x1000;
const PORTS_AT = 0x100;
const PORT_BYTES = PORT_REGISTERS * 4;

const register = { capabilities: 0x00, control: 0x04, interruptStatus: 0x08, portsImplemented: 0x0c, version: 0x10 } as const;
const control = { reset: 1, interruptEnable: 2, ahciEnable: 0x80000000 } as const;
/** 64-bit addresses, queued commands, 3 Gb/s, AHCI alone, command list override, 32 slots. */
const CAPABILITIES = (0x80000000 | (1 << 30) | (1 << 24) | (2 << 20) | (1 << 18) | (31 << 8) | (AHCI_PORTS - 1)) >>> 0;
const VERSION = 0x00010300;

export class AhciController extends PciFunction {
  override readonly version: number = 2;
  readonly registers = {
    read: (offset: number, size: AccessSize): number => extract(this.#read(offset & ~3), offset & 3, size),
    write: (offset: number, size: AccessSize, value: number): void => this.#write(offset & ~3, insert(size === 4 ? 0 : this.#readForWrite(offset & ~3), offset & 3, size, value)),
  };
  readonly #ports: readonly AhciPort[];
  #control: number = control.ahciEnable;
  #interruptStatus = 0;

  /** @param drives at most six; each gets the port of its index */
  constructor(name: string, drives: readonly Drive[]) {
    const behind = { name, read: (offset: number, size: AccessSize) => this.registers.read(offset, size), write: (offset: number, size: AccessSize, value: number) => this.registers.write(offset, size, value) };
    super(name, {
      vendor: 0x8086, device: 0x2922, classCode: 0x010601, revision: 2, subsystemVendor: 0x1af4, subsystem: 0x1100, interruptPin: 1,
    }, { msi: new Msi(1), bars: [null, null, null, null, null, { space: 'memory', size: AHCI_BYTES, registers: behind }] });
    const memory = memoryOf(this);
    this.#ports = Array.from({ length: AHCI_PORTS }, (_, index) => new AhciPort(drives[index] ?? null, { memory, interruptChanged: () => this.#update() }));
  }

  override reset(): void {
    super.reset();
    this.#resetPorts();
    this.#control = control.ahciEnable;
    this.#update();
  }

  override saveState(): DeviceState {
    return { ...super.saveState(), control: this.#control, interruptStatus: this.#interruptStatus, ports: this.#ports.map(port => port.saveState()) };
  }

  protected override checkState(reader: StateReader): () => void {
    const restoreFunction = super.checkState(reader);
    const controlBits = reader.uint('control', 32);
    const interruptStatus = reader.uint('interruptStatus', AHCI_PORTS);
    const restorePorts = reader.records('ports', AHCI_PORTS).map((port, index) => this.#ports[index]?.readState(port));
    return () => {
      restoreFunction();
      this.#control = controlBits;
      this.#interruptStatus = interruptStatus;
      for (const restore of restorePorts) restore?.();
    };
  }

  #read(offset: number): number {
    if (offset >= PORTS_AT) return this.#ports[Math.floor((offset - PORTS_AT) / PORT_BYTES)]?.read(((offset - PORTS_AT) % PORT_BYTES) >> 2) ?? 0;
    switch (offset) {
      case register.capabilities: return CAPABILITIES;
      case register.control: return this.#control >>> 0;
      case register.interruptStatus: return this.#interruptStatus;
      case register.portsImplemented: return (1 << AHCI_PORTS) - 1;
      case register.version: return VERSION;
      default: return 0;
    }
  }

  /** The part of a register that a narrow write leaves alone: zeros where writing ones has an effect. */
  #readForWrite(offset: number): number {
    const inPort = offset >= PORTS_AT ? ((offset - PORTS_AT) % PORT_BYTES) >> 2 : -1;
    return offset === register.interruptStatus || [4, 12, 13, 14].includes(inPort) ? 0 : this.#read(offset);
  }

  #write(offset: number, value: number): void {
    if (offset >= PORTS_AT) {
      this.#ports[Math.floor((offset - PORTS_AT) / PORT_BYTES)]?.write(((offset - PORTS_AT) % PORT_BYTES) >> 2, value);
    } else if (offset === register.interruptStatus) {
      this.#interruptStatus &= ~value;
      this.#update();
    } else if (offset === register.control) {
      if ((value & control.reset) !== 0) {
        this.#resetPorts();
        this.#control = control.ahciEnable;
      } else {
        this.#control = (control.ahciEnable | (value & control.interruptEnable)) >>> 0;
      }
      this.#update();
    }
  }

  #resetPorts(): void {
    for (const port of this.#ports) port.reset();
    this.#interruptStatus = 0;
  }

  /** Ports that interrupt set their bits; while any is set the line is asserted, and each newly set bit is a message. */
  #update(): void {
    const before = this.#interruptStatus;
    this.#ports?.forEach((port, index) => {
      if (port.interrupting) this.#interruptStatus |= 1 << index;
    });
    const enabled = (this.#control & control.interruptEnable) !== 0;
    this.setInterrupt(enabled && this.#interruptStatus !== 0);
    if (enabled && (this.#interruptStatus & ~before) !== 0 && this.usesMessages) this.signal(0);
  }
}
