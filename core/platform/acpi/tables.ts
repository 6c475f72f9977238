/** ACPI's static tables: RSDP, RSDT, XSDT, FADT, FACS, MADT, HPET, and the DSDT among them. @acpi 5.2 */

import { acpiPorts, sciIrq } from '../acpiPm.ts';
import { cmos } from '../rtc.ts';
import { dsdtBody } from './dsdt.ts';
import { hpetBase, localApicBase, tableArea } from '../memoryLayout.ts';
import { ioApicBase } from '../ioApic.ts';
import { resetControl } from '../pci/host.ts';
import type { DsdtOptions } from './dsdt.ts';
import { apicIds, ioApicId } from '../topology.ts';

const headerLength = 36;
const rsdpLength = 36;
/** The root pointer's place in a direct boot: the FACS behind it is aligned to its length. */
const rsdpSpace = 64;
const fadtLength = 268;

/** All tables as one run of bytes for `tableArea`. */
export interface AcpiTables {
  /** Guest-physical address of the RSDP, the first thing in `data`. */
  readonly address: number;
  readonly data: Uint8Array;
}

/** The RSDP and the tables before they have a place: addresses in them are offsets into `tables`, their checksums are zero. */
export interface AcpiImage {
  readonly rsdp: Uint8Array;
  readonly tables: Uint8Array;
  /** Little-endian addresses of tables. */
  readonly pointers: readonly { readonly part: 'rsdp' | 'tables'; readonly offset: number; readonly width: 4 | 8 }[];
  /** Bytes at `offset` that make a run sum to zero, in the order in which they are to be set. */
  readonly checksums: readonly { readonly part: 'rsdp' | 'tables'; readonly offset: number; readonly start: number; readonly length: number }[];
}

export interface AcpiOptions extends DsdtOptions {
  /** Body of the DMAR table, for a machine with a remapping unit. */
  readonly dmar?: Uint8Array;
  /** There is a VGA. */
  readonly display?: boolean;
}

/** Builds the tables, for whoever places them. */
export function buildAcpiImage(options: AcpiOptions): AcpiImage {
  const parts: Uint8Array[] = [];
  let next = 0;
  const place = (bytes: Uint8Array, alignment = 16): number => {
    const at = Math.ceil(next / alignment) * alignment;
    parts.push(new Uint8Array(at - next), bytes);
    next = at + bytes.length;
    return at;
  };
  const facs = place(buildFacs(), 64);
  const dsdt = place(table('DSDT', 2, dsdtBody(options)));
  const fadt = place(buildFadt(facs, dsdt, options));
  const others = [buildMadt(options), buildHpet(), ...(options.ecam ? [buildMcfg(options.ecam)] : []), ...(options.dmar ? [table('DMAR', 1, options.dmar)] : [])];
  const all = [fadt, ...others.map(bytes => place(bytes))];
  const rsdt = place(pointerTable('RSDT', all, 4));
  const xsdt = place(pointerTable('XSDT', all, 8));
  const inTables = (offset: number, width: 4 | 8) => ({ part: 'tables', offset, width }) as const;
  const sumOf = (at: number, length: number) => ({ part: 'tables', offset: at + 9, start: at, length }) as const;
  return {
    rsdp: buildRsdp(rsdt, xsdt),
    tables: Uint8Array.from(Buffer.concat(parts)),
    pointers: [
      ...([[36, 4], [40, 4], [140, 8]] as const).map(([offset, width]) => inTables(fadt + offset, width)),
      ...all.flatMap((_, index) => [inTables(rsdt + headerLength + index * 4, 4), inTables(xsdt + headerLength + index * 8, 8)]),
      { part: 'rsdp', offset: 16, width: 4 }, { part: 'rsdp', offset: 24, width: 8 },
    ],
    checksums: [
      sumOf(fadt, fadtLength), sumOf(rsdt, headerLength + all.length * 4), sumOf(xsdt, headerLength + all.length * 8),
      // The RSDP's first checksum covers the fields of ACPI 1.0, the second everything.
      { part: 'rsdp', offset: 8, start: 0, length: 20 }, { part: 'rsdp', offset: 32, start: 0, length: rsdpLength },
    ],
  };
}

