/** What a logical unit says of itself. @spc-4 6.4, 7.8 */

import type { ScsiOutcome } from './sense.ts';

const VENDOR = 'VNDRPOOL';
const unitSerial = 0x80;
const identification = 0x83;
const supportedPages = 0x00;

/** As much of an answer as there is room for. */
export function answer(bytes: Uint8Array, limit: number): ScsiOutcome {
  return { kind: 'data', bytes: bytes.subarray(0, limit) };
}

/** Standard INQUIRY data: SPC-3, responses in format 2, commands may be queued. */
export function inquiryData(type: number, product: string, removable = false): Uint8Array {
  const bytes = new Uint8Array(36).fill(0x20, 8);
  bytes.set([type, removable ? 0x80 : 0, 5, 2, 31, 0, 0, 2]);
  put(bytes, 8, VENDOR);
  put(bytes, 16, product);
  put(bytes, 32, '1.0');
  return bytes;
}

/** A page of vital product data, or null where there is none of that number. */
export function vitalProductData(type: number, page: number, serial: string, more: Readonly<Record<number, () => Uint8Array>> = {}): Uint8Array | null {
  const pages: Readonly<Record<number, () => Uint8Array>> = {
    [supportedPages]: () => Uint8Array.of(supportedPages, unitSerial, identification, ...Object.keys(more).map(Number)),
    [unitSerial]: () => new TextEncoder().encode(serial),
    [identification]: () => {
      // A designator in ASCII: vendor, product, serial number.
      const name = new TextEncoder().encode(`${VENDOR}${serial}`);
      return Uint8Array.of(2, 1, 0, name.length, ...name);
    },
    ...more,
  };
  const body = pages[page]?.();
  return body ? Uint8Array.of(type, page, body.length >> 8, body.length & 255, ...body) : null;
}

function put(bytes: Uint8Array, at: number, text: string): void {
  new TextEncoder().encodeInto(text, bytes.subarray(at));
}
