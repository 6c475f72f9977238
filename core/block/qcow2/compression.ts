/** Compressed clusters: deflate without a header, or zstd. */
import { constants, deflateRawSync, inflateRawSync, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import type { Compression } from './header.ts';

/** Other readers inflate with a window of 2^12 bytes. */
const DEFLATE = { windowBits: 12, level: 6, memLevel: 9 } as const;

/** The cluster, or null when it does not become smaller. */
export function compress(cluster: Uint8Array, method: Compression): Uint8Array | null {
  const packed = method === 'zstd' ? zstdCompressSync(cluster) : deflateRawSync(cluster, DEFLATE);
  return packed.length < cluster.length ? packed : null;
}

/**
 * @param packed the compressed bytes and whatever follows them up to the end of their last sector
 * @returns exactly `length` bytes, or null when they are not what `packed` holds; never takes more memory than that
 */
export function decompress(packed: Uint8Array, length: number, method: Compression): Uint8Array | null {
  try {
    const cluster = method === 'zstd'
      ? zstdDecompressSync(firstFrame(packed), { maxOutputLength: length })
      : inflateRawSync(packed, { maxOutputLength: length, finishFlush: constants.Z_SYNC_FLUSH });
    return cluster.length === length ? cluster : null;
  } catch {
    return null;
  }
}

const FRAME_MAGIC = 0xfd2fb528;

/** The first zstd frame without what follows it: the decompressor takes that for a further frame. The blocks' headers tell its length (RFC 8878, 3.1.1). */
function firstFrame(bytes: Uint8Array): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(0, true) !== FRAME_MAGIC) return bytes;
  const descriptor = view.getUint8(4);
  const single = (descriptor >> 5) & 1;
  const contentSize = [single, 2, 4, 8][descriptor >> 6] ?? 0;
  const dictionary = [0, 1, 2, 4][descriptor & 3] ?? 0;
  let at = 5 + (single === 1 ? 0 : 1) + dictionary + contentSize;
  for (let last = false; !last;) {
    const block = view.getUint16(at, true) | (view.getUint8(at + 2) << 16);
    last = (block & 1) !== 0;
    // A run-length block holds one byte.
    at += 3 + (((block >> 1) & 3) === 1 ? 1 : block >> 3);
  }
  if ((descriptor & 4) !== 0) at += 4;
  return bytes.subarray(0, at);
}