/** Where a direct boot has the FACS: the first of the tables, behind the root pointer. */
export const facsAddress = tableArea.base + rsdpSpace;
/** Offset in the FACS of the real-mode address at which a system wants to wake. @acpi 5.2.10 */
export const wakingVectorOffset = 12;

/** Builds the tables where a direct boot has them. Throws when they do not fit into their area: a machine with too many processors. */
export function buildAcpiTables(options: AcpiOptions): AcpiTables {
  const { rsdp, tables, pointers, checksums } = buildAcpiImage(options);
  const offset = { rsdp: 0, tables: rsdpSpace };
  const data = new Uint8Array(offset.tables + tables.length);
  if (data.length > tableArea.smbios - tableArea.base) throw new Error('the ACPI tables do not fit below the SMBIOS tables');
  data.set(rsdp);
  data.set(tables, offset.tables);
  const view = new DataView(data.buffer);
  for (const { part, offset: at } of pointers) {
    const field = offset[part] + at;
    view.setUint32(field, view.getUint32(field, true) + tableArea.base + offset.tables, true);
  }
  for (const { part, offset: at, start, length } of checksums) {
    const first = offset[part] + start;
    data[offset[part] + at] = checksum(data.subarray(first, first + length));
  }
  return { address: tableArea.base, data };
}

/** The value that makes a run of bytes sum to zero modulo 256. */
export function checksum(bytes: Uint8Array): number {
  return -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;
}

/** Writes text into fields of a fixed width. */
export function putText(data: Uint8Array, offset: number, text: string): void {
  for (let index = 0; index < text.length; index++) data[offset + index] = text.charCodeAt(index);
}

/** A table with the common header. */
function table(signature: string, revision: number, body: Uint8Array): Uint8Array {
  const data = new Uint8Array(headerLength + body.length);
  const view = new DataView(data.buffer);
  putText(data, 0, signature);
  view.setUint32(4, data.length, true);
  data[8] = revision;
  putText(data, 10, 'VANDPL');
  putText(data, 16, 'VANDERPL');
  view.setUint32(24, 1, true);
  putText(data, 28, 'VPAL');
  view.setUint32(32, 1, true);
  data.set(body, headerLength);
  data[9] = checksum(data);
  return data;
}

/** A table with addresses in it: it has no checksum until they are known. */
function unplaced(bytes: Uint8Array): Uint8Array {
  bytes[9] = 0;
  return bytes;
}

function pointerTable(signature: string, addresses: readonly number[], width: 4 | 8): Uint8Array {
  const data = new Uint8Array(addresses.length * width);
  const view = new DataView(data.buffer);
  addresses.forEach((address, index) => view.setUint32(index * width, address, true));
  return unplaced(table(signature, 1, data));
}

function buildRsdp(rsdt: number, xsdt: number): Uint8Array {
  const data = new Uint8Array(rsdpLength);
  const view = new DataView(data.buffer);
  putText(data, 0, 'RSD PTR ');
  putText(data, 9, 'VANDPL');
  data[15] = 2;
  view.setUint32(16, rsdt, true);
  view.setUint32(20, rsdpLength, true);
  view.setUint32(24, xsdt, true);
  return data;
}

function buildFacs(): Uint8Array {
  const data = new Uint8Array(64);
  putText(data, 0, 'FACS');
  new DataView(data.buffer).setUint32(4, 64, true);
  data[32] = 2;
  return data;
}

