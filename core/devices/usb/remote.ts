/** A USB device of the host, as the core thread has it: its transfers travel to the I/O thread, and it comes and goes as the host's does. */

import { decodeMessage, encodeMessage } from './link.ts';
import { PacketStream } from './stream.ts';
import { StateReader } from '../../platform/state.ts';
import type { DeviceState } from '../../platform/device.ts';
import type { FrameLink } from '../../net/frameLink.ts';
import type { TransferStatus, UsbDevice, UsbSpeed, UsbTransfer } from './device.ts';
import type { XhciController } from './xhci/controller.ts';

const nothing = new Uint8Array(0);

class RemoteDevice implements UsbDevice {
  readonly name: string;
  readonly version = 1;
  readonly speed: UsbSpeed;
  readonly restorable = false;
  readonly #link: FrameLink;
  readonly #nextId: () => number;
  readonly #running = new Map<number, UsbTransfer>();
  /** Isochronous endpoints. */
  readonly #streams = new Map<number, PacketStream>();

  constructor(name: string, speed: UsbSpeed, link: FrameLink, nextId: () => number) {
    this.name = name;
    this.speed = speed;
    this.#link = link;
    this.#nextId = nextId;
  }

  submit(transfer: UsbTransfer): void {
    if (transfer.kind === 'isochronous') this.#stream(transfer.endpoint).submit(transfer);
    else this.#send(transfer);
  }

  #stream(endpoint: number): PacketStream {
    const known = this.#streams.get(endpoint) ?? new PacketStream((transfer) => this.#send(transfer));
    this.#streams.set(endpoint, known);
    return known;
  }

  #send(transfer: UsbTransfer): void {
    const id = this.#nextId();
    const { endpoint, kind, setup, length, data } = transfer;
    this.#running.set(id, transfer);
    if (this.#link.toNetwork.push({ bytes: encodeMessage({ operation: 'submit', id, endpoint, kind, setup, length, data }) })) return;
    // The I/O thread is behind by a megabyte: it does not answer any more.
    this.#running.delete(id);
    transfer.done('error', nothing);
  }

  cancel(endpoint: number): void {
    this.#streams.delete(endpoint);
    for (const [id, transfer] of this.#running) if (transfer.endpoint === endpoint) this.#running.delete(id);
    this.#link.toNetwork.push({ bytes: encodeMessage({ operation: 'cancel', endpoint }) });
  }

  answer(id: number, status: TransferStatus, data: Uint8Array): void {
    const transfer = this.#running.get(id);
    this.#running.delete(id);
    transfer?.done(status, data);
  }

  reset(): void {
    this.#running.clear();
    this.#streams.clear();
  }

  saveState(): DeviceState {
    return { version: this.version };
  }

  loadState(state: unknown): void {
    StateReader.open(this, state);
    this.reset();
  }
}

/** The cable of one host controller to the device of the host that is assigned to it. */
export class RemotePort {
  readonly #controller: XhciController;
  readonly #link: FrameLink;
  #device: RemoteDevice | null = null;
  #id = 0;

  constructor(controller: XhciController, link: FrameLink) {
    this.#controller = controller;
    this.#link = link;
  }

  /** Takes news and answers. Cheap when there are none. */
  poll(): void {
    for (let frame = this.#link.toDevice.peek(); frame !== null; frame = this.#link.toDevice.peek()) {
      const message = decodeMessage(frame.bytes.slice());
      this.#link.toDevice.drop();
      if (message?.operation === 'done') this.#device?.answer(message.id, message.status, message.data);
      else if (message?.operation === 'arrived') this.#arrive(message.speed);
      else if (message?.operation === 'gone') this.#leave();
    }
  }

  #arrive(speed: UsbSpeed): void {
    this.#leave();
    this.#device = new RemoteDevice(`${this.#controller.name} device`, speed, this.#link, () => (this.#id = (this.#id + 1) >>> 0));
    this.#controller.attach(this.#device);
  }

  #leave(): void {
    if (this.#device !== null) this.#controller.detach(this.#device);
    this.#device = null;
  }
}
