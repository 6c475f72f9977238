/** Files that are not what they are taken for, by their first bytes: images of other programs, which are converted, and archives, which are unpacked. */
import type { BlockDevice } from '../blockDevice.ts';
import type { ImageStorage } from '../storage.ts';
import { openVdi } from './vdi.ts';
import { openVmdk } from './vmdk.ts';

interface Foreign {
  readonly at: number;
  readonly magic: readonly number[];
  /** Completes "The disk image ... is". */
  readonly what: string;
  readonly hint: string;
  readonly format?: ForeignFormat;
}

export const foreignFormats = ['vmdk', 'vdi'] as const;
export type ForeignFormat = (typeof foreignFormats)[number];

const convert = 'Import it, in the wizard or with `vanderpool import`; or make a qcow2 image of it with `vanderpool disk convert`.';
const unpack = 'Unpack it, and choose what comes out.';
const appliance = 'Import it, in the wizard or with `vanderpool import`.';

const rows: readonly Foreign[] = [
  { at: 0, magic: [0x4b, 0x44, 0x4d, 0x56], what: 'a VMDK image', hint: convert, format: 'vmdk' },
  { at: 64, magic: [0x7f, 0x10, 0xda, 0xbe], what: 'a VDI image', hint: convert, format: 'vdi' },
  { at: 257, magic: [0x75, 0x73, 0x74, 0x61, 0x72], what: 'a tar archive, as appliances (OVA) are', hint: appliance },
  { at: 0, magic: [0x1f, 0x8b, 0x08], what: 'packed by gzip', hint: unpack },
  { at: 0, magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], what: 'packed by xz', hint: unpack },
  { at: 0, magic: [0x28, 0xb5, 0x2f, 0xfd], what: 'packed by zstd', hint: unpack },
  { at: 0, magic: [0x42, 0x5a, 0x68], what: 'packed by bzip2', hint: unpack },
  { at: 0, magic: [0x50, 0x4b, 0x03, 0x04], what: 'a ZIP archive', hint: unpack },
  { at: 0, magic: [0x37, 0x7a, 0xbc, 0xaf, 0x27, 0x1c], what: 'a 7z archive', hint: unpack },
];

const HEAD_BYTES = 512;

/** What a file is by its first bytes; null: none of these. */
export async function recogniseForeign(storage: ImageStorage): Promise<Foreign | null> {
  const head = new Uint8Array(HEAD_BYTES);
  await storage.read(0, head);
  return rows.find(({ at, magic }) => magic.every((byte, index) => head[at + index] === byte)) ?? null;
}

const readers: Readonly<Record<ForeignFormat, (storage: ImageStorage) => Promise<BlockDevice>>> = { vmdk: openVmdk, vdi: openVdi };

/** For reading; closing the device closes the storage. @throws ContractError `bad-image` */
export function openForeign(storage: ImageStorage, format: ForeignFormat): Promise<BlockDevice> {
  return readers[format](storage);
}
