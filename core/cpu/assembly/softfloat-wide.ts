import { divide128, EXTENDED_BIAS, low, multiply128, normalizeWide, setLow, setResultExp, shiftRightJam128 } from './softfloat';

/**
 * Arithmetic of about 120 bits for the transcendental functions. A wide number is a significand of 128 bits with bit 127 set and an
 * exponent biased by EXTENDED_BIAS; results return the high half, low() the low half and resultExp() the exponent.
 */

/** Upper 128 bits of the product of two 128-bit numbers, short by at most 3 units. */
export function multiplyHigh(aHigh: u64, aLow: u64, bHigh: u64, bLow: u64): u64 {
  const first = multiply128(aHigh, bLow);
  const second = multiply128(aLow, bHigh);
  let high = multiply128(aHigh, bHigh);
  let rest = low() + first;
  if (rest < first) high++;
  rest += second;
  if (rest < second) high++;
  setLow(rest);
  return high;
}

export function multiplyWide(expA: i32, aHigh: u64, aLow: u64, expB: i32, bHigh: u64, bLow: u64): u64 {
  const high = multiplyHigh(aHigh, aLow, bHigh, bLow);
  return normalizeWide(expA + expB - EXTENDED_BIAS + 1, high, low());
}

let remainderHigh: u64 = 0;
let remainderLow: u64 = 0;

/** The next 64 bits of a quotient a / b for a < b, both of 128 bits, b with bit 127 set. */
function quotientWord(aHigh: u64, aLow: u64, bHigh: u64, bLow: u64): u64 {
  let quotient: u64 = aHigh >= bHigh ? ~(<u64>0) : divide128(aHigh, aLow, bHigh);
  const carry = multiply128(quotient, bLow);
  const last = low();
  let upper = multiply128(quotient, bHigh);
  const middle = low() + carry;
  if (middle < carry) upper++;
  let restLow = 0 - last;
  const borrow = u64(last != 0);
  const difference = aLow - middle;
  let rest = difference - borrow;
  let sign = <i64>(aHigh - upper - u64(aLow < middle) - u64(difference < borrow));
  while (sign < 0) {
    quotient--;
    restLow += bLow;
    const out = u64(restLow < bLow);
    const sum = rest + bHigh;
    sign += i64(sum < rest);
    rest = sum + out;
    sign += i64(rest < sum);
  }
  remainderHigh = rest;
  remainderLow = restLow;
  return quotient;
}

export function divideWide(expA: i32, aHigh: u64, aLow: u64, expB: i32, bHigh: u64, bLow: u64): u64 {
  let exp = expA - expB + EXTENDED_BIAS - 1;
  if (aHigh > bHigh || (aHigh == bHigh && aLow >= bLow)) {
    // Halves the dividend; the bit that falls off lies below what is asked of the quotient.
    aLow = (aHigh << 63) | (aLow >> 1) | (aLow & 1);
    aHigh >>= 1;
    exp++;
  }
  const high = quotientWord(aHigh, aLow, bHigh, bLow);
  const rest = quotientWord(remainderHigh, remainderLow, bHigh, bLow);
  return normalizeWide(exp, high, rest | u64((remainderHigh | remainderLow) != 0));
}

/** A wide number below 2^`integerBits` as fixed point with that many integer bits. */
export function toFixed(integerBits: i32, exp: i32, high: u64, rest: u64): u64 {
  return shiftRightJam128(high, rest, EXTENDED_BIAS + integerBits - 1 - exp);
}

/**
 * Sum of c(i) z^i, with alternating signs or not: coefficients Q1.127 at `table`, z Q0.128, sum Q1.127 in the result and low().
 * When z vanishes the sum still lies on the proper side of the first coefficient.
 */
export function series(table: u32, count: i32, zHigh: u64, zLow: u64, alternate: bool): u64 {
  if ((zHigh | zLow) == 0) zLow = 1;
  let at = table + ((count - 1) << 4);
  let high = load<u64>(at);
  let rest = load<u64>(at + 8);
  while (at > table) {
    at -= 16;
    const product = multiplyHigh(high, rest, zHigh, zLow);
    const productLow = low() + 1;
    const productHigh = product + u64(productLow == 0);
    const coefficientLow = load<u64>(at + 8);
    if (alternate) {
      rest = coefficientLow - productLow;
      high = load<u64>(at) - productHigh - u64(coefficientLow < productLow);
    } else {
      rest = coefficientLow + productLow;
      high = load<u64>(at) + productHigh + u64(rest < productLow);
    }
  }
  setLow(rest);
  return high;
}
