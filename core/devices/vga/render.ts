/** What a VGA shows, as pixels: 32 bits each, red lowest, as a canvas has them. */

import type { LinearMode } from './dispi.ts';
import type { VgaRegisters } from './registers.ts';

export interface Frame {
  readonly width: number;
  readonly height: number;
  /** Row by row. */
  readonly pixels: Uint32Array<ArrayBuffer>;
}

const opaque = 0xff000000;

/** What is on the screen now. */
export function render(registers: VgaRegisters, memory: Uint8Array, mode: LinearMode | null, wideDac: boolean): Frame {
  const palette = colours(registers, wideDac);
  if (mode) return mode.depth === 4 ? planar(registers, memory, { ...mode, pitch: mode.pitch / 4 }, palette) : linear(memory, mode, palette);
  // The screen is blank while the attribute controller's index has its video bit clear, or the sequencer says so.
  const off = (registers.attributeIndex & 0x20) === 0 || ((registers.sequencer[1] ?? 0) & 0x20) !== 0;
  const text = ((registers.graphics[6] ?? 0) & 1) === 0;
  if (off) return blank(640, 400);
  return text ? characters(registers, memory, palette) : graphics(registers, memory, palette);
}

function blank(width: number, height: number): Frame {
  return { width, height, pixels: new Uint32Array(width * height).fill(opaque) };
}

/** The 256 colours. */
function colours({ dac, pelMask }: VgaRegisters, wide: boolean): Uint32Array {
  const widen = (value: number): number => (wide ? value : ((value & 0x3f) << 2) | ((value & 0x3f) >> 4));
  return Uint32Array.from({ length: 256 }, (_, index) => {
    const at = (index & pelMask) * 3;
    return (opaque | widen(dac[at] ?? 0) | (widen(dac[at + 1] ?? 0) << 8) | (widen(dac[at + 2] ?? 0) << 16)) >>> 0;
  });
}

/** The 16 colours of text and planar modes, by way of the attribute controller. */
function attributeColours({ attribute }: VgaRegisters, palette: Uint32Array): Uint32Array {
  const select = attribute[0x14] ?? 0;
  const ownBits = ((attribute[0x10] ?? 0) & 0x80) !== 0;
  return Uint32Array.from({ length: 16 }, (_, index) => {
    const entry = attribute[index] ?? 0;
    const low = ownBits ? (entry & 0x0f) | ((select & 3) << 4) : entry & 0x3f;
    return palette[low | ((select & 0x0c) << 4)] ?? opaque;
  });
}

interface Geometry {
  /** In characters of eight or nine pixels. */
  readonly columns: number;
  readonly lines: number;
  /** Scan lines that show one row of memory. */
  readonly scanLines: number;
  /** Addresses from row to row: characters, or bytes of a plane. */
  readonly pitch: number;
  readonly start: number;
}

function geometry({ crtc }: VgaRegisters): Geometry {
  const at = (index: number): number => crtc[index] ?? 0;
  const overflow = at(7);
  return {
    columns: at(1) + 1,
    lines: (at(0x12) | ((overflow & 2) << 7) | ((overflow & 0x40) << 3)) + 1,
    scanLines: ((at(9) & 0x1f) + 1) * ((at(9) & 0x80) !== 0 ? 2 : 1),
    pitch: at(0x13) * 2,
    start: (at(0x0c) << 8) | at(0x0d),
  };
}

/** Font maps in plane 2, by the bits of the sequencer's register 3. */
const fontPlaces = [0, 0x4000, 0x8000, 0xc000, 0x2000, 0x6000, 0xa000, 0xe000] as const;

