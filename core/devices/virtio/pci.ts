/** A virtio device as a PCI function: its registers behind a BAR that capabilities describe, interrupts by MSI-X or INTA#. @virtio 4.1 */

import { MsiX } from '../../platform/pci/messages.ts';
import { PciFunction } from '../../platform/pci/function.ts';
import { VirtioRegisters, layout } from './registers.ts';
import { memoryOf } from '../segments.ts';
import { extract } from '../../platform/device.ts';
import { capabilityId, vendorCapability } from '../../platform/pci/capabilities.ts';
import type { Capability } from '../../platform/pci/capabilities.ts';
import type { PciBar, PciRom } from '../../platform/pci/function.ts';
import type { AccessSize, DeviceState } from '../../platform/device.ts';
import type { StateReader } from '../../platform/state.ts';
import type { VirtioKind } from './device.ts';

const VENDOR = 0x1af4;
const FIRST_DEVICE = 0x1040;
const messageBar = 1;
const registerBar = 4;
const structure = { common: 1, notify: 2, interrupt: 3, device: 4, window: 5 } as const;
/** Registers of the capability through which software reaches the BARs without mapping them. @virtio 4.1.4.9 */
const windowRegister = { bar: 4, offset: 8, length: 12, data: 16 } as const;

/** What a function is besides a virtio device. */
export interface VirtioCompanion {
  readonly classCode?: number;
  /** Base address registers 0 and 2. */
  readonly bars?: readonly [PciBar, PciBar];
  readonly rom?: PciRom | null;
}

export class VirtioPci extends PciFunction {
  override readonly version: number = 1;
  readonly registers: VirtioRegisters;

  constructor(kind: VirtioKind, companion: VirtioCompanion | null = null) {
    // One vector for changes of the configuration, one for each queue.
    const msix = new MsiX(kind.queueSizes.length + 1, messageBar);
    // The registers exist once the base class does; nobody reads them before.
    const behind = { name: kind.name, read: (offset: number, size: 1 | 2 | 4) => this.registers.read(offset, size), write: (offset: number, size: 1 | 2 | 4, value: number) => this.registers.write(offset, size, value) };
    super(kind.name, {
      vendor: VENDOR, device: FIRST_DEVICE + kind.deviceType, classCode: companion?.classCode ?? kind.classCode, revision: 1, subsystemVendor: VENDOR, subsystem: 0x1100, interruptPin: 1,
    }, {
      msix,
      bars: [
        companion?.bars?.[0] ?? null, { space: 'memory', size: 2 ** Math.ceil(Math.log2(Math.max(msix.bytes, 4096))), registers: msix }, companion?.bars?.[1] ?? null, null,
        { space: 'memory', size: layout.bytes, wide: true, prefetchable: true, registers: behind }, null,
      ],
      capabilities: capabilities(kind), ...(companion?.rom ? { rom: companion.rom } : {}),
    });
    const memory = memoryOf(this);
    const messages = (): boolean => this.usesMessages;
    this.registers = new VirtioRegisters(kind, memory, {
      get messages() {
        return messages();
      },
      vectors: msix.vectors,
      sendMessage: vector => this.signal(vector),
      setLine: asserted => this.setInterrupt(asserted),
    });
  }

  override readConfig(offset: number, size: AccessSize): number {
    const access = this.windowAccess(offset);
    if (access !== null) this.config.set(this.window + windowRegister.data, 4, this.registers.read(access.offset, access.size));
    return super.readConfig(offset, size);
  }

  override writeConfig(offset: number, size: AccessSize, value: number): void {
    super.writeConfig(offset, size, value);
    const access = this.windowAccess(offset);
    if (access !== null) this.registers.write(access.offset, access.size, extract(this.config.read(this.window + windowRegister.data, 4), 0, access.size));
  }

  /** The first of the vendor's capabilities. */
  private get window(): number {
    return this.capabilityOffset(capabilityId.vendor);
  }

  /** What an access to the window's data reaches; null: it is another register, or the window leads nowhere. */
  private windowAccess(offset: number): { readonly offset: number; readonly size: AccessSize } | null {
    const at = this.window;
    if (offset < at + windowRegister.data || offset >= at + windowRegister.data + 4) return null;
    const size = this.config.read(at + windowRegister.length, 4);
    const target = this.config.read(at + windowRegister.offset, 4);
    if (this.config.read(at + windowRegister.bar, 1) !== registerBar || (size !== 1 && size !== 2 && size !== 4)) return null;
    return target % size === 0 && target < layout.bytes ? { offset: target, size } : null;
  }

  override reset(): void {
    super.reset();
    this.registers.reset();
  }

  override saveState(): DeviceState {
    return { ...super.saveState(), virtio: this.registers.saveState() };
  }

  protected override checkState(reader: StateReader): () => void {
    const restoreFunction = super.checkState(reader);
    const restoreRegisters = this.registers.readState(reader.record('virtio'));
    return () => {
      restoreFunction();
      restoreRegisters();
    };
  }
}

/** Where each structure lies in the BAR. @virtio 4.1.4 */
function capabilities(kind: VirtioKind): Capability[] {
  const notifyBytes = kind.queueSizes.length * layout.notifyMultiplier;
  return [
    window, describe(structure.common, layout.common, layout.commonLength), describe(structure.interrupt, layout.interrupt, 1),
    ...(kind.configurationLength > 0 ? [describe(structure.device, layout.device, kind.configurationLength)] : []),
    describe(structure.notify, layout.notify, notifyBytes, [layout.notifyMultiplier]),
  ];
}

const window: Capability = {
  id: capabilityId.vendor, length: 20,
  registers: [
    { offset: 2, size: 1, value: 20 }, { offset: 3, size: 1, value: structure.window }, { offset: windowRegister.bar, size: 1, writable: 0xff },
    { offset: windowRegister.offset, size: 4, writable: 0xffffffff }, { offset: windowRegister.length, size: 4, writable: 0xffffffff },
    { offset: windowRegister.data, size: 4, writable: 0xffffffff },
  ],
};

function describe(type: number, offset: number, length: number, more: readonly number[] = []): Capability {
  const body = new DataView(new ArrayBuffer(13 + more.length * 4));
  body.setUint8(0, type);
  body.setUint8(1, registerBar);
  [offset, length, ...more].forEach((value, index) => body.setUint32(5 + index * 4, value, true));
  return vendorCapability(new Uint8Array(body.buffer));
}
