import { describe, expect, test } from 'vitest';
import * as L from '../../core/cpu/layout.ts';
import { Values } from '../differential/fp/values.ts';
import type { Extended } from '../differential/fp/values.ts';
import { instantiate } from '../helpers/cpu-wasm.ts';

/** Reference values: fixed point with 300 fraction bits. */
const BITS = 300n;
const ONE = 1n << BITS;
const times = (a: bigint, b: bigint): bigint => (a * b) >> BITS;

/** Sum of terms, each made from the last, until they vanish. */
function sum(first: bigint, next: (term: bigint, index: bigint) => bigint): bigint {
  let total = 0n;
  let term = first;
  for (let i = 1n; term !== 0n && term !== -1n; i++) {
    total += term;
    term = next(term, i);
  }
  return total;
}

const sine = (x: bigint): bigint => sum(x, (term, i) => -times(term, times(x, x)) / (2n * i * (2n * i + 1n)));
const cosine = (x: bigint): bigint => sum(ONE, (term, i) => -times(term, times(x, x)) / ((2n * i - 1n) * 2n * i));
const exponentialLessOne = (x: bigint): bigint => sum(x, (term, i) => times(term, x) / (i + 1n));
const inverseTangentSeries = (x: bigint, sign: bigint): bigint => {
  let total = 0n;
  let power = x;
  const square = times(x, x);
  for (let i = 0n; power !== 0n; i++) {
    total += (i & 1n ? sign : 1n) * (power / (2n * i + 1n));
    power = times(power, square);
  }
  return total;
};
/** Natural logarithm of 1 + x for |x| below 1/2 or so: 2 atanh(x / (2 + x)). */
const logarithmPlusOne = (x: bigint): bigint => {
  const ratio = (x << BITS) / (2n * ONE + x);
  return 2n * (ratio < 0n ? -inverseTangentSeries(-ratio, 1n) : inverseTangentSeries(ratio, 1n));
};
const LN2 = 2n * inverseTangentSeries(ONE / 3n, 1n);
/** atan by two halvings of the angle: atan(x) = 2 atan(x / (1 + sqrt(1 + x^2))). */
const squareRoot = (x: bigint): bigint => {
  let root = 1n << ((BigInt(x.toString(2).length) + BITS) / 2n + 1n);
  for (;;) {
    const next = (root + (x << BITS) / root) >> 1n;
    if (next >= root) return root;
    root = next;
  }
};
const half = (x: bigint): bigint => (x << BITS) / (ONE + squareRoot(ONE + times(x, x)));
const arcTangent = (x: bigint): bigint => 8n * inverseTangentSeries(half(half(half(x))), -1n);
/** Half of the processor's 66-bit pi. */
const HALF_PI = 0x3243f6a8885a308d3n << (BITS - 65n);

function fixed({ significand, signExponent }: Extended): bigint {
  const shift = BigInt((signExponent & 0x7fff) - 16446) + BITS;
  const magnitude = shift >= 0n ? significand << shift : significand >> -shift;
  return (signExponent & 0x8000) === 0 ? magnitude : -magnitude;
}

const magnitudeOf = (x: bigint): bigint => x < 0n ? -x : x;

