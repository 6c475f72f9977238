/**
 * Immediates of shuffles: four 2-bit selectors. The decoder spreads them once, so that an execution has a byte shuffle at hand: selector s
 * becomes the 16-bit word of the byte indexes 2s and 2s + 1.
 */

/** The 64-bit immediate of a record, as low and high half. */
export function spreadSelectors(immediate: number): [low: number, high: number] {
  const word = (i: number): number => ((immediate >> (2 * i)) & 3) * 0x202 + 0x100;
  return [word(0) | (word(1) << 16), word(2) | (word(3) << 16)];
}

/** The instruction's own immediate byte back from a spread one. */
export function gatherSelectors(low: number, high: number): number {
  const selector = (half: number, shift: number): number => (half >> (shift + 1)) & 3;
  return selector(low, 0) | (selector(low, 16) << 2) | (selector(high, 0) << 4) | (selector(high, 16) << 6);
}
