/** Multiboot 2: ELF images and images with an address tag; information as tags. (Multiboot2 specification) */

import { BootError, commandLineBytes, sizeText } from './loader.ts';
import { lowMemory, protectedEntry } from './entryState.ts';
import { isElf, readElf } from './elf.ts';
import { checkPart, partWrites, placeModules } from './multiboot.ts';
import type { BootPlan, LoadedImage, MemoryWrite } from './loader.ts';
import type { ImagePart, MultibootModule } from './multiboot.ts';

const headerMagic = 0xe85250d6;
const loaderMagic = 0x36d76289;
/** The header lies in the first 32 KB, on a multiple of eight. */
const searchLength = 32768;
const fixedHeader = 16;
const i386 = 0;

/** Tags of the header. One that is not known forbids the boot unless it is marked optional. */
const wish = {
  end: 0, information: 1, addresses: 2, entry: 3, console: 4, frameBuffer: 5, moduleAlignment: 6, bootServices: 7, entryEfi32: 8, entryEfi64: 9, relocatable: 10,
} as const;
const known: readonly number[] = Object.values(wish);
const optional = 1;

/** Tags of the information. */
const tag = { end: 0, commandLine: 1, loaderName: 2, module: 3, memory: 4, map: 6, oldRsdp: 14, newRsdp: 15 } as const;
const mapEntryBytes = 24;
/** Lengths of the root pointers of ACPI 1.0 and 2.0. */
const rsdpLengths = { old: 20, new: 36 } as const;

/** The offset of the header, or -1. */
export function findMultiboot2Header(image: Uint8Array): number {
  const view = viewOf(image);
  for (let offset = 0; offset + fixedHeader <= Math.min(image.length, searchLength); offset += 8) {
    if (view.getUint32(offset, true) !== headerMagic) continue;
    const sum = [0, 4, 8, 12].reduce((total, field) => total + view.getUint32(offset + field, true), 0);
    if (sum % 2 ** 32 === 0) return offset;
  }
  return -1;
}

/**
 * Plans a multiboot 2 boot.
 * @throws BootError for an image that is damaged or demands what is not offered, or when something does not fit
 */
export function loadMultiboot2(image: Uint8Array, header: number, append: string, modules: readonly MultibootModule[], plan: BootPlan): LoadedImage {
  const { parts, entry } = readHeader(image, header);
  for (const part of parts) checkPart(part, plan.memoryBytes);
  const end = Math.max(...parts.map(({ address, memoryLength }) => address + memoryLength));
  const placed = placeModules(modules, Math.max(end, 0x100000), plan.memoryBytes);
  const data = information(append, placed.map(({ address, module }) => ({ first: address, end: address + module.data.length, text: module.commandLine })), plan);
  if (lowMemory.bootParams + data.length > lowMemory.end) {
    throw new BootError(`the command lines make ${sizeText(data.length)} of boot information; at most ${sizeText(lowMemory.end - lowMemory.bootParams)} are offered`);
  }
  const state = protectedEntry({ rip: entry, rax: loaderMagic, rbx: lowMemory.bootParams });
  const loaded = placed.map(({ address, module }): MemoryWrite => ({ address, data: module.data }));
  return { writes: [...state.writes, ...parts.flatMap(partWrites), ...loaded, { address: lowMemory.bootParams, data }], vcpu: state.vcpu };
}

