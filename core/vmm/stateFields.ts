/** Rows of saved fields that lie in a vCPU's state as they are saved. */
import type { StateReader } from '../platform/state.ts';

export interface StateField {
  readonly name: string;
  readonly offset: number;
  readonly bits: 8 | 16 | 32 | 64;
}

export type StateValues = ReadonlyMap<string, bigint>;

/** Rows of one width, by name and offset. */
export function stateFields(bits: StateField['bits'], rows: readonly (readonly [string, number])[]): StateField[] {
  return rows.map(([name, offset]) => ({ name, offset, bits }));
}

export function saveFields(view: DataView, fields: readonly StateField[], base: number): Record<string, string | number> {
  return Object.fromEntries(fields.map(({ name, offset, bits }) => {
    const at = base + offset;
    if (bits === 64) return [name, view.getBigUint64(at, true).toString()];
    return [name, bits === 32 ? view.getUint32(at, true) : bits === 16 ? view.getUint16(at, true) : view.getUint8(at)];
  }));
}

/** @throws StateError naming the field */
export function readFields(reader: StateReader, fields: readonly StateField[]): StateValues {
  return new Map(fields.map(({ name, bits }) => [name, bits === 64 ? reader.uint64(name) : BigInt(reader.uint(name, bits))]));
}

export function writeFields(view: DataView, fields: readonly StateField[], base: number, values: StateValues): void {
  for (const { name, offset, bits } of fields) {
    const at = base + offset;
    const value = values.get(name) ?? 0n;
    if (bits === 64) view.setBigUint64(at, value, true);
    else if (bits === 32) view.setUint32(at, Number(value), true);
    else if (bits === 16) view.setUint16(at, Number(value), true);
    else view.setUint8(at, Number(value));
  }
}
