/** The index of a tar archive (POSIX.1 ustar), as OVA files are: one header a member, in blocks of 512 bytes. */
import type { ImageStorage } from '../block/storage.ts';
import { badAppliance } from './errors.ts';

export interface TarMember {
  readonly name: string;
  /** Where its bytes begin. */
  readonly at: number;
  readonly length: number;
}

const BLOCK = 512;
const MEMBERS_MAXIMUM = 1000;
/** Plain files; everything else (folders, links, extended headers) is passed by. */
const PLAIN: ReadonlySet<string> = new Set(['0', '\0', '7']);

/** @throws ContractError `bad-image` when it is no archive, or is cut off */
export async function readTar(file: ImageStorage): Promise<readonly TarMember[]> {
  const members: TarMember[] = [];
  const header = Buffer.alloc(BLOCK);
  for (let at = 0; at + BLOCK <= file.length;) {
    await file.read(at, header);
    if (header.every((byte) => byte === 0)) return members;
    if (members.length === MEMBERS_MAXIMUM) throw badAppliance(file.path, `has more than ${MEMBERS_MAXIMUM} members`);
    if (!hasChecksum(header)) throw badAppliance(file.path, 'is no tar archive, or damaged');
    const length = numberAt(header, 124, 12);
    const begin = at + BLOCK;
    if (length === null || begin + length > file.length) throw badAppliance(file.path, `is cut off within ${textAt(header, 0, 100)}`, 'Fetch it again.');
    if (PLAIN.has(String.fromCharCode(header[156] ?? 0))) members.push({ name: textAt(header, 0, 100), at: begin, length });
    at = begin + Math.ceil(length / BLOCK) * BLOCK;
  }
  return members;
}

/** The sum of the header's bytes, with its own field as blanks. */
function hasChecksum(header: Buffer): boolean {
  const sum = header.reduce((total, byte, index) => total + (index >= 148 && index < 156 ? 0x20 : byte), 0);
  return numberAt(header, 148, 8) === sum;
}

function textAt(header: Buffer, at: number, length: number): string {
  const bytes = header.subarray(at, at + length);
  const end = bytes.indexOf(0);
  return bytes.subarray(0, end < 0 ? length : end).toString('utf8');
}

/** Octal digits; or binary, where the first bit says so. */
function numberAt(header: Buffer, at: number, length: number): number | null {
  const bytes = header.subarray(at, at + length);
  const number = ((bytes[0] ?? 0) & 0x80) === 0
    ? Number.parseInt(textAt(header, at, length).trim() || '0', 8)
    : bytes.subarray(1).reduce((total, byte) => total * 256 + byte, 0);
  return Number.isSafeInteger(number) && number >= 0 ? number : null;
}
