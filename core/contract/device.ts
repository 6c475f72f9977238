/** Resources of the host that can be assigned to a VM, each as a PCI function of its own. */
import * as z from 'zod';
import { DEVICES_MAXIMUM, HOT_PLUG_SLOTS } from './limits.ts';
import { vmReference } from './vm.ts';

/**
 * `edu`: a demonstrator with DMA and interrupts, made of nothing; `serial`: a serial port or a pseudoterminal, a PCI UART to the guest;
 * `disk`: a block device or an image file, an NVMe controller to the guest; `usb`: a USB device, on an xHCI controller of its own to the guest;
 * `nic`: a Unix socket that carries Ethernet frames, a network card to the guest.
 */
export const deviceKind = z.enum(['edu', 'serial', 'disk', 'usb', 'nic']);
/** Those that a person names by a path. */
export const namedKind = z.enum(['serial', 'disk', 'nic']);
export type NamedKind = z.infer<typeof namedKind>;
export type DeviceKind = z.infer<typeof deviceKind>;

export const deviceId = z.string().min(1).max(300);
/** Bus, device and function: `80:03.0`. */
const requester = z.string().max(16);

export const device = z.strictObject({
  /** Stable identity: the same resource has the same one after it was away. */
  id: deviceId,
  kind: deviceKind,
  name: z.string().max(200),
  vendor: z.string().max(100),
  product: z.string().max(100),
  serial: z.string().max(100),
  /** File of the host; null for what needs none. */
  path: z.string().max(4096).nullable(),
  /** Requester ID by which the workstation's remapping unit knows it, and the group of what can only be assigned together. */
  requester,
  group: z.int().min(0),
  /** Whether the host has it now. */
  present: z.boolean(),
  /** The VM that it is assigned to. */
  vm: z.strictObject({ id: z.string(), name: z.string() }).nullable(),
  /** That VM runs, and has it. */
  inUse: z.boolean(),
});
export type Device = z.infer<typeof device>;

/** Slots of a machine: those for cards, and behind them one for each device that is assigned at its start. */
export const machineSlot = z.int().min(1).max(HOT_PLUG_SLOTS + DEVICES_MAXIMUM);

/** What a VM process plugs in. */
export const assignedDevice = z.strictObject({
  id: deviceId, kind: deviceKind, name: z.string().max(200), path: z.string().max(4096).nullable(), requester: z.int().min(0).max(0xffff), slot: machineSlot,
});
export type AssignedDevice = z.infer<typeof assignedDevice>;

/** A device by its id, or by its name when only one has it. */
const onDevice = z.strictObject({ device: deviceId });

export const deviceOperations = {
  'device.list': { input: z.strictObject({}), output: z.array(device) },
  'device.get': { input: onDevice, output: device },
  /** Makes a resource known that the host does not list by itself, such as a pseudoterminal or an image. */
  'device.add': { input: z.strictObject({ kind: namedKind, path: z.string().min(1).max(4096), name: z.string().max(200).optional() }), output: device },
  /** Forgets a resource that is assigned to no VM. */
  'device.forget': { input: onDevice, output: z.strictObject({}) },
  /** A VM that runs gets it at once. */
  'device.assign': { input: z.strictObject({ device: deviceId, vm: vmReference }), output: device },
  /** A running guest is asked to let it go, or with `force` not. */
  'device.release': { input: z.strictObject({ device: deviceId, force: z.boolean().optional() }), output: device },
} as const;
