/** USB devices of the host, by the `usb` package (libraries of the system below it): what of it is used, and how a device is told from others. */

import { pathToFileURL } from 'node:url';
import type { HostResource } from '../resources.ts';
import type { UsbSpeed } from '../../devices/usb/device.ts';

export interface HostSetup {
  readonly requestType: 'standard' | 'class' | 'vendor';
  readonly recipient: 'device' | 'interface' | 'endpoint' | 'other';
  readonly request: number;
  readonly value: number;
  readonly index: number;
}

export interface HostResult {
  readonly status?: 'ok' | 'stall' | 'babble' | undefined;
  readonly data?: DataView | undefined;
}

export interface HostPackets {
  readonly packets: readonly HostResult[];
}

/** A device: what WebUSB gives it, and where it is plugged in. */
export interface HostUsbDevice {
  readonly vendorId: number;
  readonly productId: number;
  readonly serialNumber?: string | null | undefined;
  readonly manufacturerName?: string | null | undefined;
  readonly productName?: string | null | undefined;
  readonly bus: string;
  readonly ports: readonly number[];
  /** Absent: not known. */
  readonly speed?: string | undefined;
  readonly configuration?: { readonly interfaces: readonly { readonly interfaceNumber: number }[] } | null | undefined;
  open(): Promise<void>;
  close(): Promise<void>;
  reset(): Promise<void>;
  selectConfiguration(value: number): Promise<void>;
  claimInterface(number: number): Promise<void>;
  releaseInterface(number: number): Promise<void>;
  selectAlternateInterface(number: number, setting: number): Promise<void>;
  controlTransferIn(setup: HostSetup, length: number): Promise<HostResult>;
  controlTransferOut(setup: HostSetup, data: Uint8Array): Promise<HostResult>;
  transferIn(endpoint: number, length: number): Promise<HostResult>;
  transferOut(endpoint: number, data: Uint8Array): Promise<HostResult>;
  isochronousTransferIn(endpoint: number, lengths: readonly number[]): Promise<HostPackets>;
  isochronousTransferOut(endpoint: number, data: Uint8Array, lengths: readonly number[]): Promise<HostPackets>;
  clearHalt(direction: 'in' | 'out', endpoint: number): Promise<void>;
  /** Takes an interface from the host's own driver, where the system has such a notion. */
  detachKernelDriver?(number: number): Promise<void>;
  attachKernelDriver?(number: number): Promise<void>;
}

/** The package, as far as it is used. */
export interface UsbLibrary {
  getDevices(): Promise<readonly HostUsbDevice[]>;
  addEventListener(type: 'connect' | 'disconnect', listener: () => void): void;
  removeEventListener(type: 'connect' | 'disconnect', listener: () => void): void;
}

let loading: Promise<UsbLibrary | null> | undefined;

/** Null: the package is not there, or does not load on this system. VANDERPOOL_USB names a module that stands in for it. */
export function loadUsb(): Promise<UsbLibrary | null> {
  loading ??= importUsb().catch(() => null);
  return loading;
}

async function importUsb(): Promise<UsbLibrary> {
  const standIn = process.env['VANDERPOOL_USB'];
  const module: unknown = standIn === undefined ? await import('usb') : await import(pathToFileURL(standIn).href);
  return (module as { readonly usb: UsbLibrary }).usb;
}

/** The devices now; none where USB cannot be had. */
export async function listUsb(): Promise<readonly HostUsbDevice[]> {
  try {
    return (await (await loadUsb())?.getDevices()) ?? [];
  } catch {
    return [];
  }
}

function hex(value: number): string {
  return value.toString(16).padStart(4, '0');
}

/** Stable identity: by vendor, product and serial number; by the port where a device has no serial number. */
export function usbIdentity({ vendorId, productId, serialNumber, bus, ports }: Pick<HostUsbDevice, 'vendorId' | 'productId' | 'serialNumber' | 'bus' | 'ports'>): string {
  const which = serialNumber ? serialNumber.slice(0, 100) : `@${bus}-${ports.join('.')}`;
  return `usb:${hex(vendorId)}:${hex(productId)}:${which}`;
}

export async function usbResources(): Promise<HostResource[]> {
  const devices = await listUsb();
  return devices.map((device) => ({
    id: usbIdentity(device), kind: 'usb', name: [device.manufacturerName, device.productName].filter(Boolean).join(' ').slice(0, 200) || 'USB device',
    vendor: hex(device.vendorId), product: hex(device.productId), serial: (device.serialNumber ?? '').slice(0, 100), path: null,
  }));
}

/** Why a device cannot be taken from the host, as the end of a sentence that begins with its name; null: it can, or is not there. */
export async function usbProblem(identity: string): Promise<string | null> {
  const device = (await listUsb()).find((candidate) => usbIdentity(candidate) === identity);
  if (device === undefined) return null;
  const claimed: number[] = [];
  try {
    await device.open();
    await claimInterfaces(device, claimed);
    return null;
  } catch (error) {
    return `cannot be taken from the host (${error instanceof Error ? error.message : String(error)})`;
  } finally {
    await giveBack(device, claimed);
  }
}

/** Takes a device's interfaces from the host's own drivers. @param claimed gets the number of each that was taken */
export async function claimInterfaces(device: HostUsbDevice, claimed: number[]): Promise<void> {
  for (const { interfaceNumber } of device.configuration?.interfaces ?? []) {
    await device.detachKernelDriver?.(interfaceNumber).catch(() => undefined);
    await device.claimInterface(interfaceNumber);
    claimed.push(interfaceNumber);
  }
}

/** Gives a device back to the host. @param claimed is empty afterwards */
export async function giveBack(device: HostUsbDevice, claimed: number[]): Promise<void> {
  for (const number of claimed.splice(0)) {
    await device.releaseInterface(number).catch(() => undefined);
    await device.attachKernelDriver?.(number).catch(() => undefined);
  }
  await device.close().catch(() => undefined);
}

const speeds: Readonly<Record<string, UsbSpeed>> = { low: 'low', full: 'full', high: 'high', super: 'super', superPlus: 'super' };

export function speedOf({ speed = '' }: HostUsbDevice): UsbSpeed {
  return speeds[speed] ?? 'full';
}
