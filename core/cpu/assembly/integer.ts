/** Integer arithmetic that WebAssembly has no instruction for: 128-bit products and quotients, rotation through carry, BCD. */
import { ARGUMENTS, GPR } from '../layout';
import { readFlags, writeFlags, writeStatus } from './flags';
import { OK, raise } from './status';

const RAX = GPR;
const RDX = GPR + 16;
const AH = GPR + 1;
const CF: u32 = 1;
const AF: u32 = 0x10;

/** Upper 64 bits of the unsigned product. */
export function multiplyHigh(a: u64, b: u64): u64 {
  const aLow = a & 0xffffffff;
  const aHigh = a >> 32;
  const bLow = b & 0xffffffff;
  const bHigh = b >> 32;
  const low = aLow * bLow;
  const mid = aHigh * bLow + (low >> 32);
  const mid2 = aLow * bHigh + (mid & 0xffffffff);
  return aHigh * bHigh + (mid >> 32) + (mid2 >> 32);
}

/** Upper 64 bits of the signed product. */
export function multiplyHighSigned(a: i64, b: i64): i64 {
  let high = <i64>multiplyHigh(<u64>a, <u64>b);
  if (a < 0) high -= b;
  if (b < 0) high -= a;
  return high;
}

export function divide8(divisor: u32): i32 {
  const dividend: u32 = load<u16>(RAX);
  if (divisor == 0 || dividend / divisor > 0xff) return raise(0);
  store<u8>(RAX, dividend / divisor);
  store<u8>(AH, dividend % divisor);
  return OK;
}

export function divide16(divisor: u32): i32 {
  const dividend: u32 = (<u32>load<u16>(RDX) << 16) | load<u16>(RAX);
  if (divisor == 0 || dividend / divisor > 0xffff) return raise(0);
  store<u16>(RAX, dividend / divisor);
  store<u16>(RDX, dividend % divisor);
  return OK;
}

export function divide32(divisor: u32): i32 {
  const dividend: u64 = (<u64>load<u32>(RDX) << 32) | load<u32>(RAX);
  const wide: u64 = divisor;
  if (divisor == 0 || dividend / wide > 0xffffffff) return raise(0);
  store<u64>(RAX, dividend / wide);
  store<u64>(RDX, dividend % wide);
  return OK;
}

let remainder: u64 = 0;

/** (high:low) / divisor with high < divisor; the remainder is left in `remainder`. */
function divide128(high: u64, low: u64, divisor: u64): u64 {
  if (high == 0) {
    remainder = low % divisor;
    return low / divisor;
  }
  // Knuth's algorithm D with 32-bit digits.
  const shift = clz(divisor);
  const v = divisor << shift;
  const vHigh = v >> 32;
  const vLow = v & 0xffffffff;
  const u = shift == 0 ? high : (high << shift) | (low >> (64 - shift));
  const uLow = low << shift;
  const u1 = uLow >> 32;
  const u0 = uLow & 0xffffffff;
  let q1 = u / vHigh;
  let r = u - q1 * vHigh;
  while (q1 >> 32 || q1 * vLow > ((r << 32) | u1)) {
    q1--;
    r += vHigh;
    if (r >> 32) break;
  }
  const middle = ((u << 32) | u1) - q1 * v;
  let q0 = middle / vHigh;
  r = middle - q0 * vHigh;
  while (q0 >> 32 || q0 * vLow > ((r << 32) | u0)) {
    q0--;
    r += vHigh;
    if (r >> 32) break;
  }
  remainder = (((middle << 32) | u0) - q0 * v) >> shift;
  return (q1 << 32) + q0;
}

export function divide64(divisor: u64): i32 {
  const high = load<u64>(RDX);
  if (divisor == 0 || high >= divisor) return raise(0);
  const quotient = divide128(high, load<u64>(RAX), divisor);
  store<u64>(RAX, quotient);
  store<u64>(RDX, remainder);
  return OK;
}

export function divideSigned8(raw: u32): i32 {
  const divisor: i32 = <i8>raw;
  const dividend: i32 = <i16>load<u16>(RAX);
  if (divisor == 0) return raise(0);
  const quotient = dividend / divisor;
  if (quotient != <i8>quotient) return raise(0);
  store<u8>(RAX, quotient);
  store<u8>(AH, dividend % divisor);
  return OK;
}

export function divideSigned16(raw: u32): i32 {
  const divisor: i64 = <i16>raw;
  const dividend: i64 = <i32>((<u32>load<u16>(RDX) << 16) | load<u16>(RAX));
  if (divisor == 0) return raise(0);
  const quotient = dividend / divisor;
  if (quotient != <i64>(<i16>quotient)) return raise(0);
  store<u16>(RAX, <u16>quotient);
  store<u16>(RDX, <u16>(dividend % divisor));
  return OK;
}

