/** Compares outcomes; what the manual leaves undefined, or what this manufacturer does otherwise, is left out with its reason. */
import type { Row } from '../../../core/isa/rows.ts';
import { WITH_ERROR } from './emulated.ts';
import type { Case, Outcome } from './layout.ts';
import { LINE, memoryAddress, memoryOffset, selectorNames } from './layout.ts';
import type { Tolerance } from './tolerances.ts';

const REGISTERS = ['RAX', 'RCX', 'RDX', 'RBX', 'RSP', 'RBP', 'RSI', 'RDI', 'R8', 'R9', 'R10', 'R11', 'R12', 'R13', 'R14', 'R15'];
const PAGE_FAULT = 14;
/** CF PF AF ZF SF TF IF DF OF IOPL NT AC ID. RF is the pushed image's alone. */
const FLAGS = 0x24_7fd5;

export interface Comparison {
  /** Flags that the row leaves undefined in this case. */
  readonly undefinedFlags: number;
  readonly tolerances: readonly Tolerance[];
  /** Compare the emulated engines with each other: nothing is undefined. */
  readonly exact: boolean;
}

/** Nothing is undefined: for the emulated engines with each other. */
export const EXACT: Comparison = { undefinedFlags: 0, tolerances: [], exact: true };

const hex = (value: number | bigint): string => value.toString(16);
const bytesHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

export function undefinedFlagsOf(row: Row): number {
  return row.undefinedFlags ?? 0;
}

/** What differs, as lines of text; empty when nothing does. `ours` against `theirs`. */
export function differences(item: Case, ours: Outcome, theirs: Outcome, comparison: Comparison): string[] {
  const found: string[] = [];
  const say = (what: string, a: string, b: string): void => { found.push(`${what}: ${a}, expected ${b}`); };
  const { tolerances } = comparison;
  if (tolerances.some(tolerance => tolerance.all)) return found;
  if (theirs.failure !== undefined || ours.failure !== undefined) {
    if (theirs.failure !== ours.failure) say('end', ours.failure ?? 'well', theirs.failure ?? 'well');
    return found;
  }
  if (ours.vector !== theirs.vector) say('vector', `${ours.vector}`, `${theirs.vector}`);
  else {
    const anyAddress = ours.vector === PAGE_FAULT && tolerances.some(tolerance => tolerance.address);
    if (!anyAddress && WITH_ERROR.has(ours.vector) && !sameError(ours, theirs, comparison.exact)) say('error code', hex(ours.error), hex(theirs.error));
    if (ours.vector === PAGE_FAULT && ours.address !== theirs.address && !anyAddress) say('CR2', hex(ours.address), hex(theirs.address));
  }
  if (comparison.exact && ours.instructions !== theirs.instructions) say('instructions', `${ours.instructions}`, `${theirs.instructions}`);
  if (ours.rip !== theirs.rip) say('RIP', hex(ours.rip), hex(theirs.rip));
  compareRegisters(item, ours, theirs, tolerances, say);
  const mask = comparison.exact ? 0x3f_ffff : FLAGS & ~tolerances.reduce((sum, tolerance) => sum | (tolerance.flags ?? 0), comparison.undefinedFlags);
  if ((ours.flags & mask) !== (theirs.flags & mask)) say('RFLAGS', hex(ours.flags & mask), hex(theirs.flags & mask));
  selectorNames.forEach((name, i) => {
    // Linux's return to the program makes every null selector 0.
    if (nullable(ours.selectors[i]!) !== nullable(theirs.selectors[i]!)) say(name.toUpperCase(), hex(ours.selectors[i]!), hex(theirs.selectors[i]!));
  });
  if (item.codeSize === 64) {
    if (ours.selectors[4] === 0 && ours.fsBase !== theirs.fsBase) say('FS base', hex(ours.fsBase), hex(theirs.fsBase));
    if (ours.selectors[5] === 0 && ours.gsBase !== theirs.gsBase) say('GS base', hex(ours.gsBase), hex(theirs.gsBase));
  }
  compareFloatingPoint(item, ours, theirs, tolerances, say);
  if (!tolerances.some(tolerance => tolerance.memory)) compareMemory(item, ours, theirs, tolerances, say);
  return found;
}

const nullable = (selector: number): number => (selector < 4 ? 0 : selector);

/** Linux says of every address that programs cannot have that its page is present. */
function sameError(ours: Outcome, theirs: Outcome, exact: boolean): boolean {
  if (ours.error === theirs.error) return true;
  return !exact && ours.vector === PAGE_FAULT && theirs.address >= 0x7fff_ffff_f000n && (ours.error | 1) === (theirs.error | 1);
}

type Say = (what: string, a: string, b: string) => void;

/** Registers beyond those of 32-bit code, and upper halves, are undefined after a return to 64-bit code. @sdm 1 3.4.1.1 */
function compareRegisters(item: Case, ours: Outcome, theirs: Outcome, tolerances: readonly Tolerance[], say: Say): void {
  const long = item.codeSize === 64 && theirs.selectors[0] === item.selector('cs');
  for (let i = 0; i < (long ? 16 : 8); i++) {
    const whole = long && !([1, 6, 7].includes(i) && tolerances.some(tolerance => tolerance.upperHalves));
    const a = whole ? ours.gpr[i]! : ours.gpr[i]! & 0xffff_ffffn;
    const b = whole ? theirs.gpr[i]! : theirs.gpr[i]! & 0xffff_ffffn;
    if (a !== b) say(REGISTERS[i]!, hex(a), hex(b));
  }
}

