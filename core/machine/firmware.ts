/** A machine that starts at the reset vector: its ROM, its flash, and what firmware asks the machine for. */

import { BootError, sizeText } from '../boot/loader.ts';
import { DebugConsole } from '../platform/systemPorts.ts';
import { Flash } from '../devices/flash.ts';
import { FwCfg, fwCfgItem, fwCfgNumber } from '../devices/fwCfg.ts';
import { acpiFiles, loaderCommands } from '../platform/acpi/loader.ts';
import { buildSmbios, smbiosEntry } from '../platform/smbios.ts';
import { apicIds } from '../platform/topology.ts';
import type { Topology } from '../platform/topology.ts';
import { comPorts } from '../devices/uart16550.ts';
import { memoryType } from '../boot/loader.ts';
import { oneMegabyte, vtdBase } from '../platform/memoryLayout.ts';
import type { AcpiImage } from '../platform/acpi/tables.ts';
import type { Device } from '../platform/device.ts';
import type { DmaPort } from '../platform/dma.ts';
import type { FwCfgFile } from '../devices/fwCfg.ts';

/** What is behind the reset vector. */
export interface FirmwareImage {
  /** Ends at 4 GiB. */
  readonly code: Uint8Array;
  /** Contents of the flash in front of it, where UEFI firmware keeps its variables. */
  readonly variables?: Uint8Array;
}

/** The kind of guest-physical pages, as the processor sees them. */
export type PageKinds = (address: number, length: number, kind: 'ram' | 'rom' | 'mmio') => void;

const fourGigabytes = 2 ** 32;
/** What firmware can have below 4 GiB. */
export const romBytes = 16 << 20;
/** The end of the ROM also shows below 1 MiB, as much of it as fits there. */
const shadowBytes = 0x20000;
const pageBytes = 4096;

/** @throws BootError when an image cannot be what stands behind a reset vector */
export function checkFirmware({ code, variables }: FirmwareImage): void {
  const whole = (bytes: Uint8Array, what: string): void => {
    if (bytes.length === 0 || bytes.length % pageBytes !== 0) throw new BootError(`the ${what} has ${bytes.length} bytes; a multiple of 4 KB is needed`);
  };
  whole(code, 'firmware image');
  if (variables) whole(variables, 'variable store');
  const total = code.length + (variables?.length ?? 0);
  if (total > romBytes) throw new BootError(`the firmware of ${sizeText(total)} is larger than the ${sizeText(romBytes)} below 4 GB that it can have`);
}

/**
 * Puts the code where the reset vector is.
 * @param rom the memory that ends at 4 GiB
 */
export function loadFirmware({ code }: FirmwareImage, rom: Uint8Array, kinds: PageKinds): void {
  rom.set(code, rom.length - code.length);
  kinds(fourGigabytes - code.length, code.length, 'rom');
}

/** Puts the end of the code below 1 MiB, where BIOSes run. */
export function showFirmware({ code }: FirmwareImage, ram: Uint8Array): void {
  const shadow = code.subarray(Math.max(0, code.length - shadowBytes));
  ram.set(shadow, oneMegabyte - shadow.length);
}

export interface FirmwareOptions {
  readonly image: FirmwareImage;
  readonly memoryBytes: number;
  readonly topology: Topology;
  readonly iommu: boolean;
  /** The chipset's own way to memory: no remapping unit is in front of it. */
  readonly dma: DmaPort;
  /** Tables for the machine as firmware has set it up. */
  readonly acpi: () => AcpiImage;
  /** Device paths in the order in which they are tried, in Open Firmware's notation. */
  readonly bootOrder: readonly string[];
  /** Whether the BIOS shows its screen on COM1. */
  readonly serialScreen: boolean;
  /** What firmware says on its debug port. */
  readonly debug: (byte: number) => void;
}

/** S0 to S5, each with its type; bit 7: the machine has it. S3 is type 1, S5 type 0. */
const sleepStates = Uint8Array.of(0x80, 0, 0, 0x81, 0, 0x80);

/** The devices that firmware expects beside those of every PC. */
export function firmwareDevices(options: FirmwareOptions): { readonly devices: readonly Device[]; readonly flash: Flash | null } {
  const { image, dma, debug } = options;
  const flash = image.variables ? new Flash(fourGigabytes - image.code.length - image.variables.length, image.variables) : null;
  const devices = [new FwCfg(dma, items(options), files(options)), new DebugConsole(debug), ...(flash ? [flash] : [])];
  return { devices, flash };
}

function items({ memoryBytes, topology }: FirmwareOptions): readonly (readonly [number, Uint8Array])[] {
  const ids = apicIds(topology);
  return [
    [fwCfgItem.ramSize, fwCfgNumber(memoryBytes, 8)], [fwCfgItem.cpus, fwCfgNumber(ids.length, 2)],
    // Firmware makes room by APIC ID.
    [fwCfgItem.maxCpus, fwCfgNumber(Math.max(...ids) + 1, 2)],
    [fwCfgItem.bootMenu, fwCfgNumber(0, 2)],
  ];
}

/** The tables' lengths are told before firmware has set up what they describe: they are padded to lengths that do not change. */
function padded(bytes: Uint8Array, multiple: number): Uint8Array {
  const data = new Uint8Array(Math.ceil(bytes.length / multiple) * multiple);
  data.set(bytes);
  return data;
}

function files({ memoryBytes, topology, iommu, acpi, bootOrder, serialScreen }: FirmwareOptions): readonly FwCfgFile[] {
  const smbios = buildSmbios(memoryBytes, topology).data;
  const fixed = (name: string, contents: Uint8Array): FwCfgFile => ({ name, contents: () => contents });
  return [
    { name: acpiFiles.rsdp, contents: () => acpi().rsdp },
    { name: acpiFiles.tables, contents: () => padded(acpi().tables, 0x4000) },
    { name: acpiFiles.loader, contents: () => padded(loaderCommands(acpi()), 0x1000) },
    fixed('etc/e820', memoryEntries(memoryBytes, iommu)),
    fixed('etc/system-states', sleepStates),
    fixed('etc/smbios/smbios-anchor', smbios.slice(0, smbiosEntry.length)),
    fixed('etc/smbios/smbios-tables', smbios.slice(smbiosEntry.structures)),
    ...(bootOrder.length > 0 ? [fixed('bootorder', Uint8Array.from(Buffer.from(`${bootOrder.join('\n')}\0`, 'latin1')))] : []),
    ...(serialScreen ? [fixed('etc/sercon-port', fwCfgNumber(comPorts[0].base, 2))] : []),
  ];
}

/** What is RAM, and what else must not be given away; firmware knows the chipset's own ranges. */
function memoryEntries(memoryBytes: number, iommu: boolean): Uint8Array {
  const entries = [[0, memoryBytes, memoryType.usable], ...(iommu ? [[vtdBase, 0x1000, memoryType.reserved]] : [])] as const;
  const data = new Uint8Array(entries.length * 20);
  const view = new DataView(data.buffer);
  entries.forEach(([base, length, type], index) => {
    view.setBigUint64(index * 20, BigInt(base ?? 0), true);
    view.setBigUint64(index * 20 + 8, BigInt(length ?? 0), true);
    view.setUint32(index * 20 + 16, type ?? 0, true);
  });
  return data;
}
