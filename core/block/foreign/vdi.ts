/** VirtualBox's disk images, version 1.1: a header, a map of blocks, the blocks. */
import type { BlockDevice } from '../blockDevice.ts';
import { SECTOR } from '../blockDevice.ts';
import type { ImageStorage } from '../storage.ts';
import { badForeign, readOnlyDevice } from './readOnly.ts';

const HEADER_BYTES = 400;
const VERSION = 0x0001_0001;
/** Images of these kinds stand for themselves; the others need one below them. */
const kinds: Readonly<Record<number, string>> = { 1: 'dynamic', 2: 'fixed' };
/** Entries of the map from here on stand for zeros. */
const NO_BLOCK = 0xffff_fffe;
const BLOCK_BYTES_MAXIMUM = 64 << 20;
const BLOCKS_MAXIMUM = 1 << 24;

/** @throws ContractError `bad-image` */
export async function openVdi(storage: ImageStorage): Promise<BlockDevice> {
  const bytes = new Uint8Array(HEADER_BYTES);
  await storage.read(0, bytes);
  const header = new DataView(bytes.buffer);
  const word = (at: number): number => header.getUint32(at, true);
  const [version, kind, mapAt, dataAt, blockBytes, extraBytes, blocks] = [word(68), word(76), word(340), word(344), word(376), word(380), word(384)];
  const size = Number(header.getBigUint64(368, true));
  const bad = (what: string): Error => badForeign(storage, what);
  if (version !== VERSION) throw bad(`is a VDI image of version ${version >>> 16}.${version & 0xffff}; 1.1 is supported`);
  if (kinds[kind] === undefined) throw bad('is a VDI image that needs another one below it');
  if (blockBytes < SECTOR || blockBytes > BLOCK_BYTES_MAXIMUM || blockBytes % SECTOR !== 0 || extraBytes > BLOCK_BYTES_MAXIMUM || extraBytes % SECTOR !== 0) throw bad('has blocks of a size that cannot be');
  if (size === 0 || size % SECTOR !== 0 || blocks > BLOCKS_MAXIMUM || Math.ceil(size / blockBytes) > blocks) throw bad('has a map of blocks that does not fit its disk');
  if (mapAt + blocks * 4 > storage.length) throw bad('is cut off within its map of blocks');
  const map = new Uint8Array(blocks * 4);
  await storage.read(mapAt, map);
  const entries = new DataView(map.buffer);
  return readOnlyDevice(storage, size, blockBytes, async (offset, into) => {
    const entry = entries.getUint32(Math.floor(offset / blockBytes) * 4, true);
    if (entry >= NO_BLOCK) return void into.fill(0);
    const at = dataAt + entry * (blockBytes + extraBytes) + extraBytes + (offset % blockBytes);
    if (at + into.length > storage.length) throw bad(`is cut off: its block ${entry} lies beyond the end of the file`);
    await storage.read(at, into);
  });
}
