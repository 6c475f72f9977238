/** A disk's answers to SCSI commands. @sbc-3 5, @spc-4 6 */

import { SECTOR } from '../../block/blockDevice.ts';
import { sense } from './sense.ts';
import { answer, inquiryData, vitalProductData } from './inquiry.ts';
import type { Disk } from '../../block/link.ts';
import type { ScsiOutcome } from './sense.ts';

/** What one UNMAP may cover, and how many ranges its list may have. */
export const UNMAP_BLOCKS = 0x3fffff;
export const UNMAP_RANGES = 256;
/** Disks of more blocks tell their size to READ CAPACITY (16) alone. */
const BLOCKS_32 = 0xffffffff;
const directAccess = 0;

const nothing: ScsiOutcome = { kind: 'data', bytes: new Uint8Array(0) };

type Command = (packet: DataView, disk: Disk, serial: string) => ScsiOutcome;

const blocks = (disk: Disk): number => disk.size / SECTOR;
const wide = (packet: DataView, at: number): number => packet.getUint32(at) * 2 ** 32 + packet.getUint32(at + 4);

/** Commands by their first byte. */
const commands: Readonly<Record<number, Command>> = {
  0x00: () => nothing,
  0x08: (packet, disk) => transfer(disk, 'read', packet.getUint32(0) & 0x1fffff, packet.getUint8(4) || 256),
  0x0a: (packet, disk) => transfer(disk, 'write', packet.getUint32(0) & 0x1fffff, packet.getUint8(4) || 256),
  0x12: (packet, _disk, serial) => inquiry(packet, serial),
  0x15: () => ({ kind: 'error', sense: sense.invalidField }),
  0x1a: (packet, disk) => modeSense(packet, disk, false),
  0x1b: () => nothing,
  0x1e: () => nothing,
  0x25: (_packet, disk) => ({ kind: 'data', bytes: capacity10(disk) }),
  0x28: (packet, disk) => transfer(disk, 'read', packet.getUint32(2), packet.getUint16(7)),
  0x2a: (packet, disk) => transfer(disk, 'write', packet.getUint32(2), packet.getUint16(7)),
  0x2f: (packet, disk) => verify(disk, packet.getUint32(2), packet.getUint16(7), packet),
  0x35: () => ({ kind: 'disk', operation: 'flush', offset: 0, length: 0 }),
  0x41: (packet, disk) => writeSame(disk, packet.getUint32(2), packet.getUint16(7), packet),
  0x42: (packet, disk) => (disk.readOnly ? writeProtected : { kind: 'unmap', length: packet.getUint16(7) }),
  0x5a: (packet, disk) => modeSense(packet, disk, true),
  0x88: (packet, disk) => transfer(disk, 'read', wide(packet, 2), packet.getUint32(10)),
  0x8a: (packet, disk) => transfer(disk, 'write', wide(packet, 2), packet.getUint32(10)),
  0x8f: (packet, disk) => verify(disk, wide(packet, 2), packet.getUint32(10), packet),
  0x91: () => ({ kind: 'disk', operation: 'flush', offset: 0, length: 0 }),
  0x93: (packet, disk) => writeSame(disk, wide(packet, 2), packet.getUint32(10), packet),
  0x9e: (packet, disk) => ((packet.getUint8(1) & 0x1f) === 0x10 ? answer(capacity16(disk), packet.getUint32(10)) : { kind: 'error', sense: sense.invalidField }),
  0xa8: (packet, disk) => transfer(disk, 'read', packet.getUint32(2), packet.getUint32(6)),
  0xaa: (packet, disk) => transfer(disk, 'write', packet.getUint32(2), packet.getUint32(6)),
};

const writeProtected: ScsiOutcome = { kind: 'error', sense: sense.writeProtected };

/** Carries out a command block of at least 16 bytes. REQUEST SENSE and REPORT LUNS are the caller's. */
export function diskCommand(packet: Uint8Array, disk: Disk, serial: string): ScsiOutcome {
  const command = commands[packet[0] ?? 0];
  return command ? command(new DataView(packet.buffer, packet.byteOffset, packet.byteLength), disk, serial) : { kind: 'error', sense: sense.invalidCommand };
}

/** The ranges of an UNMAP's parameter list in bytes; null when one lies outside the disk or the list is longer than is offered. */
export function unmapRanges(list: Uint8Array, disk: Disk): readonly { readonly offset: number; readonly length: number }[] | null {
  const view = new DataView(list.buffer, list.byteOffset, list.byteLength);
  const count = list.length < 8 ? 0 : Math.floor(Math.min(view.getUint16(2), list.length - 8) / 16);
  if (count > UNMAP_RANGES) return null;
  const ranges = Array.from({ length: count }, (_, index) => ({ offset: wide(view, 8 + index * 16) * SECTOR, length: view.getUint32(16 + index * 16) * SECTOR }));
  return ranges.some(({ offset, length }) => offset + length > disk.size || length > UNMAP_BLOCKS * SECTOR) ? null : ranges;
}

