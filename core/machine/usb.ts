/** A machine's USB: the host controller, its tablet and keyboard, and sticks that are disks of the configuration. */

import { UsbKeyboard, UsbTablet } from '../devices/usb/hid.ts';
import { UsbStorage } from '../devices/usb/storage.ts';
import { XhciController } from '../devices/usb/xhci/controller.ts';
import type { Disk } from '../block/link.ts';
import type { VirtualClock } from '../platform/clock.ts';

export interface MachineUsb {
  readonly controller: XhciController;
  readonly tablet: UsbTablet;
  readonly keyboard: UsbKeyboard;
}

/** @param sticks with the serial number of each */
export function createUsb(clock: VirtualClock, sticks: readonly { readonly disk: Disk; readonly serial: string }[]): MachineUsb {
  const controller = new XhciController('xhci', clock);
  const [tablet, keyboard] = [new UsbTablet('usb-tablet'), new UsbKeyboard('usb-keyboard')];
  for (const device of [tablet, keyboard, ...sticks.map(({ disk, serial }, index) => new UsbStorage(`usb-storage-${index}`, disk, serial))]) controller.attach(device);
  return { controller, tablet, keyboard };
}
