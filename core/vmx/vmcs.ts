/** The VMCS fields as rows made from their encodings, and their places in a VMCS region. @sdm 3C 25.11.2 */
import * as encodings from './fields.ts';

export type FieldKind = 'control' | 'read-only' | 'guest' | 'host';
export type FieldName = keyof typeof encodings;

export interface FieldRow {
  readonly name: FieldName;
  readonly encoding: number;
  /** Bits; 0 stands for the natural width, which is 64 bits in storage. */
  readonly width: 16 | 32 | 64 | 0;
  readonly kind: FieldKind;
  readonly index: number;
  /** Byte offset in the region. */
  readonly offset: number;
}

const WIDTHS = [16, 64, 32, 0] as const;
const KINDS = ['control', 'read-only', 'guest', 'host'] as const;

/**
 * Each field has eight bytes: groups of 32 by width and kind. There is no 16-bit read-only field: that group's place is exchanged with the
 * first one's and holds the header.
 */
export function fieldOffset(encoding: number): number {
  return ((((encoding >> 13) & 3) << 10) | (((encoding >> 10) & 3) << 8) | (((encoding >> 1) & 31) << 3)) ^ 0x100;
}

export const FIELDS: readonly FieldRow[] = Object.entries(encodings).map(([name, encoding]) => ({
  name: name as FieldName, encoding, width: WIDTHS[(encoding >> 13) & 3]!, kind: KINDS[(encoding >> 10) & 3]!, index: (encoding >> 1) & 0x1ff,
  offset: fieldOffset(encoding),
}));

/** The highest index that an encoding uses, in the place where IA32_VMX_VMCS_ENUM reports it. @sdm 3D A.9 */
export const VMCS_ENUM = Math.max(...FIELDS.map(({ index }) => index)) << 1;

/** Identifies the region's format; bit 31 of the word marks a shadow VMCS. */
export const VMCS_REVISION = 0x56504c01;
