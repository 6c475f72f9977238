/** The order in which firmware tries the disks and network interfaces of a machine: that of its configuration, as Open Firmware device paths. */
import { pciRegister } from '../platform/pci/function.ts';
import type { PciFunction } from '../platform/pci/function.ts';

/** Where a disk or interface is: at a port of a controller, or a function of its own. */
export interface BootPlace {
  readonly fn: PciFunction;
  readonly port: number;
}

/** A virtio SCSI host: the disks behind it have targets. */
const scsiHost = 'pci1af4,1048';

/** How what is behind a function is called, by the function's class and subclass. */
const names: Readonly<Record<number, (identity: string, slot: string, port: number) => string>> = {
  0x0100: (identity, slot, port) => (identity === scsiHost ? `scsi@${slot}/channel@0/disk@${port.toString(16)},0` : `scsi@${slot}/disk@0,0`),
  0x0106: (identity, slot, port) => `${identity}@${slot}/drive@${port}/disk@0`,
  0x0108: (identity, slot) => `${identity}@${slot}/namespace@1,0`,
  0x0200: (_identity, slot) => `ethernet@${slot}/ethernet-phy@0`,
};

/** @param placeOf the bridges on the way to a function, and its device number behind them */
export function bootOrder(places: readonly BootPlace[], placeOf: (fn: PciFunction) => { readonly bridges: string; readonly device: string }): readonly string[] {
  return places.flatMap(({ fn, port }) => {
    const identity = fn.readConfig(pciRegister.vendor, 4);
    const { bridges, device } = placeOf(fn);
    const node = `pci${(identity & 0xffff).toString(16)},${(identity >>> 16).toString(16)}`;
    const path = names[fn.readConfig(pciRegister.revision, 4) >>> 16]?.(node, device, port);
    return path === undefined ? [] : [`/pci@i0cf8${bridges}/${path}`];
  });
}
