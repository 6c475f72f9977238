/** A minimal set of SMBIOS 2.8 structures: who made the machine, what is in it. */

import { checksum, putText } from './acpi/tables.ts';
import { tableArea } from './memoryLayout.ts';
import type { Topology } from './topology.ts';


export interface SmbiosTables {
  readonly address: number;
  /** The entry point, 32 bytes with its padding, then the structures. */
  readonly data: Uint8Array;
}

/** Length of the entry point, and where the structures begin. */
export const smbiosEntry = { length: 31, structures: 32 } as const;

/** The formatted part of a structure after its four-byte header, and the strings it refers to by number from 1. */
interface Structure {
  readonly type: number;
  readonly handle: number;
  readonly body: readonly number[];
  readonly strings: readonly string[];
}

function word(value: number): number[] {
  return [value & 0xff, (value >> 8) & 0xff];
}

function dword(value: number): number[] {
  return [...word(value & 0xffff), ...word(value >>> 16)];
}

function structures(memoryBytes: number, { sockets, cores, threads }: Topology): readonly Structure[] {
  const maker = 'Vanderpool';
  const megabytes = Math.floor(memoryBytes / 0x100000);
  return [
    // BIOS information: vendor, version, segment, date, size, characteristics (none known), extension: ACPI, virtual machine.
    { type: 0, handle: 0, body: [1, 2, ...word(0xe000), 3, 1, ...dword(8), ...dword(0), 0x01, 0x10, 1, 0, 0xff, 0xff], strings: [maker, '1', '01/01/2026'] },
    // System information: maker, product, version, no serial number, no UUID, woken by the power switch.
    { type: 1, handle: 0x100, body: [1, 2, 3, 0, ...Array<number>(16).fill(0), 6, 0, 0], strings: [maker, 'Vanderpool PC', '1'] },
    // Chassis: of other type.
    { type: 3, handle: 0x300, body: [1, 1, 0, 0, 0, 3, 3, 3, 2, ...dword(0), 0, 0, 0, 0, 0], strings: [maker] },
    // Processors: one a socket. A central processor of unknown family and speed, enabled, without a tale of its caches, 64-bit and multi-core.
    ...Array.from({ length: sockets }, (_, socket) => ({
      type: 4, handle: 0x400 + socket,
      body: [
        1, 3, 2, 2, ...dword(0), ...dword(0), 3, 0, ...word(0), ...word(0), ...word(0), 0x41, 1, ...word(0xffff), ...word(0xffff), ...word(0xffff), 0, 0, 0,
        cores, cores, cores * threads, ...word(0x0c), ...word(2),
      ],
      strings: [`CPU ${socket}`, maker, 'Vanderpool processor'],
    })),
    // Physical memory array: on the board, system memory, no error correction.
    { type: 16, handle: 0x1000, body: [3, 3, 3, ...dword(megabytes * 1024), ...word(0xfffe), ...word(1)], strings: [] },
    // One memory device that is all of it.
    {
      type: 17, handle: 0x1100,
      body: [...word(0x1000), ...word(0xfffe), ...word(64), ...word(64), ...word(megabytes), 9, 0, 1, 0, 7, ...word(0), ...word(0), 2, 0, 0, 0, 0],
      strings: ['DIMM 0', maker],
    },
    // Where the array is mapped, in KB.
    { type: 19, handle: 0x1300, body: [...dword(0), ...dword(megabytes * 1024 - 1), ...word(0x1000), 1], strings: [] },
    // How the system booted: no errors.
    { type: 32, handle: 0x2000, body: [0, 0, 0, 0, 0, 0, 0], strings: [`${sockets * cores * threads} processors`] },
    { type: 127, handle: 0x7f00, body: [], strings: [] },
  ];
}

/** Builds entry point and structures for the SMBIOS part of `tableArea`. */
export function buildSmbios(memoryBytes: number, topology: Topology): SmbiosTables {
  const rows = structures(memoryBytes, topology);
  const encoded = rows.map(({ type, handle, body, strings }) => {
    const text = strings.flatMap(line => [...[...line].map(letter => letter.charCodeAt(0)), 0]);
    // Strings end with a further zero; a structure without strings has two.
    return [type, 4 + body.length, ...word(handle), ...body, ...(text.length === 0 ? [0] : text), 0];
  });
  const table = Uint8Array.from(encoded.flat());
  const { length: entryLength, structures: tableOffset } = smbiosEntry;
  const data = new Uint8Array(tableOffset + table.length);
  const view = new DataView(data.buffer);
  putText(data, 0, '_SM_');
  data[5] = entryLength;
  data[6] = 2;
  data[7] = 8;
  view.setUint16(8, Math.max(...encoded.map(({ length }) => length)), true);
  putText(data, 16, '_DMI_');
  view.setUint16(22, table.length, true);
  view.setUint32(24, tableArea.smbios + tableOffset, true);
  view.setUint16(28, rows.length, true);
  data[30] = 0x28;
  data[21] = checksum(data.subarray(16, entryLength));
  data[4] = checksum(data.subarray(0, entryLength));
  data.set(table, tableOffset);
  return { address: tableArea.smbios, data };
}
