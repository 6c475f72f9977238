/** Resources of the host that are functions of a machine, and the workstation's own remapping unit in front of them. */

import { Edu } from '../devices/edu.ts';
import { PciUart } from '../devices/pciUart.ts';
import { comPorts } from '../devices/uart16550.ts';
import { HostIommu } from '../passthrough/hostIommu.ts';
import { Isolation } from '../passthrough/isolation.ts';
import type { AssignedDevice } from '../contract/device.ts';
import type { Uart16550 } from '../devices/uart16550.ts';
import type { VirtualClock } from '../platform/clock.ts';
import type { DmaMemory } from '../platform/dma.ts';
import type { PciFunction } from '../platform/pci/function.ts';
import type { PciHost } from '../platform/pci/host.ts';
import type { FaultLog } from '../vtd/faultLog.ts';
import type { VtdUnit } from '../vtd/unit.ts';
import type { HotPlugSlots } from './hotPlugSlots.ts';
import type { PcConfig } from './pcConfig.ts';

/** What they are parts of. */
export interface AssignedParts {
  readonly config: Pick<PcConfig, 'memory' | 'serialOutput' | 'lineSettings'>;
  readonly clock: VirtualClock;
  readonly pci: PciHost;
  readonly dma: DmaMemory;
  readonly faultLog: FaultLog;
}

export class AssignedFunctions {
  /** The way of their requests; null: there are none. */
  isolation: Isolation | null = null;
  readonly #parts: AssignedParts;
  /** Identities of devices by their functions. */
  readonly #ids = new Map<PciFunction, string>();
  /** Serial ports by their numbers, which follow those of the board. */
  readonly #uarts = new Map<number, { readonly fn: PciFunction; readonly uart: Uart16550 }>();

  constructor(parts: AssignedParts) {
    this.#parts = parts;
  }

  /** Makes the function of a device that has no part in the I/O thread; null for others. @param index among the assigned */
  make({ id, kind }: AssignedDevice, index: number): PciFunction | null {
    const { clock, config } = this.#parts;
    if (kind === 'edu') return new Edu(`assigned ${id}`, clock);
    if (kind !== 'serial') return null;
    const port = comPorts.length + index;
    const serial = new PciUart(`assigned ${id}`, clock, bytes => config.serialOutput(port, bytes));
    serial.uart.onSettings = settings => config.lineSettings?.(port, settings);
    this.#uarts.set(port, { fn: serial, uart: serial.uart });
    return serial;
  }

  /** Puts a device that is in its slot behind the workstation's own unit, and that behind the guest's. */
  isolate(device: AssignedDevice, slots: HotPlugSlots, guestUnit: VtdUnit | null): void {
    this.isolation ??= this.#createIsolation(guestUnit);
    this.isolation.assign(() => slots.requester(device.slot), device);
    const card = slots.card(device.slot);
    if (card !== null) this.#ids.set(card, device.id);
  }

  #createIsolation(guestUnit: VtdUnit | null): Isolation {
    const { config, pci, dma, faultLog } = this.#parts;
    const host = new HostIommu();
    host.onFault = record => faultLog.add('host', record);
    const isOwn = (source: number): boolean => {
      const fn = pci.find(source >> 8, source & 0xff);
      return fn !== undefined && !this.#ids.has(fn);
    };
    const isolation = new Isolation(host, config.memory.length, guestUnit, isOwn);
    dma.remapper = isolation;
    return isolation;
  }

  /** A card is out: an assigned device's DMA reaches nothing. */
  release(card: PciFunction): void {
    const id = this.#ids.get(card);
    this.#ids.delete(card);
    if (id !== undefined) this.isolation?.release(id);
    for (const [port, { fn }] of this.#uarts) if (fn === card) this.#uarts.delete(port);
  }

  /** Of an assigned serial port. */
  uart(port: number): Uart16550 | undefined {
    return this.#uarts.get(port)?.uart;
  }

  /** Hands on what the guest has sent. */
  flushOutput(): void {
    for (const { uart } of this.#uarts.values()) uart.flush();
  }
}
