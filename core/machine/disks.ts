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
  /** The hot-plug slot that it is in; absent: it is on the board. */
  readonly slot?: number;
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

/** One of the disks, as long as it is open. */
interface OpenDisk {
  readonly description: MachineDisk;
  readonly device: BlockDevice;
  server: DiskServer | null;
}

/** @throws ContractError with the field of the disk's path */
async function openDisk({ path, format, readOnly, kind, bus, slot }: DiskConfig, serial: string, field: string): Promise<OpenDisk> {
  const device = await openImage(path, { format, readOnly: readOnly || kind === 'cdrom' }).catch((error: unknown) => {
    throw error instanceof ContractError ? new ContractError(error.code, error.message, error.hint, field) : error;
  });
  const place = slot === undefined ? {} : { slot };
  return { description: { kind, bus, size: device.size, readOnly: device.readOnly, direct: device.direct ?? null, serial, link: createDiskBuffer(), ...place }, device, server: null };
}

function slotSerial(slot: number): string {
  return `vanderpool-slot-${slot}`;
}

/** The disks of one VM, open and locked. */
export class MachineDisks {
  readonly descriptions: readonly MachineDisk[];
  readonly #open: OpenDisk[];
  #wake: () => void = () => undefined;

  private constructor(disks: readonly OpenDisk[]) {
    this.descriptions = disks.map(({ description }) => description);
    this.#open = [...disks];
  }

  /** @throws ContractError of the first disk that cannot be opened, with its field; none is open then */
  static async open(configured: readonly DiskConfig[], assigned: readonly AssignedDisk[] = []): Promise<MachineDisks> {
    const disks: OpenDisk[] = [];
    let onBoard = 0;
    try {
      for (const [index, disk] of [...configured, ...assigned.map(diskOf)].entries()) {
        const { description, ...rest } = await openDisk(disk, disk.slot === undefined ? `vanderpool-${onBoard++}` : slotSerial(disk.slot), `disks.${index}.path`);
        disks.push({ description: { ...description, ...identityOf(assigned[index - configured.length]) }, ...rest });
      }
    } catch (error) {
      await Promise.allSettled(disks.map(({ device }) => device.close()));
      throw error;
    }
    return new MachineDisks(disks);
  }

  /** Begins to answer the core thread. @param wake called when there is an answer */
  serve(wake: () => void): void {
    this.#wake = wake;
    for (const disk of this.#open) disk.server = new DiskServer(disk.description.link, disk.device, wake);
  }

  /** Opens and serves one more disk, for a hot-plug slot. @throws ContractError when it cannot be opened */
  async plug(disk: DiskConfig, slot: number): Promise<MachineDisk> {
    const opened = await openDisk({ ...disk, slot }, slotSerial(slot), 'card.disk.path');
    opened.server = new DiskServer(opened.description.link, opened.device, this.#wake);
    this.#open.push(opened);
    return opened.description;
  }

  /** Closes the disk of a hot-plug slot, when there is one. */
  async unplug(slot: number): Promise<void> {
    const index = this.#open.findIndex(({ description }) => description.slot === slot);
    await closeDisks(index < 0 ? [] : this.#open.splice(index, 1));
  }

  /** Finishes what is under way, flushes and closes. */
  async close(): Promise<void> {
    await closeDisks(this.#open.splice(0));
  }
}

/** A disk that cannot be closed any more is reported on standard error. */
async function closeDisks(disks: readonly OpenDisk[]): Promise<void> {
  const closing = disks.map(({ server, device }) => (server ? server.stop() : device.close()));
  for (const result of await Promise.allSettled(closing)) if (result.status === 'rejected') console.error(String(result.reason));
}
