/** Transfers between a host controller on the core thread and a device of the host on the I/O thread: messages in the frames of a link. */

import { setupBytes } from './device.ts';
import type { TransferKind, TransferStatus, UsbSpeed } from './device.ts';

/** Orders of the core thread come first; the rest are answers and news. */
const operations = ['submit', 'cancel', 'done', 'arrived', 'gone'] as const;
const kinds: readonly TransferKind[] = ['control', 'isochronous', 'bulk', 'interrupt'];
const statuses: readonly TransferStatus[] = ['completed', 'stall', 'error', 'babble'];
const speeds: readonly UsbSpeed[] = ['full', 'low', 'high', 'super'];
const HEADER_BYTES = 24;
const none = new Uint8Array(0);

export type UsbMessage =
  /** `setup`: null where there is no setup stage. `length`: bytes that are wanted. */
  | { readonly operation: 'submit'; readonly id: number; readonly endpoint: number; readonly kind: TransferKind; readonly setup: Uint8Array | null; readonly length: number; readonly data: Uint8Array }
  | { readonly operation: 'cancel'; readonly endpoint: number }
  | { readonly operation: 'done'; readonly id: number; readonly status: TransferStatus; readonly data: Uint8Array }
  | { readonly operation: 'arrived'; readonly speed: UsbSpeed }
  | { readonly operation: 'gone' };

export function encodeMessage(message: UsbMessage): Uint8Array {
  const data = 'data' in message ? message.data : none;
  const bytes = new Uint8Array(HEADER_BYTES + data.length);
  const view = new DataView(bytes.buffer);
  bytes[0] = operations.indexOf(message.operation);
  bytes[1] = 'endpoint' in message ? message.endpoint : 0;
  bytes[2] = message.operation === 'submit' ? kinds.indexOf(message.kind) : message.operation === 'done' ? statuses.indexOf(message.status) : message.operation === 'arrived' ? speeds.indexOf(message.speed) : 0;
  if ('id' in message) view.setUint32(4, message.id);
  if (message.operation === 'submit') {
    view.setUint32(8, message.length);
    bytes[3] = message.setup === null ? 0 : 1;
    bytes.set(message.setup ?? none, 12);
  }
  bytes.set(data, HEADER_BYTES);
  return bytes;
}

/** Null: no message. */
export function decodeMessage(bytes: Uint8Array): UsbMessage | null {
  if (bytes.length < HEADER_BYTES) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const [operation, endpoint = 0, word = 0] = [operations[bytes[0] ?? 255], bytes[1], bytes[2]];
  const [id, data] = [view.getUint32(4), bytes.subarray(HEADER_BYTES)];
  switch (operation) {
    case 'submit': {
      const setup = bytes[3] === 1 ? bytes.slice(12, 12 + setupBytes) : null;
      return { operation, id, endpoint, kind: kinds[word] ?? 'bulk', setup, length: view.getUint32(8), data };
    }
    case 'cancel': return { operation, endpoint };
    case 'done': return { operation, id, status: statuses[word] ?? 'error', data };
    case 'arrived': return { operation, speed: speeds[word] ?? 'full' };
    case 'gone': return { operation };
    default: return null;
  }
}
