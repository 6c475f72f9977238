/** PVH: ELF images with a 32-bit entry point in a note, as Linux and others have it. (Xen's public headers: hvm_start_info) */

import { BootError, commandLineBytes, placesOf, sizeText } from './loader.ts';
import { lowMemory, protectedEntry } from './entryState.ts';
import { isElf, readElf, readElfNotes } from './elf.ts';
import { checkPart, partWrites, placeModules } from './multiboot.ts';
import type { BootPlan, LoadedImage, MemoryWrite } from './loader.ts';
import type { MultibootModule } from './multiboot.ts';

/** The note that holds the entry point. */
const entryNote = { owner: 'Xen', type: 18 } as const;
const startMagic = 0x336ec578;
const layout = { start: 56, module: 32, mapEntry: 24 } as const;

/** The entry point that a note gives, or null: the image is none for PVH. */
export function pvhEntry(image: Uint8Array): number | null {
  if (!isElf(image)) return null;
  const note = readElfNotes(image).find(({ owner, type, data }) => owner === entryNote.owner && type === entryNote.type && data.length >= 4);
  return note === undefined ? null : new DataView(note.data.buffer, note.data.byteOffset).getUint32(0, true);
}

/**
 * Plans a PVH boot.
 * @throws BootError for an image that is damaged, or when something does not fit
 */
export function loadPvh(image: Uint8Array, entry: number, append: string, modules: readonly MultibootModule[], plan: BootPlan): LoadedImage {
  const { segments } = readElf(image);
  for (const segment of segments) checkPart(segment, plan.memoryBytes);
  if (!segments.some(({ address, memoryLength }) => entry >= address && entry < address + memoryLength)) {
    throw new BootError(`the PVH image is damaged: its entry point 0x${entry.toString(16)} lies in none of its segments`);
  }
  const end = Math.max(...segments.map(({ address, memoryLength }) => address + memoryLength));
  const placed = placeModules(modules, Math.max(end, 0x100000), plan.memoryBytes);
  const start = startInformation(append, placed.map(({ address, module }) => ({ address, length: module.data.length, text: module.commandLine })), plan);
  const state = protectedEntry({ rip: entry, rbx: start.address });
  const loaded = placed.map(({ address, module }): MemoryWrite => ({ address, data: module.data }));
  return { writes: [...state.writes, ...segments.flatMap(partWrites), ...loaded, start], vcpu: state.vcpu };
}

interface StartModule {
  readonly address: number;
  readonly length: number;
  readonly text: string;
}

/** The structure that EBX leads to, then module list, memory map and strings. */
function startInformation(append: string, modules: readonly StartModule[], plan: BootPlan): MemoryWrite {
  const address = lowMemory.bootParams;
  const moduleList = address + layout.start;
  const map = moduleList + modules.length * layout.module;
  const texts = modules.map(({ text }, index) => commandLineBytes(text, `the command line of module ${index + 1}`));
  const strings = [commandLineBytes(append, 'the command line'), ...texts];
  const { places, end } = placesOf(strings, map + plan.memoryMap.length * layout.mapEntry);
  if (end > lowMemory.end) throw new BootError(`the command lines have ${sizeText(end - map)}; at most ${sizeText(lowMemory.end - map)} are offered`);
  const data = new Uint8Array(end - address);
  const view = new DataView(data.buffer);
  const wide = (offset: number, value: number): void => view.setBigUint64(offset, BigInt(value), true);
  view.setUint32(0, startMagic, true);
  view.setUint32(4, 1, true);
  view.setUint32(12, modules.length, true);
  [modules.length > 0 ? moduleList : 0, places[0] ?? 0, plan.rsdpAddress, map].forEach((value, index) => wide(16 + index * 8, value));
  view.setUint32(48, plan.memoryMap.length, true);
  modules.forEach((module, index) => {
    const at = moduleList - address + index * layout.module;
    [module.address, module.length, places[1 + index] ?? 0].forEach((value, field) => wide(at + field * 8, value));
  });
  plan.memoryMap.forEach(({ base, length, type }, index) => {
    const at = map - address + index * layout.mapEntry;
    wide(at, base);
    wide(at + 8, length);
    view.setUint32(at + 16, type, true);
  });
  strings.forEach((bytes, index) => data.set(bytes, (places[index] ?? address) - address));
  return { address, data };
}
