import { XMM } from '../layout';
import { OK } from './status';

/** SHA rounds and message schedules (FIPS 180-4), carry-less products, CRC-32C. */

// ---- SHA-1, @sdm 2B SHA1RNDS4 -------------------------------------------------------------------------------------------------

function put(dst: u32, lane0: u32, lane1: u32, lane2: u32, lane3: u32): void {
  store<u32>(dst, lane0);
  store<u32>(dst, lane1, 4);
  store<u32>(dst, lane2, 8);
  store<u32>(dst, lane3, 12);
}

// @ts-ignore: decorator
@inline
function choose(x: u32, y: u32, z: u32): u32 {
  return x & y ^ ~x & z;
}

// @ts-ignore: decorator
@inline
function majority(x: u32, y: u32, z: u32): u32 {
  return x & y ^ x & z ^ y & z;
}

function sha1Function(kind: i32, b: u32, c: u32, d: u32): u32 {
  if (kind == 0) return choose(b, c, d) + 0x5a827999;
  if (kind == 2) return majority(b, c, d) + 0x8f1bbcdc;
  return (b ^ c ^ d) + (kind == 1 ? 0x6ed9eba1 : 0xca62c1d6);
}

/** SHA1RNDS4: E is already in the first word of the source. */
export function sha1Rounds(kind: i32, dst: u32, src: u32): i32 {
  kind &= 3;
  let a = load<u32>(dst, 12);
  let b = load<u32>(dst, 8);
  let c = load<u32>(dst, 4);
  let d = load<u32>(dst);
  let e: u32 = 0;
  for (let i: u32 = 0; i < 4; i++) {
    const next = sha1Function(kind, b, c, d) + rotl(a, 5) + load<u32>(src + 12 - (i << 2)) + e;
    e = d;
    d = c;
    c = rotl(b, 30);
    b = a;
    a = next;
  }
  put(dst, d, c, b, a);
  return OK;
}

export function sha1NextE(dst: u32, src: u32): i32 {
  const e = rotl(load<u32>(dst, 12), 30);
  put(dst, load<u32>(src), load<u32>(src, 4), load<u32>(src, 8), load<u32>(src, 12) + e);
  return OK;
}

export function sha1Message1(dst: u32, src: u32): i32 {
  const w3 = load<u32>(dst);
  const w2 = load<u32>(dst, 4);
  put(dst, w3 ^ load<u32>(src, 8), w2 ^ load<u32>(src, 12), w3 ^ load<u32>(dst, 8), w2 ^ load<u32>(dst, 12));
  return OK;
}

export function sha1Message2(dst: u32, src: u32): i32 {
  const w16 = rotl(load<u32>(dst, 12) ^ load<u32>(src, 8), 1);
  const w17 = rotl(load<u32>(dst, 8) ^ load<u32>(src, 4), 1);
  const w18 = rotl(load<u32>(dst, 4) ^ load<u32>(src), 1);
  const w19 = rotl(load<u32>(dst) ^ w16, 1);
  put(dst, w19, w18, w17, w16);
  return OK;
}

// ---- SHA-256, @sdm 2B SHA256RNDS2 ---------------------------------------------------------------------------------------------

/** SHA256RNDS2: two rounds, the sums of message and constant in XMM0. */
export function sha256Rounds(dst: u32, src: u32): i32 {
  let a = load<u32>(src, 12);
  let b = load<u32>(src, 8);
  let c = load<u32>(dst, 12);
  let d = load<u32>(dst, 8);
  let e = load<u32>(src, 4);
  let f = load<u32>(src);
  let g = load<u32>(dst, 4);
  let h = load<u32>(dst);
  for (let i: u32 = 0; i < 2; i++) {
    const first = choose(e, f, g) + (rotr(e, 6) ^ rotr(e, 11) ^ rotr(e, 25)) + load<u32>(XMM + (i << 2)) + h;
    const second = majority(a, b, c) + (rotr(a, 2) ^ rotr(a, 13) ^ rotr(a, 22));
    h = g;
    g = f;
    f = e;
    e = first + d;
    d = c;
    c = b;
    b = a;
    a = first + second;
  }
  put(dst, f, e, b, a);
  return OK;
}

// @ts-ignore: decorator
@inline
function sigma0(x: u32): u32 {
  return rotr(x, 7) ^ rotr(x, 18) ^ x >> 3;
}

// @ts-ignore: decorator
@inline
function sigma1(x: u32): u32 {
  return rotr(x, 17) ^ rotr(x, 19) ^ x >> 10;
}

