/**
 * An isochronous endpoint of a device of the host. Such packets have no handshake: one that goes to the device is done when it is on its way, and
 * those that come from it are asked for before the guest wants them. So several are under way, and the pace is that of the guest's host controller.
 */

import { toHost } from './device.ts';
import type { TransferStatus, UsbTransfer } from './device.ts';

/** Packets under way, or here and not yet wanted: four milliseconds at the pace of every microframe. */
const AHEAD = 32;

type Packet = readonly [status: TransferStatus, data: Uint8Array];

export class PacketStream {
  readonly #send: (transfer: UsbTransfer) => void;
  readonly #arrived: Packet[] = [];
  #underWay = 0;
  /** What the guest waits for. A host controller asks for one packet at a time. */
  #wanted: UsbTransfer | null = null;

  /** @param send takes a packet to the host; an answer comes but once */
  constructor(send: (transfer: UsbTransfer) => void) {
    this.#send = send;
  }

  submit(transfer: UsbTransfer): void {
    this.#wanted = transfer;
    this.#goOn();
  }

  #goOn(): void {
    const wanted = this.#wanted;
    if (wanted === null) return;
    if (wanted.endpoint >= toHost) this.#receive(wanted);
    else if (this.#underWay < AHEAD) this.#give(wanted);
  }

  #give(wanted: UsbTransfer): void {
    this.#wanted = null;
    this.#ask(wanted, () => this.#goOn());
    wanted.done('completed', wanted.data);
  }

  #receive(wanted: UsbTransfer): void {
    const packet = this.#arrived.shift();
    if (packet !== undefined) this.#wanted = null;
    while (this.#underWay + this.#arrived.length < AHEAD) this.#ask(wanted, (...arrived) => this.#arrive(arrived));
    if (packet !== undefined) wanted.done(...packet);
  }

  #arrive(packet: Packet): void {
    const wanted = this.#wanted;
    this.#wanted = null;
    if (wanted === null) this.#arrived.push(packet);
    else wanted.done(...packet);
  }

  #ask(transfer: UsbTransfer, answered: UsbTransfer['done']): void {
    this.#underWay += 1;
    this.#send({ ...transfer, done: (status, data) => { this.#underWay -= 1; answered(status, data); } });
  }
}
