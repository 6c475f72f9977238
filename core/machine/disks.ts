/** A VM's disks: opened and served by the I/O thread, used by the devices of the core thread. */
import { DiskServer, createDiskBuffer } from '../block/link.ts';
import { growDisk } from '../block/commands.ts';
import { readDisc } from '../block/disc.ts';
import { openImage } from '../block/open.ts';
import { Room } from '../block/room.ts';
import type { BlockDevice } from '../block/blockDevice.ts';
import type { DirectImage } from '../block/direct.ts';
import type { DiskConfig } from '../contract/hardware.ts';
import { LayeredDisks } from './layeredDisks.ts';
import type { DiskState } from './layeredDisks.ts';
import { BlockError } from '../block/blockDevice.ts';
import type { Medium } from './drives.ts';
import { ContractError, asContractError } from '../contract/errors.ts';

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
  readonly slot: number;
}

/** An image is what it is called: a guest that writes another format's header into a raw one changes nothing. */
async function openAssigned({ id, path, slot }: AssignedDisk, field: string): Promise<OpenDisk> {
  const disk: DiskConfig = { path, kind: 'disk', bus: 'nvme', format: path.endsWith('.qcow2') ? 'qcow2' : 'raw', readOnly: false, slot };
  const opened = await openDisk(disk, slotSerial(slot), field, openImage(path, disk));
  return { ...opened, description: { ...opened.description, assigned: id } };
}

/** One of the disks, as long as it is open. */
interface OpenDisk {
  readonly config: DiskConfig;
  readonly description: MachineDisk;
  device: BlockDevice;
  server: DiskServer | null;
}

/** @throws ContractError with the field of the disk's path */
async function openDisk(config: DiskConfig, serial: string, field: string, opening: Promise<BlockDevice>): Promise<OpenDisk> {
  const { kind, bus, slot } = config;
  const device = await opening.catch((error: unknown) => {
    throw error instanceof ContractError ? new ContractError(error.code, error.message, error.hint, field) : error;
  });
  const place = slot === undefined ? {} : { slot };
  return { config, description: { kind, bus, size: device.size, readOnly: device.readOnly, direct: device.direct ?? null, serial, link: createDiskBuffer(), ...place }, device, server: null };
}

function slotSerial(slot: number): string {
  return `vanderpool-slot-${slot}`;
}

/** What a drive without a medium reads from: nothing. */
const nothing = (): Promise<never> => Promise.reject(new BlockError('io', 'there is no medium in the drive'));
const emptyDrive: BlockDevice = {
  size: 0, readOnly: true, read: nothing, write: nothing, flush: () => Promise.resolve(), discard: nothing, zero: nothing, close: () => Promise.resolve(),
};

/** Disks that are written to belong to snapshots. @param state what the library keeps of it; null: all of it is in its image */
async function openConfigured(disk: DiskConfig, layered: LayeredDisks, state: DiskState | null): Promise<BlockDevice> {
  if (disk.path === '') return emptyDrive;
  if (disk.kind === 'cdrom') await readDisc(disk.path);
  if (disk.kind === 'disk' && !disk.readOnly) return layered.open(disk, state);
  return openImage(disk.path, { format: disk.format, readOnly: true });
}

/** The disks of one VM, open and locked. */
export class MachineDisks {
  readonly descriptions: readonly MachineDisk[];
  /** Those of the configuration that snapshots hold. */
  readonly layered: LayeredDisks;
  readonly room = new Room();
  readonly #open: OpenDisk[];
  #wake: () => void = () => undefined;

  private constructor(disks: readonly OpenDisk[], layered: LayeredDisks) {
    this.layered = layered;
    this.descriptions = disks.map(({ description }) => description);
    this.#open = [...disks];
  }

