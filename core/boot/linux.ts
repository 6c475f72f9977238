/** The Linux boot protocol for bzImage, versions 2.06 and later: 64-bit entry, and 32-bit entry for i386 kernels. */

import { BootError, alignDown, alignUp, commandLineBytes, sizeText } from './loader.ts';
import { longEntry, lowMemory, protectedEntry } from './entryState.ts';
import type { BootPlan, FrameBuffer, LoadedImage, MemoryWrite } from './loader.ts';

/** Fields of the setup header by their offsets, in the image and in boot_params alike. */
const field = {
  setupSectors: 0x1f1, systemSize: 0x1f4, bootFlag: 0x1fe, jump: 0x200, magic: 0x202, protocol: 0x206, loaderType: 0x210, loadFlags: 0x211,
  code32Start: 0x214, initrdAddress: 0x218, initrdSize: 0x21c, heapEnd: 0x224, commandLine: 0x228, initrdLimit: 0x22c,
  alignment: 0x230, relocatable: 0x234, extendedLoadFlags: 0x236, commandLineSize: 0x238, payloadOffset: 0x248, payloadLength: 0x24c, preferredAddress: 0x258, initSize: 0x260,
} as const;

/** Fields of boot_params outside the setup header. */
const params = { rsdp: 0x070, alternateMemory: 0x1e0, mapEntries: 0x1e8, map: 0x2d0, mapRoom: 128, size: 0x1000 } as const;

/** Fields of screen_info, the first part of boot_params: what a VESA BIOS would have said of a linear frame buffer. */
const screen = {
  videoMode: 0x0f, width: 0x12, height: 0x14, depth: 0x16, base: 0x18, blocks: 0x1c, pitch: 0x24, colours: 0x26, pages: 0x32, attributes: 0x34,
} as const;
const linearFrameBuffer = 0x23;
/** Size and position of red, green, blue and the rest of a pixel. */
const pixelLayout = [8, 16, 8, 8, 8, 0, 8, 24] as const;

const magicHdrS = 0x53726448;
const loadedHigh = 0x01;
const kernel64 = 0x0001;
/** "A loader without an assigned number." */
const unassignedLoader = 0xff;
const entry64Offset = 0x200;
const headerStart = 0x1f1;

/** Whether an image claims to be a bzImage: the boot flag and the header's magic. */
export function isLinuxImage(image: Uint8Array): boolean {
  if (image.length < field.protocol + 2) return false;
  const view = viewOf(image);
  return view.getUint16(field.bootFlag, true) === 0xaa55 && view.getUint32(field.magic, true) === magicHdrS;
}

interface Header {
  readonly protocol: number;
  /** Where the protected-mode part begins in the file, and its length. */
  readonly systemStart: number;
  readonly systemLength: number;
  readonly headerEnd: number;
  readonly is64: boolean;
  readonly relocatable: boolean;
  readonly preferredAddress: number;
  readonly alignment: number;
  /** Bytes the kernel needs from its load address before it reads the memory map. */
  readonly initSize: number;
  readonly initrdLimit: number;
  readonly commandLineSize: number;
}

/**
 * Plans a boot of a bzImage.
 * @throws BootError for an image that is damaged or too old, or when kernel and initrd do not fit into the memory
 */
export function loadLinux(image: Uint8Array, initrd: Uint8Array | undefined, append: string, plan: BootPlan): LoadedImage {
  const header = readHeader(image);
  const commandLine = commandLineBytes(append, 'the kernel command line');
  if (commandLine.length - 1 > header.commandLineSize) {
    throw new BootError(`the kernel command line has ${commandLine.length - 1} bytes; this kernel takes at most ${header.commandLineSize}`);
  }
  const kernelAddress = placeKernel(header, plan.memoryBytes);
  const initrdAddress = initrd === undefined || initrd.length === 0 ? 0 : placeInitrd(header, kernelAddress, initrd.length, plan.memoryBytes);
  const bootParams = buildBootParams(image, header, plan, kernelAddress, initrdAddress, initrd?.length ?? 0);
  const registers = { rsi: lowMemory.bootParams };
  const entry = header.is64 ? longEntry({ ...registers, rip: kernelAddress + entry64Offset }) : protectedEntry({ ...registers, rip: kernelAddress });
  const writes: MemoryWrite[] = [
    ...entry.writes,
    { address: lowMemory.bootParams, data: bootParams },
    { address: lowMemory.commandLine, data: commandLine },
    { address: kernelAddress, data: image.subarray(header.systemStart, header.systemStart + header.systemLength) },
  ];
  if (initrd !== undefined && initrdAddress !== 0) writes.push({ address: initrdAddress, data: initrd });
  return { writes, vcpu: entry.vcpu };
}

