/** The unit's registers as rows, and the file that keeps their values. @vtd 11.4 */

import { capabilityValue, extendedCapabilityValue, faultRecordOffset, faultRecords, iotlbOffset } from './capabilities.ts';
import { bits } from './fields.ts';
import { StateReader } from '../platform/state.ts';
import type { VtdOptions } from './capabilities.ts';

export interface RegisterRow {
  readonly name: string;
  readonly offset: number;
  readonly bytes: 4 | 8;
  readonly reset: bigint;
  /** Bits that software writes. */
  readonly writable: bigint;
  /** Bits that software clears by writing 1. */
  readonly clear: bigint;
  /** Bits that only the unit changes. */
  readonly own: bigint;
}

type RowSpec = readonly [name: string, offset: number, bytes: 4 | 8, more?: { reset?: bigint; writable?: bigint; clear?: bigint; own?: bigint }];

const dword = bits(0, 31);
const page = bits(12, 63);
/** A message's address lies in the interrupt range, at a multiple of four. */
const messageAddress = bits(2, 31);

/** Bits of GCMD_REG and GSTS_REG. */
export const command = {
  translation: 31, rootTable: 30, faultLog: 29, advancedLog: 28, writeBuffer: 27, queue: 26, interrupts: 25, interruptTable: 24, compatibility: 23,
} as const;

/** Bits of FSTS_REG. */
export const faultStatus = { overflow: 0, pending: 1, queueError: 4, completionError: 5, timeout: 6 } as const;

/** Bits of FECTL_REG and IECTL_REG. */
export const eventControl = { pending: 30, masked: 31 } as const;

/** Alignment of the protected memory regions: 2 MiB. */
const protectedPage = bits(21, 31);

const fixed: readonly RowSpec[] = [
  // Version 1.0 of the register layout.
  ['VER', 0x00, 4, { reset: 0x10n }],
  ['GCMD', 0x18, 4, { writable: dword }],
  ['GSTS', 0x1c, 4, { own: bits(23, 31) }],
  ['RTADDR', 0x20, 8, { writable: bits(10, 63) }],
  ['CCMD', 0x28, 8, { writable: bits(0, 33) | bits(61, 63), own: bits(59, 60) }],
  ['FSTS', 0x34, 4, { clear: 0x71n, own: bits(8, 15) | 2n }],
  ['FECTL', 0x38, 4, { reset: 1n << 31n, writable: 1n << 31n, own: 1n << 30n }],
  ['FEDATA', 0x3c, 4, { writable: dword }],
  ['FEADDR', 0x40, 4, { writable: messageAddress }],
  ['FEUADDR', 0x44, 4, { writable: dword }],
  ['PMEN', 0x64, 4, { writable: 1n << 31n, own: 1n }],
  ['PLMBASE', 0x68, 4, { writable: protectedPage }],
  ['PLMLIMIT', 0x6c, 4, { writable: protectedPage }],
  ['PHMBASE', 0x70, 8, { writable: bits(21, 63) }],
  ['PHMLIMIT', 0x78, 8, { writable: bits(21, 63) }],
  ['IQH', 0x80, 8, { own: bits(4, 18) }],
  ['IQT', 0x88, 8, { writable: bits(4, 18) }],
  ['IQA', 0x90, 8, { writable: page | bits(0, 2) | (1n << 11n) }],
  ['ICS', 0x9c, 4, { clear: 1n }],
  ['IECTL', 0xa0, 4, { reset: 1n << 31n, writable: 1n << 31n, own: 1n << 30n }],
  ['IEDATA', 0xa4, 4, { writable: dword }],
  ['IEADDR', 0xa8, 4, { writable: messageAddress }],
  ['IEUADDR', 0xac, 4, { writable: dword }],
  ['IQERCD', 0xb0, 8, { own: bits(0, 3) | bits(32, 63) }],
  ['IRTA', 0xb8, 8, { writable: page | bits(0, 3) | (1n << 11n) }],
  ['IVA', iotlbOffset, 8, { writable: page | bits(0, 6) }],
  ['IOTLB', iotlbOffset + 8, 8, { writable: bits(32, 49) | bits(60, 61) | (1n << 63n), own: bits(57, 58) }],
];

