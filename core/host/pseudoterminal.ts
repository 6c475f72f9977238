/** A pseudoterminal of the system: what Node has no call for. */
import { closeSync, openSync, constants } from 'node:fs';
import { createRequire } from 'node:module';
import { ReadStream } from 'node:tty';
import type * as Koffi from 'koffi';

export interface Pseudoterminal {
  /** Descriptor of the side that is ours. */
  readonly master: number;
  /** Device of the other side, for programs. */
  readonly path: string;
  close(): void;
}

interface Libc {
  posix_openpt(flags: number): number;
  grantpt(descriptor: number): number;
  unlockpt(descriptor: number): number;
  ptsname(descriptor: number): string | null;
}

/** Opens one whose other side is raw: no echo, no line editing. Null: this system has none. */
export function openPseudoterminal(): Pseudoterminal | null {
  const libc = load();
  const master = libc?.posix_openpt(constants.O_RDWR | constants.O_NOCTTY) ?? -1;
  if (libc === null || master < 0) return null;
  try {
    const path = libc.grantpt(master) === 0 && libc.unlockpt(master) === 0 ? libc.ptsname(master) : null;
    if (path === null) throw new Error('the system gave no name');
    // Held open: while nobody has the other side open, reading ours would fail.
    const other = new ReadStream(openSync(path, constants.O_RDWR | constants.O_NOCTTY));
    other.setRawMode(true);
    return { master, path, close: () => void other.destroy() };
  } catch {
    closeSync(master);
    return null;
  }
}

function load(): Libc | null {
  if (process.platform === 'win32') return null;
  try {
    const koffi = createRequire(import.meta.url)('koffi') as typeof Koffi;
    const library = koffi.load(process.platform === 'darwin' ? 'libSystem.dylib' : 'libc.so.6');
    return {
      posix_openpt: library.func('int posix_openpt(int flags)') as Libc['posix_openpt'], grantpt: library.func('int grantpt(int descriptor)') as Libc['grantpt'],
      unlockpt: library.func('int unlockpt(int descriptor)') as Libc['unlockpt'], ptsname: library.func('const char *ptsname(int descriptor)') as Libc['ptsname'],
    };
  } catch {
    return null;
  }
}