function transfer(disk: Disk, operation: 'read' | 'write', block: number, count: number): ScsiOutcome {
  if (block + count > blocks(disk)) return { kind: 'error', sense: sense.outOfRange };
  if (operation === 'write' && disk.readOnly) return writeProtected;
  return { kind: 'disk', operation, offset: block * SECTOR, length: count * SECTOR };
}

/** What is on the disk can be read: there is nothing else to verify. A comparison with data is not offered. */
function verify(disk: Disk, block: number, count: number, packet: DataView): ScsiOutcome {
  if ((packet.getUint8(1) & 6) !== 0) return { kind: 'error', sense: sense.invalidField };
  return block + count > blocks(disk) ? { kind: 'error', sense: sense.outOfRange } : nothing;
}

/** WRITE SAME with zeros: the block is not looked at where the command says that there is none (NDOB), or that it may be unmapped. */
function writeSame(disk: Disk, block: number, count: number, packet: DataView): ScsiOutcome {
  const flags = packet.getUint8(1);
  if ((flags & 9) === 0 || count === 0) return { kind: 'error', sense: sense.invalidField };
  if (block + count > blocks(disk)) return { kind: 'error', sense: sense.outOfRange };
  if (count > UNMAP_BLOCKS) return { kind: 'error', sense: sense.invalidField };
  return disk.readOnly ? writeProtected : { kind: 'disk', operation: 'zero', offset: block * SECTOR, length: count * SECTOR };
}

function inquiry(packet: DataView, serial: string): ScsiOutcome {
  const limit = packet.getUint16(3);
  if ((packet.getUint8(1) & 1) === 0) return packet.getUint8(2) === 0 ? answer(inquiryData(directAccess, 'DISK'), limit) : { kind: 'error', sense: sense.invalidField };
  const page = vitalProductData(directAccess, packet.getUint8(2), serial, pages);
  return page ? answer(page, limit) : { kind: 'error', sense: sense.invalidField };
}

/** Block limits, characteristics (not a rotating medium), provisioning (UNMAP and WRITE SAME (16) unmap; anchors do not exist). */
const pages: Readonly<Record<number, () => Uint8Array>> = {
  0xb0: () => {
    const view = new DataView(new ArrayBuffer(60));
    view.setUint32(16, UNMAP_BLOCKS);
    view.setUint32(20, UNMAP_RANGES);
    view.setUint32(24, 8);
    view.setBigUint64(32, BigInt(UNMAP_BLOCKS));
    return new Uint8Array(view.buffer);
  },
  0xb1: () => Uint8Array.of(0, 1, ...new Array<number>(58).fill(0)),
  0xb2: () => Uint8Array.of(0, 0xc0, 2, 0),
};

function capacity10(disk: Disk): Uint8Array {
  const view = new DataView(new ArrayBuffer(8));
  view.setUint32(0, Math.min(blocks(disk) - 1, BLOCKS_32));
  view.setUint32(4, SECTOR);
  return new Uint8Array(view.buffer);
}

/** Physical blocks of 2^3 sectors; provisioned thinly (LBPME). What was unmapped may read as before. */
function capacity16(disk: Disk): Uint8Array {
  const view = new DataView(new ArrayBuffer(32));
  view.setBigUint64(0, BigInt(blocks(disk) - 1));
  view.setUint32(8, SECTOR);
  view.setUint8(13, 3);
  view.setUint8(14, disk.readOnly ? 0 : 0x80);
  return new Uint8Array(view.buffer);
}

/** Caching: a write cache that SYNCHRONIZE CACHE empties. Error recovery. Values that could be changed: none. */
function modeSense(packet: DataView, disk: Disk, ten: boolean): ScsiOutcome {
  const changeable = packet.getUint8(2) >> 6 === 1;
  const known: Readonly<Record<number, readonly number[]>> = { 0x01: [0x01, 10, ...new Array<number>(10).fill(0)], 0x08: [0x08, 18, changeable ? 0 : 4, ...new Array<number>(17).fill(0)] };
  const wanted = packet.getUint8(2) & 0x3f;
  const body = (wanted === 0x3f ? Object.values(known) : [known[wanted]].filter((page) => page !== undefined)).flat();
  if (body.length === 0) return { kind: 'error', sense: sense.invalidField };
  const protection = disk.readOnly ? 0x80 : 0;
  if (ten) return answer(Uint8Array.of(0, body.length + 6, 0, protection, 0, 0, 0, 0, ...body), packet.getUint16(7));
  return answer(Uint8Array.of(body.length + 3, 0, protection, 0, ...body), packet.getUint8(4));
}
