import { describe, expect, it } from 'vitest';
import { thumbnailOf } from '../../../core/machine/pictures.ts';
import type { Frame } from '../../../core/devices/vga/render.ts';

const frame = (width: number, height: number, pixel: (x: number, y: number) => number): Frame => (
  { width, height, pixels: Uint32Array.from({ length: width * height }, (_, index) => pixel(index % width, Math.floor(index / width))) }
);

describe('a thumbnail', () => {
  it('keeps the shape of a screen, and is no larger than 480 by 360', () => {
    for (const [width, height, small] of [[1024, 768, [480, 360]], [720, 400, [480, 266]], [1280, 800, [480, 300]], [320, 200, [320, 200]]] as const) {
      const made = thumbnailOf(frame(width, height, () => 0));
      expect([made.width, made.height]).toEqual(small);
      expect(made.pixels).toHaveLength(small[0] * small[1]);
    }
  });
  it('has the mean of what each of its pixels stands for, colour by colour', () => {
    const made = thumbnailOf(frame(960, 2, (x) => (x % 2 === 0 ? 0xff0010 : 0x000030)));
    expect([...new Set(made.pixels)]).toEqual([0x800020]);
  });
  it('of a small screen is that screen', () => {
    const screen = frame(64, 48, (x, y) => x * 1000 + y);
    expect(thumbnailOf(screen).pixels).toEqual(screen.pixels);
  });
});
