/** The header of a qcow2 image: read as hostile input, written with everything that is understood. Integers are big-endian. */
import { badImage } from '../errors.ts';
import type { ImageStorage } from '../storage.ts';

export const QCOW2_MAGIC = 0x514649fb;
export const V2_HEADER = 72;
export const V3_HEADER = 104;

/** Bits of `incompatible_features`. */
export const incompatible = { dirty: 1, corrupt: 2, dataFile: 4, compressionType: 8, extendedL2: 16 } as const;
/** Bits of `compatible_features`. */
export const compatible = { lazyRefcounts: 1 } as const;

const extensionType = { end: 0, backingFormat: 0xe2792aca } as const;
/** Larger L1 and refcount tables than this are refused before memory is taken for them. */
export const TABLE_BYTES_MAXIMUM = 32 * 1024 * 1024;
const BACKING_NAME_MAXIMUM = 1023;
const VIRTUAL_SIZE_MAXIMUM = 2 ** 50;

export type Compression = 'zlib' | 'zstd';

export interface Qcow2Header {
  readonly version: 2 | 3;
  readonly backingFile: string | null;
  /** Format of the backing file as the header names it; null when it does not. */
  readonly backingFormat: string | null;
  readonly clusterBits: number;
  readonly size: number;
  readonly l1Entries: number;
  readonly l1Offset: number;
  readonly refcountTableOffset: number;
  readonly refcountTableClusters: number;
  readonly snapshots: number;
  readonly snapshotsOffset: number;
  readonly incompatibleFeatures: number;
  readonly compatibleFeatures: number;
  readonly autoclear: boolean;
  /** Refcounts have 2 to this many bits. */
  readonly refcountOrder: number;
  readonly headerLength: number;
  readonly compression: Compression;
}

/** @throws ContractError `bad-image` naming what the header has that cannot be */
export async function readHeader(storage: ImageStorage): Promise<Qcow2Header> {
  const bytes = new Uint8Array(4096);
  await storage.read(0, bytes);
  return parseHeader(storage, bytes, storage.length);
}

function parseHeader(storage: ImageStorage, bytes: Uint8Array, fileLength: number): Qcow2Header {
  const refuse = (what: string, hint?: string): never => {
    throw badImage(storage.path, what, hint);
  };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const wide = (at: number, what: string): number => {
    const value = view.getBigUint64(at);
    return value > BigInt(Number.MAX_SAFE_INTEGER) ? refuse(`has a ${what} of ${value}`) : Number(value);
  };
  if (fileLength < V2_HEADER || view.getUint32(0) !== QCOW2_MAGIC) refuse('is no qcow2 image: its first bytes are not QFI', 'Use it as a raw image if it is one, or choose another image.');
  const version = view.getUint32(4);
  if (version !== 2 && version !== 3) return refuse(`is of qcow2 version ${version}; versions 2 and 3 are supported`, 'Convert it with the program that made it.');
  const clusterBits = view.getUint32(20);
  if (clusterBits < 9 || clusterBits > 21) refuse(`has clusters of 2^${clusterBits} bytes; from 2^9 to 2^21 are possible`);
  if (view.getUint32(32) !== 0) refuse('is encrypted, which is not supported', 'Decrypt it with the program that made it.');
  const three = version === 3;
  const bits = three ? view.getBigUint64(72) : 0n;
  if (bits >> 5n !== 0n) refuse(`needs features that this version does not know (bits ${bits.toString(16)}H)`, 'Convert it with the program that made it.');
  const incompatibleFeatures = Number(bits);
  if ((incompatibleFeatures & incompatible.dataFile) !== 0) refuse('keeps its data in another file, which is not supported', 'Convert it to one file.');
  if ((incompatibleFeatures & incompatible.extendedL2) !== 0) refuse('has subclusters (extended L2 entries), which are not supported', 'Convert it without them.');
  const headerLength = three ? view.getUint32(100) : V2_HEADER;
  if (headerLength % 8 !== 0 || (three && headerLength < V3_HEADER) || headerLength > Math.min(1 << clusterBits, bytes.length)) refuse(`has a header of ${headerLength} bytes`);
  const method = headerLength > V3_HEADER && (incompatibleFeatures & incompatible.compressionType) !== 0 ? bytes[104] : 0;
  if (method !== 0 && method !== 1) refuse(`is compressed by method ${method}; deflate and zstd are supported`);
  const refcountOrder = three ? view.getUint32(96) : 4;
  if (refcountOrder > 6) refuse(`has refcounts of 2^${refcountOrder} bits; at most 64 bits are possible`);
  const header: Qcow2Header = {
    version, clusterBits, incompatibleFeatures, headerLength, refcountOrder,
    backingFile: readBackingName(view, bytes, clusterBits, wide, refuse),
    backingFormat: readBackingFormat(view, bytes, headerLength, 1 << clusterBits),
    size: wide(24, 'size'),
    l1Entries: view.getUint32(36),
    l1Offset: wide(40, 'place of its L1 table'),
    refcountTableOffset: wide(48, 'place of its refcount table'),
    refcountTableClusters: view.getUint32(56),
    snapshots: view.getUint32(60),
    snapshotsOffset: wide(64, 'place of its snapshots'),
    compatibleFeatures: three ? view.getUint32(84) : 0,
    autoclear: three && view.getBigUint64(88) !== 0n,
    compression: method === 1 ? 'zstd' : 'zlib',
  };
  checkTables(header, fileLength, refuse);
  return header;
}

