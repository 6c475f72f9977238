/** Making the tables that answer a person's question. */
import type { InspectSection } from '../contract/inspect.ts';

/** `0x` and as many digits as the number needs. */
export function hex(value: bigint | number): string {
  return `0x${value.toString(16)}`;
}

/** Sixteen digits: what stands in columns. */
export function wideHex(value: bigint): string {
  return `0x${value.toString(16).padStart(16, '0')}`;
}

export function section(title: string, columns: readonly string[], rows: readonly (readonly string[])[], note = ''): InspectSection {
  return { title, columns: [...columns], rows: rows.map((row) => [...row]), note };
}

/** A bit of a register: its number and its name. */
export type BitRow = readonly [number, string];

/** Names of the bits that are set, lowest first. */
export function bitNames(value: bigint, bits: readonly BitRow[]): string {
  return bits.filter(([bit]) => (value >> BigInt(bit)) & 1n).map(([, name]) => name).join(' ');
}