function characters(registers: VgaRegisters, memory: Uint8Array, palette: Uint32Array): Frame {
  const { columns, lines, pitch, start } = geometry(registers);
  const { sequencer, crtc } = registers;
  const cellHeight = ((crtc[9] ?? 0) & 0x1f) + 1;
  const cellWidth = ((sequencer[1] ?? 0) & 1) !== 0 ? 8 : 9;
  const rows = Math.max(1, Math.floor(lines / cellHeight));
  const width = columns * cellWidth;
  const frame = blank(width, rows * cellHeight);
  const inks = attributeColours(registers, palette);
  const select = sequencer[3] ?? 0;
  const fonts = [
    fontPlaces[(((select >> 4) & 1) << 2) | (select & 3)] ?? 0,
    fontPlaces[(((select >> 5) & 1) << 2) | ((select >> 2) & 3)] ?? 0,
  ];
  const cursor = {
    at: ((crtc[0x0e] ?? 0) << 8) | (crtc[0x0f] ?? 0), first: (crtc[0x0a] ?? 0) & 0x1f, last: (crtc[0x0b] ?? 0) & 0x1f,
    off: ((crtc[0x0a] ?? 0) & 0x20) !== 0,
  };
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const cell = start + row * pitch + column;
      const code = memory[cell * 4] ?? 0;
      const colour = memory[cell * 4 + 1] ?? 0;
      const ink = inks[colour & 0x0f] ?? opaque;
      const ground = inks[(colour >> 4) & ((registers.attribute[0x10] ?? 0) & 0x08 ? 7 : 15)] ?? opaque;
      const font = (fonts[(colour >> 3) & 1] ?? 0) + code * 32;
      for (let line = 0; line < cellHeight; line++) {
        const inCursor = !cursor.off && cell === cursor.at && line >= cursor.first && line <= cursor.last;
        const bits = inCursor ? 0xff : memory[(font + line) * 4 + 2] ?? 0;
        const to = (row * cellHeight + line) * width + column * cellWidth;
        for (let x = 0; x < 8; x++) frame.pixels[to + x] = (bits & (0x80 >> x)) !== 0 ? ink : ground;
        // The ninth column repeats the eighth for line-drawing characters.
        if (cellWidth === 9) frame.pixels[to + 8] = (bits & 1) !== 0 && code >= 0xc0 && code <= 0xdf ? ink : ground;
      }
    }
  }
  return frame;
}

function graphics(registers: VgaRegisters, memory: Uint8Array, palette: Uint32Array): Frame {
  const { columns, lines, scanLines, pitch, start } = geometry(registers);
  const height = Math.max(1, Math.floor(lines / scanLines));
  const shift = ((registers.graphics[5] ?? 0) >> 5) & 3;
  if (shift >= 2) return linear(memory, { width: columns * 4, height, depth: 8, pitch: pitch * 4, start: start * 4 }, palette);
  const mode = { width: columns * 8, height, depth: 4, pitch, start: start * 4 };
  return shift === 1 ? fourColours(registers, memory, mode, palette) : planar(registers, memory, mode, palette);
}

/** Four planes of a bit each; `pitch` counts bytes of one plane, `start` bytes of all. */
function planar(registers: VgaRegisters, memory: Uint8Array, { width, height, pitch, start }: LinearMode, palette: Uint32Array): Frame {
  const frame = blank(width, height);
  const inks = attributeColours(registers, palette);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = start + (y * pitch + (x >> 3)) * 4;
      const bit = 7 - (x & 7);
      let index = 0;
      for (let plane = 0; plane < 4; plane++) index |= (((memory[at + plane] ?? 0) >> bit) & 1) << plane;
      frame.pixels[y * width + x] = inks[index] ?? opaque;
    }
  }
  return frame;
}

/** CGA's graphics: two bits a pixel, odd lines 8 KiB behind the even ones. */
function fourColours(registers: VgaRegisters, memory: Uint8Array, { width, height, pitch, start }: LinearMode, palette: Uint32Array): Frame {
  const frame = blank(width, height);
  const inks = attributeColours(registers, palette);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const byte = (y & 1) * 0x2000 + (y >> 1) * pitch + (x >> 2);
      const value = memory[start + ((byte & ~1) << 1) + (byte & 1)] ?? 0;
      frame.pixels[y * width + x] = inks[(value >> (6 - (x & 3) * 2)) & 3] ?? opaque;
    }
  }
  return frame;
}

/** One pixel after the other. */
function linear(memory: Uint8Array, { width, height, depth, pitch, start }: LinearMode, palette: Uint32Array): Frame {
  const frame = blank(width, height);
  const bytes = Math.ceil(depth / 8);
  const { pixels } = frame;
  for (let y = 0; y < height; y++) {
    let at = start + y * pitch;
    for (let to = y * width, end = to + width; to < end; to++, at += bytes) {
      const low = (memory[at] ?? 0) | ((memory[at + 1] ?? 0) << 8);
      if (depth === 8) pixels[to] = palette[low & 0xff] ?? opaque;
      else if (depth <= 16) pixels[to] = depth === 15 ? mix(low >> 10, (low >> 5) << 1, low) : mix(low >> 11, low >> 5, low);
      else pixels[to] = (opaque | (memory[at + 2] ?? 0) | (low & 0xff00) | ((low & 0xff) << 16)) >>> 0;
    }
  }
  return frame;
}

/** Five bits of red, six of green, five of blue. */
function mix(red: number, green: number, blue: number): number {
  const five = (value: number): number => ((value & 31) << 3) | ((value & 31) >> 2);
  return (opaque | five(red) | ((((green & 63) << 2) | ((green & 63) >> 4)) << 8) | (five(blue) << 16)) >>> 0;
}
