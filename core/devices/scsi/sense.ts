/** What SCSI commands lead to, and how errors are told. @spc-4 4.5 */

import type { DiskOperation } from '../../block/link.ts';

export type ScsiOutcome =
  /** Bytes for the initiator; none is success without data. */
  | { readonly kind: 'data'; readonly bytes: Uint8Array }
  /** An access to the medium; offset and length in bytes. */
  | { readonly kind: 'disk'; readonly operation: DiskOperation; readonly offset: number; readonly length: number }
  /** A parameter list of ranges comes from the initiator. */
  | { readonly kind: 'unmap'; readonly length: number }
  | { readonly kind: 'error'; readonly sense: Sense };

/** Sense key, additional sense code and its qualifier. */
export interface Sense {
  readonly key: number;
  readonly code: number;
  readonly qualifier?: number;
}

export const sense = {
  none: { key: 0, code: 0 }, noMedium: { key: 2, code: 0x3a }, mediumError: { key: 3, code: 0x11 }, writeError: { key: 3, code: 0x0c }, invalidCommand: { key: 5, code: 0x20 },
  outOfRange: { key: 5, code: 0x21 }, invalidField: { key: 5, code: 0x24 }, noSuchUnit: { key: 5, code: 0x25 }, removalPrevented: { key: 5, code: 0x53, qualifier: 2 },
  parameterList: { key: 5, code: 0x26 }, mediumChanged: { key: 6, code: 0x28 }, capacityChanged: { key: 6, code: 0x2a, qualifier: 9 },
  ejectRequested: { key: 6, code: 0x5a, qualifier: 1 }, writeProtected: { key: 7, code: 0x27 }, spaceFailed: { key: 7, code: 0x27, qualifier: 7 },
} as const satisfies Readonly<Record<string, Sense>>;

/** Fixed-format sense data. */
export function senseData({ key, code, qualifier = 0 }: Sense): Uint8Array {
  const bytes = new Uint8Array(18);
  bytes[0] = 0x70;
  bytes[2] = key;
  bytes[7] = 10;
  bytes[12] = code;
  bytes[13] = qualifier;
  return bytes;
}
