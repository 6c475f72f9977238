/** Writes VMware's stream-optimized images, from front to back: what appliances hold. */
import { randomBytes } from 'node:crypto';
import { setImmediate as yieldToOthers } from 'node:timers/promises';
import { promisify } from 'node:util';
import { deflate } from 'node:zlib';
import type { BlockDevice } from '../blockDevice.ts';
import { SECTOR } from '../blockDevice.ts';
import { DEFLATE, directoryAtEnd, flags, MAGIC, MARKER_BYTES } from './vmdk.ts';

/** What other programs write, and some expect. */
const GRAIN_BYTES = 64 * 1024;
const TABLE_ENTRIES = 512;
const DESCRIPTOR_SECTORS = 20;
/** Header and descriptor, up to the first grain's place. */
const OVERHEAD_SECTORS = 128;
/** So much is read at once, and its grains are compressed side by side. */
const PIECE_BYTES = 16 * GRAIN_BYTES;
/** What the grains of a table hold. */
const TABLE_BYTES = TABLE_ENTRIES * GRAIN_BYTES;
/** Each grain begins on a sector, and places are 32 bits of sectors. */
const FILE_MAXIMUM = 2 ** 32 * SECTOR;
const marker = { end: 0, table: 1, directory: 2, footer: 3 } as const;
const ZEROS = Buffer.alloc(PIECE_BYTES);

const deflated = promisify(deflate) as (bytes: Uint8Array) => Promise<Buffer>;

/**
 * @param name of the file, for its own descriptor
 * @param append takes the file's bytes in their order
 * @param progress is told of bytes of the disk that are done; what it throws ends the work
 * @throws BlockError of the disk, RangeError when the disk is too large for the format, and what `append` throws
 */
export async function writeVmdk(disk: Pick<BlockDevice, 'size' | 'read'>, name: string, append: (bytes: Uint8Array) => Promise<void>, progress: (bytes: number) => void): Promise<void> {
  const tables = Math.ceil(disk.size / TABLE_BYTES);
  const directory = Buffer.alloc(sectors(tables * 4) * SECTOR);
  let at = 0;
  const put = async (bytes: Uint8Array): Promise<void> => {
    at += bytes.length;
    if (at > FILE_MAXIMUM) throw new RangeError('the disk is too large for a VMDK image');
    await append(bytes);
  };
  await put(header(disk.size, directoryAtEnd));
  await put(padded(Buffer.from(descriptor(disk.size, name)), DESCRIPTOR_SECTORS));
  await put(Buffer.alloc((OVERHEAD_SECTORS - 1 - DESCRIPTOR_SECTORS) * SECTOR));
  const piece = Buffer.alloc(PIECE_BYTES);
  for (let table = 0; table < tables; table += 1) {
    const entries = Buffer.alloc(TABLE_ENTRIES * 4);
    const end = Math.min((table + 1) * TABLE_BYTES, disk.size);
    for (let offset = table * TABLE_BYTES; offset < end; offset += PIECE_BYTES) {
      const length = Math.min(PIECE_BYTES, end - offset);
      // What is read and holds nothing may take no turn of the event loop at all.
      await yieldToOthers();
      await disk.read(offset, piece.subarray(0, length));
      piece.fill(0, length);
      for (const [index, bytes] of (await packGrains(piece, offset)).entries()) {
        if (bytes === null) continue;
        entries.writeUInt32LE(at / SECTOR, ((offset % TABLE_BYTES) / GRAIN_BYTES + index) * 4);
        await put(bytes);
      }
      progress(length);
    }
    if (entries.equals(ZEROS.subarray(0, entries.length))) continue;
    await put(metadata(marker.table, sectors(entries.length)));
    directory.writeUInt32LE(at / SECTOR, table * 4);
    await put(entries);
  }
  await put(metadata(marker.directory, sectors(directory.length)));
  const directoryAt = at;
  await put(directory);
  await put(metadata(marker.footer, 1));
  await put(header(disk.size, BigInt(directoryAt / SECTOR)));
  await put(metadata(marker.end, 0));
}

/** The grains of a piece, each behind its marker and on whole sectors; null: it is zeros. */
async function packGrains(piece: Buffer, offset: number): Promise<readonly (Buffer | null)[]> {
  if (piece.equals(ZEROS)) return [];
  return Promise.all(Array.from({ length: PIECE_BYTES / GRAIN_BYTES }, async (_, index) => {
    const content = piece.subarray(index * GRAIN_BYTES, (index + 1) * GRAIN_BYTES);
    if (content.equals(ZEROS.subarray(0, GRAIN_BYTES))) return null;
    const packed = await deflated(content);
    const head = Buffer.alloc(MARKER_BYTES);
    head.writeBigUInt64LE(BigInt((offset + index * GRAIN_BYTES) / SECTOR));
    head.writeUInt32LE(packed.length, 8);
    return padded(Buffer.concat([head, packed]));
  }));
}

/** The sector before tables, directory and footer, or the last of the file. @param length in sectors, of what follows */
function metadata(type: number, length: number): Buffer {
  const sector = Buffer.alloc(SECTOR);
  sector.writeBigUInt64LE(BigInt(length));
  sector.writeUInt32LE(type, 12);
  return sector;
}

function header(size: number, directoryAt: bigint): Buffer {
  const sector = Buffer.alloc(SECTOR);
  sector.writeUInt32LE(MAGIC, 0);
  sector.writeUInt32LE(3, 4);
  // Bit 0: the bytes at 73 show whether a transfer as text has changed line ends.
  sector.writeUInt32LE(1 | flags.compressed | flags.markers, 8);
  sector.writeBigUInt64LE(BigInt(size / SECTOR), 12);
  sector.writeBigUInt64LE(BigInt(GRAIN_BYTES / SECTOR), 20);
  sector.writeBigUInt64LE(1n, 28);
  sector.writeBigUInt64LE(BigInt(DESCRIPTOR_SECTORS), 36);
  sector.writeUInt32LE(TABLE_ENTRIES, 44);
  sector.writeBigUInt64LE(directoryAt, 56);
  sector.writeBigUInt64LE(BigInt(OVERHEAD_SECTORS), 64);
  sector.write('\n \r\n', 73, 'latin1');
  sector.writeUInt16LE(DEFLATE, 77);
  return sector;
}

function descriptor(size: number, name: string): string {
  const [heads, sectorsOfTrack] = [255, 63];
  return `# Disk DescriptorFile
version=1
CID=${randomBytes(4).toString('hex')}
parentCID=ffffffff
createType="streamOptimized"

# Extent description
RW ${size / SECTOR} SPARSE "${name}"

# The Disk Data Base
#DDB

ddb.virtualHWVersion = "10"
ddb.adapterType = "lsilogic"
ddb.geometry.cylinders = "${Math.max(1, Math.min(65_535, Math.floor(size / SECTOR / heads / sectorsOfTrack)))}"
ddb.geometry.heads = "${heads}"
ddb.geometry.sectors = "${sectorsOfTrack}"
`;
}

function sectors(bytes: number): number {
  return Math.ceil(bytes / SECTOR);
}

function padded(bytes: Buffer, length = sectors(bytes.length)): Buffer {
  return Buffer.concat([bytes], length * SECTOR);
}
