/** A drive at the other end of a Serial ATA cable: what each command leads to. @acs-3 7 */

import { SECTOR } from '../../block/blockDevice.ts';
import { ScsiUnit } from '../scsi/unit.ts';
import { sense } from '../scsi/sense.ts';
import { identifyDisk, identifyDrive } from './identify.ts';
import type { Disk, DiskOperation } from '../../block/link.ts';
import type { Sense } from '../scsi/sense.ts';

/** The fields of a register FIS from the host. @sata 10.3.4 */
export interface HostFis {
  readonly command: number;
  readonly features: number;
  readonly lba: number;
  readonly device: number;
  readonly count: number;
}

export const ataStatus = { error: 0x01, ready: 0x40, seekComplete: 0x10 } as const;
export const ataError = { abort: 0x04, idNotFound: 0x10, uncorrectable: 0x40 } as const;
const GOOD = ataStatus.ready | ataStatus.seekComplete;
export const goodStatus = GOOD;

/** What a command needs of the controller. */
export type Action =
  | { readonly kind: 'done' }
  | { readonly kind: 'failed'; readonly error: number }
  /** Bytes for the host's memory. */
  | { readonly kind: 'answer'; readonly bytes: Uint8Array }
  | { readonly kind: 'disk'; readonly operation: DiskOperation; readonly offset: number; readonly length: number; readonly queued: boolean }
  /** DATA SET MANAGEMENT: ranges of sectors to discard are in the host's memory. */
  | { readonly kind: 'trim'; readonly bytes: number };

export const QUEUE_DEPTH = 32;

export interface Drive {
  readonly disk: Disk;
  /** What a port shows of the drive after a reset. */
  readonly signature: number;
  readonly packets: boolean;
  command(fis: HostFis, packet: () => Uint8Array): Action;
  /** A command's disk access failed: what the error register shows. */
  failed(): number;
  reset(): void;
  /** What a packet drive remembers (ScsiUnit); empty for disks. */
  saveState(): number[];
  loadState(state: readonly number[]): void;
}

const abort: Action = { kind: 'failed', error: ataError.abort };
const done: Action = { kind: 'done' };

type AtaRow = readonly [operation: 'read' | 'write', wide: boolean, queued: boolean];

/** Transfers: whether addresses have 48 bits, and whether the command is queued. */
const transfers: Readonly<Record<number, AtaRow>> = {
  0x20: ['read', false, false], 0x24: ['read', true, false], 0x25: ['read', true, false], 0x29: ['read', true, false], 0xc4: ['read', false, false], 0xc8: ['read', false, false],
  0x30: ['write', false, false], 0x34: ['write', true, false], 0x35: ['write', true, false], 0x39: ['write', true, false], 0x3d: ['write', true, false],
  0xc5: ['write', false, false], 0xca: ['write', false, false], 0x60: ['read', true, true], 0x61: ['write', true, true],
};
const identify = 0xec;
const identifyPacket = 0xa1;
const packetCommand = 0xa0;
const flushes = [0xe7, 0xea];
const dataSetManagement = 0x06;
const setFeatures = 0xef;
/** Commands that succeed without doing anything: power modes, verification, parameters. */
const idle = [0x40, 0x42, 0x91, 0xc6, 0xe0, 0xe1, 0xe2, 0xe3, 0xe5, 0xe6, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x10];
/** Subcommands of SET FEATURES: write cache, transfer mode, look-ahead, power management. */
const knownFeatures = [0x02, 0x82, 0x03, 0xaa, 0x55, 0x05, 0x85, 0x66, 0xcc, 0x10, 0x90];

export class AtaDisk implements Drive {
  readonly disk: Disk;
  readonly signature = 0x00000101;
  readonly packets = false;
  readonly #serial: string;

  constructor(disk: Disk, serial: string) {
    this.disk = disk;
    this.#serial = serial;
  }

  command(fis: HostFis): Action {
    const { command } = fis;
    const row = transfers[command];
    if (row) return this.#transfer(fis, row);
    if (command === identify) return { kind: 'answer', bytes: identifyDisk(this.disk.size / SECTOR, this.#serial, QUEUE_DEPTH) };
    if (flushes.includes(command)) return { kind: 'disk', operation: 'flush', offset: 0, length: 0, queued: false };
    if (command === setFeatures) return knownFeatures.includes(fis.features & 0xff) ? done : abort;
    if (command === dataSetManagement) return (fis.features & 1) !== 0 && !this.disk.readOnly ? { kind: 'trim', bytes: (fis.count || 65536) * SECTOR } : abort;
    return idle.includes(command) ? done : abort;
  }

  failed(): number {
    return ataError.uncorrectable;
  }

  reset(): void {}

  saveState(): number[] {
    return [];
  }

  loadState(): void {}

  #transfer({ lba, device, count, features }: HostFis, [operation, wide, queued]: AtaRow): Action {
    const number = queued ? features : count;
    const sectors = wide ? (number & 0xffff) || 65536 : (number & 0xff) || 256;
    const first = wide ? lba : (lba % 2 ** 24) + (device & 15) * 2 ** 24;
    // Addresses by cylinder, head and sector have died out.
    if (!wide && (device & 0x40) === 0) return abort;
    if ((first + sectors) * SECTOR > this.disk.size) return { kind: 'failed', error: ataError.idNotFound };
    if (operation === 'write' && this.disk.readOnly) return abort;
    return { kind: 'disk', operation, offset: first * SECTOR, length: sectors * SECTOR, queued };
  }
}

export class AtapiDrive implements Drive {
  readonly disk: Disk;
  readonly signature = 0xeb140101;
  readonly packets = true;
  readonly unit: ScsiUnit;
  readonly #serial: string;

  constructor(disk: Disk, serial: string) {
    this.disk = disk;
    this.#serial = serial;
    this.unit = new ScsiUnit('cdrom', disk, serial);
  }

  command({ command, features }: HostFis, packet: () => Uint8Array): Action {
    if (command === identifyPacket) return { kind: 'answer', bytes: identifyDrive(this.#serial) };
    if (command === setFeatures) return knownFeatures.includes(features & 0xff) ? done : abort;
    if (command !== packetCommand) return idle.includes(command) ? done : abort;
    return this.#packet(packet());
  }

  failed(): number {
    return errorOf(this.unit.fail(sense.mediumError));
  }

  reset(): void {
    this.unit.reset();
  }

  saveState(): number[] {
    return this.unit.saveState();
  }

  loadState(state: readonly number[]): void {
    this.unit.loadState(state);
  }

  #packet(packet: Uint8Array): Action {
    const outcome = this.unit.execute(packet);
    switch (outcome.kind) {
      case 'error': return { kind: 'failed', error: errorOf(outcome.sense) };
      case 'data': return outcome.bytes.length === 0 ? done : { kind: 'answer', bytes: outcome.bytes };
      case 'disk': return outcome.length === 0 ? done : { kind: 'disk', operation: outcome.operation, offset: outcome.offset, length: outcome.length, queued: false };
      // A drive that only reads knows no such command.
      case 'unmap': return { kind: 'failed', error: errorOf(this.unit.fail(sense.invalidCommand)) };
    }
  }
}

/** The sense key is in the upper half of the error register. */
function errorOf({ key }: Sense): number {
  return (key << 4) | ataError.abort;
}
