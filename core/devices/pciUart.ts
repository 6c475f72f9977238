/** A serial port as a PCI function: a 16550A behind an I/O base address register. Drivers know it as QEMU's `pci-serial`. */

import { PciFunction } from '../platform/pci/function.ts';
import { Uart16550 } from './uart16550.ts';
import type { DeviceState } from '../platform/device.ts';
import type { StateReader } from '../platform/state.ts';
import type { VirtualClock } from '../platform/clock.ts';

const ports = 8;

export class PciUart extends PciFunction {
  override readonly version = 1;
  readonly uart: Uart16550;

  /** @param output takes what the guest sent; the bytes are the callee's to keep */
  constructor(name: string, clock: VirtualClock, output: (bytes: Uint8Array) => void) {
    const uart = new Uart16550({ name, base: 0 }, clock, { set: asserted => this.setInterrupt(asserted) }, output);
    super(name, { vendor: 0x1b36, device: 0x0002, classCode: 0x070002, revision: 1, subsystemVendor: 0x1af4, subsystem: 0x1100, interruptPin: 1 }, {
      bars: [{ space: 'port', size: ports, width: 1, registers: uart }],
    });
    this.uart = uart;
  }

  override reset(): void {
    super.reset();
    this.uart.reset();
  }

  override saveState(): DeviceState {
    return { ...super.saveState(), uart: this.uart.saveState() };
  }

  protected override checkState(reader: StateReader): () => void {
    const restore = super.checkState(reader);
    // The last check, and it changes nothing when it refuses.
    this.uart.loadState(reader.nested('uart'));
    return restore;
  }
}
