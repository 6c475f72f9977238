/** Reads the characters on a screen: pictures of text modes and of Linux's console, whose font is the one that every VGA has. */
import { inflateSync } from 'node:zlib';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const GLYPH_ROWS = 16;
const GLYPH_COLUMNS = 8;
/** The letter A as the font has it, by which the font is found in the video BIOS. */
const LETTER_A = Buffer.from('000010386cc6c6fec6c6c6c600000000', 'hex');
/** Text modes of a VGA are 80 cells of nine pixels; frame buffers have cells of eight. */
const TEXT_MODE_WIDTH = 720;

/** Characters by the rows of their glyphs, in hexadecimal. */
export function readFont(videoBios = join('/usr/share/seabios', 'vgabios-stdvga.bin')): ReadonlyMap<string, string> {
  const image = readFileSync(videoBios);
  const start = image.indexOf(LETTER_A) - 65 * GLYPH_ROWS;
  if (start < 0) throw new Error(`${videoBios} has no font of 8 x 16 pixels`);
  return new Map(Array.from({ length: 95 }, (_, index) => {
    const at = start + (32 + index) * GLYPH_ROWS;
    return [image.toString('hex', at, at + GLYPH_ROWS), String.fromCharCode(32 + index)] as const;
  }));
}

interface Pixels {
  readonly width: number;
  readonly height: number;
  /** Whether two places have the same colour is all that counts. */
  readonly colour: (x: number, y: number) => number;
}

/** Pictures as the product writes them: eight bits a sample, truecolour, rows without filters. */
function decode(png: Uint8Array): Pixels {
  const file = Buffer.from(png);
  const parts: Buffer[] = [];
  for (let at = 8; at < file.length; at += file.readUInt32BE(at) + 12) {
    if (file.toString('latin1', at + 4, at + 8) === 'IDAT') parts.push(file.subarray(at + 8, at + 8 + file.readUInt32BE(at)));
  }
  const raw = inflateSync(Buffer.concat(parts));
  const [width, height] = [file.readUInt32BE(16), file.readUInt32BE(20)];
  return { width, height, colour: (x, y) => raw.readUIntBE(y * (1 + width * 3) + 1 + x * 3, 3) };
}

/** The lines of text on a screen; what is no character of the font is a space. */
export function screenText(png: Uint8Array, font: ReadonlyMap<string, string>): string {
  const picture = decode(png);
  const cell = picture.width === TEXT_MODE_WIDTH ? 9 : GLYPH_COLUMNS;
  const lines = Array.from({ length: Math.floor(picture.height / GLYPH_ROWS) }, (_, row) => (
    Array.from({ length: Math.floor(picture.width / cell) }, (__, column) => readCell(picture, column * cell, row * GLYPH_ROWS, font)).join('').trimEnd()
  ));
  return lines.join('\n');
}

function readCell({ colour }: Pixels, left: number, top: number, font: ReadonlyMap<string, string>): string {
  // A corner of a cell is background in every letter and digit.
  const background = colour(left, top);
  let glyph = '';
  for (let y = 0; y < GLYPH_ROWS; y += 1) {
    let bits = 0;
    for (let x = 0; x < GLYPH_COLUMNS; x += 1) bits = (bits << 1) | Number(colour(left + x, top + y) !== background);
    glyph += bits.toString(16).padStart(2, '0');
  }
  return font.get(glyph) ?? ' ';
}
