/** Seeded randomness, and values that are likely to show mistakes. */

export class Random {
  private a: number;
  private b: number;
  private c: number;
  private d = 1;

  /** Streams of different `stream` numbers under one seed are independent (sfc32). */
  constructor(seed: number, stream: number) {
    this.a = seed | 0;
    this.b = stream | 0;
    this.c = 0x9e3779b9 | 0;
    for (let i = 0; i < 12; i++) this.u32();
  }

  u32(): number {
    const t = (((this.a + this.b) | 0) + this.d) | 0;
    this.d = (this.d + 1) | 0;
    this.a = this.b ^ (this.b >>> 9);
    this.b = (this.c + (this.c << 3)) | 0;
    this.c = (this.c << 21) | (this.c >>> 11);
    this.c = (this.c + t) | 0;
    return t >>> 0;
  }

  /** An integer of 0 to `limit` - 1. */
  below(limit: number): number { return Math.floor((this.u32() / 2 ** 32) * limit); }
  /** True `percent` times of a hundred. */
  chance(percent: number): boolean { return this.u32() / 2 ** 32 * 100 < percent; }
  pick<T>(list: readonly T[]): T { return list[this.below(list.length)]!; }
  u64(): bigint { return (BigInt(this.u32()) << 32n) | BigInt(this.u32()); }

  fill(bytes: Uint8Array): void {
    for (let i = 0; i < bytes.length; i++) bytes[i] = this.u32();
  }
}

const BOUNDARIES: readonly bigint[] = [
  0n, 1n, 2n, 7n, 8n, 0xfn, 0x10n, 0x1fn, 0x20n, 0x3fn, 0x40n, 0x7fn, 0x80n, 0x81n, 0xffn, 0x100n, 0x7fffn, 0x8000n, 0xffffn, 0x1_0000n, 0x7fff_ffffn, 0x8000_0000n,
  0x8000_0001n, 0xffff_ffffn, 0x1_0000_0000n, 0x7fff_ffff_ffff_ffffn, 0x8000_0000_0000_0000n, 0xffff_ffff_8000_0000n, 0xffff_ffff_7fff_ffffn,
  0xffff_ffff_ffff_fffen, 0xffff_ffff_ffff_ffffn, 0x5555_5555_5555_5555n, 0xaaaa_aaaa_aaaa_aaaan, 0x0102_0408_1020_4080n, 0x8080_8080_8080_8080n,
];

/** A 64-bit integer: small, at a boundary, or anything. */
export function integer(random: Random): bigint {
  switch (random.below(6)) {
    case 0: return BigInt(random.below(72));
    case 1: return BigInt.asUintN(64, -BigInt(random.below(72)));
    case 2: case 3: return random.pick(BOUNDARIES);
    case 4: return 1n << BigInt(random.below(64));
    default: return random.u64();
  }
}

const FLOATS32: readonly number[] = [
  0, 0x8000_0000, 0x3f80_0000, 0xbf80_0000, 0x3f80_0001, 0x7f80_0000, 0xff80_0000, 0x7fc0_0000, 0xffc0_0000, 0x7f80_0001, 0xffa0_0000, 0x0000_0001, 0x807f_ffff,
  0x0080_0000, 0x7f7f_ffff, 0xff7f_ffff, 0x4f00_0000, 0xcf00_0000, 0x4eff_ffff, 0x5f00_0000, 0x3f00_0000, 0x3fc0_0000, 0x4020_0000, 0x4b00_0000, 0x4b80_0001, 0x1a00_0000,
];
const FLOATS64: readonly bigint[] = [
  0n, 1n << 63n, 0x3ff0_0000_0000_0000n, 0xbff0_0000_0000_0000n, 0x3ff0_0000_0000_0001n, 0x7ff0_0000_0000_0000n, 0xfff0_0000_0000_0000n, 0x7ff8_0000_0000_0000n,
  0xfff8_0000_0000_0000n, 0x7ff0_0000_0000_0001n, 0xfff4_0000_0000_0000n, 1n, 0x800f_ffff_ffff_ffffn, 0x0010_0000_0000_0000n, 0x7fef_ffff_ffff_ffffn,
  0x41df_ffff_ffc0_0000n, 0x41e0_0000_0000_0000n, 0xc1e0_0000_0000_0000n, 0xc1e0_0000_0020_0000n, 0x43e0_0000_0000_0000n, 0xc3e0_0000_0000_0000n,
  0x3fe0_0000_0000_0000n, 0x3ff8_0000_0000_0000n, 0x4004_0000_0000_0000n, 0x4330_0000_0000_0000n, 0x47ef_ffff_f000_0000n, 0x3690_0000_0000_0000n, 0x3800_0000_0000_0000n,
];

/** A single-precision number by its bits, often near 1 so that sums and products stay finite. */
export function float32(random: Random): number {
  switch (random.below(4)) {
    case 0: return random.pick(FLOATS32);
    case 1: return random.u32();
    default: return ((random.u32() & 0x807f_ffff) | ((117 + random.below(24)) << 23)) >>> 0;
  }
}

export function float64(random: Random): bigint {
  switch (random.below(4)) {
    case 0: return random.pick(FLOATS64);
    case 1: return random.u64();
    default: return (random.u64() & 0x800f_ffff_ffff_ffffn) | (BigInt(1003 + random.below(44)) << 52n);
  }
}

/** Fills 16 bytes: integers of one size, or numbers of one precision. */
export function vector(random: Random, view: DataView, at: number): void {
  const kind = random.below(4);
  for (let i = 0; i < 16; i += 8) {
    if (kind === 0) view.setBigUint64(at + i, integer(random), true);
    else if (kind === 1) for (let j = 0; j < 8; j += 2) view.setUint16(at + i + j, Number(integer(random) & 0xffffn), true);
    else if (kind === 2) for (let j = 0; j < 8; j += 4) view.setUint32(at + i + j, float32(random), true);
    else view.setBigUint64(at + i, float64(random), true);
  }
}

const SIGNIFICANDS: readonly bigint[] = [0x8000_0000_0000_0000n, 0xc000_0000_0000_0000n, 0xffff_ffff_ffff_ffffn, 0x8000_0000_0000_0001n, 0xaaaa_aaaa_aaaa_aaaan];

/** Fills the 10 bytes of an x87 register. */
export function extended(random: Random, view: DataView, at: number): void {
  let significand = random.chance(40) ? random.pick(SIGNIFICANDS) : random.u64() | (1n << 63n);
  let exponent = 16383 + random.below(80) - 40;
  switch (random.below(12)) {
    case 0: exponent = 0; significand = 0n; break;
    case 1: exponent = 0x7fff; significand = 1n << 63n; break;
    case 2: exponent = 0x7fff; break;
    case 3: exponent = 0; significand &= (1n << 63n) - 1n; break;
    case 4: exponent = random.below(0x8000); break;
    // Encodings that the 387 and later do not support, and pseudo-denormals.
    case 5: if (random.chance(30)) significand = random.u64(); if (random.chance(30)) exponent = 0; break;
    default: break;
  }
  view.setBigUint64(at, significand, true);
  view.setUint16(at + 8, exponent | (random.chance(40) ? 0x8000 : 0), true);
}