export function sha256Message1(dst: u32, src: u32): i32 {
  const w1 = load<u32>(dst, 4);
  const w2 = load<u32>(dst, 8);
  const w3 = load<u32>(dst, 12);
  put(dst, load<u32>(dst) + sigma0(w1), w1 + sigma0(w2), w2 + sigma0(w3), w3 + sigma0(load<u32>(src)));
  return OK;
}

export function sha256Message2(dst: u32, src: u32): i32 {
  const w16 = load<u32>(dst) + sigma1(load<u32>(src, 8));
  const w17 = load<u32>(dst, 4) + sigma1(load<u32>(src, 12));
  put(dst, w16, w17, load<u32>(dst, 8) + sigma1(w16), load<u32>(dst, 12) + sigma1(w17));
  return OK;
}

// ---- carry-less product -------------------------------------------------------------------------------------------------------

const EVERY_FOURTH: u64 = 0x1111111111111111;

/**
 * Low half of a carry-less product by integer products: bits four apart leave room for the at most 15 carries of a column, except in the
 * top one, which is cut off anyway.
 */
function carrylessLow(x: u64, y: u64): u64 {
  const x0 = x & EVERY_FOURTH;
  const x1 = x & EVERY_FOURTH << 1;
  const x2 = x & EVERY_FOURTH << 2;
  const x3 = x & EVERY_FOURTH << 3;
  const y0 = y & EVERY_FOURTH;
  const y1 = y & EVERY_FOURTH << 1;
  const y2 = y & EVERY_FOURTH << 2;
  const y3 = y & EVERY_FOURTH << 3;
  return (x0 * y0 ^ x1 * y3 ^ x2 * y2 ^ x3 * y1) & EVERY_FOURTH
    | (x0 * y1 ^ x1 * y0 ^ x2 * y3 ^ x3 * y2) & EVERY_FOURTH << 1
    | (x0 * y2 ^ x1 * y1 ^ x2 * y0 ^ x3 * y3) & EVERY_FOURTH << 2
    | (x0 * y3 ^ x1 * y2 ^ x2 * y1 ^ x3 * y0) & EVERY_FOURTH << 3;
}

function reverseBits(x: u64): u64 {
  x = x >> 1 & 0x5555555555555555 | (x & 0x5555555555555555) << 1;
  x = x >> 2 & 0x3333333333333333 | (x & 0x3333333333333333) << 2;
  x = x >> 4 & 0x0f0f0f0f0f0f0f0f | (x & 0x0f0f0f0f0f0f0f0f) << 4;
  return bswap(x);
}

/** PCLMULQDQ: bits 0 and 4 choose the halves. */
export function pclmulqdq(control: i32, dst: u32, src: u32): i32 {
  const a = load<u64>(dst + ((control & 1) << 3));
  const b = load<u64>(src + ((control & 0x10) >> 1));
  store<u64>(dst, carrylessLow(a, b));
  store<u64>(dst, reverseBits(carrylessLow(reverseBits(a), reverseBits(b))) >> 1, 8);
  return OK;
}

// ---- CRC32 --------------------------------------------------------------------------------------------------------------------

/** Reflected polynomial 11EDC6F41H. */
const POLYNOMIAL: u32 = 0x82f63b78;
/** Eight tables of 256 words: the remainders of a byte followed by 0 to 7 zero bytes; computed at first use. */
const remainders: u32 = <u32>memory.data(8192, 16);

function prepareCrc(): void {
  for (let i: u32 = 0; i < 256; i++) {
    let remainder = i;
    for (let bit = 0; bit < 8; bit++) remainder = remainder >> 1 ^ (remainder & 1 ? POLYNOMIAL : 0);
    store<u32>(remainders + (i << 2), remainder);
  }
  for (let i: u32 = 256; i < 2048; i++) {
    const before = load<u32>(remainders + (i - 256 << 2));
    store<u32>(remainders + (i << 2), before >> 8 ^ load<u32>(remainders + ((before & 0xff) << 2)));
  }
}

// @ts-ignore: decorator
@inline
function entry(table: u32, byte: u64): u32 {
  return load<u32>(remainders + (table << 10) + ((<u32>byte & 0xff) << 2));
}

/** CRC32 of `size` bytes of `value`, accumulated into `crc`. */
export function crc32c(crc: u32, value: u64, size: i32): u32 {
  if (load<u32>(remainders, 4) == 0) prepareCrc();
  if (size == 8) {
    value ^= crc;
    return entry(7, value) ^ entry(6, value >> 8) ^ entry(5, value >> 16) ^ entry(4, value >> 24)
      ^ entry(3, value >> 32) ^ entry(2, value >> 40) ^ entry(1, value >> 48) ^ entry(0, value >> 56);
  }
  for (let i: i32 = 0; i < size; i++) {
    crc = crc >> 8 ^ entry(0, <u64>crc ^ value);
    value >>= 8;
  }
  return crc;
}
