/** Bit fields of descriptors and registers: rows say where a field lies, these functions read and build it. */

/** A field: its lowest bit and how many bits it has. */
export type FieldRow = readonly [low: number, width: number];

export const mask64 = (1n << 64n) - 1n;

/** A field of up to 53 bits as a number. */
export function field(value: bigint, low: number, width: number): number {
  return Number((value >> BigInt(low)) & ((1n << BigInt(width)) - 1n));
}

export function bit(value: bigint, index: number): boolean {
  return ((value >> BigInt(index)) & 1n) !== 0n;
}

/** All bits from `low` to `high`, both included; 0 when there are none. */
export function bits(low: number, high: number): bigint {
  return high < low ? 0n : ((1n << BigInt(high - low + 1)) - 1n) << BigInt(low);
}

/** Every field of a value by its name. */
export function unpack<K extends string>(rows: Readonly<Record<K, FieldRow>>, value: bigint): Record<K, number> {
  const entries = Object.entries<FieldRow>(rows).map(([name, [low, width]]) => [name, field(value, low, width)] as const);
  return Object.fromEntries(entries) as Record<K, number>;
}

/** Builds a value from its fields; those that are not named are 0. */
export function pack<K extends string>(rows: Readonly<Record<K, FieldRow>>, values: Readonly<Partial<Record<K, number>>>): bigint {
  let value = 0n;
  for (const [name, given] of Object.entries(values) as [K, number | undefined][]) {
    const [low, width] = rows[name];
    value |= (BigInt(given ?? 0) & ((1n << BigInt(width)) - 1n)) << BigInt(low);
  }
  return value;
}

/** Bits that none of the fields covers. */
export function uncovered(rows: Readonly<Record<string, FieldRow>>, width: number): bigint {
  return Object.values(rows).reduce((rest, [low, size]) => rest & ~bits(low, low + size - 1), bits(0, width - 1));
}
