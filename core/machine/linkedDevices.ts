/** A VM's assigned USB devices and sockets: served by the I/O thread, on functions of the core thread, with a link of messages between them. */
import { createHash } from 'node:crypto';
import { createFrameBuffer, FrameLink } from '../net/frameLink.ts';
import { SocketNic } from '../passthrough/socketNic.ts';
import { UsbServer } from '../passthrough/usb/server.ts';
import type { AssignedDevice } from '../contract/device.ts';

/** What the core thread is told of a device. */
export interface LinkedDevice {
  readonly id: string;
  readonly kind: 'usb' | 'nic';
  readonly slot: number;
  /** The memory that both threads share for it (core/net/frameLink.ts). */
  readonly link: SharedArrayBuffer;
  /** Of a network card: its address. */
  readonly mac: Uint8Array;
}

type Server = Pick<UsbServer, 'close'>;

export class LinkedDevices {
  readonly descriptions: readonly LinkedDevice[];
  readonly #waiting: { readonly device: AssignedDevice; readonly description: LinkedDevice }[];
  readonly #servers = new Map<string, Server>();
  #wake: () => void = () => undefined;

  /** @param devices those of other kinds are left alone. None needs to be there: a device may come later */
  constructor(devices: readonly AssignedDevice[]) {
    this.#waiting = devices.flatMap((device) => {
      const description = describe(device);
      return description === null ? [] : [{ device, description }];
    });
    this.descriptions = this.#waiting.map(({ description }) => description);
  }

  serve(wake: () => void): void {
    this.#wake = wake;
    for (const { device, description } of this.#waiting.splice(0)) this.#start(device, description);
  }

  /** Serves one more device; null: it is of another kind. */
  plug(device: AssignedDevice): LinkedDevice | null {
    const description = describe(device);
    if (description !== null) this.#start(device, description);
    return description;
  }

  /** Gives a device back to the host, if it is one of these. */
  async unplug(id: string): Promise<void> {
    const server = this.#servers.get(id);
    this.#servers.delete(id);
    await server?.close();
  }

  async close(): Promise<void> {
    await Promise.allSettled([...this.#servers.keys()].map((id) => this.unplug(id)));
  }

  #start({ id, name, path }: AssignedDevice, { kind, link }: LinkedDevice): void {
    const wake = (): void => this.#wake();
    const report = (reason: string): void => console.error(`${name} (${id}): ${reason}; it is tried again.`);
    this.#servers.set(id, kind === 'usb' ? new UsbServer(new FrameLink(link), id, wake, report) : new SocketNic(new FrameLink(link), path ?? '', wake));
  }
}

function describe({ id, kind, slot }: AssignedDevice): LinkedDevice | null {
  if (kind !== 'usb' && kind !== 'nic') return null;
  // One in the range for virtual machines, the same at each start.
  return { id, kind, slot, link: createFrameBuffer(), mac: Uint8Array.of(0x52, 0x54, 0x00, ...createHash('sha256').update(id).digest().subarray(0, 3)) };
}
