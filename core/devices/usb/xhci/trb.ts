/** Transfer request blocks: the sixteen-byte entries of every ring. @xhci 6.4 */

import type { DmaPort } from '../../../platform/dma.ts';

export const TRB_BYTES = 16;

export const trbType = {
  normal: 1, setup: 2, data: 3, status: 4, isochronous: 5, link: 6, eventData: 7, noOperation: 8,
  enableSlot: 9, disableSlot: 10, addressDevice: 11, configureEndpoint: 12, evaluateContext: 13, resetEndpoint: 14, stopEndpoint: 15, setDequeue: 16, resetDevice: 17, commandNoOperation: 23,
  transferEvent: 32, commandCompletion: 33, portChange: 34, hostController: 37,
} as const;

/** Bits of the last word. */
export const trbBit = { cycle: 1 << 0, toggle: 1 << 1, shortInterrupt: 1 << 2, chain: 1 << 4, interrupt: 1 << 5, immediate: 1 << 6, block: 1 << 9, deconfigure: 1 << 9, blockAddress: 1 << 9, preserve: 1 << 9, in: 1 << 16 } as const;

/** Completion codes. @xhci 6.4.5 */
export const code = {
  success: 1, dataBuffer: 2, babble: 3, transaction: 4, trb: 5, stall: 6, noSlots: 9, slotNotEnabled: 11, endpointNotEnabled: 12, shortPacket: 13,
  underrun: 14, overrun: 15, parameter: 17, contextState: 19, eventRingFull: 21, ringStopped: 24, stopped: 26,
} as const;

export interface Trb {
  /** Where it lies. */
  readonly address: number;
  /** Pointer, or eight bytes of data. */
  readonly low: number;
  readonly high: number;
  readonly status: number;
  readonly control: number;
}

/** A place on a ring: the next block, and the cycle bit that makes it one. */
export interface RingPlace {
  readonly address: number;
  readonly cycle: number;
}

/** One of a transfer's blocks, with the place behind it. */
export interface RingEntry {
  readonly trb: Trb;
  readonly next: RingPlace;
}

export function typeOf({ control }: Pick<Trb, 'control'>): number {
  return (control >>> 10) & 63;
}

/** The pointer of a block; no memory lies above 2^53. */
export function pointerOf({ low, high }: Pick<Trb, 'low' | 'high'>): number {
  return (high & 0x1fffff) * 2 ** 32 + low;
}

/** Bytes of a transfer block. */
export function lengthOf({ status }: Pick<Trb, 'status'>): number {
  return status & 0x1ffff;
}

/** Null: there is no memory. */
export function readTrb(dma: DmaPort, address: number): Trb | null {
  const bytes = new Uint8Array(TRB_BYTES);
  if (!dma.read(address, bytes)) return null;
  const view = new DataView(bytes.buffer);
  return { address, low: view.getUint32(0, true), high: view.getUint32(4, true), status: view.getUint32(8, true), control: view.getUint32(12, true) };
}

/** Blocks that one call looks at: a ring may link to itself. */
const LOOKED_AT = 512;

/**
 * The next block of a ring that is not a link. Null: software has put none there yet; `lost`: a part of the ring is no memory, or it links in circles.
 */
export function nextEntry(dma: DmaPort, from: RingPlace): RingEntry | null | 'lost' {
  let { address, cycle } = from;
  for (let looked = 0; looked < LOOKED_AT; looked++) {
    const trb = readTrb(dma, address);
    if (trb === null) return 'lost';
    if ((trb.control & trbBit.cycle) !== cycle) return null;
    if (typeOf(trb) !== trbType.link) return { trb, next: { address: address + TRB_BYTES, cycle } };
    if ((trb.control & trbBit.toggle) !== 0) cycle ^= 1;
    address = pointerOf(trb) - (trb.low & 15);
  }
  return 'lost';
}
