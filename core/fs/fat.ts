/** Files of FAT12, FAT16 and FAT32 file systems. @fat "Microsoft Extensible Firmware Initiative FAT32 File System Specification" */
import { DEPTH_MAXIMUM, FILES_MAXIMUM, FileSystemError, readView } from './readDisk.ts';
import type { FoundFile, ReadDisk } from './readDisk.ts';

const SECTOR = 512;
const ENTRY = 32;
const attribute = { volume: 0x08, directory: 0x10, longName: 0x0f } as const;
const DIRECTORY_MAXIMUM = 2 * 1024 * 1024;
const TABLE_MAXIMUM = 64 * 1024 * 1024;

interface Geometry {
  readonly sectorBytes: number;
  readonly clusterBytes: number;
  readonly bits: 12 | 16 | 32;
  readonly clusters: number;
  /** Offsets in bytes. */
  readonly tableAt: number;
  readonly tableBytes: number;
  readonly rootAt: number;
  readonly rootBytes: number;
  readonly dataAt: number;
  readonly rootCluster: number;
}

/** Null when it is another file system. @throws FileSystemError when it is damaged */
export async function readFat(disk: ReadDisk): Promise<Map<string, FoundFile> | null> {
  if (disk.size < SECTOR) return null;
  const boot = await readView(disk, 0, SECTOR);
  const geometry = geometryOf(boot);
  if (!geometry || geometry.dataAt > disk.size) return null;
  return new Fat(disk, geometry, await readView(disk, geometry.tableAt, geometry.tableBytes)).files();
}

/** The kind of a FAT follows from the count of its clusters alone. */
function geometryOf(boot: DataView): Geometry | null {
  const sectorBytes = boot.getUint16(11, true);
  const clusterSectors = boot.getUint8(13);
  const reserved = boot.getUint16(14, true);
  const tables = boot.getUint8(16);
  const rootEntries = boot.getUint16(17, true);
  const tableSectors = boot.getUint16(22, true) || boot.getUint32(36, true);
  const sectors = boot.getUint16(19, true) || boot.getUint32(32, true);
  const isPower = (value: number): boolean => value > 0 && (value & (value - 1)) === 0;
  if (boot.getUint16(510, true) !== 0xaa55 || !isPower(sectorBytes) || sectorBytes < 512 || sectorBytes > 4096 || !isPower(clusterSectors)) return null;
  if (reserved === 0 || tables === 0 || tables > 2 || tableSectors === 0 || sectors === 0 || tableSectors * sectorBytes > TABLE_MAXIMUM) return null;
  const rootSectors = Math.ceil((rootEntries * ENTRY) / sectorBytes);
  const dataSector = reserved + tables * tableSectors + rootSectors;
  const clusters = Math.floor((sectors - dataSector) / clusterSectors);
  if (clusters < 1) return null;
  return {
    sectorBytes, clusterBytes: clusterSectors * sectorBytes, bits: clusters < 4085 ? 12 : clusters < 65525 ? 16 : 32, clusters,
    tableAt: reserved * sectorBytes, tableBytes: tableSectors * sectorBytes, rootAt: (dataSector - rootSectors) * sectorBytes, rootBytes: rootSectors * sectorBytes,
    dataAt: dataSector * sectorBytes, rootCluster: boot.getUint32(44, true),
  };
}

class Fat {
  readonly #disk: ReadDisk;
  readonly #geometry: Geometry;
  readonly #table: DataView;

  constructor(disk: ReadDisk, geometry: Geometry, table: DataView) {
    this.#disk = disk;
    this.#geometry = geometry;
    this.#table = table;
  }

