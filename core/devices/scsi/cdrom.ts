/** A CD-ROM drive's answers to SCSI commands. @mmc-5, @spc-3 */

import { answer, inquiryData, vitalProductData } from './inquiry.ts';
import { sense } from './sense.ts';
import type { Disk } from '../../block/link.ts';
import type { ScsiOutcome } from './sense.ts';

export const CD_BLOCK = 2048;

const nothing: ScsiOutcome = { kind: 'data', bytes: new Uint8Array(0) };

type Command = (packet: DataView, disk: Disk, serial: string) => ScsiOutcome;
const multimedia = 5;

/** Commands by their first byte. */
const commands: Readonly<Record<number, Command>> = {
  0x00: () => nothing,
  0x12: (packet, _disk, serial) => inquiry(packet, serial),
  0x25: (_packet, disk) => ({ kind: 'data', bytes: capacity(disk) }),
  0x28: (packet, disk) => read(disk, packet.getUint32(2), packet.getUint16(7)),
  0xa8: (packet, disk) => read(disk, packet.getUint32(2), packet.getUint32(6)),
  0x43: (packet, disk) => readTableOfContents(packet, disk),
  0x46: packet => answer(configuration(), packet.getUint16(7)),
  0x51: packet => answer(discInformation(), packet.getUint16(7)),
  0x5a: packet => modeSense(packet),
  0xbd: packet => answer(Uint8Array.of(0, 0, 0, 0, 0, 1, 0, 0), packet.getUint16(8)),
};

/** Carries out a packet of 12 bytes. What depends on earlier commands or on the tray is the unit's (unit.ts). */
export function cdromCommand(packet: Uint8Array, disk: Disk, serial: string): ScsiOutcome {
  const command = commands[packet[0] ?? 0];
  return command ? command(new DataView(packet.buffer, packet.byteOffset, packet.byteLength), disk, serial) : { kind: 'error', sense: sense.invalidCommand };
}

function blocks(disk: Disk): number {
  return Math.floor(disk.size / CD_BLOCK);
}

function read(disk: Disk, block: number, count: number): ScsiOutcome {
  if (block + count > blocks(disk)) return { kind: 'error', sense: sense.outOfRange };
  return { kind: 'disk', operation: 'read', offset: block * CD_BLOCK, length: count * CD_BLOCK };
}

function inquiry(packet: DataView, serial: string): ScsiOutcome {
  const limit = packet.getUint16(3);
  if ((packet.getUint8(1) & 1) === 0) return answer(inquiryData(multimedia, 'CD-ROM', true), limit);
  const page = vitalProductData(multimedia, packet.getUint8(2), serial);
  return page ? answer(page, limit) : { kind: 'error', sense: sense.invalidField };
}

function capacity(disk: Disk): Uint8Array {
  const view = new DataView(new ArrayBuffer(8));
  view.setUint32(0, Math.max(0, blocks(disk) - 1));
  view.setUint32(4, CD_BLOCK);
  return new Uint8Array(view.buffer);
}

/** One data track and the lead-out; sessions alike. */
function readTableOfContents(packet: DataView, disk: Disk): ScsiOutcome {
  const minutes = (packet.getUint8(1) & 2) !== 0;
  const format = packet.getUint8(2) & 15 || packet.getUint8(9) >> 6;
  const limit = packet.getUint16(7);
  const place = (block: number): number[] => {
    const frame = block + 150;
    return minutes ? [0, Math.floor(frame / 4500) & 0xff, Math.floor(frame / 75) % 60, frame % 75] : [block >>> 24, (block >> 16) & 255, (block >> 8) & 255, block & 255];
  };
  if (format === 0) {
    const first = packet.getUint8(6) <= 1 ? [0, 0x14, 1, 0, ...place(0)] : [];
    const entries = [...first, 0, 0x16, 0xaa, 0, ...place(blocks(disk))];
    return answer(Uint8Array.of(0, entries.length + 2, 1, 1, ...entries), limit);
  }
  if (format === 1) return answer(Uint8Array.of(0, 10, 1, 1, 0, 0x14, 1, 0, ...place(0)), limit);
  return { kind: 'error', sense: sense.invalidField };
}

/** The profile of a CD-ROM, and the features every drive has. */
function configuration(): Uint8Array {
  const profiles = [0, 0, 3, 4, 0, 8, 1, 0];
  const core = [0, 1, 0x0b, 8, 0, 0, 0, 7, 1, 0, 0, 0];
  const removable = [0, 3, 0x03, 4, 0x28, 0, 0, 0];
  const length = 4 + profiles.length + core.length + removable.length;
  return Uint8Array.of(0, 0, 0, length, 0, 0, 0, 8, ...profiles, ...core, ...removable);
}

function discInformation(): Uint8Array {
  const bytes = new Uint8Array(34);
  bytes.set([0, 32, 0x0e, 1, 1, 1, 1]);
  return bytes;
}

/** Page 2AH, capabilities of the drive; page 1, error recovery. */
function modeSense(packet: DataView): ScsiOutcome {
  const pages: Readonly<Record<number, readonly number[]>> = {
    0x01: [0x01, 6, 0, 5, 0, 0, 0, 0],
    0x2a: [0x2a, 18, 0, 0, 0x71, 0x60, 0x29, 0, 2, 0xc2, 0, 2, 0, 0, 2, 0xc2, 0, 0, 0, 0],
  };
  const wanted = packet.getUint8(2) & 0x3f;
  const found = wanted === 0x3f ? Object.values(pages) : [pages[wanted]].filter(page => page !== undefined);
  if (found.length === 0) return { kind: 'error', sense: sense.invalidField };
  const body = found.flat();
  return answer(Uint8Array.of(0, body.length + 6, 0x12, 0, 0, 0, 0, 0, ...body), packet.getUint16(7));
}
