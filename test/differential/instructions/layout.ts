/** What a case and its outcome are, and how they are laid out for the native harness (harness.c). */

import { hostAllows } from './harness.ts';

export const PAGE = 4096;
export const LINE = 64;
export const CASE_SIZE = 1536;
export const RESULT_SIZE = 4096;
export const LINES_MAX = 49;

export interface Region {
  readonly name: string;
  readonly address: bigint;
  readonly pages: number;
  readonly write: boolean;
  readonly execute: boolean;
}

/** Memory of a case; what lies between is unmapped. `data` is followed by a page that can only be read. `low` is for 16-bit addresses. */
export const REGIONS: readonly Region[] = [
  { name: 'code', address: 0x1000_0000n, pages: 2, write: true, execute: true },
  { name: 'data', address: 0x2000_0000n, pages: 3, write: true, execute: false },
  { name: 'constants', address: 0x2000_3000n, pages: 1, write: false, execute: false },
  { name: 'stack', address: 0x3000_0000n, pages: 2, write: true, execute: false },
  { name: 'high', address: 0x6000_0000_0000n, pages: 2, write: true, execute: false },
  ...(hostAllows.has('low') ? [{ name: 'low', address: 0x8000n, pages: 2, write: true, execute: false }] : []),
];
export const MEMORY_SIZE = REGIONS.reduce((sum, region) => sum + region.pages * PAGE, 0);
export const regionNamed = (name: string): Region => REGIONS.find(region => region.name === name)!;

/** Offset of an address in the memory of a case, -1 when it is not mapped. */
export function memoryOffset(address: bigint): number {
  let before = 0;
  for (const region of REGIONS) {
    if (address >= region.address && address < region.address + BigInt(region.pages * PAGE)) return before + Number(address - region.address);
    before += region.pages * PAGE;
  }
  return -1;
}

/** The pieces of some bytes at an address that are mapped: offset in the memory of a case, first and last (exclusive) of the bytes. */
export function mapped(address: bigint, length: number, visit: (at: number, from: number, to: number) => void): void {
  for (let from = 0; from < length;) {
    const here = address + BigInt(from);
    const to = Math.min(length, from + PAGE - Number(here & BigInt(PAGE - 1)));
    const at = memoryOffset(here);
    if (at >= 0) visit(at, from, to);
    from = to;
  }
}

/** Address of an offset in the memory of a case. */
export function memoryAddress(offset: number): bigint {
  let before = 0;
  for (const region of REGIONS) {
    if (offset < before + region.pages * PAGE) return region.address + BigInt(offset - before);
    before += region.pages * PAGE;
  }
  return 0n;
}

/** Selectors as Linux lays them out: 32-bit code, data, 64-bit code. */
export const USER32_CS = 0x23;
export const USER_DS = 0x2b;
export const USER_CS = 0x33;

/** A segment of our own in the local descriptor table. */
export interface LocalSegment {
  readonly selector: number;
  readonly base: bigint;
  readonly limit: number;
  readonly kind: 'data' | 'expandDown' | 'code';
  readonly wide: boolean;
  readonly writable: boolean;
  readonly present: boolean;
}

const local = (selector: number, base: bigint, limit: number, kind: LocalSegment['kind'], wide: boolean, writable = true, present = true): LocalSegment =>
  ({ selector, base, limit, kind, wide, writable, present });

/** Segments of 16 bits, with limits, growing down, without the right to write, absent. */
export const LOCAL_SEGMENTS: readonly LocalSegment[] = !hostAllows.has('segments') ? [] : [
  local(0x07, 0x1000_0000n, 0x1fff, 'code', false), local(0x0f, 0x3000_0000n, 0x1fff, 'data', false), local(0x17, 0x2000_0000n, 0x17ff, 'data', true),
  local(0x1f, 0x2000_0000n, 0x0fff, 'expandDown', true), local(0x27, 0x2000_0000n, 0x2fff, 'data', true, false), local(0x2f, 0x1000_0000n, 0x1fff, 'code', true),
  local(0x37, 0x2000_0000n, 0x07ff, 'expandDown', false), local(0x3f, 0x2000_0000n, 0x2fff, 'data', true, true, false), local(0x47, 0x3000_0000n, 0x1fff, 'data', true),
];
const localSegments = new Map(LOCAL_SEGMENTS.map(segment => [segment.selector, segment]));
export const localSegment = (selector: number): LocalSegment | undefined => localSegments.get(selector);
/** Base of a segment that is not FS or GS of 64-bit code. */
export const baseOf = (selector: number): bigint => localSegments.get(selector)?.base ?? 0n;

/** Type and system bit of a descriptor as Linux makes it from the kind: accessed. @sdm 3A 3.4.5.1 */
export function descriptorType({ kind, writable }: LocalSegment): number {
  return 0x11 | (kind === 'code' ? 0xa : kind === 'expandDown' ? 4 : 0) | (kind !== 'code' && writable ? 2 : 0);
}

// ---- one case -----------------------------------------------------------------------------------------------------------------

const RIP = 128;
const FLAGS = 136;
const FS_BASE = 144;
const SELECTORS = 160;
const LENGTH = 172;
const CODE = 176;
const FX = 192;
const CODE_ADDRESS = 704;
const PATCH = 712;
const PATCH2 = 1472;
export const PATCH_LIMIT = 744;
export const PATCH2_LIMIT = 52;

export const selectorNames = ['cs', 'ss', 'ds', 'es', 'fs', 'gs'] as const;
export type SelectorName = (typeof selectorNames)[number];

/** A view of a case's bytes. All memory besides the patches holds the batch's pattern, code pages hold INT3. */
export class Case {
  readonly bytes: Uint8Array;
  readonly view: DataView;

