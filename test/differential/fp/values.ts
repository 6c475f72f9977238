/** Random operands that meet the edges of the formats often: zeros, denormals, infinities, NaNs, near-overflow, unsupported encodings. */
import { IMAGE_SIZE } from './native.ts';

export interface Extended {
  readonly significand: bigint;
  readonly signExponent: number;
}

const U64 = (1n << 64n) - 1n;
const INTEGER_BIT = 1n << 63n;

export class Values {
  private state: bigint;

  constructor(seed: number) {
    this.state = BigInt(seed);
  }

  next(): bigint {
    this.state = (this.state * 6364136223846793005n + 1442695040888963407n) & U64;
    let x = this.state ^ (this.state >> 33n);
    x = (x * 0xff51afd7ed558ccdn) & U64;
    return x ^ (x >> 29n);
  }

  below(limit: number): number {
    return Number(this.next() % BigInt(limit));
  }

  extended(): Extended {
    const sign = this.below(2) << 15;
    const value = (significand: bigint, exponent: number): Extended => ({ significand: significand & U64, signExponent: sign | exponent });
    const normal = this.next() | INTEGER_BIT;
    switch (this.below(14)) {
      case 0: return value(0n, 0);
      case 1: return value(INTEGER_BIT, 0x7fff);
      case 2: return value(normal | (1n << 62n), 0x7fff);
      case 3: return value((normal & ~(1n << 62n)) | 1n, 0x7fff);
      case 4: return value(this.next() >> BigInt(this.below(64)), 0);
      case 5: return value(this.next() & ~INTEGER_BIT, 1 + this.below(0x7fff));
      case 6: return value(normal, 1 + this.below(80));
      case 7: return value(normal, 0x7ffe - this.below(80));
      case 8: return value(normal, 1 + this.below(0x7ffe));
      case 9: return value((this.next() & (0xffffn << BigInt(this.below(48)))) | INTEGER_BIT, 0x3fff - 20 + this.below(90));
      case 10: return value(normal, 0x3ffe + this.below(3));
      case 11: return value((U64 ^ (this.next() >> BigInt(this.below(64)))) | INTEGER_BIT, 0x3fff - 70 + this.below(140));
      case 12: return value(INTEGER_BIT, 0x3fff + this.below(66));
      default: return value(normal, 0x3fff - 70 + this.below(140));
    }
  }

  /** A finite normal value whose exponent lies in [low, high). */
  normal(low: number, high: number): Extended {
    const significand = this.below(3) === 0 ? (this.next() & (U64 << BigInt(this.below(60)))) : this.next();
    return { significand: (significand & U64) | INTEGER_BIT, signExponent: (this.below(2) << 15) | (0x3fff + low + this.below(high - low)) };
  }

  private packed(exponentBits: number, fractionBits: number): bigint {
    const sign = BigInt(this.below(2)) << BigInt(exponentBits + fractionBits);
    const shift = BigInt(fractionBits);
    const ones = (1n << shift) - 1n;
    const maximum = (1 << exponentBits) - 1;
    const bias = maximum >> 1;
    let fraction = this.next() & ones;
    if (this.below(3) === 0) fraction &= ~(ones >> BigInt(this.below(fractionBits)));
    if (this.below(8) === 0) fraction = ones & ~(this.next() & 3n);
    const value = (exponent: number): bigint => sign | (BigInt(exponent) << shift) | fraction;
    switch (this.below(12)) {
      case 0: return sign;
      case 1: return sign | (BigInt(maximum) << shift);
      case 2: return value(maximum);
      case 3: return sign | (fraction >> BigInt(this.below(fractionBits)));
      case 4: return value(1 + this.below(30));
      case 5: return value(maximum - 1 - this.below(30));
      case 6: return value(1 + this.below(maximum - 1));
      case 7: return value(bias);
      default: return value(bias - 30 + this.below(66));
    }
  }

  single(): number {
    return Number(this.packed(8, 23));
  }

  double(): bigint {
    return this.packed(11, 52);
  }

  /** Fills 16 bytes with elements of 32 or 64 bits. */
  elements(view: DataView, at: number, width: 32 | 64): void {
    for (let offset = 0; offset < 16; offset += width / 8) {
      if (width === 32) view.setUint32(at + offset, this.single(), true);
      else view.setBigUint64(at + offset, this.double(), true);
    }
  }

  /** Status flags that any instruction sequence can produce: ZF and SF are never both set. */
  flags(): bigint {
    return 2n | (this.next() & (this.below(2) === 0 ? 0x895n : 0x855n));
  }

  /** A 64-bit FXSAVE image with random registers, tags and control; no exception is pending. */
  x87Image(unmasked: boolean, operand: () => Extended = () => this.extended()): Uint8Array {
    const image = new Uint8Array(IMAGE_SIZE);
    const view = new DataView(image.buffer);
    const precision = [3, 3, 3, 2, 0, 1][this.below(6)]!;
    const control = (unmasked ? this.below(64) : 0x3f) | 0x40 | (this.below(4) << 10) | (precision << 8);
    const top = this.below(8);
    const sticky = this.below(4) === 0 ? this.below(0x80) & (unmasked ? control & 0x3f : 0x7f) : 0;
    const conditions = this.below(2) === 0 ? 0 : this.below(0x10000) & 0x4700;
    view.setUint16(0, control, true);
    view.setUint16(2, (top << 11) | sticky | conditions, true);
    // Mostly seven registers full and ST(7) free, so that loads and most operations have room and operands.
    image[4] = this.below(3) === 0 ? this.below(256) : ((0x7f << top) | (0x7f >> (8 - top))) & 0xff;
    view.setUint32(24, 0x1f80, true);
    const first = operand();
    for (let i = 0; i < 8; i++) {
      const value = i === 0 || (i === 1 && this.below(3) === 0) ? first : operand();
      view.setBigUint64(32 + 16 * i, value.significand, true);
      view.setUint16(40 + 16 * i, value.signExponent, true);
    }
    return image;
  }
}
