/** The time-stamp counter. */
import { timestamp } from './imports';
import { TSC_OFFSET } from '../layout';

/** The counter without what L1 adds for its guest. */
// @ts-ignore: decorator
@inline
export function ownTimeStamp(): u64 {
  return u64(timestamp()) + load<u64>(TSC_OFFSET);
}

/** Bits 111:48 of a product: the time-stamp counter as a multiplier with 48 fractional bits scales it. @sdm 3C 26.3 */
export function scaleTimeStamp(value: u64, multiplier: u64): u64 {
  const low = value & 0xffffffff;
  const high = value >> 32;
  const product = low * (multiplier & 0xffffffff);
  const first = low * (multiplier >> 32) + (product >> 32);
  const second = high * (multiplier & 0xffffffff) + (first & 0xffffffff);
  const upper = high * (multiplier >> 32) + (first >> 32) + (second >> 32);
  return (upper << 16) | ((second << 32 | (product & 0xffffffff)) >> 48);
}
