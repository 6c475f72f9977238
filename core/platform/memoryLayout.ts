/** The guest-physical address map: what is RAM, what is not, and where firmware's tables lie. */

export const oneMegabyte = 0x100000;

/** Where the extended BIOS data area begins: conventional memory ends here. */
export const conventionalEnd = 0x9fc00;
/** Display memory, had this PC a display: no RAM answers here. */
export const displayWindow = { base: 0xa0000, end: 0xc0000 } as const;
/** ACPI and SMBIOS tables; guests search this range for their anchors. */
export const tableArea = { base: 0xe0000, smbios: 0xf0000, end: oneMegabyte } as const;
/** What firmware's own driver of a USB keyboard would use: it stays mapped for the host controller when a system remaps its requests. */
export const usbFirmwareArea = { base: 0xff000, end: oneMegabyte } as const;
/** RAM ends below, PCI devices are mapped within. */
export const pciHole = { floor: 0x80000000, base: 0xc0000000, end: 0xfec00000 } as const;
/** Enhanced configuration space of 256 buses, as this machine's own firmware opens it. */
export const ecamWindow = { base: 0xe0000000, length: 0x10000000 } as const;
/** Ports that this machine's own firmware gives to PCI functions. */
export const pciPorts = { base: 0xf000, end: 0x10000 } as const;
/** Ports and memory below 4 GiB that it gives to each slot, for cards that come later. */
export const slotPorts = { base: 0x3000, bytes: 0x1000 } as const;
export const slotMemoryBytes = 8 << 20;
export const hpetBase = 0xfed00000;
export const vtdBase = 0xfed90000;
export const localApicBase = 0xfee00000;

/** I/O APIC pins of PIRQA to PIRQD, and their ISA interrupts on the 8259A pair. */
export const pciInterruptPins = [16, 17, 18, 19] as const;
export const pciLegacyIrqs = [10, 10, 11, 11] as const;

/** A half-open range of addresses. */
export interface AddressRange {
  readonly base: number;
  readonly end: number;
}

/** Where PCI memory may lie below 4 GiB: between RAM and the chipset's own devices, around the enhanced configuration window. */
export function pciMemoryWindows(memoryBytes: number, ecam: { readonly base: number; readonly length: number } | null): readonly AddressRange[] {
  const first = Math.max(pciHole.floor, memoryBytes);
  const last = pciHole.end;
  if (ecam === null || ecam.base >= last || ecam.base + ecam.length <= first) return [{ base: first, end: last }];
  return [{ base: first, end: ecam.base }, { base: ecam.base + ecam.length, end: last }].filter(({ base, end }) => base < end);
}

/** An entry of the e820 map. */
interface MapEntry {
  readonly base: number;
  readonly length: number;
  readonly type: number;
}

const usable = 1;
const reserved = 2;

/** The memory map that firmware reports, in ascending order. */
export function memoryMap(memoryBytes: number): readonly MapEntry[] {
  const range = (base: number, end: number, type: number): MapEntry => ({ base, length: end - base, type });
  return [
    range(0, conventionalEnd, usable),
    range(conventionalEnd, displayWindow.base, reserved),
    range(tableArea.base, tableArea.end, reserved),
    range(oneMegabyte, memoryBytes, usable),
    range(ecamWindow.base, ecamWindow.base + ecamWindow.length, reserved),
    range(0xfec00000, 0xfec01000, reserved),
    range(hpetBase, hpetBase + 0x1000, reserved),
    range(vtdBase, vtdBase + 0x1000, reserved),
    range(localApicBase, localApicBase + 0x1000, reserved),
  ];
}