  async files(): Promise<Map<string, FoundFile>> {
    const { bits, rootAt, rootBytes, rootCluster } = this.#geometry;
    const found = new Map<string, FoundFile>();
    const seen = new Set<number>();
    const visit = async (directory: DataView, path: string, depth: number): Promise<void> => {
      for (const { name, attributes, cluster, bytes, stamp } of entriesOf(directory)) {
        if (found.size > FILES_MAXIMUM) return;
        if ((attributes & attribute.directory) === 0) found.set(`${path}/${name}`, { bytes, stamp, extents: this.#extents(cluster, bytes) });
        else if (depth < DEPTH_MAXIMUM && !seen.has(cluster)) {
          seen.add(cluster);
          await visit(await this.#content(cluster), `${path}/${name}`, depth + 1);
        }
      }
    };
    await visit(bits === 32 ? await this.#content(rootCluster) : await readView(this.#disk, rootAt, rootBytes), '', 0);
    return found;
  }

  async #content(cluster: number): Promise<DataView> {
    const parts: Uint8Array[] = [];
    for (const { offset, bytes } of this.#extents(cluster, DIRECTORY_MAXIMUM)) parts.push(new Uint8Array((await readView(this.#disk, offset, bytes)).buffer));
    const whole = Uint8Array.from(Buffer.concat(parts));
    return new DataView(whole.buffer);
  }

  /** The chain from a cluster on, as far as `bytes` reach. */
  #extents(first: number, bytes: number): { offset: number; bytes: number }[] {
    const { clusterBytes, clusters, dataAt } = this.#geometry;
    const extents: { offset: number; bytes: number }[] = [];
    let left = Math.min(Math.ceil(bytes / clusterBytes), clusters);
    for (let cluster = first; cluster >= 2 && cluster < clusters + 2 && left > 0; cluster = this.#next(cluster)) {
      const offset = dataAt + (cluster - 2) * clusterBytes;
      const last = extents.at(-1);
      if (last && last.offset + last.bytes === offset) last.bytes += clusterBytes;
      else extents.push({ offset, bytes: clusterBytes });
      left -= 1;
    }
    return extents;
  }

  #next(cluster: number): number {
    const { bits, tableBytes } = this.#geometry;
    const at = bits === 12 ? cluster + (cluster >> 1) : (cluster * bits) / 8;
    if (at + (bits === 32 ? 4 : 2) > tableBytes) throw new FileSystemError('a chain leads beyond the table');
    if (bits === 32) return this.#table.getUint32(at, true) & 0x0fffffff;
    const value = this.#table.getUint16(at, true);
    if (bits === 16) return value;
    return cluster % 2 === 0 ? value & 0xfff : value >> 4;
  }
}

interface Entry {
  readonly name: string;
  readonly attributes: number;
  readonly cluster: number;
  readonly bytes: number;
  readonly stamp: number;
}

/** A name is the one of its long entries before it, or else the short one. */
function* entriesOf(directory: DataView): Generator<Entry> {
  let long: string[] = [];
  for (let at = 0; at + ENTRY <= directory.byteLength; at += ENTRY) {
    const first = directory.getUint8(at);
    if (first === 0) return;
    const attributes = directory.getUint8(at + 11);
    if (first === 0xe5) long = [];
    else if ((attributes & 0x3f) === attribute.longName) long.unshift(longPart(directory, at));
    else {
      const name = long.length > 0 ? long.join('') : shortName(directory, at);
      long = [];
      if ((attributes & attribute.volume) !== 0 || name === '.' || name === '..') continue;
      yield {
        name, attributes, cluster: directory.getUint16(at + 20, true) * 65536 + directory.getUint16(at + 26, true), bytes: directory.getUint32(at + 28, true),
        stamp: directory.getUint32(at + 22, true),
      };
    }
  }
}

const longPlaces = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];

function longPart(directory: DataView, at: number): string {
  const codes = longPlaces.map((place) => directory.getUint16(at + place, true));
  const end = codes.indexOf(0);
  return String.fromCharCode(...(end < 0 ? codes : codes.slice(0, end)));
}

function shortName(directory: DataView, at: number): string {
  const text = (from: number, to: number): string => Buffer.from(directory.buffer, directory.byteOffset + at + from, to - from).toString('latin1').trimEnd();
  const extension = text(8, 11);
  return extension === '' ? text(0, 8) : `${text(0, 8)}.${extension}`;
}
