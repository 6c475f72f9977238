/**
 * The system's library, for what Node has no call for: giving memory and pieces of files back to the system, and the lines of serial ports
 * (serialPort.ts). Where it cannot be had (elsewhere than on Linux, or without the package for this machine) nothing of that happens, and
 * everything else works as before.
 */
import { createRequire } from 'node:module';
import type * as Koffi from 'koffi';

const MADV_DONTNEED = 4;
const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;
const PAGE = 4096;

interface Libc {
  madvise(address: Uint8Array, length: number, advice: number): number;
  fallocate(descriptor: number, mode: number, offset: number, length: number): number;
  ioctl(descriptor: number, request: number, type: 'void *' | 'int', argument: Uint8Array | number): number;
}

let loaded: Libc | null | undefined;

export function libc(): Libc | null {
  if (loaded === undefined) loaded = load();
  return loaded;
}

function load(): Libc | null {
  if (process.platform !== 'linux') return null;
  try {
    const koffi = createRequire(import.meta.url)('koffi') as typeof Koffi;
    const library = koffi.load('libc.so.6');
    const madvise = library.func('int madvise(void *address, size_t length, int advice)') as Libc['madvise'];
    const fallocate = library.func('int fallocate(int descriptor, int mode, int64_t offset, int64_t length)') as Libc['fallocate'];
    const ioctl = library.func('int ioctl(int descriptor, unsigned long request, ...)') as unknown as Libc['ioctl'];
    return { madvise, fallocate, ioctl };
  } catch {
    return null;
  }
}

/** Gives the pages of private anonymous memory back: they read as zeros and take no room until they are written. Whole pages only. False: nothing happened. */
export function releaseMemory(bytes: Uint8Array): boolean {
  return bytes.byteOffset % PAGE === 0 && bytes.length % PAGE === 0 && bytes.length > 0 && libc()?.madvise(bytes, bytes.length, MADV_DONTNEED) === 0;
}

/** Makes a hole in an open file: it reads as zeros and takes no room. False: nothing happened, and the file system may not know holes. */
export function punchHole(descriptor: number, offset: number, length: number): boolean {
  return libc()?.fallocate(descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length) === 0;
}
