/** The loadable segments of an ELF file for x86, 32 or 64 bits. */

import { BootError } from './loader.ts';

export interface ElfSegment {
  /** Physical load address. */
  readonly address: number;
  readonly virtual: number;
  readonly data: Uint8Array;
  /** Bytes in memory; what exceeds `data` is zero. */
  readonly memoryLength: number;
}

export interface ElfImage {
  /** Physical entry point. */
  readonly entry: number;
  readonly segments: readonly ElfSegment[];
}

const machines = { x86: 3, x86_64: 62 } as const;
const typeLoad = 1;
const typeNote = 4;
const maximumHeaders = 128;

export function isElf(image: Uint8Array): boolean {
  return image[0] === 0x7f && image[1] === 0x45 && image[2] === 0x4c && image[3] === 0x46;
}

/** @throws BootError naming the defect of a file that is damaged or for another machine */
export function readElf(image: Uint8Array): ElfImage {
  const wide = image[4] === 2;
  const headerSize = wide ? 64 : 52;
  if (image.length < headerSize) throw new BootError('the ELF image is truncated: it ends within its header');
  if (image[5] !== 1) throw new BootError('the ELF image is big-endian, not for x86');
  const view = new DataView(image.buffer, image.byteOffset, image.byteLength);
  const machine = view.getUint16(18, true);
  if (machine !== machines.x86 && machine !== machines.x86_64) throw new BootError(`the ELF image is for machine ${machine}, not for x86`);
  const word = (offset: number): number => (wide ? Number(view.getBigUint64(offset, true)) : view.getUint32(offset, true));
  const table = word(wide ? 32 : 28);
  const size = view.getUint16(wide ? 54 : 42, true);
  const count = view.getUint16(wide ? 56 : 44, true);
  if (count === 0 || count > maximumHeaders || size < (wide ? 56 : 32)) throw new BootError('the ELF image has no usable program headers');
  if (table + size * count > image.length) throw new BootError('the ELF image is truncated: its program headers lie beyond its end');
  const segments: ElfSegment[] = [];
  for (let index = 0; index < count; index++) {
    const at = table + index * size;
    if (view.getUint32(at, true) !== typeLoad) continue;
    // Fields in file order: offset, virtual address, physical address, file size, memory size; before them come type and, when wide, flags.
    const step = wide ? 8 : 4;
    const [offset = 0, virtual = 0, address = 0, fileLength = 0, memoryLength = 0] = [0, 1, 2, 3, 4].map(place => word(at + step + place * step));
    if (offset + fileLength > image.length) {
      throw new BootError(`the ELF image is truncated: segment ${index} ends at ${offset + fileLength}, the file has ${image.length} bytes`);
    }
    if (memoryLength < fileLength) throw new BootError(`the ELF image is damaged: segment ${index} is longer in the file than in memory`);
    if (memoryLength > 0) segments.push({ address, virtual, data: image.subarray(offset, offset + fileLength), memoryLength });
  }
  if (segments.length === 0) throw new BootError('the ELF image has nothing to load');
  return { entry: physicalEntry(word(24), segments), segments };
}

/** A note: a name that says whose it is, a type of that owner, and its contents. */
export interface ElfNote {
  readonly owner: string;
  readonly type: number;
  readonly data: Uint8Array;
}

/** The notes of all note segments; what does not fit into the file is left out. */
export function readElfNotes(image: Uint8Array): readonly ElfNote[] {
  const wide = image[4] === 2;
  const view = new DataView(image.buffer, image.byteOffset, image.byteLength);
  if (image.length < 64) return [];
  const word = (offset: number): number => (wide ? Number(view.getBigUint64(offset, true)) : view.getUint32(offset, true));
  const [table, size, count] = [word(wide ? 32 : 28), view.getUint16(wide ? 54 : 42, true), view.getUint16(wide ? 56 : 44, true)];
  const notes: ElfNote[] = [];
  for (let index = 0; index < Math.min(count, maximumHeaders); index++) {
    const at = table + index * size;
    if (at + (wide ? 56 : 32) > image.length || view.getUint32(at, true) !== typeNote) continue;
    const offset = word(at + (wide ? 8 : 4));
    const length = word(at + (wide ? 32 : 16));
    if (offset + length <= image.length) notes.push(...notesIn(image.subarray(offset, offset + length)));
  }
  return notes;
}

function notesIn(bytes: Uint8Array): readonly ElfNote[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const notes: ElfNote[] = [];
  const aligned = (value: number): number => Math.ceil(value / 4) * 4;
  for (let at = 0; at + 12 <= bytes.length;) {
    const [nameLength, dataLength, type] = [view.getUint32(at, true), view.getUint32(at + 4, true), view.getUint32(at + 8, true)];
    const data = at + 12 + aligned(nameLength);
    if (data + dataLength > bytes.length) break;
    const owner = Buffer.from(bytes.subarray(at + 12, at + 12 + Math.max(0, nameLength - 1))).toString('latin1');
    notes.push({ owner, type, data: bytes.subarray(data, data + dataLength) });
    at = data + aligned(dataLength);
  }
  return notes;
}

/** Some images give a virtual entry point: it is where the segment that holds it was loaded. */
function physicalEntry(entry: number, segments: readonly ElfSegment[]): number {
  if (segments.some(({ address, memoryLength }) => entry >= address && entry < address + memoryLength)) return entry;
  const holder = segments.find(({ virtual, memoryLength }) => entry >= virtual && entry < virtual + memoryLength);
  if (holder === undefined) throw new BootError(`the ELF image is damaged: its entry point 0x${entry.toString(16)} lies in none of its segments`);
  return entry - holder.virtual + holder.address;
}
