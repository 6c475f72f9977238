/** Multiboot 1: ELF images and images with the address fields (the "a.out kludge"), modules, memory map, command lines. */

import { BootError, alignUp, commandLineBytes, placesOf, sizeText } from './loader.ts';
import { isElf, readElf } from './elf.ts';
import { lowMemory, protectedEntry } from './entryState.ts';
import type { BootPlan, LoadedImage, MemoryWrite } from './loader.ts';

const headerMagic = 0x1badb002;
const loaderMagic = 0x2badb002;
/** The header lies in the first 8 KB, on a multiple of four. */
const searchLength = 8192;

/** Header flags. Bits 0 to 15 are demands: one that is not known forbids the boot. */
const flag = { pageAlignModules: 0x1, memoryInfo: 0x2, video: 0x4, addresses: 0x10000 } as const;
const knownDemands = flag.pageAlignModules | flag.memoryInfo | flag.video;

/** Information flags that say which fields are valid. */
const info = { memory: 0x001, commandLine: 0x004, modules: 0x008, map: 0x040, loaderName: 0x200 } as const;
/** Above the vectors and the BIOS data area. */
const firstLoadable = 0x1000;
const infoSize = 120;
const moduleEntrySize = 16;
const mapEntrySize = 24;

export interface MultibootModule {
  readonly data: Uint8Array;
  /** The module's string: by custom its file name, then its arguments. */
  readonly commandLine: string;
}

/** A run of an image that goes into memory. */
export interface ImagePart {
  readonly address: number;
  readonly data: Uint8Array;
  readonly memoryLength: number;
}

/** The offset of the multiboot header, or -1. */
export function findMultibootHeader(image: Uint8Array): number {
  const view = viewOf(image);
  for (let offset = 0; offset + 12 <= Math.min(image.length, searchLength); offset += 4) {
    if (view.getUint32(offset, true) !== headerMagic) continue;
    if (((headerMagic + view.getUint32(offset + 4, true) + view.getUint32(offset + 8, true)) >>> 0) === 0) return offset;
  }
  return -1;
}

/**
 * Plans a multiboot boot. The command line that the image reads begins with a word for the image itself, as boot loaders have it.
 * @throws BootError for an image that is damaged or demands what is not offered, or when something does not fit
 */
export function loadMultiboot(image: Uint8Array, header: number, append: string, modules: readonly MultibootModule[], plan: BootPlan): LoadedImage {
  const flags = viewOf(image).getUint32(header + 4, true);
  const unknown = flags & 0xffff & ~knownDemands;
  if (unknown !== 0) throw new BootError(`the multiboot image demands features 0x${unknown.toString(16)} that are not offered`);
  const { parts, entry } = (flags & flag.addresses) !== 0 ? readAddressFields(image, header) : readElfParts(image);
  for (const part of parts) checkPart(part, plan.memoryBytes);
  const kernelEnd = Math.max(...parts.map(({ address, memoryLength }) => address + memoryLength));
  const placed = placeModules(modules, Math.max(kernelEnd, 0x100000), plan.memoryBytes);
  const information = buildInformation(append, placed, plan);
  const state = protectedEntry({ rip: entry, rax: loaderMagic, rbx: information.address });
  const writes = parts.flatMap(partWrites);
  for (const { address, module } of placed) writes.push({ address, data: module.data });
  return { writes: [...state.writes, ...writes, information], vcpu: state.vcpu };
}

/** What a part puts into memory. RAM is zero at power-on, but not after a reset. */
export function partWrites({ address, data, memoryLength }: ImagePart): readonly MemoryWrite[] {
  const rest = memoryLength - data.length;
  return [{ address, data }, ...(rest > 0 ? [{ address: address + data.length, data: new Uint8Array(rest) }] : [])];
}

function readElfParts(image: Uint8Array): { readonly parts: readonly ImagePart[]; readonly entry: number } {
  if (!isElf(image)) throw new BootError('the multiboot image is neither an ELF file nor has it the address fields');
  const { segments, entry } = readElf(image);
  return { parts: segments, entry };
}

