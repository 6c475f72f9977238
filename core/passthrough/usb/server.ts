/** The I/O thread's end of an assigned USB device: opens it when it is there, carries out its transfers, and looks for it again when it has gone. */

import { decodeMessage, encodeMessage } from '../../devices/usb/link.ts';
import { parseSetup, toHost } from '../../devices/usb/device.ts';
import { PacketPipe } from './packets.ts';
import { claimInterfaces, giveBack, listUsb, loadUsb, speedOf, usbIdentity } from './host.ts';
import type { FrameLink } from '../../net/frameLink.ts';
import type { HostResult, HostSetup, HostUsbDevice } from './host.ts';
import type { TransferStatus } from '../../devices/usb/device.ts';
import type { UsbMessage } from '../../devices/usb/link.ts';

type Submit = Extract<UsbMessage, { operation: 'submit' }>;

/** Where the system tells of no device that comes or goes, it is looked for this often. */
const LOOK_MS = 1000;
const request = { clearFeature: 1, setConfiguration: 9, setInterface: 11 } as const;
const types = ['standard', 'class', 'vendor', 'vendor'] as const;
const recipients = ['device', 'interface', 'endpoint', 'other'] as const;
const nothing = new Uint8Array(0);

/** What a transfer came to. */
interface Outcome {
  readonly status: TransferStatus;
  readonly data: Uint8Array;
}

const done: Outcome = { status: 'completed', data: nothing };

export class UsbServer {
  readonly #link: FrameLink;
  readonly #identity: string;
  readonly #wake: () => void;
  readonly #report: (reason: string) => void;
  #device: HostUsbDevice | null = null;
  #claimed: number[] = [];
  #looking = false;
  #closed = false;
  #timer: NodeJS.Timeout | undefined;
  /** Transfers towards the host that nobody waits for any more: what they bring is the next one's. By endpoint. */
  readonly #orphans = new Map<number, Promise<Outcome>>();
  readonly #running = new Map<number, Promise<Outcome>>();
  /** Isochronous endpoints of the device. */
  readonly #pipes = new Map<number, PacketPipe<Submit>>();
  readonly #look = (): void => void this.#find();

  /**
   * @param wake the core thread may sleep
   * @param report told when the device is there and cannot be had
   */
  constructor(link: FrameLink, identity: string, wake: () => void, report: (reason: string) => void) {
    this.#link = link;
    this.#identity = identity;
    this.#wake = wake;
    this.#report = report;
    void this.#serve();
    void this.#watch();
  }

  /** Gives the device back to the host. */
  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#timer);
    this.#link.toNetwork.wake();
    const library = await loadUsb();
    for (const type of ['connect', 'disconnect'] as const) library?.removeEventListener(type, this.#look);
    await this.#leave();
  }

  // ---- Coming and going ---------------------------------------------------------------------------------------------

