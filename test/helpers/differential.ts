/** Compares instruction forms with the host's processor on random operands. */
import { encode } from './encode.ts';
import type { Encoding } from './encode.ts';
import { FormRunner } from './form-runner.ts';
import { hostMaker } from '../differential/maker.ts';
import { DATA_ADDRESS, NativeCase, nativeFeatures, runNative } from './native.ts';
import type { Row } from '../../core/isa/rows.ts';
import { ALL_FLAGS } from '../../core/isa/flags.ts';

/** Row features by Linux's names where they differ. */
const LINUX_NAMES: Record<string, string> = { sse3: 'pni', sha: 'sha_ni', 'sse4.1': 'sse4_1', 'sse4.2': 'sse4_2' };

export const hasNative = (row: Row, features: ReadonlySet<string>): boolean =>
  features.size > 0 && (row.feature === undefined || features.has(LINUX_NAMES[row.feature] ?? row.feature));

/** A small, fast generator: the same cases on every run. */
export class Random {
  private state: number;

  constructor(seed: number) {
    this.state = seed >>> 0 || 1;
  }

  u32(): number {
    let x = this.state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.state = x >>> 0;
    return Math.imul(this.state, 0x9e3779b1) >>> 0;
  }

  below(limit: number): number {
    return this.u32() % limit;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }
}

/** Bytes that are interesting for integers: extremes are frequent, and equal lanes in two registers happen. */
export function integerBytes(random: Random, out: Uint8Array): void {
  const style = random.below(6);
  for (let i = 0; i < out.length; i++) {
    const byte = random.u32() & 0xff;
    out[i] = style === 0 ? random.pick([0, 0xff, 0x7f, 0x80]) : style === 1 ? random.pick([0, 1, byte]) : style === 2 && i % 8 ? 0 : byte;
  }
}

export type Fill = (random: Random, out: Uint8Array) => void;

/** Ways to address a row's operands. */
export function encodings(row: Row): Encoding[] {
  const letters = row.letters.map(letter => letter[0]!);
  const memory = !row.has.reg && (row.has.mem || letters.some(letter => 'EWQM'.includes(letter)));
  const register = !row.has.mem;
  const out: Encoding[] = [];
  if (!row.hasModrm || row.modrm >= 0) return [{}];
  // PCMPESTRx looks at REX.W although no operand says so.
  const wides = row.name.startsWith('PCMPESTR') || row.letters.some(letter => /[yv]$/.test(letter)) ? [false, true] : [false];
  if (register && row.letters.some(letter => letter.endsWith('v'))) out.push({ reg: 1, rm: 2, operandPrefix: true });
  for (const rexW of wides) {
    if (register) {
      out.push({ reg: 1, rm: 2, rexW }, { reg: 3, rm: 3, rexW });
      if (!letters.some(letter => 'PQN'.includes(letter))) out.push({ reg: 9, rm: 10, rexW });
    }
    if (memory) out.push({ reg: 1, rm: 6, memory: true, rexW });
  }
  if (!row.usesVvvv) return out;
  // VEX.vvvv: another register, the destination, the source.
  return out.flatMap(how => [{ ...how, vvvv: 11 }, { ...how, vvvv: how.reg ?? 0 }, { ...how, vvvv: how.memory ? 8 : how.rm ?? 0 }]);
}

export interface Options {
  readonly cases: number;
  readonly fill: Fill;
  readonly seed?: number;
  /** Further settings of a case. */
  readonly prepare?: (random: Random, item: NativeCase, row: Row) => void;
  /** Values of immediates; all bytes at random without. */
  readonly immediates?: readonly number[];
  /** Runs the instruction behind these bytes in one region instead of alone. */
  readonly regionAfter?: readonly number[];
  /** Encodings to leave out. */
  readonly without?: (how: Encoding) => boolean;
}

/** AMD's processors add in DPPS and DPPD in another order than Intel's: operands without NaNs have the same sum in each. */
export function withoutNans(fill: Fill, size: 4 | 8): Fill {
  return (random, out) => {
    fill(random, out);
    const view = new DataView(out.buffer, out.byteOffset, out.length);
    for (let at = 0; at + size <= out.length; at += size) {
      if (Number.isNaN(size === 4 ? view.getFloat32(at, true) : view.getFloat64(at, true))) out.fill(0, at, at + size);
    }
  };
}

const NANS_DIFFER: Record<string, 4 | 8> = hostMaker === 'AMD' ? { DPPS: 4, DPPD: 8 } : {};

function randomCase(random: Random, options: Options, row: Row): NativeCase {
  const item = new NativeCase();
  const { fx } = item;
  const view = new DataView(fx.buffer, fx.byteOffset, 512);
  view.setUint16(0, 0x37f, true);
  // MMX instructions clear TOP and mark every register as used.
  view.setUint16(2, random.below(8) << 11, true);
  fx[4] = random.u32() & 0xff;
  view.setUint32(24, 0x1f80, true);
  for (let i = 0; i < 8; i++) {
    options.fill(random, fx.subarray(32 + i * 16, 40 + i * 16));
    view.setUint16(40 + i * 16, 0x3fff, true);
  }
  for (let i = 0; i < 16; i++) options.fill(random, fx.subarray(160 + i * 16, 176 + i * 16));
  options.fill(random, item.memory);
  for (let i = 0; i < 16; i++) {
    const register = item.bytes.subarray(528 + i * 8, 536 + i * 8);
    options.fill(random, register);
  }
  item.setGpr(6, BigInt(DATA_ADDRESS));
  item.setGpr(7, BigInt(DATA_ADDRESS + 32));
  item.flags = 0x202 | (random.u32() & ALL_FLAGS);
  options.prepare?.(random, item, row);
  return item;
}

