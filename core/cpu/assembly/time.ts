/** The time-stamp counter. */
import { timestamp } from './imports';
import { NEXT_RIP, RIP, TIME_READ, TIME_READ_AT, TSC_OFFSET } from '../layout';

/** So many bytes of code take no more than so many ticks: three times what they usually do. */
const STRETCH: u64 = 64;
const STRETCH_TICKS: u64 = 400;
const NOT_CANONICAL: u64 = 0x8000000000000000;

/** The counter without what L1 adds for its guest. */
// @ts-ignore: decorator
@inline
export function ownTimeStamp(): u64 {
  return u64(timestamp()) + load<u64>(TSC_OFFSET);
}

/** The nested guest has read L1's counter with the instruction at RIP. */
// @ts-ignore: decorator
@inline
export function noteTimeRead(own: u64): void {
  store<u64>(TIME_READ_AT, load<u64>(NEXT_RIP));
  store<u64>(TIME_READ, own);
}

export function forgetTimeRead(): void {
  store<u64>(TIME_READ_AT, NOT_CANONICAL);
}

/**
 * The counter at a VM exit. Code that has just read the time and leaves sees no more pass than it can have taken: what a hiccup of the host, or
 * root mode in between, adds is part of the exit.
 */
export function exitTimeStamp(): u64 {
  const now = ownTimeStamp();
  return load<u64>(RIP) - load<u64>(TIME_READ_AT) < STRETCH ? min(now, load<u64>(TIME_READ) + STRETCH_TICKS) : now;
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
