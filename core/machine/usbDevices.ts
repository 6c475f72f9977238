/** A VM's assigned USB devices: served by the I/O thread, on host controllers of the core thread. */
import { createFrameBuffer, FrameLink } from '../net/frameLink.ts';
import { UsbServer } from '../passthrough/usb/server.ts';
import type { AssignedDevice } from '../contract/device.ts';

/** What the core thread is told of a device. */
export interface MachineUsbDevice {
  readonly id: string;
  /** The memory that both threads share for it (core/devices/usb/link.ts). */
  readonly link: SharedArrayBuffer;
}

export class MachineUsbDevices {
  readonly descriptions: readonly MachineUsbDevice[];
  readonly #waiting: AssignedDevice[];
  readonly #links = new Map<string, SharedArrayBuffer>();
  readonly #servers = new Map<string, UsbServer>();
  #wake: () => void = () => undefined;

  /** @param devices those of other kinds are left alone. None needs to be there: a device may come later */
  constructor(devices: readonly AssignedDevice[]) {
    this.#waiting = devices.filter(({ kind }) => kind === 'usb');
    this.descriptions = this.#waiting.map(({ id }) => this.#describe(id));
  }

  serve(wake: () => void): void {
    this.#wake = wake;
    for (const device of this.#waiting.splice(0)) this.#start(device);
  }

  /** Serves one more device. */
  plug(device: AssignedDevice): MachineUsbDevice {
    const description = this.#describe(device.id);
    this.#start(device);
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

  #describe(id: string): MachineUsbDevice {
    const link = createFrameBuffer();
    this.#links.set(id, link);
    return { id, link };
  }

  #start({ id, name }: AssignedDevice): void {
    const link = this.#links.get(id);
    if (link) this.#servers.set(id, new UsbServer(new FrameLink(link), id, this.#wake, (reason) => console.error(`${name} (${id}): ${reason}; it is tried again.`)));
  }
}