const hex = (bytes: Uint8Array): string => [...bytes].reverse().map(byte => byte.toString(16).padStart(2, '0')).join('');

/** A fault must leave registers and memory; an SSE exception shows in MXCSR, and a conversion of MMX registers has entered MMX mode then. */
function changedByFault(row: Row, fault: number, input: NativeCase, ours: NativeCase): string {
  if ((input.flags & ALL_FLAGS) !== (ours.flags & ALL_FLAGS)) return `fault ${fault} changes the flags`;
  const before = input.bytes.slice();
  const after = ours.bytes.slice();
  for (const image of [before, after]) {
    image.fill(0, 656, 672);
    if (fault !== 19) continue;
    image.fill(0, 16 + 24, 16 + 28);
    if (row.has.mmx) image.fill(0, 16 + 2, 16 + 5);
  }
  // TOP turns the stack image: compare the XMM registers and all behind them then.
  const from = fault === 19 && row.has.mmx ? 16 + 160 : 16;
  for (let at = from; at < before.length; at++) if (before[at] !== after[at]) return `fault ${fault} changes byte ${at} of the state`;
  return '';
}

/** The first difference between two results, '' when they agree. */
export function difference(row: Row, input: NativeCase, ours: NativeCase, native: NativeCase): string {
  if (ours.signal >= 2000) return `the region ends with status ${ours.signal - 2000}`;
  const fault = ours.signal >= 1000 ? ours.signal - 1000 : 0;
  const expected = native.signal === 11 ? 13 : native.signal === 4 ? 6 : native.signal === 8 ? 19 : 0;
  if (fault !== expected) return `fault ${fault}, native signal ${native.signal}`;
  if (fault) return changedByFault(row, fault, input, ours);
  for (let i = 0; i < 16; i++) {
    if (i !== 4 && ours.gpr(i) !== native.gpr(i)) return `GPR ${i}: ${ours.gpr(i).toString(16)}, native ${native.gpr(i).toString(16)}`;
  }
  const mask = ALL_FLAGS & ~(row.undefinedFlags ?? 0);
  if ((ours.flags & mask) !== (native.flags & mask)) return `flags ${(ours.flags & mask).toString(16)}, native ${(native.flags & mask).toString(16)}`;
  for (let at = 160; at < 416; at += 16) {
    const a = hex(ours.fx.subarray(at, at + 16));
    const b = hex(native.fx.subarray(at, at + 16));
    if (a !== b) return `XMM${(at - 160) / 16}: ${a}, native ${b}`;
  }
  for (let at = 32; at < 160; at += 16) {
    const a = hex(ours.fx.subarray(at, at + 10));
    const b = hex(native.fx.subarray(at, at + 10));
    if (a !== b) return `ST${(at - 32) / 16}: ${a}, native ${b}`;
  }
  for (const [name, from, to] of [['x87 words', 0, 5], ['MXCSR', 24, 28]] as const) {
    const a = hex(ours.fx.subarray(from, to));
    const b = hex(native.fx.subarray(from, to));
    if (a !== b) return `${name} ${a}, native ${b}`;
  }
  if (hex(ours.memory) !== hex(native.memory)) return `memory ${hex(ours.memory)}, native ${hex(native.memory)}`;
  return '';
}

function describeCase(item: NativeCase, code: readonly number[]): string {
  const bytes = code.map(byte => byte.toString(16).padStart(2, '0')).join(' ');
  const registers = [1, 2, 3, 9, 10].map(i => `xmm${i}=${hex(item.fx.subarray(160 + i * 16, 176 + i * 16))}`).join(' ');
  const mmx = [1, 2, 3].map(i => `mm${i}=${hex(item.fx.subarray(32 + i * 16, 40 + i * 16))}`).join(' ');
  const general = ['rax', 'rcx', 'rdx'].map((name, i) => `${name}=${item.gpr(i).toString(16)}`).join(' ');
  return `${bytes}\n  ${registers}\n  ${mmx} ${general}\n  memory=${hex(item.memory.subarray(0, 16))} flags=${item.flags.toString(16)}`;
}

/** Runs a row on both; returns descriptions of what differs, at most a few. */
export function compareRow(runner: FormRunner, row: Row, options: Options): string[] {
  const random = new Random((options.seed ?? 1) * 7919 + row.id * 104729 + 1);
  const nans = NANS_DIFFER[row.name];
  const filled = nans ? { ...options, fill: withoutNans(options.fill, nans) } : options;
  const ways = encodings(row).filter(how => !options.without?.(how));
  const inputs: NativeCase[] = [];
  const codes: number[][] = [];
  for (let i = 0; i < options.cases; i++) {
    const item = randomCase(random, filled, row);
    const immediate = options.immediates ? random.pick(options.immediates) : random.below(4) ? random.u32() & 0xff : random.below(20);
    const code = [...options.regionAfter ?? [], ...encode(row, { ...ways[i % ways.length]!, immediate })];
    item.code = code;
    inputs.push(item);
    codes.push(code);
  }
  const expected = runNative(inputs);
  const found: string[] = [];
  for (let i = 0; i < inputs.length && found.length < 3; i++) {
    // A region that meets a fault leaves it to the interpreter.
    if (options.regionAfter && expected[i]!.signal !== 0) continue;
    const ours = options.regionAfter ? runner.runRegion(inputs[i]!, codes[i]!, DATA_ADDRESS)
      : runner.run(inputs[i]!, codes[i]!, DATA_ADDRESS);
    const text = difference(row, inputs[i]!, ours, expected[i]!);
    if (text) found.push(`${row.opcode} ${row.name} ${row.operands}: ${text}\n  ${describeCase(inputs[i]!, codes[i]!)}`);
  }
  return found;
}

export const features = nativeFeatures();