describe('transcendental functions', () => {
  const cpu = instantiate(1 << 20);
  const put = (at: number, value: Extended): void => {
    cpu.write64(at, value.significand);
    cpu.view.setUint16(at + 8, value.signExponent, true);
  };
  const get = (at: number): Extended => ({ significand: cpu.read64(at), signExponent: cpu.view.getUint16(at + 8, true) });

  /** Executes D9 modrm with ST(0) = x, ST(1) = y, and gives ST(0) and ST(1) after it. */
  function run(modrm: number, x: Extended, y: Extended): readonly [Extended, Extended] {
    cpu.view.setUint16(L.FCW, 0x37f, true);
    cpu.view.setUint16(L.FSW, 4 << 11, true);
    cpu.bytes[L.FTAGS] = 0x30;
    put(L.X87 + 4 * 16, x);
    put(L.X87 + 5 * 16, y);
    cpu.call('x87Register', 1, modrm);
    const top = cpu.view.getUint16(L.FSW, true) >> 11 & 7;
    return [get(L.X87 + top * 16), get(L.X87 + (top + 1 & 7) * 16)];
  }

  /** Error of a result in thousandths of its unit in the last place. */
  function thousandths(result: Extended, exact: bigint): number {
    const unit = 1n << (BigInt((result.signExponent & 0x7fff) - 16446) + BITS);
    return Number((magnitudeOf(fixed(result) - exact) * 1000n) / unit);
  }

  const values = new Values(21);
  const unused: Extended = { significand: 1n << 63n, signExponent: 0x3fff };
  const worst = (count: number, error: () => number): number => Math.max(...Array.from({ length: count }, error));

  test('sine, cosine and tangent are within 0.51 units in the last place of the 66-bit pi', () => {
    expect(worst(400, () => {
      const x = values.normal(-30, 40);
      // The nearest multiple of the processor's pi/2 goes; the true functions of what is left.
      const quadrant = (2n * fixed(x) + HALF_PI + (1n << 400n) * 2n * HALF_PI) / (2n * HALF_PI) - (1n << 400n);
      const rest = fixed(x) - quadrant * HALF_PI;
      const [s, c] = [sine(rest), cosine(rest)];
      const [trueSine, trueCosine] = [[s, c], [c, -s], [-s, -c], [-c, s]][Number(BigInt.asUintN(2, quadrant))] as [bigint, bigint];
      const [sineCosine0, sineCosine1] = run(0xfb, x, unused);
      const [one, tangent] = run(0xf2, x, unused);
      expect(one).toEqual(unused);
      return Math.max(thousandths(sineCosine1, trueSine), thousandths(sineCosine0, trueCosine),
        thousandths(tangent, (trueSine << BITS) / trueCosine));
    })).toBeLessThan(510);
  });

  test('the arc tangent is within 0.51 units in the last place in all quadrants', () => {
    const pi = 4n * arcTangent(ONE);
    expect(worst(400, () => {
      const x = values.normal(-20, 20);
      const y = values.normal(-20, 20);
      const angle = arcTangent((magnitudeOf(fixed(y)) << BITS) / magnitudeOf(fixed(x)));
      const turned = (x.signExponent & 0x8000) === 0 ? angle : pi - angle;
      return thousandths(run(0xf3, x, y)[0], (y.signExponent & 0x8000) === 0 ? turned : -turned);
    })).toBeLessThan(510);
  });

  test('2^x - 1 is within 0.51 units in the last place', () => {
    expect(worst(400, () => {
      const x = values.normal(-60, 0);
      return thousandths(run(0xf0, x, unused)[0], exponentialLessOne(times(fixed(x), LN2)));
    })).toBeLessThan(510);
  });

  test('y log2(x) and y log2(1 + x) are within 0.51 units in the last place', () => {
    expect(worst(400, () => {
      const { significand } = values.normal(0, 1);
      const near = values.below(3) === 0 ? (1n << 63n) | (significand >> BigInt(1 + values.below(60))) : significand;
      const x: Extended = { significand: near, signExponent: 0x3fff - 20 + values.below(40) };
      const y = values.normal(-10, 10);
      const mantissa = fixed({ significand: near, signExponent: 0x3fff });
      const logarithm = ((logarithmPlusOne(mantissa - ONE) << BITS) / LN2) + (BigInt(x.signExponent - 0x3fff) << BITS);
      if (logarithm === 0n) return 0;
      return thousandths(run(0xf1, x, y)[0], times(logarithm, fixed(y)));
    })).toBeLessThan(510);
    expect(worst(400, () => {
      const x = values.normal(-60, -2);
      const y = values.normal(-10, 10);
      const logarithm = (logarithmPlusOne(fixed(x)) << BITS) / LN2;
      return thousandths(run(0xf9, x, y)[0], times(logarithm, fixed(y)));
    })).toBeLessThan(510);
  });

  /** As Intel's processors give it: significand, sign and exponent, and status flags. */
  test.each([
    ['far from zero enough to be rounded', 0x8000000000000000n, 0x3fff - 68, 0xffffffffffffffffn, 0x3fff - 69, 0x20],
    ['so small that it is its own', 0x8000000000000000n, 0x3fff - 69, 0x8000000000000000n, 0x3fff - 69, 0x20],
    ['of the least normal number, which is not tiny', 0x8000000000000000n, 1, 0x8000000000000000n, 1, 0x20],
    ['of the same as a pseudo-denormal', 0x8000000000000000n, 0x8000, 0x8000000000000000n, 0x8001, 0x22],
  ] as const)('a sine rounded towards zero, %s', (_, significand, signExponent, resultSignificand, resultSignExponent, flags) => {
    cpu.view.setUint16(L.FCW, 0xf7f, true);
    cpu.view.setUint16(L.FSW, 4 << 11, true);
    cpu.bytes[L.FTAGS] = 0x10;
    put(L.X87 + 4 * 16, { significand, signExponent });
    cpu.call('x87Register', 1, 0xfe);
    expect([get(L.X87 + 4 * 16), cpu.view.getUint16(L.FSW, true) & 0x23f]).toEqual([{ significand: resultSignificand, signExponent: resultSignExponent }, flags]);
  });
});
