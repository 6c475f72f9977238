/** What changes of a machine's disks while it runs, on the core thread: the media of its CD-ROM drives, the sizes of its disks. */
import type { DirectImage } from '../block/direct.ts';
import type { DiskClient } from '../block/link.ts';
import { ContractError } from '../contract/errors.ts';
import type { ScsiUnit } from '../devices/scsi/unit.ts';

/** What is in a drive: its part of the I/O thread serves it already. */
export interface Medium {
  /** In bytes. */
  readonly size: number;
  readonly direct: DirectImage | null;
}

interface Drive {
  readonly client: DiskClient;
  readonly unit: ScsiUnit;
  /** Tells the guest's driver, where its bus has a way to. */
  readonly changed: () => void;
}

/** A disk that can become larger. */
interface Growing {
  readonly client: DiskClient;
  /** Tells the guest's driver, where its bus has a way to. */
  readonly grown: () => void;
}

export class Drives {
  /** By the serial number, which tells a machine's disks apart. */
  readonly #drives = new Map<string, Drive>();

  add(serial: string, drive: Drive): void {
    this.#drives.set(serial, drive);
  }

  readonly #disks = new Map<string, Growing>();

  addDisk(serial: string, disk: Growing): void {
    this.#disks.set(serial, disk);
  }

  /** A disk's image is about to be closed (null), or is open again, perhaps larger: the guest is told then. */
  setSize(serial: string, medium: Medium | null): void {
    const disk = this.#disks.get(serial);
    if (!disk) throw new ContractError('wrong-state', 'The machine has no such disk.', 'See its disks with `vanderpool vm show`.', 'disk');
    if (medium === null) return disk.client.detach();
    const before = disk.client.size;
    disk.client.replace(medium);
    if (medium.size !== before) disk.grown();
  }

  /**
   * Takes the medium out of a drive (null), or puts one in.
   * @param force whether the guest holds it or not
   * @throws ContractError when the guest holds it: the guest has been asked for it then
   */
  setMedium(serial: string, medium: Medium | null, force: boolean): void {
    const drive = this.#drives.get(serial);
    if (!drive) throw new ContractError('wrong-state', 'The machine has no such drive.', 'See its drives with `vanderpool vm show`.', 'disk');
    if (medium === null && drive.client.size > 0 && drive.unit.locked && !force) {
      drive.unit.requestEject();
      throw new ContractError('wrong-state', 'The guest holds the medium in its drive; it has been asked to let it go.', 'Unmount it in the guest and try again, or take it out all the same: --force.', 'disk');
    }
    drive.client.replace(medium);
    drive.changed();
  }
}
