/** What viewers of a display have seen, and what is new to each: parts of the screen as PNG files. */
import { crc32, deflateSync } from 'node:zlib';
import type { Picture } from '../contract/display.ts';
import type { Frame } from '../devices/vga/render.ts';

/** Viewers whose last picture is kept; who comes beyond gets the whole screen each time. */
const VIEWERS_MAXIMUM = 16;

export class Pictures {
  readonly #seen = new Map<number, Frame>();

  /** What a viewer has not seen of a frame; null: nothing is new. */
  next(viewer: number, frame: Frame): Picture | null {
    const before = this.#seen.get(viewer);
    const { width, height } = frame;
    const part = before?.width === width && before.height === height ? changedPart(before, frame) : { x: 0, y: 0, width, height };
    if (part === null) return null;
    if (before || this.#seen.size < VIEWERS_MAXIMUM) this.#seen.set(viewer, frame);
    return { width, height, x: part.x, y: part.y, png: encodePng(frame, part) };
  }

  forget(viewer: number): void {
    this.#seen.delete(viewer);
  }
}

interface Part {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** The smallest rectangle that holds every pixel that differs. */
function changedPart(before: Frame, now: Frame): Part | null {
  const { width, height, pixels } = now;
  let [top, bottom, left, right] = [height, -1, width, -1];
  for (let y = 0; y < height; y += 1) {
    const start = y * width;
    let x = 0;
    while (x < width && pixels[start + x] === before.pixels[start + x]) x += 1;
    if (x === width) continue;
    let end = width - 1;
    while (pixels[start + end] === before.pixels[start + end]) end -= 1;
    top = Math.min(top, y);
    bottom = y;
    left = Math.min(left, x);
    right = Math.max(right, end);
  }
  return bottom < 0 ? null : { x: left, y: top, width: right - left + 1, height: bottom - top + 1 };
}

/** The most that a thumbnail has of either. */
const THUMBNAIL_WIDTH = 480;
const THUMBNAIL_HEIGHT = 360;

/** A frame made small: each of its pixels is the mean of those that it stands for. */
export function thumbnailOf({ width, height, pixels }: Frame): Frame {
  const scale = Math.max(1, width / THUMBNAIL_WIDTH, height / THUMBNAIL_HEIGHT);
  const small = { width: Math.max(1, Math.floor(width / scale)), height: Math.max(1, Math.floor(height / scale)) };
  const made = new Uint32Array(small.width * small.height);
  for (let y = 0; y < small.height; y += 1) {
    const [top, bottom] = [Math.floor(y * scale), Math.max(Math.floor(y * scale) + 1, Math.floor((y + 1) * scale))];
    for (let x = 0; x < small.width; x += 1) {
      const [left, right] = [Math.floor(x * scale), Math.max(Math.floor(x * scale) + 1, Math.floor((x + 1) * scale))];
      let [red, green, blue] = [0, 0, 0];
      for (let row = top; row < bottom; row += 1) {
        for (let column = left; column < right; column += 1) {
          const pixel = pixels[row * width + column] ?? 0;
          red += pixel & 0xff;
          green += (pixel >>> 8) & 0xff;
          blue += (pixel >>> 16) & 0xff;
        }
      }
      const count = (bottom - top) * (right - left);
      made[y * small.width + x] = Math.round(red / count) | (Math.round(green / count) << 8) | (Math.round(blue / count) << 16);
    }
  }
  return { ...small, pixels: made };
}

const SIGNATURE = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
const HEADER_BYTES = 13;
/** Bits of a sample; truecolour. */
const DEPTH = 8;
const TRUECOLOUR = 2;

/** A PNG file of a part of a frame. (W3C PNG specification) */
export function encodePng({ width: stride, pixels }: Frame, { x, y, width, height }: Part): Uint8Array<ArrayBuffer> {
  // Each row begins with its filter: none.
  const rowBytes = 1 + width * 3;
  const raw = new Uint8Array(rowBytes * height);
  for (let row = 0; row < height; row += 1) {
    let to = row * rowBytes + 1;
    const from = (y + row) * stride + x;
    for (let column = 0; column < width; column += 1) {
      const pixel = pixels[from + column] ?? 0;
      raw[to] = pixel;
      raw[to + 1] = pixel >>> 8;
      raw[to + 2] = pixel >>> 16;
      to += 3;
    }
  }
  const header = new Uint8Array(HEADER_BYTES);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([DEPTH, TRUECOLOUR], 8);
  return new Uint8Array(Buffer.concat([SIGNATURE, chunk('IHDR', header), chunk('IDAT', deflateSync(raw, { level: 1 })), chunk('IEND', new Uint8Array(0))]));
}

function chunk(type: string, data: Uint8Array): Buffer {
  const bytes = Buffer.alloc(data.length + 12);
  bytes.writeUInt32BE(data.length, 0);
  bytes.write(type, 4, 'latin1');
  bytes.set(data, 8);
  bytes.writeUInt32BE(crc32(bytes.subarray(4, data.length + 8)), data.length + 8);
  return bytes;
}
