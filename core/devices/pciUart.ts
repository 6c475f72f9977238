/**
 * A serial port as a PCI function: the Sunix board with one port, whose UART is a 16550 with FIFOs of 128 bytes. Systems know it; a 16550A's FIFOs
 * would cost an interrupt for each fourteen bytes.
 */

import { PciFunction } from '../platform/pci/function.ts';
import { Uart16550 } from './uart16550.ts';
import type { UartModel } from './uart16550.ts';
import type { DeviceState } from '../platform/device.ts';
import type { StateReader } from '../platform/state.ts';
import type { VirtualClock } from '../platform/clock.ts';

const ports = 8;
const sunix = 0x1fd4;
const model: UartModel = { fifo: 128, triggers: [1, 32, 64, 112], baud: 921_600, line: true };

export class PciUart extends PciFunction {
  override readonly version = 2;
  readonly uart: Uart16550;

  /** @param output takes what the guest sent; the bytes are the callee's to keep */
  constructor(name: string, clock: VirtualClock, output: (bytes: Uint8Array) => void) {
    const uart = new Uart16550({ name, base: 0 }, clock, { set: asserted => this.setInterrupt(asserted) }, output, model);
    super(name, { vendor: sunix, device: 0x1999, classCode: 0x070002, revision: 1, subsystemVendor: sunix, subsystem: 0x0001, interruptPin: 1 }, {
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
