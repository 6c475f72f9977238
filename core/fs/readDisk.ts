/** What readers of file systems have in common. */

/** A disk, or a part of one. */
export interface ReadDisk {
  readonly size: number;
  /** Fills `into` from `offset` on: any bytes within the disk. */
  read(offset: number, into: Uint8Array): Promise<void>;
}

/** Bytes of a disk. */
export async function readView(disk: ReadDisk, offset: number, length: number): Promise<DataView<ArrayBuffer>> {
  const bytes = new Uint8Array(length);
  await disk.read(offset, bytes);
  return new DataView(bytes.buffer);
}

export interface FoundFile {
  readonly bytes: number;
  /** Where on the disk its content lies. */
  readonly extents: readonly { readonly offset: number; readonly bytes: number }[];
  /** Changes with the file. */
  readonly stamp: number;
}

/** What a disk claims beyond this is not looked at. */
export const FILES_MAXIMUM = 200_000;
export const DEPTH_MAXIMUM = 64;

/** A file system is not as it should be: what of it was read counts for nothing. */
export class FileSystemError extends Error {
  override readonly name = 'FileSystemError';
}