/** Two rows for each fault record. */
function recordRows(index: number): readonly RowSpec[] {
  const offset = faultRecordOffset + index * 16;
  return [
    [`FRCD${index}_LOW`, offset, 8, { own: page }],
    [`FRCD${index}_HIGH`, offset + 8, 8, { clear: 1n << 63n, own: bits(0, 15) | bits(28, 62) }],
  ];
}

export function registerRows(options: VtdOptions): readonly RegisterRow[] {
  const capabilities: readonly RowSpec[] = [
    ['CAP', 0x08, 8, { reset: capabilityValue(options) }],
    ['ECAP', 0x10, 8, { reset: extendedCapabilityValue(options) }],
  ];
  const records = Array.from({ length: faultRecords }, (_, index) => recordRows(index)).flat();
  return [...fixed, ...capabilities, ...records].map(([name, offset, bytes, { reset = 0n, writable = 0n, clear = 0n, own = 0n } = {}]) => (
    { name, offset, bytes, reset, writable, clear, own }
  ));
}

/** Values of registers by name. Writes by software go through `write`, which keeps to the row; the unit itself uses `set`. */
export class RegisterFile {
  readonly rows: readonly RegisterRow[];
  private readonly values = new Map<string, bigint>();
  /** For each dword of the register page the row that it belongs to. */
  private readonly at = new Map<number, RegisterRow>();

  constructor(rows: readonly RegisterRow[]) {
    this.rows = rows;
    for (const row of rows) for (let offset = row.offset; offset < row.offset + row.bytes; offset += 4) this.at.set(offset, row);
    this.reset();
  }

  reset(): void {
    for (const { name, reset } of this.rows) this.values.set(name, reset);
  }

  get(name: string): bigint {
    return this.values.get(name) ?? 0n;
  }

  set(name: string, value: bigint): void {
    this.values.set(name, value);
  }

  has(name: string, index: number): boolean {
    return ((this.get(name) >> BigInt(index)) & 1n) !== 0n;
  }

  setBit(name: string, index: number, value: boolean): void {
    const mask = 1n << BigInt(index);
    this.set(name, value ? this.get(name) | mask : this.get(name) & ~mask);
  }

  /** The dword at an offset that is a multiple of four. */
  readDword(offset: number): number {
    const row = this.at.get(offset);
    return row === undefined ? 0 : Number((this.get(row.name) >> BigInt((offset - row.offset) * 8)) & dword);
  }

  /** Software writes a dword. Returns the register that it belongs to, if any. */
  writeDword(offset: number, value: number): RegisterRow | undefined {
    const row = this.at.get(offset);
    if (row === undefined) return undefined;
    const shift = BigInt((offset - row.offset) * 8);
    this.merge(row, BigInt(value >>> 0) << shift, dword << shift);
    return row;
  }

  /** Software writes eight bytes. Returns the registers that they belong to. */
  writeQword(offset: number, value: bigint): readonly RegisterRow[] {
    const rows = [this.at.get(offset), this.at.get(offset + 4)];
    const [low, high] = rows;
    if (low !== undefined && low === high) {
      this.merge(low, value, bits(0, 63));
      return [low];
    }
    this.writeDword(offset, Number(value & dword));
    this.writeDword(offset + 4, Number(value >> 32n));
    return rows.filter(row => row !== undefined);
  }

  save(): Record<string, string> {
    return Object.fromEntries(this.rows.map(({ name }) => [name, this.get(name).toString()]));
  }

  /** Checks every value before any changes. @throws StateError naming a register that could not have held its value */
  load(reader: StateReader): void {
    const values = this.rows.map(row => {
      const value = reader.uint64(row.name);
      const fixedBits = ~(row.writable | row.clear | row.own);
      if (((value ^ row.reset) & fixedBits) !== 0n) reader.refuse(row.name, 'the fixed bits of this register');
      return [row.name, value] as const;
    });
    for (const [name, value] of values) this.values.set(name, value);
  }

  private merge({ name, writable, clear }: RegisterRow, value: bigint, mask: bigint): void {
    const before = this.get(name);
    const written = (before & ~(writable & mask)) | (value & writable & mask);
    this.values.set(name, written & ~(value & clear & mask));
  }
}
