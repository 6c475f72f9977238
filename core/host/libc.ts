/**
 * The system's library, for what Node has no call for: giving memory and pieces of files back to the system, large pages, the lines of serial ports
 * (serialPort.ts), pseudoterminals (pseudoterminal.ts). Where a group of calls cannot be had (on another system, or without the package for
 * this machine) nothing of that happens, and everything else works as before.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type * as Koffi from 'koffi';

const MADV_DONTNEED = 4;
const MADV_HUGEPAGE = 14;
const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;
const PAGE = 4096;

/** Calls that mean this on Linux alone. */
interface LinuxCalls {
  madvise(address: Uint8Array, length: number, advice: number): number;
  fallocate(descriptor: number, mode: number, offset: number, length: number): number;
  ioctl(descriptor: number, request: number, type: 'void *' | 'int', argument: Uint8Array | number): number;
}

/** Calls for pseudoterminals, on every POSIX system. */
interface TerminalCalls {
  posix_openpt(flags: number): number;
  grantpt(descriptor: number): number;
  unlockpt(descriptor: number): number;
  ptsname(descriptor: number): string | null;
}

/** The library's file by Node's name of the system. */
const libraries: Readonly<Partial<Record<NodeJS.Platform, string>>> = { linux: 'libc.so.6', darwin: 'libSystem.dylib' };

/** Null: this system has none of them. */
export const linuxCalls = once(() => (process.platform === 'linux' ? load<LinuxCalls>({
  madvise: 'int madvise(void *address, size_t length, int advice)',
  fallocate: 'int fallocate(int descriptor, int mode, int64_t offset, int64_t length)',
  ioctl: 'int ioctl(int descriptor, unsigned long request, ...)',
}) : null));

/** Null: this system has none of them. */
export const terminalCalls = once(() => load<TerminalCalls>({
  posix_openpt: 'int posix_openpt(int flags)', grantpt: 'int grantpt(int descriptor)', unlockpt: 'int unlockpt(int descriptor)',
  ptsname: 'const char *ptsname(int descriptor)',
}));

function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | null = null;
  return () => (made ??= { value: make() }).value;
}

/** @param declarations each call as C declares it */
function load<Calls>(declarations: Readonly<Record<keyof Calls, string>>): Calls | null {
  const file = libraries[process.platform];
  if (file === undefined) return null;
  try {
    const library = (createRequire(import.meta.url)('koffi') as typeof Koffi).load(file);
    return Object.fromEntries(Object.entries<string>(declarations).map(([name, declaration]) => [name, library.func(declaration)])) as Calls;
  } catch {
    return null;
  }
}

/** Gives the pages of private anonymous memory back: they read as zeros and take no room until they are written. Whole pages only. False: nothing happened. */
export function releaseMemory(bytes: Uint8Array): boolean {
  return advise(bytes, MADV_DONTNEED);
}

/** Whether the system gives large pages to whoever asks, and to nobody else. Loading the library takes a hundred times as long as reading this. */
export function givesHugePagesWhenAsked(): boolean {
  try {
    return readFileSync('/sys/kernel/mm/transparent_hugepage/enabled', 'utf8').includes('[madvise]');
  } catch {
    return false;
  }
}

/** Asks for pages of 2 MiB instead of 4 KiB where private anonymous memory is written from now on. Whole pages only. False: nothing happened. */
export function adviseHugePages(bytes: Uint8Array): boolean {
  return advise(bytes, MADV_HUGEPAGE);
}

function advise(bytes: Uint8Array, advice: number): boolean {
  return bytes.byteOffset % PAGE === 0 && bytes.length % PAGE === 0 && bytes.length > 0 && linuxCalls()?.madvise(bytes, bytes.length, advice) === 0;
}

/** Makes a hole in an open file: it reads as zeros and takes no room. False: nothing happened, and the file system may not know holes. */
export function punchHole(descriptor: number, offset: number, length: number): boolean {
  return linuxCalls()?.fallocate(descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length) === 0;
}
