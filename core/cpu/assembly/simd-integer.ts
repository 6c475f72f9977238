import { OK, FAULTED, faulted } from './status';
import { probeWrite, writeU8 } from './memory';

/** Integer vector instructions that are too irregular for inline code. */

/** MASKMOVDQU, MASKMOVQ: stores the bytes whose mask byte is negative. Nothing is written unless all of them can be. */
export function storeMasked(linear: u64, source: u32, mask: u32, size: i32): i32 {
  for (let i: i32 = 0; i < size; i++) {
    if (load<i8>(mask + i) < 0 && !probeWrite(linear + i, 1)) return FAULTED;
  }
  for (let i: i32 = 0; i < size; i++) {
    if (load<i8>(mask + i) < 0) writeU8(linear + i, load<u8>(source + i));
  }
  return faulted() ? FAULTED : OK;
}

/** MPSADBW: eight sums of absolute differences of a block of four source bytes. @sdm 2B MPSADBW */
export function mpsadbw(control: i32, dst: u32, src: u32): i32 {
  const a = dst + (control & 4);
  const b = src + ((control & 3) << 2);
  let low: u64 = 0;
  let high: u64 = 0;
  for (let i: u32 = 0; i < 8; i++) {
    let sum: i32 = 0;
    for (let j: u32 = 0; j < 4; j++) sum += abs(<i32>load<u8>(a + i + j) - <i32>load<u8>(b + j));
    if (i < 4) low |= <u64>sum << (i << 4);
    else high |= <u64>sum << ((i - 4) << 4);
  }
  store<u64>(dst, low);
  store<u64>(dst, high, 8);
  return OK;
}

/** PDEP: the low bits of `value` go to the positions of the mask's ones. */
export function depositBits(value: u64, mask: u64): u64 {
  let result: u64 = 0;
  for (; mask != 0; mask &= mask - 1) {
    if (value & 1) result |= mask & (0 - mask);
    value >>= 1;
  }
  return result;
}

/** PEXT: the bits at the positions of the mask's ones, gathered. */
export function extractBits(value: u64, mask: u64): u64 {
  let result: u64 = 0;
  for (let bit: u64 = 1; mask != 0; mask &= mask - 1) {
    if (value & mask & (0 - mask)) result |= bit;
    bit <<= 1;
  }
  return result;
}
