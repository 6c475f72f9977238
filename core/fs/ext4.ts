/** Files of ext2, ext3 and ext4 file systems, as the disk has them: what still lies in the journal is not looked at. @ext4 "Data Structures and Algorithms" */
import { DEPTH_MAXIMUM, FILES_MAXIMUM, FileSystemError, readView } from './readDisk.ts';
import type { FoundFile, ReadDisk } from './readDisk.ts';

const SUPERBLOCK = 1024;
const MAGIC = 0xef53;
const ROOT = 2;
const EXTENTS_FLAG = 0x80000;
const INLINE_FLAG = 0x10000000;
const EXTENT_MAGIC = 0xf30a;
const DIRECTORY = 0x4000;
const REGULAR = 0x8000;
const incompatible = { recover: 0x4, bigGroups: 0x80 } as const;
const DIRECTORY_MAXIMUM = 64 * 1024 * 1024;

interface Inode {
  readonly mode: number;
  readonly bytes: number;
  readonly stamp: number;
  readonly flags: number;
  /** The 60 bytes that say where its content lies. */
  readonly map: DataView;
}

interface Extent {
  readonly offset: number;
  readonly bytes: number;
}

/** Null when it is another file system. @throws FileSystemError when it is damaged */
export async function readExt4(disk: ReadDisk): Promise<Map<string, FoundFile> | null> {
  if (disk.size < SUPERBLOCK + 1024) return null;
  const block = await readView(disk, SUPERBLOCK, 1024);
  if (block.getUint16(56, true) !== MAGIC) return null;
  return new Ext4(disk, block).files();
}

class Ext4 {
  readonly #disk: ReadDisk;
  readonly #blockBytes: number;
  readonly #inodesOfGroup: number;
  readonly #inodeBytes: number;
  readonly #descriptorBytes: number;
  readonly #descriptorsAt: number;
  readonly #inodes: number;