/** FADT fields: offset from the table's start, width in bytes, value. @acpi 5.2.9 */
function fadtFields(facs: number, dsdt: number, { keyboard, display = false }: AcpiOptions): readonly (readonly [offset: number, width: 1 | 2 | 4, value: number])[] {
  const legacyDevices = 0x01;
  const keyboardController = 0x02;
  const noDisplay = 0x04;
  const flags = { wbinvd: 1 << 0, processorC1: 1 << 2, timer32: 1 << 8, resetRegister: 1 << 10 };
  return [
    [36, 4, facs], [40, 4, dsdt], [45, 1, 1], [46, 2, sciIrq], [48, 4, acpiPorts.smiCommand], [52, 1, acpiPorts.enable], [53, 1, acpiPorts.disable],
    [56, 4, acpiPorts.pm1Event], [64, 4, acpiPorts.pm1Control], [76, 4, acpiPorts.pmTimer], [80, 4, acpiPorts.gpe0], [88, 1, 4], [89, 1, 2], [91, 1, 4],
    [92, 1, acpiPorts.gpe0Length],
    // C2 and C3 do not exist.
    [96, 2, 0xffff], [98, 2, 0xffff],
    [108, 1, cmos.century], [109, 2, legacyDevices | (keyboard ? keyboardController : 0) | (display ? 0 : noDisplay)],
    [112, 4, Object.values(flags).reduce((all, bit) => all | bit, 0)], [128, 1, resetControl.value], [140, 4, dsdt],
  ];
}

/** A port as a generic address: space 1, width in bits, access size. */
const fadtAddresses: readonly (readonly [offset: number, bits: number, access: number, port: number])[] = [
  [116, 8, 1, resetControl.port], [148, 32, 2, acpiPorts.pm1Event], [172, 16, 2, acpiPorts.pm1Control], [208, 32, 3, acpiPorts.pmTimer],
  [220, acpiPorts.gpe0Length * 8, 1, acpiPorts.gpe0],
];

function buildFadt(facs: number, dsdt: number, options: AcpiOptions): Uint8Array {
  const body = new Uint8Array(fadtLength - headerLength);
  const view = new DataView(body.buffer);
  for (const [offset, width, value] of fadtFields(facs, dsdt, options)) {
    const at = offset - headerLength;
    if (width === 1) view.setUint8(at, value);
    else if (width === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
  }
  for (const [offset, bits, access, port] of fadtAddresses) putAddress(view, offset - headerLength, 1, bits, access, port);
  return unplaced(table('FACP', 5, body));
}

function putAddress(view: DataView, at: number, space: number, bits: number, access: number, address: number): void {
  [space, bits, 0, access].forEach((value, index) => view.setUint8(at + index, value));
  view.setUint32(at + 4, address, true);
}

/** @acpi 5.2.12 */
function buildMadt({ topology }: AcpiOptions): Uint8Array {
  const dword = (value: number): number[] => [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24];
  const legacyPics = 1;
  const enabled = 1;
  /** Active high, level-triggered. */
  const sciFlags = 0x0d;
  return table(
    'APIC',
    3,
    Uint8Array.from([
      ...dword(localApicBase), ...dword(legacyPics),
      ...apicIds(topology).flatMap((id, index) => [0, 8, index, id, ...dword(enabled)]),
      1, 12, ioApicId(topology), 0, ...dword(ioApicBase), ...dword(0),
      // The timer's interrupt 0 is on pin 2.
      2, 10, 0, 0, ...dword(2), 0, 0,
      2, 10, 0, sciIrq, ...dword(sciIrq), sciFlags, 0,
      // NMI is on LINT1 of every processor.
      4, 6, 0xff, 0, 0, 1,
    ]),
  );
}

function buildHpet(): Uint8Array {
  const body = new Uint8Array(56 - headerLength);
  const view = new DataView(body.buffer);
  // Intel's, able to replace the legacy timers, a 64-bit counter, three comparators, revision 1.
  view.setUint32(0, 0x8086a201, true);
  putAddress(view, 4, 0, 64, 0, hpetBase);
  view.setUint16(17, 0x80, true);
  return table('HPET', 1, body);
}

/** Segment 0, all buses that the window holds. @pci-firmware 4.1.2 */
function buildMcfg({ base, length }: { readonly base: number; readonly length: number }): Uint8Array {
  const body = new Uint8Array(60 - headerLength);
  const view = new DataView(body.buffer);
  view.setBigUint64(8, BigInt(base), true);
  view.setUint8(19, (length >>> 20) - 1);
  return table('MCFG', 1, body);
}
