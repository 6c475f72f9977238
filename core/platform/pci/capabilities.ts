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

/** An express function: link of one lane at 2.5 GT/s, no flow of errors. A root port's slot registers are its own. */
export function express(type: number, slot = false): Capability {
  const flags = 0x0002 | (type << 4) | (slot ? 0x100 : 0);
  const link = type === expressType.integratedEndpoint
    ? []
    : [{ offset: 0x0c, size: 4, value: 0x0000_0c11 }, { offset: 0x10, size: 2, writable: 0x0003 }, { offset: 0x12, size: 2, value: 0x0011 }] as const;
  return {
    id: capabilityId.express, length: 0x3c,
    registers: [
      { offset: 2, size: 2, value: flags },
      { offset: 4, size: 4, value: 0x0000_8001 },
      { offset: 8, size: 2, value: 0x2810, writable: 0x78ff },
      { offset: 0x0a, size: 2, writeOneToClear: 0x000f },
      ...link,
      { offset: 0x28, size: 2, writable: 0x001f },
      { offset: 0x30, size: 2, value: type === expressType.integratedEndpoint ? 0 : 0x0001 },
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