/** Whether two registers differ by no more than one in the last place where that is tolerated. */
function near(a: Uint8Array, b: Uint8Array, tolerances: readonly Tolerance[]): boolean {
  if (!tolerances.some(tolerance => tolerance.lastPlace)) return false;
  // Without the significand's leading one, neighbours across a power of two are neighbours.
  const value = (bytes: Uint8Array): bigint => {
    const bits = BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`);
    return ((bits >> 64n) << 63n) | (bits & ((1n << 63n) - 1n));
  };
  const distance = value(a) - value(b);
  return distance >= -1n && distance <= 1n;
}

/** Whether two vectors are equal but for elements that are NaNs in both. */
export function sameButNans(a: Uint8Array, b: Uint8Array, size: 4 | 8): boolean {
  const values = (bytes: Uint8Array): number[] => {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    return Array.from({ length: bytes.length / size }, (_, i) => (size === 4 ? view.getFloat32(i * 4, true) : view.getFloat64(i * 8, true)));
  };
  const others = values(b);
  return values(a).every((value, i) => Object.is(value, others[i]));
}

function compareFloatingPoint(item: Case, ours: Outcome, theirs: Outcome, tolerances: readonly Tolerance[], say: Say): void {
  if (Buffer.compare(ours.fx.subarray(160, item.codeSize === 64 ? 416 : 288), theirs.fx.subarray(160, item.codeSize === 64 ? 416 : 288)) !== 0) {
    for (let i = 0; i < 16; i++) {
      const [a, b] = [ours, theirs].map(outcome => outcome.fx.subarray(160 + i * 16, 176 + i * 16)) as [Uint8Array, Uint8Array];
      const nans = tolerances.find(tolerance => tolerance.nans)?.nans;
      if (Buffer.compare(a, b) !== 0 && !(nans && sameButNans(a, b, nans))) say(`XMM${i}`, bytesHex(a), bytesHex(b));
    }
  }
  const parts: readonly (readonly [string, number, number])[] = [
    ['FCW', 0, 2], ...(tolerances.some(tolerance => tolerance.mxcsr) ? [] : [['MXCSR', 24, 28] as const]),
    ...(tolerances.some(tolerance => tolerance.x87) ? [] : [['tags', 4, 5] as const, ...Array.from({ length: 8 }, (_, i) => [`ST${i}`, 32 + i * 16, 42 + i * 16] as const)]),
  ];
  const [status, theirStatus] = [ours, theirs].map(({ fx }) => fx[2]! | (fx[3]! << 8)) as [number, number];
  const ignored = tolerances.some(tolerance => tolerance.x87) ? 0xffff : tolerances.reduce((sum, tolerance) => sum | (tolerance.status ?? 0), 0);
  if ((status & ~ignored) !== (theirStatus & ~ignored)) say('FSW', hex(status & ~ignored), hex(theirStatus & ~ignored));
  for (const [name, from, to] of parts) {
    const a = ours.fx.subarray(from, to);
    const b = theirs.fx.subarray(from, to);
    if (name.startsWith('ST') && near(a, b, tolerances)) continue;
    if (Buffer.compare(a, b) !== 0) say(name, bytesHex(a), bytesHex(b));
  }
}

function compareMemory(item: Case, ours: Outcome, theirs: Outcome, tolerances: readonly Tolerance[], say: Say): void {
  if (ours.lineCount !== theirs.lineCount) say('lines of memory changed', `${ours.lineCount}`, `${theirs.lineCount}`);
  const ignored = tolerances.flatMap(({ operand }) => (operand ? [operand] : []));
  for (const [from, to] of ignored) {
    for (let at = from; at < to; at++) {
      const offset = memoryOffset(item.patches[0]!.address + BigInt(at));
      const [mine, other] = [ours, theirs].map(outcome => outcome.lines.get(Math.floor(offset / LINE)));
      if (mine && other) mine[offset % LINE] = other[offset % LINE]!;
    }
  }
  for (const [line, data] of theirs.lines) {
    const mine = ours.lines.get(line);
    const bits = tolerances.find(tolerance => tolerance.oneByte !== undefined)?.oneByte;
    const apart = mine && bits !== undefined ? [...mine].flatMap((byte, i) => (byte === data[i] ? [] : [byte ^ data[i]!])) : [];
    if (apart.length === 1 && apart[0] === bits) continue;
    if (!mine) say(`memory at ${hex(memoryAddress(line * LINE))}`, 'unchanged', bytesHex(data));
    else if (Buffer.compare(mine, data) !== 0) say(`memory at ${hex(memoryAddress(line * LINE))}`, bytesHex(mine), bytesHex(data));
  }
  for (const [line, data] of ours.lines) {
    if (!theirs.lines.has(line) && theirs.lineCount === theirs.lines.size) say(`memory at ${hex(memoryAddress(line * LINE))}`, bytesHex(data), 'unchanged');
  }
}
