/** A virtio device as a PCI function: its registers behind a BAR that capabilities describe, interrupts by MSI-X or INTA#. @virtio 4.1 */

import { MsiX } from '../../platform/pci/messages.ts';
import { PciFunction } from '../../platform/pci/function.ts';
import { VirtioRegisters, layout } from './registers.ts';
import { memoryOf } from '../segments.ts';
import { vendorCapability } from '../../platform/pci/capabilities.ts';
import type { Capability } from '../../platform/pci/capabilities.ts';
import type { DeviceState } from '../../platform/device.ts';
import type { StateReader } from '../../platform/state.ts';
import type { VirtioKind } from './device.ts';

const VENDOR = 0x1af4;
const FIRST_DEVICE = 0x1040;
const messageBar = 1;
const registerBar = 4;
const structure = { common: 1, notify: 2, interrupt: 3, device: 4 } as const;

export class VirtioPci extends PciFunction {
  override readonly version: number = 1;
  readonly registers: VirtioRegisters;

  constructor(kind: VirtioKind) {
    // One vector for changes of the configuration, one for each queue.
    const msix = new MsiX(kind.queueSizes.length + 1, messageBar);
    // The registers exist once the base class does; nobody reads them before.
    const behind = { name: kind.name, read: (offset: number, size: 1 | 2 | 4) => this.registers.read(offset, size), write: (offset: number, size: 1 | 2 | 4, value: number) => this.registers.write(offset, size, value) };
    super(kind.name, {
      vendor: VENDOR, device: FIRST_DEVICE + kind.deviceType, classCode: kind.classCode, revision: 1, subsystemVendor: VENDOR, subsystem: 0x1100, interruptPin: 1,
    }, {
      msix,
      bars: [
        null, { space: 'memory', size: 2 ** Math.ceil(Math.log2(Math.max(msix.bytes, 4096))), registers: msix }, null, null,
        { space: 'memory', size: layout.bytes, wide: true, prefetchable: true, registers: behind }, null,
      ],
      capabilities: capabilities(kind),
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
    describe(structure.common, layout.common, layout.commonLength), describe(structure.interrupt, layout.interrupt, 1),
    ...(kind.configurationLength > 0 ? [describe(structure.device, layout.device, kind.configurationLength)] : []),
    describe(structure.notify, layout.notify, notifyBytes, [layout.notifyMultiplier]),
  ];
}

function describe(type: number, offset: number, length: number, more: readonly number[] = []): Capability {
  const body = new DataView(new ArrayBuffer(13 + more.length * 4));
  body.setUint8(0, type);
  body.setUint8(1, registerBar);
  [offset, length, ...more].forEach((value, index) => body.setUint32(5 + index * 4, value, true));
  return vendorCapability(new Uint8Array(body.buffer));
}
