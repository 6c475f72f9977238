/** The time-stamp counter. */
import { timestamp } from './imports';
import { NEXT_RIP, RIP, TIME_READ_AT, TSC_OFFSET } from '../layout';

/** So many bytes of code take no more than so many nanoseconds: three times what they usually do. */
const STRETCH: u64 = 64;
const STRETCH_NS: i32 = 200;
const NOT_CANONICAL: u64 = 0x8000000000000000;

/** The counter without what L1 adds for its guest. */
// @ts-ignore: decorator
@inline
export function ownTimeStamp(): u64 {
  return u64(timestamp(0)) + load<u64>(TSC_OFFSET);
}

/** The nested guest reads the time with the instruction at RIP. */
// @ts-ignore: decorator
@inline
export function noteTimeRead(): void {
  store<u64>(TIME_READ_AT, load<u64>(NEXT_RIP));
}

export function forgetTimeRead(): void {
  store<u64>(TIME_READ_AT, NOT_CANONICAL);
}

/**
 * The counter at a VM exit. Code that has just read the time and leaves sees no more pass than it can have taken: what a hiccup of the host adds
 * is made up for behind the exit.
 */
export function exitTimeStamp(): u64 {
  const behind = load<u64>(RIP) - load<u64>(TIME_READ_AT);
  return u64(timestamp(behind < STRETCH ? STRETCH_NS : 0)) + load<u64>(TSC_OFFSET);
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
