/** Recognises a kernel image and plans its boot. */

import { gunzipSync } from 'node:zlib';
import { BootError, sizeText } from './loader.ts';
import { findMultibootHeader, loadMultiboot } from './multiboot.ts';
import { findMultiboot2Header, loadMultiboot2 } from './multiboot2.ts';
import { isElf } from './elf.ts';
import { loadPvh, pvhEntry } from './pvh.ts';
import { isLinuxImage, loadLinux } from './linux.ts';
import type { BootPlan, LoadedImage } from './loader.ts';
import type { MultibootModule } from './multiboot.ts';

export interface BootImages {
  readonly kernel: Uint8Array;
  readonly initrd?: Uint8Array;
  readonly append: string;
  readonly modules: readonly MultibootModule[];
}

/** The least memory a machine can have: the first megabyte and something to load above it. */
export const minimumMemory = 2 << 20;
/** RAM ends where the PCI hole begins. */
export const maximumMemory = 3 * 2 ** 30;

const largestUnpacked = 512 << 20;

/**
 * Validates an image against the machine and plans its boot; nothing runs before this has returned.
 * @throws BootError naming what is wrong with the image or the memory, and what to do
 */
export function loadImage(images: BootImages, plan: BootPlan): LoadedImage {
  if (plan.memoryBytes < minimumMemory) throw new BootError(`a guest needs at least ${sizeText(minimumMemory)} of memory`);
  if (plan.memoryBytes > maximumMemory) throw new BootError(`a guest can have at most ${sizeText(maximumMemory)} of memory`);
  if (images.kernel.length === 0) throw new BootError('the kernel image is empty');
  const kernel = unpack(images.kernel);
  if (isLinuxImage(kernel)) {
    if (images.modules.length > 0) throw new BootError('a Linux kernel takes an initrd, not modules; modules belong to multiboot images');
    return loadLinux(kernel, images.initrd, images.append, plan);
  }
  const modules = [...(images.initrd === undefined ? [] : [{ data: images.initrd, commandLine: 'initrd' }]), ...images.modules];
  const header = findMultibootHeader(kernel);
  if (header >= 0) return loadMultiboot(kernel, header, images.append, modules, plan);
  const header2 = findMultiboot2Header(kernel);
  if (header2 >= 0) return loadMultiboot2(kernel, header2, images.append, modules, plan);
  const entry = pvhEntry(kernel);
  if (entry !== null) return loadPvh(kernel, entry, images.append, modules, plan);
  if (isElf(kernel)) {
    throw new BootError('the ELF image has neither a multiboot header in its first 8 KB nor a PVH entry point; a bzImage or one of those is needed');
  }
  throw new BootError('the kernel image is not recognised: it is no Linux bzImage, no multiboot image and no ELF file with a PVH entry point');
}

/** What an image that boots is. */
export function recogniseImage(image: Uint8Array): 'linux' | 'multiboot' | 'multiboot2' | 'pvh' | 'unknown' {
  const kernel = unpack(image);
  if (isLinuxImage(kernel)) return 'linux';
  if (findMultibootHeader(kernel) >= 0) return 'multiboot';
  if (findMultiboot2Header(kernel) >= 0) return 'multiboot2';
  return pvhEntry(kernel) === null ? 'unknown' : 'pvh';
}

/** Some images, Xen's among them, are shipped compressed with gzip. */
function unpack(image: Uint8Array): Uint8Array {
  if (image[0] !== 0x1f || image[1] !== 0x8b) return image;
  try {
    return gunzipSync(image, { maxOutputLength: largestUnpacked });
  } catch (error) {
    throw new BootError(`the kernel image is compressed with gzip and cannot be unpacked: ${error instanceof Error ? error.message : String(error)}`);
  }
}
