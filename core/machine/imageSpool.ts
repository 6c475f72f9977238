/**
 * Boot images after the boot. A reset loads them again, perhaps never; until then they lie in a file without a name, which the host may
 * keep in its cache or not, instead of in the process's memory.
 */
import { mkdtempSync, openSync, readSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import type { BootImages } from '../boot/image.ts';

/** Smaller images stay where they are. */
const SPOOL_BYTES = 1 << 20;

/**
 * Puts an image away and returns the function that fetches it. The bytes given are empty afterwards, unless they stay in memory: small
 * ones, those that share their buffer, and all where a file without a name is not to be had.
 */
export function spool(image: Uint8Array): () => Uint8Array {
  const { buffer, byteLength } = image;
  if (byteLength < SPOOL_BYTES || !(buffer instanceof ArrayBuffer) || buffer.byteLength !== byteLength) return () => image;
  const file = unnamedFile(image);
  if (file === null) return () => image;
  buffer.transfer(0);
  return () => {
    const bytes = new Uint8Array(byteLength);
    for (let at = 0; at < byteLength;) {
      const count = readSync(file, bytes, at, byteLength - at, at);
      if (count === 0) throw new Error('the file that holds a boot image was cut short');
      at += count;
    }
    return bytes;
  };
}

/** All images of a boot, put away as `spool` does; the function returned fetches them. */
export function spoolImages(images: BootImages): () => BootImages {
  const kernel = spool(images.kernel);
  const initrd = images.initrd && spool(images.initrd);
  const modules = images.modules.map(({ data, commandLine }) => ({ data: spool(data), commandLine }));
  return () => ({
    kernel: kernel(), append: images.append, ...(initrd ? { initrd: initrd() } : {}),
    modules: modules.map(({ data, commandLine }) => ({ data: data(), commandLine })),
  });
}

/** A file that ends with the process; null where the system or the disk does not allow it. */
function unnamedFile(bytes: Uint8Array): number | null {
  // Windows does not remove files that are open.
  if (process.platform === 'win32') return null;
  let folder: string | null = null;
  try {
    folder = mkdtempSync(join(tmpdir(), 'vanderpool-'));
    const path = join(folder, 'image');
    writeFileSync(path, bytes, { mode: 0o600 });
    return openSync(path, 'r');
  } catch {
    return null;
  } finally {
    if (folder !== null) rmSync(folder, { recursive: true, force: true });
  }
}
