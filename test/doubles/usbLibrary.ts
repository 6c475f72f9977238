/**
 * Stands in for the `usb` package: one memory stick, emulated, that is plugged in while the file exists that VANDERPOOL_USB_FILE names. The file is
 * the stick's contents.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { MemoryDisk } from './memoryDisk.ts';
import { UsbStorage } from '../../core/devices/usb/storage.ts';
import type { HostPackets, HostResult, HostSetup, HostUsbDevice, UsbLibrary } from '../../core/passthrough/usb/host.ts';
import type { TransferStatus, UsbDevice } from '../../core/devices/usb/device.ts';

const requestTypes = { standard: 0, class: 0x20, vendor: 0x40 } as const;
const recipients = { device: 0, interface: 1, endpoint: 2, other: 3 } as const;

export interface IsochronousTransfer {
  readonly endpoint: number;
  readonly data: Uint8Array;
  readonly lengths: readonly number[];
  finish(packets: readonly HostResult[]): void;
  fail(): void;
}

/** An emulated device behind the functions of the package. */
export class StandInDevice implements HostUsbDevice {
  readonly vendorId = 0x46f4;
  readonly productId = 0x0001;
  readonly serialNumber = 'stick-1';
  readonly manufacturerName = 'Vanderpool';
  readonly productName = 'Stick';
  readonly bus = '2';
  readonly ports = [3];
  readonly speed = 'super';
  readonly configuration = { interfaces: [{ interfaceNumber: 0 }] };
  /** What was called, for tests. */
  readonly calls: string[] = [];
  /** Isochronous transfers that are under way until a test ends them. */
  readonly isochronous: IsochronousTransfer[] = [];
  /** Once set, nothing answers any more. */
  gone = false;
  readonly #device: UsbDevice;

  constructor(device: UsbDevice) {
    this.#device = device;
  }

  open = (): Promise<void> => this.#note('open');
  close = (): Promise<void> => this.#note('close');
  reset = (): Promise<void> => this.#note('reset');
  claimInterface = (number: number): Promise<void> => this.#note(`claim ${number}`);
  releaseInterface = (number: number): Promise<void> => this.#note(`release ${number}`);

  async selectConfiguration(value: number): Promise<void> {
    await this.#note(`configuration ${value}`);
    await this.#control(Uint8Array.of(0, 9, value, 0, 0, 0, 0, 0), new Uint8Array(0), 0);
  }

  selectAlternateInterface(number: number, setting: number): Promise<void> {
    return this.#note(`interface ${number} ${setting}`);
  }

  async clearHalt(direction: 'in' | 'out', endpoint: number): Promise<void> {
    await this.#note(`clear ${direction} ${endpoint}`);
    await this.#control(Uint8Array.of(2, 1, 0, 0, endpoint | (direction === 'in' ? 0x80 : 0), 0, 0, 0), new Uint8Array(0), 0);
  }

  controlTransferIn(setup: HostSetup, length: number): Promise<HostResult> {
    return this.#control(packet(setup, 0x80, length), new Uint8Array(0), length);
  }

  controlTransferOut(setup: HostSetup, data: Uint8Array): Promise<HostResult> {
    return this.#control(packet(setup, 0, data.length), data, 0);
  }

  transferIn(endpoint: number, length: number): Promise<HostResult> {
    return this.#transfer(endpoint | 0x80, null, new Uint8Array(0), length);
  }

  transferOut(endpoint: number, data: Uint8Array): Promise<HostResult> {
    return this.#transfer(endpoint, null, data, 0);
  }

  isochronousTransferIn(endpoint: number, lengths: readonly number[]): Promise<HostPackets> {
    return this.#isochronous(endpoint | 0x80, new Uint8Array(0), lengths);
  }

  isochronousTransferOut(endpoint: number, data: Uint8Array, lengths: readonly number[]): Promise<HostPackets> {
    return this.#isochronous(endpoint, data, lengths);
  }

  #isochronous(endpoint: number, data: Uint8Array, lengths: readonly number[]): Promise<HostPackets> {
    const { promise, resolve, reject } = Promise.withResolvers<HostPackets>();
    this.isochronous.push({ endpoint, data, lengths, finish: (packets) => resolve({ packets }), fail: () => reject(new Error('the transfer failed')) });
    return promise;
  }

  #control(setup: Uint8Array, data: Uint8Array, length: number): Promise<HostResult> {
    return this.#transfer(0, setup, data, length);
  }

  #transfer(endpoint: number, setup: Uint8Array | null, data: Uint8Array, length: number): Promise<HostResult> {
    if (this.gone) return Promise.reject(new Error('no device'));
    return new Promise((resolve, reject) => this.#device.submit({
      endpoint, kind: setup === null ? 'bulk' : 'control', setup, data, length,
      done: (status: TransferStatus, answer) => {
        if (status === 'error') reject(new Error('the transfer failed'));
        else resolve({ status: status === 'completed' ? 'ok' : status, data: new DataView(Uint8Array.from(answer).buffer) });
      },
    }));
  }

  async #note(what: string): Promise<void> {
    this.calls.push(what);
    if (this.gone) throw new Error('no device');
  }
}

function packet({ requestType, recipient, request, value, index }: HostSetup, direction: number, length: number): Uint8Array {
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  bytes[0] = direction | requestTypes[requestType] | recipients[recipient];
  bytes[1] = request;
  [value, index, length].forEach((word, number) => view.setUint16(2 + number * 2, word, true));
  return bytes;
}

/** A disk whose contents follow a file. */
class FileDisk extends MemoryDisk {
  readonly #path: string;

  constructor(path: string) {
    const contents = readFileSync(path);
    super(contents.length);
    this.bytes.set(contents);
    this.#path = path;
  }

  override answer(): void {
    const flushed = this.waiting.some(({ operation }) => operation === 'flush');
    super.answer();
    if (flushed && existsSync(this.#path)) writeFileSync(this.#path, this.bytes);
  }
}

let present: StandInDevice | null = null;

export const usb: UsbLibrary = {
  getDevices() {
    const path = process.env['VANDERPOOL_USB_FILE'] ?? '';
    if (!existsSync(path)) {
      if (present !== null) present.gone = true;
      present = null;
    } else present ??= new StandInDevice(new UsbStorage('stick', new FileDisk(path), 'stick-1'));
    return Promise.resolve(present === null ? [] : [present]);
  },
  addEventListener() {},
  removeEventListener() {},
};