export function divideSigned32(raw: u32): i32 {
  const divisor: i64 = <i32>raw;
  const dividend: i64 = (<i64>load<u32>(RDX) << 32) | <i64>load<u32>(RAX);
  // The one quotient that 64 bits cannot hold would trap.
  if (divisor == 0 || (divisor == -1 && dividend == i64.MIN_VALUE)) return raise(0);
  const quotient = dividend / divisor;
  if (quotient != <i64>(<i32>quotient)) return raise(0);
  store<u64>(RAX, <u64>(<u32>quotient));
  store<u64>(RDX, <u64>(<u32>(dividend % divisor)));
  return OK;
}

export function divideSigned64(raw: u64): i32 {
  if (raw == 0) return raise(0);
  let high = load<u64>(RDX);
  let low = load<u64>(RAX);
  const negative = <i64>high < 0;
  if (negative) {
    low = 0 - low;
    high = ~high + u64(low == 0);
  }
  const divisorNegative = <i64>raw < 0;
  const divisor = divisorNegative ? 0 - raw : raw;
  if (high >= divisor) return raise(0);
  const quotient = divide128(high, low, divisor);
  const limit: u64 = negative != divisorNegative ? 0x8000000000000000 : 0x7fffffffffffffff;
  if (quotient > limit) return raise(0);
  store<u64>(RAX, negative != divisorNegative ? 0 - quotient : quotient);
  store<u64>(RDX, negative ? 0 - remainder : remainder);
  return OK;
}

/** RCL of `width` bits; the count is already masked. Leaves CF and OF (for a count of 1) in ARGUMENTS. */
export function rotateCarryLeft(value: u64, count: u32, width: u32, carryIn: u32): u64 {
  let carry: u64 = carryIn;
  let result = value;
  const top = width - 1;
  for (let n = count % (width + 1); n > 0; n--) {
    const out = (result >> top) & 1;
    result = (result << 1) | carry;
    carry = out;
  }
  store<u64>(ARGUMENTS, carry);
  store<u64>(ARGUMENTS, ((result >> top) & 1) ^ carry, 8);
  return result;
}

/** RCR likewise. */
export function rotateCarryRight(value: u64, count: u32, width: u32, carryIn: u32): u64 {
  let carry: u64 = carryIn;
  let result = value;
  const top = width - 1;
  for (let n = count % (width + 1); n > 0; n--) {
    const out = result & 1;
    result = (result >> 1) | (carry << top);
    carry = out;
  }
  store<u64>(ARGUMENTS, carry);
  store<u64>(ARGUMENTS, ((result >> top) ^ (result >> (top - 1))) & 1, 8);
  return result;
}

function decimalAdjust(subtract: bool): i32 {
  const flags = <u32>readFlags();
  const old: u32 = load<u8>(RAX);
  let value = old;
  let carry: u32 = 0;
  let adjust: u32 = 0;
  if ((value & 15) > 9 || flags & AF) {
    carry = u32(subtract ? value < 6 : value > 0xf9) | (flags & CF);
    value = subtract ? value - 6 : value + 6;
    adjust = AF;
  }
  if (old > 0x99 || flags & CF) {
    value = subtract ? value - 0x60 : value + 0x60;
    carry = 1;
  } else if (!subtract) carry = 0;
  store<u8>(RAX, value);
  resultFlags(<i8>value, carry | adjust);
  return OK;
}

/** SF, ZF, PF from an 8-bit result; CF and AF as given, OF clear. */
function resultFlags(value: i8, carryAndAdjust: u32): void {
  writeStatus(carryAndAdjust | (u32(value == 0) << 6) | (u32(value < 0) << 7) | ((~popcnt(<u32>value & 0xff) & 1) << 2));
}

export function daa(): i32 {
  return decimalAdjust(false);
}

export function das(): i32 {
  return decimalAdjust(true);
}

function asciiAdjust(subtract: bool): i32 {
  const flags = <u32>readFlags();
  let ax: u32 = load<u16>(RAX);
  let set: u32 = 0;
  if ((ax & 15) > 9 || flags & AF) {
    ax = subtract ? ax - 0x106 : ax + 0x106;
    set = AF | CF;
  }
  store<u16>(RAX, ax & 0xff0f);
  writeFlags(set, AF | CF);
  return OK;
}

export function aaa(): i32 {
  return asciiAdjust(false);
}

export function aas(): i32 {
  return asciiAdjust(true);
}

export function aam(base: u32): i32 {
  const divisor = base & 0xff;
  if (divisor == 0) return raise(0);
  const al: u32 = load<u8>(RAX);
  store<u8>(AH, al / divisor);
  store<u8>(RAX, al % divisor);
  resultFlags(<i8>(al % divisor), 0);
  return OK;
}

export function aad(base: u32): i32 {
  const value = (<u32>load<u8>(RAX) + <u32>load<u8>(AH) * (base & 0xff)) & 0xff;
  store<u16>(RAX, value);
  resultFlags(<i8>value, 0);
  return OK;
}

/** ARPL: ZF alone. */
export function setZero(value: u32): i32 {
  writeFlags(value ? 0x40 : 0, 0x40);
  return OK;
}

/** SAHF. */
export function storeAhFlags(): i32 {
  writeFlags(load<u8>(AH), 0xd5);
  return OK;
}

