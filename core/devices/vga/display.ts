/** What a machine needs of its display, whichever PCI function that is. */

import type { Device } from '../../platform/device.ts';
import type { Frame } from './render.ts';
import type { FrameBuffer } from '../../boot/loader.ts';
import type { PciFunction } from '../../platform/pci/function.ts';

export interface Display extends PciFunction, Device {
  /** As firmware leaves it for a system that is booted directly: a linear mode. Null where the frame buffer has no address. */
  startFirmware(): FrameBuffer | null;
  /** What is on the screen. */
  frame(): Frame;
}
