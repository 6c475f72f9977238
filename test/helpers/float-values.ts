/** Floating-point operands for differential tests: the corners are frequent. */
import type { Random } from './differential.ts';
import type { NativeCase } from './native.ts';

const SINGLES = [
  0, 0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001, 0xffc12345, 1, 0x80000001, 0x007fffff, 0x00800000,
  0x7f7fffff, 0xff7fffff, 0x4f000000, 0xcf000000, 0x4effffff, 0x5f000000, 0x3f000000, 0x3fc00000, 0x40200000, 0xbf000000, 0x34000000,
];
const DOUBLES_HIGH = [
  0, 0x80000000, 0x3ff00000, 0xbff00000, 0x7ff00000, 0xfff00000, 0x7ff80000, 0x7ff00001, 0x00000001, 0x000fffff, 0x00100000, 0x7fefffff,
  0x41e00000, 0xc1e00000, 0x43e00000, 0xc3e00000, 0x3fe00000, 0x3ff80000, 0x40040000, 0xbfe00000, 0x3cb00000, 0x380fffff, 0x47efffff, 0x36a00000,
];

/** Fills with singles or doubles; both kinds in one register would test little. */
export function floatBytes(random: Random, out: Uint8Array): void {
  const view = new DataView(out.buffer, out.byteOffset, out.length);
  const wide = random.below(2) === 0;
  const near = random.below(3) === 0;
  for (let at = 0; at + 4 <= out.length; at += wide ? 8 : 4) {
    if (!wide) {
      const value = near ? 0x3e000000 + (random.u32() & 0x03ffffff) : random.below(2) ? random.pick(SINGLES) : random.u32();
      view.setUint32(at, value, true);
    } else if (at + 8 <= out.length) {
      view.setUint32(at, random.below(2) ? random.u32() : random.pick([0, 0, 1, 0xffffffff, 0x80000000]), true);
      view.setUint32(at + 4, near ? 0x3fd00000 + (random.u32() & 0x003fffff) : random.below(2) ? random.pick(DOUBLES_HIGH) : random.u32(), true);
    }
  }
}

/** A random MXCSR: all rounding modes, DAZ, FTZ, flags already set, now and then an exception unmasked. */
export function randomMxcsr(random: Random, item: NativeCase): void {
  let value = 0x1f80 | (random.u32() & 0x603f);
  if (random.below(4) === 0) value |= random.u32() & 0x8040;
  if (random.below(6) === 0) value &= ~(random.u32() & 0x1f80);
  new DataView(item.fx.buffer, item.fx.byteOffset, 512).setUint32(24, value, true);
}
