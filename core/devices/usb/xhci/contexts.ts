/** Device and input contexts: what software and controller tell each other of slots and endpoints. @xhci 6.2 */

import type { DmaPort } from '../../../platform/dma.ts';
import type { TransferKind } from '../device.ts';

/** Contexts have 32 bytes; a device's are that of its slot and those of up to 31 endpoints. */
export const CONTEXT_BYTES = 32;
export const ENDPOINTS = 31;

export const slotState = { enabled: 0, default: 1, addressed: 2, configured: 3 } as const;
export const endpointState = { disabled: 0, running: 1, halted: 2, stopped: 3, error: 4 } as const;

/** Kinds by the type field of an endpoint context; whether it sends to the host. Null: not valid. */
const endpointTypes: readonly (readonly [TransferKind, 'in' | 'out' | 'both'] | null)[] = [
  null, ['isochronous', 'out'], ['bulk', 'out'], ['interrupt', 'out'], ['control', 'both'], ['isochronous', 'in'], ['bulk', 'in'], ['interrupt', 'in'],
];

/** Eight words. */
export type Context = Uint32Array;

export function readContext(dma: DmaPort, address: number): Context | null {
  const bytes = new Uint8Array(CONTEXT_BYTES);
  return dma.read(address, bytes) ? new Uint32Array(bytes.buffer) : null;
}

export function writeContext(dma: DmaPort, address: number, context: Context): boolean {
  return dma.write(address, new Uint8Array(context.buffer, context.byteOffset, CONTEXT_BYTES));
}

/** What software says of an endpoint. */
export interface EndpointSettings {
  readonly kind: TransferKind;
  /** As a device knows it. */
  readonly address: number;
  readonly maxPacket: number;
  /** Time between isochronous transfers. */
  readonly intervalNs: number;
  readonly dequeue: number;
  readonly cycle: number;
}

const microframeNs = 125_000;

/** Null: its type is not valid at this index. @param index device context index, 1 to 31: two for each number, out and in */
export function parseEndpoint(context: Context, index: number): EndpointSettings | null {
  const [first = 0, second = 0, low = 0, high = 0] = context;
  const type = endpointTypes[(second >>> 3) & 7] ?? null;
  if (type === null) return null;
  const [kind, direction] = type;
  const isIn = (index & 1) === 1;
  if (direction === 'both' ? !isIn : (direction === 'in') !== isIn) return null;
  return {
    kind, address: (index >> 1) | (isIn && direction !== 'both' ? 0x80 : 0), maxPacket: second >>> 16,
    intervalNs: microframeNs * 2 ** Math.min((first >>> 16) & 0xff, 15), dequeue: (high & 0x1fffff) * 2 ** 32 + low - (low & 15), cycle: low & 1,
  };
}

/** The slot context's fields that the controller uses. */
export function parseSlot([first = 0, second = 0]: Context): { readonly route: number; readonly entries: number; readonly port: number } {
  return { route: first & 0xfffff, entries: first >>> 27, port: (second >>> 16) & 0xff };
}

/** Sets what the controller tells of a slot. */
export function setSlotState(context: Context, state: number, address: number): void {
  context[3] = ((state << 27) | address) >>> 0;
}

/** Sets what the controller tells of an endpoint. */
export function setEndpointState(context: Context, state: number, dequeue: number, cycle: number): void {
  context[0] = ((context[0] ?? 0) & ~7) | state;
  context[2] = ((dequeue % 2 ** 32) | cycle) >>> 0;
  context[3] = Math.floor(dequeue / 2 ** 32);
}
