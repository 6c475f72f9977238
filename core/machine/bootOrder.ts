/** The order in which firmware tries the disks of a machine: that of its configuration, as Open Firmware device paths. */
import { pciRegister } from '../platform/pci/function.ts';
import type { PciFunction } from '../platform/pci/function.ts';

/** Where a disk is: at a port of a controller, or a function of its own. */
export interface DiskPlace {
  readonly fn: PciFunction;
  readonly port: number;
}

/** A virtio SCSI host: the disks behind it have targets. */
const scsiHost = 'pci1af4,1048';

/** How a disk behind a storage function is called, by the function's class and subclass. */
const storage: Readonly<Record<number, (identity: string, slot: string, port: number) => string>> = {
  0x0100: (identity, slot, port) => (identity === scsiHost ? `scsi@${slot}/channel@0/disk@${port.toString(16)},0` : `scsi@${slot}/disk@0,0`),
  0x0106: (identity, slot, port) => `${identity}@${slot}/drive@${port}/disk@0`,
  0x0108: (identity, slot) => `${identity}@${slot}/namespace@1,0`,
};

/** @param placeOf the bridges on the way to a function, and its device number behind them */
export function bootOrder(places: readonly DiskPlace[], placeOf: (fn: PciFunction) => { readonly bridges: string; readonly device: string }): readonly string[] {
  return places.flatMap(({ fn, port }) => {
    const identity = fn.readConfig(pciRegister.vendor, 4);
    const { bridges, device } = placeOf(fn);
    const node = `pci${(identity & 0xffff).toString(16)},${(identity >>> 16).toString(16)}`;
    const path = storage[fn.readConfig(pciRegister.revision, 4) >>> 16]?.(node, device, port);
    return path === undefined ? [] : [`/pci@i0cf8${bridges}/${path}`];
  });
}