  constructor(bytes: Uint8Array = new Uint8Array(CASE_SIZE)) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, CASE_SIZE);
  }

  copy(): Case {
    return new Case(this.bytes.slice());
  }

  gpr(number: number): bigint { return this.view.getBigUint64(number * 8, true); }
  setGpr(number: number, value: bigint): void { this.view.setBigUint64(number * 8, BigInt.asUintN(64, value), true); }
  get rip(): bigint { return this.view.getBigUint64(RIP, true); }
  set rip(value: bigint) { this.view.setBigUint64(RIP, value, true); }
  get flags(): number { return this.view.getUint32(FLAGS, true); }
  set flags(value: number) { this.view.setBigUint64(FLAGS, BigInt(value), true); }
  get fsBase(): bigint { return this.view.getBigUint64(FS_BASE, true); }
  set fsBase(value: bigint) { this.view.setBigUint64(FS_BASE, value, true); }
  get gsBase(): bigint { return this.view.getBigUint64(FS_BASE + 8, true); }
  set gsBase(value: bigint) { this.view.setBigUint64(FS_BASE + 8, value, true); }
  selector(name: SelectorName): number { return this.view.getUint16(SELECTORS + selectorNames.indexOf(name) * 2, true); }
  setSelector(name: SelectorName, value: number): void { this.view.setUint16(SELECTORS + selectorNames.indexOf(name) * 2, value, true); }
  get codeSize(): 16 | 32 | 64 {
    const selector = this.selector('cs');
    if (selector === USER_CS) return 64;
    return localSegment(selector)?.wide === false ? 16 : 32;
  }
  /** Linear address of the instruction. */
  get codeAddress(): bigint { return this.view.getBigUint64(CODE_ADDRESS, true); }
  set codeAddress(value: bigint) { this.view.setBigUint64(CODE_ADDRESS, value, true); }
  /** Whether the instruction is stepped (TF); otherwise it runs into the INT3 behind it. */
  get stepped(): boolean { return (this.flags & 0x100) !== 0; }
  get code(): Uint8Array { return this.bytes.subarray(CODE, CODE + this.bytes[LENGTH]!); }
  set code(code: Uint8Array) {
    this.bytes[LENGTH] = code.length;
    this.bytes.fill(0, CODE, CODE + 16);
    this.bytes.set(code, CODE);
  }
  /** FXSAVE image. */
  get fx(): Uint8Array { return this.bytes.subarray(FX, FX + 416); }
  get fxView(): DataView { return new DataView(this.bytes.buffer, this.bytes.byteOffset + FX, 416); }

  get patches(): { address: bigint; data: Uint8Array }[] {
    return [PATCH, PATCH2].map(at => ({
      address: this.view.getBigUint64(at, true), data: this.bytes.subarray(at + 16 - (at === PATCH2 ? 4 : 0), at + 16 - (at === PATCH2 ? 4 : 0) + this.view.getUint32(at + 8, true)),
    }));
  }
  setPatch(index: 0 | 1, address: bigint, data: Uint8Array): void {
    const at = index ? PATCH2 : PATCH;
    this.view.setBigUint64(at, address, true);
    this.view.setUint32(at + 8, data.length, true);
    this.bytes.set(data, at + (index ? 12 : 16));
  }
}

// ---- its outcome --------------------------------------------------------------------------------------------------------------

export interface Outcome {
  readonly gpr: BigUint64Array;
  /** RIP that the event found, or pushed. */
  rip: bigint;
  flags: number;
  fsBase: bigint;
  gsBase: bigint;
  readonly selectors: Uint16Array;
  /** Vector of the exception that ended the case. */
  vector: number;
  error: number;
  /** CR2; meaningful with vector 14. */
  address: bigint;
  readonly fx: Uint8Array;
  /** Lines of memory that differ from the case's memory at its start, by number. */
  readonly lines: Map<number, Uint8Array>;
  lineCount: number;
  /** Instructions retired; the emulated engines alone say so. */
  instructions: number;
  /** The native process hung or died in this case. */
  failure?: string;
}

export function emptyOutcome(): Outcome {
  return {
    gpr: new BigUint64Array(16), rip: 0n, flags: 0, fsBase: 0n, gsBase: 0n, selectors: new Uint16Array(6), vector: 0, error: 0, address: 0n,
    fx: new Uint8Array(416), lines: new Map(), lineCount: 0, instructions: 0,
  };
}

const SIGPROF = 27;

/** Reads a result of the harness. */
export function readOutcome(bytes: Uint8Array): Outcome {
  const view = new DataView(bytes.buffer, bytes.byteOffset, RESULT_SIZE);
  const out = emptyOutcome();
  for (let i = 0; i < 16; i++) out.gpr[i] = view.getBigUint64(i * 8, true);
  out.rip = view.getBigUint64(RIP, true);
  out.flags = view.getUint32(FLAGS, true);
  out.fsBase = view.getBigUint64(FS_BASE, true);
  out.gsBase = view.getBigUint64(FS_BASE + 8, true);
  for (let i = 0; i < 6; i++) out.selectors[i] = view.getUint16(SELECTORS + i * 2, true);
  if (view.getUint32(172, true) === 0) out.failure = 'the native process died';
  if (view.getUint32(176, true) === SIGPROF) out.failure = 'the native processor did not come back';
  out.vector = view.getUint32(180, true);
  out.error = view.getUint32(184, true);
  out.fx.set(bytes.subarray(FX, FX + 416));
  out.address = view.getBigUint64(704, true);
  out.lineCount = view.getUint32(712, true);
  for (let i = 0; i < Math.min(out.lineCount, LINES_MAX); i++) {
    const at = 720 + i * (LINE + 4);
    out.lines.set(view.getUint32(at, true), bytes.slice(at + 4, at + 4 + LINE));
  }
  return out;
}
