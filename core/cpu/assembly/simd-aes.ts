import { OK } from './status';

/** AES rounds (FIPS 197). A state is four little-endian columns; row r of column c is byte 4c + r. @sdm 1 12.13 */

/** Substitution box, its inverse, and a column of (Inv)MixColumns for each substituted byte; computed at first use. */
const box: u32 = <u32>memory.data(256, 16);
const inverseBox: u32 = <u32>memory.data(256, 16);
const mix: u32 = <u32>memory.data(1024, 16);
const inverseMix: u32 = <u32>memory.data(1024, 16);

/** Product in the field of FIPS 197, section 4.2. */
function multiply(a: u32, b: u32): u32 {
  let product: u32 = 0;
  for (; b != 0; b >>= 1) {
    if (b & 1) product ^= a;
    a = a << 1 ^ (a & 0x80 ? 0x11b : 0);
  }
  return product;
}

function rotateByte(x: u32, n: u32): u32 {
  return (x << n | x >> (8 - n)) & 0xff;
}

function column(s: u32, r0: u32, r1: u32, r2: u32, r3: u32): u32 {
  return multiply(s, r0) | multiply(s, r1) << 8 | multiply(s, r2) << 16 | multiply(s, r3) << 24;
}

/** Walks the field by its generator 3 and, beside it, the inverses by 1/3. */
function prepare(): void {
  if (load<u8>(box) != 0) return;
  let value: u32 = 1;
  let inverse: u32 = 1;
  store<u8>(box, 0x63);
  do {
    value = multiply(value, 3);
    inverse = multiply(inverse, 0xf6);
    const substituted = inverse ^ rotateByte(inverse, 1) ^ rotateByte(inverse, 2) ^ rotateByte(inverse, 3) ^ rotateByte(inverse, 4) ^ 0x63;
    store<u8>(box + value, substituted);
  } while (value != 1);
  for (let i: u32 = 0; i < 256; i++) {
    const substituted: u32 = load<u8>(box + i);
    store<u8>(inverseBox + substituted, i);
    store<u32>(mix + (i << 2), column(substituted, 2, 1, 1, 3));
    store<u32>(inverseMix + (substituted << 2), column(i, 14, 9, 13, 11));
  }
}

// @ts-ignore: decorator
@inline
function row(state: u32, columnNumber: u32, r: u32): u32 {
  return load<u8>(state + ((columnNumber & 3) << 2) + r);
}

// @ts-ignore: decorator
@inline
function mixed(table: u32, a: u32, b: u32, c: u32, d: u32): u32 {
  return load<u32>(table + (a << 2)) ^ rotl(load<u32>(table + (b << 2)), 8) ^ rotl(load<u32>(table + (c << 2)), 16)
    ^ rotl(load<u32>(table + (d << 2)), 24);
}

// @ts-ignore: decorator
@inline
function substituted(table: u32, a: u32, b: u32, c: u32, d: u32): u32 {
  return <u32>load<u8>(table + a) | <u32>load<u8>(table + b) << 8 | <u32>load<u8>(table + c) << 16 | <u32>load<u8>(table + d) << 24;
}

/** Column `c` of a round without its key. `step` 1: ShiftRows, 3: InvShiftRows. */
// @ts-ignore: decorator
@inline
function roundColumn(operation: i32, state: u32, c: u32): u32 {
  const step: u32 = operation < 2 ? 1 : 3;
  const a = row(state, c, 0);
  const b = row(state, c + step, 1);
  const d = row(state, c + 2, 2);
  const e = row(state, c + 3 * step, 3);
  switch (operation) {
    case 0: return mixed(mix, a, b, d, e);
    case 1: return substituted(box, a, b, d, e);
    case 2: return mixed(inverseMix, a, b, d, e);
    default: return substituted(inverseBox, a, b, d, e);
  }
}

/** AESENC, AESENCLAST, AESDEC, AESDECLAST (0 to 3): a round of `dst` with the key at `src`. */
export function aesRound(operation: i32, dst: u32, src: u32): i32 {
  prepare();
  const c0 = roundColumn(operation, dst, 0) ^ load<u32>(src);
  const c1 = roundColumn(operation, dst, 1) ^ load<u32>(src, 4);
  const c2 = roundColumn(operation, dst, 2) ^ load<u32>(src, 8);
  const c3 = roundColumn(operation, dst, 3) ^ load<u32>(src, 12);
  putColumns(dst, c0, c1, c2, c3);
  return OK;
}

function putColumns(dst: u32, c0: u32, c1: u32, c2: u32, c3: u32): void {
  store<u32>(dst, c0);
  store<u32>(dst, c1, 4);
  store<u32>(dst, c2, 8);
  store<u32>(dst, c3, 12);
}

function inverseMixedColumn(src: u32, c: u32): u32 {
  return mixed(inverseMix, load<u8>(box + row(src, c, 0)), load<u8>(box + row(src, c, 1)), load<u8>(box + row(src, c, 2)),
    load<u8>(box + row(src, c, 3)));
}

/** AESIMC: InvMixColumns of a key. The table is by substituted byte, so bytes are substituted first. */
export function aesInverseMix(dst: u32, src: u32): i32 {
  prepare();
  putColumns(dst, inverseMixedColumn(src, 0), inverseMixedColumn(src, 1), inverseMixedColumn(src, 2), inverseMixedColumn(src, 3));
  return OK;
}

function substituteWord(word: u32): u32 {
  return substituted(box, word & 0xff, word >> 8 & 0xff, word >> 16 & 0xff, word >> 24);
}

/** AESKEYGENASSIST. */
export function aesKeyAssist(constant: i32, dst: u32, src: u32): i32 {
  prepare();
  const x1 = substituteWord(load<u32>(src, 4));
  const x3 = substituteWord(load<u32>(src, 12));
  putColumns(dst, x1, rotr(x1, 8) ^ constant, x3, rotr(x3, 8) ^ constant);
  return OK;
}
