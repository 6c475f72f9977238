/** What a file is as a disc. A file that cannot be one is refused while the person can still choose another, and not left to the guest to make sense of. */
import { formatSize } from '../contract/memory.ts';
import { badImage } from './errors.ts';
import { recogniseForeign } from './foreign/formats.ts';
import { recognise } from './open.ts';
import { FileStorage } from './storage.ts';
import type { ImageStorage } from './storage.ts';

const SECTOR = 2048;
/** ECMA-119 6.2.1: descriptors begin behind the system area. */
const FIRST_DESCRIPTOR = 16;
const DESCRIPTORS = 16;
/** Writers pad a disc with up to 150 sectors, which copies of it may lack. */
const PADDING = 150 * SECTOR;

export interface Disc {
  readonly size: number;
  /** Null: no file system that discs have; a guest may know what it is. */
  readonly system: 'ISO 9660' | 'UDF' | null;
  /** The volume's name; empty: none. */
  readonly label: string;
}

/** @throws ContractError `file-unreadable`, or `bad-image` when the file is no disc, or not all of one */
export async function readDisc(path: string): Promise<Disc> {
  const storage = new FileStorage(path, true);
  try {
    return await examine(storage);
  } finally {
    await storage.close();
  }
}

/** `ISO 9660 "Debian 12.5.0", 628 MiB`. */
export function discText({ system, label, size }: Disc): string {
  return `${system ?? 'A disc'}${label === '' ? '' : ` "${label}"`}, ${formatSize(size)}`;
}

async function examine(storage: ImageStorage): Promise<Disc> {
  const { path, length: size } = storage;
  if (size === 0) throw badImage(path, 'is empty', 'Choose the image of a disc.');
  const other = await recogniseForeign(storage);
  if (other) throw badImage(path, `is ${other.what}, and no image of a disc`, other.hint);
  if (await recognise(storage) === 'qcow2') throw badImage(path, 'is a qcow2 image of a disk, and no image of a disc', 'Attach it as a disk.');
  const descriptors = new Uint8Array(DESCRIPTORS * SECTOR);
  await storage.read(FIRST_DESCRIPTOR * SECTOR, descriptors);
  const primary = descriptors.subarray(0, SECTOR);
  if (textAt(primary, 1, 5) === 'CD001') {
    const whole = new DataView(primary.buffer, primary.byteOffset).getUint32(80, true) * SECTOR;
    if (size + PADDING < whole) throw badImage(path, `is cut off: it has ${size} bytes of ${whole}`, 'Fetch it again.');
    return { size, system: 'ISO 9660', label: textAt(primary, 40, 32) };
  }
  const isUdf = Array.from({ length: DESCRIPTORS }, (_, index) => textAt(descriptors, index * SECTOR + 1, 4)).includes('NSR0');
  if (!isUdf && size % SECTOR !== 0) throw badImage(path, `is no image of a disc: its ${size} bytes are no whole number of sectors`, `Choose an ISO image, or a file whose size is a multiple of ${SECTOR}.`);
  return { size, system: isUdf ? 'UDF' : null, label: '' };
}

/** Characters that are printed; the rest of a field that somebody else wrote is left out. */
function textAt(bytes: Uint8Array, at: number, length: number): string {
  return String.fromCharCode(...bytes.subarray(at, at + length)).replace(/[^ -~]/g, '').trim();
}
