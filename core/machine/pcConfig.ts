/** What a PC is made of: memory, time, the processor's bounds, and what is plugged in. */

import type { AssignedDevice } from '../contract/device.ts';
import type { LineSettings } from '../devices/uart16550.ts';
import type { VgaOptions } from '../devices/vga/adapter.ts';
import type { VirtualClock } from '../platform/clock.ts';
import type { Topology } from '../platform/topology.ts';
import type { MachineDevices } from './devices.ts';
import type { FirmwareImage, PageKinds } from './firmware.ts';

export interface PcConfig {
  /** Guest RAM from guest-physical address 0; a multiple of 1 MiB, at most 3 GiB. */
  readonly memory: Uint8Array;
  readonly topology: Topology;
  readonly clock: VirtualClock;
  /** MAXPHYADDR of the processor model: bounds the local APIC's base. */
  readonly physicalAddressBits: number;
  /** What the real-time clock shows at power-on: milliseconds since 1970, UTC. */
  readonly wallMs: number;
  readonly keyboard: boolean;
  /** A VGA, of a virtio GPU or alone; absent: none. */
  readonly display?: Pick<VgaOptions, 'rom' | 'map'> & { readonly kind: 'vga' | 'virtio' };
  /** What starts at the reset vector; absent: images are booted directly, and the machine starts as firmware leaves it. */
  readonly firmware?: FirmwareImage;
  /** The memory that ends at 4 GiB: for firmware, or what is left of it. */
  readonly rom?: Uint8Array;
  /** Changes what guest-physical pages are. */
  readonly pageKinds?: PageKinds;
  /** What firmware says on its debug port. */
  readonly firmwareDebug?: (byte: number) => void;
  /** The device of test programs (core/devices/testDevice.ts). */
  readonly testDevices?: boolean;
  /** The guest has a remapping unit of its own. */
  readonly iommu?: boolean;
  /** Software tells that unit of every entry: a hypervisor's unit wants it. */
  readonly cachingMode?: boolean;
  /** Told before a device changes RAM: the processor may hold code from there. */
  readonly codeWritten?: (address: number, size: number) => void;
  /** Told before a device reads RAM. */
  readonly memoryRead?: (address: number, size: number) => void;
  /** Devices besides the chipset, in the slots from 2 on. */
  readonly devices?: MachineDevices;
  /** Resources of the host that are functions of this machine. */
  readonly assigned?: readonly AssignedDevice[];
  /** So many slots at the least. */
  readonly slots?: number;
  /** Told when the guest has let the card of a hot-plug slot go. */
  readonly onRelease?: (slot: number) => void;
  /** Takes what the guest sent to a serial port: COM1 to COM4, then one for each assigned device. */
  readonly serialOutput: (port: number, bytes: Uint8Array) => void;
  /** Told how the guest has set the line of an assigned serial port. */
  readonly lineSettings?: (port: number, settings: LineSettings) => void;
}
