/**
 * ACPI tables for firmware that places them itself: the tables with offsets for addresses, and commands that tell it what to do with them.
 * A command is 128 bytes. (QEMU's documentation describes them with its BIOS linker/loader.)
 */

import type { AcpiImage } from './tables.ts';

/** Names of the files that the commands speak of. */
export const acpiFiles = { rsdp: 'etc/acpi/rsdp', tables: 'etc/acpi/tables', loader: 'etc/table-loader' } as const;

const commandBytes = 128;
const nameBytes = 56;
const command = { allocate: 1, addPointer: 2, addChecksum: 3 } as const;
/** Anywhere below 4 GiB; in the segment where the RSDP is searched for. */
const zone = { high: 1, low: 2 } as const;

type Part = keyof Pick<typeof acpiFiles, 'rsdp' | 'tables'>;

function build(kind: number, write: (view: DataView, putName: (at: number, part: Part) => void) => void): Uint8Array {
  const data = new Uint8Array(commandBytes);
  const view = new DataView(data.buffer);
  view.setUint32(0, kind, true);
  write(view, (at, part) => data.set(Buffer.from(acpiFiles[part], 'latin1'), at));
  return data;
}

function allocate(part: Part, alignment: number, where: number): Uint8Array {
  return build(command.allocate, (view, putName) => {
    putName(4, part);
    view.setUint32(4 + nameBytes, alignment, true);
    view.setUint8(8 + nameBytes, where);
  });
}

/** All commands, in the order in which firmware obeys them. */
export function loaderCommands(image: AcpiImage): Uint8Array {
  const commands = [
    allocate('tables', 64, zone.high),
    allocate('rsdp', 16, zone.low),
    ...image.pointers.map(({ part, offset, width }) => build(command.addPointer, (view, putName) => {
      putName(4, part);
      putName(4 + nameBytes, 'tables');
      view.setUint32(4 + nameBytes * 2, offset, true);
      view.setUint8(8 + nameBytes * 2, width);
    })),
    ...image.checksums.map(({ part, offset, start, length }) => build(command.addChecksum, (view, putName) => {
      putName(4, part);
      [offset, start, length].forEach((value, index) => view.setUint32(4 + nameBytes + index * 4, value, true));
    })),
  ];
  const data = new Uint8Array(commands.length * commandBytes);
  commands.forEach((bytes, index) => data.set(bytes, index * commandBytes));
  return data;
}
