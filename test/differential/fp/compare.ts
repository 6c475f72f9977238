/** Differences between what the native processor and the helpers made of the same case, in words. */
import { sameButNans } from '../instructions/compare.ts';
import type { Case, Outcome } from './native.ts';

export interface Tolerance {
  /** Bits of FSW that are not compared. */
  readonly fsw?: number;
  /** Units in the last place by which extended results may differ. */
  readonly units?: bigint;
  /** Elements of XMM1, of so many bytes, that are NaNs in both are not compared. */
  readonly nans?: 4 | 8;
}

export function hex(bytes: Uint8Array, at: number, count: number): string {
  return [...bytes.subarray(at, at + count)].reverse().map(byte => byte.toString(16).padStart(2, '0')).join('');
}

const word = (bytes: Uint8Array, at: number): number => bytes[at]! | (bytes[at + 1]! << 8);

/** An extended value as an integer in which neighbours differ by one; NaNs and zeros of either sign keep apart. */
function ordinal(bytes: Uint8Array, at: number): bigint {
  const view = new DataView(bytes.buffer, bytes.byteOffset + at);
  const signExponent = view.getUint16(8, true);
  const magnitude = (BigInt(signExponent & 0x7fff) << 63n) + (view.getBigUint64(0, true) & ((1n << 63n) - 1n));
  return (signExponent & 0x8000) === 0 ? magnitude : -1n - magnitude;
}

function near(a: Uint8Array, b: Uint8Array, at: number, units: bigint): boolean {
  const distance = ordinal(a, at) - ordinal(b, at);
  return distance <= units && distance >= -units;
}

export function differences(native: Outcome, emulated: Outcome, tolerance: Tolerance = {}): string[] {
  const found: string[] = [];
  const note = (what: string, want: string, got: string): void => {
    if (want !== got) found.push(`${what}: native ${want}, emulated ${got}`);
  };
  note('signal', String(native.fault), String(emulated.fault));
  note('rax', native.rax.toString(16), emulated.rax.toString(16));
  note('flags', (native.flags & 0x8d5n).toString(16), (emulated.flags & 0x8d5n).toString(16));
  note('fcw', hex(native.image, 0, 2), hex(emulated.image, 0, 2));
  const compared = 0xffff & ~(tolerance.fsw ?? 0);
  note('fsw', (word(native.image, 2) & compared).toString(16), (word(emulated.image, 2) & compared).toString(16));
  note('tags', hex(native.image, 4, 1), hex(emulated.image, 4, 1));
  note('mxcsr', hex(native.image, 24, 4), hex(emulated.image, 24, 4));
  for (let i = 0; i < 8; i++) {
    const at = 32 + 16 * i;
    const units = tolerance.units ?? 0n;
    if (units === 0n || !near(native.image, emulated.image, at, units)) note(`st${i}`, hex(native.image, at, 10), hex(emulated.image, at, 10));
  }
  const ofXmm1 = ({ image }: Outcome): Uint8Array => image.subarray(176, 192);
  const others = ({ image }: Outcome): string => hex(image, 160, 16) + hex(image, 192, 224);
  if (!tolerance.nans || !sameButNans(ofXmm1(native), ofXmm1(emulated), tolerance.nans)) note('xmm1', hex(native.image, 176, 16), hex(emulated.image, 176, 16));
  note('xmm', others(native), others(emulated));
  note('memory', hex(native.memory, 0, 128), hex(emulated.memory, 0, 128));
  return found;
}

/** The case in one line, for a failure's message. */
export function describeCase(one: Case): string {
  const registers = [0, 1, 7].map(i => `st${i} ${hex(one.image, 32 + 16 * i, 10)}`).join(' ');
  return `fcw ${hex(one.image, 0, 2)} fsw ${hex(one.image, 2, 2)} tags ${hex(one.image, 4, 1)} ${registers}`
    + ` mxcsr ${hex(one.image, 24, 4)} xmm1 ${hex(one.image, 176, 16)} memory ${hex(one.memory, 0, 16)}`;
}
