/** A USB device whose answers the test decides. */
import type { TransferStatus, UsbDevice, UsbSpeed, UsbTransfer } from '../../core/devices/usb/device.ts';
import type { DeviceState } from '../../core/platform/device.ts';

export class ScriptedDevice implements UsbDevice {
  readonly name = 'scripted';
  readonly version = 1;
  readonly restorable = true;
  readonly speed: UsbSpeed;
  /** What was asked and not answered, in its order. */
  readonly waiting: UsbTransfer[] = [];
  readonly cancelled: number[] = [];
  /** Answers at once where it returns something. */
  script: (transfer: UsbTransfer) => readonly [TransferStatus, Uint8Array] | null = () => null;

  constructor(speed: UsbSpeed = 'high') {
    this.speed = speed;
  }

  submit(transfer: UsbTransfer): void {
    const answer = this.script(transfer);
    if (answer === null) this.waiting.push(transfer);
    else transfer.done(...answer);
  }

  /** Answers the oldest transfer. */
  answer(status: TransferStatus, data: Uint8Array = new Uint8Array(0)): void {
    this.waiting.shift()?.done(status, data);
  }

  cancel(endpoint: number): void {
    this.cancelled.push(endpoint);
    const left = this.waiting.filter(transfer => transfer.endpoint !== endpoint);
    this.waiting.splice(0, this.waiting.length, ...left);
  }

  reset(): void {
    this.waiting.length = 0;
  }

  saveState(): DeviceState {
    return { version: this.version };
  }

  loadState(): void {
    this.reset();
  }
}