  constructor(disk: ReadDisk, superblock: DataView) {
    this.#disk = disk;
    const logarithm = superblock.getUint32(24, true);
    if (logarithm > 6) throw new FileSystemError('its blocks have no size that is known');
    this.#blockBytes = 1024 << logarithm;
    this.#inodesOfGroup = superblock.getUint32(40, true);
    this.#inodes = superblock.getUint32(0, true);
    this.#inodeBytes = superblock.getUint32(76, true) === 0 ? 128 : superblock.getUint16(88, true);
    const big = (superblock.getUint32(96, true) & incompatible.bigGroups) !== 0;
    this.#descriptorBytes = big ? Math.max(32, superblock.getUint16(254, true)) : 32;
    this.#descriptorsAt = (superblock.getUint32(20, true) + 1) * this.#blockBytes;
    if (this.#inodesOfGroup === 0 || this.#inodeBytes < 128 || this.#inodeBytes > this.#blockBytes) throw new FileSystemError('its inodes have no size that is known');
  }

  async files(): Promise<Map<string, FoundFile>> {
    const found = new Map<string, FoundFile>();
    const seen = new Set<number>();
    const visit = async (number: number, path: string, depth: number): Promise<void> => {
      if (seen.has(number) || depth > DEPTH_MAXIMUM || found.size > FILES_MAXIMUM) return;
      seen.add(number);
      const directory = await this.#inode(number);
      if ((directory.mode & 0xf000) !== DIRECTORY) return;
      for (const [name, inode] of await this.#entries(directory)) {
        if (name === '.' || name === '..' || inode === 0) continue;
        const child = await this.#inode(inode);
        const kind = child.mode & 0xf000;
        if (kind === DIRECTORY) await visit(inode, `${path}/${name}`, depth + 1);
        else found.set(`${path}/${name}`, { bytes: child.bytes, extents: kind === REGULAR ? await this.#extents(child) : [], stamp: child.stamp });
      }
    };
    await visit(ROOT, '', 0);
    return found;
  }

  async #inode(number: number): Promise<Inode> {
    if (number < 1 || number > this.#inodes) throw new FileSystemError(`there is no inode ${number}`);
    const group = Math.floor((number - 1) / this.#inodesOfGroup);
    const descriptor = await readView(this.#disk, this.#descriptorsAt + group * this.#descriptorBytes, this.#descriptorBytes);
    const high = this.#descriptorBytes >= 64 ? descriptor.getUint32(40, true) : 0;
    const table = (high * 2 ** 32 + descriptor.getUint32(8, true)) * this.#blockBytes;
    const raw = await readView(this.#disk, table + ((number - 1) % this.#inodesOfGroup) * this.#inodeBytes, this.#inodeBytes);
    const bytes = raw.getUint32(108, true) * 2 ** 32 + raw.getUint32(4, true);
    // Seconds of the last change; since ext4, with the nanoseconds behind the 128 bytes.
    const fine = this.#inodeBytes >= 144 ? raw.getUint32(132, true) : 0;
    return { mode: raw.getUint16(0, true), bytes, stamp: raw.getUint32(12, true) + fine / 2 ** 32, flags: raw.getUint32(32, true), map: new DataView(raw.buffer, 40, 60) };
  }

  async #entries(directory: Inode): Promise<[string, number][]> {
    const entries: [string, number][] = [];
    if (directory.bytes > DIRECTORY_MAXIMUM) throw new FileSystemError('a directory is too large');
    for (const { offset, bytes } of await this.#extents(directory)) {
      const view = await readView(this.#disk, offset, bytes);
      for (let at = 0; at + 8 <= bytes;) {
        const length = view.getUint16(at + 4, true);
        const nameLength = view.getUint8(at + 6);
        if (length < 8 || at + length > bytes || 8 + nameLength > length) break; // The block's end, or a node of an index.
        if (view.getUint32(at, true) !== 0) entries.push([Buffer.from(view.buffer, at + 8, nameLength).toString(), view.getUint32(at, true)]);
        at += length;
      }
    }
    return entries;
  }

  async #extents(inode: Inode): Promise<Extent[]> {
    // A short symbolic link, or a file that fits its inode.
    if (inode.bytes === 0 || (inode.flags & INLINE_FLAG) !== 0) return [];
    const blocks = (inode.flags & EXTENTS_FLAG) !== 0 ? await this.#extentTree(inode.map, 0) : await this.#blockMap(inode);
    return joined(blocks.map(({ offset, bytes }) => ({ offset: offset * this.#blockBytes, bytes: bytes * this.#blockBytes })));
  }

  /** In blocks. */
  async #extentTree(node: DataView, level: number): Promise<Extent[]> {
    if (level > 5 || node.getUint16(0, true) !== EXTENT_MAGIC) throw new FileSystemError('a tree of extents is damaged');
    const count = Math.min(node.getUint16(2, true), Math.floor((node.byteLength - 12) / 12));
    const depth = node.getUint16(6, true);
    const found: Extent[] = [];
    for (let index = 0; index < count; index += 1) {
      const at = 12 + index * 12;
      if (depth === 0) {
        const length = node.getUint16(at + 4, true);
        // Longer ones are reserved and read as zeros.
        if (length <= 32768) found.push({ offset: node.getUint16(at + 6, true) * 2 ** 32 + node.getUint32(at + 8, true), bytes: length });
      } else {
        const block = node.getUint16(at + 8, true) * 2 ** 32 + node.getUint32(at + 4, true);
        found.push(...(await this.#extentTree(await readView(this.#disk, block * this.#blockBytes, this.#blockBytes), level + 1)));
      }
    }
    return found;
  }

  /** In blocks: twelve, then three trees of numbers. */
  async #blockMap({ map, bytes }: Inode): Promise<Extent[]> {
    const wanted = Math.ceil(bytes / this.#blockBytes);
    const found: Extent[] = [];
    let seen = 0;
    const take = async (block: number, level: number): Promise<void> => {
      if (seen >= wanted) return;
      if (level === 0) {
        seen += 1;
        if (block !== 0) found.push({ offset: block, bytes: 1 });
      } else if (block === 0) seen += (this.#blockBytes / 4) ** level;
      else {
        const numbers = await readView(this.#disk, block * this.#blockBytes, this.#blockBytes);
        for (let at = 0; at < this.#blockBytes; at += 4) await take(numbers.getUint32(at, true), level - 1);
      }
    };
    for (let index = 0; index < 15; index += 1) await take(map.getUint32(index * 4, true), Math.max(0, index - 11));
    return found;
  }
}

function joined(extents: readonly Extent[]): Extent[] {
  const result: Extent[] = [];
  for (const extent of extents) {
    const last = result.at(-1);
    if (last && last.offset + last.bytes === extent.offset) result[result.length - 1] = { offset: last.offset, bytes: last.bytes + extent.bytes };
    else result.push(extent);
  }
  return result;
}
