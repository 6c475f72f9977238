/** A part of a file, read as if it were one. */
import { BlockError } from '../block/blockDevice.ts';
import type { ImageStorage } from '../block/storage.ts';

/** Closing it closes the file. */
export function fileWindow(file: ImageStorage, path: string, at: number, length: number): ImageStorage {
  const refuse = (): Promise<never> => Promise.reject(new BlockError('read-only', `${path} can only be read`));
  return {
    path, length, readOnly: true,
    async read(offset, into) {
      const there = Math.max(0, Math.min(into.length, length - offset));
      if (there > 0) await file.read(at + offset, into.subarray(0, there));
      into.fill(0, there);
    },
    write: refuse, truncate: refuse,
    sync: () => Promise.resolve(),
    close: () => file.close(),
  };
}
