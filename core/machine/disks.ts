/** A VM's disks: opened and served by the I/O thread, used by the devices of the core thread. */
import { DiskServer, createDiskBuffer } from '../block/link.ts';
import { openImage } from '../block/open.ts';
import type { BlockDevice } from '../block/blockDevice.ts';
import type { DirectImage } from '../block/direct.ts';
import type { DiskConfig } from '../contract/hardware.ts';
import { ContractError } from '../contract/errors.ts';

/** What the core thread is told of a disk. */
export interface MachineDisk extends Pick<DiskConfig, 'kind' | 'bus'> {
  /** In bytes. */
  readonly size: number;
  readonly readOnly: boolean;
  /** The assigned device that it is; absent: one of the configuration. */
  readonly assigned?: string;
  /** Where the core thread may use the image itself. */
  readonly direct: DirectImage | null;
  /** What the guest reads as its serial number. */
  readonly serial: string;
  /** The memory that both threads share for it (core/block/link.ts). */
  readonly link: SharedArrayBuffer;
}

/** A block device or image of the host that is assigned to the machine. */
export interface AssignedDisk {
  readonly id: string;
  readonly path: string;
}

/** An image is what it is called: a guest that writes another format's header into a raw one changes nothing. */
function diskOf({ path }: AssignedDisk): DiskConfig {
  return { path, kind: 'disk', bus: 'nvme', format: path.endsWith('.qcow2') ? 'qcow2' : 'raw', readOnly: false };
}

function identityOf(disk: AssignedDisk | undefined): Pick<MachineDisk, 'assigned'> {
  return disk === undefined ? {} : { assigned: disk.id };
}

/** The disks of one VM, open and locked. */
export class MachineDisks {
  readonly descriptions: readonly MachineDisk[];
  readonly #devices: readonly BlockDevice[];
  #servers: readonly DiskServer[] = [];

  private constructor(descriptions: readonly MachineDisk[], devices: readonly BlockDevice[]) {
    this.descriptions = descriptions;
    this.#devices = devices;
  }

  /** @throws ContractError of the first disk that cannot be opened, with its field; none is open then */
  static async open(configured: readonly DiskConfig[], assigned: readonly AssignedDisk[] = []): Promise<MachineDisks> {
    const disks = [...configured, ...assigned.map(diskOf)];
    const devices: BlockDevice[] = [];
    try {
      for (const [index, { path, format, readOnly, kind }] of disks.entries()) {
        devices.push(await openImage(path, { format, readOnly: readOnly || kind === 'cdrom' }).catch((error: unknown) => {
          throw error instanceof ContractError ? new ContractError(error.code, error.message, error.hint, `disks.${index}.path`) : error;
        }));
      }
    } catch (error) {
      await Promise.allSettled(devices.map((device) => device.close()));
      throw error;
    }
    const descriptions = disks.map(({ kind, bus }, index): MachineDisk => ({
      kind, bus, size: devices[index]?.size ?? 0, readOnly: devices[index]?.readOnly ?? true, direct: devices[index]?.direct ?? null, serial: `vanderpool-${index}`, link: createDiskBuffer(),
      ...identityOf(assigned[index - configured.length]),
    }));
    return new MachineDisks(descriptions, devices);
  }

  /** Begins to answer the core thread. @param wake called when there is an answer */
  serve(wake: () => void): void {
    this.#servers = this.descriptions.flatMap(({ link }, index) => {
      const device = this.#devices[index];
      return device ? [new DiskServer(link, device, wake)] : [];
    });
  }

  /** Finishes what is under way, flushes and closes. A disk that cannot be closed any more is reported on standard error. */
  async close(): Promise<void> {
    const closing = this.#servers.length > 0 ? this.#servers.map((server) => server.stop()) : this.#devices.map((device) => device.close());
    this.#servers = [];
    for (const result of await Promise.allSettled(closing)) if (result.status === 'rejected') console.error(String(result.reason));
  }
}
