/** Descriptors of emulated devices: what each says of itself. @usb 9.6 */

import type { TransferKind, UsbSpeed } from './device.ts';

export const descriptorType = { device: 1, configuration: 2, string: 3, interface: 4, endpoint: 5, objects: 15, companion: 48 } as const;

const kindBits: Readonly<Record<TransferKind, number>> = { control: 0, isochronous: 1, bulk: 2, interrupt: 3 };
/** Packets of endpoint 0; SuperSpeed tells an exponent. */
const controlPacket: Readonly<Record<UsbSpeed, number>> = { low: 8, full: 64, high: 64, super: 9 };

export interface EndpointDescription {
  /** Bit 7 set: towards the host. */
  readonly address: number;
  readonly kind: Exclude<TransferKind, 'control'>;
  readonly maxPacket: number;
  /** As the speed counts it. */
  readonly interval: number;
}

export interface InterfaceDescription {
  readonly classCode: number;
  readonly subclass: number;
  readonly protocol: number;
  /** Descriptors of the class. */
  readonly classDescriptors?: Uint8Array;
  readonly endpoints: readonly EndpointDescription[];
}

export interface DeviceDescription {
  readonly vendor: number;
  readonly product: number;
  readonly release: number;
  readonly speed: UsbSpeed;
  readonly names: { readonly manufacturer: string; readonly product: string; readonly serial: string };
  readonly interfaces: readonly InterfaceDescription[];
}

const half = (value: number): readonly number[] => [value & 0xff, value >> 8];

export function deviceDescriptor({ speed, vendor, product, release }: DeviceDescription): Uint8Array {
  return Uint8Array.of(18, descriptorType.device, ...half(speed === 'super' ? 0x0300 : 0x0200), 0, 0, 0, controlPacket[speed], ...half(vendor), ...half(product), ...half(release), 1, 2, 3, 1);
}

/** The one configuration, bus powered, 100 mA. */
export function configurationDescriptor({ interfaces, speed }: DeviceDescription): Uint8Array {
  const body = interfaces.flatMap(({ classCode, subclass, protocol, classDescriptors, endpoints }, number) => [
    9, descriptorType.interface, number, 0, endpoints.length, classCode, subclass, protocol, 0, ...(classDescriptors ?? []),
    ...endpoints.flatMap(({ address, kind, maxPacket, interval }) => [
      7, descriptorType.endpoint, address, kindBits[kind], ...half(maxPacket), interval, ...(speed === 'super' ? [6, descriptorType.companion, 0, 0, ...half(kind === 'bulk' ? 0 : maxPacket)] : []),
    ]),
  ]);
  return Uint8Array.of(9, descriptorType.configuration, ...half(9 + body.length), interfaces.length, 1, 0, 0x80, 50, ...body);
}

/** Binary object store: link power management is absent, SuperSpeed is there. @usb3 9.6.2 */
export function objectsDescriptor(): Uint8Array {
  return Uint8Array.of(5, descriptorType.objects, 22, 0, 2, 7, 16, 2, 0, 0, 0, 0, 10, 16, 3, 0, 0x0e, 0, 1, 10, 0xff, 0x07);
}

/** Number 0 lists the languages, which is US English alone; null: no such string. */
export function stringDescriptor({ names }: DeviceDescription, number: number): Uint8Array | null {
  if (number === 0) return Uint8Array.of(4, descriptorType.string, 0x09, 0x04);
  const text = [names.manufacturer, names.product, names.serial][number - 1]?.slice(0, 126);
  return text === undefined ? null : Uint8Array.of(2 + text.length * 2, descriptorType.string, ...Buffer.from(text, 'utf16le'));
}