/** The five address fields that follow the checksum: header, load, load end, bss end, entry. */
function readAddressFields(image: Uint8Array, header: number): { readonly parts: readonly ImagePart[]; readonly entry: number } {
  if (header + 32 > image.length) throw new BootError('the multiboot image is truncated: it ends within its header');
  const view = viewOf(image);
  const [headerAddress = 0, load = 0, loadEnd = 0, bssEnd = 0, entry = 0] = [12, 16, 20, 24, 28].map(offset => view.getUint32(header + offset, true));
  const start = header - (headerAddress - load);
  if (load > headerAddress || start < 0) throw new BootError('the multiboot image is damaged: its load address lies above its header');
  const length = loadEnd === 0 ? image.length - start : loadEnd - load;
  if (length <= 0) throw new BootError('the multiboot image is damaged: it ends before it begins');
  if (start + length > image.length) {
    throw new BootError(`the multiboot image is truncated: its header promises ${start + length} bytes, the file has ${image.length}`);
  }
  const memoryLength = bssEnd === 0 ? length : bssEnd - load;
  if (memoryLength < length) throw new BootError('the multiboot image is damaged: its bss ends before its data');
  return { parts: [{ address: load, data: image.subarray(start, start + length), memoryLength }], entry };
}

/** What is loaded must be RAM, and not where the boot information goes. */
export function checkPart({ address, memoryLength }: ImagePart, memoryBytes: number): void {
  const end = address + memoryLength;
  if (end > memoryBytes) {
    throw new BootError(`the guest's memory of ${sizeText(memoryBytes)} is too small: the image loads up to ${sizeText(end)}; give the VM more memory`);
  }
  // The descriptor table of the entry state may be overwritten: an image must not rely on it.
  if (address >= 0x100000 || (address >= firstLoadable && end <= lowMemory.bootParams)) return;
  const range = `0x${firstLoadable.toString(16)} and 0x${lowMemory.bootParams.toString(16)}`;
  throw new BootError(`the image loads at 0x${address.toString(16)}; what loads below 1 MB must lie between ${range}`);
}

/** Modules follow on page boundaries. @throws BootError when one does not fit */
export function placeModules(modules: readonly MultibootModule[], from: number, memoryBytes: number) {
  let next = from;
  return modules.map((module, index) => {
    const address = alignUp(next, 0x1000);
    next = address + module.data.length;
    if (next > memoryBytes) {
      const says = `module ${index + 1} of ${sizeText(module.data.length)} does not fit into the guest's memory of ${sizeText(memoryBytes)}`;
      throw new BootError(`${says}; give the VM more memory`);
    }
    return { address, module };
  });
}

type PlacedModule = ReturnType<typeof placeModules>[number];

/** The information structure, then the module list, the memory map and all strings. */
function buildInformation(append: string, modules: readonly PlacedModule[], plan: BootPlan): MemoryWrite {
  const address = lowMemory.bootParams;
  const strings = [
    commandLineBytes(append === '' ? 'kernel' : `kernel ${append}`, 'the command line'),
    commandLineBytes('Vanderpool', 'the loader name'),
    ...modules.map(({ module }, index) => commandLineBytes(module.commandLine, `the command line of module ${index + 1}`)),
  ];
  const moduleList = address + infoSize;
  const map = moduleList + modules.length * moduleEntrySize;
  const { places, end } = placesOf(strings, map + plan.memoryMap.length * mapEntrySize);
  if (end > lowMemory.end) throw new BootError(`the command lines have ${sizeText(end - map)}; at most ${sizeText(lowMemory.end - address)} are offered`);

  const data = new Uint8Array(end - address);
  const view = viewOf(data);
  const put = (offset: number, value: number): void => view.setUint32(offset, value, true);
  put(0, info.memory | info.commandLine | info.modules | info.map | info.loaderName);
  put(4, lowMemory.end >> 10);
  put(8, Math.floor((plan.memoryBytes - 0x100000) / 1024));
  put(16, places[0] ?? 0);
  put(20, modules.length);
  put(24, moduleList);
  put(44, plan.memoryMap.length * mapEntrySize);
  put(48, map);
  put(64, places[1] ?? 0);
  modules.forEach(({ address: start, module }, index) => {
    const at = moduleList - address + index * moduleEntrySize;
    put(at, start);
    put(at + 4, start + module.data.length);
    put(at + 8, places[2 + index] ?? 0);
  });
  plan.memoryMap.forEach(({ base, length, type }, index) => {
    const at = map - address + index * mapEntrySize;
    put(at, mapEntrySize - 4);
    view.setBigUint64(at + 4, BigInt(base), true);
    view.setBigUint64(at + 12, BigInt(length), true);
    put(at + 20, type);
  });
  strings.forEach((bytes, index) => data.set(bytes, (places[index] ?? address) - address));
  return { address, data };
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