function checkTables(header: Qcow2Header, fileLength: number, refuse: (what: string) => never): void {
  const cluster = 2 ** header.clusterBits;
  if (header.size > VIRTUAL_SIZE_MAXIMUM || header.size % 512 !== 0) refuse(`describes a disk of ${header.size} bytes`);
  const needed = Math.ceil(header.size / (cluster * (cluster / 8)));
  if (header.l1Entries < needed) refuse(`has an L1 table of ${header.l1Entries} entries, and its size needs ${needed}`);
  const tables = [
    ['L1 table', header.l1Offset, header.l1Entries * 8], ['refcount table', header.refcountTableOffset, header.refcountTableClusters * cluster],
  ] as const;
  for (const [what, offset, length] of tables) {
    if (length > TABLE_BYTES_MAXIMUM) refuse(`has ${what === 'L1 table' ? 'an' : 'a'} ${what} of ${length} bytes`);
    if (length > 0 && (offset % cluster !== 0 || offset === 0 || offset + length > Math.ceil(fileLength / cluster) * cluster)) {
      refuse(`has its ${what} at ${offset}, where it cannot be`);
    }
  }
  if (header.refcountTableClusters === 0) refuse('has no refcount table');
}

function readBackingName(
  view: DataView, bytes: Uint8Array, clusterBits: number, wide: (at: number, what: string) => number, refuse: (what: string) => never,
): string | null {
  const offset = wide(8, 'place of its backing file name');
  const length = view.getUint32(16);
  if (offset === 0 || length === 0) return null;
  if (length > BACKING_NAME_MAXIMUM || offset < V2_HEADER || offset + length > Math.min(2 ** clusterBits, bytes.length)) refuse('has a backing file name where it cannot be');
  const name = new TextDecoder().decode(bytes.subarray(offset, offset + length));
  return name.includes('\0') ? refuse('has a backing file name with a NUL character') : name;
}

/** Walks the header extensions; those that are not known are passed over, and kept, because they are not rewritten. */
function readBackingFormat(view: DataView, bytes: Uint8Array, start: number, cluster: number): string | null {
  const end = Math.min(cluster, bytes.length);
  for (let at = start; at + 8 <= end;) {
    const type = view.getUint32(at);
    const length = view.getUint32(at + 4);
    if (type === extensionType.end || length > end - at - 8) return null;
    if (type === extensionType.backingFormat) return new TextDecoder().decode(bytes.subarray(at + 8, at + 8 + length));
    at += 8 + Math.ceil(length / 8) * 8;
  }
  return null;
}

/** A new image's first cluster up to the end of the backing file's name. */
export function encodeHeader(header: Qcow2Header): Uint8Array {
  const name = new TextEncoder().encode(header.backingFile ?? '');
  const format = new TextEncoder().encode(header.backingFormat ?? '');
  const extension = format.length === 0 ? 0 : 8 + Math.ceil(format.length / 8) * 8;
  const nameAt = header.headerLength + extension + 8;
  const bytes = new Uint8Array(nameAt + name.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, QCOW2_MAGIC);
  view.setUint32(4, header.version);
  if (name.length > 0) {
    view.setBigUint64(8, BigInt(nameAt));
    view.setUint32(16, name.length);
    bytes.set(name, nameAt);
  }
  view.setUint32(20, header.clusterBits);
  view.setBigUint64(24, BigInt(header.size));
  view.setUint32(36, header.l1Entries);
  view.setBigUint64(40, BigInt(header.l1Offset));
  view.setBigUint64(48, BigInt(header.refcountTableOffset));
  view.setUint32(56, header.refcountTableClusters);
  if (header.version === 3) {
    view.setBigUint64(72, BigInt(header.incompatibleFeatures));
    view.setBigUint64(80, BigInt(header.compatibleFeatures));
    view.setUint32(96, header.refcountOrder);
    view.setUint32(100, header.headerLength);
    if (header.headerLength > V3_HEADER) bytes[104] = header.compression === 'zstd' ? 1 : 0;
  }
  if (extension > 0) {
    view.setUint32(header.headerLength, extensionType.backingFormat);
    view.setUint32(header.headerLength + 4, format.length);
    bytes.set(format, header.headerLength + 8);
  }
  return bytes;
}
