/** Our icon, drawn by formula at any size, and written as PNG, ICO and ICNS: no drawing program is needed and every size is sharp. */
import { crc32, deflateSync } from 'node:zlib';

interface Point {
  readonly x: number;
  readonly y: number;
}

type Colour = readonly [red: number, green: number, blue: number];

interface Stroke {
  readonly points: readonly Point[];
  readonly width: number;
  readonly colour: Colour;
}

/** The drawing on a board of 64 by 64; renderer/public/icon.svg is the same in vectors. */
const board = 64;
const plate = { margin: 4, radius: 14, top: [0x3a, 0x4a, 0x7c], bottom: [0x1d, 0x25, 0x40] } as const;
const strokes: readonly Stroke[] = [
  { points: [{ x: 17, y: 19 }, { x: 32, y: 46 }, { x: 47, y: 19 }], width: 7, colour: [0x8f, 0xb4, 0xff] },
  { points: [{ x: 26, y: 19 }, { x: 32, y: 30 }, { x: 38, y: 19 }], width: 5, colour: [0x52, 0xe0, 0xc4] },
];

/** Draws the icon as RGBA, `size` by `size`; edges are smoothed by their distance to each pixel's centre. */
export function drawIcon(size: number): Uint8Array {
  const pixels = new Uint8Array(size * size * 4);
  const unit = board / size;
  for (let row = 0; row < size; row++) {
    for (let column = 0; column < size; column++) {
      const at = { x: (column + 0.5) * unit, y: (row + 0.5) * unit };
      const cover = (distance: number): number => Math.min(1, Math.max(0, 0.5 - distance / unit));
      let colour = mix(plate.top, plate.bottom, (at.y - plate.margin) / (board - 2 * plate.margin));
      for (const stroke of strokes) colour = mix(colour, stroke.colour, cover(strokeDistance(at, stroke)));
      pixels.set([...colour, Math.round(cover(plateDistance(at)) * 255)], (row * size + column) * 4);
    }
  }
  return pixels;
}

/** Distance to the rounded square's edge, negative inside. */
function plateDistance({ x, y }: Point): number {
  const half = board / 2 - plate.margin - plate.radius;
  const dx = Math.abs(x - board / 2) - half;
  const dy = Math.abs(y - board / 2) - half;
  return Math.hypot(Math.max(dx, 0), Math.max(dy, 0)) + Math.min(Math.max(dx, dy), 0) - plate.radius;
}

/** Distance to the edge of a line with round ends and joints, negative inside. */
function strokeDistance(at: Point, { points, width }: Stroke): number {
  let nearest = Number.POSITIVE_INFINITY;
  for (let index = 1; index < points.length; index++) {
    const from = points[index - 1];
    const to = points[index];
    if (from && to) nearest = Math.min(nearest, segmentDistance(at, from, to));
  }
  return nearest - width / 2;
}

function segmentDistance(at: Point, from: Point, to: Point): number {
  const dx = to.x - from.x;
  const dy = to.y - from.y;
  const along = Math.min(1, Math.max(0, ((at.x - from.x) * dx + (at.y - from.y) * dy) / (dx * dx + dy * dy)));
  return Math.hypot(at.x - from.x - along * dx, at.y - from.y - along * dy);
}

function mix(from: Colour, to: Colour, share: number): Colour {
  const part = Math.min(1, Math.max(0, share));
  const blend = (a: number, b: number): number => Math.round(a + (b - a) * part);
  return [blend(from[0], to[0]), blend(from[1], to[1]), blend(from[2], to[2])];
}

/** Encodes RGBA pixels as PNG. */
export function encodePng(pixels: Uint8Array, size: number): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(size, 0);
  header.writeUInt32BE(size, 4);
  header.set([8, 6, 0, 0, 0], 8); // 8 bits a channel, RGBA, deflate, no interlace
  const stride = size * 4;
  const rows = Buffer.alloc((stride + 1) * size);
  for (let row = 0; row < size; row++) rows.set(pixels.subarray(row * stride, (row + 1) * stride), row * (stride + 1) + 1);
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  return Buffer.concat([signature, pngChunk('IHDR', header), pngChunk('IDAT', deflateSync(rows, { level: 9 })), pngChunk('IEND', Buffer.alloc(0))]);
}

function pngChunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const chunk = Buffer.alloc(body.length + 8);
  chunk.writeUInt32BE(data.length, 0);
  chunk.set(body, 4);
  chunk.writeUInt32BE(crc32(body), body.length + 4);
  return chunk;
}

export function iconPng(size: number): Buffer {
  return encodePng(drawIcon(size), size);
}

/** Windows: a directory of PNG images. */
export function iconIco(sizes: readonly number[]): Buffer {
  const images = sizes.map((size) => ({ size, png: iconPng(size) }));
  const head = Buffer.alloc(6 + images.length * 16);
  head.writeUInt16LE(1, 2);
  head.writeUInt16LE(images.length, 4);
  let offset = head.length;
  for (const [index, { size, png }] of images.entries()) {
    const at = 6 + index * 16;
    head.set([size % 256, size % 256, 0, 0], at); // 256 is written as 0
    head.writeUInt16LE(1, at + 4);
    head.writeUInt16LE(32, at + 6);
    head.writeUInt32LE(png.length, at + 8);
    head.writeUInt32LE(offset, at + 12);
    offset += png.length;
  }
  return Buffer.concat([head, ...images.map(({ png }) => png)]);
}

/** Types of ICNS entries and the pixels each holds; several are the same picture for screens of double density. */
const icnsTypes: readonly (readonly [string, number])[] = [
  ['icp4', 16], ['icp5', 32], ['ic11', 32], ['ic12', 64], ['ic07', 128], ['ic13', 256], ['ic08', 256], ['ic14', 512], ['ic09', 512], ['ic10', 1024],
];

/** macOS: a list of PNG images by type. */
export function iconIcns(): Buffer {
  const drawn = new Map([...new Set(icnsTypes.map(([, size]) => size))].map((size) => [size, iconPng(size)]));
  const entries = icnsTypes.map(([type, size]) => icnsEntry(type, drawn.get(size) ?? Buffer.alloc(0)));
  return icnsEntry('icns', Buffer.concat(entries));
}

function icnsEntry(type: string, data: Buffer): Buffer {
  const head = Buffer.alloc(8);
  head.write(type, 'latin1');
  head.writeUInt32BE(data.length + 8, 4);
  return Buffer.concat([head, data]);
}