function readHeader(image: Uint8Array): Header {
  if (image.length < 0x268) throw new BootError(`the kernel image is truncated: it has ${image.length} bytes, too few for a Linux setup header`);
  const view = viewOf(image);
  const protocol = view.getUint16(field.protocol, true);
  const protocolText = `${protocol >> 8}.${String(protocol & 0xff).padStart(2, '0')}`;
  if (protocol < 0x206) throw new BootError(`the kernel speaks Linux boot protocol ${protocolText}; 2.06 or later is needed`);
  if (((image[field.loadFlags] ?? 0) & loadedHigh) === 0) {
    throw new BootError('the kernel is a zImage, which loads below 640 KB; a bzImage is needed');
  }
  // Zero stands for four, for kernels of the nineties.
  const systemStart = ((image[field.setupSectors] || 4) + 1) * 512;
  const systemLength = view.getUint32(field.systemSize, true) * 16;
  if (systemLength === 0) throw new BootError('the kernel image is damaged: its header gives a length of zero');
  // The length counts paragraphs of 16 bytes: the last one need not be whole.
  checkLength(image, systemStart + systemLength - 15, 'its header promises at least');
  const headerEnd = field.magic + (image[field.jump + 1] ?? 0);
  if (headerEnd > params.map || headerEnd < field.commandLineSize + 4) {
    throw new BootError(`the kernel image is damaged: its setup header ends at 0x${headerEnd.toString(16)}`);
  }
  if (protocol >= 0x208) {
    const payload = systemStart + view.getUint32(field.payloadOffset, true) + view.getUint32(field.payloadLength, true);
    checkLength(image, payload, 'its payload ends after');
  }
  const late = protocol >= 0x20a;
  const alignment = view.getUint32(field.alignment, true) || 0x1000;
  if ((alignment & (alignment - 1)) !== 0) throw new BootError('the kernel image is damaged: its alignment is no power of two');
  return {
    protocol,
    systemStart,
    systemLength,
    headerEnd,
    is64: protocol >= 0x20c && (view.getUint16(field.extendedLoadFlags, true) & kernel64) !== 0,
    relocatable: image[field.relocatable] !== 0,
    preferredAddress: late ? Number(view.getBigUint64(field.preferredAddress, true)) : view.getUint32(field.code32Start, true),
    alignment,
    // Before 2.10 kernels do not tell; they unpack to about three times their length.
    initSize: Math.max(late ? view.getUint32(field.initSize, true) : systemLength * 4, systemLength),
    initrdLimit: view.getUint32(field.initrdLimit, true),
    commandLineSize: Math.min(view.getUint32(field.commandLineSize, true), lowMemory.end - lowMemory.commandLine - 1),
  };
}

function checkLength(image: Uint8Array, needed: number, says: string): void {
  if (needed <= image.length) return;
  throw new BootError(`the kernel image is truncated: ${says} ${needed} bytes, the file has ${image.length}; copy it again`);
}

/** The preferred address where it fits, else the lowest aligned one from 1 MB for a relocatable kernel. */
function placeKernel(header: Header, memoryBytes: number): number {
  const { preferredAddress, initSize, alignment, relocatable } = header;
  const fits = (address: number): boolean => address >= 0x100000 && address + initSize <= memoryBytes;
  if (fits(preferredAddress)) return preferredAddress;
  const lowest = alignUp(0x100000, alignment);
  if (relocatable && fits(lowest)) return lowest;
  const needed = (relocatable ? lowest : preferredAddress) + initSize;
  const says = `the guest's memory of ${sizeText(memoryBytes)} is too small`;
  throw new BootError(`${says}: this kernel needs ${sizeText(needed)} to start; give the VM more memory`);
}

/** As high as the kernel allows and the memory reaches, above the kernel. */
function placeInitrd(header: Header, kernelAddress: number, length: number, memoryBytes: number): number {
  const end = Math.min(header.initrdLimit + 1, memoryBytes);
  const address = alignDown(end - length, 0x1000);
  const lowest = kernelAddress + header.initSize;
  if (address < lowest) {
    const needed = alignUp(lowest + length, 1 << 20);
    const limit = header.initrdLimit + 1;
    const remedy = needed > limit ? `this kernel takes initrds below ${sizeText(limit)} only` : `give the VM at least ${sizeText(needed)}`;
    const says = `the initrd of ${sizeText(length)} does not fit into the guest's memory of ${sizeText(memoryBytes)}`;
    throw new BootError(`${says} beside the kernel, which needs ${sizeText(lowest)}: ${remedy}`);
  }
  return address;
}

function buildBootParams(image: Uint8Array, header: Header, plan: BootPlan, kernel: number, initrd: number, initrdSize: number): Uint8Array {
  const data = new Uint8Array(params.size);
  const view = viewOf(data);
  data.set(image.subarray(headerStart, header.headerEnd), headerStart);
  data[field.loaderType] = unassignedLoader;
  view.setUint32(field.code32Start, kernel, true);
  view.setUint32(field.initrdAddress, initrd, true);
  view.setUint32(field.initrdSize, initrd === 0 ? 0 : initrdSize, true);
  view.setUint32(field.commandLine, lowMemory.commandLine, true);
  view.setUint32(params.alternateMemory, Math.floor((plan.memoryBytes - 0x100000) / 1024), true);
  if (header.protocol >= 0x20e) view.setBigUint64(params.rsdp, BigInt(plan.rsdpAddress), true);
  const entries = plan.memoryMap.slice(0, params.mapRoom);
  data[params.mapEntries] = entries.length;
  if (plan.frameBuffer) putScreen(view, plan.frameBuffer);
  entries.forEach(({ base, length, type }, index) => {
    view.setBigUint64(params.map + index * 20, BigInt(base), true);
    view.setBigUint64(params.map + index * 20 + 8, BigInt(length), true);
    view.setUint32(params.map + index * 20 + 16, type, true);
  });
  return data;
}

function putScreen(view: DataView, { address, width, height, pitch, length }: FrameBuffer): void {
  view.setUint8(screen.videoMode, linearFrameBuffer);
  for (const [field, value] of [[screen.width, width], [screen.height, height], [screen.depth, 32], [screen.pitch, pitch], [screen.pages, 1]] as const) {
    view.setUint16(field, value, true);
  }
  view.setUint32(screen.base, address, true);
  view.setUint32(screen.blocks, length >> 16, true);
  pixelLayout.forEach((value, index) => view.setUint8(screen.colours + index, value));
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
