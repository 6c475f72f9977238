/** A pseudoterminal of the system: what Node has no call for. */
import { closeSync, openSync, constants } from 'node:fs';
import { ReadStream } from 'node:tty';
import { terminalCalls } from './libc.ts';

export interface Pseudoterminal {
  /** Descriptor of the side that is ours. */
  readonly master: number;
  /** Device of the other side, for programs. */
  readonly path: string;
  close(): void;
}

/** Opens one whose other side is raw: no echo, no line editing. Null: this system has none. */
export function openPseudoterminal(): Pseudoterminal | null {
  const calls = terminalCalls();
  const master = calls?.posix_openpt(constants.O_RDWR | constants.O_NOCTTY) ?? -1;
  if (calls === null || master < 0) return null;
  try {
    const path = calls.grantpt(master) === 0 && calls.unlockpt(master) === 0 ? calls.ptsname(master) : null;
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
