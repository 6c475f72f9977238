/** Pixel formats of resources: four bytes each, in different orders. @virtio 5.7.6.8 */

/** Where each colour's byte is in a little-endian word. */
interface PixelFormat {
  readonly red: number;
  readonly green: number;
  readonly blue: number;
}

const formats: ReadonlyMap<number, PixelFormat> = new Map([
  // B8G8R8A8, B8G8R8X8
  [1, { red: 16, green: 8, blue: 0 }], [2, { red: 16, green: 8, blue: 0 }],
  // A8R8G8B8, X8R8G8B8
  [3, { red: 8, green: 16, blue: 24 }], [4, { red: 8, green: 16, blue: 24 }],
  // R8G8B8A8, R8G8B8X8
  [67, { red: 0, green: 8, blue: 16 }], [134, { red: 0, green: 8, blue: 16 }],
  // X8B8G8R8, A8B8G8R8
  [68, { red: 24, green: 16, blue: 8 }], [121, { red: 24, green: 16, blue: 8 }],
]);

const opaque = 0xff000000;

export function isPixelFormat(format: number): boolean {
  return formats.has(format);
}

/** Turns a run of a resource's pixels into those of a frame: red lowest, opaque. */
export function convertPixels(format: number, from: Uint32Array, at: number, to: Uint32Array, place: number, count: number): void {
  const { red, green, blue } = formats.get(format) ?? { red: 0, green: 8, blue: 16 };
  // What Linux uses has a short way.
  if (red === 16 && blue === 0) {
    for (let index = 0; index < count; index++) {
      const pixel = from[at + index] ?? 0;
      to[place + index] = opaque | ((pixel >>> 16) & 0xff) | (pixel & 0xff00) | ((pixel & 0xff) << 16);
    }
    return;
  }
  for (let index = 0; index < count; index++) {
    const pixel = from[at + index] ?? 0;
    to[place + index] = opaque | ((pixel >>> red) & 0xff) | (((pixel >>> green) & 0xff) << 8) | (((pixel >>> blue) & 0xff) << 16);
  }
}

/** Lays a pixel of a pointer's image (B8G8R8A8, its colours multiplied by its alpha) over one of a frame. */
export function blend(image: number, under: number): number {
  const through = 255 - (image >>> 24);
  const mix = (shiftImage: number, shiftUnder: number): number => Math.min(255, ((image >>> shiftImage) & 0xff) + Math.round((((under >>> shiftUnder) & 0xff) * through) / 255));
  return (opaque | mix(16, 0) | (mix(8, 8) << 8) | (mix(0, 16) << 16)) >>> 0;
}