function readHeader(image: Uint8Array, header: number): { readonly parts: readonly ImagePart[]; readonly entry: number } {
  const view = viewOf(image);
  if (view.getUint32(header + 4, true) !== i386) throw new BootError('the multiboot 2 image is for another architecture');
  const end = header + view.getUint32(header + 8, true);
  if (end > image.length) throw new BootError('the multiboot 2 image is truncated: it ends within its header');
  let addresses: number | null = null;
  let entry: number | null = null;
  for (let at = header + fixedHeader; at + 8 <= end;) {
    const [type, flags, size] = [view.getUint16(at, true), view.getUint16(at + 2, true), view.getUint32(at + 4, true)];
    if (type === wish.end) break;
    if (size < 8 || at + size > end) throw new BootError(`the multiboot 2 image is damaged: tag ${type} of its header has ${size} bytes`);
    if (!known.includes(type) && (flags & optional) === 0) throw new BootError(`the multiboot 2 image demands a feature (tag ${type}) that is not offered`);
    if (type === wish.addresses && size >= 24) addresses = at + 8;
    if (type === wish.entry && size >= 12) entry = view.getUint32(at + 8, true);
    at += Math.ceil(size / 8) * 8;
  }
  if (addresses === null) {
    if (!isElf(image)) throw new BootError('the multiboot 2 image is neither an ELF file nor has it an address tag');
    const elf = readElf(image);
    return { parts: elf.segments, entry: entry ?? elf.entry };
  }
  if (entry === null) throw new BootError('the multiboot 2 image is damaged: it has an address tag and no entry tag');
  return { parts: [addressPart(image, header, addresses)], entry };
}

/** Header address, load address, load end, bss end. */
function addressPart(image: Uint8Array, header: number, fields: number): ImagePart {
  const view = viewOf(image);
  const [headerAddress = 0, load = 0, loadEnd = 0, bssEnd = 0] = [0, 4, 8, 12].map(offset => view.getUint32(fields + offset, true));
  const start = load === 0xffffffff ? 0 : header - (headerAddress - load);
  const address = load === 0xffffffff ? headerAddress - header : load;
  const length = loadEnd === 0 ? image.length - start : loadEnd - address;
  const memoryLength = bssEnd === 0 ? length : bssEnd - address;
  if (start < 0 || address < 0 || length <= 0 || start + length > image.length || memoryLength < length) {
    throw new BootError('the multiboot 2 image is damaged: its address tag does not fit the file');
  }
  return { address, data: image.subarray(start, start + length), memoryLength };
}

function information(append: string, modules: readonly { readonly first: number; readonly end: number; readonly text: string }[], plan: BootPlan): Uint8Array {
  const words = (...values: number[]): Uint8Array => new Uint8Array(Uint32Array.from(values).buffer);
  const tags = [
    makeTag(tag.commandLine, commandLineBytes(append, 'the command line')),
    makeTag(tag.loaderName, commandLineBytes('Vanderpool', 'the loader name')),
    ...modules.map(({ first, end, text }, index) => makeTag(tag.module, words(first, end), commandLineBytes(text, `the command line of module ${index + 1}`))),
    makeTag(tag.memory, words(lowMemory.end >> 10, Math.floor((plan.memoryBytes - 0x100000) / 1024))),
    makeTag(tag.map, words(mapEntryBytes, 0), memoryEntries(plan)),
    makeTag(tag.oldRsdp, plan.rsdp.subarray(0, rsdpLengths.old)), makeTag(tag.newRsdp, plan.rsdp.subarray(0, rsdpLengths.new)),
    makeTag(tag.end),
  ];
  const data = new Uint8Array(Buffer.concat([new Uint8Array(8), ...tags]));
  viewOf(data).setUint32(0, data.length, true);
  return data;
}

function memoryEntries({ memoryMap }: BootPlan): Uint8Array {
  const data = new Uint8Array(memoryMap.length * mapEntryBytes);
  const view = viewOf(data);
  memoryMap.forEach(({ base, length, type }, index) => {
    view.setBigUint64(index * mapEntryBytes, BigInt(base), true);
    view.setBigUint64(index * mapEntryBytes + 8, BigInt(length), true);
    view.setUint32(index * mapEntryBytes + 16, type, true);
  });
  return data;
}

/** Type, size, contents; padded to a multiple of eight, which the size does not count. */
function makeTag(type: number, ...contents: readonly Uint8Array[]): Uint8Array {
  const size = 8 + contents.reduce((sum, { length }) => sum + length, 0);
  const data = new Uint8Array(Math.ceil(size / 8) * 8);
  const view = viewOf(data);
  view.setUint32(0, type, true);
  view.setUint32(4, size, true);
  data.set(Buffer.concat(contents), 8);
  return data;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
