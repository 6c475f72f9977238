/** Small things that snapshots keep compressed in the database, with a checksum that is verified when they are read. */
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';

const OPTIONS = { params: { [constants.ZSTD_c_checksumFlag]: 1 } };

export function compress(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(zstdCompressSync(bytes, OPTIONS));
}

/** @throws Error when the bytes are damaged, or would become more than `maximum`. */
export function decompress(bytes: Uint8Array, maximum: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(zstdDecompressSync(bytes, { maxOutputLength: Math.max(1, maximum) }));
}
