/** Capabilities as rows: what each puts into configuration space. Offsets are relative to the capability. @pci 6.7, @pcie 7.5.3 */

import type { ConfigRegister } from './configSpace.ts';

export const capabilityId = { powerManagement: 0x01, msi: 0x05, vendor: 0x09, express: 0x10, msix: 0x11 } as const;

export interface Capability {
  readonly id: number;
  /** Bytes, header included. */
  readonly length: number;
  /** Everything behind the two bytes of the header. */
  readonly registers: readonly ConfigRegister[];
}

/** D0 and D3hot, no PME. @pci-pm 3.2 */
export const powerManagement: Capability = {
  id: capabilityId.powerManagement, length: 8,
  registers: [{ offset: 2, size: 2, value: 0x0003 }, { offset: 4, size: 2, value: 0x0008, writable: 0x0003 }],
};

/** Device/port types of the PCI Express capability. */
export const expressType = { endpoint: 0, rootPort: 4, integratedEndpoint: 9 } as const;

/** Registers of the PCI Express capability. @pcie 7.5.3 */
export const expressRegister = {
  flags: 0x02, deviceCapabilities: 0x04, deviceControl: 0x08, deviceStatus: 0x0a, linkCapabilities: 0x0c, linkControl: 0x10, linkStatus: 0x12,
  slotCapabilities: 0x14, slotControl: 0x18, slotStatus: 0x1a, rootControl: 0x1c, deviceControl2: 0x28, linkControl2: 0x30,
} as const;

/** One lane at 2.5 GT/s. */
const link: readonly ConfigRegister[] = [
  { offset: expressRegister.linkCapabilities, size: 4, value: 0x0000_0c11 }, { offset: expressRegister.linkControl, size: 2, writable: 0x0003 },
  { offset: expressRegister.linkStatus, size: 2, value: 0x0011 },
];

/** An express function without a slot, and without a flow of errors. */
export function express(type: number): Capability {
  return expressCapability(type, type === expressType.integratedEndpoint ? [] : link);
}

/** @param more registers of the link, and of a slot */
export function expressCapability(type: number, more: readonly ConfigRegister[], flags = 0): Capability {
  return {
    id: capabilityId.express, length: 0x3c,
    registers: [
      { offset: expressRegister.flags, size: 2, value: 0x0002 | (type << 4) | flags },
      { offset: expressRegister.deviceCapabilities, size: 4, value: 0x0000_8001 },
      { offset: expressRegister.deviceControl, size: 2, value: 0x2810, writable: 0x78ff },
      { offset: expressRegister.deviceStatus, size: 2, writeOneToClear: 0x000f },
      ...more,
      { offset: expressRegister.deviceControl2, size: 2, writable: 0x001f },
      { offset: expressRegister.linkControl2, size: 2, value: type === expressType.integratedEndpoint ? 0 : 0x0001 },
    ],
  };
}

/** A vendor-specific capability with fixed contents; the length byte is written for the caller. */
export function vendorCapability(body: Uint8Array): Capability {
  const length = 3 + body.length;
  const bytes = [length, ...body];
  return {
    id: capabilityId.vendor, length,
    registers: bytes.map((value, index) => ({ offset: 2 + index, size: 1, value })),
  };
}