  /** @throws ContractError of the first disk that cannot be opened, with its field; none is open then */
  static async open(configured: readonly DiskConfig[], assigned: readonly AssignedDisk[] = [], states: readonly (DiskState | null)[] = []): Promise<MachineDisks> {
    const layered = new LayeredDisks();
    const disks: OpenDisk[] = [];
    let onBoard = 0;
    try {
      for (const [index, disk] of configured.entries()) {
        const serial = disk.slot === undefined ? `vanderpool-${onBoard++}` : slotSerial(disk.slot);
        disks.push(await openDisk(disk, serial, `disks.${index}.path`, openConfigured(disk, layered, states[index] ?? null)));
      }
      for (const disk of assigned) disks.push(await openAssigned(disk, 'devices'));
    } catch (error) {
      await Promise.allSettled(disks.map(({ device }) => device.close()));
      throw error;
    }
    return new MachineDisks(disks, layered);
  }

  /** Begins to answer the core thread. @param wake called when there is an answer */
  serve(wake: () => void): void {
    this.#wake = wake;
    for (const disk of this.#open) this.#serve(disk);
  }

  /** Opens and serves one more disk, for a hot-plug slot. @throws ContractError when it cannot be opened */
  async plug(disk: DiskConfig, slot: number, state: DiskState | null): Promise<MachineDisk> {
    const opened = await openDisk({ ...disk, slot }, slotSerial(slot), 'card.disk.path', openConfigured(disk, this.layered, state));
    this.#serve(opened);
    this.#open.push(opened);
    return opened.description;
  }

  /** The serial number of a configured disk, by its place. */
  serialOf(position: number): string {
    return this.#configured(position).description.serial;
  }

  /** Closes what is in a drive: the core thread asks nothing of it any more. */
  async takeMedium(position: number): Promise<void> {
    const drive = this.#configured(position);
    await closeDisks([drive]);
    drive.device = emptyDrive;
    this.#serve(drive);
  }

  /** Opens and serves another image in an empty drive. @throws ContractError when it cannot be opened */
  async putMedium(position: number, path: string): Promise<Medium> {
    const drive = this.#configured(position);
    const device = await openImage(path, { format: 'raw', readOnly: true });
    await drive.server?.stop();
    drive.device = device;
    this.#serve(drive);
    return { size: device.size, direct: device.direct ?? null };
  }

  #serve(disk: OpenDisk): void {
    disk.server = new DiskServer(disk.description.link, disk.device, this.#wake, this.room);
  }

  /**
   * Makes a disk larger; the core thread has let go of it. It is closed meanwhile: what is asked of it waits.
   * @param state what the library keeps of it, which is larger already; null: its image grows
   * @returns what the disk is now, whether it has grown or not, and why it has not
   */
  async grow(position: number, bytes: number, state: DiskState | null): Promise<{ readonly medium: Medium; readonly refusal: ContractError | null }> {
    const disk = this.#configured(position);
    await closeDisks([disk]);
    this.layered.forget(disk.config.path);
    const { path, format } = disk.config;
    let refusal = state === null ? await growDisk(path, bytes, format).then(() => null, asContractError) : null;
    disk.device = await openConfigured(disk.config, this.layered, state).catch((error: unknown) => {
      refusal ??= asContractError(error);
      return emptyDrive;
    });
    this.#serve(disk);
    return { medium: { size: disk.device.size, direct: disk.device.direct ?? null }, refusal };
  }

  /** Disks of the configuration, in its order: those that were plugged in came last there, too. */
  #configured(position: number): OpenDisk {
    const disk = this.#open.filter(({ description }) => description.assigned === undefined)[position];
    if (!disk) throw new ContractError('bad-field', `There is no disk ${position + 1}.`, 'See them with `vanderpool vm show`.', 'disk');
    return disk;
  }

  /** The same for a disk of the host that is assigned to the machine. @throws ContractError when it cannot be opened */
  async plugAssigned(assigned: AssignedDisk): Promise<MachineDisk> {
    const opened = await openAssigned(assigned, 'device');
    this.#serve(opened);
    this.#open.push(opened);
    return opened.description;
  }

  /** Closes the disk of a hot-plug slot, when there is one. */
  async unplug(slot: number): Promise<void> {
    const index = this.#open.findIndex(({ description }) => description.slot === slot);
    const [disk] = index < 0 ? [] : this.#open.splice(index, 1);
    if (!disk) return;
    await closeDisks([disk]);
    this.layered.forget(disk.config.path);
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
