/** Tar archives (POSIX.1 ustar), as OVA files are: one header a member, in blocks of 512 bytes. */
import type { ImageStorage } from '../block/storage.ts';
import { badAppliance } from './errors.ts';

export interface TarMember {
  readonly name: string;
  /** Where its bytes begin. */
  readonly at: number;
  readonly length: number;
}

export const BLOCK = 512;
/** From here on a length is written in binary. */
const OCTAL_LIMIT = 8 ** 11;
/** An archive ends with two empty blocks. */
export const tarEnd = Buffer.alloc(2 * BLOCK);
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

/** The header of a plain file. @param name of at most 100 bytes */
export function tarHeader(name: string, length: number): Buffer {
  const header = Buffer.alloc(BLOCK);
  const octal = (value: number, at: number, digits: number): void => void header.write(`${value.toString(8).padStart(digits, '0')}\0`, at, 'latin1');
  header.write(name, 0, 100, 'utf8');
  octal(0o644, 100, 7);
  octal(0, 108, 7);
  octal(0, 116, 7);
  if (length < OCTAL_LIMIT) octal(length, 124, 11);
  else {
    header.writeUInt8(0x80, 124);
    header.writeBigUInt64BE(BigInt(length), 128);
  }
  octal(Math.floor(Date.now() / 1000), 136, 11);
  header.write('0', 156, 'latin1');
  header.write('ustar\x0000', 257, 'latin1');
  header.write('        ', 148, 'latin1');
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return header;
}

/** Zeros up to the end of a member's last block. */
export function tarPadding(length: number): Buffer {
  return Buffer.alloc((BLOCK - (length % BLOCK)) % BLOCK);
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
