/** A disk that is read and nothing else: what images of other programs are to us. */
import { BlockError, checkRange } from '../blockDevice.ts';
import type { BlockDevice } from '../blockDevice.ts';
import { badImage } from '../errors.ts';
import type { ImageStorage } from '../storage.ts';

/** @param what completes "The disk image ..." */
export function badForeign({ path }: ImageStorage, what: string): Error {
  return badImage(path, what, 'Convert it with the program that made it.');
}

/** @param read fills the bytes from `offset` on, which lie within one piece of `pieceBytes` */
export function readOnlyDevice(storage: ImageStorage, size: number, pieceBytes: number, read: (offset: number, into: Uint8Array) => Promise<void>): BlockDevice {
  const refuse = (): Promise<never> => Promise.reject(new BlockError('read-only', `${storage.path} can only be read`));
  return {
    size, readOnly: true,
    async read(offset, into) {
      checkRange({ size }, offset, into.length);
      for (let at = 0; at < into.length;) {
        const within = (offset + at) % pieceBytes;
        const length = Math.min(into.length - at, pieceBytes - within);
        await read(offset + at, into.subarray(at, at + length));
        at += length;
      }
    },
    write: refuse, discard: refuse, zero: refuse,
    flush: () => Promise.resolve(),
    close: () => storage.close(),
  };
}
