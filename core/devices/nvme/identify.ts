/** What the controller and its namespace say of themselves. @nvme 5.15 */

import { SECTOR } from '../../block/blockDevice.ts';
import type { Disk } from '../../block/link.ts';

export const IDENTIFY_BYTES = 4096;
/** Transfers of at most 2^7 pages: 512 KiB. */
export const TRANSFER_PAGES_LOG2 = 7;
/** Bit of the asynchronous events that are offered, and of those that are wanted: namespace attributes. */
export const namespaceNotices = 0x100;

function putText(bytes: Uint8Array, at: number, length: number, text: string): void {
  bytes.fill(0x20, at, at + length);
  new TextEncoder().encodeInto(text.slice(0, length), bytes.subarray(at));
}

export function identifyController(serial: string): Uint8Array {
  const bytes = new Uint8Array(IDENTIFY_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, 0x1af4, true);
  view.setUint16(2, 0x1af4, true);
  putText(bytes, 4, 20, serial);
  putText(bytes, 24, 40, 'Vanderpool NVMe disk');
  putText(bytes, 64, 8, '1.0');
  bytes[77] = TRANSFER_PAGES_LOG2;
  view.setUint32(80, 0x00010400, true);
  // Tells of namespaces that change.
  view.setUint32(92, namespaceNotices, true);
  // Four asynchronous event requests, four error log entries' worth of history (one, as a count from 0).
  bytes[259] = 3;
  // Entries of 64 and 16 bytes; one namespace; dataset management and write zeroes; a volatile write cache.
  bytes[512] = 0x66;
  bytes[513] = 0x44;
  view.setUint32(516, 1, true);
  view.setUint16(520, 0x000c, true);
  bytes[525] = 1;
  putText(bytes, 768, 256, `nqn.2026-01.vanderpool:${serial}`);
  bytes.fill(0, 768 + 23 + serial.length, 1024);
  return bytes;
}

export function identifyNamespace(disk: Disk): Uint8Array {
  const bytes = new Uint8Array(IDENTIFY_BYTES);
  const view = new DataView(bytes.buffer);
  const sectors = BigInt(disk.size / SECTOR);
  view.setBigUint64(0, sectors, true);
  view.setBigUint64(8, sectors, true);
  view.setBigUint64(16, sectors, true);
  // One format: 2^9 bytes without metadata. Attributes: write-protected where the image is.
  bytes[99] = disk.readOnly ? 1 : 0;
  bytes[130] = 9;
  return bytes;
}

/** Namespaces with ids above `after`. */
export function namespaceList(after: number): Uint8Array {
  const bytes = new Uint8Array(IDENTIFY_BYTES);
  if (after < 1) bytes[0] = 1;
  return bytes;
}

/** Descriptors of the namespace: an identifier made of its serial number. */
export function namespaceDescriptors(serial: string): Uint8Array {
  const bytes = new Uint8Array(IDENTIFY_BYTES);
  bytes.set([1, 8]);
  new TextEncoder().encodeInto(serial.slice(-8), bytes.subarray(4, 12));
  return bytes;
}