  async #watch(): Promise<void> {
    const library = await loadUsb();
    if (this.#closed) return;
    for (const type of ['connect', 'disconnect'] as const) library?.addEventListener(type, this.#look);
    this.#timer = setInterval(this.#look, LOOK_MS);
    this.#timer.unref();
    await this.#find();
  }

  async #find(): Promise<void> {
    if (this.#looking || this.#closed) return;
    this.#looking = true;
    try {
      const found = (await listUsb()).find((device) => usbIdentity(device) === this.#identity);
      if (found === undefined && this.#device !== null) {
        await this.#leave();
        this.#send({ operation: 'gone' });
      } else if (found !== undefined && this.#device === null && !this.#closed) await this.#take(found);
    } finally {
      this.#looking = false;
    }
  }

  async #take(device: HostUsbDevice): Promise<void> {
    try {
      await device.open();
      this.#device = device;
      await claimInterfaces(device, this.#claimed);
      // The guest begins with a device that is as it was plugged in.
      await device.reset();
      this.#send({ operation: 'arrived', speed: speedOf(device) });
      this.#complained = false;
    } catch (error) {
      await this.#leave();
      if (!this.#complained) this.#report(messageOf(error));
      this.#complained = true;
    }
  }

  #complained = false;

  async #leave(): Promise<void> {
    const device = this.#device;
    this.#device = null;
    this.#orphans.clear();
    this.#pipes.clear();
    if (device !== null) await giveBack(device, this.#claimed);
  }

  // ---- Transfers ----------------------------------------------------------------------------------------------------

  async #serve(): Promise<void> {
    while (!this.#closed) {
      const frame = this.#link.toNetwork.peek();
      if (frame === null) {
        await this.#link.toNetwork.arrival();
        continue;
      }
      const message = decodeMessage(frame.bytes.slice());
      this.#link.toNetwork.drop();
      if (message?.operation === 'submit' && message.kind === 'isochronous') this.#pipe(message.endpoint).submit(message);
      else if (message?.operation === 'submit') void this.#submit(message);
      else if (message?.operation === 'cancel') this.#cancel(message.endpoint);
    }
  }

  #cancel(endpoint: number): void {
    this.#pipes.get(endpoint)?.cancel();
    const running = this.#running.get(endpoint);
    if (running && endpoint >= toHost) this.#orphans.set(endpoint, running);
  }

  async #submit(transfer: Submit): Promise<void> {
    const { id, endpoint } = transfer;
    const orphan = this.#orphans.get(endpoint);
    this.#orphans.delete(endpoint);
    const running = orphan ?? this.#perform(transfer).catch((): Outcome => ({ status: 'error', data: nothing }));
    this.#running.set(endpoint, running);
    const { status, data } = await running;
    if (this.#running.get(endpoint) === running) this.#running.delete(endpoint);
    // Whoever asked has given up: the outcome is kept for who asks next.
    if (this.#orphans.get(endpoint) !== running) this.#send({ operation: 'done', id, status, data });
  }

  async #perform({ endpoint, setup, length, data }: Submit): Promise<Outcome> {
    const device = this.#device;
    if (device === null) return { status: 'error', data: nothing };
    if (setup !== null) return this.#control(device, setup, data);
    const number = endpoint & 15;
    const isIn = endpoint >= toHost;
    if (!isIn) return outcomeOf(await device.transferOut(number, data), false);
    return outcomeOf(await this.#patiently(device, () => device.transferIn(number, length)), true);
  }

  #pipe(endpoint: number): PacketPipe<Submit> {
    const known = this.#pipes.get(endpoint) ?? new PacketPipe<Submit>(
      (packets) => this.#packets(endpoint, packets),
      ({ id }, result) => this.#send({ operation: 'done', id, ...(result === null ? { status: 'error', data: nothing } : outcomeOf(result, endpoint >= toHost)) }),
    );
    this.#pipes.set(endpoint, known);
    return known;
  }

  async #packets(endpoint: number, packets: readonly Submit[]): Promise<readonly HostResult[]> {
    const device = this.#device;
    if (device === null) return [];
    const number = endpoint & 15;
    if (endpoint >= toHost) return (await device.isochronousTransferIn(number, packets.map(({ length }) => length))).packets;
    return (await device.isochronousTransferOut(number, Buffer.concat(packets.map(({ data }) => data)), packets.map(({ data }) => data.length))).packets;
  }

  /** The package gives up on a device that has nothing to say; a host controller does not. */
  async #patiently(device: HostUsbDevice, transfer: () => Promise<HostResult>): Promise<HostResult> {
    for (;;) {
      try {
        return await transfer();
      } catch (error) {
        if (this.#device !== device || !/time(d )?\s?out|cancel/i.test(messageOf(error))) throw error;
      }
    }
  }

  /** Requests that change how the system sees the device go by its own functions; the rest as they are. */
  async #control(device: HostUsbDevice, packet: Uint8Array, data: Uint8Array): Promise<Outcome> {
    const { requestType, request: number, value, index, length } = parseSetup(packet);
    const type = types[(requestType >> 5) & 3] ?? 'vendor';
    const recipient = recipients[requestType & 31] ?? 'other';
    if (type === 'standard' && recipient === 'device' && number === request.setConfiguration) {
      for (const claimed of this.#claimed.splice(0)) await device.releaseInterface(claimed).catch(() => undefined);
      if (value !== 0) await device.selectConfiguration(value & 0xff);
      await claimInterfaces(device, this.#claimed);
      return done;
    }
    if (type === 'standard' && recipient === 'interface' && number === request.setInterface) {
      await device.selectAlternateInterface(index & 0xff, value & 0xff);
      return done;
    }
    if (type === 'standard' && recipient === 'endpoint' && number === request.clearFeature) {
      await device.clearHalt((index & toHost) === 0 ? 'out' : 'in', index & 15);
      return done;
    }
    const setup: HostSetup = { requestType: type, recipient, request: number, value, index };
    const isIn = requestType >= toHost;
    try {
      return outcomeOf(isIn ? await device.controlTransferIn(setup, length) : await device.controlTransferOut(setup, data), isIn);
    } catch (error) {
      // Some systems tell a stall as an error.
      if (/stall|pipe/i.test(messageOf(error))) return { status: 'stall', data: nothing };
      throw error;
    }
  }

  #send(message: UsbMessage): void {
    if (this.#closed) return;
    this.#link.toDevice.push({ bytes: encodeMessage(message) });
    this.#wake();
  }
}

function outcomeOf({ status, data }: HostResult, isIn: boolean): Outcome {
  if (status === 'stall' || status === 'babble') return { status, data: nothing };
  return { status: 'completed', data: isIn && data ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength) : nothing };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
