/** What the host offers for assignment, found anew each time: nothing of it is remembered here. */
import { existsSync, readFileSync, readdirSync, realpathSync, statSync } from 'node:fs';
import type { Stats } from 'node:fs';
import { join } from 'node:path';
import type { DeviceKind, NamedKind } from '../contract/device.ts';

export interface HostResource {
  /** Stable identity of the resource, whichever name the host gives it today. */
  readonly id: string;
  readonly kind: DeviceKind;
  readonly name: string;
  readonly vendor: string;
  readonly product: string;
  readonly serial: string;
  readonly path: string | null;
}

/** Where the host lists its devices; tests bring folders of their own. */
export interface HostFolders {
  readonly devices: string;
  readonly classes: string;
}

const linux: HostFolders = { devices: '/dev', classes: '/sys/class' };
/** Demonstrators: every library has two, so that one can be assigned and another be refused. */
const demonstrators = 2;

export function findResources(folders: HostFolders = linux): readonly HostResource[] {
  return [...eduDevices(), ...serialPorts(folders)];
}

function eduDevices(): HostResource[] {
  return Array.from({ length: demonstrators }, (_, index) => (
    { id: `edu:${index}`, kind: 'edu', name: `edu demonstrator ${index}`, vendor: '1234', product: '11e8', serial: String(index), path: null }
  ));
}

/** Serial ports with hardware behind them: the kernel lists many more. USB adapters are known by vendor, product and serial number. */
function serialPorts({ devices, classes }: HostFolders): HostResource[] {
  const folder = join(classes, 'tty');
  return list(folder).flatMap((name): HostResource[] => {
    const path = join(devices, name);
    if (!/^tty(S|USB|ACM|AMA)\d+$/.test(name) || !existsSync(join(folder, name, 'device')) || !existsSync(path)) return [];
    const usb = usbIdentity(join(folder, name, 'device'));
    if (usb) return [{ ...usb, id: `serial:usb:${usb.vendor}:${usb.product}:${usb.serial}`, kind: 'serial', path }];
    // Type 0: a driver without a chip.
    if (text(join(folder, name, 'type')) === '0') return [];
    return [{ id: `serial:${path}`, kind: 'serial', name: `serial port ${name}`, vendor: '', product: '', serial: '', path }];
  });
}

/** The nearest folder above that describes a USB device. */
function usbIdentity(link: string): Pick<HostResource, 'name' | 'vendor' | 'product' | 'serial'> | null {
  let folder = link;
  try {
    folder = realpathSync(link);
  } catch {
    return null;
  }
  for (let depth = 0; depth < 4; depth++, folder = join(folder, '..')) {
    const vendor = text(join(folder, 'idVendor'));
    if (vendor === '') continue;
    const name = [text(join(folder, 'manufacturer')), text(join(folder, 'product'))].filter(part => part !== '').join(' ');
    return { name: name || 'USB serial adapter', vendor, product: text(join(folder, 'idProduct')), serial: text(join(folder, 'serial')) };
  }
  return null;
}

const suitable: Readonly<Record<NamedKind, (status: Stats) => boolean>> = {
  serial: status => status.isCharacterDevice(), disk: status => status.isFile() || status.isBlockDevice(), nic: status => status.isSocket(),
};

/** Whether the file that a person named is there and can be such a resource. */
export function isSuitable(kind: NamedKind, path: string): boolean {
  try {
    const status = statSync(path);
    return suitable[kind](status);
  } catch {
    return false;
  }
}

function list(folder: string): readonly string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
}

function text(file: string): string {
  try {
    return readFileSync(file, 'utf8').trim().slice(0, 100);
  } catch {
    return '';
  }
}
